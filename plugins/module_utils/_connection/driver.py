# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Driver: the event loop and the connection of a session, below its blocking calls.

The calling thread runs nats-py's event loop itself: 0.4 ms a request on loopback against 1.5 ms with a loop in another
thread. Nothing runs between calls, so the server's pings stay unanswered and it may close the connection. A session
that was idle therefore checks its connection before the next use, and reconnects.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import deque
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar

from .. import _errors
from . import nats_compat, requests, wire
from .client import close, connect, end_tasks

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from .settings import Settings

T = TypeVar("T")

# Servers ping every two minutes, and hang up after two missed pings. After a shorter pause the connection is checked.
_IDLE = 30.0
_VIOLATION = re.compile(r'permissions violation for (publish|subscription) to "([^"]+)"', re.IGNORECASE)


class Driver:
    """One connection and its event loop, below the blocking calls of a session."""

    def __init__(
        self, settings: Settings, *, read_only: bool = False, warn: Callable[[str], None] | None = None
    ) -> None:
        self.settings = settings
        self.read_only = read_only
        self._warn = warn
        self.wrote, self.writes_done = False, 0  # whether writes were sent; how many were acknowledged
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client: Any = None
        self._server: wire.Server | None = None
        self._behind: wire.Server | None = None
        self._pending: dict[str, requests.Pending] = {}
        self._tokens: Iterator[str] = map(str, count(1))  # each identifies the answers of one request in this session
        self._inbox = ""
        self._inbox_problem: _errors.PermissionMissing | None = None
        self._used = 0.0
        self._subscriptions: dict[str, str] = {}
        self._arrived: deque[wire.Message] = deque()
        self._wake: Any = None  # asyncio.Event, like _closed: made with each connection, since they belong to its loop
        self._closed: Any = None
        self.refused_subscriptions: set[str] = set()
        self._meanwhile: tuple[float, Callable[[], None]] | None = None
        self._end_at: float | None = None  # when waiting requests are aborted, by time.monotonic()
        self._on_break: Callable[[], None] | None = None
        self._first = 0  # the index of the server that is tried first

    def _drive(self, work: Coroutine[Any, Any, T]) -> T:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        if self._meanwhile:
            work = _accompanied(work, *self._meanwhile)
        if self._end_at is not None:
            work = _limited(work, self._end_at - time.monotonic())
        task = self._loop.create_task(work)
        try:
            return self._loop.run_until_complete(task)
        finally:
            self._used = time.monotonic()
            if not task.done():  # a signal's handler raised an exception
                with suppress(BaseException):
                    self._loop.run_until_complete(end_tasks({task}))

    # The connection

    @property
    def _alive(self) -> bool:
        return self._client is not None and not self._client.is_closed

    @property
    def _fresh(self) -> bool:
        """True if the connection worked so recently that it needs no check."""
        return self._alive and time.monotonic() - self._used <= _IDLE

    async def _ready(self) -> None:
        if self._fresh:
            return
        if self._alive and await self._answers():
            return
        if self._client is not None:
            await close(self._client)
        self._wake, self._closed = asyncio.Event(), asyncio.Event()
        self._inbox_problem = None
        if self._client is not None:
            self._first += 1  # the server of the old connection may be down, so the next one is tried first
        self._client = await connect(self.settings, self._first, self._on_error, self._on_closed, self._warn)
        self._server, self._behind = wire.Server.from_info(nats_compat.server_info(self._client)), None
        self._inbox = f"{self._client.new_inbox()}"
        await self._client.subscribe(f"{self._inbox}.*", cb=nats_compat.callback(self._on_reply))
        for subject, queue in self._subscriptions.items():
            await self._client.subscribe(subject, queue=queue, cb=nats_compat.callback(self._on_message))

    async def _answers(self) -> bool:
        """Return True if the server still answers."""
        pong = asyncio.ensure_future(self._client.flush(timeout=min(2.0, self.settings.timeout)))
        closed = asyncio.ensure_future(self._closed.wait())
        await asyncio.wait({pong, closed}, return_when=asyncio.FIRST_COMPLETED)
        alive = pong.done() and pong.exception() is None and self._alive
        for task in (pong, closed):
            task.cancel()
        return alive

    async def _subscribe(self, subject: str, queue: str, wait: bool) -> None:
        fresh = not self._alive
        await self._ready()
        if not fresh:
            await self._client.subscribe(subject, queue=queue, cb=nats_compat.callback(self._on_message))
        if wait:
            await self._flush()

    async def _unsubscribe(self, subject: str = "") -> None:
        from nats.errors import Error

        every = nats_compat.subscriptions(self._client)
        ours = [each for each in every if not each.subject.startswith(self._inbox) and subject in ("", each.subject)]
        try:
            if not subject:
                for subscription in ours:
                    await nats_compat.send_unsubscribe(self._client, subscription)
                await self._flush()
            for subscription in ours:
                await subscription.unsubscribe()
        except Error as error:
            raise self._broken() from error

    async def _flush(self) -> None:
        if not await self._answers():
            await close(self._client)
            raise self._broken()

    async def _publish(self, request: wire.Request, wait: bool, reply: str) -> None:
        await self._ready()
        if not wait:
            await self._send(self._command(request, reply))
            return
        pending = self._pending["publish"] = requests.Pending(request, False, lambda _ended: None)
        try:
            await self._send(self._command(request, reply))
            await self._flush()
            await asyncio.sleep(0)
        finally:
            del self._pending["publish"]
        if pending.error:
            raise pending.error

    async def _gather(
        self, request: wire.Request, seconds: float, enough: Callable[[list[wire.Message]], bool]
    ) -> list[wire.Message]:
        await self._ready()
        arrived = asyncio.Event()
        pending = requests.Pending(request._replace(many=True), False, lambda _ended: arrived.set())
        pending.token, end_at = next(self._tokens), time.monotonic() + seconds
        self._pending[pending.token] = pending
        try:
            await self._send(self._command(request, f"{self._inbox}.{pending.token}"))
            while not pending.done and self._alive and not enough(pending.messages):
                left = end_at - time.monotonic()
                if left <= 0:
                    break
                arrived.clear()
                with suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(arrived.wait(), left)
        finally:
            del self._pending[pending.token]
        if pending.error:
            raise pending.error
        return [message for message in pending.messages if not message.status]

    async def _await_message(self, timeout: float, wake: int) -> None:
        await self._ready()
        if self._arrived:
            return
        if timeout <= 0:
            await asyncio.sleep(0)  # asyncio.wait_for() takes ten times as long
            return
        self._wake.clear()  # what set it may have been received since
        loop = asyncio.get_running_loop()
        if wake >= 0:
            loop.add_reader(wake, self._wake.set)
        try:
            await asyncio.wait_for(self._wake.wait(), timeout)
        except asyncio.TimeoutError:
            return
        finally:
            if wake >= 0:
                loop.remove_reader(wake)
        self._wake.clear()
        if not self._arrived and not self._alive:
            raise self._broken()

    # Requests, which pipeline.py sends and awaits

    def _command(self, request: wire.Request, reply: str) -> bytes:
        """Return the command for a request, with the subject for its answer. Raises Refused."""
        most = self._client.max_payload
        try:
            command = request.encoded(reply)
        except ValueError as error:
            raise _errors.Refused(f"'{request.subject}' can't be sent: {error}.", code="subject") from error
        if len(command) > most and request.size > most:
            raise _errors.Refused(
                f"The message for {request.subject} has {request.size} bytes, and the server takes at most "
                f"{most}: send less, or raise max_payload on the server.",
                code="too_large",
            )
        return command

    async def _send(self, *commands: bytes) -> None:
        """Send commands. Raises Unreachable."""
        if not self._alive:
            raise self._broken()
        await nats_compat.send(self._client, commands)

    # Methods that nats-py calls

    def _on_reply(self, message: wire.Message) -> None:
        pending = self._pending.get(message.subject.rpartition(".")[2])
        if pending is not None:
            pending.feed(message)

    def _on_message(self, message: wire.Message) -> None:
        if not self._arrived:  # otherwise it is set, or nobody waits
            self._wake.set()
        self._arrived.append(message)

    def _refuse_longest(self) -> None:
        """Fail the open requests with the longest subject. Sent again, they would end the next connection too."""
        lengths = {p: len(p.request.subject.encode()) for p in self._pending.values() if not p.done}
        length = max(lengths.values(), default=0)
        why = f"The subject has {length} bytes, more than the server reads: shorten the subject or the key, or raise"
        for pending in [pending for pending in lengths if lengths[pending] == length]:
            pending.fail(_errors.Refused(f"{why} max_control_line of the server.", code="subject"))

    async def _on_closed(self) -> None:
        if self._client is not None and "maximum control line" in str(self._client.last_error).lower():
            self._refuse_longest()
        self._wake.set()
        self._closed.set()
        if self._on_break:
            self._on_break()

    async def _on_error(self, error: Exception) -> None:
        """Assign a permission error to the request that caused it. The error itself does not name the request."""
        match = _VIOLATION.search(str(error))
        if not match:
            return
        kind, subject = match.groups()
        if kind.lower() == "publish":
            for pending in list(self._pending.values()):
                if pending.request.subject.lower() == subject.lower():
                    from .errors import PUBLISH, missing_permission

                    pending.fail(missing_permission(PUBLISH, pending.request.subject, self.settings.jwt))
        elif subject.lower().startswith(self._inbox.lower()):
            from .errors import inbox_refused

            self._inbox_problem = inbox_refused(self.settings)
            for pending in list(self._pending.values()):
                pending.fail(self._inbox_problem)
        else:
            self.refused_subscriptions.update(each for each in self._subscriptions if each.lower() == subject.lower())

    def _broken(self) -> _errors.StreamsError:
        from .errors import broken

        return broken(self.settings)


async def _accompanied(work: Coroutine[Any, Any, T], seconds: float, call: Callable[[], None]) -> T:
    """Run ``work``, and call ``call`` every ``seconds`` seconds meanwhile. Its exceptions abort the work."""
    task = asyncio.ensure_future(work)
    try:
        while not (await asyncio.wait({task}, timeout=seconds))[0]:
            call()
        return task.result()
    finally:
        if not task.done():
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def _limited(work: Coroutine[Any, Any, T], seconds: float) -> T:
    """Run ``work`` for at most ``seconds`` seconds. Raises NoAnswer after that."""
    try:
        return await asyncio.wait_for(work, max(0.0, seconds))
    except asyncio.TimeoutError:
        raise _errors.NoAnswer("The servers did not answer in the time that there was.", code="timeout") from None


async def end(client: Any) -> None:
    """Close a connection, and end the tasks that nats-py left running in the loop."""
    if client is not None:
        await close(client)
    await end_tasks(asyncio.all_tasks())
