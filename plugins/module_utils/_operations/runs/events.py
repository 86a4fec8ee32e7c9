# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the events of runs that the callback choria_results submits, and map hosts to subjects.

A stream may contain messages of others, and events of later releases. Unknown parts are ignored without an error.
"""

from __future__ import annotations

import functools
import json
import re
import secrets
import time
import uuid
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from ..._options import quantities
from .kinds import ITEM_RESULT, TASK_RESULT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..._api import messages

TYPE = "io.choria.streams.ansible.v1."
_LONGEST = 1e9
_LATEST = 253_370_764_800  # the year 9999


class RunEvent(NamedTuple):
    """One event. ``number`` counts from 1 in its run, ``place`` is its sequence in the stream.

    ``moment`` is when it happened in seconds since 1970, ``stored`` when the stream stored it, RFC 3339 UTC.
    """

    kind: str
    run_id: str
    number: int
    moment: float
    data: Mapping[str, Any]
    place: int
    stored: str


def new_run_id() -> str:
    """Return a UUID of version 7 (RFC 9562, 5.7). It begins with the time, so that a reader can begin there."""
    value = time.time_ns() // 1_000_000 << 80 | secrets.randbits(80)
    version_and_variant = 0xF << 76 | 0x3 << 62
    return str(uuid.UUID(int=value & ~version_and_variant | 0x7 << 76 | 0x2 << 62))


def moment_of(run_id: str) -> float | None:
    """Return when a run began by its id, in seconds since 1970, or None if the id has no time."""
    try:
        parsed = uuid.UUID(run_id)
    except ValueError:
        return None
    moment = (parsed.int >> 80) / 1000
    return moment if parsed.version == 7 and moment < _LATEST else None


@functools.cache
def host_word(host: str) -> str:
    """Return a host's name as one word of a subject. Dots become ``%2E``, so that hosts never share a subject."""
    return re.sub(
        r"[^A-Za-z0-9_@:/+-]", lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode(errors="replace")), host
    )


def host_word_of(subject: str) -> str:
    """Return the host's word in a subject of results, after the prefix, or an empty text.

    The subject is `task_result.<status>.<host>`. Earlier releases had no status.
    """
    kind, *words = subject.split(".")
    return words[-1] if kind in (TASK_RESULT, ITEM_RESULT) and 1 <= len(words) <= 2 else ""


def event_of(message: messages.Stored) -> RunEvent | None:
    """Return the event in a message, or None."""
    try:
        envelope = json.loads(message.data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(envelope, dict) or not isinstance(envelope.get("data"), dict):
        return None
    kind, data = str(envelope.get("type")), envelope["data"]
    run_id, number = data.get("run_id"), data.get("sequence")
    if not kind.startswith(TYPE) or not isinstance(number, int) or number < 1:
        return None
    if not isinstance(run_id, str) or not run_id.isprintable():  # nobody can search for lone surrogates
        return None
    moment = _moment_of(envelope.get("time")) or _moment_of(message.time)
    return RunEvent(kind[len(TYPE) :], run_id, number, moment, data, message.sequence, message.time)


def _moment_of(time: Any) -> float:
    """Return seconds since 1970, or 0 for an invalid time."""
    moment = seconds_of(time) or 0.0
    return moment if 0 < moment < _LATEST else 0.0


def seconds_of(time: Any) -> float | None:
    """Return seconds since 1970 of RFC 3339 text, or None."""
    try:
        return datetime.fromisoformat(time).timestamp()  # what the callback writes, ten times as fast
    except (TypeError, ValueError, OverflowError):
        pass
    try:
        return quantities.parse_timestamp(time).timestamp()
    except (ValueError, OverflowError):
        return None


def text_of(data: Mapping[str, Any], *names: str) -> str:
    """Return the text at a path, or an empty text."""
    value: Any = data
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, str) else ""


def length_of(value: Any) -> float:
    """Return a length in seconds, or 0 if it is invalid."""
    fits = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < _LONGEST
    return value if fits else 0
