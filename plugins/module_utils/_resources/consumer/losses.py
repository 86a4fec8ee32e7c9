# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Count the messages that ``retention: interest`` deletes with a consumer, or with a part of its filter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ... import _errors
from ..._api import consumers, message_count
from .. import losses, subjects
from . import facts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..._connection import sessions

    Waiting = tuple[tuple[Mapping[str, Any], ...], dict[str, int]]


def lost_with(stream: Mapping[str, Any], info: Mapping[str, Any], others: Iterable[Mapping[str, Any]]) -> int | None:
    """Return how many messages are deleted with a consumer, or None if others may still wait for some."""
    left = facts.unprocessed(info)
    if not left or stream.get("retention") != "interest":
        return 0
    mine = subjects.filters(info["config"])
    theirs = [subject for other in others for subject in subjects.filters(other["config"])]
    return None if any(subjects.meet(one, other) for one in mine for other in theirs) else left


def narrowed(before: Mapping[str, Any], desired: Mapping[str, Any]) -> bool:
    """Return True if ``desired`` leaves out messages that the present filters take."""
    new = subjects.filters(desired)
    return not all(_heard(new, old) for old in subjects.filters(before["config"]))


def read(session: sessions.Session, stream: str) -> Waiting | None:
    """Return the stream's consumers, and the number of messages by subject, or None if that may not be read."""
    try:
        return tuple(consumers.list_all(session, stream)), message_count.subject_counts(session, stream)
    except _errors.PermissionMissing:
        return None


def lost(before: Mapping[str, Any], desired: Mapping[str, Any], waiting: Waiting | None) -> losses.Loss:
    """Return the messages that no consumer needs after the change, so that ``retention: interest`` deletes them.

    Another consumer that has processed nothing yet keeps all messages that match its filters. For one that has, it is
    unknown which messages it still keeps.
    """
    cause = "its new filter"
    if not narrowed(before, desired):
        return losses.Loss()
    if waiting is None:
        return losses.Loss(cause=cause, at_least=True)
    others, counts = waiting
    kept, unsure = subjects.filters(desired), set()
    left = {subject for subject in counts if not _heard(kept, subject)}
    for info in others:
        heard = {subject for subject in counts if _heard(subjects.filters(info["config"]), subject)}
        if facts.unprocessed(info) < sum(counts[subject] for subject in heard):
            unsure |= heard
        else:
            left -= heard
    return losses.Loss(sum(counts[subject] for subject in left - unsure), 0, cause, at_least=bool(left & unsure))


def _heard(filters: Iterable[str], subject: str) -> bool:
    return any(subjects.covers(each, subject) for each in filters)
