# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read keys as of an earlier revision of their bucket, or a time. Raises an error if that is no longer stored.

Where values expire, a key may be gone without a trace, or have been written again. A key without an old revision is
known not to have existed only if the bucket still has every revision that was ever written.
"""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Union

from ... import _errors
from ..._api import reading, streams
from ..._api.kv import kv
from ..._api.kv.kv_snapshot import selection
from ..._connection import together

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..._connection import sessions

    Moment = Union[int, datetime]
    """A revision, or a time. Later writes do not count."""


def keys_as_of(
    session: sessions.Session, bucket: kv.Bucket, keys: Sequence[str], moment: Moment
) -> dict[str, kv.Entry]:
    """Return the newest revision of each key at that moment, if it had one."""
    revision = _revision(session, bucket, moment)
    entries = _kept(session, bucket, keys, revision)
    unknown = [key for key in keys if key not in entries]
    if unknown:
        _check_remembered(session, bucket, f"key {unknown[0]}", revision)
    return entries


def below_as_of(session: sessions.Session, bucket: kv.Bucket, prefix: str, moment: Moment) -> dict[str, kv.Entry]:
    """Return the newest revisions of all keys with a prefix at that moment."""
    revision = _revision(session, bucket, moment)
    listed = kv.open_bucket(session, bucket.name, selection(prefix))[1]
    entries = _kept(session, bucket, sorted(key for key in listed if key.startswith(prefix)), revision)
    _check_remembered(session, bucket, f"another key below '{prefix}'", revision)
    return entries


def _kept(session: sessions.Session, bucket: kv.Bucket, keys: Sequence[str], revision: int) -> dict[str, kv.Entry]:
    entries = kv.last_many(session, bucket, keys, revision) if revision else {}
    rest = [key for key in keys if key not in entries]
    reads = [partial(_before, bucket=bucket, key=key, revision=revision) for key in rest]
    for key, earlier in zip(rest, together.raised(together.read_together(session, reads))):
        if earlier:
            entries[key] = earlier
    return entries


def _revision(session: sessions.Session, bucket: kv.Bucket, moment: Moment) -> int:
    if not isinstance(moment, datetime):
        return moment
    later = reading.first_since(session, bucket.stream, reading.ALL, moment)
    return later - 1 if later else kv.open_bucket(session, bucket.name)[0].last_sequence


def _before(session: sessions.Session, *, bucket: kv.Bucket, key: str, revision: int) -> kv.Entry | None:
    """Return the newest revision of a key up to this one, or None. Raises StreamsError if it can't be known."""
    kept = kv.history(session, bucket, key)
    earlier = [entry for entry in kept if entry.revision <= revision]
    if earlier or not kept:
        return earlier[-1] if earlier else None
    limit = int(bucket.config.get("max_msgs_per_subject") or 0)
    whole = bucket.config and (limit <= 0 or len(kept) < limit)
    if whole and kept[0].operation != kv.PURGED:
        return None
    raise _errors.StreamsError(
        f"as_of: key {key} of bucket {bucket.name} was written after revision {revision}, and whether and what it was "
        "then is not kept any more: read without as_of, or give the bucket a longer history.",
        code="not_kept",
        option="as_of",
        key=key,
    )


def _check_remembered(session: sessions.Session, bucket: kv.Bucket, what: str, revision: int) -> None:
    """Raise StreamsError if a value may have expired. Call it after reading, to include what expired meanwhile."""
    if not revision or (bucket.config and not bucket.config.get("max_age") and not bucket.lifetimes):
        return
    info = streams.info(session, bucket.stream)
    if info and int(info["state"]["messages"]) == int(info["state"]["last_seq"]):
        return
    raise _errors.StreamsError(
        f"as_of: whether {what} was in bucket {bucket.name} at revision {revision} can't be known, since its values "
        "expire, and some revisions are gone: read without as_of, or keep it in a bucket without ttl and "
        "limit_marker_ttl.",
        code="not_kept",
        option="as_of",
    )
