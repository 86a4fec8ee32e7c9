# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The seats of a governor that are taken, and what identifies each of them."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, NamedTuple

from ..._api import messages
from ..._options import quantities

if TYPE_CHECKING:
    from ..._api import answers
    from ..._connection import sessions

ATTEMPT = "Nats-Msg-Id"
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_LEASE_ID = re.compile(r"(\d+)(?:-([0-9a-f]+)-(.+))?")


class SeatId(NamedTuple):
    """The identity of a seat, since a stream that is deleted and created again uses the same sequences again.

    ``created`` is when the stream was created, in microseconds since 1970. ``mark`` is the id of the attempt that took
    the seat; for seats of other programs, which have none, it is when the seat was taken. Both are empty (0 and "")
    where only the number is known. ``sequence`` is 0 where it is not known whether the attempt took a seat.
    """

    sequence: int
    created: int = 0
    mark: str = ""

    @classmethod
    def parse(cls, text: str) -> SeatId:
        """Read a lease id, or the number of a seat alone. Raises ValueError with the reason."""
        match = _LEASE_ID.fullmatch(str(text).strip())
        if not match:
            raise ValueError(f"'{text}' is not a lease id: give the lease_id of the seat, or the seat's number")
        seat = cls(int(match[1]), int(match[2] or "0", 16), match[3] or "")
        if not seat.sequence and not seat.mark:
            raise ValueError("0 is out of range: give 1 or more")
        return seat

    def __str__(self) -> str:
        return f"{self.sequence}-{self.created:x}-{self.mark}" if self.mark else str(self.sequence)

    def names(self, lease_id: str) -> bool:
        """Return True if a lease id is this seat's. If only the number or the mark is known, that decides."""
        other = SeatId.parse(lease_id)
        return self.mark in ("", other.mark) and self.sequence in (0, other.sequence)

    def is_of(self, seat: messages.Stored) -> bool:
        """Return True if a stored message is this seat. If only the number is known, it decides."""
        return seat.sequence == self.sequence and self.mark in ("", mark_of(seat))


def mark_of(seat: messages.Stored) -> str:
    """Return the mark of a seat: the id of its attempt, or the time when it was taken."""
    return seat.headers.get(ATTEMPT) or f"t{moment_of(seat.time):x}"


def moment_of(text: str) -> int:
    """Return a time of the server as microseconds since 1970."""
    return (quantities.parse_timestamp(text) - _EPOCH) // timedelta(microseconds=1)


def seats_of(session: sessions.Session, info: answers.StreamInfo) -> list[dict[str, Any]]:
    """Return the taken seats, the oldest first.

    Each has ``sequence``, ``lease_id``, ``name``, ``since`` and ``expires`` (RFC 3339 UTC, None for never).
    """
    config = info["config"]
    age = int(config.get("max_age") or 0)
    created = moment_of(info["created"])
    subjects = config.get("subjects") or []  # none where somebody gave a mirror the name of a governor
    return [
        {
            "sequence": seat.sequence,
            "lease_id": str(SeatId(seat.sequence, created, mark_of(seat))),
            "name": seat.data.decode(errors="replace"),
            "since": seat.time,
            "expires": _later(seat.time, age) if age else None,
        }
        for subject in subjects[:1]
        for seat in messages.on_subject(session, config["name"], subject)
    ]


def _later(moment: str, nanoseconds: int) -> str:
    later = quantities.parse_timestamp(moment) + timedelta(microseconds=nanoseconds / 1000)
    return later.isoformat().replace("+00:00", "Z")
