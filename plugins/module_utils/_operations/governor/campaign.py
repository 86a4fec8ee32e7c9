# Copyright (c) 2026 The choria.streams developers
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
from contextlib import suppress
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

# Seconds between two checks of the governor. They grow while the waiter receives events.
_FIRST_CHECK, _GROWTH, _LONGEST = 5.0, 1.6, 15.0
# Servers take an expired seat back about a quarter of a second late.
_AFTER_EXPIRY = 0.1
# Over how many seconds waiters spread their checks for an expired seat, and others, which need not be so soon: of
# thousands, few begin before they hear of the first. How much fewer check early than late, as a power of e.
_SPREAD, _WIDE_SPREAD, _STEEPNESS = 0.5, 2.0, 8.0
# Autonomous agents publish that they leave before they do it, on a slow machine some time before.
_AFTER_EXIT, _LATER = (0.1, 0.3), 2.0
# How long a sleeping waiter may take to notice a signal if nothing wakes it, and which part of a second is no waking.
_NAP, _EARLY = 0.5, 0.05
# Between attempts while the server is away.
_RETRY = (0.2, 1.0)
# How many seconds to find out the outcome of a request after max_wait, and after a signal.
_SETTLE, _SETTLE_INTERRUPTED = 10.0, 2.0
# How many seconds optional requests, such as events, may delay the work after a seat was won.
MOMENT = 1.0
# The part of its time after which a seat is too old to begin to work, and how long after max_wait that is too late: an
# answer that was lost, and had to be asked for again, may still come in time.
_TOO_OLD, _TOO_LATE = 0.5, 5.0
# Errors before the first connection that waiting can't end
_SET_WRONGLY = {
    "tls_not_offered",
    "tls_certificate",
    "tls",
    "inbox_prefix",
    "jetstream_off",
    "jetstream_off_in_account",
}


class Wait:
    """How long to wait: ``max_wait`` seconds from now on, at most until ``stopped()`` is true.

    ``wake`` is a file descriptor that is readable as soon as ``stopped()`` is true. With -1 the wait calls
    ``stopped()`` twice a second.
    """

    def __init__(self, max_wait: float, stopped: Callable[[], bool] = lambda: False, wake: int = -1) -> None:
        self.wake = wake
        self._began = governors.uptime()
        self.deadline = self._began + max_wait
        self._stopped = stopped
        self.missed = ""
        """Why there was no seat, where it was not that all are taken, in words that follow on a colon."""

    @property
    def stopped(self) -> bool:
        """True if the work has to end."""
        return self._stopped()

    @property
    def over(self) -> bool:
        """True if the time is over or the work has to end."""
        return self._stopped() or governors.uptime() >= self.deadline

    @property
    def elapsed(self) -> float:
        """How long it has waited, in seconds."""
        return governors.uptime() - self._began

    def late(self, seat: Seat) -> str:
        """Return why it is too late to start work with a seat, or an empty text.

        While a server was down, the seat may have expired, or got lost with the governor.
        """
        expire = seat.governor.expire
        if expire and seat.held > expire * _TOO_OLD:
            return f"when {seat.held:.1f}s of the {expire:g}s that it lasts had passed"
        # A campaign that asks only once does not wait, however long it takes to connect
        late = governors.uptime() - (self.deadline if self.deadline > self._began else seat.since)
        return f"{late:.1f}s later" if late > _TOO_LATE else ""


def find(session: sessions.Session, name: str, wait: Wait) -> Governor:
    """Return the governor, and wait for it while the server is down. Raises as ``governor.read`` does."""
    while True:
        try:
            return governors.read(session, name)
        except _errors.StreamsError as error:
            if not governors.is_transient(error) or error.failure["code"] in _SET_WRONGLY or wait.over:
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
        self._wakeups = 0  # events of free seats since the last request
        self._early = False  # one of them may have come before its seat was free
        self._interval = _FIRST_CHECK
        self._check_at = math.inf
        self._soon = 0.0  # the pause before the next check for a seat that was not free yet when its event came
        self._attempt = ""  # the id of a request whose answer has not come
        self._doubtful: set[str] = set()  # requests whose answers were lost
        self._sent = 0.0
        self._gave_up_at: float | None = None

    def run(self) -> Seat | None:
        # After it has found all seats taken, a waiter asks once more when it listens: one may have become free before
        full = self._governor.taken >= self._governor.capacity
        while True:
            try:
                if full and not self.listening and not self._wait_for.over:
                    self._listen()
                seat = self._ask()
                if seat or self._wait_for.over:
                    return seat
                if not self.listening:
                    full = True
                elif not self._wait():
                    return None
            except _errors.StreamsError as error:
                if not governors.is_transient(error):
                    raise
                if self._wait_for.over and not self._unsettled():
                    raise self._explained(error) from error
                time.sleep(random.uniform(*_RETRY))

    def settle(self, seat: Seat | None) -> None:
        """Give back what repeated requests took beside the seat."""
        ours = seat.sequence if seat else 0
        with suppress(_errors.StreamsError):  # it is tried again when the seat is given back
            governors.remove_doubtful(self._session, self._governor, frozenset(self._doubtful), ours)

    def end(self) -> None:
        """Wake other waiters for seats that this one does not take."""
        if not self.listening:
            return
        self.listening = False
        try:
            self._session.unsubscribe_all()
            self._hear(0)
        except _errors.StreamsError:
            return  # the other waiters find a free seat by their own checks
        for _seat in range(self._wakeups):
            events.pass_on(self._session, self._governor.name)

    # Asking

    def _ask(self) -> Seat | None:
        """Request a seat once. Return None if the governor is full.

        After a request without an answer the same one is sent again, which the server recognizes.
        """
        if not self._attempt:
            self._session.connect()  # where it can't, nothing was sent, and nothing is unknown
            self._attempt, self._sent = uuid.uuid4().hex, governors.uptime()
        else:
            self._doubtful.add(self._attempt)
            if governors.uptime() - self._sent > self._governor.window / 2:
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
                if self._early:
                    self._soon = random.uniform(*_AFTER_EXIT)
                    self._check_at = min(self._check_at, governors.uptime() + self._soon)
                self._attempt, self._wakeups, self._early, self._wait_for.missed = "", 0, False, ""
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
        self._wakeups = max(0, self._wakeups - 1)
        # The seat's age counts from when the server stored it, which was not before we sent the request.
        waited, doubtful = self._wait_for.elapsed, frozenset(self._doubtful)
        return Seat(self._governor, seat, self._identity, waited, self._sent, self.listening, doubtful)

    def _unsettled(self) -> bool:
        """Return True if only the outcome of a request is still open."""
        now = governors.uptime()
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
        """Subscribe to events. The answer to the next request for a seat shows whether that was refused."""
        self.listening = True
        self._session.subscribe(events.SUBJECTS, f"choria_streams.governor.{self._governor.name}", wait=False)
        self._session.subscribe(events.checked_subject(self._governor.name), wait=False)

    def _wait(self) -> bool:
        """Sleep until the next request makes sense. Return False after the deadline."""
        if self._check_at == math.inf:  # the answer to the last request has shown whether it receives events
            self._plan(self._until_expiry())
        while not self._wakeups:
            now = governors.uptime()
            if self._wait_for.over:
                return False
            if now >= self._check_at and self._check():
                return True
            until = min(self._check_at, self._wait_for.deadline)
            self._hear((until if self._wait_for.wake >= 0 else min(until, now + _NAP)) - now)
        return True

    def _hear(self, timeout: float) -> None:
        """Count wake-ups, for which it waits at most ``timeout`` seconds."""
        began = governors.uptime()
        message = self._session.receive(max(0.0, timeout), self._wait_for.wake)
        if message is None and governors.uptime() - began < timeout - _EARLY and not self._wait_for.over:
            self._wait_for.wake = -1  # it is readable for another reason, and would be again at once
        while message:
            if message.subject == events.checked_subject(self._governor.name):
                self._plan(events.next_expiry(message.data))
            else:
                frees = events.frees_seat(message.data, self._governor.name)
                self._wakeups += frees
                self._early |= frees and events.is_early(message.subject)
            message = self._session.receive(0)

    def _check(self) -> bool:
        """Return True if a seat is free, by the server's numbers."""
        self._governor = governors.read(self._session, self._governor.name)
        self._plan(self._until_expiry())
        if self._soon:  # this check was for the seat of an event that only this waiter got
            self._soon = self._soon * _LATER if self._soon * _LATER < _FIRST_CHECK else 0.0
            self._check_at = min(self._check_at, governors.uptime() + (self._soon or _FIRST_CHECK))
        else:
            events.checked(self._session, self._governor.name, self._until_expiry())
        free = self._governor.capacity - self._governor.taken
        for _seat in range(1, free):
            events.pass_on(self._session, self._governor.name)
        return free > 0

    def _until_expiry(self) -> float:
        """Return in how many seconds the oldest seat expires, as of when the governor was read."""
        left = self._governor.oldest_left
        return math.inf if left is None else max(0.0, left) + _AFTER_EXPIRY

    def _plan(self, expiry: float | None) -> None:
        """Set the time of the next check: in ``expiry`` seconds, or a while later. None changes nothing."""
        if expiry is None:
            return
        hears = events.SUBJECTS not in self._session.refused_subscriptions
        spread = _WIDE_SPREAD if hears and expiry >= self._interval else _SPREAD
        self._check_at = governors.uptime() + min(expiry, self._interval) + _late(spread)
        if hears:
            self._interval = min(self._interval * _GROWTH, _LONGEST)


def _late(spread: float) -> float:
    """Return a random delay of a check, at most ``spread`` seconds. Of any number of waiters, few are early."""
    return spread / _STEEPNESS * math.log1p(random.random() * math.expm1(_STEEPNESS))
