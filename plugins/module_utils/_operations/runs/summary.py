# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Summarize the events of a run: counts by host and task, failures, and completeness.

Events may come in any order and more than once. Memory grows with the hosts and tasks of a run, with the selected
results, and with the gaps among its events, not with their number.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from .events import length_of, seconds_of, text_of
from .kinds import ITEM_RESULT, PLAY_STARTED, RUN_FINISHED, RUN_STARTED, TASK_RESULT

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from .events import RunEvent


class Numbers:
    """Whole numbers from 1 on, stored as ranges. Its size depends on the gaps, not on the length."""

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        self.count = 0

    @property
    def highest(self) -> int:
        """The highest number, 0 if there is none."""
        return self._lasts[-1] if self._lasts else 0

    def add(self, number: int) -> bool:
        """Add a number. Return False if it was present."""
        firsts, lasts = self._firsts, self._lasts
        index = bisect_right(firsts, number) - 1  # of the last range that begins at the number or before it
        if index >= 0 and number <= lasts[index]:
            return False
        self.count += 1
        follows = index >= 0 and lasts[index] == number - 1
        leads = index + 1 < len(firsts) and firsts[index + 1] == number + 1
        if follows and leads:
            lasts[index] = lasts.pop(index + 1)
            del firsts[index + 1]
        elif follows:
            lasts[index] = number
        elif leads:
            firsts[index + 1] = number
        else:
            firsts.insert(index + 1, number)
            lasts.insert(index + 1, number)
        return True

    def ranges(self) -> list[dict[str, int]]:
        """Return the ranges as dicts of ``first`` and ``last``."""
        return [{"first": first, "last": last} for first, last in zip(self._firsts, self._lasts)]

    def missing(self, end: int) -> list[dict[str, int]]:
        """Return the gaps from 1 to ``end``."""
        before = [0, *self._lasts]
        after = [*self._firsts, end + 1]
        gaps = [{"first": last + 1, "last": min(first - 1, end)} for last, first in zip(before, after)]
        return [gap for gap in gaps if gap["first"] <= gap["last"]]


STATUSES = ("ok", "changed", "failed", "skipped", "unreachable", "ignored")
FAILURES = ("failed", "unreachable")
COUNTED = (*STATUSES, "rescued")
RUNNING, LOST = "running", "lost"
OUTCOMES = ("succeeded", "failed", "interrupted", RUNNING, LOST)
_OF_ITEMS = ("label", "status", "msg", "rc")
# These keys of a result's data have a form of our own in rows
_OWN = ("run_id", "sequence", "host", "play", "task", "status", "rescued", "duration")


@dataclass(frozen=True)
class Kept:
    """The results to keep: failures, and those of these hosts and statuses; at most so many of each."""

    hosts: Collection[str] = ()
    statuses: Collection[str] = ()
    most: int = 1000


@dataclass
class Tally:
    """Counts of results, and their durations. Moments are seconds since 1970."""

    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTED, 0))
    duration: float = 0.0
    began: float | None = None
    ended: float = 0.0
    longest: float = 0.0
    longest_host: str = ""
    waited: float = 0.0
    held: float = 0.0

    def add(self, status: str, host: str, length: float, moment: float, governor: Any) -> None:
        """Count a result that took ``length`` seconds and ended at ``moment``."""
        if status in self.counts:
            self.counts[status] += 1
        self.duration += length
        began = moment - length
        if self.began is None or began < self.began:
            self.began = began
        if moment > self.ended:
            self.ended = moment
        if not self.longest_host or (length, self.longest_host) > (self.longest, host):
            self.longest, self.longest_host = length, host
        if isinstance(governor, dict):
            self.waited += length_of(governor.get("waited"))
            self.held += length_of(governor.get("held"))

    def result(self, start: float) -> dict[str, Any]:
        """Return the counts for results. ``start`` is that of the run, in seconds since 1970."""
        return {
            **self.counts,
            "duration": round(self.duration, 6),
            "began": round((self.began or start) - start, 6),
            "ended": round(self.ended - start, 6),
            "waited": round(self.waited, 6),
            "held": round(self.held, 6),
        }


def status_of(event: RunEvent) -> tuple[str, bool]:
    """Return the status of a result, and True if a rescue handled the failure."""
    status = text_of(event.data, "status")
    return ("failed", True) if status == "rescued" else (status, event.data.get("rescued") is True)


def row_of(event: RunEvent) -> dict[str, Any]:
    """Return a task's result on a host for results."""
    data = event.data
    status, rescued = status_of(event)
    duration = data.get("duration")
    return {
        "sequence": event.number,
        "time": rfc3339(event.moment),
        "host": text_of(data, "host"),
        "play": _name(data, "play"),
        "task": _name(data, "task"),
        "action": text_of(data, "task", "action"),
        "path": text_of(data, "task", "path"),
        "status": status,
        "rescued": rescued,
        "duration": length_of(duration) if duration is not None else None,
        **{name: value for name, value in data.items() if name not in _OWN},
    }


def _name(data: Mapping[str, Any], of: str) -> str:
    return text_of(data, of, "name") or text_of(data, of)


def rfc3339(moment: float) -> str:
    """Return seconds since 1970 as RFC 3339 UTC."""
    return datetime.fromtimestamp(moment, timezone.utc).isoformat(timespec="microseconds").replace("+00:00", "Z")


class RunSummary:
    """One run. ``add`` its events, then call ``result``."""

    def __init__(self, run_id: str, kept: Kept) -> None:
        self.run_id = run_id
        self.total = Tally()
        self._kept = kept
        self._numbers, self._repeated = Numbers(), Numbers()
        self._duplicates = 0
        self._started: RunEvent | None = None
        self._finished: RunEvent | None = None
        self._first = self._last = 0.0
        self._places: tuple[int, int] = (0, 0)
        self._stored = ""
        self._plays: dict[int, dict[str, Any]] = {}
        self._hosts: dict[str, Tally] = {}
        self._tasks: dict[str, tuple[dict[str, Any], Tally]] = {}
        # The number of the first result of each task
        self._order: dict[str, int] = {}
        self._failures: list[RunEvent] = []
        self._results: list[RunEvent] = []
        self._items: dict[tuple[str, str], list[RunEvent]] = {}
        self._selected = {"failures": 0, "results": 0}

    def add(self, event: RunEvent) -> None:
        """Add an event. A second one with the same number counts as a duplicate."""
        low, high = self._places
        self._places = min(low or event.place, event.place), max(high, event.place)
        if not self._numbers.add(event.number):
            self._repeated.add(event.number)
            self._duplicates += 1
            return
        self._first = min(self._first or event.moment, event.moment)
        self._last, self._stored = max(self._last, event.moment), max(self._stored, event.stored)
        if event.kind == RUN_STARTED:
            self._started = min(self._started or event, event, key=_number)
        elif event.kind == RUN_FINISHED:
            self._finished = max(self._finished or event, event, key=_number)
        elif event.kind == PLAY_STARTED:
            name, uuid = text_of(event.data, "play", "name"), text_of(event.data, "play", "uuid")
            self._plays[event.number] = {"name": name, "uuid": uuid, "began": event.moment}
        elif event.kind == TASK_RESULT:
            self._add_result(event)
        elif event.kind == ITEM_RESULT and status_of(event)[0] in FAILURES:
            self._keep_first(self._items.setdefault(_place_of(event), []), event)

    def _add_result(self, event: RunEvent) -> None:
        data, (status, rescued) = event.data, status_of(event)
        host, key = text_of(data, "host"), text_of(data, "task", "uuid") or _name(data, "task")
        if host not in self._hosts:
            self._hosts[host] = Tally()
        if key not in self._tasks:
            row = row_of(event)
            names = {name: row[name] for name in ("task", "action", "path", "play")}
            self._tasks[key] = {**names, "uuid": text_of(data, "task", "uuid")}, Tally()
            self._order[key] = event.number
        self._order[key] = min(self._order[key], event.number)
        length, counted = length_of(data.get("duration")), "rescued" if rescued else status
        for tally in (self.total, self._hosts[host], self._tasks[key][1]):
            tally.add(counted, host, length, event.moment, data.get("governor"))
        if self._kept.hosts and host not in self._kept.hosts:
            return
        if status in FAILURES:
            self._keep("failures", self._failures, event)
        if status in self._kept.statuses:
            self._keep("results", self._results, event)

    def _keep(self, name: str, rows: list[RunEvent], event: RunEvent) -> None:
        self._selected[name] += 1
        self._keep_first(rows, event)

    def _keep_first(self, rows: list[RunEvent], event: RunEvent) -> None:
        """Keep the events with the lowest numbers, up to twice as many as needed, since sorting takes time."""
        rows.append(event)
        if len(rows) > 2 * self._kept.most:
            rows[:] = self._first_of(rows)

    def _first_of(self, rows: list[RunEvent]) -> list[RunEvent]:
        return sorted(rows, key=_number)[: self._kept.most]

    # Totals

    @property
    def empty(self) -> bool:
        """True if there was no event."""
        return not self._numbers.count

    @property
    def hosts(self) -> set[str]:
        """The names of the hosts that the events name."""
        recap = self._finished.data.get("hosts") if self._finished else None
        return {*self._hosts, *(recap if isinstance(recap, dict) else ())}

    @property
    def expected(self) -> int | None:
        """The number of events, or None before the run's end is known."""
        if self._finished is None:
            return None
        number = self._finished.data.get("events")
        return max(number if isinstance(number, int) else 0, self._finished.number)

    @property
    def missing(self) -> list[dict[str, int]]:
        """The gaps among the numbers of the events, as dicts of ``first`` and ``last``."""
        return self._numbers.missing(self.expected or self._numbers.highest)

    @property
    def complete(self) -> bool:
        """True if all events from the start to the end are there."""
        return self._finished is not None and not self.missing

    @property
    def start(self) -> float:
        """The start of the run, as far as its events show, in seconds since 1970."""
        if self._started is None and self._finished is not None:
            return min(self._first, self._finished.moment - length_of(self._finished.data.get("duration")))
        return self._started.moment if self._started else self._first

    def outcome(self, now: float, lost_after: float) -> str:
        """Return one of OUTCOMES. Both arguments are in seconds: the time now, and the silence of a lost run."""
        if self._finished is not None:
            return text_of(self._finished.data, "outcome")
        return LOST if now - (seconds_of(self._stored) or now) > lost_after else RUNNING

    def result(self, now: float, lost_after: float) -> dict[str, Any]:
        """Return the run for results. The arguments are those of ``outcome``."""
        end = self._finished
        duration = end.data.get("duration") if end else None
        last = end.moment if end else self._last
        return {
            "run_id": self.run_id,
            "outcome": self.outcome(now, lost_after),
            "started": rfc3339(self.start),
            "finished": rfc3339(end.moment) if end else None,
            "duration": length_of(duration) if duration is not None else round(last - self.start, 6),
            "about": self._about(),
            "complete": self.complete,
            "start_missing": self._started is None,
            "events": self._events(),
            "counts": self.total.result(self.start),
            "plays": [
                {**play, "began": round(play["began"] - self.start, 6)} for _number, play in sorted(self._plays.items())
            ],
            "hosts": [{"host": host, **self._hosts[host].result(self.start)} for host in sorted(self._hosts)],
            "recap": end.data.get("hosts") if end else None,
            "tasks": [self._task(*self._tasks[key]) for key in sorted(self._tasks, key=self._order.__getitem__)],
            "failures": self._rows(self._failures),
            "results": self._rows(self._results),
            "left_out": {name: max(0, count - self._kept.most) for name, count in self._selected.items()},
        }

    def _about(self) -> dict[str, Any]:
        data = self._started.data if self._started else {}
        return {name: value for name, value in data.items() if name not in ("run_id", "sequence")}

    def _events(self) -> dict[str, Any]:
        missing = self.missing
        return {
            "found": self._numbers.count,
            "expected": self.expected,
            "missing": missing,
            "missing_count": sum(gap["last"] - gap["first"] + 1 for gap in missing),
            "duplicates": self._repeated.ranges(),
            "duplicate_count": self._duplicates,
            "first_in_stream": self._places[0],
            "last_in_stream": self._places[1],
        }

    def _task(self, names: Mapping[str, Any], tally: Tally) -> dict[str, Any]:
        longest = {"longest": round(tally.longest, 6), "longest_host": tally.longest_host}
        return {**names, **tally.result(self.start), **longest}

    def _rows(self, events: list[RunEvent]) -> list[dict[str, Any]]:
        """Return rows in the order of the run, with their starts in seconds after the run's."""
        rows = [(event, self._row(event)) for event in self._first_of(events)]
        return [{**row, "began": round(event.moment - (row["duration"] or 0) - self.start, 6)} for event, row in rows]

    def _row(self, event: RunEvent) -> dict[str, Any]:
        """Return a row with its failed items, if they were events of their own."""
        row, items = row_of(event), self._items.get(_place_of(event))
        return {"items": [_item(event) for event in self._first_of(items)], **row} if items else row


def _item(event: RunEvent) -> dict[str, Any]:
    return {name: value for name, value in event.data.items() if name in _OF_ITEMS}


def _number(event: RunEvent) -> int:
    return event.number


def _place_of(event: RunEvent) -> tuple[str, str]:
    return text_of(event.data, "host"), text_of(event.data, "task", "uuid")
