# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read all keys below a prefix as of one moment, during writes of others."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING

from ... import _errors
from ..._options import names
from .. import last_messages
from . import kv

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Protocol

    from ..._connection import sessions

    class Collector(Protocol):
        """Keeps what its user needs of the newest revisions of keys, so that the rest takes no memory."""

        def add(self, entries: Iterable[kv.Entry]) -> None:
            """Add revisions, also markers of deleted keys. A later one of a key replaces the one before it."""

        def clear(self) -> None:
            """Remove all keys: they are read again in another way."""


ALL = ">"
_TRIES = 5
_PAUSE = 0.01  # seconds, doubled at each try: writes come in bursts


class Entries:
    """The newest revisions by their keys."""

    def __init__(self) -> None:
        self.entries: dict[str, kv.Entry] = {}

    def add(self, entries: Iterable[kv.Entry]) -> None:
        """Add revisions."""
        for entry in entries:
            self.entries[entry.key] = entry

    def clear(self) -> None:
        """Remove all keys."""
        self.entries.clear()


class _Markers(Entries):
    """The markers of deleted keys."""

    def add(self, entries: Iterable[kv.Entry]) -> None:
        """Add revisions. Values are left out."""
        for entry in entries:
            if entry.alive:
                self.entries.pop(entry.key, None)
            else:
                self.entries[entry.key] = entry


def snapshot(session: sessions.Session, bucket: kv.Bucket, prefix: str) -> dict[str, kv.Entry]:
    """Return the newest revisions that ``collect`` reads, in the order of their keys."""
    collected = Entries()
    collect(session, bucket, prefix, collected)
    return {key: collected.entries[key] for key in sorted(collected.entries)}


def collect(session: sessions.Session, bucket: kv.Bucket, prefix: str, collector: Collector) -> None:
    """Add the newest revision of all keys below a prefix, including markers of deleted keys, as of one moment.

    With nats-server 2.11 and at most 1,024 keys, that is one request, otherwise one pass of a consumer. Where neither
    is possible, keys are listed, read as of that moment, and checked: if a key has changed, all are read again. Servers
    before 2.11 can't read the past, so that each write counts as a change; with 2.11 only writes to keys without
    history do. Raises StreamsError if writes were too fast each time, and the errors of the collector.
    """
    keys = selection(prefix)
    if keys != ALL or bucket.size is None or _is_small(bucket):
        page = _in_one_request(session, bucket, keys)
        if page is not None:
            collector.add(_below(prefix, page))
            return
    if _is_small(bucket) or not collect_in_one_pass(session, bucket, prefix, collector):
        _collect_listed(session, bucket, prefix, collector)


def markers(session: sessions.Session, bucket: kv.Bucket) -> list[kv.Entry]:
    """Return the markers of all deleted keys of a bucket, as ``collect`` reads them, without the values of others."""
    marks = _Markers()
    if _is_small(bucket):
        collect(session, bucket, "", marks)
    elif not collect_in_one_pass(session, bucket, "", marks, headers_only=True):
        _collect_listed(session, bucket, "", marks)
    return [marks.entries[key] for key in sorted(marks.entries)]


def _is_small(bucket: kv.Bucket) -> bool:
    """Return True if one request reads the whole bucket, as far as that depends on the number of keys."""
    return bucket.size is not None and bucket.size <= kv.BATCH


def _in_one_request(session: sessions.Session, bucket: kv.Bucket, keys: str) -> Iterator[kv.Entry] | None:
    """Return the newest revisions of all keys that a wildcard selects.

    Returns None if that takes more than one request: too many keys, too much data, or an old server or replica.
    """
    if not bucket.direct or session.server.version < last_messages.BATCHES_SINCE:
        return None
    try:
        page, beyond = last_messages.direct_page(session, bucket.stream, {"multi_last": [bucket.subject(keys)]})
    except _errors.NoAnswer as error:
        if error.failure.get("status") in (last_messages.NO_BATCHES, "413"):
            return None
        raise
    return None if beyond else (kv.entry_of(bucket, *message) for message in page)


def collect_in_one_pass(
    session: sessions.Session, bucket: kv.Bucket, prefix: str, collector: Collector, *, headers_only: bool = False
) -> bool:
    """Add the newest revisions of all keys below a prefix in one pass. Return False, without keys, if it can't be done.

    Raises the errors of the collector.
    """
    from . import kv_pass  # most lookups read a few keys and need none

    try:
        with closing(kv_pass.newest(session, bucket, selection(prefix), headers_only=headers_only)) as entries:
            collector.add(_below(prefix, entries))
    except kv_pass.NotRead:
        collector.clear()
        return False
    return True


def _below(prefix: str, entries: Iterator[kv.Entry]) -> Iterator[kv.Entry]:
    """Return the entries whose keys have the prefix, of those that the server selected for it."""
    if selection(prefix)[:-1] == prefix:
        return entries
    return (entry for entry in entries if entry.key.startswith(prefix))


def normal_prefix(prefix: str) -> str:
    """Return a prefix that ends where a word of a key ends: ``auth`` becomes ``auth.``, ``hosts/`` stays.

    Raises OptionError.
    """
    if not prefix or prefix.endswith("/"):
        return _checked(prefix, prefix)
    return _checked(prefix, f"{prefix.rstrip('.')}.")


def selection(prefix: str) -> str:
    """Return the narrowest wildcard that selects all keys with the prefix. Servers know only words between dots."""
    return f"{prefix[: prefix.rfind('.') + 1]}>"


def _checked(given: str, prefix: str) -> str:
    try:
        if prefix:
            names.EXISTING_KEY.to_wire(f"{prefix}x")
    except ValueError:
        raise _errors.OptionError(
            "prefix", f"'{given}' is not the beginning of a key: {names.EXISTING_KEY.shape}."
        ) from None
    return prefix


def _collect_listed(session: sessions.Session, bucket: kv.Bucket, prefix: str, collector: Collector) -> None:
    for tried in range(_TRIES):
        if tried:
            time.sleep(_PAUSE * 2**tried)
        now, listed = kv.open_bucket(session, bucket.name, selection(prefix))
        keys = [key for key in listed if key.startswith(prefix)]
        if _collect_unchanged(session, now, keys, collector, by_leader=tried > 0):
            return
        collector.clear()
    raise _errors.StreamsError(
        f"The keys below '{prefix}' of bucket {bucket.name} changed each of {_TRIES} times while they were read: try "
        "again, read fewer keys at once, or give the bucket a history of 2 or more (and nats-server 2.11).",
        code="changing",
    )


def _collect_unchanged(
    session: sessions.Session, bucket: kv.Bucket, keys: list[str], collector: Collector, *, by_leader: bool
) -> bool:
    """Add the keys as of the moment when the bucket was opened. Return False if some of them changed since.

    Before nats-server 2.11 a mirror without the key may answer unnoticed. Then the leader is asked, if that is allowed.
    """
    if by_leader and bucket.direct and session.server.version < last_messages.BATCHES_SINCE:
        try:
            return _collect_each(session, bucket.by_leader(), keys, bucket.last_sequence, collector)
        except _errors.PermissionMissing:
            collector.clear()
    return _collect_each(session, bucket, keys, bucket.last_sequence, collector)


def _collect_each(
    session: sessions.Session, bucket: kv.Bucket, keys: list[str], up_to: int, collector: Collector
) -> bool:
    """Add the newest revisions of keys that are not after ``up_to``. Return True if each key has one."""
    unread = set(keys)

    def read() -> Iterator[kv.Entry]:
        for entry in kv.newest(session, bucket, keys, up_to):
            unread.discard(entry.key)
            yield entry

    collector.add(read())
    return not unread
