# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Streams: one function per call of the server. Configurations are dicts as on the wire."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from functools import partial
from typing import TYPE_CHECKING, Any

from .. import _errors
from .._options import quantities
from . import answers, jetstream

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .._connection import sessions

_KNOWN_AFTER, _PAUSE = 5.0, 0.25
# Fields that servers refuse in the configuration of a mirror
NOT_MIRRORED = (
    "subjects",
    "sources",
    "first_seq",
    "allow_msg_counter",
    "allow_atomic",
    "allow_batched",
    "allow_msg_schedules",
    "subject_delete_marker_ttl",
)


def info(session: sessions.Session, name: str) -> answers.StreamInfo | None:
    """Return the answer of STREAM.INFO, or None if the stream does not exist."""
    return info_many(session, [name])[0]


def cluster_of(info: answers.StreamInfo | None) -> answers.Cluster:
    """Return where a stream is, empty if it is missing, or has no cluster."""
    return (info and info.get("cluster")) or {}


def clock_of(info: Mapping[str, Any] | None) -> datetime:
    """Return the server's time when it answered, or the time of this machine if it sent none."""
    return quantities.parse_timestamp(info["ts"]) if info and info.get("ts") else datetime.now(timezone.utc)


def info_after_write(session: sessions.Session, name: str) -> answers.StreamInfo | None:
    """Return ``info`` of a stream that was just written. A new leader of a cluster may learn of it a moment later."""
    deadline = time.monotonic() + _KNOWN_AFTER
    while True:
        present = info(session, name)
        if present or not session.connected.clustered or time.monotonic() > deadline:
            return present
        time.sleep(_PAUSE)


def info_many(session: sessions.Session, names: Iterable[str]) -> list[answers.StreamInfo | None]:
    """Return ``info`` of several streams, pipelined."""
    return [jetstream.or_none(answer) for answer in jetstream.call_many(session, map(reading, names))]


def reading(name: str) -> jetstream.Call[answers.StreamInfo]:
    """Return the call that reads a stream."""
    return f"Reading stream {name}", f"STREAM.INFO.{name}", answers.StreamInfo, None


def creating(config: Mapping[str, Any]) -> jetstream.Call[answers.StreamInfo]:
    """Return the call that creates a stream."""
    name = config["name"]
    return f"Creating stream {name}", f"STREAM.CREATE.{name}", answers.StreamInfo, config


def updating(config: Mapping[str, Any]) -> jetstream.Call[answers.StreamInfo]:
    """Return the call that updates a stream."""
    name = config["name"]
    return f"Updating stream {name}", f"STREAM.UPDATE.{name}", answers.StreamInfo, config


def deleting(name: str) -> jetstream.Call[answers.Done]:
    """Return the call that deletes a stream."""
    return f"Deleting stream {name}", f"STREAM.DELETE.{name}", answers.Done, None


def create(session: sessions.Session, config: Mapping[str, Any]) -> answers.StreamInfo:
    """Create a stream, and return the server's answer, or its information where an earlier request did it.

    Raises ApiError.
    """
    try:
        answer: answers.StreamInfo | _errors.StreamsError = write_many(session, [creating(config)])[0]
        return jetstream.value_of(answer)
    except _errors.ApiError as error:
        earlier = created_before(session, config, error)
        if earlier is None:
            raise
        return earlier


def write_many(session: sessions.Session, calls: Iterable[jetstream.Call[Any]]) -> list[Any | _errors.StreamsError]:
    """Return an answer or an error for each call that writes a stream, pipelined.

    While servers remove the store of a deleted stream, they may refuse a new one of that name (nats-server 2.15).
    """
    send = partial(jetstream.call_many, session)
    return jetstream.until_ready(list(calls), send, _is_early, _KNOWN_AFTER)


def _is_early(answer: object) -> bool:
    # The error has other reasons too, which stay. This one is "error creating store for stream"
    refused = isinstance(answer, _errors.ApiError) and answer.err_code == jetstream.NOT_CREATED
    return refused and "creating store" in str(answer)


def created_before(
    session: sessions.Session, config: Mapping[str, Any], error: _errors.ApiError
) -> answers.StreamInfo | None:
    """Return the info of a stream if an earlier copy of the refused request created it, else None.

    During an election a request is repeated, and a server may refuse the second copy because of the first. Servers of
    a cluster store a mirror without its ``duplicate_window``, so they refuse each second copy of that (2.14, 2.15).
    """
    if error.err_code != jetstream.NAME_IN_USE or not error.repeated:
        return None
    stored = info_after_write(session, str(config["name"]))
    changed = ("pedantic", "duplicate_window") if config.get("mirror") else ("pedantic",)
    asked = {key: value for key, value in config.items() if key not in changed}
    return stored if stored is not None and _holds(stored["config"], asked) else None


def _holds(stored: Any, asked: Any) -> bool:
    """Return True if all of ``asked`` is in ``stored``. Empty values may be missing there, since servers omit them."""
    if isinstance(asked, dict):
        fields = stored if isinstance(stored, dict) else {}
        return all(_holds(fields.get(key), value) for key, value in asked.items())
    return bool(stored == asked or (not asked and not stored))


def update(session: sessions.Session, config: Mapping[str, Any]) -> answers.StreamInfo:
    """Update a stream, and return the server's answer. Raises ApiError."""
    return jetstream.call(session, *updating(config))


def delete(session: sessions.Session, name: str) -> None:
    """Delete a stream with all messages. A missing one is not an error."""
    jetstream.or_none(jetstream.call_many(session, [deleting(name)])[0])


def purge(session: sessions.Session, name: str, body: Mapping[str, Any] | None = None, *, again: bool = False) -> int:
    """Delete all messages, or those that the body selects (``filter``, ``seq``, ``keep``), and return their number.

    With ``again`` it is repeated if its answer gets lost, and the number may then be 0.
    """
    call = f"Purging stream {name}", f"STREAM.PURGE.{name}", answers.Purged, body
    return jetstream.call(session, *call, again=again)["purged"]


def missing(stream: str) -> _errors.StreamsError:
    """Return the error of a missing stream."""
    return _errors.missing("stream", stream, "choria_stream", "no_stream")


def origins_of(info: answers.StreamInfo) -> list[answers.SourceInfo]:
    """Return the state of each origin."""
    mirror = info.get("mirror")
    return [*([mirror] if mirror else []), *(info.get("sources") or [])]


def never_heard(info: answers.StreamInfo) -> list[answers.SourceInfo]:
    """Return the origins that the server has not found yet."""
    return [origin for origin in origins_of(info) if origin["active"] < 0]


def refusal_to_copy(origin: answers.SourceInfo) -> str:
    """Return why the server copies nothing from an origin, or an empty text."""
    error = origin.get("error")
    return f"{error.get('description', '')}, JetStream error {error.get('err_code', 0)}" if error else ""
