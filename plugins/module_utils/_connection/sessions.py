# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Session: one blocking connection, used from the thread that made it.

The calling thread drives nats-py's event loop itself: 0.4 ms a request on loopback against 1.5 ms with a loop in
another thread. Between calls nothing runs, so pings of the server stay unanswered and it may hang up: a session that
was idle checks its connection before it is used again, and connects anew.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import os
import re
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from .. import _errors
from .._options import connection
from . import wire
from .client import close, connect

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence

    from .settings import Settings

T = TypeVar("T")

WINDOW = 256
# How many requests are made before they are sent
_AT_ONCE = 500
# Servers ping every two minutes and hang up when two are missed: after a shorter pause the connection is looked at.
_IDLE = 30.0
_VIOLATION = re.compile(r'permissions violation for (publish|subscription) to "([^"]+)"', re.IGNORECASE)
# The requests of the JetStream API that change nothing. All others are writes. A watch's consumer only brings us what
# is written, and ends with it.
WATCH_PREFIX = "choria-streams-watch-"
_READS = re.compile(
    r"(INFO|STREAM\.(INFO|LIST|NAMES|MSG\.GET)|CONSUMER\.(INFO|LIST|NAMES)|DIRECT\.GET)(\.|$)"
    rf"|CONSUMER\.(CREATE|DELETE)\.[^.]+\.{WATCH_PREFIX}",
)


class Session:
    """Requests, publishes and subscriptions over one connection, made when first needed.

    With ``read_only`` everything but the reads of the JetStream API is refused below all other code, so that check mode
    and lookups can't write by mistake. ``warn`` is called with a sentence where a password went out in clear.
    """

    def __init__(
        self, settings: Settings, *, read_only: bool = False, warn: Callable[[str], None] | None = None
    ) -> None:
        self.settings = settings
        self.read_only = read_only
        self._warn = warn
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client: Any = None
        self._server: wire.Server | None = None
        self._behind: wire.Server | None = None
        self._pending: dict[str, wire.Pending] = {}
        self._counter = 0
        self._inbox = ""
        self._inbox_problem: _errors.PermissionMissing | None = None
        self._used = 0.0
        self._subscriptions: dict[str, str] = {}
        self._arrived: deque[wire.Message] = deque()
        self._wake: Any = None  # asyncio.Event, like _closed: made with each connection, since they belong to its loop
        self._closed: Any = None
        self.refused_subscriptions: set[str] = set()
        self._meanwhile: tuple[float, Callable[[], None]] | None = None

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    # What callers use

    def connect(self) -> None:
        """Connects, unless it is connected. Raises what stands in the way."""
        if not self._fresh:
            self._drive(self._ready())

    @property
    def connected(self) -> wire.Server:
        """The server that we are connected to, or connect to now."""
        if self._server is None or not self._alive:
            self.connect()
        if self._server is None:
            raise _errors.Unreachable("The connection was closed while it was made.")
        return self._server

    @property
    def server(self) -> wire.Server:
        """The server whose JetStream we use: the connected one, or with domain or api_prefix perhaps another behind it,
        which is asked for its level.
        """
        connected = self.connected
        if self.settings.api == connection.DEFAULT_API:
            return connected
        if self._behind is None:
            self._behind = connected.behind(self.settings.api, self._level())
        return self._behind

    def _level(self) -> int | None:
        """The level of the API behind the prefix, 0 before nats-server 2.11, None where nobody tells."""
        try:
            answer = json.loads(self.request(self.api("INFO")).data)
        except (_errors.StreamsError, ValueError):
            return None  # what it is that is missing, the call that needs it says
        return int(answer["api"].get("level", 0)) if "api" in answer and "error" not in answer else None

    def api(self, call: str) -> str:
        """The subject of a call of the JetStream API, such as ``STREAM.INFO.ORDERS``."""
        return f"{self.settings.api}.{call}"

    def request(
        self,
        subject: str,
        payload: bytes = b"",
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> wire.Message:
        """One request, one reply. Raises the reason when there is none."""
        answer = self.request_many([wire.Request(subject, payload, headers)], timeout=timeout)[0]
        if isinstance(answer, _errors.StreamsError):
            raise answer
        return answer[0]

    def request_all(self, subject: str, payload: bytes = b"") -> list[wire.Message]:
        """One request that is answered by many messages; the last has a status."""
        answer = self.request_many([wire.Request(subject, payload, many=True)])[0]
        if isinstance(answer, _errors.StreamsError):
            raise answer
        return answer

    def request_many(
        self, requests: Iterable[wire.Request], window: int = WINDOW, timeout: float | None = None
    ) -> list[list[wire.Message] | _errors.StreamsError]:
        """Pipelined requests, at most ``window`` unanswered: an answer or an error for each, in their order.

        ``timeout`` is in seconds, for what takes longer than the requests that the settings' timeout is for.
        """
        wanted = list(requests)
        for request in wanted:
            self._guard(request.subject)
        return self._drive(self._exchange(wanted, window, timeout or self.settings.timeout))

    def publish(
        self, subject: str, payload: bytes = b"", headers: Mapping[str, str] | None = None, *, wait: bool = True
    ) -> None:
        """Sends a message that nobody acknowledges, and waits until the server has it.

        Raises PermissionMissing where it refuses. Without ``wait`` it goes with what is sent next, and nothing is told.
        """
        self._guard(subject)
        self._drive(self._publish(wire.Request(subject, payload, headers), wait))

    def subscribe(self, subject: str, queue: str = "") -> None:
        """Lets ``receive`` hear a subject. With ``queue`` one member of that group gets each message."""
        self._subscriptions[subject] = queue
        self._drive(self._subscribe(subject, queue))

    def new_inbox(self) -> str:
        """A subject of our own, that these credentials may listen to."""
        self.connect()
        return str(self._client.new_inbox())

    def unsubscribe_all(self) -> None:
        """Ends the subscriptions. What had arrived before the server knew can still be received."""
        self._subscriptions.clear()
        if self._alive:
            self._drive(self._unsubscribe())

    def receive(self, timeout: float) -> wire.Message | None:
        """The next message of any subscription, or None after ``timeout`` seconds.

        Raises Unreachable when the connection broke.
        """
        if self._arrived:
            return self._arrived.popleft()
        self._drive(self._await_message(timeout))
        return self._arrived.popleft() if self._arrived else None

    def meanwhile(self, seconds: float, call: Callable[[], None]) -> None:
        """Has something called every so often while servers are waited for. What it raises ends the wait."""
        self._meanwhile = (seconds, call)

    def close(self) -> None:
        """Closes the connection. The session can be used again, and then connects anew."""
        loop, client = self._loop, self._client
        self._loop = self._client = None
        if loop is None or loop.is_closed():
            return
        try:
            loop.run_until_complete(_end(client))
        finally:
            loop.close()

    # The loop

    def _drive(self, work: Coroutine[Any, Any, T]) -> T:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        try:
            if self._meanwhile:
                from .waiting import accompanied

                work = accompanied(work, *self._meanwhile)
            return self._loop.run_until_complete(work)
        finally:
            self._used = time.monotonic()

    def _guard(self, subject: str) -> None:
        if not self.read_only:
            return
        call = subject.removeprefix(f"{self.settings.api}.") if subject.startswith(f"{self.settings.api}.") else ""
        if not _READS.match(call):
            raise _errors.Refused(
                f"A write to {subject} was tried in check mode or by a lookup, which is a bug of choria.streams.",
                code="read_only",
            )

    # The connection

    @property
    def _alive(self) -> bool:
        return self._client is not None and not self._client.is_closed

    @property
    def _fresh(self) -> bool:
        """Whether the connection was alive so short ago that it can be used as it is."""
        return self._alive and time.monotonic() - self._used <= _IDLE

    async def _ready(self) -> None:
        if self._fresh or (self._alive and await self._answers()):
            return
        self._wake, self._closed = asyncio.Event(), asyncio.Event()
        self._inbox_problem = None
        self._client = await connect(self.settings, self._on_error, self._on_closed, self._warn)
        self._server, self._behind = wire.Server.from_info(self._client._server_info), None
        self._inbox = f"{self._client.new_inbox()}"
        await self._client.subscribe(f"{self._inbox}.*", cb=self._on_reply)
        for subject, queue in self._subscriptions.items():
            await self._client.subscribe(subject, queue=queue, cb=self._on_message)

    async def _answers(self) -> bool:
        """Whether the server still answers. Closes the connection when it does not."""
        pong = asyncio.ensure_future(self._client.flush(timeout=min(2.0, self.settings.timeout)))
        closed = asyncio.ensure_future(self._closed.wait())
        await asyncio.wait({pong, closed}, return_when=asyncio.FIRST_COMPLETED)
        alive = pong.done() and pong.exception() is None and self._alive
        for task in (pong, closed):
            task.cancel()
        if not alive:
            await close(self._client)
        return alive

    async def _subscribe(self, subject: str, queue: str) -> None:
        fresh = not self._alive
        await self._ready()
        if not fresh:
            await self._client.subscribe(subject, queue=queue, cb=self._on_message)
        await self._flush()

    async def _unsubscribe(self) -> None:
        from nats.errors import Error

        ours = [each for each in self._client._subs.values() if not each.subject.startswith(self._inbox)]
        try:
            for subscription in ours:
                await self._client._send_unsubscribe(subscription._id)
            await self._flush()
            for subscription in ours:
                # unsubscribe() drops what has come and was not handed on yet
                await subscription._pending_queue.join()
                await subscription.unsubscribe()
        except Error as error:
            raise self._broken() from error

    async def _flush(self) -> None:
        if not await self._answers():
            raise self._broken()

    async def _publish(self, request: wire.Request, wait: bool) -> None:
        await self._ready()
        if not wait:
            await self._send(request, "")
            return
        pending = self._pending["publish"] = wire.Pending(request, lambda: None)
        try:
            await self._send(request, "")
            await self._flush()
            await asyncio.sleep(0)
        finally:
            del self._pending["publish"]
        if pending.error:
            raise pending.error

    async def _await_message(self, timeout: float) -> None:
        await self._ready()
        if self._arrived:
            return
        self._wake.clear()  # what set it may have been received since
        try:
            await asyncio.wait_for(self._wake.wait(), timeout)
        except asyncio.TimeoutError:
            return
        self._wake.clear()
        if not self._arrived and not self._alive:
            raise self._broken()

    # Requests

    async def _exchange(
        self, requests: Sequence[wire.Request], window: int, timeout: float
    ) -> list[list[wire.Message] | _errors.StreamsError]:
        answers: list[list[wire.Message] | _errors.StreamsError] = []
        while len(answers) < len(requests):
            rest = requests[len(answers) :]
            replies = await self._pipeline(rest, window, timeout)
            again = [index for index, reply in enumerate(replies) if self._repeatable(rest[index], reply)]
            if again:
                repeated = await self._pipeline([rest[index] for index in again], window, timeout)
                for index, reply in zip(again, repeated):
                    replies[index] = reply
            answers.extend(replies)
        return answers

    def _repeatable(self, request: wire.Request, reply: list[wire.Message] | _errors.StreamsError) -> bool:
        """Whether to try again on a new connection. One server that hangs would not even let us connect."""
        if not isinstance(reply, _errors.Unreachable) or (
            reply.failure["code"] == "hangs" and len(self.settings.servers) == 1
        ):
            return False
        call = request.subject.removeprefix(f"{self.settings.api}.")
        return bool(_READS.match(call)) or "Nats-Msg-Id" in (request.headers or {})

    async def _pipeline(
        self, requests: Sequence[wire.Request], size: int, timeout: float
    ) -> list[list[wire.Message] | _errors.StreamsError]:
        """Answers to the requests in their order: to all, or to the first ones where answers stopped to come."""
        await self._ready()
        if self._inbox_problem:
            return [self._inbox_problem for _request in requests]
        sent: dict[str, wire.Pending] = {}
        window = wire.Window(size, timeout)
        try:
            for request in requests:
                if (window.full and not await window.drains()) or (sent and not self._alive):
                    break
                self._counter += 1
                token = str(self._counter)
                sent[token] = self._pending[token] = wire.Pending(request, window.one_less)
                window.unanswered += 1
                await self._send(request, f"{self._inbox}.{token}")
                if not len(sent) % _AT_ONCE:
                    await asyncio.sleep(0)  # nats-py sends what it has: the server works while the rest is made
            if not await window.empties():
                await self._give_up({token: pending for token, pending in sent.items() if not pending.done})
            return [self._result(pending) for pending in sent.values()]
        finally:
            for token in sent:
                self._pending.pop(token, None)

    async def _give_up(self, unanswered: Mapping[str, wire.Pending]) -> None:
        for token in unanswered:
            del self._pending[token]  # or hanging up on a silent server would be the reason that is told
        problem = await self._why_silent()
        for pending in unanswered.values():
            pending.fail(problem(pending.request.subject))

    async def _send(self, request: wire.Request, reply: str) -> None:
        if request.size > self._client.max_payload:
            raise _errors.Refused(
                f"The message for {request.subject} has {request.size} bytes, and the server takes at most "
                f"{self._client.max_payload}: send less, or raise max_payload on the server.",
                code="too_large",
            )
        try:
            await self._client.publish(request.subject, request.payload, reply=reply, headers=request.headers or None)
        except Exception as error:
            from nats.errors import ConnectionClosedError, Error

            if isinstance(error, ConnectionClosedError):
                raise self._broken() from error
            if isinstance(error, Error):
                raise _errors.Refused(
                    f"'{request.subject}' can't be sent: {str(error).removeprefix('nats: ')}.", code="subject"
                ) from error
            raise

    def _result(self, pending: wire.Pending) -> list[wire.Message] | _errors.StreamsError:
        if isinstance(pending.error, _errors.StreamsError):
            return pending.error
        if pending.error is not None:
            raise pending.error
        messages = pending.messages
        if messages[-1].status == "503":
            from .reasons import no_responders

            return no_responders(self.settings, self._server, pending.request.subject)
        return messages

    # What nats-py calls

    async def _on_reply(self, message: Any) -> None:
        pending = self._pending.get(message.subject.rpartition(".")[2])
        if pending is not None:
            pending.feed(wire.Message(message.subject, message.data, message.headers or {}))

    async def _on_message(self, message: Any) -> None:
        self._arrived.append(wire.Message(message.subject, message.data, message.headers or {}, message.reply))
        self._wake.set()

    async def _on_closed(self) -> None:
        for pending in list(self._pending.values()):
            pending.fail(self._broken())
        self._wake.set()
        self._closed.set()

    async def _on_error(self, error: Exception) -> None:
        """Matches a permission error, which comes without saying for what, to the request that it belongs to."""
        match = _VIOLATION.search(str(error))
        if not match:
            return
        kind, subject = match.groups()
        if kind.lower() == "publish":
            for pending in list(self._pending.values()):
                if pending.request.subject.lower() == subject.lower():
                    from .permissions import PUBLISH, missing_permission

                    pending.fail(missing_permission(PUBLISH, pending.request.subject, self.settings.jwt))
        elif subject.lower().startswith(self._inbox.lower()):
            from .reasons import inbox_refused

            self._inbox_problem = inbox_refused(self.settings)
            for pending in list(self._pending.values()):
                pending.fail(self._inbox_problem)
        else:
            self.refused_subscriptions.update(
                known for known in self._subscriptions if known.lower() == subject.lower()
            )

    async def _why_silent(self) -> Callable[[str], _errors.StreamsError]:
        """After a time-out: is the server gone, or did only the answer not come?"""
        from .reasons import no_answer, server_silent

        return partial(no_answer if await self._answers() else server_silent, self.settings)

    def _broken(self) -> _errors.StreamsError:
        from .reasons import broken

        return broken(self.settings)


async def _end(client: Any) -> None:
    """Closes a connection, and ends what nats-py left running in the loop."""
    if client is not None:
        await close(client)
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)


_shared: dict[tuple[int, Settings, bool], Session] = {}


def shared_session(settings: Settings, *, read_only: bool, warn: Callable[[str], None] | None = None) -> Session:
    """The session of this process for these settings. A fork makes its own; all are closed at exit."""
    if not _shared:
        atexit.register(_close_shared)
    key = (os.getpid(), settings, read_only)
    if key not in _shared:
        _shared[key] = Session(settings, read_only=read_only, warn=warn)
    return _shared[key]


def _close_shared() -> None:
    for key in _own_sessions():
        _shared.pop(key).close()


def _own_sessions() -> Iterator[tuple[int, Settings, bool]]:
    return iter([key for key in _shared if key[0] == os.getpid()])
