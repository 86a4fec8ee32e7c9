# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes with a consumer or a part of its filter: a stream by interest keeps only what some consumer waits for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ... import _errors
from ..._api import consumers, streams
from .. import losses, subjects
from . import facts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..._connection import sessions

    Waiting = tuple[tuple[dict[str, Any], ...], dict[str, int]]


def lost_with(stream: Mapping[str, Any], info: Mapping[str, Any], others: Iterable[Mapping[str, Any]]) -> int | None:
    """How many messages go with a consumer: those that nobody else waits for. None where others may wait for some."""
    left = facts.unprocessed(info)
    if not left or stream.get("retention") != "interest":
        return 0
    mine = subjects.filters(info["config"])
    theirs = [wanted for other in others for wanted in subjects.filters(other["config"])]
    return None if any(subjects.meet(one, other) for one in mine for other in theirs) else left


def narrowed(before: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether the filters of ``wanted`` leave something out of those of a consumer that there is."""
    new = subjects.filters(wanted)
    return not all(_heard(new, old) for old in subjects.filters(before["config"]))


def read(session: sessions.Session, stream: str) -> Waiting | None:
    """The stream's consumers, and how many messages each subject has; None where nobody may read that."""
    try:
        return tuple(consumers.list_all(session, stream)), streams.subject_counts(session, stream)
    except _errors.PermissionMissing:
        return None


def lost(before: Mapping[str, Any], wanted: Mapping[str, Any], waiting: Waiting | None) -> losses.Loss:
    """The messages of a stream by interest that nobody waits for any more.

    Others that still have all that their filters match keep it. Of one that has processed some, it is not known which.
    """
    cause = "its new filter"
    if not narrowed(before, wanted):
        return losses.Loss()
    if waiting is None:
        return losses.Loss(cause=cause, at_least=True)
    others, counts = waiting
    kept, unsure = subjects.filters(wanted), set()
    left = {subject for subject in counts if not _heard(kept, subject)}
    for info in others:
        heard = {subject for subject in counts if _heard(subjects.filters(info["config"]), subject)}
        if facts.unprocessed(info) < sum(counts[subject] for subject in heard):
            unsure |= heard
        else:
            left -= heard
    return losses.Loss(sum(counts[subject] for subject in left - unsure), 0, cause, at_least=bool(left & unsure))


def _heard(wanted: Iterable[str], subject: str) -> bool:
    return any(subjects.covers(each, subject) for each in wanted)
