# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The result of a document, or its prediction in check mode, by items and in numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ... import _errors
from .. import resource
from . import model, state
from .plan import plan

if TYPE_CHECKING:
    from ..._connection import sessions

_COUNTS = {resource.CREATE: "created", resource.DELETE: "deleted", resource.NONE: "unchanged"}


class Unfinished(_errors.StreamsError):
    """Some items failed. The result has all of them."""

    def __init__(self, failed: list[model.Item], result: dict[str, Any]) -> None:
        first = failed[0]
        reason = first.error.message if first.error else ""
        several = "One item" if len(failed) == 1 else f"{len(failed)} items"
        super().__init__(
            f"{several} of the document failed, or could not be tried. {first.path} ({first.name}): {reason} "
            "Completed changes are kept: remove the cause and run it again.",
            code="unfinished",
        )
        self.result = result


def ensure(session: sessions.Session, document: model.Document, check_mode: bool, diff: bool) -> dict[str, Any]:
    """Read, plan, and write unless in check mode. Raises Problems before anything is written, then Unfinished."""
    snapshot = state.read(session, document)
    if document.prune:
        state.add_pruned(document, snapshot)
    if document.prune or document.has(model.CONSUMERS):
        from .consumers import add_pruned_consumers, read_consumers

        read_consumers(session, document, snapshot)
        if document.prune:
            add_pruned_consumers(document, snapshot)
    plan(session, document, snapshot)
    if not check_mode and any(item.changes for item in document.items):
        from .apply import apply

        apply(session, document, snapshot)
    result = _report(document, check_mode, diff)
    failed = [item for item in document.items if item.error]
    if failed:
        raise Unfinished(sorted(failed, key=_not_tried), result)
    return result


def _not_tried(item: model.Item) -> bool:
    return item.error is not None and item.error.failure.get("code") in (model.DEPENDENCY, model.STOPPED)


def _report(document: model.Document, check_mode: bool, diff: bool) -> dict[str, Any]:
    summary = dict.fromkeys(("created", "updated", "deleted", "unchanged", "failed"), 0)
    for item in document.items:
        done = item.plan.action if item.plan else resource.NONE
        summary["failed" if item.error else _COUNTS.get(done, "updated")] += 1
    result: dict[str, Any] = {
        "changed": any(item.written or (check_mode and item.changes) for item in document.items),
        "resources": [_entry(item, check_mode) for item in document.items],
        "summary": summary,
        "consequences": _lost(document),
    }
    sound = [item for item in document.items if item.plan and not item.error]
    result["warnings"] = [warning for item in sound if item.plan for warning in (*item.plan.warnings, *item.warnings)]
    if diff:
        shown = [item for item in document.items if item.plan and item.changes and (check_mode or item.written)]
        result["diff"] = [item.plan.diff if item.plan else {} for item in shown]
    return result


def _lost(document: model.Document) -> dict[str, Any]:
    """Return the sums of all losses, None if one is unknown. Lists are shown with their items."""
    sums: dict[str, Any] = {"messages_lost": 0, "consumers_lost": 0, "revisions_lost": 0}
    for item in document.items:
        for name, count in (item.plan.consequences if item.plan and not item.error else {}).items():
            if name == "at_least":
                sums[name] = True
            elif not isinstance(count, list):
                before = sums.get(name, 0)
                sums[name] = None if before is None or count is None else before + count
    return sums


def _entry(item: model.Item, check_mode: bool) -> dict[str, Any]:
    """Return the report of an item, short for unchanged ones, since there may be thousands."""
    entry: dict[str, Any] = {"kind": item.kind.noun, "name": item.name, "changed": False, "action": resource.NONE}
    if item.plan and item.changes:
        entry.update(action=item.plan.action, changes=item.plan.change_list, consequences=item.plan.consequences)
        entry["changed"] = item.written or check_mode
    if item.error:
        entry["failure"] = {**item.error.failure, "message": item.error.message}
    return entry
