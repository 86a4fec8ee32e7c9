# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find runs in a stream and read only the ranges of their events, page by page."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from itertools import takewhile
from typing import TYPE_CHECKING, TypeVar, Union

from ..._api import last_messages, message_count, reading
from .events import event_of, host_word_of, length_of, moment_of, seconds_of, text_of
from .kinds import RUN_FINISHED, RUN_STARTED, TASK_RESULT
from .summary import Kept, RunSummary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from ..._api import messages
    from ..._connection import sessions
    from .events import RunEvent

    _Window = tuple[Union[int, datetime], float]  # from a sequence or a moment, to seconds since 1970
    from ..._api import answers

_Number = TypeVar("_Number", int, float)
# Events can't be stored before their run begins, but the clocks of controller and server may differ by this much
_CLOCKS = timedelta(minutes=10)
# Results that are sent together may be stored in another order, within this many seconds
_AT_ONCE = 5.0
# Reading the messages between two windows of time is faster than another request, up to this many seconds
_CLOSE = 60.0
# How many starts are read at least
_FEW = 16
# How many sequences at each end of a large stream are searched for a run that has neither start nor end
_EDGE = 1024
# Above this it takes longer to look for each run's id than to understand the event
_MOST_IDS = 16


@dataclass(frozen=True)
class Mark:
    """The places of a run's start and end in the stream, 0 if missing, and the events there."""

    run_id: str
    start: float
    first: int = 0
    last: int = 0
    playbook: str = ""
    end: RunEvent | None = None


class RunReader:
    """Reads runs of one stream, up to its last message when the reader was made."""

    def __init__(self, session: sessions.Session, info: answers.StreamInfo, prefix: str) -> None:
        self._session = session
        self._prefix = prefix
        self.stream = str(info["config"]["name"])
        self.first, self.last = int(info["state"]["first_seq"]), int(info["state"]["last_seq"])
        self._direct = bool(info["config"].get("allow_direct"))
        self._yielded: set[str] = set()
        self._broken: set[int] = set()

    @property
    def unreadable(self) -> int:
        """The number of messages that are no events."""
        return len(self._broken)

    # Where runs are

    def newest(self, count: int, since: datetime | None = None) -> Iterator[list[Mark]]:
        """Yield lists of runs by their starts, the newest first; with ``since`` all in one list.

        A missing start is derived from the end. Events may be stored long after they happened, in any order, but not
        before. So runs in later lists started before the first of those here was stored.
        """
        starts: dict[str, Mark] = {}
        if since:
            begin = since - _CLOCKS
            self._add_starts(starts, self._onward(RUN_STARTED, begin))
            yield self._marks(starts, begin, begin.timestamp())
            return
        read_before, width = 0, max(count * 2, _FEW)
        while True:
            messages = reading.newest(self._session, self.stream, self._subject(RUN_STARTED), width)
            self._add_starts(starts, messages[: len(messages) - read_before])
            if len(messages) < width:
                yield self._marks(starts, 1, 0.0)
                return
            edge = (seconds_of(messages[0].time) or 0.0) + _CLOCKS.total_seconds()
            yield self._marks(starts, messages[0].sequence, edge)
            read_before, width = len(messages), width * 4

    def find(self, run_id: str) -> Mark | None:
        """Return the run with this id, or None if the stream has neither its start nor its end.

        The search begins at the time in the id, and goes back from there. Without a time it begins at the first event.
        """
        moment = moment_of(run_id)
        start = self._event_of(run_id, RUN_STARTED, _windows(moment))
        end = self._event_of(run_id, RUN_FINISHED, _windows(start.moment)[:-1] if start else _windows(moment))
        if start is None:
            return _mark_of_end(end) if end else None
        return Mark(run_id, start.moment, start.place, end.place if end else 0, end=end)

    def _event_of(self, run_id: str, kind: str, windows: Iterable[_Window]) -> RunEvent | None:
        encoded = run_id.encode()
        for begin, until in windows:
            for message in self._onward(kind, begin):
                if (seconds_of(message.time) or 0.0) >= until:
                    break
                event = event_of(message) if encoded in message.data else None
                if event and event.run_id == run_id:
                    return event
        return None

    def _add_starts(self, starts: dict[str, Mark], started: Iterable[messages.Stored]) -> None:
        for message in started:
            event = self._event(message)
            if event:
                mark = Mark(event.run_id, event.moment, event.place, playbook=text_of(event.data, "playbook"))
                starts.setdefault(event.run_id, mark)

    def _marks(self, starts: Mapping[str, Mark], begin: int | datetime, edge: float) -> list[Mark]:
        """Return new runs that started at ``edge`` or later, with their ends from ``begin`` on."""
        ends: dict[str, RunEvent] = {}
        for event in map(event_of, self._onward(RUN_FINISHED, begin)):
            if event:
                ends.setdefault(event.run_id, event)
        marks = {run_id: _mark_of_end(end) for run_id, end in ends.items()}
        for run_id, mark in starts.items():
            end = ends.get(run_id)
            marks[run_id] = replace(mark, last=end.place, end=end) if end else mark
        new = [mark for mark in marks.values() if mark.start >= edge and mark.run_id not in self._yielded]
        self._yielded.update(mark.run_id for mark in new)
        return sorted(new, key=lambda mark: mark.start, reverse=True)

    # Contents of the windows

    def read(self, marks: Iterable[Mark], kept: Kept) -> list[RunSummary]:
        """Return the runs, in the order of the marks.

        Usually all events are between start and end. If some are missing, all that was stored since the start is
        searched.
        """
        listed = list(marks)
        runs = {mark.run_id: RunSummary(mark.run_id, kept) for mark in listed}
        between = (sorted((mark.first, mark.last)) for mark in listed if mark.first and mark.last)
        done = joined((first, last) for first, last in between)
        for first, last in done:
            self._collect(runs, first, last)
        lacking = [mark for mark in listed if not runs[mark.run_id].complete]
        if lacking:
            some = {mark.run_id: runs[mark.run_id] for mark in lacking}
            for first, last in without(self._from(min(mark.start for mark in lacking)), self.last, done):
                self._collect(some, first, last)
        return [runs[mark.run_id] for mark in listed]

    def read_unmarked(self, run_id: str, kept: Kept) -> RunSummary:
        """Return a run without start and end in the stream.

        A large stream loses its oldest events first, and gets a run's end last. So single events of the run are
        searched at both ends of the stream only.
        """
        run = RunSummary(run_id, kept)
        whole = self.last - self.first < 2 * _EDGE
        ends = (
            [(self.first, self.last)]
            if whole
            else [(self.first, self.first + _EDGE - 1), (self.last - _EDGE + 1, self.last)]
        )
        for first, last in ends:
            self._collect({run_id: run}, first, last)
        return run

    def _from(self, start: float) -> int:
        moment = _stored_since(start)
        return reading.first_since(self._session, self.stream, self._subject(">"), moment) or self.last + 1

    def _collect(self, runs: dict[str, RunSummary], first: int, last: int) -> None:
        ids = [run_id.encode() for run_id in runs] if len(runs) <= _MOST_IDS else []
        for message in self._onward(">", first, last):
            if ids and not any(run_id in message.data for run_id in ids):
                continue
            event = self._event(message)
            if event and event.run_id in runs:
                runs[event.run_id].add(event)

    def last_results(self, selects: Callable[[str], bool]) -> Iterator[RunEvent]:
        """Yield the last result of each host whose word is selected, by the time when it happened."""
        subjects = message_count.subject_counts(self._session, self.stream, self._subject(f"{TASK_RESULT}.>"))
        mine = [subject for subject in subjects if selects(self._host_word(subject))]
        what = f"Reading stream {self.stream}"
        last: dict[str, RunEvent] = {}
        stored: dict[str, float] = {}
        for message in last_messages.of_each(self._session, what, self.stream, mine, direct=self._direct):
            word = self._host_word(message.subject)
            stored[word] = max(stored.get(word, 0.0), seconds_of(message.time) or 0.0)
            self._note(last, word, message)
        # A later event may be stored before this one
        windows = ((_before(event), stored[word]) for word, event in last.items())
        for begin, end in joined(windows, _CLOSE):
            for message in self._onward(f"{TASK_RESULT}.>", datetime.fromtimestamp(begin, timezone.utc)):
                if (seconds_of(message.time) or 0.0) > end:
                    break
                if self._host_word(message.subject) in last:
                    self._note(last, self._host_word(message.subject), message)
        yield from last.values()

    def _note(self, last: dict[str, RunEvent], word: str, message: messages.Stored) -> None:
        event = event_of(message)
        latest = last.get(word)
        if event is None:
            self._broken.add(message.sequence)
        elif latest is None or (latest.moment, latest.number) < (event.moment, event.number):
            last[word] = event

    def _host_word(self, subject: str) -> str:
        return host_word_of(subject[len(self._prefix) + 1 :])

    def _event(self, message: messages.Stored) -> RunEvent | None:
        event = event_of(message)
        if event is None:
            self._broken.add(message.sequence)
        return event

    def _onward(self, kind: str, start: int | datetime, last: int = 0) -> Iterator[messages.Stored]:
        end = last or self.last
        stored = reading.onward(self._session, self.stream, self._subject(kind), start)
        return takewhile(lambda message: message.sequence <= end, stored)

    def _subject(self, kind: str) -> str:
        return f"{self._prefix}.{kind}"


def _mark_of_end(event: RunEvent) -> Mark:
    return Mark(event.run_id, event.moment - length_of(event.data.get("duration")), last=event.place, end=event)


def _stored_since(moment: float) -> datetime:
    """Return the earliest time of storing for events since ``moment``."""
    return datetime.fromtimestamp(max(moment, 0.0), timezone.utc) - _CLOCKS


def _windows(moment: float | None) -> list[_Window]:
    """Return where an event of a run that began at ``moment`` is searched: later, up to ten minutes before, earlier."""
    if moment is None:
        return [(1, math.inf)]
    near, far = moment - _AT_ONCE, _stored_since(moment)
    return [(datetime.fromtimestamp(max(near, 0.0), timezone.utc), math.inf), (far, near), (1, far.timestamp())]


def _before(event: RunEvent) -> float:
    """Return the earliest time of storing for results that happened after this one."""
    stored = seconds_of(event.stored) or 0.0
    prompt = 0 <= stored - event.moment <= _AT_ONCE
    return max(0.0, event.moment - (_AT_ONCE if prompt else _CLOCKS.total_seconds()))


def joined(ranges: Iterable[tuple[_Number, _Number]], gap: float = 1) -> list[tuple[_Number, _Number]]:
    """Return the sorted ranges. Those that overlap, or are not further apart than ``gap``, are joined."""
    merged: list[tuple[_Number, _Number]] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + gap:
            merged[-1] = merged[-1][0], max(merged[-1][1], last)
        else:
            merged.append((first, last))
    return merged


def without(first: int, last: int, done: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the parts of a range outside of the joined ranges."""
    left = []
    for begin, end in done:
        if begin > first:
            left.append((first, min(begin - 1, last)))
        first = max(first, end + 1)
    left.append((first, last))
    return [(begin, end) for begin, end in left if begin <= end]
