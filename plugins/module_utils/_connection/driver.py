# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
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
from typing import TYPE_CHECKING, Any, TypeVar

from .. import _errors
from . import nats_compat, pipeline, requests, wire
from .client import close, connect

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from .settings import Settings

T = TypeVar("T")

# Servers ping every two minutes and hang up when two are missed: after a shorter pause the connection is looked at.
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
        self.wrote = False
        """Whether something was sent that may have changed something."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client: Any = None
        self._server: wire.Server | None = None
        self._behind: wire.Server | None = None
        self._pending: dict[str, requests.Pending] = {}
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
        self._end_at: float | None = None  # when what is asked now is broken off, by time.monotonic()
        self._on_break: Callable[[], None] | None = None
        self._first = 0

    def _drive(self, work: Coroutine[Any, Any, T]) -> T:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        try:
            if self._meanwhile:
                from .awaiting import accompanied

                work = accompanied(work, *self._meanwhile)
            if self._end_at is not None:
                from .awaiting import limited

                work = limited(work, self._end_at - time.monotonic())
            return self._loop.run_until_complete(work)
        finally:
            self._used = time.monotonic()

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
            self._first += 1  # the server that we had is away, so another one is tried before it
        self._client = await connect(self.settings, self._first, self._on_error, self._on_closed, self._warn)
        self._server, self._behind = wire.Server.from_info(nats_compat.server_info(self._client)), None
        self._inbox = f"{self._client.new_inbox()}"
        await self._client.subscribe(f"{self._inbox}.*", cb=self._on_reply)
        for subject, queue in self._subscriptions.items():
            await self._client.subscribe(subject, queue=queue, cb=self._on_message)

    async def _answers(self) -> bool:
        """Return True if the server still answers."""
        pong = asyncio.ensure_future(self._client.flush(timeout=min(2.0, self.settings.timeout)))
        closed = asyncio.ensure_future(self._closed.wait())
        await asyncio.wait({pong, closed}, return_when=asyncio.FIRST_COMPLETED)
        alive = pong.done() and pong.exception() is None and self._alive
        for task in (pong, closed):
            task.cancel()
        return alive

    async def _subscribe(self, subject: str, queue: str) -> None:
        fresh = not self._alive
        await self._ready()
        if not fresh:
            await self._client.subscribe(subject, queue=queue, cb=self._on_message)
        await self._flush()

    async def _unsubscribe(self, subject: str = "") -> None:
        from nats.errors import Error

        ours = [each for each in nats_compat.subscriptions(self._client) if not each.subject.startswith(self._inbox)]
        if subject:
            ours = [each for each in ours if each.subject == subject]
        try:
            for subscription in ours:
                await nats_compat.send_unsubscribe(self._client, subscription)
            await self._flush()
            for subscription in ours:
                # unsubscribe() drops what has come and was not handed on yet
                await nats_compat.handed_on(subscription)
                await subscription.unsubscribe()
        except Error as error:
            raise self._broken() from error

    async def _flush(self) -> None:
        if not await self._answers():
            await close(self._client)
            raise self._broken()

    async def _publish(self, request: wire.Request, wait: bool) -> None:
        await self._ready()
        if not wait:
            await self._send(request, "")
            return
        pending = self._pending["publish"] = requests.Pending(request, False, lambda _ended: None)
        try:
            await self._send(request, "")
            await self._flush()
            await asyncio.sleep(0)
        finally:
            del self._pending["publish"]
        if pending.error:
            raise pending.error

    async def _await_message(self, timeout: float, wake: int) -> None:
        await self._ready()
        if self._arrived:
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

    async def _exchange(
        self, requests: Sequence[wire.Request], window: int, timeout: float
    ) -> list[list[wire.Message] | _errors.StreamsError]:
        return await pipeline.Pipeline(self, requests, window, timeout).run()

    def _new_token(self) -> str:
        """Return a text that identifies the answers of one request in this session."""
        self._counter += 1
        return str(self._counter)

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

    # What nats-py calls

    async def _on_reply(self, message: Any) -> None:
        pending = self._pending.get(message.subject.rpartition(".")[2])
        if pending is not None:
            pending.feed(wire.Message(message.subject, message.data, message.headers or {}))

    async def _on_message(self, message: Any) -> None:
        self._arrived.append(wire.Message(message.subject, message.data, message.headers or {}, message.reply))
        self._wake.set()

    async def _on_closed(self) -> None:
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
            self.refused_subscriptions.update(
                known for known in self._subscriptions if known.lower() == subject.lower()
            )

    def _broken(self) -> _errors.StreamsError:
        from .errors import broken

        return broken(self.settings)


async def end(client: Any) -> None:
    """Close a connection, and end the tasks that nats-py left running in the loop."""
    if client is not None:
        await close(client)
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)
