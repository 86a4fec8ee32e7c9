# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Streams: one function per call of the server. Configurations are dicts as on the wire."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from .. import _errors
from . import jetstream

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .._connection import sessions

_KNOWN_AFTER, _PAUSE = 5.0, 0.25


def info(session: sessions.Session, name: str) -> dict[str, Any] | None:
    """Return the answer of STREAM.INFO (``config``, ``state``, ``created``, ``cluster``, ``ts``), or None."""
    return _or_none(lambda: jetstream.call(session, f"Reading stream {name}", f"STREAM.INFO.{name}"))


def info_after_write(session: sessions.Session, name: str) -> dict[str, Any] | None:
    """Return ``info`` of a stream that was just written. A new leader of a cluster may learn of it a moment later."""
    deadline = time.monotonic() + _KNOWN_AFTER
    while True:
        found = info(session, name)
        if found or not session.connected.clustered or time.monotonic() > deadline:
            return found
        time.sleep(_PAUSE)


def info_many(session: sessions.Session, names: Iterable[str]) -> list[dict[str, Any] | None]:
    """Return ``info`` of several streams, pipelined."""
    answers = jetstream.call_many(session, ((f"Reading stream {name}", f"STREAM.INFO.{name}", None) for name in names))
    return [_or_none(lambda answer=answer: _value(answer)) for answer in answers]


def creating(config: dict[str, Any]) -> jetstream.Call:
    """Return the call that creates a stream."""
    name = config["name"]
    return f"Creating stream {name}", f"STREAM.CREATE.{name}", config


def updating(config: dict[str, Any]) -> jetstream.Call:
    """Return the call that updates a stream."""
    name = config["name"]
    return f"Updating stream {name}", f"STREAM.UPDATE.{name}", config


def deleting(name: str) -> jetstream.Call:
    """Return the call that deletes a stream."""
    return f"Deleting stream {name}", f"STREAM.DELETE.{name}", None


def create(session: sessions.Session, config: dict[str, Any]) -> dict[str, Any]:
    """Create a stream, and return the server's answer, or its information where an earlier request did it.

    Raises ApiError.
    """
    try:
        return jetstream.call(session, *creating(config))
    except _errors.ApiError as error:
        found = created_before(session, config, error)
        if found is None:
            raise
        return found


def created_before(session: sessions.Session, config: dict[str, Any], error: _errors.ApiError) -> dict[str, Any] | None:
    """Return the info of a stream if an earlier copy of the refused request created it, else None.

    During an election a request is repeated, and a server may refuse the second copy because of the first.
    """
    if error.err_code != jetstream.NAME_IN_USE or not error.repeated:
        return None
    found = info(session, str(config["name"]))
    wanted = {key: value for key, value in config.items() if key != "pedantic"}
    return found if found is not None and _holds(found["config"], wanted) else None


def _holds(found: Any, wanted: Any) -> bool:
    """Return True if all of ``wanted`` is in ``found``. Empty values may be missing there, since servers omit them."""
    if isinstance(wanted, dict):
        there = found if isinstance(found, dict) else {}
        return all(_holds(there.get(key), value) for key, value in wanted.items())
    return bool(found == wanted or (not wanted and not found))


def update(session: sessions.Session, config: dict[str, Any]) -> dict[str, Any]:
    """Update a stream, and return the server's answer. Raises ApiError."""
    return jetstream.call(session, *updating(config))


def delete(session: sessions.Session, name: str) -> None:
    """Delete a stream with all messages. A missing one is no error."""
    _or_none(lambda: jetstream.call(session, *deleting(name)))


def purge(session: sessions.Session, name: str, body: dict[str, Any] | None = None, *, again: bool = False) -> int:
    """Delete all messages, or those that the body selects (``filter``, ``seq``, ``keep``), and return their number.

    With ``again`` it is repeated if its answer gets lost, and the number may then be 0.
    """
    answer = jetstream.call(session, f"Purging stream {name}", f"STREAM.PURGE.{name}", body, again=again)
    return int(answer.get("purged", 0))


def subject_counts(session: sessions.Session, name: str, subject: str = ">") -> dict[str, int]:
    """Return how many messages each matching subject of a stream holds, by the paged answer of STREAM.INFO."""
    counts: dict[str, int] = {}
    while True:
        body = {"subjects_filter": subject, "offset": len(counts)}
        answer = jetstream.call(session, f"Counting the subjects of stream {name}", f"STREAM.INFO.{name}", body)
        before = len(counts)
        counts.update(answer["state"].get("subjects") or {})
        if len(counts) >= answer.get("total", 0):
            return counts
        if len(counts) == before:
            raise _errors.WrongAnswer(f"Counting the subjects of stream {name}", "its pages repeat themselves")


def holds(session: sessions.Session, name: str, subject: str) -> bool:
    """Return True if a stream exists and has a message on a matching subject."""
    what, body = f"Looking for subjects of stream {name}", {"subjects_filter": subject}
    found = _or_none(lambda: jetstream.call(session, what, f"STREAM.INFO.{name}", body))
    return bool(found and found["state"].get("subjects"))


def deleted_sequences(session: sessions.Session, name: str) -> list[int]:
    """Return the sequences of deleted messages between a stream's first and last message."""
    answer = jetstream.call(session, f"Reading stream {name}", f"STREAM.INFO.{name}", {"deleted_details": True})
    return [int(sequence) for sequence in answer["state"].get("deleted") or []]


def list_all(session: sessions.Session) -> Iterator[dict[str, Any]]:
    """Yield the ``info`` of every stream, by the paged LIST call. It waits for streams that elect a leader."""
    missing: list[str] = []
    yield from jetstream.pages(session, "Listing streams", "STREAM.LIST", "streams", missing=missing)
    yield from (found for found in info_many(session, missing) if found)


def names(session: sessions.Session, subject: str = "") -> list[str]:
    """Return the names of all streams, or of those with a subject (which may contain wildcards)."""
    body = {"subject": subject} if subject else None
    return list(jetstream.pages(session, "Listing streams", "STREAM.NAMES", "streams", body))


def names_many(session: sessions.Session, subjects: Iterable[str]) -> list[list[str]]:
    """Return for each subject the names of streams that have it, pipelined; at most a page of each."""
    calls = (("Listing streams", "STREAM.NAMES", {"subject": subject}) for subject in subjects)
    return [
        jetstream.page_of("Listing streams", _value(answer), "streams", 0)
        for answer in jetstream.call_many(session, calls)
    ]


def missing(stream: str) -> _errors.StreamsError:
    """Return the error of a missing stream."""
    return _errors.not_there("stream", stream, "choria_stream", "no_stream")


def _value(answer: dict[str, Any] | _errors.StreamsError) -> dict[str, Any]:
    if isinstance(answer, _errors.StreamsError):
        raise answer
    return answer


def _or_none(read: Any) -> dict[str, Any] | None:
    try:
        return dict(read())
    except _errors.ApiError as error:
        if error.err_code == jetstream.STREAM_NOT_FOUND:
            return None
        raise
