# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Estimate what a change would lose. It reads only what a change requires."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from ... import _errors
from ..._api import consumers, message_count, streams
from ..._api.message_count import Counted
from ..._options import quantities
from .. import losses, subjects

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..._connection import sessions


def measure(
    session: sessions.Session, info: Mapping[str, Any], desired: Mapping[str, Any], options: Mapping[str, str]
) -> losses.Measured:
    """Return the losses. ``options`` has the name of the option for each field of the server."""
    return losses.Measured(_losses(session, info, desired, options), _exceeding(session, info, desired))


def _exceeding(session: sessions.Session, info: Mapping[str, Any], desired: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the consumers that exceed new limits, as nats-server compares them (server/stream.go)."""
    there, wanted = info["config"].get("consumer_limits") or {}, desired.get("consumer_limits") or {}
    new = {name: int(wanted.get(name) or 0) for name in ("inactive_threshold", "max_ack_pending")}
    changed = any(limit > 0 and limit != int(there.get(name) or 0) for name, limit in new.items())
    if not changed or not info["state"].get("consumer_count"):
        return ()
    try:
        found = consumers.list_all(session, info["config"]["name"])
    except _errors.PermissionMissing:
        return ()  # the server itself has to refuse
    return tuple(
        consumer["name"]
        for consumer in found
        if any(0 < limit < int(consumer["config"].get(name) or 0) for name, limit in new.items())
    )


def _losses(
    session: sessions.Session, info: Mapping[str, Any], desired: Mapping[str, Any], options: Mapping[str, str]
) -> losses.Loss:
    """Return what an update of a stream would delete for all its causes, as observed with nats-server 2.10 to 2.15.

    max_msgs and max_bytes delete only with discard old, or when discard changes to that; max_age and
    max_msgs_per_subject always. Older servers delete some later: before 2.14 messages beyond a first limit per subject,
    before 2.15 messages that nobody waits for after a change to interest.
    """
    total = int(info["state"].get("messages", 0))
    if not total:
        return losses.Loss()
    config = info["config"]
    merged = {**config, **desired}

    def cause(field: str) -> str:
        value = merged[field]
        return f"{options.get(field, field)} {f'{value / quantities.NANOSECOND:g}s' if field == 'max_age' else value}"

    found = {cause(field): counted for field, counted in _oldest_lost(session, info, merged)}
    lost = _together(list(found.values()), total)
    limit = _lowered(config, merged, "max_msgs_per_subject")
    if limit and total > int(info["state"].get("num_subjects", 0)):
        beyond, lost = _beyond(session, info, limit, lost)
        found[cause("max_msgs_per_subject")] = beyond
    causes = [text for text, counted in found.items() if counted != Counted(0)]
    return losses.Loss(lost.number, 0, " and ".join(causes), not lost.exact)


def _oldest_lost(
    session: sessions.Session, info: Mapping[str, Any], merged: Mapping[str, Any]
) -> list[tuple[str, Counted]]:
    """Return by field how many of the oldest messages it deletes."""
    config, state = info["config"], info["state"]
    found = []
    evicts = merged.get("discard", "old") == "old"
    limit = int(merged.get("max_msgs") or 0)
    if limit > 0 and evicts:
        found.append(("max_msgs", Counted(max(0, int(state["messages"]) - limit))))
    limit = int(merged.get("max_bytes") or 0)
    if 0 < limit < int(state.get("bytes", 0)) and evicts:
        excess = int(state["bytes"]) - limit
        found.append(("max_bytes", _permitted(lambda: message_count.oldest_bytes(session, info, excess), 1)))
    age = _lowered(config, merged, "max_age")
    oldest_kept = _now(info) - timedelta(seconds=age / quantities.NANOSECOND)
    if age and quantities.parse_timestamp(state["first_ts"]) < oldest_kept:
        found.append(("max_age", _permitted(lambda: message_count.before(session, info, oldest_kept), 1)))
    if merged.get("retention") == "interest" != config.get("retention"):
        found.append(("retention", _permitted(lambda: _unwanted(session, info), 0)))
    return found


def _unwanted(session: sessions.Session, info: Mapping[str, Any]) -> Counted:
    """Return how many messages no consumer waits for. It is exact if all consumers are at one position without filters.

    Messages without a matching filter stay at first. They are deleted with one of the consumers, or when its filter
    changes.
    """
    if not info["state"].get("consumer_count"):
        return Counted(int(info["state"]["messages"]))
    found = consumers.list_all(session, info["config"]["name"])
    floors = [int(consumer["ack_floor"]["stream_seq"]) for consumer in found]
    unheard = _unheard(session, info, [wanted for consumer in found for wanted in subjects.filters(consumer["config"])])
    if max(floors, default=0) < int(info["state"]["first_seq"]):
        return Counted(unheard, not unheard)
    by_all = message_count.before(session, info, min(floors) + 1)
    exact = by_all.exact and not unheard and min(floors) == max(floors)
    return Counted(max(by_all.number, unheard), exact)


def _unheard(session: sessions.Session, info: Mapping[str, Any], wanted: list[str]) -> int:
    """Return how many messages have subjects that none of these filters matches."""
    if ">" in wanted:
        return 0
    counts = streams.subject_counts(session, info["config"]["name"])
    return sum(count for subject, count in counts.items() if not any(subjects.covers(each, subject) for each in wanted))


def _beyond(session: sessions.Session, info: Mapping[str, Any], limit: int, others: Counted) -> tuple[Counted, Counted]:
    """Return what a limit per subject deletes, alone and together with the ``others``, which are the oldest."""
    counts = streams.subject_counts(session, info["config"]["name"])
    alone = Counted(sum(max(0, count - limit) for count in counts.values()))
    least = Counted(max(alone.number, others.number), exact=False)
    if not alone.number or others == Counted(int(info["state"]["messages"])):
        return alone, others
    if not others.exact:
        return alone, least
    if not others.number:
        return alone, alone
    try:
        gone = message_count.oldest_subjects(session, info, others.number)
    except _errors.PermissionMissing:
        gone = None
    if gone is None:
        return alone, least
    rest = sum(max(0, count - gone.get(subject, 0) - limit) for subject, count in counts.items())
    return alone, Counted(others.number + rest)


def _together(found: list[Counted], total: int) -> Counted:
    """Return the greatest number, since all of them are the oldest messages."""
    number = max((counted.number for counted in found), default=0)
    return Counted(number, number == total or all(counted.exact for counted in found))


def _permitted(count: Callable[[], Counted], least: int) -> Counted:
    """Return the count, or the certain minimum if the permissions do not allow to count."""
    try:
        return count()
    except _errors.PermissionMissing:
        return Counted(least, exact=False)


def _lowered(config: Mapping[str, Any], merged: Mapping[str, Any], limit: str) -> int:
    """Return the new limit if it is lower than the old one, else 0. -1 and 0 mean no limit."""
    before, after = int(config.get(limit) or 0), int(merged.get(limit) or 0)
    return after if after > 0 and (before <= 0 or after < before) else 0


def _now(info: Mapping[str, Any]) -> datetime:
    """Return the server's time when it answered."""
    return quantities.parse_timestamp(info["ts"]) if info.get("ts") else datetime.now(timezone.utc)
