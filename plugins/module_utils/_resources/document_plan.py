# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan of a document: one plan for each item, made against what is there and what the others will make of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from .._api import kv, streams
from .._api.kv import Bucket
from .._errors import PermissionMissing, Refused, StreamsError
from . import kv_entry
from .document import KEYS, STREAM_KINDS, Item, Problem, Problems, stream_backed
from .document_consumers import plan_consumers
from .losses import NOT_MEASURED
from .ownership import check_owner
from .recreate import BY_COPY
from .resource import DELETE, NONE
from .stream_backed import Current
from .subjects import SubjectIndex

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .._connection.session import Session
    from .document import Document
    from .document_state import Known


def plan(session: Session, document: Document, known: Known) -> None:
    """Gives each item its plan. Raises Problems with all that stands in the way of any."""
    problems: list[Problem] = []
    for item in document.of_kind(*STREAM_KINDS):
        try:
            _plan_stream(session, document, known, item)
        except StreamsError as error:
            problems.append(Problem(item.path, error))
            # What it has now is what others must not have
            item.subjects = tuple(known.infos.get(item.stream, {}).get("config", {}).get("subjects") or ())
    problems += _overlaps(document, known, _listeners(session, document, known))
    problems += plan_consumers(session, document, known)
    problems += _plan_keys(session, document, known)
    if problems:
        raise Problems(problems)
    changing = {item.stream for item in document.items if item.changes}
    for name in known.infos.keys() - changing:
        del known.infos[name]  # of thousands, those that stay need no place


# Streams, buckets and governors


def _plan_stream(session: Session, document: Document, known: Known, item: Item) -> None:
    resource, info = stream_backed(item), known.infos.get(item.stream)
    check_owner(document, item, info)
    collective = session.settings.collective
    needs = resource.needs(info, item.options, session.server, collective)
    measured = resource.measure(session, info, item.options) if info and needs.measured else NOT_MEASURED
    current = Current(info, measured, None, collective)
    if item.options.get("recreate") == BY_COPY:
        current = resource.read(session, item.options)
    item.plan = resource.plan(current, item.options, session.server)
    item.new_subjects = tuple(needs.subjects)
    config = item.plan.request if item.changes else current.config
    if item.plan.action == NONE:
        item.plan = replace(item.plan, before=None, after=None)
    item.subjects = () if item.absent else tuple(resource.expected(config).get("subjects") or ()) if config else ()


def _listeners(session: Session, document: Document, known: Known) -> dict[str, list[str]]:
    """Which streams listen to each new subject now. Empty where nobody may ask, and the server has to refuse."""
    wanted = sorted({subject for item in document.of_kind(*STREAM_KINDS) for subject in item.new_subjects})
    if known.subjects is not None:
        index = SubjectIndex()
        for name, subjects in known.subjects.items():
            index.add(subjects, name)
        return {subject: index.overlapping(subject) for subject in wanted}
    try:
        return dict(zip(wanted, streams.names_many(session, wanted)))
    except PermissionMissing:
        return {}


def _overlaps(document: Document, known: Known, listeners: Mapping[str, list[str]]) -> Iterator[Problem]:
    """Subjects that two streams would have. Those that change hands say which item has to be written first."""
    later = SubjectIndex()
    for item in document.of_kind(*STREAM_KINDS):
        for subject in item.subjects:
            clash = [name for name in later.overlapping(subject) if name != item.stream]
            others = [name for name in listeners.get(subject, ()) if name not in document.streams]
            if clash or others:
                yield Problem(item.path, stream_backed(item).overlap(subject, (clash or others)[0]))
                break
            givers = (document.streams[name] for name in listeners.get(subject, ()) if name != item.stream)
            item.after += [giver for giver in givers if giver.changes]
        later.add(item.subjects, item.stream)


# Keys


def _plan_keys(session: Session, document: Document, known: Known) -> Iterator[Problem]:
    by_bucket: dict[str, list[Item]] = {}
    for item in document.of_kind(KEYS):
        by_bucket.setdefault(item.options["bucket"], []).append(item)
    for name, items in by_bucket.items():
        try:
            yield from _plan_bucket(session, document, known, name, items)
        except StreamsError as error:
            yield Problem(items[0].path, error)


def _plan_bucket(session: Session, document: Document, known: Known, name: str, items: list[Item]) -> Iterator[Problem]:
    """The keys of one bucket, which may be planned itself."""
    parent, info = document.streams.get(items[0].stream), known.infos.get(items[0].stream)
    config = parent.plan.request if parent and parent.changes and parent.plan else info["config"] if info else {}
    if parent and parent.plan and parent.plan.action == DELETE:
        error = Refused(f"bucket {name} is to be deleted: leave out its keys, or keep it.", code="no_bucket")
        yield from (Problem(item.path, error) for item in items)
        return
    if not config:
        # Where it is the bucket that can't be planned, that is told already
        yield from (Problem(item.path, kv.no_bucket(name)) for item in items if parent is None)
        return
    there = Bucket(name, info["config"], int(info["state"]["last_seq"])) if info else None
    bucket = Bucket(name, config, there.last_sequence if there else 0)
    for start in range(0, len(items), kv.BATCH):
        yield from _plan_batch(session, there, bucket, items[start : start + kv.BATCH])


def _plan_batch(session: Session, there: Bucket | None, bucket: Bucket, items: list[Item]) -> Iterator[Problem]:
    keys = [item.options["key"] for item in items]
    entries = kv.last_many(session, there, keys) if there else {}

    def planned(item: Item, revisions: int) -> kv_entry.EntryPlan:
        current = kv_entry.Current(bucket, entries.get(item.options["key"]), revisions)
        return kv_entry.ENTRY.plan(current, item.options, session.server)

    counted = []
    for item in items:
        try:
            item.plan = planned(item, 1 if item.options["key"] in entries else 0)
        except StreamsError as error:
            yield Problem(item.path, error)
            continue
        if item.changes and item.options["key"] in entries and int(bucket.config.get("max_msgs_per_subject") or 0) != 1:
            counted.append(item)
        if not item.changes:
            item.plan = replace(item.plan, before=None, after=None)
    counts = kv.count_values(session, bucket, [item.options["key"] for item in counted])
    for item in counted:
        item.plan = planned(item, counts[item.options["key"]])


def revise(session: Session, item: Item) -> None:
    """Plans a key anew that somebody else wrote after it was planned."""
    item.plan = kv_entry.ENTRY.plan(kv_entry.ENTRY.read(session, item.options), item.options, session.server)
