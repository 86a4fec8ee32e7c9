# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The owner of a resource is a mark in its metadata. A document prunes only resources with the mark of its owner."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

OWNER = "choria.streams.owner"
# Streams and buckets that brokers and servers create
_SYSTEM = re.compile(r"\$|(KV_)?CHORIA_")


def owner_of(config: Mapping[str, Any]) -> str:
    """Return the owner in the mark of a stream or consumer, or an empty text."""
    return str((config.get("metadata") or {}).get(OWNER, ""))


def marked(
    desired: dict[str, Any], current: Mapping[str, Any], owner: str | None, *, exact: bool = False
) -> dict[str, Any]:
    """Return the desired configuration with the owner's mark. Without an owner, an existing mark stays.

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
    """Return True for a stream that brokers or servers create. Documents never remove these."""
    return bool(_SYSTEM.match(stream))
