# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sender: takes events without ever blocking, and delivers them in order from a thread of its own.

Only that thread uses the connection and the disk.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from ...module_utils import _errors
from ...module_utils._operations.runs.journal import Outgoing
from .outbox import SPILL_AFTER, Earlier, Outbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ...module_utils._operations.runs.spool import Spool
    from .transport import Transport

# How long events wait for company, and how many don't: one window of many takes a fraction of what many windows take
_LINGER, _CROWD = 0.4, 128
_LOOK_EVERY = 0.1
# How often the run learns which events it need not keep any more
_REPORT_EVERY = 0.25
_FIRST_PAUSE, _LONGEST_PAUSE, _LAST_PAUSE = 0.2, 2.0, 0.25
# How long the end of a run waits for servers that were away for all of its flush_timeout already
_BRIEFLY = 1.0
# What of flush_timeout is kept for the disk, and how much longer a slow one is waited for
_RESERVE, GRACE = 0.2, 1.0


class Report(NamedTuple):
    """The delivery of a run's events. ``text`` describes it, ``fine`` is True without problems."""

    stored: int
    spooled: int
    dropped: int
    text: str
    fine: bool


class Before(NamedTuple):
    """The work of earlier senders of the run: how many events must not come again, and how many of them were dropped.

    With ``resume`` their journal is continued.
    """

    settled: int = 0
    dropped: int = 0
    resume: bool = False


class Accounts(NamedTuple):
    """The numbers of a run's events by their state."""

    stored: int
    spooled: int
    dropped: int

    def text(self, place: str, path: Path) -> str:
        where = f" in {path}" if self.spooled else ""
        return f"{self.stored} {events(self.stored)} {place}, {self.spooled} spooled{where}, {self.dropped} dropped"


def events(count: int) -> str:
    """Return the noun for so many events."""
    return "event" if count == 1 else "events"


def accounts(before: Before, count: int, outbox: Outbox) -> Accounts:
    """Return the numbers of events. ``count`` were sent to this sender, including those that were dropped before it."""
    dropped = before.dropped + count + outbox.resumed - outbox.delivered - outbox.on_disk
    return Accounts(before.settled + count - outbox.on_disk - dropped, outbox.on_disk, dropped)


class _TimeIsUp(Exception):
    """The run is over, and flush_timeout has passed."""


_NOTHING_BEFORE = Before()


class Sender:
    """The events of one run. ``put``, ``missed`` and ``finish`` are for the main thread."""

    def __init__(
        self,
        transport: Transport,
        spool: Spool,
        run_id: str,
        *,
        before: Before = _NOTHING_BEFORE,
        report_progress: Callable[[dict[str, int]], None] = lambda _progress: None,
    ) -> None:
        self._transport, self._spool, self._before = transport, spool, before
        self._report_progress = report_progress
        self._reported, self._next_report = 0, 0.0
        self._outbox = Outbox(spool, lambda: spool.create(run_id, transport.target))
        if before.resume:
            self._outbox.resume(lambda: spool.resume(run_id, transport.target))
        self._earlier = Earlier(spool, transport.target)
        self._count = 0
        self._problem = ""
        self._hopeless = False
        # When all was well, or the attempt began that does not end
        self._good = time.monotonic()
        self._crowd, self._end, self._done = threading.Event(), threading.Event(), threading.Event()
        self._deadline = float("inf")
        self._thread = threading.Thread(target=self._work, name="choria_results", daemon=True)
        self._thread.start()

    @property
    def stored(self) -> int:
        """The number of delivered events."""
        return self._outbox.delivered

    def put(self, subject: str, event_id: str, payload: bytes) -> None:
        """Take an event, or drop it if the memory is full. A run never waits for its reports."""
        self._count += 1
        if self._outbox.put(Outgoing(subject, event_id, payload)) >= _CROWD and not self._crowd.is_set():
            self._crowd.set()

    def missed(self, count: int) -> None:
        """Count events that were dropped before they reached the sender."""
        self._count += count
        self._outbox.full |= count > 0

    def finish(self, timeout: float) -> Report:
        """Wait until all is delivered, at most ``timeout`` seconds. The rest stays on disk."""
        now = time.monotonic()
        troubled = bool(self._problem) or self._outbox.on_disk > 0
        patience = min(timeout, _BRIEFLY) if troubled and now - self._good > timeout else timeout
        self._deadline = now + max(patience - _RESERVE, patience / 2)
        self._end.set()
        self._crowd.set()
        if self._done.wait(patience + GRACE):
            self._thread.join(max(0.0, now + patience - time.monotonic()))
        return self._report()

    def _report(self) -> Report:
        counted = accounts(self._before, self._count, self._outbox)
        _stored, spooled, dropped = counted
        text = counted.text(self._transport.place, self._spool.path)
        if self._earlier.delivered:
            text += f", and {self._earlier.delivered} of earlier runs delivered"
        reasons = list(self._reasons(spooled, dropped))
        return Report(*counted, ": ".join([text, " ".join(reasons)]) if reasons else text, not reasons)

    def _reasons(self, spooled: int, dropped: int) -> Iterator[str]:
        """Yield sentences on problems of the delivery."""
        if spooled or dropped:
            if self._problem:
                yield self._problem
            elif not self._done.is_set():
                yield f"writing to {self._spool.path} takes too long."
            elif spooled:
                yield "the servers did not acknowledge them within flush_timeout."
        if self._outbox.lost or self._earlier.lost:
            lost = self._outbox.lost + self._earlier.lost
            yield f"{lost} {'is' if lost == 1 else 'are'} larger than the stream takes: lower max_size."
        if dropped and self._outbox.full:
            yield "memory was full."
        if dropped and self._outbox.problem:
            yield self._outbox.problem
        if spooled:
            yield "A later run delivers what is spooled."
        if self._transport.warning:
            yield self._transport.warning
        if self._earlier.problem:
            yield self._earlier.problem
        if self._earlier.damaged:
            damaged = self._earlier.damaged
            yield f"{damaged} damaged {events(damaged)} of earlier runs {'was' if damaged == 1 else 'were'} dropped."
        others = self._spool.foreign
        if others and self._spool.may_warn():
            yield (
                f"In {self._spool.path} are events of {others} {'run' if others == 1 else 'runs'} for other servers or "
                "streams: 'ansible-playbook choria.streams.results_journal' shows, re-addresses and drops them."
            )

    # The thread

    def _work(self) -> None:
        try:
            self._transport.meanwhile(_LOOK_EVERY, self._look)
            self._deliver()
        except _TimeIsUp:
            pass
        except OSError as error:
            self._keep(f"{self._spool.path}: {error.strerror}.")
        except Exception as error:  # whatever it is, the run goes on
            self._keep(_errors.bug(error).message)
        finally:
            self._outbox.finish()
            self._earlier.close()
            self._done.set()
            self._transport.close()

    def _keep(self, problem: str) -> None:
        """Write all further events to disk, after an error that ends the delivery."""
        self._problem = problem
        with suppress(_TimeIsUp):
            while not self._end.wait(_LOOK_EVERY):
                self._look()

    def _deliver(self) -> None:
        """Send events until the run is over and nothing is left."""
        pause = _FIRST_PAUSE
        while True:
            ended = self._end.is_set()
            self._look()
            lane = self._lane()
            if ended and (lane is None or self._hopeless):
                return
            if lane is None or self._hopeless:
                self._await_company()
            elif self._send(lane):
                pause = _FIRST_PAUSE
            else:
                self._rest(_LAST_PAUSE if ended else pause)
                pause = min(pause * 2, _LONGEST_PAUSE)

    def _lane(self) -> Outbox | Earlier | None:
        """Return the source of the next events. Those of earlier runs come after those of this run."""
        if not self._outbox.empty:
            return self._outbox
        return None if self._earlier.empty else self._earlier

    def _send(self, lane: Outbox | Earlier) -> bool:
        """Send one window of events, or a single one after an error."""
        if not self._problem:
            self._good = time.monotonic()
        window = lane.window(1 if self._problem else self._transport.window)
        if not window:  # of a journal that can't be read any more
            return True
        sent = self._transport.send(window)
        lane.advance(sent.settled, sent.lost)
        self._problem, self._hopeless = sent.problem, sent.hopeless
        if not sent.problem:
            self._good = time.monotonic()
        return not sent.problem

    def _await_company(self) -> None:
        if self._hopeless:  # nothing can be sent: long enough for events to be due on disk
            self._end.wait(SPILL_AFTER + _LOOK_EVERY)
        else:
            self._crowd.wait(_LINGER)
            self._crowd.clear()

    def _rest(self, seconds: float) -> None:
        """Wait, but not beyond the end of the run."""
        ended, until = self._end.is_set(), time.monotonic() + seconds
        while time.monotonic() < until and self._end.is_set() == ended:
            if ended:
                time.sleep(_LOOK_EVERY)
            else:
                self._end.wait(_LOOK_EVERY)
            self._look()

    def _look(self) -> None:
        self._outbox.look()
        now = time.monotonic()
        if now > self._next_report and self._outbox.settled > self._reported:
            self._reported, self._next_report = self._outbox.settled, now + _REPORT_EVERY
            self._report_progress({"settled": self._outbox.settled, "dropped": self._outbox.dropped})
        if now > self._deadline:
            raise _TimeIsUp
