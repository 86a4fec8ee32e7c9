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

from ... import _errors
from ..._options import names, quantities
from .. import jetstream, last_messages, messages

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ..._connection import sessions


PUT, DELETED, PURGED = "put", "delete", "purge"
BATCH = last_messages.BATCH
LIFETIMES_SINCE = (2, 11, 0)

_OPERATIONS = {"DEL": DELETED, "PURGE": PURGED}
# Marks that the server leaves itself, where a limit or somebody else took the last value
_MARKERS = {"MaxAge": PURGED, "Purge": PURGED, "Remove": DELETED}


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
    from .. import reading

    return [entry_of(bucket, message) for message in reading.onward(session, bucket.stream, bucket.subject(key))]


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
        length = quantities.parse_duration(header)
    except ValueError:
        return None
    return length if length and math.isfinite(length) else None
