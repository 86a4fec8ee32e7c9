# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Message: a submission in the forms of Choria Server's spool and of the published message.

Rules: go-choria, submission/msg.go. Messages that the server would accept and then lose or block on are refused, too.
"""

from __future__ import annotations

import base64
import json
import re
import time
import uuid
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from .. import _errors
from .._options import quantities

if TYPE_CHECKING:
    from collections.abc import Mapping

PRIORITIES = range(5)
DAY = 86400
MAX_TTL = 31 * DAY
# The largest message of a Choria Broker with its headers: nats-server's default, for which it has no setting
MAX_SIZE = 1 << 20
_RESERVED = ("choria", "nats")
_NEVER = "0001-01-01T00:00:00Z"
_SUBJECT = re.compile(r"[^\s.*>]+(\.[^\s.*>]+)*")
# A header's name as Go's net/http has it: others are dropped silently
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_LINE_ENDS = re.compile(r"[\r\n\0]")


@dataclass(frozen=True)
class Message:
    """A message to submit. ``ttl`` is in seconds, ``created`` in nanoseconds since 1970."""

    subject: str
    payload: bytes = field(repr=False)
    sender: str
    identity: str
    reliable: bool = False
    priority: int = 4
    ttl: float = DAY
    max_tries: int = 100
    sign: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    created: int = field(default_factory=time.time_ns)

    def check(self) -> None:
        """Raise OptionError if the server would refuse the message, delete it or keep it for ever."""
        if not _SUBJECT.fullmatch(self.subject):
            raise _errors.OptionError(
                "subject", f"'{self.subject}' is not a subject: write words joined by dots, without spaces, * and >."
            )
        if not self.payload:
            raise _errors.OptionError(
                "payload", "is empty, and Choria Server submits no empty messages: give payload or src."
            )
        if self.priority not in PRIORITIES:
            raise _errors.OptionError(
                "priority", f"{self.priority} is not a priority: give 0, which is the highest, to 4."
            )
        if not 1 <= self.ttl <= MAX_TTL:
            raise _errors.OptionError(
                "ttl", f"{self.ttl:g}s is out of range: give 1s to 31d, which is all that Choria allows."
            )
        if self.max_tries < 1:
            raise _errors.OptionError("max_tries", f"{self.max_tries} is too few: give 1 or more.")
        for option, value in (("sender", self.sender), ("identity", self.identity)):
            if not value.strip() or _LINE_ENDS.search(value):
                raise _errors.OptionError(option, "must be one line that is not empty, since it becomes a header.")
        self._check_headers()

    def _check_headers(self) -> None:
        for name, value in self.headers.items():
            if name.lower().startswith(_RESERVED):
                raise _errors.OptionError(
                    "headers", f"'{name}' is reserved: names that begin with Choria or Nats are the server's own."
                )
            if not _HEADER_NAME.fullmatch(name):
                raise _errors.OptionError(
                    "headers", f"'{name}' is not a header's name: use letters, digits and - without spaces."
                )
            if _LINE_ENDS.search(value):
                raise _errors.OptionError("headers", f"the value of '{name}' must be one line.")

    def check_size(self, limit: int = MAX_SIZE) -> None:
        """Raise OptionError if a broker with the max_payload ``limit`` would refuse the message."""
        headers = "".join(f"{name}: {value}\r\n" for name, value in self.sent().items())
        if len(self.payload) + len(f"NATS/1.0\r\n{headers}\r\n".encode()) > limit:
            raise _errors.OptionError(
                "payload",
                f"has {len(self.payload)} bytes, and the brokers take at most {limit} with the headers: it would be "
                "tried again and again, and hold up all that follows, so send less or compress it.",
            )

    def encode(self) -> bytes:
        """Return the content of the file in the spool."""
        content = {
            "id": self.id,
            "subject": self.subject,
            "payload": base64.b64encode(self.payload).decode(),
            "reliable": self.reliable,
            "priority": self.priority,
            "created": timestamp(self.created),
            "ttl": self.ttl,
            "max_tries": self.max_tries,
            "tries": 0,
            "next_try": _NEVER,
            "sender": self.sender,
            "identity": self.identity,
            "sign": self.sign,
            "headers": dict(self.headers) or None,
        }
        return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()

    def sent(self) -> dict[str, str]:
        """Return the headers of the first attempt to publish it, without those of a signature."""
        headers = {
            **self.headers,
            "Nats-Msg-Id": self.id,
            "Choria-Priority": str(self.priority),
            "Choria-Created": str(self.created),
            "Choria-Sender": self.sender,
            "Choria-Identity": self.identity,
        }
        return {**headers, "Choria-Reliable": "1"} if self.reliable else headers


def subject_of(collective: str, subject: str) -> str:
    """Return the subject on which the server publishes a submission."""
    return f"{collective}.submission.in.{subject}"


def timestamp(nanoseconds: int) -> str:
    """Return nanoseconds since 1970 as RFC 3339 UTC with nanoseconds, as Go writes it."""
    whole, rest = divmod(nanoseconds, quantities.NANOSECOND)
    return f"{datetime.fromtimestamp(whole, timezone.utc):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"
