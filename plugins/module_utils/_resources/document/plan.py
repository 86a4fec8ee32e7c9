# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan of a document: one for each item, against the present state and the changes that other items will make."""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING, Any

from ... import _errors
from ..._connection import together
from .. import origin_filters, placing, subjects
from ..stream import base as stream_base
from ..stream.recreation import recreate
from . import model, state

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ..._connection import sessions
    from .. import losses

    _Read = tuple[stream_base.Needs, stream_base.Current]


def plan(session: sessions.Session, document: model.Document, snapshot: state.Snapshot) -> None:
    """Plan each item. Raises Problems with all obstacles."""
    problems: list[model.Problem] = []
    beside = _read_beside(session, document, snapshot)
    for item, read in beside.items():
        try:
            if isinstance(read, _errors.StreamsError):
                raise read
            _plan_stream(session, snapshot, item, *read)
        except _errors.StreamsError as error:
            problems.append(model.Problem(item.path, error))
            item.subjects = _subjects_meant(item, snapshot)
    problems += _overlaps(document, snapshot, _listeners(session, document, snapshot))
    problems += _unmatched(session, document, snapshot)
    if document.has(model.CONSUMERS):
        from .consumers import plan_consumers

        problems += plan_consumers(session, document, snapshot)
    if document.has(model.KEYS):
        from .keys import plan_keys

        problems += plan_keys(session, document, snapshot)
    if problems:
        raise model.Problems(problems)
    changing = {item.stream for item in document.items if item.changes}
    for name in snapshot.infos.keys() - changing:
        del snapshot.infos[name]  # of thousands, those that stay need no place


# Streams, buckets and governors


def _read_beside(
    session: sessions.Session, document: model.Document, snapshot: state.Snapshot
) -> dict[model.Item, _Read | _errors.StreamsError]:
    """Return what the plan of each stream needs beside its info, or its error. All streams are read at once."""
    items = list(document.of_kind(*model.STREAM_KINDS))
    reads: dict[model.Item, _Read | _errors.StreamsError] = {}
    copied = _read_copied(session, snapshot, [item for item in items if _by_copy(item)])
    measured = []
    for item in items:
        info, current = snapshot.infos.get(item.stream), copied.get(item)
        try:
            if isinstance(current, _errors.StreamsError):
                raise current
            document.check_owner(item, info)
            collective = session.settings.collective
            needs = model.definition_of(item).needs(info, item.options, session.server, collective)
        except _errors.StreamsError as error:
            reads[item] = error
            continue
        if current is None:
            current = stream_base.Current(info, collective=collective, desired=needs.desired)
            measured += [item] if info and needs.measured else []
        reads[item] = needs, current
    numbers = together.read_together(session, [partial(_measured, item, reads[item]) for item in measured])
    for item, number in zip(measured, numbers):
        read = reads[item]
        if isinstance(number, _errors.StreamsError):
            reads[item] = number
        elif not isinstance(read, _errors.StreamsError):
            reads[item] = read[0], read[1]._replace(measured=number)
    return reads


def _measured(item: model.Item, read: Any, session: sessions.Session) -> losses.Measured:
    needs, current = read
    return model.definition_of(item).measure(session, current.info, needs.desired or {})


def _plan_stream(
    session: sessions.Session,
    snapshot: state.Snapshot,
    item: model.Item,
    needs: stream_base.Needs,
    current: stream_base.Current,
) -> None:
    streamed = model.definition_of(item)
    if needs.limited:
        current = current._replace(account=state.account_of(session, snapshot))
    if needs.placed:
        servers = state.servers_of(session, snapshot).until(placing.enough(needs.placed, current.info))
        current = current._replace(servers=servers)
    item.plan = streamed.plan_change(current, item.options, session.server)
    if snapshot.account and item.changes and not model.is_removal(item):
        from .. import account_limits

        snapshot.account = account_limits.with_stream(snapshot.account, item.plan.request, current.config)
    item.new_subjects, item.new_filters = tuple(needs.subjects), needs.filters
    config = item.plan.request if item.changes else current.config
    kept = config if config and not item.absent else None
    item.subjects = tuple(streamed.expected(kept, session.server.version).get("subjects") or ()) if kept else ()


def _subjects_meant(item: model.Item, snapshot: state.Snapshot) -> tuple[str, ...]:
    """Return the desired subjects of an item without a plan. One problem must not be reported as two."""
    if item.absent:
        return ()
    info = snapshot.infos.get(item.stream)
    present = info["config"].get("subjects") if info else ()
    return tuple(item.options.get("subjects") or present or ())


def _by_copy(item: model.Item) -> bool:
    copied = item.options.get("recreate") == recreate.BY_COPY or item.options.get("renamed_from")
    return bool(copied) and not item.absent


def _read_copied(
    session: sessions.Session, snapshot: state.Snapshot, items: list[model.Item]
) -> dict[model.Item, stream_base.Current | _errors.StreamsError]:
    """Return the state of streams that may be copied. An interrupted copy counts as the stream before it."""
    currents: dict[model.Item, stream_base.Current | _errors.StreamsError] = {}
    for item, current in zip(items, together.read_together(session, [partial(_read_alone, item) for item in items])):
        currents[item] = current
        if isinstance(current, _errors.StreamsError):
            continue
        # The present owners of subjects are read for all items together
        currents[item] = current = current._replace(taken=None, unmatched=None)
        if current.info:
            snapshot.infos[item.stream] = current.info
        if (current.copying.under_way or current.renamed_from) and current.copying.holder:
            snapshot.holders[item.stream] = current.copying.holder
        there = (*current.copying.kept, *(current.copying.consumers if current.renamed_from else ()))
        snapshot.consumers.setdefault(item.stream, {}).update({info["name"]: dict(info) for info in there})
    return currents


def _read_alone(item: model.Item, session: sessions.Session) -> stream_base.Current:
    return model.definition_of(item).read(session, item.options)


def _listeners(session: sessions.Session, document: model.Document, snapshot: state.Snapshot) -> dict[str, list[str]]:
    """Which streams listen to each new subject now. Empty where nobody may ask, and the server has to refuse.

    A stream whose copying was interrupted counts as it was before, and its temporary stream as the same.
    """
    new = sorted({subject for item in document.of_kind(*model.STREAM_KINDS) for subject in item.new_subjects})
    if snapshot.subjects is not None:
        index = subjects.SubjectIndex()
        for name, taken in snapshot.subjects.items():
            index.add(taken, name)
        streams_of = {subject: index.overlapping(subject) for subject in new}
    else:
        try:
            streams_of = dict(zip(new, state.streams_with(session, new)))
        except _errors.PermissionMissing:
            return {}
    held, before = {holder: name for name, holder in snapshot.holders.items()}, subjects.SubjectIndex()
    for name in snapshot.holders:
        before.add(snapshot.infos[name]["config"].get("subjects") or (), name)
    return {
        subject: sorted({*before.overlapping(subject), *(held.get(name, name) for name in names)})
        for subject, names in streams_of.items()
    }


def _overlaps(
    document: model.Document, snapshot: state.Snapshot, listeners: Mapping[str, list[str]]
) -> Iterator[model.Problem]:
    """Subjects that two streams would have. Those that change hands say which item has to be written first."""
    later = subjects.SubjectIndex()
    for item in document.of_kind(*model.STREAM_KINDS):
        for subject in item.subjects:
            clash = [name for name in later.overlapping(subject) if name != item.stream]
            others = [name for name in listeners.get(subject, ()) if name not in document.streams]
            if clash or others:
                yield model.Problem(item.path, model.definition_of(item).overlap(subject, (clash or others)[0]))
                break
            givers = (document.streams[name] for name in listeners.get(subject, ()) if name != item.stream)
            item.after += [giver for giver in givers if giver.changes]
        later.add(item.subjects, item.stream)


def _unmatched(
    session: sessions.Session, document: model.Document, snapshot: state.Snapshot
) -> Iterator[model.Problem]:
    """Yield filters that match nothing of the future origins."""

    @cache
    def origin_of(name: str) -> Mapping[str, Any] | None:
        origin = document.streams.get(name)
        if origin is None:
            return snapshot.infos[name]["config"] if name in snapshot.infos else origin_filters.read(session, name)
        if origin.plan is None or origin.absent:
            return None
        if not origin.changes:
            return dict(snapshot.infos[name]["config"])
        return model.definition_of(origin).expected(origin.plan.request, session.server.version)

    for item in document.of_kind(*model.STREAM_KINDS):
        refused = origin_filters.first_refusal(session, item.new_filters, origin_of) if item.new_filters else None
        if refused:
            yield model.Problem(item.path, refused)
