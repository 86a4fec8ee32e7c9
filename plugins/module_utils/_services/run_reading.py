# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds runs in a stream and reads them: only the ranges in which their events are, page by page."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from .._api import lasts, reading, streams
from .run_events import RUN_FINISHED, RUN_STARTED, TASK_RESULT, event_of, length_of, text_of
from .run_summary import Kept, RunSummary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from .._api import messages
    from .._connection import sessions
    from .run_events import RunEvent

# Events can't be stored before their run begins, but the clocks of controller and server may differ by so much
_CLOCKS = timedelta(minutes=10)
# Above this it takes longer to look for each run's id than to understand the event
_MOST_IDS = 16


@dataclass(frozen=True)
class Mark:
    """Where a run begins and ends in the stream, 0 where that is not there, and what it tells at these places."""

    run_id: str
    start: float
    first: int = 0
    last: int = 0
    playbook: str = ""
    end: RunEvent | None = None


class RunReader:
    """Reads runs of one stream, up to what it held when the reader was made."""

    def __init__(self, session: sessions.Session, info: dict[str, Any], prefix: str) -> None:
        self._session = session
        self._prefix = prefix
        self.stream = str(info["config"]["name"])
        self.last = int(info["state"]["last_seq"])
        self._direct = bool(info["config"].get("allow_direct"))
        self._told: set[str] = set()
        self.unreadable = 0

    # Where runs are

    def newest(self, count: int, since: datetime | None = None) -> Iterator[list[Mark]]:
        """Runs by their starts, the newest first, in lists that grow; all at once with ``since``.

        Of runs whose start is not there the end tells when it was.
        """
        if since:
            begin = since - _CLOCKS
            yield self._marks(self._onward(RUN_STARTED, begin), begin, begin.timestamp())
            return
        seen: list[messages.Stored] = []
        while True:
            found = reading.newest(self._session, self.stream, self._subject(RUN_STARTED), count)
            fresh = found[: len(found) - len(seen)]
            if len(found) < count:
                yield self._marks(fresh, 1, 0.0)
                return
            yield self._marks(fresh, fresh[0].sequence, None)
            seen, count = found, count * 4

    def find(self, run_id: str) -> Mark | None:
        """The run with this id, None where the stream has neither its start nor its end."""
        wanted = run_id.encode()
        for kind in (RUN_STARTED, RUN_FINISHED):
            found = (message for message in self._onward(kind, 1) if wanted in message.data)
            event = next((event for event in map(event_of, found) if event and event.run_id == run_id), None)
            if event and kind == RUN_STARTED:
                ends = map(event_of, self._onward(RUN_FINISHED, event.place))
                end = next((end for end in ends if end and end.run_id == run_id), None)
                return Mark(run_id, event.moment, event.place, end.place if end else 0, end=end)
            if event:
                return _mark_of_end(event)
        return None

    def _marks(self, starts: Iterable[messages.Stored], begin: int | datetime, earliest: float | None) -> list[Mark]:
        """Runs by these starts, and by ends from ``begin`` on those without one, which began at ``earliest`` or later.

        Without ``earliest`` that is when the first of the others began: what is older may have its start before these.
        """
        found: dict[str, Mark] = {}
        for message in starts:
            event = self._event(message)
            if event and event.run_id not in self._told:
                mark = Mark(event.run_id, event.moment, event.place, playbook=text_of(event.data, "playbook"))
                found.setdefault(event.run_id, mark)
        if earliest is None:
            earliest = min((mark.start for mark in found.values()), default=float("inf"))
        for event in map(event_of, self._onward(RUN_FINISHED, begin)):
            if event is None or event.run_id in self._told:
                continue
            mark = _mark_of_end(event)
            if event.run_id not in found and mark.start >= earliest:
                found[event.run_id] = mark
            elif event.run_id in found and found[event.run_id].end is None:
                found[event.run_id] = replace(found[event.run_id], last=event.place, end=event)
        self._told.update(found)
        return sorted(found.values(), key=lambda mark: mark.start, reverse=True)

    # What is in them

    def read(self, marks: Iterable[Mark], kept: Kept) -> list[RunSummary]:
        """The runs, in the order of the marks. Where events are missing, all that came after the start is searched."""
        wanted = list(marks)
        found = {mark.run_id: RunSummary(mark.run_id, kept) for mark in wanted}
        done = joined((mark.first, mark.last or self.last) for mark in wanted if mark.first)
        for first, last in done:
            self._collect(found, first, last)
        lacking = [mark for mark in wanted if found[mark.run_id].missing or not mark.first]
        if lacking:
            some = {mark.run_id: found[mark.run_id] for mark in lacking}
            for first, last in without(self._from(min(mark.start for mark in lacking)), self.last, done):
                self._collect(some, first, last)
        return [found[mark.run_id] for mark in wanted]

    def _from(self, start: float) -> int:
        moment = datetime.fromtimestamp(max(start, 0), timezone.utc) - _CLOCKS
        return reading.first_since(self._session, self.stream, self._subject(">"), moment) or self.last + 1

    def _collect(self, found: dict[str, RunSummary], first: int, last: int) -> None:
        ids = [run_id.encode() for run_id in found] if len(found) <= _MOST_IDS else []
        for message in self._onward(">", first, last):
            if ids and not any(run_id in message.data for run_id in ids):
                continue
            event = self._event(message)
            if event and event.run_id in found:
                found[event.run_id].add(event)

    def last_results(self, wanted: Callable[[str], bool]) -> Iterator[RunEvent]:
        """The last result of each host whose subject is wanted, in the order of the stream."""
        counts = streams.subject_counts(self._session, self.stream, self._subject(f"{TASK_RESULT}.*"))
        subjects = [subject for subject in counts if wanted(subject.rpartition(".")[2])]
        what = f"Reading stream {self.stream}"
        for message in lasts.of_each(self._session, what, self.stream, subjects, direct=self._direct):
            event = self._event(message)
            if event:
                yield event

    def _event(self, message: messages.Stored) -> RunEvent | None:
        event = event_of(message)
        self.unreadable += event is None
        return event

    def _onward(self, kind: str, start: int | datetime, last: int = 0) -> Iterator[messages.Stored]:
        end = last or self.last
        found = reading.onward(self._session, self.stream, self._subject(kind), start)
        return takewhile(lambda message: message.sequence <= end, found)

    def _subject(self, kind: str) -> str:
        return f"{self._prefix}.{kind}"


def _mark_of_end(event: RunEvent) -> Mark:
    return Mark(event.run_id, event.moment - length_of(event.data.get("duration")), last=event.place, end=event)


def joined(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The ranges in their order, those that overlap or touch as one."""
    found: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if found and first <= found[-1][1] + 1:
            found[-1] = found[-1][0], max(found[-1][1], last)
        else:
            found.append((first, last))
    return found


def without(first: int, last: int, done: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """What of a range is in none of the joined ranges."""
    left = []
    for begin, end in done:
        if begin > first:
            left.append((first, min(begin - 1, last)))
        first = max(first, end + 1)
    left.append((first, last))
    return [(begin, end) for begin, end in left if begin <= end]
