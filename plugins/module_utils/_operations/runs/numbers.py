# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Track the present and the missing numbers of a row. Its size depends on the gaps, not on the length."""

from __future__ import annotations

from bisect import bisect_right


class Numbers:
    """Whole numbers from 1 on, stored as ranges. Most arrive in order."""

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        self.count = 0

    @property
    def highest(self) -> int:
        return self._lasts[-1] if self._lasts else 0

    def add(self, number: int) -> bool:
        """Add a number. Return False if it was present."""
        firsts, lasts = self._firsts, self._lasts
        index = bisect_right(firsts, number) - 1  # of the last range that begins at the number or before it
        if index >= 0 and number <= lasts[index]:
            return False
        self.count += 1
        follows = index >= 0 and lasts[index] == number - 1
        leads = index + 1 < len(firsts) and firsts[index + 1] == number + 1
        if follows and leads:
            lasts[index] = lasts.pop(index + 1)
            del firsts[index + 1]
        elif follows:
            lasts[index] = number
        elif leads:
            firsts[index + 1] = number
        else:
            firsts.insert(index + 1, number)
            lasts.insert(index + 1, number)
        return True

    def ranges(self) -> list[dict[str, int]]:
        return [{"first": first, "last": last} for first, last in zip(self._firsts, self._lasts)]

    def missing(self, end: int) -> list[dict[str, int]]:
        """Return the gaps from 1 to ``end``."""
        before = [0, *self._lasts]
        after = [*self._firsts, end + 1]
        gaps = [{"first": last + 1, "last": min(first - 1, end)} for last, first in zip(before, after)]
        return [gap for gap in gaps if gap["first"] <= gap["last"]]
