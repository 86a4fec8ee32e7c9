# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Put, delete and purge keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ... import _errors
from ..._connection import sessions, wire
from .. import jetstream, messages
from . import kv

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_EXPECTED = "Nats-Expected-Last-Subject-Sequence"
_VERBS = {kv.PUT: "Writing", kv.DELETED: "Deleting", kv.PURGED: "Purging"}
_HINTS = {
    10054: "It is larger than the bucket allows: store less, or raise max_value_size of the bucket.",
    jetstream.MAXIMUM_MESSAGES: "The bucket is full: delete keys, or raise max_bucket_size of the bucket.",
    10109: "The bucket is sealed, and never changes again.",
    10111: "The bucket does not allow purging: repair it with choria_kv_bucket.",
    10166: "The bucket does not let keys carry lifetimes: set limit_marker_ttl with choria_kv_bucket.",
}


def write(
    session: sessions.Session,
    bucket: kv.Bucket,
    key: str,
    operation: str,
    value: bytes = b"",
    *,
    ttl: int = 0,
    expected: int = -1,
) -> int:
    """Put, delete or purge a key, and return the new revision.

    ``ttl`` is in seconds, 0 for none. With ``expected`` the server refuses the write (``overtaken``) unless this is the
    key's newest revision, 0 for a key without any.
    """
    given = {"operation": operation, "value": value, "ttl": ttl, "expected": expected}
    [answer] = write_many(session, [(bucket, key, given)])
    if isinstance(answer, _errors.StreamsError):
        raise answer
    return answer


def write_many(
    session: sessions.Session, writes: Iterable[tuple[kv.Bucket, str, Mapping[str, Any]]]
) -> list[int | _errors.StreamsError]:
    """Write keys in a pipeline, and return the new revision or an error for each.

    Each is a bucket, a key, and the other arguments of ``write``. It gets a message id, so that it can be repeated, and
    recognized if its answer got lost.
    """
    listed = list(writes)
    requests = [
        _identified(session, bucket, _request(session, bucket, key, **given), message_id)
        for (bucket, key, given), message_id in zip(listed, messages.new_ids(len(listed)))
    ]
    answers = [
        _revision(bucket, key, given["operation"], answer)
        for (bucket, key, given), answer in zip(listed, messages.deliver(session, requests, taken=True))
    ]
    lost = [number for number, answer in enumerate(answers) if _is_lost(answer)]
    for number in lost:
        bucket, key, _given = listed[number]
        revision = _written(session, bucket, key, (requests[number].headers or {}).get(messages.MESSAGE_ID))
        answers[number] = revision or answers[number]
    return answers


def _identified(session: sessions.Session, bucket: kv.Bucket, request: wire.Request, message_id: str) -> wire.Request:
    """Add a message id to a write, unless the size limit prevents that."""
    conditional = _EXPECTED in (request.headers or {})
    named = request._replace(headers={**(request.headers or {}), messages.MESSAGE_ID: message_id})
    limits = [limit for limit in (bucket.max_value_size, session.connected.max_payload) if limit]
    if named.size > min(limits):
        return request._replace(again=conditional)
    # A mirror's writes go to its origin, whose window for duplicates is unknown
    return named._replace(again=conditional or (not bucket.is_mirror and messages.dedupes(session, bucket.config)))


def _is_lost(answer: object) -> bool:
    """Return True if a write may be done although its answer does not say so."""
    return isinstance(answer, _errors.OutcomeUnknown) or (
        isinstance(answer, _errors.ApiError) and answer.repeated and overtaken(answer)
    )


def _written(session: sessions.Session, bucket: kv.Bucket, key: str, message_id: str | None) -> int | None:
    """Return the revision that the write with this id made, or None if it can't be found."""
    if not message_id:
        return None
    try:
        message = messages.get(session, bucket.stream, subject=bucket.subject(key))
    except _errors.StreamsError:
        return None  # the answer that got lost is the better reason
    return message.sequence if message and message.headers.get(messages.MESSAGE_ID) == message_id else None


def size(session: sessions.Session, bucket: kv.Bucket, key: str, **given: Any) -> int:
    """Return the bytes that ``write`` would send. Servers count the headers to a value's size."""
    return _request(session, bucket, key, **given).size


def overtaken(error: object) -> bool:
    """Return True if a write was refused since the key's newest revision differs from ``expected``."""
    return isinstance(error, _errors.ApiError) and error.err_code in jetstream.WRONG_LAST_SEQUENCE


def _request(
    session: sessions.Session,
    bucket: kv.Bucket,
    key: str,
    operation: str,
    value: bytes = b"",
    ttl: int = 0,
    expected: int = -1,
) -> wire.Request:
    headers = {}
    if operation == kv.DELETED:
        headers["KV-Operation"] = "DEL"
    elif operation == kv.PURGED:
        headers = {"KV-Operation": "PURGE", "Nats-Rollup": "sub"}
    if ttl:
        headers["Nats-TTL"] = f"{ttl}s"
    if expected >= 0:
        headers[_EXPECTED] = str(expected)
    return wire.Request(bucket.write_subject(session, key), value, headers)


def _revision(
    bucket: kv.Bucket, key: str, operation: str, answer: list[wire.Message] | _errors.StreamsError
) -> int | _errors.StreamsError:
    what = f"{_VERBS[operation]} key {key} of bucket {bucket.name}"
    if isinstance(answer, _errors.StreamsError):
        return jetstream.named(what, answer, "check the key, for example with the lookup choria_kv")
    try:
        return int(messages.acknowledgement(what, None, answer[0])["seq"])
    except _errors.ApiError as error:
        hint = _HINTS.get(error.err_code)
        if hint is None or (error.err_code == jetstream.MAXIMUM_MESSAGES and "maximum" not in error.description):
            return error
        return _errors.ApiError(what, error.status, error.err_code, error.description, hint)
    except _errors.StreamsError as error:
        return error
