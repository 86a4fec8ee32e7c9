# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read many messages of a stream, without a consumer.

With nats-server 2.11 and direct reads, a page is one batch request. Otherwise each message is one request to the
stream's leader, and many of them are sent at once.
"""

from __future__ import annotations

import math
from collections import deque
from datetime import datetime, timezone
from itertools import islice, takewhile
from typing import TYPE_CHECKING, Any

from .. import _errors
from .._options import quantities
from . import answers, jetstream, last_messages, messages

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from .._connection import sessions

ALL = ">"
# A page stays far below what nats-py lets wait in a subscription, and below what a time-out allows for
_PAGE_MESSAGES, _PAGE_BYTES = 512, 8 << 20
_WIDEST = 128
# How much wider than is likely the start is searched, and than the time before at most
_MARGIN, _WIDER = 1.1, 16
# Servers count nanoseconds in an int64, and take an earlier or a later moment for any other. No message is outside
_FIRST, _LAST = datetime(1970, 1, 1, tzinfo=timezone.utc), datetime(2262, 1, 1, tzinfo=timezone.utc)


def onward(
    session: sessions.Session, stream: str, subject: str = ALL, start: int | datetime = 1, limit: int | None = None
) -> Iterator[messages.Stored]:
    """Yield the messages on a subject from a sequence or a moment on, the oldest first, at most ``limit`` of them."""
    return islice(_in_order(session, stream, subject, start, limit or _PAGE_MESSAGES), limit)


def newest(session: sessions.Session, stream: str, subject: str = ALL, count: int = 1) -> list[messages.Stored]:
    """Return the last ``count`` messages, the oldest of them first.

    Servers can't read backwards, so that the start is searched for.
    """
    last = messages.get(session, stream, subject=subject)
    top = last.sequence if last else _end_of(session, stream) if subject == ALL else 1
    newest_first, end, width = deque([last] if last else []), top, count
    while len(newest_first) < count and end > 1:
        start = max(1, end - width)
        lacking = count - len(newest_first)
        earlier = deque(_between(session, stream, subject, start, end), maxlen=lacking)
        newest_first.extendleft(reversed(earlier))
        lacking -= len(earlier)
        likely = math.ceil(_MARGIN * lacking * (top - start) / len(newest_first)) if newest_first else width * _WIDER
        # One round may read a gap, or the messages before it: neither is typical of the whole stream
        end, width = start, min(max(likely, lacking), width * _WIDER)
    return list(newest_first)


def _end_of(session: sessions.Session, stream: str) -> int:
    """Return the sequence after the last message, 1 if the stream is empty, or may not be read.

    Asked for the last message of all, a server finds none where that one was deleted (``LoadLastMsg`` of its stores).
    """
    try:
        what, call = f"Reading stream {stream}", f"STREAM.INFO.{stream}"
        state = jetstream.call(session, what, call, answers.StreamInfo)["state"]
    except _errors.PermissionMissing:
        return 1
    return state["last_seq"] + 1 if state["messages"] else 1


def count_before(session: sessions.Session, stream: str, subject: str, sequence: int, total: int) -> int:
    """Return how many of the ``total`` messages on a subject have a lower sequence."""
    later = count_from(session, stream, subject, sequence)
    if later is not None:
        return total - later
    return sum(1 for _message in _between(session, stream, subject, 1, sequence))


def count_from(session: sessions.Session, stream: str, subject: str, sequence: int) -> int | None:
    """Return how many messages on a subject have this sequence or a higher one, or None without batches."""
    try:
        page, beyond = _page(session, stream, subject, sequence, 1)
    except _NoPages:
        return None
    return beyond + len(page)


def first_since(session: sessions.Session, stream: str, subject: str, moment: datetime) -> int | None:
    """Return the sequence of the first message that is not older than the moment, or None if all are."""
    if session.server.version >= last_messages.BATCHES_SINCE:
        following = _nexts(session, stream, [{"start_time": _rfc3339(moment), "next_by_subj": subject}])[0]
        if following is None or quantities.parse_timestamp(following.time) >= moment:
            return following.sequence if following else None
    # Older servers ignore start_time, also as leaders in clusters with newer ones. Times grow with the sequence
    last = messages.get(session, stream, subject=subject)
    low, high = 1, last.sequence + 1 if last else 1
    while low < high:
        middle = (low + high) // 2
        following = _nexts(session, stream, [{"seq": middle, "next_by_subj": subject}])[0]
        if following is None or quantities.parse_timestamp(following.time) >= moment:
            high = middle
        else:
            low = following.sequence + 1
    return low if last and low <= last.sequence else None


class _NoPages(Exception):
    """The server, the stream or the permissions do not allow batches."""


def _between(session: sessions.Session, stream: str, subject: str, start: int, end: int) -> Iterator[messages.Stored]:
    """Yield the messages with sequences from ``start`` to below ``end``."""
    return takewhile(lambda message: message.sequence < end, onward(session, stream, subject, start))


def _in_order(
    session: sessions.Session, stream: str, subject: str, start: int | datetime, size: int
) -> Iterator[messages.Stored]:
    beyond = 1
    while beyond:
        try:
            page, beyond = _page(session, stream, subject, start, min(size, _PAGE_MESSAGES))
        except _NoPages:
            sequence = first_since(session, stream, subject, start) if isinstance(start, datetime) else start
            if sequence is not None:
                yield from _one_by_one(session, stream, subject, sequence)
            return
        if not page:
            return
        yield from page
        start = page[-1].sequence + 1


def _page(
    session: sessions.Session, stream: str, subject: str, start: int | datetime, size: int
) -> tuple[list[messages.Stored], int]:
    if session.server.version < last_messages.BATCHES_SINCE:
        raise _NoPages
    body: dict[str, Any] = {"next_by_subj": subject, "batch": size, "max_bytes": _PAGE_BYTES}
    if isinstance(start, datetime):
        body["start_time"] = _rfc3339(start)
    else:
        body["seq"] = start
    try:
        return last_messages.direct_page(session, stream, body)
    except (_errors.NoAnswer, _errors.PermissionMissing) as error:
        if (
            error.failure["code"] in ("no_responders", "permission")
            or error.failure.get("status") == last_messages.NO_BATCHES
        ):
            raise _NoPages from error
        raise


def _one_by_one(session: sessions.Session, stream: str, subject: str, start: int) -> Iterator[messages.Stored]:
    """Yield messages by single requests, several at once, and more at once while each brings another message."""
    width = 1
    while True:
        bodies = [{"seq": sequence, "next_by_subj": subject} for sequence in range(start, start + width)]
        following = _nexts(session, stream, bodies)
        different = {message.sequence: message for message in following if message}
        yield from different.values()
        if None in following:
            return
        start = max(different) + 1
        width = min(_WIDEST, width * 2) if len(different) == width else len(different)


def _nexts(session: sessions.Session, stream: str, bodies: Iterable[Mapping[str, Any]]) -> list[messages.Stored | None]:
    calls = (messages.getting(f"Reading stream {stream}", stream, body) for body in bodies)
    return [_message(answer) for answer in jetstream.call_many(session, calls)]


def _message(answer: answers.StoredMessage | _errors.StreamsError) -> messages.Stored | None:
    if isinstance(answer, _errors.ApiError) and answer.err_code == jetstream.NO_MESSAGE_FOUND:
        return None
    if isinstance(answer, _errors.StreamsError):
        raise answer
    return messages.stored_of(answer)


def _rfc3339(moment: datetime) -> str:
    within = min(max(moment, _FIRST), _LAST)
    return within.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")
