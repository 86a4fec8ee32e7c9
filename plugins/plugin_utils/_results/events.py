# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the events of a run as CloudEvents 1.0 in JSON, with their values truncated and masked."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timezone
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from ...module_utils._operations.runs.events import host_word
from ...module_utils._operations.runs.kinds import RUN_FINISHED, RUN_STARTED, TASK_RESULT
from ...module_utils._options.mask import HIDDEN, is_nothing
from .masking import Masking

if TYPE_CHECKING:
    from collections.abc import Collection

NARROWEST = 16
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_DEPTH = 32
# More parts fill any event, and what contains itself has no end
_PARTS = 100_000
# Python writes no number of more than 4,300 digits
_BITS = 14_000
# As deep as this, parts that hold no secret as a whole are found: masking each text in them takes several times longer
_LOOKED_INTO = 3
# Names that others gave to hosts and modules. They are on subjects too, so that no password is one of them.
_NAMES = frozenset(("host", "hosts", "outcome", "status", "strategy"))
_NAMES_INSIDE = frozenset(("action", "uuid"))
# Numbers of ours, which say nothing of a secret that is the same
_COUNTS = frozenset(("attempts", "events", "forks", "index", "retries"))


class Plain:
    """Converts values. Ansible's tags are removed, encrypted values stay encrypted, unknown types are only named.

    ``cut`` has the names of the fields that were longer than ``width`` allows, and ``has_cut_text`` is True if a text
    was. Without ``masking`` nothing is masked.
    """

    def __init__(self, width: int, masking: Masking | None = None) -> None:
        self.cut: set[str] = set()
        self.has_cut_text = False
        self._width = width
        self._room = max(width // NARROWEST, 1)
        self._masking = masking
        self._parts_left = _PARTS

    def fields(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return the converted fields of an event."""
        return {name: self._field(name, value) for name, value in data.items()}

    def _field(self, name: str, value: Any) -> Any:
        masking = self._masking
        if name in _NAMES:
            self._masking = None
        plain = self._value(value, name, 1)
        if name in ("play", "task"):
            plain.update({inside: str(value[inside]) for inside in _NAMES_INSIDE if inside in value})
        self._masking = masking
        return plain

    def _value(self, value: Any, name: str, depth: int) -> Any:
        if value.__class__ is str and not self._masking and len(value) <= self._width:
            return value  # as most values
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, (bytes, bytearray)):
            value = bytes(value).decode(errors="backslashreplace")
        if isinstance(value, str):
            return self._text(value, name)
        if isinstance(value, int) and value.bit_length() <= _BITS:
            secret = self._masking and name not in _COUNTS and self._masking.knows(str(int(value)))
            return HIDDEN if secret else int(value)
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else repr(float(value))
        if isinstance(value, date):
            return value.isoformat()
        if depth < _DEPTH and isinstance(value, (dict, list, tuple, set, frozenset, Mapping)):
            room = min(self._room, max(self._parts_left, 0))
            if len(value) > room:
                self.cut.add(name)
            self._parts_left -= min(len(value), room)
            return self._parts(value, name, depth + 1, room)
        return f"<{type(value).__name__}>"

    def _parts(self, value: Any, name: str, depth: int, room: int) -> Any:
        masking = self._masking
        if masking and depth <= _LOOKED_INTO and not _suspicious(value, masking):
            self._masking = None
        if isinstance(value, (dict, Mapping)):
            plain: Any = self._mapping(value, name, depth, room)
        else:
            items = list(islice(value, room))
            plain = [
                HIDDEN if self._masking and self._masking.hides_next(before) else self._value(item, name, depth)
                for before, item in zip([None, *items], items)
            ]
        self._masking = masking
        return plain

    def _mapping(self, value: Mapping[Any, Any], name: str, depth: int, room: int) -> dict[str, Any]:
        masking = self._masking
        plain = {}
        for key, item in islice(value.items(), room):
            text = str(self._value(key, name, depth))
            word = str(key) if isinstance(key, str) else text
            secret = masking and (masking.hides(word) or (key == "value" and masking.pair(value)))
            plain[text] = HIDDEN if secret and not is_nothing(item) else self._value(item, name, depth)
        return plain

    def _text(self, text: str, name: str) -> str:
        if len(text) > self._width:
            self.cut.add(name)
            self.has_cut_text = True
        masking = self._masking
        if masking:
            looked_at = text[: self._width + masking.reach]
            if len(looked_at) == len(text):
                text = masking.text(text)
            else:
                # A secret may begin at the end of what was cut, and with shorter masks before it, within the width
                url = unfinished(looked_at)
                text = masking.text(looked_at if url < 0 else looked_at[:url])[: -masking.reach]
        return str.__str__(text[: self._width])


def unfinished(text: str) -> int:
    """Return the place of ``://`` in a URL that is cut off at the end of the text, or -1. It may hold credentials."""
    return text.find("://", max(map(text.rfind, "@ \t\r\n")) + 1)


def to_json(value: Any) -> str:
    """Return JSON. Raises TypeError, ValueError or RecursionError if the value has no JSON form."""
    return _ENCODER.encode(value)


def _suspicious(value: Any, masking: Masking) -> bool:
    try:
        return masking.suspects(to_json(value))
    except (TypeError, ValueError, RecursionError):
        return True


SOURCE = "io.choria.streams.ansible"

# Without these, a run can't be proved complete
ALWAYS = (RUN_STARTED, RUN_FINISHED)

_NOTHING_KNOWN = Masking()


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
        """The id by which a stream detects a second copy."""
        return f"{self.run_id}.{self.sequence}"


@dataclass
class Run:
    """Makes the events of one run, numbered from 1 without a gap, so that readers notice missing ones."""

    run_id: str
    sequence: int = 0
    play: Mapping[str, Any] = field(default_factory=dict)

    def event(self, kind: str, moment: float, data: Mapping[str, Any], host: str = "") -> Event:
        """Return the next event of the run. ``moment`` is in seconds since 1970."""
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
    masking.update()
    # Twice the reach, so that these texts still count as cut where a part of a secret is searched before a cut
    long = _beginnings(event.data, limit + 2 * masking.reach)
    event = event._replace(data={**event.data, **long})
    plain = Plain(sys.maxsize)
    try:
        payload = _json(event, event.data)  # most events have only types of JSON
    except (TypeError, ValueError, RecursionError):
        payload = _json(event, plain.fields(event.data), plain.cut)
    # The part behind a cut may have a secret, or may be all that shows that there is one
    suspicious = bool(plain.cut) or masking.suspects(payload) or any(unfinished(text) >= 0 for text in long.values())
    if not suspicious and len(payload) <= limit:
        encoded = _utf8(payload)
        if len(encoded) <= limit:
            return encoded
    # The width is tried without masking, which takes longer than the rest
    encoded, width = _shortened(event, limit, limit, None)
    return _shortened(event, limit, width, masking)[0] if suspicious else encoded


def _beginnings(data: Mapping[str, Any], length: int) -> dict[str, str]:
    """Return the first ``length`` characters of each longer text: the rest is not shown, and need not be searched.

    Other data stays whole, since the end of a mapping may name a secret at its beginning.
    """
    return {name: value[:length] for name, value in data.items() if isinstance(value, str) and len(value) > length}


def _shortened(event: Event, limit: int, width: int, masking: Masking | None) -> tuple[bytes, int]:
    """Return the event with parts as wide as fits, at most ``width``, and that width."""
    while True:
        plain = Plain(width, masking)
        fields = plain.fields(event.data)
        # A text of this length has no room, unless it is masked
        if masking or width < limit or not plain.has_cut_text:
            encoded = _utf8(_json(event, fields, plain.cut))
            if len(encoded) <= limit:
                return encoded, width
        if width <= NARROWEST:
            return _utf8(_json(event, {}, {"data"})), width
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
    return to_json(envelope)


def _utf8(text: str) -> bytes:
    return text.encode(errors="replace")
