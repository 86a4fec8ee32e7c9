# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read many messages of a stream in their order, without a consumer.

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
from . import jetstream, messages

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .._connection import sessions

ALL = ">"
_BATCHES = (2, 11, 0)
# A page stays far below what nats-py lets wait in a subscription, and below what a time-out allows for
_PAGE_MESSAGES, _PAGE_BYTES = 512, 8 << 20
_WIDEST = 128
# How much wider than is likely the start is searched, and than the time before at most
_MARGIN, _WIDER = 1.1, 16


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
    found, end, width = deque([last] if last else []), top, count
    while len(found) < count and end > 1:
        start = max(1, end - width)
        lacking = count - len(found)
        earlier = deque(_between(session, stream, subject, start, end), maxlen=lacking)
        found.extendleft(reversed(earlier))
        lacking -= len(earlier)
        likely = math.ceil(_MARGIN * lacking * (top - start) / len(found)) if found else width * _WIDER
        # One round may meet a gap, or the messages before it: neither tells of all
        end, width = start, min(max(likely, lacking), width * _WIDER)
    return list(found)


def _end_of(session: sessions.Session, stream: str) -> int:
    """Return the sequence after the last message, 1 if the stream is empty, or may not be read.

    Asked for the last message of all, a server finds none where that one was deleted (``LoadLastMsg`` of its stores).
    """
    try:
        state = jetstream.call(session, f"Reading stream {stream}", f"STREAM.INFO.{stream}")["state"]
    except _errors.PermissionMissing:
        return 1
    return int(state["last_seq"]) + 1 if state["messages"] else 1


def count_before(session: sessions.Session, stream: str, subject: str, sequence: int, total: int) -> int:
    """Return how many of the ``total`` messages on a subject have a lower sequence."""
    later = count_from(session, stream, subject, sequence)
    if later is not None:
        return total - later
    return sum(1 for _message in _between(session, stream, subject, 1, sequence))


def count_from(session: sessions.Session, stream: str, subject: str, sequence: int) -> int | None:
    """Return how many messages on a subject have this sequence or a higher one, or None without batches."""
    try:
        found, beyond = _page(session, stream, subject, sequence, 1)
    except _NoPages:
        return None
    return beyond + len(found)


def first_since(session: sessions.Session, stream: str, subject: str, moment: datetime) -> int | None:
    """Return the sequence of the first message that is not older than the moment, or None if all are."""
    if session.server.version >= _BATCHES:
        found = _nexts(session, stream, [{"start_time": _rfc3339(moment), "next_by_subj": subject}])[0]
        return found.sequence if found else None
    # An older server does not know start_time. Times grow with the sequence: searched by halves
    last = messages.get(session, stream, subject=subject)
    low, high = 1, last.sequence + 1 if last else 1
    while low < high:
        middle = (low + high) // 2
        found = _nexts(session, stream, [{"seq": middle, "next_by_subj": subject}])[0]
        if found is None or quantities.parse_timestamp(found.time) >= moment:
            high = middle
        else:
            low = found.sequence + 1
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
            found, beyond = _page(session, stream, subject, start, min(size, _PAGE_MESSAGES))
        except _NoPages:
            sequence = first_since(session, stream, subject, start) if isinstance(start, datetime) else start
            if sequence is not None:
                yield from _one_by_one(session, stream, subject, sequence)
            return
        if not found:
            return
        yield from found
        start = found[-1].sequence + 1


def _page(
    session: sessions.Session, stream: str, subject: str, start: int | datetime, size: int
) -> tuple[list[messages.Stored], int]:
    if session.server.version < _BATCHES:
        raise _NoPages
    body: dict[str, Any] = {"next_by_subj": subject, "batch": size, "max_bytes": _PAGE_BYTES}
    if isinstance(start, datetime):
        body["start_time"] = _rfc3339(start)
    else:
        body["seq"] = start
    try:
        return messages.direct_page(session, stream, body)
    except (_errors.NoAnswer, _errors.PermissionMissing) as error:
        if error.failure["code"] in ("no_responders", "permission"):
            raise _NoPages from error
        raise


def _one_by_one(session: sessions.Session, stream: str, subject: str, start: int) -> Iterator[messages.Stored]:
    """Yield messages by single requests, several at once, and more at once while each brings another message."""
    width = 1
    while True:
        bodies = [{"seq": sequence, "next_by_subj": subject} for sequence in range(start, start + width)]
        found = _nexts(session, stream, bodies)
        different = {message.sequence: message for message in found if message}
        yield from different.values()
        if None in found:
            return
        start = max(different) + 1
        width = min(_WIDEST, width * 2) if len(different) == width else len(different)


def _nexts(session: sessions.Session, stream: str, bodies: Iterable[dict[str, Any]]) -> list[messages.Stored | None]:
    what, call = f"Reading stream {stream}", f"STREAM.MSG.GET.{stream}"
    return [_message(answer) for answer in jetstream.call_many(session, ((what, call, body) for body in bodies))]


def _message(answer: dict[str, Any] | _errors.StreamsError) -> messages.Stored | None:
    if isinstance(answer, _errors.ApiError) and answer.err_code == jetstream.NO_MESSAGE_FOUND:
        return None
    if isinstance(answer, _errors.StreamsError):
        raise answer
    return messages.stored_of(answer["message"])


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")
