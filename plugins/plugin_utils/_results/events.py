# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the events of a run as CloudEvents 1.0 in JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NamedTuple

from ...module_utils._operations.runs.events import host_word
from .json_safe import NARROWEST, Plain
from .masking import Masking

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

SOURCE = "io.choria.streams.ansible"

RUN_STARTED = "run_started"
PLAY_STARTED = "play_started"
TASK_STARTED = "task_started"
TASK_RESULT = "task_result"
ITEM_RESULT = "item_result"
INCLUDED = "included"
RUN_FINISHED = "run_finished"
KINDS = (RUN_STARTED, PLAY_STARTED, TASK_STARTED, TASK_RESULT, ITEM_RESULT, INCLUDED, RUN_FINISHED)
# Without these nobody could tell whether a run is complete
ALWAYS = (RUN_STARTED, RUN_FINISHED)

_NOTHING_KNOWN = Masking()
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


class Event(NamedTuple):
    """One event of a run. ``moment`` is seconds since 1970, ``host`` is empty unless it belongs to one host."""

    kind: str
    run_id: str
    sequence: int
    moment: float
    data: Mapping[str, Any]
    host: str = ""

    @property
    def id(self) -> str:
        return f"{self.run_id}.{self.sequence}"


@dataclass
class Run:
    """Makes the events of one run, numbered from 1 without a gap, so that readers notice missing ones."""

    run_id: str
    sequence: int = 0
    play: Mapping[str, Any] = field(default_factory=dict)

    def event(self, kind: str, moment: float, data: Mapping[str, Any], host: str = "") -> Event:
        self.sequence += 1
        return Event(kind, self.run_id, self.sequence, moment, data, host)


def finished(
    outcome: str, events: int, duration: float, hosts: Mapping[str, Mapping[str, int]] | None
) -> dict[str, Any]:
    """Return the data of a run's last event; ``events`` is its number, ``duration`` is in seconds."""
    return {"outcome": outcome, "events": events, "duration": round(duration, 6), "hosts": hosts}


def subject(prefix: str, event: Event) -> str:
    """Return ``<prefix>.<kind>``, for events of one host ``<prefix>.<kind>.<host>``.

    For results of tasks it is ``<prefix>.task_result.<status>.<host>``.
    """
    words = [prefix, event.kind]
    if event.kind == TASK_RESULT:
        words.append(str(event.data["status"]))
    return ".".join([*words, host_word(event.host)] if event.host else words)


def encode(event: Event, limit: int, masking: Masking = _NOTHING_KNOWN) -> bytes:
    """Return the CloudEvent as JSON of at most ``limit`` bytes, masked. ``truncated`` names the shortened parts."""
    try:
        # Most events have only types of JSON, nothing to hide, and are short
        payload = _json(event, event.data)
        if len(payload) <= limit and not masking.suspects(payload):
            encoded = _utf8(payload)
            if len(encoded) <= limit:
                return encoded
    except (TypeError, ValueError, RecursionError):
        pass
    width = limit
    while True:
        plain = Plain(width, masking)
        encoded = _utf8(_json(event, plain.fields(event.data), plain.cut))
        if len(encoded) <= limit:
            return encoded
        if width <= NARROWEST:
            return _utf8(_json(event, {}, {"data"}))
        width //= 2


def _json(event: Event, fields: Mapping[str, Any], cut: Collection[str] = ()) -> str:
    data = {"run_id": event.run_id, "sequence": event.sequence, **fields}
    if cut:
        data["truncated"] = sorted(cut)
    envelope = {
        "specversion": "1.0",
        "id": event.id,
        "source": SOURCE,
        "type": f"{SOURCE}.v1.{event.kind}",
        "time": datetime.fromtimestamp(event.moment, timezone.utc).isoformat(timespec="microseconds"),
        "datacontenttype": "application/json",
        "data": data,
    }
    if event.host:
        envelope["subject"] = str(event.host)
    return _ENCODER.encode(envelope)


def _utf8(text: str) -> bytes:
    return text.encode(errors="replace")
