# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Seats in concurrency governors: read, give back, evict and reset.

``campaign.py`` takes seats. This file needs only STREAM.INFO, MSG.GET and MSG.DELETE of the governor's stream, and no
rights on the account.

A seat is a message. The server deletes messages by their sequence alone, and a stream that is deleted and created again
starts its sequences again. So each deletion first reads the message, and checks that it is the same seat. A deletion
can still hit another seat if, within one round trip, somebody deletes the governor, creates it again, and hands out as
many seats as the sequence says.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from typing import TYPE_CHECKING, Any

from ... import _errors
from ..._api import jetstream, messages, streams
from ..._options import names, quantities
from ..._resources.governor import events
from ..._resources.governor.seats import SeatId, mark_of, moment_of, seats_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..._api import answers
    from ..._connection import sessions

_RETRY = 0.25
# JetStream is starting or electing a leader, or still handles the same request.
_TRANSIENT = (10008, 10009, 10158)
RECREATED = "the governor was deleted and created again"
# Seconds of a clock that also runs while this machine is suspended, as seats expire meanwhile
uptime = partial(time.clock_gettime, getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


@dataclass(frozen=True)
class Governor:
    """A governor at the time of reading. Durations are in seconds.

    ``expire`` is None if seats don't expire. ``oldest_left`` is when the oldest seat expires, by the server's clock, or
    None. ``window`` is how long a repeated request is recognized. ``created`` is when the stream was created, in
    microseconds since 1970, and ``clock`` the difference between the server's time in seconds and ``uptime()``.
    """

    name: str
    stream: str
    subject: str
    capacity: int
    expire: float | None
    window: float
    taken: int
    oldest_left: float | None
    created: int = 0
    clock: float = 0.0

    @property
    def prospect(self) -> str:
        """The effect of a request for a seat now, as words that continue a sentence with "would"."""
        free = self.capacity - self.taken
        if free > 0:
            return f"take one of {free} free seats in governor {self.name}"
        return f"wait for one of the {self.capacity} seats in governor {self.name}, which are all taken"


@dataclass(frozen=True)
class Seat:
    """A seat of ours. ``waited`` is in seconds, ``since`` of ``uptime()``.

    The governor was full if it was ``waited_for``. A server that hung may store the ``doubtful`` attempts later.
    """

    governor: Governor
    id: SeatId
    identity: str
    waited: float
    since: float
    waited_for: bool = False
    doubtful: frozenset[str] = frozenset()

    @property
    def sequence(self) -> int:
        """The number of the seat."""
        return self.id.sequence

    @property
    def held(self) -> float:
        """How long the seat is held by now, in seconds."""
        return uptime() - self.since

    @property
    def expires(self) -> str | None:
        """When the seat expires, RFC 3339 UTC by the server's clock, or None for never."""
        if self.governor.expire is None:
            return None
        moment = datetime.fromtimestamp(self.since + self.governor.clock + self.governor.expire, timezone.utc)
        return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def checked_name(name: Any) -> str:
    """Return the name of a governor. Raises OptionError."""
    return str(_errors.checked("name", names.GOVERNOR_NAME.to_wire, name))


def is_transient(error: _errors.StreamsError) -> bool:
    """Return True if the error is transient: the server is away or busy with itself."""
    return isinstance(error, (_errors.Unreachable, _errors.NoAnswer)) or (
        isinstance(error, _errors.ApiError) and error.err_code in _TRANSIENT
    )


def read(session: sessions.Session, name: str) -> Governor:
    """Return the governor. Raises Refused if it does not exist, or its stream is not a governor."""
    return _from_info(name, _info(session, name))


def read_if_there(session: sessions.Session, name: str) -> Governor | None:
    """Return the governor, or None if it does not exist, as in check mode before it is created."""
    info = streams.info(session, f"{names.GOVERNOR_PREFIX}{name}")
    return _from_info(name, info) if info else None


def list_seats(session: sessions.Session, name: str) -> list[dict[str, Any]]:
    """Return the seats as ``seats_of`` does. Raises Refused as ``read`` does."""
    info = _info(session, name)
    _from_info(name, info)
    return seats_of(session, info)


def leave(session: sessions.Session, seat: Seat, patience: float) -> str:
    """Give a seat back. Return why it was gone already, or an empty text.

    It retries for ``patience`` seconds while the server is down, and then raises the reason.
    """
    deadline = uptime() + patience
    giving = _Giving(session, seat)
    while True:
        try:
            return giving.give()
        except _errors.StreamsError as error:
            if isinstance(error, _errors.ApiError) and error.err_code == jetstream.STREAM_NOT_FOUND:
                return f"the governor {seat.governor.name} was deleted"
            if not is_transient(error) or uptime() + _RETRY > deadline:
                raise
            time.sleep(_RETRY)


class _Giving:
    """Gives one seat back, in several attempts if needed."""

    def __init__(self, session: sessions.Session, seat: Seat) -> None:
        self._session = session
        self._seat = seat
        self._unsure = False  # a deletion was sent, and its answer may be lost

    def give(self) -> str:
        session, seat, governor = self._session, self._seat, self._seat.governor
        remove_doubtful(session, governor, seat.doubtful, seat.sequence)
        message = messages.get(session, governor.stream, sequence=seat.sequence)
        if message is not None and not seat.id.is_of(message):
            return RECREATED
        reason = "" if message else _why_gone(session, seat)
        if reason.startswith(RECREATED):
            return reason
        # Delete it also if it was not found: a new leader of the stream may not have read all messages yet
        unsure, self._unsure = self._unsure, True
        if messages.delete(session, governor.stream, seat.sequence) or (unsure and not message):
            events.publish(session, events.EXIT, governor.name, seat.identity, seat.sequence)
            return ""
        return reason or _why_gone(session, seat)


def _why_gone(session: sessions.Session, seat: Seat) -> str:
    governor = seat.governor
    info = streams.info(session, governor.stream)
    if info is None:
        return f"the governor {governor.name} was deleted"
    now = _from_info(governor.name, info)
    # In doubt it is newer than the seat, so that another's seat is not deleted. A waiter may know an older governor,
    # and after a restore servers may report different moments.
    if now.created != governor.created and now.created / 1e6 > seat.since + now.clock:
        return f"{RECREATED}, or the seat was evicted" if seat.waited_for else RECREATED
    expire = min(filter(None, (governor.expire, now.expire)), default=None)
    if expire is not None and seat.held >= expire:
        return f"it expired after {expire:g}s"
    return "it was evicted, or the governor was reset"


def remove_doubtful(session: sessions.Session, governor: Governor, attempts: frozenset[str], ours: int) -> None:
    """Give back the seats that our attempts took beside the seat ``ours``."""
    for seat in messages.on_subject(session, governor.stream, governor.subject) if attempts else ():
        if seat.sequence != ours and mark_of(seat) in attempts:
            name = seat.data.decode(errors="replace")
            remove(session, governor, SeatId(seat.sequence, 0, mark_of(seat)), name, events.EXIT)


def not_given_back(seat: Seat, error: _errors.StreamsError) -> str:
    """Return the sentence for a seat that could not be given back."""
    until = f"it is taken until {seat.expires}" if seat.expires else "it is taken until somebody evicts it"
    return (
        f"Seat {seat.sequence} of governor {seat.governor.name} could not be given back, {until}, unless you evict it "
        f"with choria_governor_lease (state: evicted, lease_id: {seat.id}). Reason: {error.message}"
    )


def locate(session: sessions.Session, governor: Governor, seat: SeatId) -> tuple[SeatId, str] | None:
    """Return a seat and its holder's name, or None if it is free, or now belongs to another."""
    if seat.sequence:
        message = messages.get(session, governor.stream, sequence=seat.sequence)
        taken = [message] if message and seat.is_of(message) else []
    else:
        stored = messages.on_subject(session, governor.stream, governor.subject)
        taken = [each for each in stored if mark_of(each) == seat.mark]
    if not taken:
        return None
    return seat._replace(sequence=taken[0].sequence), taken[0].data.decode(errors="replace")


def gone_since(governor: Governor, seat: SeatId) -> str:
    """Return why a seat is not taken, as far as its id and the present governor show."""
    if seat.created and seat.created != governor.created:
        return RECREATED
    return "it was given back, evicted, or expired"


def remove(session: sessions.Session, governor: Governor, seat: SeatId, name: str, event: str) -> bool:
    """Remove the seat of ``name``, and publish the event. Return False if it is gone, or now belongs to another."""
    message = messages.get(session, governor.stream, sequence=seat.sequence)
    if message is None or not seat.is_of(message) or not messages.delete(session, governor.stream, seat.sequence):
        return False
    events.publish(session, event, governor.name, name, seat.sequence)
    return True


def evict(session: sessions.Session, governor: Governor, seat: Mapping[str, Any]) -> bool:
    """Remove a seat that ``list_seats`` returned. Return False if it is gone, or now belongs to another."""
    return remove(session, governor, SeatId.parse(seat["lease_id"]), seat["name"], events.EVICTION)


def reset(session: sessions.Session, governor: Governor) -> list[dict[str, Any]]:
    """Remove each seat. Return the removed ones, as ``list_seats`` does. Purging would need more permissions."""
    return [seat for seat in list_seats(session, governor.name) if evict(session, governor, seat)]


def _info(session: sessions.Session, name: str) -> answers.StreamInfo:
    info = streams.info(session, f"{names.GOVERNOR_PREFIX}{name}")
    if info is None:
        raise _errors.Refused(
            f"The governor {name} does not exist: create it with the module choria.streams.choria_governor, "
            "or check name.",
            code="not_found",
            option="name",
        )
    return info


def _from_info(name: str, info: answers.StreamInfo) -> Governor:
    config, state = info["config"], info["state"]
    subjects, capacity = config.get("subjects") or [], int(config.get("max_msgs") or 0)
    keeps = config["retention"] == "limits" and not 0 < config["max_msgs_per_subject"] < capacity
    one = len(subjects) == 1 and not {"*", ">"} & set(subjects[0])
    if not one or not keeps or capacity < 1 or config["discard"] != "new":
        raise _errors.Refused(
            f"The stream {config['name']} is not a governor (one subject, max_msgs, discard new, and each seat kept): "
            "give another name, or delete it and create the governor with choria.streams.choria_governor.",
            code="not_a_governor",
            option="name",
        )
    expire, taken = int(config.get("max_age") or 0) / quantities.NANOSECOND, state["messages"]
    now = streams.clock_of(info)
    return Governor(
        name=name,
        stream=config["name"],
        subject=subjects[0],
        capacity=capacity,
        expire=expire or None,
        window=int(config.get("duplicate_window") or 0) / quantities.NANOSECOND,
        taken=taken,
        oldest_left=expire - (now - quantities.parse_timestamp(state["first_ts"])).total_seconds()
        if expire and taken
        else None,
        created=moment_of(info["created"]),
        clock=now.timestamp() - uptime(),
    )
