# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Order the writes of a document: groups of items, each of which needs only earlier groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import resource
from . import model

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def origins_of(config: Mapping[str, Any]) -> list[str]:
    """Return the streams of the same account that a stream copies from."""
    copied = [config.get("mirror") or {}, *(config.get("sources") or [])]
    return [origin["name"] for origin in copied if origin.get("name") and not origin.get("external")]


def phases(document: model.Document, current: Mapping[str, Mapping[str, Any]]) -> list[list[model.Item]]:
    """Return the changes in the order of writing; ``current`` has the streams' infos by their names.

    Items that give up subjects precede those that take them, origins precede their copies, and streams their contents.
    Removals come last in the reverse order, except those that make room.
    """
    changing = [item for item in document.items if item.changes]
    backed = [item for item in changing if not item.kind.parent]
    kept, doomed = [item for item in backed if not _removed(item)], [item for item in backed if _removed(item)]
    for item in kept:
        item.after += _in_document(document, item.plan.request if item.plan else {})
    room = {giver for item in kept for giver in item.after}
    copied = {item: _in_document(document, current[item.stream]["config"]) for item in doomed}
    early = _levels([item for item in doomed if item in room], copied)[::-1]
    late = _levels([item for item in doomed if item not in room], copied)[::-1]
    levels = _levels(kept, {item: item.after for item in kept})
    inner = [*_consumers(document, current), [item for item in changing if item.kind is model.KEYS]]
    return [group for group in (*early, *levels, *inner, *late) if group]


def _consumers(document: model.Document, current: Mapping[str, Mapping[str, Any]]) -> list[list[model.Item]]:
    """Return the order of consumers.

    A stream for work queues has one consumer for each message, so that the old one is removed or narrowed before the
    new one is created. Other streams keep messages for a new consumer only if it is created before.
    """
    changing = [item for item in document.of_kind(model.CONSUMERS) if item.changes]
    doomed = [item for item in changing if _removed(item)]
    queues = [item for item in doomed if _retention(current, item) == "workqueue"]
    kept = [item for item in changing if not _removed(item)]
    early = [item for item in kept if _is_made(item) != (_retention(current, item) == "workqueue")]
    late = [item for item in kept if item not in early]
    return [queues, early, late, [item for item in doomed if item not in queues]]


def _is_made(item: model.Item) -> bool:
    return item.plan is not None and item.plan.action == resource.CREATE


def _retention(current: Mapping[str, Mapping[str, Any]], item: model.Item) -> str:
    return str(current.get(item.stream, {}).get("config", {}).get("retention", ""))


def _in_document(document: model.Document, config: Mapping[str, Any]) -> list[model.Item]:
    return [document.streams[name] for name in origins_of(config) if name in document.streams]


def _removed(item: model.Item) -> bool:
    return item.plan is not None and item.plan.action == resource.DELETE


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
