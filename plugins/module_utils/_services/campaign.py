# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks for a seat in a governor, and waits for one where it is full.

Waiters of one governor share a queue group on the lifecycle events, so that the server wakes one of them for each seat
that becomes free, and this one alone asks again. Who was woken and does not need the seat wakes another. A wake-up can
be lost with the process that it woke, and a seat can become free without one: all waiters look at the governor when its
oldest seat expires, and from time to time.
"""

from __future__ import annotations

import random
import time
import uuid
from typing import TYPE_CHECKING

from .. import _errors
from .._api import jetstream, messages
from . import governor as governors
from . import governor_events as events
from .governor import Governor, Seat

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._connection import sessions

# How often a waiter looks at the governor, in seconds: more and more seldom while it hears events.
_FIRST_LOOK, _GROWTH, _MOST_SELDOM = 5.0, 1.6, 30.0
# Servers take an expired seat back a quarter of a second late, and not all waiters are to look at once.
_AFTER_EXPIRY = (0.05, 0.5)
# Autonomous agents tell that they leave before they do it.
_AFTER_EXIT = (0.1, 0.3)
# How long a signal may wait until a sleeping waiter sees it.
_NAP = 0.5
# Between attempts while the server is away.
_RETRY = (0.2, 1.0)
# How long to find out what became of a request when the time is over, and when a signal came.
_SETTLE, _SETTLE_INTERRUPTED = 10.0, 2.0


def campaign(
    session: sessions.Session,
    governor: Governor,
    identity: str,
    max_wait: float,
    stopped: Callable[[], bool] = lambda: False,
) -> Seat | None:
    """A seat, or None where there was none within ``max_wait`` seconds, or ``stopped()`` came true before.

    Whoever listens is told by an event. Raises what waiting does not help against, such as a permission that is
    missing, and why the server was away where it still was when the time was over.
    """
    waiter = _Waiter(session, governor, identity, max_wait, stopped)
    try:
        seat = waiter.run()
        if seat:
            # Where it listened, this goes with the end of that: the seat is ours already, and every wait is idle time
            wait = not waiter.listening
            events.publish(session, events.ENTER, governor.name, identity, seat.sequence, wait=wait)
        return seat
    finally:
        waiter.end()


class _Waiter:
    def __init__(
        self, session: sessions.Session, governor: Governor, identity: str, max_wait: float, stopped: Callable[[], bool]
    ) -> None:
        self._session = session
        self._governor = governor
        self._identity = identity
        self._stopped = stopped
        self._began = time.monotonic()
        self._deadline = self._began + max_wait
        self.listening = False
        self._told = 0  # of how many free seats we were told since we last asked
        self._interval = _FIRST_LOOK
        self._look_at = 0.0
        self._attempt = ""  # the id of a request whose answer has not come
        self._sent = 0.0
        self._gave_up_at: float | None = None

    def run(self) -> Seat | None:
        while True:
            try:
                seat = self._ask()
                if seat or self._over:
                    return seat
                if not self.listening:
                    self._listen()  # and ask again: a seat may have become free before
                elif not self._wait():
                    return None
            except _errors.StreamsError as error:
                if not governors.passes(error):
                    raise
                if self._over and not self._unsettled():
                    raise self._explained(error) from error
                time.sleep(random.uniform(*_RETRY))

    def end(self) -> None:
        """Tells other waiters of the seats that we were told of and do not take."""
        if not self.listening:
            return
        try:
            self._session.unsubscribe_all()
            self._hear(0)
        except _errors.StreamsError:
            return  # whoever could be told has to look for himself
        for _seat in range(self._told):
            events.pass_on(self._session, self._governor.name)

    @property
    def _over(self) -> bool:
        return self._stopped() or time.monotonic() >= self._deadline

    # Asking

    def _ask(self) -> Seat | None:
        """One request for a seat; None where the governor is full.

        After a request without an answer the same one is sent again: the server tells where it knows it.
        """
        if not self._attempt:
            self._session.connect()  # where it can't, nothing was sent, and nothing is unknown
            self._attempt, self._sent = str(uuid.uuid4()), time.monotonic()
        elif time.monotonic() - self._sent > self._governor.window / 2:
            return self._find()
        try:
            acknowledgement = messages.publish(
                self._session,
                f"Asking for a seat in governor {self._governor.name}",
                self._governor.subject,
                self._identity.encode(),
                {"Nats-Msg-Id": self._attempt},
            )
        except _errors.ApiError as error:
            if error.err_code == jetstream.MAXIMUM_MESSAGES:
                if self._told:
                    self._look_at = min(self._look_at, time.monotonic() + random.uniform(*_AFTER_EXIT))
                self._attempt, self._told = "", 0
                return None
            raise
        return self._taken(int(acknowledgement["seq"]))

    def _find(self) -> Seat | None:
        """Our seat among those that are taken: what the server would not recognise any more must not be repeated."""
        for seat in messages.on_subject(self._session, self._governor.stream, self._governor.subject):
            if seat.headers.get("Nats-Msg-Id") == self._attempt:
                return self._taken(seat.sequence)
        self._attempt = ""
        return None

    def _taken(self, sequence: int) -> Seat:
        sent, self._attempt = self._sent, ""
        self._told = max(0, self._told - 1)
        # The seat's age counts from when the server stored it, which was not before we sent the request.
        return Seat(self._governor, sequence, self._identity, time.monotonic() - self._began, sent)

    def _unsettled(self) -> bool:
        """Whether to go on only to learn if a request took a seat."""
        now = time.monotonic()
        self._gave_up_at = now if self._gave_up_at is None else self._gave_up_at
        return bool(self._attempt) and now - self._gave_up_at < (_SETTLE_INTERRUPTED if self._stopped() else _SETTLE)

    def _explained(self, error: _errors.StreamsError) -> _errors.StreamsError:
        if not self._attempt:
            return error
        expire = self._governor.expire
        end = f"it is taken back after {expire:g}s" if expire else "evict it with choria_governor_lease"
        return _errors.Unreachable(
            f"It is not known whether '{self._identity}' took a seat in governor {self._governor.name}; if so, {end}. "
            f"Reason: {error.message}"
        )

    # Waiting

    def _listen(self) -> None:
        self.listening = True
        self._session.subscribe(events.SUBJECTS, queue=f"choria_streams.governor.{self._governor.name}")
        self._schedule(self._governor)

    def _wait(self) -> bool:
        """Sleeps until it is worth to ask again. False when the time is over."""
        while not self._told:
            now = time.monotonic()
            if self._over:
                return False
            if now >= self._look_at and self._look():
                return True
            self._hear(min(self._look_at, self._deadline, now + _NAP) - now)
        return True

    def _hear(self, timeout: float) -> None:
        """Counts the free seats that we are told of, for which it waits at most ``timeout`` seconds."""
        message = self._session.receive(max(0.0, timeout))
        while message:
            self._told += events.frees_seat(message.data, self._governor.name)
            message = self._session.receive(0)

    def _look(self) -> bool:
        """Whether a seat is free, as far as the server's figures tell."""
        self._schedule(governors.read(self._session, self._governor.name))
        return self._governor.taken < self._governor.capacity

    def _schedule(self, governor: Governor) -> None:
        """When to look next: when the oldest seat expires, or a while later."""
        self._governor = governor
        pause = self._interval * random.uniform(0.8, 1.2)
        if governor.oldest_left is not None:
            pause = min(pause, max(0.0, governor.oldest_left) + random.uniform(*_AFTER_EXPIRY))
        self._look_at = time.monotonic() + pause
        if events.SUBJECTS not in self._session.refused_subscriptions:
            self._interval = min(self._interval * _GROWTH, _MOST_SELDOM)
