# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The results of choria_stream_message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..._options import mask, values
from ..._resources import losses, resource
from .selection import described

if TYPE_CHECKING:
    from ..._api import messages

UNKNOWN = None


def message(stream: str, stored: messages.Stored, encoding: str) -> dict[str, Any]:
    """Return a message with its payload in that encoding, or in base64 if it is not valid there."""
    try:
        data = values.from_bytes(stored.data, encoding)
    except ValueError:
        encoding, data = values.BASE64, values.from_bytes(stored.data, values.BASE64)
    shown = described(stream, stored, data)
    shown["encoding"] = encoding
    return shown


def unchanged(**results: Any) -> dict[str, Any]:
    """Return the result without a change."""
    return {"changed": False, "changes": [], "consequences": losses.Loss().report, **results}


def published(title: str, after: dict[str, Any], lost: int | None) -> dict[str, Any]:
    """Return the result of a publish. ``lost`` is None if rolled-up messages were not counted."""
    change = {"field": "message", "before": None, "after": after["sequence"], "effect": resource.CREATE}
    return _changed(title, change, {}, _shown(after), lost, message=after)


def published_batch(title: str, after: list[dict[str, Any]], lost: int | None) -> dict[str, Any]:
    """Return the result of a batch, which is stored as a whole."""
    changes = [
        {"field": "message", "before": None, "after": each["sequence"], "effect": resource.CREATE} for each in after
    ]
    shown = {str(number): _shown(each) for number, each in enumerate(after, start=1)}
    result = _changed(title, changes[0], {}, shown, lost, message=after[-1], messages=after)
    return {**result, "changes": changes}


def deleted(title: str, before: dict[str, Any]) -> dict[str, Any]:
    """Return the result of a deletion."""
    change = {"field": "message", "before": before["sequence"], "after": None, "effect": resource.DELETE}
    return _changed(title, change, _shown(before), {}, 1, message=None)


def deleted_many(title: str, sequences: list[int]) -> dict[str, Any]:
    """Return the result of several deletions."""
    changes = [
        {"field": "message", "before": sequence, "after": None, "effect": resource.DELETE} for sequence in sequences
    ]
    result = _changed(title, changes[0], {"sequences": sequences}, {}, len(sequences), message=None, deleted=sequences)
    return {**result, "changes": changes}


def purged(title: str, before: int, after: int, lost: int) -> dict[str, Any]:
    """Return the result of a purge."""
    change = {"field": "messages", "before": before, "after": after, "effect": resource.DELETE}
    counts = {"purged": lost, "messages_before": before, "messages_after": after}
    return _changed(title, change, {"messages": before}, {"messages": after}, lost, **counts)


def _shown(message: dict[str, Any]) -> dict[str, Any]:
    """Return a message for a diff, with payload and headers masked, except headers for the server."""
    shown = {**message, "data": mask.HIDDEN}
    if message["headers"]:
        headers = message["headers"].items()
        shown["headers"] = {name: it if name.startswith("Nats-") else mask.HIDDEN for name, it in headers}
    return shown


def _changed(
    title: str, change: dict[str, Any], before: Any, after: Any, lost: int | None, **results: Any
) -> dict[str, Any]:
    diff = {"before_header": title, "after_header": title, "before": before, "after": after}
    consequences = {**losses.Loss().report, "messages_lost": lost}
    return {"changed": True, "changes": [change], "consequences": consequences, "diff": diff, **results}
