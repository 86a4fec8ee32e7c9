# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the changes of a document group by group, all of a group at once over one connection."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from ... import _errors
from ..._api import jetstream, origins, streams
from ..._connection import sessions, together
from .. import resource
from . import model, state
from .order import phases

if TYPE_CHECKING:
    from collections.abc import Iterable


def apply(session: sessions.Session, document: model.Document, known: state.Known) -> None:
    """Write all changes, and set ``written`` and ``error`` of each item."""
    groups = phases(document, known.infos)
    for group, following in zip(groups, [*groups[1:], []]):
        _write_group(session, document, group)
        if not _has_streams(following):
            _prove(session, document, known)


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
            # The connection broke, and no reply tells which were written
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
        return False  # copies that move are waited for, and origins where that is asked for
    return item.plan.action in (resource.CREATE, resource.UPDATE, resource.DELETE)


def _apply_alone(session: sessions.Session, item: model.Item) -> None:
    """Write an item that takes more than one call as the module for one resource does."""
    try:
        if item.plan:
            item.kind.definition.apply(session, item.plan)
        item.written = True
    except _errors.StreamsError as error:
        item.written = error.failure.get("code") in _errors.WRITTEN
        item.error = error
    item.proven = True


def _write_streams(session: sessions.Session, items: list[model.Item]) -> None:
    calls = [model.definition_of(item).call_of(item.plan) for item in items if item.plan]
    refused = []
    for item, answer in zip(items, jetstream.call_many(session, calls)):
        gone = (
            model.is_removal(item)
            and isinstance(answer, _errors.ApiError)
            and answer.err_code == jetstream.STREAM_NOT_FOUND
        )
        item.error = answer if isinstance(answer, _errors.StreamsError) and not gone else None
        if isinstance(item.error, _errors.ApiError):
            refused.append(item)
        item.written = item.error is None
        item.proven = item.written and model.is_removal(item)
    for item, error in zip(refused, together.read_together(session, [partial(_explained, item) for item in refused])):
        item.error, item.written = error, error is None


def _explained(item: model.Item, session: sessions.Session) -> _errors.StreamsError | None:
    if not item.plan or not isinstance(item.error, _errors.ApiError):
        return item.error
    return model.definition_of(item).explained(session, item.plan, item.error)


def _prove(session: sessions.Session, document: model.Document, known: state.Known) -> None:
    """Read back what was written, since an acknowledgement is no proof."""
    items = [item for item in document.of_kind(*model.STREAM_KINDS) if item.written and not item.proven]
    try:
        names = {item.stream for item in items}
        there = state.infos_again(session, names) if items else {}
        there.update(_late(session, sorted(names - there.keys())))
        silent = [info for info in there.values() if origins.never_heard(info)]
        there.update(origins.wait_until_heard(session, silent) if silent else {})
    except _errors.StreamsError as error:
        _fail(items, error)
    for item in items:
        if item.error is None and item.plan:
            try:
                shown = model.definition_of(item).proven(item.plan, there.get(item.stream))
                model.definition_of(item).announce(session, item.plan)
                item.doubts = resource.doubts(shown)
            except _errors.StreamsError as error:
                item.error = error
        item.proven = True
    consumers = [item for item in document.of_kind(model.CONSUMERS) if item.written and not item.proven]
    if consumers:
        _prove_consumers(session, consumers, known)
    document.failed = document.failed or any(item.error for item in document.items)


def _late(session: sessions.Session, names: list[str]) -> dict[str, dict[str, Any]]:
    """Return the infos of streams that were not found right after they were written."""
    found = together.read_together(session, [partial(streams.info_after_write, name=name) for name in names])
    for info in found:
        if isinstance(info, _errors.StreamsError):
            raise info
    return {name: info for name, info in zip(names, found) if isinstance(info, dict)}


def _prove_consumers(session: sessions.Session, items: list[model.Item], known: state.Known) -> None:
    from .consumers import prove_consumers

    try:
        prove_consumers(session, items, known)
    except _errors.StreamsError as error:
        _fail(items, error)
    for item in items:
        item.proven = True
