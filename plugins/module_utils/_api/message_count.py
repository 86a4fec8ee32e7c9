# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Count messages of a stream without a consumer and without a write: the oldest ones, and those of each subject."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from .. import _errors
from . import answers, jetstream, reading

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


def before(session: sessions.Session, info: answers.StreamInfo, start: int | datetime) -> Counted:
    """Return how many messages are older than a sequence or a moment, in a few requests."""
    name, state = info["config"]["name"], info["state"]
    first, total, gaps = state["first_seq"], state["messages"], state.get("num_deleted", 0)
    until = reading.first_since(session, name, reading.ALL, start) if isinstance(start, datetime) else start
    if until is None or until > state["last_seq"]:
        return Counted(total)
    if until <= first:
        return Counted(0)
    if not gaps:
        return Counted(until - first)
    later = reading.count_from(session, name, reading.ALL, until)
    if later is not None:
        return Counted(max(0, total - later))
    if gaps <= MOST_GAPS:
        return Counted(until - first - sum(gap < until for gap in deleted_sequences(session, name)))
    return Counted(max(1, until - first - gaps), exact=False)


def oldest_bytes(session: sessions.Session, info: answers.StreamInfo, excess: int) -> Counted:
    """Return how many of the oldest messages have ``excess`` bytes together, as the server counts them."""
    number, total = 0, info["state"]["messages"]
    for message in _oldest(session, info):
        number += 1
        excess -= _size(message, info["config"]["storage"] == "memory")
        if excess <= 0 or number == total:
            return Counted(number)
    return Counted(number + 1, exact=False)


def oldest_subjects(session: sessions.Session, info: answers.StreamInfo, number: int) -> Mapping[str, int] | None:
    """Return how many of the oldest ``number`` messages each subject has, or None if they are too many to read."""
    counts = Counter(message.subject for message in islice(_oldest(session, info), number))
    return counts if sum(counts.values()) == number else None


def _oldest(session: sessions.Session, info: answers.StreamInfo) -> Iterator[messages.Stored]:
    size, first = 0, info["state"]["first_seq"]
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


def subject_counts(session: sessions.Session, name: str, subject: str = ">") -> dict[str, int]:
    """Return how many messages each matching subject of a stream holds, by the paged answer of STREAM.INFO."""
    what, counts = f"Counting the subjects of stream {name}", dict[str, int]()
    while True:
        body = {"subjects_filter": subject, "offset": len(counts)}
        answer = jetstream.call(session, what, f"STREAM.INFO.{name}", answers.StreamInfo, body)
        before = len(counts)
        counts.update(answer["state"].get("subjects") or {})
        if len(counts) >= answer.get("total", 0):
            return counts
        if len(counts) == before:
            raise _errors.WrongAnswer(what, "its pages repeat themselves")


def holds(session: sessions.Session, name: str, subject: str) -> bool:
    """Return True if a stream exists and has a message on a matching subject."""
    what, body = f"Looking for subjects of stream {name}", {"subjects_filter": subject}
    call = what, f"STREAM.INFO.{name}", answers.StreamInfo, body
    selected = jetstream.or_none(jetstream.call_many(session, [call])[0])
    return bool(selected and selected["state"].get("subjects"))


def deleted_sequences(session: sessions.Session, name: str) -> list[int]:
    """Return the sequences of deleted messages between a stream's first and last message."""
    what, call = f"Reading stream {name}", f"STREAM.INFO.{name}"
    answer = jetstream.call(session, what, call, answers.StreamInfo, {"deleted_details": True})
    return list(answer["state"].get("deleted") or [])
