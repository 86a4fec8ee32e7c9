# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of a synchronization: changes and counts without values, and differences of unmasked values."""

from __future__ import annotations

from typing import Any, NamedTuple

from ... import _errors
from ..._options import values
from ..._options.mask import CHANGED, HIDDEN, Mask, text

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
        """Add the change of a key."""
        self.changes.append({"key": key, "action": action, "revision": revision, **more})

    def add_diff(self, key: str, before: Side, after: Side) -> None:
        """Add the difference of a key, without secrets."""
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
        result = {"changed": bool(self.changes), "changes": self.changes, "counts": counts, "revision": revision}
        return {**result, "diff": self._diffs} if self._diffs else result

    def incomplete(self, error: _errors.StreamsError) -> _errors.StreamsError:
        """Return the error with the changes that were made before it."""
        count = len(self.changes)
        if count:
            error.message += f" Changes that were made before that: {count}."
            error.args = (error.message,)
        error.failure["written"] = count
        written = bool(count or self.touched) or error.failure["code"] in _errors.WRITTEN
        error.result = {"changed": written, "changes": self.changes}
        return error

    def _text(self, key: str, side: Side) -> str:
        if side.content is None:
            return ""
        if self._mask.hides(key):
            return HIDDEN
        return text(values.lines(side.content, side.encoding), self._mask)
