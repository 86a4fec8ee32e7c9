# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of a synchronization: changes and counts without values, and differences of unmasked values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ..._options import values
from ..._options.mask import CHANGED, HIDDEN, Mask, text

if TYPE_CHECKING:
    from ... import _errors

CREATE, UPDATE, DELETE, PURGE, ATTRIBUTES = "create", "update", "delete", "purge", "attributes"
_COUNTED = {CREATE: "created", UPDATE: "updated", ATTRIBUTES: "updated", DELETE: "removed", PURGE: "removed"}


class Side(NamedTuple):
    """One side of a difference: its name, its content or None, and other parts that can differ."""

    name: str
    content: bytes | None
    encoding: str = values.TEXT
    rest: str = ""


class Report:
    """The changes. Differences are collected only if they are requested, since that takes time for many keys."""

    def __init__(self, mask: Mask, with_diff: bool) -> None:
        self.with_diff = with_diff
        self._mask = mask
        self.changes: list[dict[str, Any]] = []
        self.touched = False
        """Whether something was written that no change stands for, such as the folder of a file."""
        self._diffs: list[dict[str, str]] = []

    def add(self, key: str, action: str, revision: int | None, **more: Any) -> None:
        self.changes.append({"key": key, "action": action, "revision": revision, **more})

    def add_diff(self, key: str, before: Side, after: Side) -> None:
        one, other = self._text(key, before), self._text(key, after)
        if one == other:
            one, other = (before.rest, after.rest) if before.content == after.content else (HIDDEN, CHANGED)
        self._diffs.append({"before_header": before.name, "after_header": after.name, "before": one, "after": other})

    def result(self, total: int, revision: int) -> dict[str, Any]:
        """Return the module's result. ``total`` is the number of desired keys."""
        counts = dict.fromkeys(("created", "updated", "removed"), 0)
        for change in self.changes:
            counts[_COUNTED[change["action"]]] += 1
        counts["unchanged"] = total - counts["created"] - counts["updated"]
        told = {"changed": bool(self.changes), "changes": self.changes, "counts": counts, "revision": revision}
        return {**told, "diff": self._diffs} if self._diffs else told

    def incomplete(self, error: _errors.StreamsError) -> _errors.StreamsError:
        """Return the error with the changes that were made before it."""
        count = len(self.changes)
        if count:
            error.message += f" {count} changes were made before that."
            error.args = (error.message,)
        error.failure["written"] = count
        error.result = {"changed": bool(count or self.touched), "changes": self.changes}
        return error

    def _text(self, key: str, side: Side) -> str:
        if side.content is None:
            return ""
        if self._mask.hides(key):
            return HIDDEN
        return text(values.lines(side.content, side.encoding), self._mask)
