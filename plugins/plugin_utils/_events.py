# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The events of a run as CloudEvents 1.0: what of Ansible's words goes in, and how it becomes JSON. Sends nothing."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timezone
from itertools import islice
from typing import Any

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

_DEPTH = 32
_NARROWEST = 16


@dataclass(frozen=True)
class Event:
    """One event of a run. ``moment`` is seconds since 1970, ``host`` is empty where it is not of one host."""

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
    """Makes the events of one run, numbered from 1 without a gap, so that a reader can prove that none is missing."""

    run_id: str
    sequence: int = 0
    play: Mapping[str, Any] = field(default_factory=dict)

    def event(self, kind: str, moment: float, data: Mapping[str, Any], host: str = "") -> Event:
        self.sequence += 1
        return Event(kind, self.run_id, self.sequence, moment, data, host)


def subject(prefix: str, event: Event) -> str:
    """``<prefix>.<kind>``, and for events of one host ``<prefix>.<kind>.<host>``."""
    return f"{prefix}.{event.kind}.{token(event.host)}" if event.host else f"{prefix}.{event.kind}"


def token(host: str) -> str:
    """A host's name as one word of a subject. Dots and the like become ``%2E``: two hosts never share a subject."""
    return re.sub(r"[^A-Za-z0-9_@:/+-]", lambda match: "".join(f"%{byte:02X}" for byte in _utf8(match[0])), host)


def encode(event: Event, limit: int) -> bytes:
    """The CloudEvent as JSON of at most ``limit`` bytes, whatever is in it; ``truncated`` names what had to be cut."""
    width = limit
    while True:
        cut: set[str] = set()
        data = {"run_id": event.run_id, "sequence": event.sequence, **_plain(event.data, width, "", cut)}
        if cut:
            data["truncated"] = sorted(cut)
        payload = _json(event, data)
        if len(payload) <= limit:
            return payload
        if width <= _NARROWEST:
            return _json(event, {"run_id": event.run_id, "sequence": event.sequence, "truncated": ["data"]})
        width //= 2


def _json(event: Event, data: Mapping[str, Any]) -> bytes:
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
    return _utf8(json.dumps(envelope, ensure_ascii=False, separators=(",", ":")))


def _utf8(text: str) -> bytes:
    return text.encode(errors="replace")


def _plain(value: Any, width: int, name: str, cut: set[str], depth: int = 0) -> Any:
    """The value in types of JSON alone. Adds its ``name`` to ``cut`` where it was longer than ``width`` allows.

    What Ansible marks is made plain, what it keeps encrypted stays so, and what is of no known type is only named.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, (bytes, bytearray)):
        value = bytes(value).decode(errors="backslashreplace")
    if isinstance(value, str):
        if len(value) > width:
            cut.add(name)
        return str.__str__(value[:width])
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else repr(float(value))
    if isinstance(value, date):
        return value.isoformat()
    if depth < _DEPTH and isinstance(value, (Mapping, list, tuple, set, frozenset)):
        return _collection(value, width, name, cut, depth)
    return f"<{type(value).__name__}>"


def _collection(value: Any, width: int, name: str, cut: set[str], depth: int) -> Any:
    room = max(width // _NARROWEST, 1)
    if len(value) > room and depth:
        cut.add(name)
    if not isinstance(value, Mapping):
        return [_plain(item, width, name, cut, depth + 1) for item in islice(value, room)]
    found = {}
    for key, item in islice(value.items(), room if depth else None):
        text = str(_plain(key, width, name, cut, depth + 1))
        found[text] = _plain(item, width, name or text, cut, depth + 1)
    return found
