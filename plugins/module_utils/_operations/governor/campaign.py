# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Take a seat in a governor, or wait for one if it is full.

Waiters of one governor share a queue group on the lifecycle events. The server wakes one of them for each free seat,
and only that one asks again. A waiter that no longer needs the seat wakes the next one.

A wake-up can get lost with its process, and a seat can become free without one. So waiters also check the governor when
its oldest seat expires, and from time to time. After a check a waiter informs the others, which skip theirs, and wakes
one for each further free seat. Before a check each waits for a random time, mostly long and rarely short. So about one
of them is first.
"""

from __future__ import annotations

import math
import random
import time
import uuid
from typing import TYPE_CHECKING

from ... import _errors
from ..._api import jetstream, messages
from ..._resources.governor import events
from ..._resources.governor.seats import ATTEMPT, SeatId
from . import governor as governors
from .governor import Governor, Seat

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..._connection import sessions

# How often a waiter looks at the governor, in seconds: more and more seldom while it hears events.
_FIRST_LOOK, _GROWTH, _MOST_SELDOM = 5.0, 1.6, 30.0
# Servers take an expired seat back about a quarter of a second late.
_AFTER_EXPIRY = 0.1
# Over how many seconds waiters spread their looks, and how much fewer look early than late, as a power of e.
_SPREAD, _STEEPNESS = 0.5, 8.0
# Autonomous agents tell that they leave before they do it, on a slow machine some time before.
_AFTER_EXIT, _LATER = (0.1, 0.3), 3.0
# How long a signal may wait until a sleeping waiter sees it, where nothing wakes that up, and what is no waking up.
_NAP, _EARLY = 0.5, 0.05
# Between attempts while the server is away.
_RETRY = (0.2, 1.0)
# How long to find out what became of a request when the time is over, and when a signal came.
_SETTLE, _SETTLE_INTERRUPTED = 10.0, 2.0
# How long what is not needed may hold up the work that a seat was won for, such as events.
MOMENT = 1.0
# The part of its time after which a seat is too old to begin to work, and how long after max_wait that is too late: an
# answer that was lost, and had to be asked for again, may still come in time.
_TOO_OLD, _TOO_LATE = 0.5, 5.0
# What no waiting helps against, before the first connection succeeded
_SET_WRONGLY = (
    "tls_not_offered",
    "tls_certificate",
    "tls",
    "inbox_prefix",
    "jetstream_off",
    "jetstream_off_in_account",
)


class Wait:
    """How long to wait: ``max_wait`` seconds from now on, at most until ``stopped()`` is true.

    ``wake`` is a file descriptor that is readable as soon as ``stopped()`` is true. With -1 the wait calls
    ``stopped()`` twice a second.
    """

    def __init__(self, max_wait: float, stopped: Callable[[], bool] = lambda: False, wake: int = -1) -> None:
        self.wake = wake
        self._began = time.monotonic()
        self.deadline = self._began + max_wait
        self._stopped = stopped
        self.missed = ""
        """Why there was no seat, where it was not that all are taken, in words that follow on a colon."""

    @property
    def stopped(self) -> bool:
        return self._stopped()

    @property
    def over(self) -> bool:
        return self._stopped() or time.monotonic() >= self.deadline

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self._began

    def late(self, seat: Seat) -> str:
        """Return why it is too late to start work with a seat, or an empty text.

        While a server was down, the seat may have expired, or got lost with the governor.
        """
        expire = seat.governor.expire
        if expire and seat.held > expire * _TOO_OLD:
            return f"when {seat.held:.1f}s of the {expire:g}s that it lasts had passed"
        # Who asks only once does not wait, however long it takes to connect
        late = time.monotonic() - (self.deadline if self.deadline > self._began else seat.since)
        return f"{late:.1f}s later" if late > _TOO_LATE else ""


def find(session: sessions.Session, name: str, wait: Wait) -> Governor:
    """Return the governor, and wait for it while the server is down. Raises as ``governor.read`` does."""
    while True:
        try:
            return governors.read(session, name)
        except _errors.StreamsError as error:
            if not governors.passes(error) or error.failure["code"] in _SET_WRONGLY or wait.over:
                raise
            time.sleep(random.uniform(*_RETRY))


def campaign(session: sessions.Session, governor: Governor, identity: str, wait: Wait) -> Seat | None:
    """Return a seat, or None without one in time, or if ``wait.stopped``. Publishes a lifecycle event for the seat.

    A seat that comes too late is given back, and ``wait.missed`` reports it. Raises permanent errors such as a missing
    permission, and the reason of an outage that outlasts the wait.
    """
    while True:
        seat = _won(session, governor, identity, wait)
        late = wait.late(seat) if seat and not wait.stopped else ""
        if not seat or not late:
            return seat
        missed = f"seat {seat.sequence} was won, but could be used only {late}, {_returned(session, seat)}"
        if wait.over:
            wait.missed = missed
            return None
        time.sleep(random.uniform(*_RETRY))


def _won(session: sessions.Session, governor: Governor, identity: str, wait: Wait) -> Seat | None:
    """Return a seat, however late."""
    waiter = _Waiter(session, governor, identity, wait)
    try:
        seat = waiter.run()
        if seat is None:
            waiter.settle(None)
            return None
        with session.within(MOMENT):
            # Where it listened, this goes with the end of that
            events.publish(session, events.ENTER, governor.name, identity, seat.sequence, wait=not waiter.listening)
            waiter.end()
            waiter.settle(seat)
        return seat
    finally:
        waiter.end()


def _returned(session: sessions.Session, seat: Seat) -> str:
    """Give a late seat back, and return what happened to it. One that never expires must not be lost unnoticed."""
    try:
        with session.within(_SETTLE):
            lost = governors.leave(session, seat, _SETTLE)
    except _errors.StreamsError as error:
        if seat.expires:
            return f"and is taken until {seat.expires} at most"
        kept = _errors.Unreachable(governors.not_given_back(seat, error), code="outcome_unknown")
        kept.result = {"changed": True, "lease_id": str(seat.id)}
        raise kept from error
    return f"and is lost: {lost}" if lost else "and was given back"


class _Waiter:
    def __init__(self, session: sessions.Session, governor: Governor, identity: str, wait: Wait) -> None:
        self._session = session
        self._governor = governor
        self._identity = identity
        self._wait_for = wait
        self.listening = False
        self._told = 0  # of how many free seats we were told since we last asked
        self._interval = _FIRST_LOOK
        self._pause = self._look_at = 0.0
        self._soon = 0.0  # until the next look after we were told of a seat that was not free yet
        self._attempt = ""  # the id of a request whose answer has not come
        self._doubtful: set[str] = set()  # requests whose answers were lost
        self._sent = 0.0
        self._gave_up_at: float | None = None

    def run(self) -> Seat | None:
        while True:
            try:
                seat = self._ask()
                if seat or self._wait_for.over:
                    return seat
                if not self.listening:
                    self._listen()  # and ask again: a seat may have become free before
                elif not self._wait():
                    return None
            except _errors.StreamsError as error:
                if not governors.passes(error):
                    raise
                if self._wait_for.over and not self._unsettled():
                    raise self._explained(error) from error
                time.sleep(random.uniform(*_RETRY))

    def settle(self, seat: Seat | None) -> None:
        """Give back what repeated requests took beside the seat."""
        if not self._doubtful:
            return
        try:
            ours = seat.sequence if seat else 0
            governors.remove_doubtful(self._session, self._governor, frozenset(self._doubtful), ours)
        except _errors.StreamsError:
            return  # it is tried again when the seat is given back

    def end(self) -> None:
        """Wake other waiters for seats that this one does not take."""
        if not self.listening:
            return
        self.listening = False
        try:
            self._session.unsubscribe_all()
            self._hear(0)
        except _errors.StreamsError:
            return  # whoever could be told has to look for himself
        for _seat in range(self._told):
            events.pass_on(self._session, self._governor.name)

    # Asking

    def _ask(self) -> Seat | None:
        """Request a seat once. Return None if the governor is full.

        After a request without an answer the same one is sent again, which the server recognizes.
        """
        if not self._attempt:
            self._session.connect()  # where it can't, nothing was sent, and nothing is unknown
            self._attempt, self._sent = uuid.uuid4().hex, time.monotonic()
        else:
            self._doubtful.add(self._attempt)
            if time.monotonic() - self._sent > self._governor.window / 2:
                return self._find()
        try:
            acknowledgement = messages.publish(
                self._session,
                f"Asking for a seat in governor {self._governor.name}",
                self._governor.subject,
                self._identity.encode(),
                {ATTEMPT: self._attempt},
            )
        except _errors.ApiError as error:
            if error.err_code == jetstream.MAXIMUM_MESSAGES:
                if self._told:
                    self._soon = random.uniform(*_AFTER_EXIT)
                    self._look_at = min(self._look_at, time.monotonic() + self._soon)
                self._attempt, self._told, self._wait_for.missed = "", 0, ""
                return None
            raise
        return self._taken(int(acknowledgement["seq"]))

    def _find(self) -> Seat | None:
        """Return our seat among the taken ones, if the server would no longer recognize a repeated request."""
        for seat in messages.on_subject(self._session, self._governor.stream, self._governor.subject):
            if seat.headers.get(ATTEMPT) == self._attempt:
                return self._taken(seat.sequence)
        self._attempt, self._wait_for.missed = "", "the servers answered too late"
        return None

    def _taken(self, sequence: int) -> Seat:
        seat = SeatId(sequence, self._governor.created, self._attempt)
        self._attempt = ""
        self._told = max(0, self._told - 1)
        # The seat's age counts from when the server stored it, which was not before we sent the request.
        waited = self._wait_for.elapsed
        return Seat(self._governor, seat, self._identity, waited, self._sent, frozenset(self._doubtful))

    def _unsettled(self) -> bool:
        """Return True if only the outcome of a request is still open."""
        now = time.monotonic()
        self._gave_up_at = now if self._gave_up_at is None else self._gave_up_at
        return bool(self._attempt) and now - self._gave_up_at < (
            _SETTLE_INTERRUPTED if self._wait_for.stopped else _SETTLE
        )

    def _explained(self, error: _errors.StreamsError) -> _errors.StreamsError:
        if not self._attempt:
            return error
        expire = self._governor.expire
        end = f"it is taken back after {expire:g}s" if expire else "evict it with choria_governor_lease"
        unknown = _errors.Unreachable(
            f"It is not known whether '{self._identity}' took a seat in governor {self._governor.name}; if so, {end}. "
            f"Reason: {error.message}",
            code="outcome_unknown",
        )
        unknown.result = {"changed": True, "lease_id": str(SeatId(0, self._governor.created, self._attempt))}
        return unknown

    # Waiting

    def _listen(self) -> None:
        self.listening = True
        self._session.subscribe(events.SUBJECTS, queue=f"choria_streams.governor.{self._governor.name}")
        if events.SUBJECTS not in self._session.refused_subscriptions:
            self._session.subscribe(events.looked_subject(self._governor.name))
        self._schedule(self._governor)

    def _wait(self) -> bool:
        """Sleep until the next request makes sense. Return False after the deadline."""
        while not self._told:
            now = time.monotonic()
            if self._wait_for.over:
                return False
            if now >= self._look_at and self._look():
                return True
            until = min(self._look_at, self._wait_for.deadline)
            self._hear((until if self._wait_for.wake >= 0 else min(until, now + _NAP)) - now)
        return True

    def _hear(self, timeout: float) -> None:
        """Count wake-ups, for which it waits at most ``timeout`` seconds."""
        began = time.monotonic()
        message = self._session.receive(max(0.0, timeout), self._wait_for.wake)
        if message is None and time.monotonic() - began < timeout - _EARLY and not self._wait_for.over:
            self._wait_for.wake = -1  # it is readable for another reason, and would be again at once
        while message:
            if message.subject == events.looked_subject(self._governor.name):
                self._heed_look(events.look_again(message.data))
            else:
                self._told += events.frees_seat(message.data, self._governor.name)
            message = self._session.receive(0)

    def _look(self) -> bool:
        """Return True if a seat is free, by the server's numbers."""
        self._schedule(governors.read(self._session, self._governor.name))
        events.looked(self._session, self._governor.name, self._pause)
        free = self._governor.capacity - self._governor.taken
        for _seat in range(1, free):
            events.pass_on(self._session, self._governor.name)
        return free > 0

    def _heed_look(self, again: float | None) -> None:
        """Postpone our check, since another waiter has checked."""
        if again is not None:
            self._look_at = time.monotonic() + again + _late()

    def _schedule(self, governor: Governor) -> None:
        """Set the time of the next check: when the oldest seat expires, or a while later."""
        self._governor = governor
        self._pause = self._interval
        if governor.oldest_left is not None:
            self._pause = min(self._pause, max(0.0, governor.oldest_left) + _AFTER_EXPIRY)
        self._soon *= _LATER
        if 0 < self._soon < _FIRST_LOOK:
            self._pause = min(self._pause, self._soon)
        else:
            self._soon = 0.0
        self._look_at = time.monotonic() + self._pause + _late()
        if events.SUBJECTS not in self._session.refused_subscriptions:
            self._interval = min(self._interval * _GROWTH, _MOST_SELDOM)


def _late() -> float:
    """Return a random delay of a check in seconds. Of any number of waiters, few are early."""
    return _SPREAD / _STEEPNESS * math.log1p(random.random() * math.expm1(_STEEPNESS))
