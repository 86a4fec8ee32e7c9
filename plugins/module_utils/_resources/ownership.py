# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who declares a resource: a mark in its metadata, by which a document knows what is its own to remove."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

OWNER = "choria.streams.owner"
# What brokers and servers make for themselves
_SYSTEM = re.compile(r"\$|(KV_)?CHORIA_")


def owner_of(config: Mapping[str, Any]) -> str:
    """Return the owner in the mark of a stream or consumer, or an empty text."""
    return str((config.get("metadata") or {}).get(OWNER, ""))


def marked(
    desired: dict[str, Any], current: Mapping[str, Any], owner: str | None, *, exact: bool = False
) -> dict[str, Any]:
    """Return the desired configuration with the owner's mark; without an owner, a present mark stays.

    With ``exact`` and without given metadata, only the mark stays.
    """
    there = current.get("metadata") or {}
    if exact:
        desired = {"metadata": {}, **desired}
    if owner and owner != owner_of(current):
        labels = desired.get("metadata", {key: text for key, text in there.items() if not key.startswith("_nats.")})
        return {**desired, "metadata": {**labels, OWNER: owner}}
    if OWNER in there and "metadata" in desired:
        return {**desired, "metadata": {OWNER: there[OWNER], **desired["metadata"]}}
    return desired


def is_system(stream: str) -> bool:
    """Return True for a stream of a broker or server, which no document removes."""
    return bool(_SYSTEM.match(stream))
