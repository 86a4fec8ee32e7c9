# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes over the wire: requests, messages, and what a server says of itself."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

from .._options import fields, shapes

if TYPE_CHECKING:
    from collections.abc import Mapping


# How the names of the consumers that watches make begin
WATCH_PREFIX = "choria-streams-watch-"
# Each server answers this with its name, cluster and tags, and any account may ask (nats-server server/events.go)
PEERS = "$SYS.REQ.ACCOUNT.PING.STATZ"
# What servers without a level of the API, those before 2.11, count as
OLDEST = (2, 10, 0)


class TlsNotOffered(Exception):
    """The user wants TLS and the server has none: nothing secret has been sent yet."""


class TlsNotWanted(Exception):
    """The server takes no connection without TLS, and the user wants none."""


class BrokenGreeting(Exception):
    """What listens there greets as a NATS server does, with something else in it."""


class _GreetingNeeds(TypedDict):
    version: str
    max_payload: shapes.Count


class Greeting(_GreetingNeeds, total=False):
    """What a server says of itself in INFO, as far as it is used here or by nats-py."""

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
    """The answer of INFO, as far as it is used here."""

    api: ApiFacts


_VERSION = re.compile(r"\d{1,4}(\.\d{1,4}){1,2}(?!\d)")


def check_greeting(info: Any) -> None:
    """Raises BrokenGreeting where it is no server's."""
    problem = shapes.problem(info, Greeting) or ("" if _VERSION.match(info["version"]) else "version is none")
    if problem:
        raise BrokenGreeting(problem)


class Request(NamedTuple):
    """What is sent. ``many`` awaits several messages, the last with a status.

    ``again`` tells whether it does no harm to send it twice. Where that is None it follows from the request: reads,
    calls of the API that change nothing the second time, and messages with ``Nats-Msg-Id`` do none.
    """

    subject: str
    payload: bytes = b""
    headers: Mapping[str, str] | None = None
    many: bool = False
    again: bool | None = None

    @property
    def size(self) -> int:
        """In bytes, with the headers as they are sent, since servers limit both together."""
        if not self.headers:
            return len(self.payload)
        size = len(self.payload) + len("NATS/1.0\r\n\r\n")
        for name, value in self.headers.items():
            line = name + value
            size += (len(line) if line.isascii() else len(line.encode())) + len(": \r\n")
        return size


class Message(NamedTuple):
    """What came: a reply or a message of a subscription. ``headers`` is empty where there were none.

    ``reply`` is where its sender awaits an answer, empty where none is. ``repeated`` tells that this answers a request
    that was sent more than once, so that an earlier one may have done what it says.
    """

    subject: str
    data: bytes
    headers: Mapping[str, str] = MappingProxyType({})
    reply: str = ""
    repeated: bool = False

    @property
    def status(self) -> str:
        """The status of a reply without content, such as ``503`` (nobody listens) or ``404``; else an empty text."""
        return self.headers.get("Status", "")


class Server(NamedTuple):
    """What the server says of itself when a client connects. ``prefix`` is of one behind another, see ``behind``."""

    name: str
    version: tuple[int, ...]
    jetstream: bool
    clustered: bool
    max_payload: int
    prefix: str = ""

    @classmethod
    def from_info(cls, info: Mapping[str, Any]) -> Server:
        digits = _VERSION.match(info["version"])
        return cls(
            name=info.get("server_name", ""),
            version=tuple(int(part) for part in digits.group(0).split(".")) if digits else (),
            jetstream=bool(info.get("jetstream")),
            clustered=bool(info.get("cluster")),
            max_payload=info["max_payload"],
        )

    def behind(self, prefix: str, level: int | None) -> Server:
        """The one whose JetStream is reached through this one, under a prefix of its own.

        ``level`` is that of its API, None where it can't be asked. It tells the release as far as fields depend on it.
        Nobody tells whether it is in a cluster, so it may be.
        """
        if level is None:
            return self._replace(clustered=True)
        known = [release for each, release in fields.LEVELS.items() if each <= level]
        return self._replace(name=prefix, version=max(known, default=OLDEST), clustered=True, prefix=prefix)

    @property
    def release(self) -> str:
        """The version as text."""
        return ".".join(map(str, self.version))

    @property
    def runs(self) -> str:
        """Which version there is, for a sentence that goes on with it."""
        if not self.prefix:
            return f"this server runs {self.release}"
        return f"the server behind {self.prefix} has level {fields.level_of(self.version)} (nats-server {self.release})"
