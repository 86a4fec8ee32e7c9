# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Send requests together. Each ends with an answer, an error or an unknown outcome.

A request that can be repeated without harm is sent again if no answer comes for two to three seconds, or if the
connection broke, since requests get lost during the election of a leader. All others are sent once. A request that
may have changed something and gets no answer ends as OutcomeUnknown.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from .. import _errors
from .client import close
from .requests import Pending, is_read, repeats

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from . import wire
    from .requests import Answer, Link, Problem

# How many requests are made before they are sent
_AT_ONCE = 500
# After how many seconds without any answer what can be repeated is sent again
_AGAIN = (2.0, 3.0)
# Between attempts to connect, while answers are due
_RECONNECT = 0.25


class Pipeline:
    """The requests of one call, at most ``size`` of them unanswered at a time.

    It gives up ``timeout`` seconds after the last answer.
    """

    def __init__(self, session: Link, requests: Sequence[wire.Request], size: int, timeout: float) -> None:
        self._session, self._size, self._timeout = session, size, timeout
        api = session.settings.api
        self._pendings = deque(Pending(request, repeats(api, request), self._progress) for request in requests)
        self._unanswered = self._enough = self._resent = 0
        self._heard = self._tried = time.monotonic()

    async def run(self) -> list[Answer]:
        """Return an answer or an error for each request, in their order. Raises the reason if it can't connect."""
        session = self._session
        self._reached = asyncio.Event()  # before Python 3.10, it belongs to the loop that runs when it is made
        try:
            await self._connect(time.monotonic() + self._timeout if session._client else 0.0)
            self._heard = self._tried = time.monotonic()
            session._on_break = self._reached.set
            await self._exchange()
            return [self._result(pending) for pending in self._pendings]
        finally:
            session._on_break = None
            for pending in self._pendings:
                session._pending.pop(pending.token, None)
            self._pendings.clear()  # which name this object: its memory would last until the next collection

    async def _connect(self, end: float) -> None:
        """Connect, and retry until ``end``, since a server may be restarting. Raises StreamsError."""
        while True:
            try:
                return await self._session._ready()
            except _errors.Unreachable:
                if time.monotonic() + _RECONNECT > end:
                    raise
            await asyncio.sleep(_RECONNECT)

    async def _exchange(self) -> None:
        problem: Problem | None = None
        left, rest = len(self._pendings), iter(self._pendings)
        while left and not problem:
            room = min(self._size - self._unanswered, _AT_ONCE, left)
            if room <= 0 or not self._session._alive:
                problem = await self._until(self._size // 2, more=True)
            elif self._session._inbox_problem:
                problem = _constant(self._session._inbox_problem)
            else:
                left -= room
                self._unanswered += room
                await self._send(list(islice(rest, room)))
                if room == _AT_ONCE:
                    await asyncio.sleep(0)  # nats-py sends what it has: the server works while the rest is made
        problem = problem or await self._until(0)
        if problem:
            self._give_up(problem)

    async def _send(self, pendings: Iterable[Pending]) -> None:
        session, commands = self._session, []
        for pending in pendings:
            if not pending.token or pending.request.many:
                # Late messages of an earlier answer in many parts must not be mixed with this answer
                session._pending.pop(pending.token, None)
                pending.token, pending.messages = next(session._tokens), []
                session._pending[pending.token] = pending
            pending.sent += 1
            try:
                commands.append(session._command(pending.request, f"{session._inbox}.{pending.token}"))
            except _errors.Refused as error:
                pending.fail(error)
        with suppress(_errors.Unreachable):  # a broken connection is noticed where answers are awaited
            await session._send(*commands)

    def _result(self, pending: Pending) -> Answer:
        if isinstance(pending.error, _errors.StreamsError):
            return pending.error
        if pending.error is not None:
            raise pending.error
        last = pending.messages[-1]
        if last.headers and last.status == "503":
            from .errors import no_responders

            return no_responders(self._session.settings, self._session._server, pending.request.subject)
        return pending.messages

    # Waiting

    def _progress(self, ended: bool) -> None:
        self._resent = 0
        self._heard = self._tried = self._session._client.read_at
        if ended:
            self._unanswered -= 1
            if self._unanswered <= self._enough:
                self._reached.set()

    async def _until(self, most: int, *, more: bool = False) -> Problem | None:
        """Wait until at most ``most`` requests are unanswered. Return why the rest gets no answer, or None.

        With ``more`` there are requests to be sent, so that a connection is needed.
        """
        self._enough = most
        patience = random.uniform(*_AGAIN)
        while self._unanswered > most or (more and not self._session._alive):
            if not self._session._alive:
                problem = await self._reconnect(more)
                if problem:
                    return problem
                continue
            now, end = time.monotonic(), self._heard + self._timeout
            if now >= end:
                return await self._diagnose()
            self._reached.clear()
            if self._unanswered > most:
                with suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._reached.wait(), max(0.0, min(end, self._tried + patience) - now))
            if time.monotonic() - self._tried >= patience:
                await self._resend()
        return None

    @property
    def _open(self) -> list[Pending]:
        return [pending for pending in self._pendings if pending.sent and not pending.done]

    async def _resend(self) -> None:
        """Send the repeatable requests again, over another server if this one does not answer, or did not before."""
        # A server that its cluster has lost still answers pings
        self._tried, self._resent = time.monotonic(), self._resent + 1
        movable = len(self._session.settings.servers) > 1 and all(pending.repeats for pending in self._open)
        if not (movable and self._resent > 1) and await self._session._answers():
            await self._send([pending for pending in self._open if pending.repeats])
        elif movable:
            await close(self._session._client)

    async def _reconnect(self, more: bool) -> Problem | None:
        """Send the repeatable requests over a new connection. Return why that is not possible, or None."""
        from .errors import broken

        session, heard = self._session, self._heard
        for pending in self._open:
            if not pending.repeats:
                pending.fail(self._lost(pending, broken(session.settings)))
        self._heard = heard  # answers of the server extend the time, and this is none
        if self._unanswered or more:
            try:
                await self._connect(self._heard + self._timeout)
            except _errors.StreamsError as error:
                return _constant(error)
        self._tried = time.monotonic()
        await self._send(self._open)
        return None

    # Giving up

    async def _diagnose(self) -> Problem:
        """Find out after a timeout if the server is down, a leader is missing, or only the answer is missing."""
        session, waiting = self._session, self._open
        if not await session._answers():
            from .errors import server_silent

            await close(session._client)
            return partial(server_silent, session.settings)
        from .outage import explained

        problem = await explained(session, waiting[0].request.subject if waiting else "", self._timeout)
        if len(session.settings.servers) > 1:
            await close(session._client)  # another server is asked next
        return problem

    def _give_up(self, problem: Problem) -> None:
        for pending in self._pendings:
            if not pending.done:
                error = problem(pending.request.subject)
                pending.fail(self._lost(pending, error) if pending.sent else error)

    def _lost(self, pending: Pending, error: _errors.StreamsError) -> _errors.StreamsError:
        """Return the error of a request that was sent and whose answer got lost."""
        subject, unanswered = pending.request.subject, isinstance(error, (_errors.Unreachable, _errors.NoAnswer))
        unknown = unanswered and not is_read(self._session.settings.api, subject)
        return _errors.OutcomeUnknown(subject, error) if unknown else error


def _constant(error: _errors.StreamsError) -> Problem:
    return lambda _subject: error
