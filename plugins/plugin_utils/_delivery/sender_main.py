# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sender process, see `sender_process.py`: it takes events without ever blocking, and delivers them in order.

It delivers from a thread of its own, and only that thread uses the connection and the disk. If the pipe ends without
the count of events, the run was killed. Then the process reports the end of the run.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from ...module_utils import _errors
from ...module_utils._operations.runs.journal import Outgoing, number_of
from .outbox import SPILL_AFTER, Earlier, Outbox
from .sender_pipe import GRACE, Job, Report, to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from ...module_utils._operations.runs.spool import Spool
    from .transport import Transport

# How long events wait for company, and how many don't: one window of many takes a fraction of what many windows take
_LINGER, _CROWD = 0.4, 128
_CHECK_EVERY = 0.1
# How often the run learns which events it need not keep any more
_REPORT_EVERY = 0.25
_FIRST_PAUSE, _LONGEST_PAUSE, _LAST_PAUSE = 0.2, 2.0, 0.25
# How long the end of a run waits for servers that were away for all of its flush_timeout already
_BRIEFLY = 1.0
# The part of flush_timeout that is kept for the disk
_RESERVE = 0.2


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
        """Return the numbers for the last line of the run."""
        where = f" in {path}" if self.spooled else ""
        return f"{self.stored} {events(self.stored)} {place}, {self.spooled} spooled{where}, {self.dropped} dropped"


def events(count: int) -> str:
    """Return the noun for a number of events."""
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
            self._transport.meanwhile(_CHECK_EVERY, self._check)
            self._deliver()
        except _TimeIsUp:
            pass
        except OSError as error:
            self._spill_all(f"{self._spool.path}: {error.strerror}.")
        except Exception as error:  # whatever it is, the run goes on
            self._spill_all(_errors.bug(error).message)
        finally:
            self._outbox.finish()
            self._earlier.close()
            self._done.set()
            self._transport.close()

    def _spill_all(self, problem: str) -> None:
        """Write all further events to disk, after an error that ends the delivery."""
        self._problem = problem
        with suppress(_TimeIsUp):
            while not self._end.wait(_CHECK_EVERY):
                self._check()

    def _deliver(self) -> None:
        """Send events until the run is over and nothing is left."""
        pause = _FIRST_PAUSE
        while True:
            ended = self._end.is_set()
            self._check()
            source = self._next_source()
            if ended and (source is None or self._hopeless):
                return
            if source is None or self._hopeless:
                self._wait_for_more()
            elif self._send(source):
                pause = _FIRST_PAUSE
            else:
                self._pause(_LAST_PAUSE if ended else pause)
                pause = min(pause * 2, _LONGEST_PAUSE)

    def _next_source(self) -> Outbox | Earlier | None:
        """Return the source of the next events. Those of earlier runs come after those of this run."""
        if not self._outbox.empty:
            return self._outbox
        return None if self._earlier.empty else self._earlier

    def _send(self, source: Outbox | Earlier) -> bool:
        """Send one window of events, or a single one after an error."""
        if not self._problem:
            self._good = time.monotonic()
        window = source.window(1 if self._problem else self._transport.window)
        if not window:  # of a journal that can't be read any more
            return True
        sent = self._transport.send(window)
        source.advance(sent.settled, sent.lost)
        self._problem, self._hopeless = sent.problem, sent.hopeless
        if not sent.problem:
            self._good = time.monotonic()
        return not sent.problem

    def _wait_for_more(self) -> None:
        if self._hopeless:  # nothing can be sent: long enough for events to be due on disk
            self._end.wait(SPILL_AFTER + _CHECK_EVERY)
        else:
            self._crowd.wait(_LINGER)
            self._crowd.clear()

    def _pause(self, seconds: float) -> None:
        """Wait, but not beyond the end of the run."""
        ended, until = self._end.is_set(), time.monotonic() + seconds
        while time.monotonic() < until and self._end.is_set() == ended:
            if ended:
                time.sleep(_CHECK_EVERY)
            else:
                self._end.wait(_CHECK_EVERY)
            self._check()

    def _check(self) -> None:
        self._outbox.check()
        now = time.monotonic()
        if now > self._next_report and self._outbox.settled > self._reported:
            self._reported, self._next_report = self._outbox.settled, now + _REPORT_EVERY
            self._report_progress({"settled": self._outbox.settled, "dropped": self._outbox.dropped})
        if now > self._deadline:
            raise _TimeIsUp


class _Handed(NamedTuple):
    """The state of the pipe: the subject and the number of the last event, and the count at the end of the run."""

    subject: str
    number: int
    handed: int
    total: int | None


def main() -> None:
    """Send the events from standard input, even if the run is killed."""
    os.set_blocking(sys.stdout.fileno(), False)
    try:
        answer = _send_all()
    except _errors.StreamsError as error:
        answer = {"refused": error.message}
    except Exception as error:  # without its words, which may be of an event
        answer = {"refused": _errors.bug(error).message}
    os.set_blocking(sys.stdout.fileno(), True)  # the run waits for the last answer
    _answer(answer)
    os._exit(0)  # a disk that does not answer would hold the thread that waits for it


def _send_all() -> dict[str, Any]:
    lines = sys.stdin.buffer
    job = Job(**json.loads(lines.readline()))
    sender = _sender(job)
    _answer({})
    try:
        handed = _hand_over(lines, sender)
        if handed.total is None:
            _report_interruption(job, sender, handed)
        else:
            sender.missed(handed.total - handed.handed)
    except Exception:
        sender.finish(0)  # what there is so far goes to disk
        raise
    return sender.finish(job.flush_timeout)._asdict()


def _hand_over(lines: Iterable[bytes], sender: Sender) -> _Handed:
    """Pass all events to the sender."""
    subject = event_id = ""
    handed = 0
    count = None
    for line in lines:
        parts = line.split(b" ", 2)
        if not line.endswith(b"\n"):  # the run was killed while it wrote
            break
        if len(parts) < 3:  # the last one
            count = int(json.loads(line))
            break
        subject, event_id = parts[0].decode(), parts[1].decode()
        sender.put(subject, event_id, parts[2][:-1])
        handed += 1
    return _Handed(subject, number_of(event_id), handed, count)


def _report_interruption(job: Job, sender: Sender, handed: _Handed) -> None:
    """Send the last event of a killed run. Do nothing if there was no event, or the last one was sent."""
    from .._results import events as _events

    number = handed.number or job.sequence
    if not number or handed.subject == f"{job.prefix}.{_events.RUN_FINISHED}":
        return
    run = _events.Run(job.run_id, number)
    data = _events.finished("interrupted", number + 1, time.time() - job.started, None)
    event = run.event(_events.RUN_FINISHED, time.time(), data)
    sender.put(_events.subject(job.prefix, event), event.id, _events.encode(event, job.max_size))


def transport_of(job: Job) -> Transport:
    """Return the transport of a job. Raises StreamsError."""
    from ...module_utils._connection.settings import Settings
    from .transport import Direct

    settings = Settings.from_options(job.connection.get)
    if job.transport == "direct":
        return Direct(settings, job.prefix, job.stream)
    from .transport_spool import ChoriaSpool

    configured = any(job.connection.get(name) for name in ("servers", "choria_config", "context"))
    return ChoriaSpool(job.server_config, settings, job.prefix, check=configured)


def _sender(job: Job) -> Sender:
    from ...module_utils._operations.runs.spool import Spool, spool_path

    spool = Spool(spool_path(job.spool), job.spool_size)
    before = Before(job.settled, job.dropped, resume=job.restarted)
    return Sender(transport_of(job), spool, job.run_id, before=before, report_progress=_answer)


def _answer(answer: Mapping[str, Any]) -> None:
    with suppress(OSError):  # the run has ended, or does not listen: a later line repeats the progress
        os.write(sys.stdout.fileno(), to_json(answer))
