# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Events of runs, as the callback choria_results submits them: their hosts in subjects, and out of messages. Pure.

A stream may hold what others wrote, and events of later releases: what is not as expected is left out, never an error.
"""

from __future__ import annotations

import functools
import json
import re
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from ..._options import codecs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..._api import messages

TYPE = "io.choria.streams.ansible.v1."
_LONGEST = 1e9
_LATEST = 253_370_764_800  # the year 9999
RUN_STARTED, PLAY_STARTED, RUN_FINISHED = "run_started", "play_started", "run_finished"
TASK_RESULT, ITEM_RESULT = "task_result", "item_result"


class RunEvent(NamedTuple):
    """One event. ``number`` counts from 1 in its run, ``place`` is its sequence number in the stream.

    ``moment`` is when it happened in seconds since 1970, ``stored`` when the stream took it, RFC 3339 UTC.
    """

    kind: str
    run_id: str
    number: int
    moment: float
    data: Mapping[str, Any]
    place: int
    stored: str


@functools.cache
def host_word(host: str) -> str:
    """A host's name as one word of a subject. Dots and the like become ``%2E``: two hosts never share a subject."""
    return re.sub(
        r"[^A-Za-z0-9_@:/+-]", lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode(errors="replace")), host
    )


def host_word_of(subject: str) -> str:
    """The word of the host in a subject of results, after the prefix; empty when there is none.

    It is `task_result.<status>.<host>`. Releases before had no status.
    """
    kind, *words = subject.split(".")
    return words[-1] if kind in (TASK_RESULT, ITEM_RESULT) and 1 <= len(words) <= 2 else ""


def event_of(message: messages.Stored) -> RunEvent | None:
    """The event in a message, None where it is none."""
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
    if not isinstance(run_id, str) or not run_id.isprintable():  # half characters can't be searched for
        return None
    moment = _moment_of(envelope.get("time")) or _moment_of(message.time)
    return RunEvent(kind[len(TYPE) :], run_id, number, moment, data, message.sequence, message.time)


def _moment_of(time: Any) -> float:
    """Seconds since 1970, 0 where it is no time that every zone can show."""
    moment = seconds_of(time) or 0.0
    return moment if 0 < moment < _LATEST else 0.0


def seconds_of(time: Any) -> float | None:
    """Seconds since 1970 of RFC 3339 text, None where it is none."""
    try:
        return datetime.fromisoformat(time).timestamp()  # what the callback writes, ten times as fast
    except (TypeError, ValueError, OverflowError):
        pass
    try:
        return codecs.parse_timestamp(time).timestamp()
    except (ValueError, OverflowError):
        return None


def text_of(data: Mapping[str, Any], *names: str) -> str:
    """The text at a path, empty where there is none."""
    value: Any = data
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, str) else ""


def length_of(value: Any) -> float:
    """A length in seconds, 0 where it is none that can be."""
    fits = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < _LONGEST
    return value if fits else 0
