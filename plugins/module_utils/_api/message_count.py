# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Count the oldest messages of a stream without a consumer and without a write."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from . import reading, streams

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .._connection import sessions
    from . import messages

# More than this is not read for a number
MOST_READ, MOST_BYTES = 10_000, 64 << 20
MOST_GAPS = 50_000


class Counted(NamedTuple):
    """A number of messages. Unless it is ``exact``, it is the lowest possible number."""

    number: int = 0
    exact: bool = True


def before(session: sessions.Session, info: Mapping[str, Any], start: int | datetime) -> Counted:
    """Return how many messages are older than a sequence or a moment, in a few requests."""
    name, state = info["config"]["name"], info["state"]
    first, total, gaps = int(state["first_seq"]), int(state["messages"]), int(state.get("num_deleted") or 0)
    until = reading.first_since(session, name, reading.ALL, start) if isinstance(start, datetime) else start
    if until is None or until > int(state["last_seq"]):
        return Counted(total)
    if until <= first:
        return Counted(0)
    if not gaps:
        return Counted(until - first)
    later = reading.count_from(session, name, reading.ALL, until)
    if later is not None:
        return Counted(max(0, total - later))
    if gaps <= MOST_GAPS:
        return Counted(until - first - sum(gap < until for gap in streams.deleted_sequences(session, name)))
    return Counted(max(1, until - first - gaps), exact=False)


def oldest_bytes(session: sessions.Session, info: Mapping[str, Any], excess: int) -> Counted:
    """Return how many of the oldest messages have ``excess`` bytes together, as the server counts them."""
    number, total = 0, int(info["state"]["messages"])
    for message in _oldest(session, info):
        number += 1
        excess -= _size(message, info["config"].get("storage") == "memory")
        if excess <= 0 or number == total:
            return Counted(number)
    return Counted(number + 1, exact=False)


def oldest_subjects(session: sessions.Session, info: Mapping[str, Any], number: int) -> Mapping[str, int] | None:
    """Return how many of the oldest ``number`` messages each subject has, or None if they are too many to read."""
    counts = Counter(message.subject for message in islice(_oldest(session, info), number))
    return counts if sum(counts.values()) == number else None


def _oldest(session: sessions.Session, info: Mapping[str, Any]) -> Iterator[messages.Stored]:
    size, first = 0, int(info["state"]["first_seq"])
    for message in reading.onward(session, info["config"]["name"], reading.ALL, first, MOST_READ):
        yield message
        size += len(message.data)
        if size > MOST_BYTES:
            return


def _size(message: messages.Stored, in_memory: bool) -> int:
    """Return the bytes that nats-server counts for a message (server/filestore.go and memstore.go)."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in message.headers.items())
    headers = len(f"NATS/1.0\r\n{lines}\r\n".encode()) if lines else 0
    size = len(message.subject.encode()) + headers + len(message.data)
    return size + (16 if in_memory else 34 if headers else 30)
