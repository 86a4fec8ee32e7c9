# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Convert a value to JSON types, truncated and masked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date
from itertools import islice
from typing import TYPE_CHECKING, Any

from ...module_utils._options.mask import HIDDEN, is_nothing

if TYPE_CHECKING:
    from .masking import Masking

NARROWEST = 16
_DEPTH = 32
# Names that others gave to hosts and modules. They are on subjects too, so that no password is one of them.
_NAMES = frozenset(("host", "hosts", "outcome", "status", "strategy"))
_NAMES_INSIDE = frozenset(("action", "uuid"))
# Numbers of ours, which say nothing of a secret that is the same
_COUNTS = frozenset(("attempts", "events", "forks", "index", "retries"))


class Plain:
    """Converts values. Ansible's tags are removed, encrypted values stay encrypted, unknown types are only named.

    ``cut`` has the names of the fields that were longer than ``width`` allows.
    """

    def __init__(self, width: int, masking: Masking) -> None:
        self.cut: set[str] = set()
        self._width = width
        self._room = max(width // NARROWEST, 1)
        self._masking: Masking | None = masking

    def fields(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return the converted fields of an event."""
        return {name: self._field(name, value) for name, value in data.items()}

    def _field(self, name: str, value: Any) -> Any:
        masking = self._masking
        if masking and name in _NAMES:
            self._masking = None
        found = self._value(value, name, 1)
        if masking and name in ("play", "task"):
            found.update({inside: str(value[inside]) for inside in _NAMES_INSIDE if inside in value})
        self._masking = masking
        return found

    def _value(self, value: Any, name: str, depth: int) -> Any:
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, (bytes, bytearray)):
            value = bytes(value).decode(errors="backslashreplace")
        if isinstance(value, str):
            return self._text(value, name)
        if isinstance(value, int):
            known = self._masking and name not in _COUNTS and self._masking.knows(str(int(value)))
            return HIDDEN if known else int(value)
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else repr(float(value))
        if isinstance(value, date):
            return value.isoformat()
        if depth < _DEPTH and isinstance(value, (Mapping, list, tuple, set, frozenset)):
            if len(value) > self._room:
                self.cut.add(name)
            if isinstance(value, Mapping):
                return self._mapping(value, name, depth + 1)
            return [self._value(item, name, depth + 1) for item in islice(value, self._room)]
        return f"<{type(value).__name__}>"

    def _mapping(self, value: Mapping[Any, Any], name: str, depth: int) -> dict[str, Any]:
        masking = self._masking
        found = {}
        for key, item in islice(value.items(), self._room):
            text = str(self._value(key, name, depth))
            secret = masking and (masking.hides(str(key)) or (key == "value" and masking.pair(value)))
            found[text] = HIDDEN if secret and not is_nothing(item) else self._value(item, name, depth)
        return found

    def _text(self, text: str, name: str) -> str:
        if len(text) > self._width:
            self.cut.add(name)
        masking = self._masking
        if masking:
            looked_at = text[: self._width + masking.reach]
            masked = masking.text(looked_at)
            # A secret may begin at the end of what was cut, and with shorter masks before it, within the width
            text = masked[: -masking.reach] if len(looked_at) < len(text) else masked
        return str.__str__(text[: self._width])
