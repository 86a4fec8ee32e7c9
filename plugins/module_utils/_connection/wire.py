# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests, messages, and the server's INFO."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

from .._options import fields, shapes

if TYPE_CHECKING:
    from collections.abc import Mapping

# The prefix of the names of consumers that watches create
WATCH_PREFIX = "choria-streams-watch-"
# Each server answers this with its name, cluster and tags, and any account may ask (nats-server server/events.go)
PEERS = "$SYS.REQ.ACCOUNT.PING.STATZ"
# The release to assume for a server without an API level: servers before 2.11 have none
OLDEST = (2, 10, 0)
# The status of a message and its description among its headers. No stored header has such a name
STATUS, DESCRIPTION = ":status", ":description"


class TlsNotOffered(Exception):
    """The user requires TLS and the server does not offer it. Nothing secret has been sent yet."""


class TlsNotWanted(Exception):
    """The server requires TLS, and the user turned it off."""


class BrokenGreeting(Exception):
    """The greeting looks like a NATS server's, and has a wrong content."""


class _GreetingNeeds(TypedDict):
    version: str
    max_payload: shapes.Count


class Greeting(_GreetingNeeds, total=False):
    """The keys of a server's INFO that this collection or nats-py uses."""

    server_name: str
    cluster: str
    nonce: str
    headers: bool
    jetstream: bool
    auth_required: bool
    tls_required: bool
    tls_available: bool
    tls_verify: bool


class ApiFacts(TypedDict, total=False):
    level: shapes.Count


class AccountInfo(TypedDict):
    """The keys of the answer to the API call INFO that are used here."""

    api: ApiFacts


_VERSION = re.compile(r"\d{1,4}(\.\d{1,4}){1,2}(?!\d)")


def check_greeting(info: Any) -> None:
    """Raise BrokenGreeting if ``info`` is not a server's INFO."""
    problem = shapes.problem(info, Greeting) or ("" if _VERSION.match(info["version"]) else "version is not a version")
    if problem:
        raise BrokenGreeting(problem)


class Request(NamedTuple):
    """A request. With ``many`` several messages answer it, and the last one has a status.

    ``again`` is True if it can be sent twice without harm. By default that follows from the request: it holds for
    reads, for API calls that change nothing the second time, and for messages with ``Nats-Msg-Id``.
    """

    subject: str
    payload: bytes = b""
    headers: Mapping[str, str] | None = None
    many: bool = False
    again: bool | None = None

    @property
    def size(self) -> int:
        """The size in bytes with the headers, since servers limit both together."""
        if not self.headers:
            return len(self.payload)
        size = len(self.payload) + len("NATS/1.0\r\n\r\n")
        for name, value in self.headers.items():
            line = name + value
            size += (len(line) if line.isascii() else len(line.encode())) + len(": \r\n")
        return size

    def encoded(self, reply: str) -> bytes:
        """Return the command PUB or HPUB. Raises ValueError if the subject or a header would end it."""
        subject, payload, headers = self.subject, self.payload, self.headers
        if headers:
            lines = "".join([f"{name}: {value.strip()}\r\n" for name, value in headers.items()])
            size, breaks = len(lines.encode()) + len("NATS/1.0\r\n\r\n"), len(headers) + 3
            head = f"HPUB {subject} {reply} {size} {size + len(payload)}\r\nNATS/1.0\r\n{lines}\r\n"
        else:
            head, breaks = f"PUB {subject} {reply} {len(payload)}\r\n", 1
        if not subject or " " in subject or "\t" in subject or not head.count("\r") == head.count("\n") == breaks:
            raise ValueError("a subject has no blanks, and a header is one line")
        return b"".join((head.encode(), payload, b"\r\n"))  # formatting takes a hundred times as long for large ones


class Message(NamedTuple):
    """A reply, or a message of a subscription. ``headers`` may be empty.

    ``reply`` is the subject for an answer, or empty. ``repeated`` is True if the request was sent more than once, so
    that an earlier copy may have had an effect.
    """

    subject: str
    data: bytes
    headers: Mapping[str, str] = MappingProxyType({})
    reply: str = ""
    repeated: bool = False

    @property
    def status(self) -> str:
        """The status of a reply without content, such as ``503`` (no responders) or ``404``, or an empty text."""
        return self.headers.get(STATUS, "")


class Server(NamedTuple):
    """The facts of a server's INFO. ``prefix`` is set for a server behind another one, see ``behind``."""

    name: str
    version: tuple[int, ...]
    jetstream: bool
    clustered: bool
    max_payload: int
    prefix: str = ""

    @classmethod
    def from_info(cls, info: Mapping[str, Any]) -> Server:
        """Return the facts of a checked INFO."""
        digits = _VERSION.match(info["version"])
        return cls(
            name=info.get("server_name", ""),
            version=tuple(int(part) for part in digits.group(0).split(".")) if digits else (),
            jetstream=bool(info.get("jetstream")),
            clustered=bool(info.get("cluster")),
            max_payload=info["max_payload"],
        )

    def behind(self, prefix: str, level: int | None) -> Server:
        """Return the server whose JetStream this one reaches under a prefix.

        ``level`` is the level of its API, from which its release is derived, or None if it is unknown. The server
        counts as clustered, since that is unknown too.
        """
        if level is None:
            return self._replace(clustered=True)
        releases = [release for each, release in fields.LEVELS.items() if each <= level]
        return self._replace(name=prefix, version=max(releases, default=OLDEST), clustered=True, prefix=prefix)

    @property
    def release(self) -> str:
        """The version as text."""
        return ".".join(map(str, self.version))

    @property
    def runs(self) -> str:
        """The version in words, as a part of a sentence."""
        if not self.prefix:
            return f"this server runs {self.release}"
        return f"the server behind {self.prefix} has level {fields.level_of(self.version)} (nats-server {self.release})"
