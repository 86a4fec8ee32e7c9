# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys and values: messages on ``$KV.<bucket>.<key>`` in the stream ``KV_<bucket>``, as in all NATS clients.

Sources: ADR-8 of nats-architecture-and-design, and ADR-48 for the lifetimes of keys.
"""

from __future__ import annotations

import math
from datetime import datetime, timezone
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from ... import _errors
from ..._options import names, quantities
from .. import answers, jetstream, last_messages, messages

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from ..._connection import sessions


PUT, DELETED, PURGED = "put", "delete", "purge"
BATCH = last_messages.BATCH
LIFETIMES_SINCE = (2, 11, 0)

_OPERATIONS = {"DEL": DELETED, "PURGE": PURGED}
# Marks that the server leaves itself, where a limit or somebody else took the last value
_MARKERS = {"MaxAge": PURGED, "Purge": PURGED, "Remove": DELETED}


class Entry(NamedTuple):
    """One revision of a key. ``operation`` is PUT, DELETED or PURGED.

    ``time`` is RFC 3339 UTC, or nanoseconds since 1970, of which ``created`` makes text when that is needed. ``ttl`` is
    the revision's own lifetime in seconds, or None.
    """

    key: str
    revision: int
    time: str
    operation: str
    value: bytes
    ttl: float | None = None

    def __repr__(self) -> str:
        return f"Entry({self.key!r}, revision={self.revision})"  # values may be secret

    @property
    def created(self) -> str:
        """When it was stored: RFC 3339 UTC, as servers write it."""
        if not self.time.isdecimal():
            return self.time
        moment = f"{datetime.fromtimestamp(int(self.time[:-9]), timezone.utc):%Y-%m-%dT%H:%M:%S}.{self.time[-9:]}"
        return f"{moment.rstrip('0').rstrip('.')}Z"

    @property
    def alive(self) -> bool:
        """True if this is a value, and no marker of a deleted key."""
        return self.operation == PUT


class Bucket:
    """A bucket. ``config`` is the configuration of its stream, or empty if that could not be read.

    ``holder`` is the stream that has its messages while the bucket is copied. ``created`` distinguishes it from a
    deleted bucket of the same name, which had other revisions. It is empty if it could not be read. ``size`` is how
    many keys it had when it was read, or None, and ``mean`` the bytes of a revision on average.
    """

    def __init__(
        self,
        name: str,
        config: Mapping[str, Any] = MappingProxyType({}),
        last_sequence: int = 0,
        holder: str = "",
        created: str = "",
        size: int | None = None,
        mean: int = 0,
    ) -> None:
        self.name, self.config, self.last_sequence, self.created = name, config, last_sequence, created
        self.size, self.mean = size, mean
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
        return int(self.config.get("subject_delete_marker_ttl") or 0) // quantities.NANOSECOND if several else 0

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
    state = answer["state"]
    size, mean = int(state.get("num_subjects", 0)), int(state["bytes"]) // max(1, int(state["messages"]))
    bucket = Bucket(name, answer["config"], int(state["last_seq"]), "", answer["created"], size, mean)
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
        [message] = last_messages.direct_last(session, bucket.stream, [bucket.subject(key)])
        if isinstance(message, _errors.PermissionMissing):
            raise error from None
        if isinstance(message, _errors.StreamsError):
            raise message from None
        return _entry_or_none(bucket, message)


def last_from_leader(session: sessions.Session, bucket: Bucket, keys: Sequence[str]) -> dict[str, Entry]:
    """Return the newest revision of each key that has one, pipelined, see ``last``."""
    subjects = [bucket.subject(key) for key in keys]
    stored = last_messages.existing(last_messages.from_leader(session, _reading(bucket), bucket.stream, subjects))
    return {entry.key: entry for entry in (entry_of(bucket, *message) for message in stored)}


def last_many(session: sessions.Session, bucket: Bucket, keys: Sequence[str], up_to: int = 0) -> dict[str, Entry]:
    """Return the newest revision of each key that has one, as ``newest`` yields them."""
    return {entry.key: entry for entry in newest(session, bucket, keys, up_to)}


def newest(session: sessions.Session, bucket: Bucket, keys: Iterable[str], up_to: int = 0) -> Iterator[Entry]:
    """Yield the newest revision of each key that has one, in as few requests as possible, from any replica.

    With ``up_to``, it is the newest that is not after this revision. Servers without batches can't read the past:
    there, keys that changed since are left out.
    """
    subjects = [bucket.subject(key) for key in keys]
    what, stream = _reading(bucket), bucket.stream
    for message in last_messages.of_each(session, what, stream, subjects, direct=bucket.direct, up_to=up_to):
        yield entry_of(bucket, *message)


def count_values(session: sessions.Session, bucket: Bucket, keys: Sequence[str]) -> dict[str, int]:
    """Return how many values of each key the bucket keeps, pipelined."""
    counts: dict[str, int] = {}
    for key, answer in zip(keys, jetstream.call_many(session, (_info_call(bucket, key) for key in keys))):
        info = jetstream.value_of(answer)
        counts[key] = (info["state"].get("subjects") or {}).get(bucket.subject(key), 0)
    return counts


def at_revision(session: sessions.Session, bucket: Bucket, key: str, revision: int) -> Entry | None:
    """Return the revision of a key, or None if it is gone or belongs to another key."""
    message = messages.get(session, bucket.stream, sequence=revision)
    return _entry_or_none(bucket, message if message and message.subject == bucket.subject(key) else None)


def history(session: sessions.Session, bucket: Bucket, key: str) -> list[Entry]:
    """Return all kept revisions of a key, the oldest first."""
    from .. import reading  # few calls read a history

    return [entry_of(bucket, *message) for message in reading.onward(session, bucket.stream, bucket.subject(key))]


# From the wire


def no_bucket(name: str) -> _errors.StreamsError:
    """Return the error of a missing bucket."""
    return _errors.missing("bucket", name, "choria_kv_bucket", "no_bucket")


def _reading(bucket: Bucket) -> str:
    return f"Reading bucket {bucket.name}"


def _info_call(bucket: Bucket, keys: str, offset: int = 0) -> jetstream.Call[answers.StreamInfo]:
    body = {"subjects_filter": bucket.subject(keys), "offset": offset} if keys else None
    return _reading(bucket), f"STREAM.INFO.{bucket.stream}", answers.StreamInfo, body


def _info(session: sessions.Session, bucket: Bucket, keys: str, offset: int = 0) -> answers.StreamInfo:
    try:
        return jetstream.call(session, *_info_call(bucket, keys, offset))
    except _errors.ApiError as error:
        if error.err_code == jetstream.STREAM_NOT_FOUND:
            raise no_bucket(bucket.name) from error
        raise


def _entry_or_none(bucket: Bucket, message: messages.Stored | None) -> Entry | None:
    return None if message is None else entry_of(bucket, *message)


def entry_of(bucket: Bucket, subject: str, sequence: int, time: str, data: bytes, headers: Mapping[str, str]) -> Entry:
    """Return the revision that a message of the bucket's stream holds. The parts are those of ``messages.Stored``."""
    operation, ttl = PUT, None
    if headers:
        operation = _OPERATIONS.get(headers.get("KV-Operation", ""), PUT)
        operation = _MARKERS.get(headers.get("Nats-Marker-Reason", ""), operation)
        ttl = _lifetime(headers.get("Nats-TTL", ""))
    return Entry(bucket.key(subject), sequence, time, operation, data, ttl)


def _lifetime(header: str) -> float | None:
    """Return the seconds of a Nats-TTL header: a number, or a duration as Go writes it. ``never`` means no lifetime."""
    if not header:
        return None
    try:
        length = quantities.parse_duration(header)
    except ValueError:
        return None
    return length if length and math.isfinite(length) else None
