# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Estimate what a change would lose. It reads only what a change requires."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ... import _errors
from ..._api import consumers, message_count, streams
from ..._api.message_count import Counted
from ..._options import quantities
from .. import losses, subjects

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..._api import answers
    from ..._connection import sessions


def measure(
    session: sessions.Session, info: answers.StreamInfo, desired: Mapping[str, Any], options: Mapping[str, str]
) -> losses.Measured:
    """Return the losses. ``options`` has the name of the option for each field of the server."""
    return losses.Measured(_losses(session, info, desired, options), _exceeding(session, info, desired))


def _exceeding(session: sessions.Session, info: answers.StreamInfo, desired: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the consumers that exceed new limits, as nats-server compares them (server/stream.go)."""
    before: Mapping[str, Any] = info["config"].get("consumer_limits") or {}
    after = desired.get("consumer_limits") or {}
    new = {name: int(after.get(name) or 0) for name in ("inactive_threshold", "max_ack_pending")}
    changed = any(limit > 0 and limit != int(before.get(name) or 0) for name, limit in new.items())
    if not changed or not info["state"]["consumer_count"]:
        return ()
    try:
        infos = consumers.list_all(session, info["config"]["name"])
    except _errors.PermissionMissing:
        return ()  # the server itself has to refuse
    configs: dict[str, Mapping[str, Any]] = {consumer["name"]: consumer["config"] for consumer in infos}
    return tuple(
        consumer
        for consumer, config in configs.items()
        if any(0 < limit < int(config.get(name) or 0) for name, limit in new.items())
    )


def _losses(
    session: sessions.Session, info: answers.StreamInfo, desired: Mapping[str, Any], options: Mapping[str, str]
) -> losses.Loss:
    """Return what an update of a stream would delete for all its causes, as observed with nats-server 2.10 to 2.15.

    max_msgs and max_bytes delete only with discard old, or when discard changes to that; max_age and
    max_msgs_per_subject always. Older servers delete some later: before 2.14 messages beyond a first limit per subject,
    before 2.15 messages that nobody waits for after a change to interest.
    """
    total = int(info["state"]["messages"])
    if not total:
        return losses.Loss()
    config = info["config"]
    merged = {**config, **desired}

    def cause(field: str) -> str:
        value = merged[field]
        return f"{options.get(field, field)} {f'{value / quantities.NANOSECOND:g}s' if field == 'max_age' else value}"

    counts = {cause(field): counted for field, counted in _oldest_lost(session, info, merged)}
    lost = _together(list(counts.values()), total)
    limit = _lowered(config, merged, "max_msgs_per_subject")
    if limit and total > info["state"].get("num_subjects", 0):
        beyond, lost = _beyond(session, info, limit, lost)
        counts[cause("max_msgs_per_subject")] = beyond
    causes = [text for text, counted in counts.items() if counted != Counted(0)]
    return losses.Loss(lost.number, 0, " and ".join(causes), not lost.exact)


def _oldest_lost(
    session: sessions.Session, info: answers.StreamInfo, merged: Mapping[str, Any]
) -> list[tuple[str, Counted]]:
    """Return by field how many of the oldest messages it deletes."""
    config, state = info["config"], info["state"]
    counts = []
    evicts = merged.get("discard", "old") == "old"
    limit = int(merged.get("max_msgs") or 0)
    if limit > 0 and evicts:
        counts.append(("max_msgs", Counted(max(0, state["messages"] - limit))))
    limit = int(merged.get("max_bytes") or 0)
    if 0 < limit < state["bytes"] and evicts:
        excess = state["bytes"] - limit
        counts.append(("max_bytes", _permitted(lambda: message_count.oldest_bytes(session, info, excess), 1)))
    age = _lowered(config, merged, "max_age")
    oldest_kept = streams.clock_of(info) - timedelta(seconds=age / quantities.NANOSECOND)
    if age and quantities.parse_timestamp(state["first_ts"]) < oldest_kept:
        counts.append(("max_age", _permitted(lambda: message_count.before(session, info, oldest_kept), 1)))
    if merged.get("retention") == "interest" != config["retention"]:
        counts.append(("retention", _permitted(lambda: _unwanted(session, info), 0)))
    return counts


def _unwanted(session: sessions.Session, info: answers.StreamInfo) -> Counted:
    """Return how many messages no consumer waits for. It is exact if all consumers are at one position without filters.

    Messages without a matching filter stay at first. They are deleted with one of the consumers, or when its filter
    changes.
    """
    if not info["state"]["consumer_count"]:
        return Counted(info["state"]["messages"])
    infos = consumers.list_all(session, info["config"]["name"])
    floors = [int(consumer["ack_floor"]["stream_seq"]) for consumer in infos]
    unheard = _unheard(
        session, info, [subject for consumer in infos for subject in subjects.filters(consumer["config"])]
    )
    if max(floors, default=0) < info["state"]["first_seq"]:
        return Counted(unheard, not unheard)
    by_all = message_count.before(session, info, min(floors) + 1)
    exact = by_all.exact and not unheard and min(floors) == max(floors)
    return Counted(max(by_all.number, unheard), exact)


def _unheard(session: sessions.Session, info: answers.StreamInfo, filters: list[str]) -> int:
    """Return how many messages have subjects that none of these filters matches."""
    if ">" in filters:
        return 0
    counts = message_count.subject_counts(session, info["config"]["name"])
    return sum(
        count for subject, count in counts.items() if not any(subjects.covers(each, subject) for each in filters)
    )


def _beyond(
    session: sessions.Session, info: answers.StreamInfo, limit: int, others: Counted
) -> tuple[Counted, Counted]:
    """Return what a limit per subject deletes, alone and together with the ``others``, which are the oldest."""
    counts = message_count.subject_counts(session, info["config"]["name"])
    alone = Counted(sum(max(0, count - limit) for count in counts.values()))
    least = Counted(max(alone.number, others.number), exact=False)
    if not alone.number or others == Counted(info["state"]["messages"]):
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


def _together(counts: list[Counted], total: int) -> Counted:
    """Return the greatest number, since all of them are the oldest messages."""
    number = max((counted.number for counted in counts), default=0)
    return Counted(number, number == total or all(counted.exact for counted in counts))


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
