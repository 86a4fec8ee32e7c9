# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages with an effect in the stream: schedules (ADR-51) and increments of counters (ADR-49)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ... import _errors
from ..._options import codecs, composite, fields, quantities
from ..._resources import subjects

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ..._api import messages
    from ..._connection import wire

V2_12, V2_14 = (2, 12, 0), (2, 14, 0)
SCHEDULE_HEADER, INCREMENT_HEADER = "Nats-Schedule", "Nats-Incr"
_TIMES = ("at", "every", "cron")
_LITERAL = codecs.text(r"[^\s.*>]+(\.[^\s.*>]+)*", "a target is one subject: words joined by dots, without * and >")
SCHEDULE = fields.Field(
    "schedule",
    composite.obj(
        fields.Field("at", codecs.timestamp()),
        fields.Field("every", codecs.duration(1, zero_allowed=False)),
        fields.Field("cron", codecs.text(r"@\w+|\S+( \S+){5}", "give six fields, of which the first are seconds")),
        fields.Field("time_zone", codecs.text()),
        fields.Field("target", _LITERAL),
        fields.Field("ttl", codecs.duration(1, zero_allowed=False)),
        needs=("target",),
    ),
)
INCREMENT = fields.Field(
    "increment", codecs.text(r"[+-]?\d{1,40}", "give a whole number, such as 1 or -5"), wire=INCREMENT_HEADER
)


def schedule_headers(schedule: Mapping[str, Any]) -> dict[str, str]:
    """Return the headers of a schedule on the wire. Raises OptionError if it is invalid."""
    given = [name for name in _TIMES if schedule.get(name)]
    if len(given) != 1:
        raise _errors.OptionError("schedule", "needs one of at, every and cron.")
    if schedule.get("time_zone") and "cron" not in given:
        raise _errors.OptionError("schedule", "time_zone goes with cron only.")
    if "at" in given:
        pattern = f"@at {schedule['at']}"
    else:
        pattern = f"@every {codecs.seconds(schedule['every'])}s" if "every" in given else schedule["cron"]
    headers = {SCHEDULE_HEADER: pattern, "Nats-Schedule-Target": schedule["target"]}
    if schedule.get("time_zone"):
        headers["Nats-Schedule-Time-Zone"] = schedule["time_zone"]
    if schedule.get("ttl"):
        headers["Nats-Schedule-TTL"] = f"{-(-schedule['ttl'] // quantities.NANOSECOND)}s"
    return headers


def problems(
    headers: Mapping[str, str], subject: str, server: wire.Server, config: Mapping[str, Any]
) -> Iterator[tuple[str, str, str]]:
    """Yield option, reason and code of each obstacle. The configuration is empty if it is unknown."""
    stream = f"stream {config.get('name', '')}"
    pattern = headers.get(SCHEDULE_HEADER)
    if pattern:
        since = V2_12 if pattern.startswith("@at ") else V2_14
        yield from _too_old("schedule", server, since)
        if config and not config.get("allow_msg_schedules"):
            yield (
                "schedule",
                f"{stream} takes no schedules: set allow_msg_schedules: true with choria_stream",
                "refused",
            )
        target = headers["Nats-Schedule-Target"]
        taken = config.get("subjects") or []
        if target == subject or (config and not any(subjects.covers(each, target) for each in taken)):
            told = f"the target {target} has to be another subject of {stream if config else 'the same stream'}"
            yield "schedule", told, "refused"
    if INCREMENT_HEADER in headers:
        yield from _too_old("increment", server, V2_12)
        if config and not config.get("allow_msg_counter"):
            yield "increment", f"{stream} has no counters: make one with allow_msg_counter: true", "refused"
    elif config.get("allow_msg_counter"):
        yield "increment", f"{stream} holds counters, and takes increments alone: give it in place of data", "refused"


def is_due(pattern: str, now: Any) -> bool:
    """Return True if the single moment of a schedule is over, so that the server has removed it."""
    return pattern.startswith("@at ") and quantities.parse_timestamp(pattern[4:]) <= now


def is_scheduled(found: messages.Stored | None, payload: bytes, headers: Mapping[str, str]) -> bool:
    """Return True if the last message on the subject is this schedule."""
    if found is None or found.data != payload:
        return False
    there, wanted = (
        {name: value for name, value in each.items() if name not in _NOT_COMPARED} for each in (found.headers, headers)
    )
    return there == wanted


# What the server adds, or does not keep, and what tells one attempt from another
_NOT_COMPARED = (
    "Nats-Rollup",
    "Nats-Msg-Id",
    "Nats-Expected-Stream",
    "Nats-Expected-Last-Sequence",
    "Nats-Expected-Last-Subject-Sequence",
)


def count_of(found: messages.Stored | None) -> int:
    """Return the value of a counter, by its last message."""
    try:
        return int(json.loads(found.data)["val"]) if found else 0
    except (ValueError, KeyError, TypeError):
        return 0


def _too_old(option: str, server: wire.Server, since: tuple[int, ...]) -> Iterator[tuple[str, str, str]]:
    if server.version < since:
        needed = ".".join(map(str, since[:2]))
        yield option, f"needs nats-server {needed}, and {server.runs}: upgrade the server", "server_too_old"
