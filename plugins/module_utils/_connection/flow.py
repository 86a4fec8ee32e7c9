# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Send a long sequence of requests, of which only those under way are in memory.

The window is the number of requests without an answer. It grows with each answer, so that it doubles in a round trip,
as long as answers come about as fast as the fastest one. When they take longer, more requests would only wait longer.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING

from .pipeline import Pipeline
from .requests import Pending

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from . import sessions, wire
    from .requests import Answer, Link

# The bytes under way: at first, and at most, which is half of what a server keeps for a client (max_pending)
_FIRST, _MOST = 4 << 20, 32 << 20
# Answers that take this many times as long as the fastest one do not widen the window
_LONGER = 2.0


def send(
    session: sessions.Session,
    requests: Iterator[wire.Request],
    size: int,
    timeout: float,
    take: Callable[[Answer], None],
) -> None:
    """Send requests of at most ``size`` bytes each, and call ``take`` with each answer or error, in their order.

    The requests must not be repeatable: one without an answer ends as OutcomeUnknown. No more are sent ``timeout``
    seconds after the last answer, and when ``take`` raises, whose error is passed on.
    """

    def checked() -> Iterator[wire.Request]:
        for request in requests:
            session._guard(request.subject)
            yield request

    session._drive(_Flow(session, checked(), size, timeout, take).run())


class _Flow(Pipeline):
    def __init__(
        self, session: Link, requests: Iterator[wire.Request], size: int, timeout: float, take: Callable[[Answer], None]
    ) -> None:
        super().__init__(session, (), max(1, _FIRST // size), timeout)
        self._requests, self._most, self._take = requests, max(1, _MOST // size), take
        self._fastest = float("inf")

    async def _exchange(self) -> None:
        for request in self._requests:
            pending = Pending(request, False, partial(self._answered, time.monotonic()))
            self._pendings.append(pending)
            self._unanswered += 1
            await self._send([pending])
            await asyncio.sleep(0)  # nats-py sends what it has
            await self._take_answers(self._size - 1)
        while self._pendings:
            await self._take_answers(self._unanswered - 1)

    def _answered(self, sent: float, ended: bool) -> None:
        delay = time.monotonic() - sent
        self._fastest = min(self._fastest, delay)
        if delay < _LONGER * self._fastest:
            self._size = min(self._most, self._size + 1)
        self._progress(ended)

    async def _take_answers(self, most: int) -> None:
        """Wait until at most ``most`` requests are unanswered, and hand on the answers."""
        problem = await self._until(most)
        if problem:
            self._give_up(problem)
        while self._pendings and self._pendings[0].done:
            pending = self._pendings.popleft()
            self._session._pending.pop(pending.token, None)
            self._take(self._result(pending))
