# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys and values: messages on ``$KV.<bucket>.<key>`` in the stream ``KV_<bucket>``, as in all NATS clients.

Sources: ADR-8 of nats-architecture-and-design, and ADR-48 for the lifetimes of keys.
"""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import _errors
from .._connection import sessions, wire
from .._options import codecs, names
from . import answers, jetstream, last_messages, messages

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


PUT, DELETED, PURGED = "put", "delete", "purge"
BATCH = last_messages.BATCH
LIFETIMES_SINCE = (2, 11, 0)

_EXPECTED = "Nats-Expected-Last-Subject-Sequence"
_VERBS = {PUT: "Writing", DELETED: "Deleting", PURGED: "Purging"}
_OPERATIONS = {"DEL": DELETED, "PURGE": PURGED}
# Marks that the server leaves itself, where a limit or somebody else took the last value
_MARKERS = {"MaxAge": PURGED, "Purge": PURGED, "Remove": DELETED}
_HINTS = {
    10054: "It is larger than the bucket allows: store less, or raise max_value_size of the bucket.",
    jetstream.MAXIMUM_MESSAGES: "The bucket is full: delete keys, or raise max_bucket_size of the bucket.",
    10109: "The bucket is sealed, and never changes again.",
    10111: "The bucket does not allow purging: repair it with choria_kv_bucket.",
    10166: "The bucket does not let keys carry lifetimes: set limit_marker_ttl with choria_kv_bucket.",
}


class Entry(NamedTuple):
    """One revision of a key. ``operation`` is PUT, DELETED or PURGED; ``created`` is RFC 3339 UTC.

    ``ttl`` is the revision's own lifetime in seconds, or None.
    """

    key: str
    revision: int
    created: str
    operation: str
    value: bytes
    ttl: float | None = None

    def __repr__(self) -> str:
        return f"Entry({self.key!r}, revision={self.revision})"  # values may be secret

    @property
    def alive(self) -> bool:
        """True if this is a value, and no marker of a deleted key."""
        return self.operation == PUT


class Bucket:
    """A bucket. ``config`` is the configuration of its stream, or empty if that could not be read.

    ``holder`` is the stream that has its messages while the bucket is copied. ``created`` distinguishes it from a
    deleted bucket of the same name, which had other revisions. It is empty if it could not be read.
    """

    def __init__(
        self,
        name: str,
        config: Mapping[str, Any] = MappingProxyType({}),
        last_sequence: int = 0,
        holder: str = "",
        created: str = "",
    ) -> None:
        self.name, self.config, self.last_sequence, self.created = name, config, last_sequence, created
        mirror, own = config.get("mirror") or {}, f"{names.BUCKET_PREFIX}{name}"
        self.stream = holder or own
        self._origin: Mapping[str, Any] = {} if mirror.get("subject_transforms") else mirror
        self._place = f"$KV.{self._origin.get('name', own)[len(names.BUCKET_PREFIX) :]}."

    @property
    def direct(self) -> bool:
        """True if any replica answers reads, so that they need not go to the leader (ADR-31)."""
        return bool(self.config.get("allow_direct", not self.config))

    def by_leader(self) -> Bucket:
        """Return the same bucket, read from its leader.

        Mirrors answer direct reads, too, and may lack the newest values.
        """
        return Bucket(self.name, {**self.config, "allow_direct": False}, self.last_sequence, self.stream, self.created)

    @property
    def lifetimes(self) -> bool:
        """True if keys may have lifetimes of their own."""
        return bool(self.config.get("allow_msg_ttl", not self.config))

    @property
    def is_mirror(self) -> bool:
        """True if the bucket is a mirror."""
        return bool(self.config.get("mirror"))

    @property
    def shortest_lifetime(self) -> int:
        """The shortest lifetime in seconds. With history, servers raise it to the lifetime of markers."""
        several = int(self.config.get("max_msgs_per_subject") or 0) != 1
        return int(self.config.get("subject_delete_marker_ttl") or 0) // codecs.NANOSECOND if several else 0

    @property
    def max_value_size(self) -> int:
        """The limit in bytes, 0 for none."""
        return max(0, int(self.config.get("max_msg_size") or 0))

    def subject(self, key: str) -> str:
        """Return the subject to read a key. A mirror has the subjects of its origin."""
        return f"{self._place}{key}"

    def write_subject(self, session: sessions.Session, key: str) -> str:
        """Return the subject to write a key.

        For a mirror, it leads to its origin, in another domain by that domain's prefix.
        """
        api = (self._origin.get("external") or {}).get("api") or session.settings.api
        return self.subject(key) if api == "$JS.API" else f"{api}.{self.subject(key)}"

    def key(self, subject: str) -> str:
        """Return the key of a subject."""
        return subject[len(self._place) :]


# Reading


def open_bucket(session: sessions.Session, name: str, keys: str = "") -> tuple[Bucket, dict[str, int]]:
    """Return the bucket, and the number of values of each key that ``keys`` selects, which may contain wildcards.

    Raises StreamsError if the bucket does not exist.
    """
    bucket = Bucket(name)
    answer = _info(session, bucket, keys)
    bucket = Bucket(name, answer["config"], int(answer["state"]["last_seq"]), created=answer["created"])
    if keys and bucket.subject(keys) != Bucket(name).subject(keys):
        answer = _info(session, bucket, keys)
    selected: dict[str, int] = {}
    while page := answer["state"].get("subjects"):
        before = len(selected)
        selected.update({bucket.key(subject): count for subject, count in page.items()})
        if len(selected) >= answer.get("total", 0):
            break
        if len(selected) == before:
            raise _errors.WrongAnswer(_reading(bucket), "its pages repeat themselves")
        answer = _info(session, bucket, keys, len(selected))
    return bucket, selected


def last(session: sessions.Session, bucket: Bucket, key: str) -> Entry | None:
    """Return the newest revision of a key, or None. The leader is asked, so that it is what a write will meet.

    If the permissions allow direct reads alone, any replica may answer.
    """
    try:
        return _entry_or_none(bucket, messages.get(session, bucket.stream, subject=bucket.subject(key)))
    except _errors.PermissionMissing as error:
        if not bucket.direct:
            raise
        [found] = messages.direct_last(session, bucket.stream, [bucket.subject(key)])
        if isinstance(found, _errors.PermissionMissing):
            raise error from None
        if isinstance(found, _errors.StreamsError):
            raise found from None
        return _entry_or_none(bucket, found)


def last_from_leader(session: sessions.Session, bucket: Bucket, keys: Sequence[str]) -> dict[str, Entry]:
    """Return the newest revision of each key that has one, pipelined, see ``last``."""
    subjects = [bucket.subject(key) for key in keys]
    return _entries(
        bucket, last_messages.there(last_messages.from_leader(session, _reading(bucket), bucket.stream, subjects))
    )


def last_many(session: sessions.Session, bucket: Bucket, keys: Sequence[str], up_to: int = 0) -> dict[str, Entry]:
    """Return the newest revision of each key that has one, in as few requests as possible, from any replica.

    With ``up_to``, it is the newest that is not after this revision. Servers without batches can't read the past:
    there, keys that changed since are left out.
    """
    subjects = [bucket.subject(key) for key in keys]
    found = last_messages.of_each(session, _reading(bucket), bucket.stream, subjects, direct=bucket.direct, up_to=up_to)
    return _entries(bucket, found)


def last_below(session: sessions.Session, bucket: Bucket, keys: str) -> dict[str, Entry] | None:
    """Return the newest revision of all keys that a wildcard selects, as of one moment.

    Returns None if that takes more than one request: too many keys, too much data, or an old server.
    """
    if not bucket.direct or session.server.version < last_messages.BATCHES_SINCE:
        return None
    try:
        found, beyond = messages.direct_page(session, bucket.stream, {"multi_last": [bucket.subject(keys)]})
    except _errors.NoAnswer as error:
        if error.failure.get("status") == "413":
            return None
        raise
    return None if beyond else _entries(bucket, found)


def count_values(session: sessions.Session, bucket: Bucket, keys: Sequence[str]) -> dict[str, int]:
    """Return how many values of each key the bucket keeps, pipelined."""
    what, subject = _reading(bucket), f"STREAM.INFO.{bucket.stream}"
    found = jetstream.call_many(session, ((what, subject, {"subjects_filter": bucket.subject(key)}) for key in keys))
    counts = {}
    for key, answer in zip(keys, found):
        if isinstance(answer, _errors.StreamsError):
            raise answer
        counts[key] = int((answer["state"].get("subjects") or {}).get(bucket.subject(key), 0))
    return counts


def at_revision(session: sessions.Session, bucket: Bucket, key: str, revision: int) -> Entry | None:
    """Return the revision of a key, or None if it is gone or belongs to another key."""
    found = messages.get(session, bucket.stream, sequence=revision)
    return _entry_or_none(bucket, found if found and found.subject == bucket.subject(key) else None)


def history(session: sessions.Session, bucket: Bucket, key: str) -> list[Entry]:
    """Return all kept revisions of a key, the oldest first."""
    from . import reading  # modules compile what they import, and the one for keys does not need this

    return [entry_of(bucket, message) for message in reading.onward(session, bucket.stream, bucket.subject(key))]


# Writing


def write(
    session: sessions.Session,
    bucket: Bucket,
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
    session: sessions.Session, writes: Iterable[tuple[Bucket, str, Mapping[str, Any]]]
) -> list[int | _errors.StreamsError]:
    """Write keys in a pipeline, and return the new revision or an error for each.

    Each is a bucket, a key, and the other arguments of ``write``. It gets a message id, so that it can be repeated, and
    recognized if its answer got lost.
    """
    wanted = list(writes)
    requests = [_identified(session, bucket, _request(session, bucket, key, **given)) for bucket, key, given in wanted]
    answers = [
        _revision(bucket, key, given["operation"], answer)
        for (bucket, key, given), answer in zip(wanted, messages.deliver(session, requests, known=True))
    ]
    lost = [number for number, answer in enumerate(answers) if _is_lost(answer)]
    for number in lost:
        bucket, key, _given = wanted[number]
        found = _written(session, bucket, key, (requests[number].headers or {}).get(messages.MESSAGE_ID))
        answers[number] = found or answers[number]
    return answers


def _identified(session: sessions.Session, bucket: Bucket, request: wire.Request) -> wire.Request:
    """Add a message id to a write, unless the size limit prevents that."""
    conditional = _EXPECTED in (request.headers or {})
    named = request._replace(headers={**(request.headers or {}), messages.MESSAGE_ID: messages.new_id()})
    limits = [limit for limit in (bucket.max_value_size, session.connected.max_payload) if limit]
    if named.size > min(limits):
        return request._replace(again=conditional)
    # A mirror's writes go to its origin, of which it is not known how long that remembers them
    return named._replace(again=conditional or (not bucket.is_mirror and messages.dedupes(session, bucket.config)))


def _is_lost(answer: object) -> bool:
    """Return True if a write may be done although its answer does not say so."""
    return isinstance(answer, _errors.OutcomeUnknown) or (
        isinstance(answer, _errors.ApiError) and answer.repeated and overtaken(answer)
    )


def _written(session: sessions.Session, bucket: Bucket, key: str, message_id: str | None) -> int | None:
    """Return the revision that the write with this id made, or None if it can't be found."""
    if not message_id:
        return None
    try:
        found = messages.get(session, bucket.stream, subject=bucket.subject(key))
    except _errors.StreamsError:
        return None  # the answer that got lost is the better reason
    return found.sequence if found and found.headers.get(messages.MESSAGE_ID) == message_id else None


def size(session: sessions.Session, bucket: Bucket, key: str, **given: Any) -> int:
    """Return the bytes that ``write`` would send. Servers count the headers to a value's size."""
    return _request(session, bucket, key, **given).size


def overtaken(error: object) -> bool:
    """Return True if a write was refused since the key's newest revision differs from ``expected``."""
    return isinstance(error, _errors.ApiError) and error.err_code in jetstream.WRONG_LAST_SEQUENCE


def _request(
    session: sessions.Session,
    bucket: Bucket,
    key: str,
    operation: str,
    value: bytes = b"",
    ttl: int = 0,
    expected: int = -1,
) -> wire.Request:
    headers = {}
    if operation == DELETED:
        headers["KV-Operation"] = "DEL"
    elif operation == PURGED:
        headers = {"KV-Operation": "PURGE", "Nats-Rollup": "sub"}
    if ttl:
        headers["Nats-TTL"] = f"{ttl}s"
    if expected >= 0:
        headers[_EXPECTED] = str(expected)
    return wire.Request(bucket.write_subject(session, key), value, headers)


def _revision(
    bucket: Bucket, key: str, operation: str, answer: list[wire.Message] | _errors.StreamsError
) -> int | _errors.StreamsError:
    what = f"{_VERBS[operation]} key {key} of bucket {bucket.name}"
    if isinstance(answer, _errors.StreamsError):
        return jetstream.named(what, answer, "look at the key, for example with the lookup choria_kv")
    try:
        return int(jetstream.decode(what, answer[0], answers.PubAck, written=True)["seq"])
    except _errors.ApiError as error:
        hint = _HINTS.get(error.err_code)
        if hint is None or (error.err_code == jetstream.MAXIMUM_MESSAGES and "maximum" not in error.description):
            return error
        return _errors.ApiError(what, error.status, error.err_code, error.description, hint)
    except _errors.StreamsError as error:
        return error


# From the wire


def no_bucket(name: str) -> _errors.StreamsError:
    """Return the error of a missing bucket."""
    return _errors.not_there("bucket", name, "choria_kv_bucket", "no_bucket")


def _reading(bucket: Bucket) -> str:
    return f"Reading bucket {bucket.name}"


def _info(session: sessions.Session, bucket: Bucket, keys: str, offset: int = 0) -> dict[str, Any]:
    body = {"subjects_filter": bucket.subject(keys), "offset": offset} if keys else None
    try:
        return jetstream.call(session, _reading(bucket), f"STREAM.INFO.{bucket.stream}", body)
    except _errors.ApiError as error:
        if error.err_code == jetstream.STREAM_NOT_FOUND:
            raise no_bucket(bucket.name) from error
        raise


def _entries(bucket: Bucket, found: Iterable[messages.Stored]) -> dict[str, Entry]:
    return {entry.key: entry for entry in (entry_of(bucket, message) for message in found)}


def _entry_or_none(bucket: Bucket, message: messages.Stored | None) -> Entry | None:
    return None if message is None else entry_of(bucket, message)


def entry_of(bucket: Bucket, message: messages.Stored) -> Entry:
    """Return the revision that a message of the bucket's stream holds."""
    operation = _OPERATIONS.get(message.headers.get("KV-Operation", ""), PUT)
    operation = _MARKERS.get(message.headers.get("Nats-Marker-Reason", ""), operation)
    return Entry(
        key=bucket.key(message.subject),
        revision=message.sequence,
        created=message.time,
        operation=operation,
        value=message.data,
        ttl=_lifetime(message.headers.get("Nats-TTL", "")),
    )


def _lifetime(header: str) -> float | None:
    """Return the seconds of a Nats-TTL header: a number, or a duration as Go writes it. ``never`` is no lifetime."""
    if not header:
        return None
    try:
        length = codecs.parse_duration(header)
    except ValueError:
        return None
    return length if length and math.isfinite(length) else None
