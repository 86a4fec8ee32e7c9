# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The duplicate window: how long a stream remembers the ids of messages. Pure functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..._options import quantities
from .. import shared_fields

if TYPE_CHECKING:
    from collections.abc import Mapping

_DEFAULT = 120 * quantities.NANOSECOND


def window_for(max_age: int | None) -> int:
    """Return the duplicate window, in nanoseconds, that Choria and nats.go give a stream of this maximal age."""
    return min(_DEFAULT, max_age) if max_age else _DEFAULT


def by_server(config: Mapping[str, Any], release: tuple[int, ...]) -> int:
    """Return the server's default of the window (checkStreamCfg in server/stream.go)."""
    without = config.get("mirror") or (config.get("sources") and release >= shared_fields.V2_14)
    return 0 if without else window_for(config.get("max_age"))


def settled(desired: dict[str, Any], current: Mapping[str, Any], release: tuple[int, ...]) -> dict[str, Any]:
    """Return the fields with 0 replaced by the server's default.

    If only max_age is lowered, the window is lowered with it, since the server refuses a longer window.
    """
    if desired.get("duplicate_window") == 0:
        return {**desired, "duplicate_window": by_server({**current, **desired}, release)}
    age = int(desired.get("max_age") or 0)
    if "duplicate_window" not in desired and age and int(current.get("duplicate_window") or 0) > age:
        return {**desired, "duplicate_window": age}
    return desired
