# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The work of choria_run_info."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from ... import _errors
from ..._api import streams
from ..._options import codecs, fields, names, quantities
from ..._resources import subjects
from ..messages.selection import moment_of
from .events import host_word, text_of
from .kinds import RUN_STARTED
from .reading import Mark, RunReader
from .summary import OUTCOMES, STATUSES, Kept, RunSummary, row_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ..._api import answers
    from ..._connection import sessions

_LIMIT = 10

SPEC = fields.Spec(
    (
        fields.Field("stream", names.STREAM_NAME, argument_extra={"default": "ANSIBLE_RUNS"}),
        fields.Field("subject_prefix", names.SUBJECT_PREFIX, argument_extra={"default": "ansible.runs"}),
        fields.Field("run_id", codecs.text(r"\S{1,255}", "a run's id has no spaces")),
        fields.Field("playbooks", codecs.names()),
        fields.Field("hosts", codecs.names()),
        fields.Field("since", codecs.text()),
        fields.Field("until", codecs.text()),
        fields.Field("outcomes", codecs.names(), argument_extra={"choices": list(OUTCOMES)}),
        fields.Field("limit", codecs.whole(1, 10_000)),
        fields.Field("statuses", codecs.names(), argument_extra={"choices": list(STATUSES)}),
        fields.Field("max_results", codecs.whole(1), argument_extra={"default": 1000}),
        fields.Field("lost_after", codecs.duration(), argument_extra={"default": "1h"}),
        fields.Field("last_results", codecs.boolean(), argument_extra={"default": False}),
    ),
    {"mutually_exclusive": [("run_id", other) for other in ("playbooks", "since", "until", "outcomes", "limit")]},
)
_OF_RUNS = ("run_id", "playbooks", "outcomes", "limit")


@dataclass(frozen=True)
class Query:
    """A selection of runs. ``now`` is the server's time, all times are in seconds since 1970."""

    playbooks: tuple[str, ...]
    hosts: frozenset[str]
    since: datetime | None
    until: datetime | None
    outcomes: frozenset[str]
    limit: int
    lost_after: float
    now: float

    def may_have(self, mark: Mark) -> bool:
        """Return False if the run's start and end already exclude it."""
        if not self.has_moment(mark.start) or not selected(mark.playbook, self.playbooks):
            return False
        if mark.end is None:
            return True
        hosts = mark.end.data.get("hosts")
        strange = self.hosts and isinstance(hosts, dict) and self.hosts.isdisjoint(hosts)
        return not strange and (not self.outcomes or text_of(mark.end.data, "outcome") in self.outcomes)

    def has(self, run: RunSummary) -> bool:
        """Return True if the whole run is selected."""
        if run.empty or (self.outcomes and run.outcome(self.now, self.lost_after) not in self.outcomes):
            return False
        return not self.hosts or not self.hosts.isdisjoint(run.hosts)

    def has_moment(self, moment: float) -> bool:
        """Return True for a time, in seconds since 1970, between ``since`` and ``until``."""
        early = self.since and moment < self.since.timestamp()
        late = self.until and moment > self.until.timestamp()
        return not early and not late


def selected(playbook: str, patterns: Sequence[str]) -> bool:
    """Return True if shell patterns select a playbook by its path or name. ``!`` before a pattern excludes it."""
    fits = [pattern for pattern in patterns if not pattern.startswith("!")]
    never = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
    called = (playbook, playbook.rpartition("/")[2])

    def any_fits(some: Iterable[str]) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in some for name in called)

    return (not fits or any_fits(fits)) and not any_fits(never)


def read(session: sessions.Session, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the whole result of choria_run_info."""
    given = fields.checked(SPEC, options.get)
    if given["last_results"]:
        for option in _OF_RUNS:
            if option in given:
                raise _errors.OptionError(
                    option, "means nothing with last_results, which are of hosts and not of runs."
                )
    info = _results_stream(session, given["stream"], given["subject_prefix"])
    query = _query(given, streams.clock_of(info).timestamp())
    reader = RunReader(session, info, given["subject_prefix"])
    kept = Kept(query.hosts, frozenset(given.get("statuses") or ()), given["max_results"])
    result: dict[str, Any] = {"stream": _described(info)}
    if given["last_results"]:
        result["last_results"] = _last_results(reader, query, kept)
    else:
        runs = _one(reader, given["run_id"], kept) if "run_id" in given else _several(reader, query, kept)
        result["runs"] = [run.result(query.now, query.lost_after) for run in runs]
    return {**result, "unreadable": reader.unreadable}


def _results_stream(session: sessions.Session, name: str, prefix: str) -> answers.StreamInfo:
    info = streams.info(session, name)
    if info is None:
        raise streams.missing(name)
    taken = info["config"].get("subjects") or []
    index = subjects.SubjectIndex()
    index.add(taken, name)
    # A mirror has no subjects of its own, and a stream with sources may have others
    borrowed = info["config"].get("mirror") or info["config"].get("sources")
    if not borrowed and not index.overlapping(f"{prefix}.{RUN_STARTED}"):
        raise _errors.OptionError(
            "stream",
            f"{name} is not a stream of results: it takes {', '.join(taken)}, and no {prefix}.{RUN_STARTED}. "
            "Name the stream to which choria_results submits, or its subject_prefix.",
        )
    return info


def _query(given: Mapping[str, Any], now: float) -> Query:
    times = {
        name: moment_of(name, given[name], datetime.fromtimestamp(now, timezone.utc))
        for name in ("since", "until")
        if name in given
    }
    return Query(
        playbooks=tuple(given.get("playbooks") or ()),
        hosts=frozenset(given.get("hosts") or ()),
        since=times.get("since"),
        until=times.get("until"),
        outcomes=frozenset(given.get("outcomes") or ()),
        limit=given.get("limit", _LIMIT),
        lost_after=given["lost_after"] / quantities.NANOSECOND,
        now=now,
    )


def _one(reader: RunReader, run_id: str, kept: Kept) -> list[RunSummary]:
    mark = reader.find(run_id)
    runs = reader.read([mark], kept) if mark else [reader.read_unmarked(run_id, kept)]
    return [run for run in runs if not run.empty]


def _several(reader: RunReader, query: Query, kept: Kept) -> list[RunSummary]:
    """Return the newest selected runs, the newest first."""
    runs: list[RunSummary] = []
    for marks in reader.newest(query.limit, query.since):
        left = [mark for mark in marks if query.may_have(mark)]
        while left and len(runs) < query.limit:
            some, left = left[: query.limit - len(runs)], left[query.limit - len(runs) :]
            runs += [run for run in reader.read(some, kept) if query.has(run)]
        if len(runs) >= query.limit:
            break
    return sorted(runs, key=lambda run: run.start, reverse=True)


def _last_results(reader: RunReader, query: Query, kept: Kept) -> list[dict[str, Any]]:
    words = {host_word(host) for host in query.hosts}
    rows = []
    for event in reader.last_results(lambda word: word in words if words else bool(word)):
        row = {"run_id": event.run_id, **row_of(event)}
        if query.has_moment(event.moment) and (not kept.statuses or row["status"] in kept.statuses):
            rows.append(row)
    return sorted(rows, key=lambda row: str(row["host"]))


def _described(info: answers.StreamInfo) -> dict[str, Any]:
    state = info["state"]
    return {
        "name": info["config"]["name"],
        "messages": int(state["messages"]),
        "first_sequence": int(state["first_seq"]),
        "last_sequence": int(state["last_seq"]),
    }
