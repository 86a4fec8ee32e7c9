# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan of a document: one plan for each item, made against what is there and what the others will make of it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from ... import _errors
from ..._api import streams
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


def plan(session: sessions.Session, document: model.Document, known: state.Known) -> None:
    """Plan each item. Raises Problems with all obstacles."""
    problems: list[model.Problem] = []
    beside = _read_beside(session, document, known)
    for item, read in beside.items():
        try:
            if isinstance(read, _errors.StreamsError):
                raise read
            _plan_stream(session, known, item, *read)
        except _errors.StreamsError as error:
            problems.append(model.Problem(item.path, error))
            item.subjects = _subjects_meant(item, known)
    problems += _overlaps(document, known, _listeners(session, document, known))
    problems += _unmatched(session, document, known)
    if document.has(model.CONSUMERS):
        from .consumers import plan_consumers

        problems += plan_consumers(session, document, known)
    if document.has(model.KEYS):
        from .keys import plan_keys

        problems += plan_keys(session, document, known)
    if problems:
        raise model.Problems(problems)
    changing = {item.stream for item in document.items if item.changes}
    for name in known.infos.keys() - changing:
        del known.infos[name]  # of thousands, those that stay need no place


# Streams, buckets and governors


def _read_beside(
    session: sessions.Session, document: model.Document, known: state.Known
) -> dict[model.Item, _Read | _errors.StreamsError]:
    """Return what the plan of each stream needs beside its info, or its error. All streams are read at once."""
    items = list(document.of_kind(*model.STREAM_KINDS))
    found: dict[model.Item, _Read | _errors.StreamsError] = {}
    copied = _read_copied(session, known, [item for item in items if _by_copy(item)])
    measured = []
    for item in items:
        info, current = known.infos.get(item.stream), copied.get(item)
        try:
            if isinstance(current, _errors.StreamsError):
                raise current
            document.check_owner(item, info)
            collective = session.settings.collective
            needs = model.definition_of(item).needs(info, item.options, session.server, collective)
        except _errors.StreamsError as error:
            found[item] = error
            continue
        if current is None:
            current = stream_base.Current(info, collective=collective, desired=needs.desired)
            measured += [item] if info and needs.measured else []
        found[item] = needs, current
    numbers = together.read_together(session, [partial(_measured, item, found[item]) for item in measured])
    for item, number in zip(measured, numbers):
        read = found[item]
        if isinstance(number, _errors.StreamsError):
            found[item] = number
        elif not isinstance(read, _errors.StreamsError):
            found[item] = read[0], read[1]._replace(measured=number)
    return found


def _measured(item: model.Item, read: Any, session: sessions.Session) -> losses.Measured:
    needs, current = read
    return model.definition_of(item).measure(session, current.info, needs.desired or {})


def _plan_stream(
    session: sessions.Session,
    known: state.Known,
    item: model.Item,
    needs: stream_base.Needs,
    current: stream_base.Current,
) -> None:
    streamed = model.definition_of(item)
    if needs.limited:
        current = current._replace(account=state.account_of(session, known))
    if needs.placed:
        found = state.servers_of(session, known).until(placing.enough(needs.placed, current.info or {}))
        current = current._replace(servers=found)
    item.plan = streamed.plan_change(current, item.options, session.server)
    if known.account and item.changes and not model.is_removal(item):
        from .. import account_limits

        known.account = account_limits.with_stream(known.account, item.plan.request, current.config)
    item.new_subjects, item.new_filters = tuple(needs.subjects), needs.filters
    config = item.plan.request if item.changes else current.config
    kept = config if config and not item.absent else None
    item.subjects = tuple(streamed.expected(kept, session.server.version).get("subjects") or ()) if kept else ()


def _subjects_meant(item: model.Item, known: state.Known) -> tuple[str, ...]:
    """Return the desired subjects of an item without a plan. One problem must not be reported as two."""
    if item.absent:
        return ()
    present = known.infos.get(item.stream, {}).get("config", {}).get("subjects")
    return tuple(item.options.get("subjects") or present or ())


def _by_copy(item: model.Item) -> bool:
    copied = item.options.get("recreate") == recreate.BY_COPY or item.options.get("renamed_from")
    return bool(copied) and not item.absent


def _read_copied(
    session: sessions.Session, known: state.Known, items: list[model.Item]
) -> dict[model.Item, stream_base.Current | _errors.StreamsError]:
    """Return the state of streams that may be copied. An interrupted copy counts as the stream before it."""
    found: dict[model.Item, stream_base.Current | _errors.StreamsError] = {}
    for item, current in zip(items, together.read_together(session, [partial(_read_alone, item) for item in items])):
        found[item] = current
        if isinstance(current, _errors.StreamsError):
            continue
        # Who has its subjects now is looked at for all items together
        found[item] = current = current._replace(taken=None, unmatched=None)
        if current.info:
            known.infos[item.stream] = current.info
        if (current.copying.under_way or current.renamed_from) and current.copying.holder:
            known.holders[item.stream] = current.copying.holder
        there = (*current.copying.kept, *(current.copying.consumers if current.renamed_from else ()))
        known.consumers.setdefault(item.stream, {}).update({info["name"]: dict(info) for info in there})
    return found


def _read_alone(item: model.Item, session: sessions.Session) -> stream_base.Current:
    return model.definition_of(item).read(session, item.options)


def _listeners(session: sessions.Session, document: model.Document, known: state.Known) -> dict[str, list[str]]:
    """Which streams listen to each new subject now. Empty where nobody may ask, and the server has to refuse.

    A stream whose copying was interrupted counts as it was before, and its temporary stream as the same.
    """
    wanted = sorted({subject for item in document.of_kind(*model.STREAM_KINDS) for subject in item.new_subjects})
    if known.subjects is not None:
        index = subjects.SubjectIndex()
        for name, taken in known.subjects.items():
            index.add(taken, name)
        found = {subject: index.overlapping(subject) for subject in wanted}
    else:
        try:
            found = dict(zip(wanted, streams.names_many(session, wanted)))
        except _errors.PermissionMissing:
            return {}
    held, before = {holder: name for name, holder in known.holders.items()}, subjects.SubjectIndex()
    for name in known.holders:
        before.add(known.infos[name]["config"].get("subjects") or (), name)
    return {
        subject: sorted({*before.overlapping(subject), *(held.get(name, name) for name in names)})
        for subject, names in found.items()
    }


def _overlaps(
    document: model.Document, known: state.Known, listeners: Mapping[str, list[str]]
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


def _unmatched(session: sessions.Session, document: model.Document, known: state.Known) -> Iterator[model.Problem]:
    """Yield filters that match nothing of the future origins."""

    def origin_of(name: str) -> Mapping[str, Any] | None:
        origin = document.streams.get(name)
        if origin is None:
            return known.infos[name]["config"] if name in known.infos else origin_filters.read(session, name)
        if origin.plan is None or origin.absent:
            return None
        if not origin.changes:
            return dict(known.infos[name]["config"])
        return model.definition_of(origin).expected(origin.plan.request, session.server.version)

    for item in document.of_kind(*model.STREAM_KINDS):
        refused = origin_filters.first_refusal(session, item.new_filters, origin_of) if item.new_filters else None
        if refused:
            yield model.Problem(item.path, refused)
