# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The keys of a document: planned and written together, bucket by bucket."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ... import _errors
from ..._api import kv
from .. import resource
from ..kv.entry import ENTRY, Current, EntryPlan
from . import model

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..._connection import sessions
    from . import state

_TRIES = 3


def plan_keys(session: sessions.Session, document: model.Document, known: state.Known) -> Iterator[model.Problem]:
    """Gives each key its plan, and tells what stands in the way. Buckets have theirs already."""
    by_bucket: dict[str, list[model.Item]] = {}
    for item in document.of_kind(model.KEYS):
        by_bucket.setdefault(item.options["bucket"], []).append(item)
    for name, items in by_bucket.items():
        try:
            yield from _plan_bucket(session, document, known, name, items)
        except _errors.StreamsError as error:
            yield model.Problem(items[0].path, error)


def _plan_bucket(
    session: sessions.Session,
    document: model.Document,
    known: state.Known,
    name: str,
    items: list[model.Item],
) -> Iterator[model.Problem]:
    """The keys of one bucket, which may be planned itself."""
    parent, info = document.streams.get(items[0].stream), known.infos.get(items[0].stream)
    config = parent.plan.request if parent and parent.changes and parent.plan else info["config"] if info else {}
    if parent and parent.plan and parent.plan.action == resource.DELETE:
        error = _errors.Refused(f"bucket {name} is to be deleted: leave out its keys, or keep it.", code="no_bucket")
        yield from (model.Problem(item.path, error) for item in items)
        return
    if not config:
        # Where it is the bucket that can't be planned, that is told already
        yield from (model.Problem(item.path, kv.no_bucket(name)) for item in items if parent is None)
        return
    there = None
    if info and not model.is_anew(parent):
        holder = known.holders.get(items[0].stream, "")
        there = kv.Bucket(name, info["config"], int(info["state"]["last_seq"]), holder)
    bucket = kv.Bucket(name, config, there.last_sequence if there else 0)
    for start in range(0, len(items), kv.BATCH):
        yield from _plan_batch(session, there, bucket, items[start : start + kv.BATCH])


def _plan_batch(
    session: sessions.Session, there: kv.Bucket | None, bucket: kv.Bucket, items: list[model.Item]
) -> Iterator[model.Problem]:
    keys = [item.options["key"] for item in items]
    entries = kv.last_many(session, there, keys) if there else {}

    def planned(item: model.Item, revisions: int) -> EntryPlan:
        current = Current(bucket, entries.get(item.options["key"]), revisions)
        return ENTRY.plan(current, item.options, session.server)

    counted = []
    for item in items:
        try:
            item.plan = planned(item, 1 if item.options["key"] in entries else 0)
        except _errors.StreamsError as error:
            yield model.Problem(item.path, error)
            continue
        if item.changes and item.options["key"] in entries and int(bucket.config.get("max_msgs_per_subject") or 0) != 1:
            counted.append(item)
        if not item.changes:
            item.plan = replace(item.plan, before=None, after=None)
    counts = kv.count_values(session, there or bucket, [item.options["key"] for item in counted])
    for item in counted:
        item.plan = planned(item, counts[item.options["key"]])


def write_keys(session: sessions.Session, items: list[model.Item], tries: int = _TRIES) -> None:
    """Writes keys. Those that somebody else wrote meanwhile are planned anew."""
    plans = [item.plan for item in items if isinstance(item.plan, EntryPlan)]
    sent = [(plan.bucket, item.options["key"], plan.request) for item, plan in zip(items, plans)]
    again = []
    for item, answer in zip(items, kv.write_many(session, sent)):
        item.error = answer if isinstance(answer, _errors.StreamsError) else None
        item.written = item.proven = item.error is None
        if kv.overtaken(answer) and tries > 1:
            again.append(item)
    for item in again:
        item.error = None
        try:
            _revise(session, item)
        except _errors.StreamsError as error:
            item.error = error
    if again:
        write_keys(session, [item for item in again if item.error is None and item.changes], tries - 1)


def _revise(session: sessions.Session, item: model.Item) -> None:
    """Plans a key anew that somebody else wrote after it was planned."""
    item.plan = ENTRY.plan(ENTRY.read(session, item.options), item.options, session.server)
