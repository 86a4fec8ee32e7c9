# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Seats in concurrency governors: what a governor is, giving seats back, evicting and resetting.

How a seat is asked for is in ``campaign.py``. Needs STREAM.INFO, MSG.GET and MSG.DELETE of the governor's stream and
nothing of the account.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from .. import _errors
from .._api import jetstream, messages, streams
from .._options import codecs, names
from .._resources.governor_seats import seats_of
from . import governor_events as events

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .._connection import sessions

_RETRY = 0.25
# JetStream is starting or electing a leader, or is still at the same request.
_TRANSIENT = (10008, 10009, 10158)


@dataclass(frozen=True)
class Governor:
    """A governor as it was when it was read. Durations are seconds.

    ``expire`` is None where seats don't expire, ``oldest_left`` is after how long the oldest seat expires, by the
    server's own clock, None where no seat is taken or none expires. ``window`` is how long a repeated request is known.
    """

    name: str
    stream: str
    subject: str
    capacity: int
    expire: float | None
    window: float
    taken: int
    oldest_left: float | None

    @property
    def prospect(self) -> str:
        """What asking for a seat would do now, in words that follow on "would"."""
        free = self.capacity - self.taken
        if free > 0:
            return f"take one of {free} free seats in governor {self.name}"
        return f"wait for one of the {self.capacity} seats in governor {self.name}, which are all taken"


@dataclass(frozen=True)
class Seat:
    """A seat that is ours. ``waited`` is seconds, ``since`` of ``time.monotonic()``."""

    governor: Governor
    sequence: int
    identity: str
    waited: float
    since: float

    @property
    def held(self) -> float:
        return time.monotonic() - self.since

    @property
    def expires(self) -> str | None:
        """When the server takes the seat back, RFC 3339 UTC by our clock; None for never."""
        if self.governor.expire is None:
            return None
        moment = datetime.fromtimestamp(time.time() - self.held + self.governor.expire, timezone.utc)
        return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def checked_name(name: Any) -> str:
    try:
        return str(names.GOVERNOR_NAME.to_wire(name))
    except ValueError as error:
        raise _errors.OptionError("name", f"{error}.") from error


def passes(error: _errors.StreamsError) -> bool:
    """Whether it may be another time, since the server is away or busy with itself."""
    return isinstance(error, (_errors.Unreachable, _errors.NoAnswer)) or (
        isinstance(error, _errors.ApiError) and error.err_code in _TRANSIENT
    )


def read(session: sessions.Session, name: str) -> Governor:
    """The governor. Raises Refused where it does not exist, or its stream is no governor."""
    return _from_info(name, _info(session, name))


def read_if_there(session: sessions.Session, name: str) -> Governor | None:
    """The governor, or None where it does not exist: for check mode, in which nobody has created it."""
    info = streams.info(session, f"{names.GOVERNOR_PREFIX}{name}")
    return _from_info(name, info) if info else None


def view(session: sessions.Session, name: str) -> list[dict[str, Any]]:
    """Who holds a seat, as ``seats_of`` tells it. Raises Refused as ``read`` does."""
    info = _info(session, name)
    _from_info(name, info)
    return seats_of(session, info)


def leave(session: sessions.Session, seat: Seat, patience: float) -> str:
    """Gives a seat back. Returns why it was gone already, or an empty text.

    Tries for ``patience`` seconds where the server is away, and raises the reason then.
    """
    governor, unsure = seat.governor, False
    deadline = time.monotonic() + patience
    while True:
        try:
            there = messages.delete(session, governor.stream, seat.sequence)
            break
        except _errors.StreamsError as error:
            if isinstance(error, _errors.ApiError) and error.err_code == jetstream.STREAM_NOT_FOUND:
                return f"the governor {governor.name} was deleted"
            if not passes(error) or time.monotonic() + _RETRY > deadline:
                raise
            unsure = True  # it may have been done, and only the answer lost
            time.sleep(_RETRY)
    if there or unsure:
        events.publish(session, events.EXIT, governor.name, seat.identity, seat.sequence)
        return ""
    if governor.expire is not None and seat.held >= governor.expire:
        return f"it expired after {governor.expire:g}s"
    return "it was evicted, or the governor was reset"


def not_given_back(seat: Seat, error: _errors.StreamsError) -> str:
    """The sentence for a seat that could not be given back."""
    until = f"it is taken until {seat.expires}" if seat.expires else "it is taken until somebody evicts it"
    return (
        f"Seat {seat.sequence} of governor {seat.governor.name} could not be given back, {until}, unless you evict it "
        f"with choria_governor_lease (state: evicted, lease_id: {seat.sequence}). Reason: {error.message}"
    )


def holder(session: sessions.Session, governor: Governor, sequence: int) -> str | None:
    """The name of who holds a seat; None where the seat is not taken."""
    found = messages.get(session, governor.stream, sequence=sequence)
    return None if found is None else found.data.decode(errors="replace")


def evict(session: sessions.Session, governor: Governor, sequence: int, name: str) -> bool:
    """Takes the seat of ``name`` away. False where it was gone already."""
    if not messages.delete(session, governor.stream, sequence):
        return False
    events.publish(session, events.EVICTION, governor.name, name, sequence)
    return True


def reset(session: sessions.Session, governor: Governor) -> list[dict[str, Any]]:
    """Takes all seats away, and returns whose they were, as ``view`` does. Purging would need more rights."""
    seats = view(session, governor.name)
    return [seat for seat in seats if evict(session, governor, seat["sequence"], seat["name"])]


def _info(session: sessions.Session, name: str) -> dict[str, Any]:
    info = streams.info(session, f"{names.GOVERNOR_PREFIX}{name}")
    if info is None:
        raise _errors.Refused(
            f"The governor {name} does not exist: create it with the module choria.streams.choria_governor, "
            "or check name.",
            code="not_found",
            option="name",
        )
    return info


def _from_info(name: str, info: Mapping[str, Any]) -> Governor:
    config, state = info["config"], info["state"]
    subjects, capacity = config.get("subjects") or [], int(config.get("max_msgs") or 0)
    if len(subjects) != 1 or "*" in subjects[0] or ">" in subjects[0] or capacity < 1 or config.get("discard") != "new":
        raise _errors.Refused(
            f"The stream {config['name']} is no governor (one subject, max_msgs, and discard new): "
            "give another name, or delete it and create the governor with choria.streams.choria_governor.",
            code="not_a_governor",
            option="name",
        )
    expire, taken = int(config.get("max_age") or 0) / codecs.NANOSECOND, int(state.get("messages", 0))
    return Governor(
        name=name,
        stream=config["name"],
        subject=subjects[0],
        capacity=capacity,
        expire=expire or None,
        window=int(config.get("duplicate_window") or 0) / codecs.NANOSECOND,
        taken=taken,
        oldest_left=expire - _age(state["first_ts"], info.get("ts")) if expire and taken else None,
    )


def _age(moment: str, now: str | None) -> float:
    reference = codecs.parse_timestamp(now) if now else datetime.now(timezone.utc)
    return (reference - codecs.parse_timestamp(moment)).total_seconds()
