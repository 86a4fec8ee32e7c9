# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Session: one blocking connection for the thread that made it. driver.py has what works below its calls."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .. import _errors
from .._options import connection, shapes, untrusted
from . import driver, pipeline, requests, wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping


WINDOW = 256


class Session(driver.Driver):
    """Requests, publishes and subscriptions over one connection, which is opened when it is first needed.

    With ``read_only``, all but the read calls of the JetStream API are refused, so that check mode and lookups can't
    write by mistake. ``warn`` is called with a sentence if a password was sent in clear.
    """

    def __enter__(self: driver.T) -> driver.T:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def connect(self) -> None:
        """Connect if the session is not connected. Raises the reason if that fails."""
        self._drive(self._ready())

    @property
    def connected(self) -> wire.Server:
        """The server of the connection, which is opened if needed."""
        if self._server is None or not self._alive:
            self.connect()
        if self._server is None:
            raise _errors.Unreachable("The connection was closed while it was made.")
        return self._server

    @property
    def server(self) -> wire.Server:
        """The server whose JetStream is used: the connected one, or one behind it that domain or api_prefix select."""
        connected = self.connected
        if self.settings.api == connection.DEFAULT_API:
            return connected
        if self._behind is None:
            self._behind = connected.behind(self.settings.api, self._level())
        return self._behind

    def _level(self) -> int | None:
        """Return the level of the API behind the prefix, 0 before nats-server 2.11, or None if it is unknown."""
        try:
            answer = untrusted.load_object(self.request(self.api("INFO")).data)
        except (_errors.StreamsError, ValueError):
            return None  # the call that needs it reports what is missing
        if "error" in answer or shapes.problem(answer, wire.AccountInfo):
            return None
        return int(answer["api"].get("level", 0))

    def api(self, call: str) -> str:
        """Return the subject of a JetStream API call, such as ``STREAM.INFO.ORDERS``."""
        return f"{self.settings.api}.{call}"

    def request(
        self, subject: str, payload: bytes = b"", headers: Mapping[str, str] | None = None, timeout: float | None = None
    ) -> wire.Message:
        """Return the reply to one request. Raises the reason if there is none. ``timeout`` is in seconds."""
        answer = self.request_many([wire.Request(subject, payload, headers)], timeout=timeout)[0]
        if isinstance(answer, _errors.StreamsError):
            raise answer
        return answer[0]

    def gather(
        self, subject: str, payload: bytes, seconds: float, enough: Callable[[list[wire.Message]], bool]
    ) -> list[wire.Message]:
        """Return the answers of many servers to one request, until ``enough`` is true of them, at most for ``seconds``.

        No answer is marked as the last one. Raises PermissionMissing.
        """
        self._guard(subject)
        return self._drive(self._gather(wire.Request(subject, payload), seconds, enough))

    def request_many(
        self, requests: Iterable[wire.Request], window: int = WINDOW, timeout: float | None = None
    ) -> list[list[wire.Message] | _errors.StreamsError]:
        """Send requests in a pipeline, and return an answer or an error for each, in their order.

        At most ``window`` are unanswered at a time. ``timeout`` is in seconds, by default that of the settings.
        """
        listed = list(requests)
        for request in listed:
            self._guard(request.subject)
        return self._drive(pipeline.Pipeline(self, listed, window, timeout or self.settings.timeout).run())

    def publish(self, subject: str, payload: bytes = b"", *, wait: bool = True, reply: str = "") -> None:
        """Publish a message without an acknowledgement, and wait until the server received it.

        Raises PermissionMissing if the server refuses it. Without ``wait`` the message is sent with the next one, and
        errors are not reported. Answers come to ``reply``, to which the session is subscribed.
        """
        self._guard(subject)
        self._drive(self._publish(wire.Request(subject, payload), wait, reply))

    def explain(self, subject: str, stream: str = "") -> _errors.StreamsError:
        """Return the error of a request without an answer, with its cause as far as the permissions allow to ask.

        ``stream`` is the stream that the subject belongs to, if it is known.
        """
        from .outage import explained

        return self._drive(explained(self, subject, self.settings.timeout, stream))(subject)

    def subscribe(self, subject: str, queue: str = "", *, wait: bool = True) -> None:
        """Subscribe to a subject, for ``receive``. In a ``queue`` group, one member gets each message.

        Without ``wait`` a refusal is known with the answer to the next request (``refused_subscriptions``).
        """
        self._subscriptions[subject] = queue
        self._drive(self._subscribe(subject, queue, wait))

    def new_inbox(self) -> str:
        """Return a new subject that these credentials may subscribe to."""
        self.connect()
        return str(self._client.new_inbox())

    def unsubscribe_all(self) -> None:
        """End all subscriptions. Messages that the server sent before can still be received."""
        self._subscriptions.clear()
        if self._alive:
            self._drive(self._unsubscribe())

    def unsubscribe(self, subject: str) -> None:
        """End one subscription. Messages that are on their way get lost."""
        self._subscriptions.pop(subject, None)
        if self._alive:
            self._drive(self._unsubscribe(subject))

    def receive(self, timeout: float, wake: int = -1) -> wire.Message | None:
        """Return the next message of any subscription, or None after ``timeout`` seconds.

        It returns earlier when the file descriptor ``wake`` is readable; -1 is none.
        Raises Unreachable if the connection broke.
        """
        if self._arrived:
            return self._arrived.popleft()
        self._drive(self._await_message(timeout, wake))
        return self._arrived.popleft() if self._arrived else None

    def meanwhile(self, seconds: float, call: Callable[[], None]) -> None:
        """Call ``call`` every ``seconds`` seconds while waiting for servers. Its exceptions abort the wait."""
        self._meanwhile = (seconds, call)

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Limit all requests in the block to ``seconds`` seconds together. Raises NoAnswer after that.

        Use it for optional information. The limit closes the connection, since an aborted request may have left it half
        made.
        """
        self._end_at = end_at = time.monotonic() + seconds
        try:
            yield
        finally:
            self._end_at = None
            if time.monotonic() >= end_at:
                self.close()

    def close(self) -> None:
        """Close the connection. The session reconnects if it is used again."""
        loop, client = self._loop, self._client
        self._loop = self._client = None
        if loop is None or loop.is_closed():
            return
        try:
            loop.run_until_complete(driver.end(client))
        finally:
            loop.close()

    def has_written(self, error: _errors.StreamsError, since: int = 0) -> bool:
        """Return True if writes after ``since`` (``writes_done``) changed something before an error, or may have."""
        done = self.writes_done > since and not isinstance(error, _errors.Refused)  # which follows an undone trial
        return done or (code := error.failure["code"]) in _errors.WRITTEN or (code in _errors.UNFORESEEN and self.wrote)

    def _guard(self, subject: str) -> None:
        if (self.wrote and not self.read_only) or requests.is_read(self.settings.api, subject):
            return
        self.wrote = not self.read_only
        if self.read_only:
            raise _errors.Refused(
                f"A write to {subject} was tried in check mode or by a lookup, which is a bug of choria.streams.",
                code="read_only",
            )
