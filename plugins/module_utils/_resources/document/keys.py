# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan and write the keys of a document, bucket by bucket."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ... import _errors
from ..._api.kv import kv, kv_write
from ..._connection import together
from .. import resource
from ..kv.entry import ENTRY, Current, EntryPlan
from . import model

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ..._connection import sessions, wire
    from . import state

_TRIES = 3


def plan_keys(session: sessions.Session, document: model.Document, snapshot: state.Snapshot) -> Iterator[model.Problem]:
    """Plan each key, and yield the problems. Buckets are planned before."""
    by_bucket: dict[str, list[model.Item]] = {}
    for item in document.of_kind(model.KEYS):
        by_bucket.setdefault(item.options["bucket"], []).append(item)
    batches: list[_Batch] = []
    for name, items in by_bucket.items():
        buckets = _buckets(document, snapshot, name, items)
        if isinstance(buckets, list):
            yield from buckets
            continue
        batches += (_Batch(*buckets, items[start : start + kv.BATCH]) for start in range(0, len(items), kv.BATCH))
    yield from _duplicates(session, batches)
    read = together.read_together(session, [partial(_entries, batch) for batch in batches])
    counted: list[_Batch] = []
    for batch, entries in zip(batches, read):
        if isinstance(entries, _errors.StreamsError):
            yield model.Problem(batch.items[0].path, entries)
            continue
        yield from _plan_batch(session.server, batch, entries, counted)
    counts = together.read_together(session, [partial(_counts, batch) for batch in counted])
    for batch, numbers in zip(counted, counts):
        if isinstance(numbers, _errors.StreamsError):
            yield model.Problem(batch.items[0].path, numbers)
            continue
        for item in batch.items:
            key = item.options["key"]
            item.plan = _planned(session.server, batch, item, batch.entries.get(key), numbers[key])


@dataclass
class _Batch:
    """Keys of one bucket. ``there`` is the present bucket, or None if there is none yet. ``bucket`` is the future one.

    ``entries`` are the newest revisions of keys whose values have to be counted.
    """

    there: kv.Bucket | None
    bucket: kv.Bucket
    items: list[model.Item]
    entries: dict[str, kv.Entry] = field(default_factory=dict)


def _duplicates(session: sessions.Session, batches: list[_Batch]) -> Iterator[model.Problem]:
    """Yield the keys that are the same as another one, since what is written to a mirror goes to its origin."""
    first: dict[str, model.Item] = {}
    for batch in batches:
        for item in batch.items:
            other = first.setdefault(batch.bucket.write_subject(session, item.options["key"]), item)
            if other is not item:
                reason = f"one of the buckets mirrors the other, so that this is key {other.name} of {other.path}"
                yield model.Problem(item.path, _errors.StreamsError(f"{reason}: keep one.", code="duplicate"))


def _buckets(
    document: model.Document, snapshot: state.Snapshot, name: str, items: list[model.Item]
) -> tuple[kv.Bucket | None, kv.Bucket] | list[model.Problem]:
    """Return the present and the future bucket, or the problems of its keys."""
    parent, info = document.streams.get(items[0].stream), snapshot.infos.get(items[0].stream)
    config: Mapping[str, Any] = info["config"] if info else {}
    if parent and parent.changes and parent.plan:
        config = parent.plan.request
    if parent and parent.plan and parent.plan.action == resource.DELETE:
        error = _errors.Refused(f"bucket {name} is to be deleted: leave out its keys, or keep it.", code="no_bucket")
        return [model.Problem(item.path, error) for item in items]
    if not config:
        # If the document has the bucket, its own problem is reported already
        return [model.Problem(item.path, kv.no_bucket(name)) for item in items if parent is None]
    mirror = config.get("mirror") or {}
    origin = None if mirror.get("external") else document.streams.get(mirror.get("name", ""))
    if origin and origin.absent:
        reason = f"bucket {name} mirrors {origin.path}, which the document deletes, and its keys are written there"
        error = _errors.Refused(f"{reason}: leave out its keys, or keep that.", code="no_bucket")
        return [model.Problem(item.path, error) for item in items]
    there = None
    if info and not model.is_recreated(parent):
        holder = snapshot.holders.get(items[0].stream, "")
        there = kv.Bucket(name, info["config"], info["state"]["last_seq"], holder)
    return there, kv.Bucket(name, config, there.last_sequence if there else 0)


def _entries(batch: _Batch, session: sessions.Session) -> dict[str, kv.Entry]:
    if not batch.there or not batch.there.last_sequence:
        return {}
    return kv.last_many(session, batch.there, [item.options["key"] for item in batch.items])


def _counts(batch: _Batch, session: sessions.Session) -> dict[str, int]:
    return kv.count_values(session, batch.there or batch.bucket, [item.options["key"] for item in batch.items])


def _planned(
    server: wire.Server, batch: _Batch, item: model.Item, entry: kv.Entry | None, revisions: int
) -> resource.Plan:
    return ENTRY.plan(Current(batch.bucket, entry, revisions), item.options, server)


def _plan_batch(
    server: wire.Server, batch: _Batch, entries: dict[str, kv.Entry], counted: list[_Batch]
) -> Iterator[model.Problem]:
    """Plan keys, and add those whose values have to be counted to ``counted``."""
    more = _Batch(batch.there, batch.bucket, [])
    several = int(batch.bucket.config.get("max_msgs_per_subject") or 0) != 1
    for item in batch.items:
        key = item.options["key"]
        try:
            item.plan = _planned(server, batch, item, entries.get(key), 1 if key in entries else 0)
        except _errors.StreamsError as error:
            yield model.Problem(item.path, error)
            continue
        if not item.changes:
            item.plan = replace(item.plan, before=None, after=None)
        elif several and key in entries:
            more.items.append(item)
            more.entries[key] = entries[key]
    counted += [more] if more.items else []


def write_keys(session: sessions.Session, items: list[model.Item], tries: int = _TRIES) -> None:
    """Write keys. Those that somebody else wrote meanwhile are planned again."""
    plans = [item.plan for item in items if isinstance(item.plan, EntryPlan)]
    sent = [(plan.bucket, item.options["key"], plan.request) for item, plan in zip(items, plans)]
    again = []
    for item, answer in zip(items, kv_write.write_many(session, sent)):
        item.error = answer if isinstance(answer, _errors.StreamsError) else None
        item.written, item.proven = model.is_written(item.error), item.error is None
        if kv_write.overtaken(answer) and tries > 1:
            again.append(item)
    for item, plan in zip(again, together.read_together(session, [partial(_revised, item) for item in again])):
        item.error = plan if isinstance(plan, _errors.StreamsError) else None
        item.plan = item.plan if isinstance(plan, _errors.StreamsError) else plan
    if again:
        write_keys(session, [item for item in again if item.error is None and item.changes], tries - 1)


def _revised(item: model.Item, session: sessions.Session) -> resource.Plan:
    """Return the new plan of a key that somebody else wrote after it was planned."""
    return ENTRY.plan(ENTRY.read(session, item.options), item.options, session.server)
