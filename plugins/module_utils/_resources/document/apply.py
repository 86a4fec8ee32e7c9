# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the changes of a document group by group, all of a group at once over one connection.

Each group needs only earlier ones.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from ... import _errors
from ..._api import jetstream, replicas, streams
from ..._connection import sessions, together
from .. import resource
from . import model, state

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..._api import answers


def apply(session: sessions.Session, document: model.Document, snapshot: state.Snapshot) -> None:
    """Write all changes, and set ``written`` and ``error`` of each item."""
    groups = phases(document, snapshot.infos)
    for group, following in zip(groups, [*groups[1:], []]):
        _write_group(session, document, group)
        if not _has_streams(following):
            _prove(session, document, snapshot)


def _has_streams(group: list[model.Item]) -> bool:
    return bool(group) and not group[0].kind.parent and not model.is_removal(group[0])


def _write_group(session: sessions.Session, document: model.Document, group: list[model.Item]) -> None:
    for start in range(0, len(group), sessions.WINDOW):
        batch = []
        for item in group[start : start + sessions.WINDOW]:
            item.error = _obstacle(document, item)
            if item.error is None:
                batch.append(item)
        try:
            _write(session, batch)
        except _errors.StreamsError as error:
            # The connection broke, and it is unknown which were written
            document.on_error = model.STOP
            _fail(batch, error)
        document.failed = document.failed or any(item.error for item in batch)


def _fail(items: Iterable[model.Item], error: _errors.StreamsError) -> None:
    for item in items:
        if item.error is None and not item.proven:
            item.error = error


def _obstacle(document: model.Document, item: model.Item) -> _errors.StreamsError | None:
    """Return why an item is skipped: a required item failed, or the user wants to stop after a failure."""
    needed = [document.streams.get(item.stream)] if item.kind.parent else item.after
    failed = next((need for need in needed if need and need.error), None)
    if failed:
        return _errors.StreamsError(f"Not tried, since {failed.path} failed, which it needs.", code=model.DEPENDENCY)
    if document.on_error == model.STOP and document.failed:
        return _errors.StreamsError("Not tried, since something else failed before it (on_error).", code=model.STOPPED)
    return None


def _write(session: sessions.Session, batch: list[model.Item]) -> None:
    consumers, keys = ([item for item in batch if item.kind is kind] for kind in (model.CONSUMERS, model.KEYS))
    rest = [item for item in batch if not item.kind.parent]
    _write_streams(session, [item for item in rest if _one_call(item)])
    for item in rest:
        if not _one_call(item):
            _apply_alone(session, item)
    if consumers:
        from .consumers import write_consumers

        write_consumers(session, consumers)
    if keys:
        from .keys import write_keys

        write_keys(session, keys)


def _one_call(item: model.Item) -> bool:
    if item.plan is None or item.plan.follow or (item.plan.action == resource.UPDATE and item.plan.wait):
        return False  # it also has to wait, for replicas that move or for origins
    return item.plan.action in (resource.CREATE, resource.UPDATE, resource.DELETE)


def _apply_alone(session: sessions.Session, item: model.Item) -> None:
    """Write an item that takes more than one call as the module for one resource does."""
    done = session.writes_done
    try:
        if item.plan:
            item.kind.definition.apply(session, item.plan)
        item.written = True
    except _errors.StreamsError as error:
        item.error, item.written = error, session.has_written(error, done)
    item.proven = True


def _write_streams(session: sessions.Session, items: list[model.Item]) -> None:
    calls = [model.definition_of(item).call_of(item.plan) for item in items if item.plan]
    refused = []
    for item, answer in zip(items, streams.write_many(session, calls)):
        gone = (
            model.is_removal(item)
            and isinstance(answer, _errors.ApiError)
            and answer.err_code == jetstream.STREAM_NOT_FOUND
        )
        item.error = answer if isinstance(answer, _errors.StreamsError) and not gone else None
        if isinstance(item.error, _errors.ApiError):
            refused.append(item)
        item.written = model.is_written(item.error)
        item.proven = item.error is None and model.is_removal(item)
    for item, error in zip(refused, together.read_together(session, [partial(_explained, item) for item in refused])):
        item.error, item.written = error, model.is_written(error)


def _explained(item: model.Item, session: sessions.Session) -> _errors.StreamsError | None:
    if not item.plan or not isinstance(item.error, _errors.ApiError):
        return item.error
    return model.definition_of(item).explained(session, item.plan, item.error)


def _prove(session: sessions.Session, document: model.Document, snapshot: state.Snapshot) -> None:
    """Read the resources back, since an acknowledgement is not a proof."""
    items = [item for item in document.of_kind(*model.STREAM_KINDS) if item.written and not item.proven]
    try:
        names = {item.stream for item in items}
        there = state.infos_again(session, names) if items else {}
        there.update(_read_late(session, sorted(names - there.keys())))
        silent = [info for info in there.values() if streams.never_heard(info)]
        there.update(replicas.wait_until_heard(session, silent) if silent else {})
    except _errors.StreamsError as error:
        _fail(items, error)
    for item in items:
        if item.error is None and item.plan:
            try:
                streamed = model.definition_of(item)
                info = streamed.proven(session, item.plan, there.get(item.stream))
                streamed.announce(session, item.plan)
                item.warnings = resource.origin_warnings({streamed.noun: streamed.result(info["config"], info)})
            except _errors.StreamsError as error:
                item.error = error
        item.proven = True
    written = (item for item in document.of_kind(model.CONSUMERS) if item.written and not item.proven)
    consumers = [item for item in written if item.error is None]
    if consumers:
        _prove_consumers(session, consumers, snapshot)
    document.failed = document.failed or any(item.error for item in document.items)


def _read_late(session: sessions.Session, names: list[str]) -> dict[str, answers.StreamInfo]:
    """Return the infos of streams that were not found right after they were written."""
    reads = [partial(streams.info_after_write, name=name) for name in names]
    infos = together.raised(together.read_together(session, reads))
    return {name: info for name, info in zip(names, infos) if info}


def _prove_consumers(session: sessions.Session, items: list[model.Item], snapshot: state.Snapshot) -> None:
    from .consumers import prove_consumers

    try:
        prove_consumers(session, items, snapshot)
    except _errors.StreamsError as error:
        _fail(items, error)
    for item in items:
        item.proven = True


# In which order


def origins_of(config: Mapping[str, Any]) -> list[str]:
    """Return the streams of the same account that a stream copies from."""
    copied = [config.get("mirror") or {}, *(config.get("sources") or [])]
    return [origin["name"] for origin in copied if origin.get("name") and not origin.get("external")]


def phases(document: model.Document, current: Mapping[str, answers.StreamInfo]) -> list[list[model.Item]]:
    """Return the changes in the order of writing; ``current`` has the streams' infos by their names.

    Items that give up subjects precede those that take them, origins precede their copies, and streams their contents.
    Removals come last in the reverse order, except those that make room.
    """
    changing = [item for item in document.items if item.changes]
    backed = [item for item in changing if not item.kind.parent]
    kept, doomed = (
        [item for item in backed if not model.is_removal(item)],
        [item for item in backed if model.is_removal(item)],
    )
    for item in kept:
        item.after += _in_document(document, item.plan.request if item.plan else {})
    room = {giver for item in kept for giver in item.after}
    copied = {item: _in_document(document, current[item.stream]["config"]) for item in doomed}
    early = _levels([item for item in doomed if item in room], copied)[::-1]
    late = _levels([item for item in doomed if item not in room], copied)[::-1]
    levels = _levels(kept, {item: item.after for item in kept})
    inner = [*_consumers(document, current), [item for item in changing if item.kind is model.KEYS]]
    return [group for group in (*early, *levels, *inner, *late) if group]


def _consumers(document: model.Document, current: Mapping[str, answers.StreamInfo]) -> list[list[model.Item]]:
    """Return the order of consumers.

    A stream for work queues has one consumer for each message, so that the old one is removed or narrowed before the
    new one is created. Other streams keep messages for a new consumer only if it is created before.
    """
    changing = [item for item in document.of_kind(model.CONSUMERS) if item.changes]
    doomed = [item for item in changing if model.is_removal(item)]
    queues = [item for item in doomed if _retention(current, item) == "workqueue"]
    kept = [item for item in changing if not model.is_removal(item)]
    early = [item for item in kept if _is_made(item) != (_retention(current, item) == "workqueue")]
    late = [item for item in kept if item not in early]
    return [queues, early, late, [item for item in doomed if item not in queues]]


def _is_made(item: model.Item) -> bool:
    return item.plan is not None and item.plan.action == resource.CREATE


def _retention(current: Mapping[str, answers.StreamInfo], item: model.Item) -> str:
    info = current.get(item.stream)
    return info["config"]["retention"] if info else ""


def _in_document(document: model.Document, config: Mapping[str, Any]) -> list[model.Item]:
    return [document.streams[name] for name in origins_of(config) if name in document.streams]


def _levels(items: list[model.Item], needs: Mapping[model.Item, Iterable[model.Item]]) -> list[list[model.Item]]:
    """Return the items in groups that need only earlier ones. A circle is broken, and the server decides."""
    depths: dict[model.Item, int] = {}

    def depth(item: model.Item) -> int:
        if item not in depths:
            depths[item] = 0
            depths[item] = 1 + max((depth(need) for need in needs[item] if need in needs), default=-1)
        return depths[item]

    groups: list[list[model.Item]] = []
    for item in items:
        while len(groups) <= depth(item):
            groups.append([])
        groups[depth(item)].append(item)
    return groups
