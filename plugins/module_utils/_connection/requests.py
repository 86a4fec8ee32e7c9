# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests: which of them only read, which may be sent twice, and the answers to those under way."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from . import wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Protocol, Union

    from .. import _errors
    from .settings import Settings

    Answer = Union[list[wire.Message], _errors.StreamsError]
    Problem = Callable[[str], _errors.StreamsError]
    """Makes the error of a request from its subject."""

    class Link(Protocol):
        """The part of a session that sends requests and receives answers, for this package alone."""

        settings: Settings
        _client: Any
        _server: wire.Server | None
        _inbox: str
        _inbox_problem: _errors.PermissionMissing | None
        _pending: dict[str, Pending]
        _tokens: Iterator[str]
        _on_break: Callable[[], None] | None

        @property
        def _alive(self) -> bool: ...

        async def _ready(self) -> None: ...

        async def _answers(self) -> bool: ...

        def _command(self, request: wire.Request, reply: str) -> bytes: ...

        async def _send(self, *commands: bytes) -> None: ...


# The requests of the JetStream API that change nothing. All others are writes. The consumer of a watch only delivers
# messages to us, and ends with the watch.
_READS = re.compile(
    r"(INFO|STREAM\.(INFO|LIST|NAMES|MSG\.GET)|CONSUMER\.(INFO|LIST|NAMES)|DIRECT\.GET)(\.|$)"
    rf"|CONSUMER\.(CREATE|MSG\.NEXT|DELETE)\.[^.]+\.{wire.WATCH_PREFIX}"
)
# Writes of the API that change nothing when repeated. A repeated deletion is answered as not found.
_IDEMPOTENT = re.compile(r"(STREAM\.(CREATE|UPDATE|DELETE|MSG\.DELETE)|CONSUMER\.(CREATE|UPDATE|DELETE|PAUSE))\.")
# The server elects a leader, or is still at an earlier copy of the same message (nats-server server/errors.json)
_NOT_YET = re.compile(rb'"err_code":\s*(10008|10009|10158)\b')
_SHORT = 1000


def is_read(api: str, subject: str) -> bool:
    """Return True if a request changes nothing. ``api`` is the prefix of the JetStream API."""
    return subject == wire.PEERS or (subject.startswith(f"{api}.") and is_read_call(subject[len(api) + 1 :]))


def is_read_call(call: str) -> bool:
    """Return True if an API call changes nothing, by its subject below the API's prefix."""
    return bool(_READS.match(call))


def repeats(api: str, request: wire.Request) -> bool:
    """Return True if a request can be sent twice without harm."""
    if request.again is not None:
        return request.again
    if "Nats-Msg-Id" in (request.headers or {}):
        return True
    call = request.subject[len(api) + 1 :] if request.subject.startswith(f"{api}.") else ""
    return bool(_READS.match(call) or _IDEMPOTENT.match(call))


class Pending:
    """A request that waits for its answer. ``sent`` is how often it was sent, ``done`` whether it has ended."""

    __slots__ = ("_ended", "done", "error", "messages", "repeats", "request", "sent", "token")

    def __init__(self, request: wire.Request, repeats: bool, ended: Callable[[bool], None]) -> None:
        self.request, self.repeats, self._ended = request, repeats, ended
        self.done = False
        self.error: Exception | None = None
        self.messages: list[wire.Message] = []
        self.sent = 0
        self.token = ""

    def feed(self, message: wire.Message) -> None:
        """Take an answer. A refusal that a repeated request may get during an election is ignored."""
        if self.done:
            return  # a second answer
        # Nobody listens during an election, and the previous leader may have received an earlier copy
        data, unheard = message.data, self.sent > 1 and message.status == "503"
        if self.repeats and (unheard or (len(data) < _SHORT and b"err_code" in data and _NOT_YET.search(data))):
            return
        self.messages.append(message._replace(repeated=self.sent > 1) if self.sent > 1 else message)
        if not self.request.many or message.status:
            self.done = True
        self._ended(self.done)

    def fail(self, error: Exception) -> None:
        """End the request with an error, unless it has ended."""
        if not self.done:
            self.error = error
            self.done = True
            self._ended(True)
