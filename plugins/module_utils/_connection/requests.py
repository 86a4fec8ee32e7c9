# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Classify requests by their effect, and track one that waits for its answer."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from . import wire

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol, Union

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
        _on_break: Callable[[], None] | None

        @property
        def _alive(self) -> bool: ...

        async def _ready(self) -> None: ...

        async def _answers(self) -> bool: ...

        async def _send(self, request: wire.Request, reply: str) -> None: ...

        def _new_token(self) -> str: ...


# The requests of the JetStream API that change nothing. All others are writes. A watch's consumer only brings us what
# is written, and ends with it.
_READS = re.compile(
    r"(INFO|STREAM\.(INFO|LIST|NAMES|MSG\.GET)|CONSUMER\.(INFO|LIST|NAMES)|DIRECT\.GET)(\.|$)"
    rf"|CONSUMER\.(CREATE|DELETE)\.[^.]+\.{wire.WATCH_PREFIX}",
)
# Writes of the API that change nothing the second time. What was deleted is answered as not found then.
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
        # Nobody listens while a leader is elected: an earlier copy may have been heard by the one before
        unheard = self.sent > 1 and message.status == "503"
        if self.repeats and (unheard or (len(message.data) < _SHORT and _NOT_YET.search(message.data))):
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
