# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read keys for programs that ask several times: buckets are read once, and answers cached on demand."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TypeVar

from ... import _errors
from ..._api import jetstream
from ..._api.kv import kv
from ..._api.kv.kv_snapshot import snapshot
from ..._options import connection

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from ..._connection import sessions
    from .past import Moment

T = TypeVar("T")

_buckets: dict[tuple[sessions.Session, str], kv.Bucket] = {}
# Answers, and when they were read. A fork begins with what its parent knew.
_kept: dict[Hashable, tuple[float, Any]] = {}


class KvReader:
    """Returns entries, which may be markers of deleted keys. Answers are cached for ``max_age`` seconds.

    Raises StreamsError if the bucket does not exist.
    """

    def __init__(self, session: sessions.Session, max_age: float = 0) -> None:
        self._session = session
        self._max_age = max_age

    def last(self, bucket: str, keys: Sequence[str]) -> dict[str, kv.Entry]:
        """Return the newest revision of each key that has one, in one batch."""
        return self._once("last", bucket, keys, lambda where: kv.last_many(self._session, where, keys))

    def last_within(self, bucket: str, keys: Sequence[str], deadline: float) -> dict[str, kv.Entry]:
        """Return the same as soon as each key has a value, at most until ``deadline`` (``time.monotonic()``)."""
        found = self._read(bucket, lambda where: kv.last_many(self._session, where, keys))
        if all(key in found and found[key].alive for key in keys):
            return found
        from ..._api.kv.kv_watch import Watch

        with self._read(bucket, lambda where: Watch(self._session, where, keys)) as watch:
            lives = watch.lives
            while not all(key in found and found[key].alive for key in keys):
                entry = watch.next(max(0.0, deadline - time.monotonic()))
                if watch.lives > lives:
                    found, lives = {}, watch.lives  # the bucket was created again
                if entry is None:
                    break
                # A replica may have answered that was ahead
                if entry.key not in found or found[entry.key].revision < entry.revision:
                    found[entry.key] = entry
        return found

    def last_as_of(self, bucket: str, keys: Sequence[str], moment: Moment) -> dict[str, kv.Entry]:
        """Return the newest revision of each key at a revision of the bucket, or a time."""
        from . import past

        question = (moment, *keys)
        return self._once("as of", bucket, question, lambda where: past.keys_as_of(self._session, where, keys, moment))

    def below_as_of(self, bucket: str, prefix: str, moment: Moment) -> dict[str, kv.Entry]:
        """Return the newest revisions of all keys with the prefix at a revision of the bucket, or a time."""
        from . import past

        question = (moment, prefix)
        return self._once(
            "below as of", bucket, question, lambda where: past.below_as_of(self._session, where, prefix, moment)
        )

    def at_revision(self, bucket: str, key: str, revision: int) -> kv.Entry | None:
        """Return the revision of a key, or None if it is gone or belongs to another key."""
        question = (key, revision)
        return self._once("revision", bucket, question, lambda where: kv.at_revision(self._session, where, *question))

    def history(self, bucket: str, key: str) -> list[kv.Entry]:
        """Return all kept revisions of a key, the oldest first."""
        return self._once("history", bucket, [key], lambda where: kv.history(self._session, where, key))

    def below(self, bucket: str, prefix: str) -> dict[str, kv.Entry]:
        """Return the newest revisions of all keys with the prefix as of one moment."""
        return self._once("below", bucket, [prefix], lambda where: snapshot(self._session, where, prefix))

    def _once(self, kind: str, bucket: str, what: Sequence[object], read: Callable[[kv.Bucket], T]) -> T:
        if not self._max_age:
            return self._read(bucket, read)
        question = (self._session.settings, kind, bucket, *what)
        now = time.monotonic()
        when, answer = _kept.get(question, (0.0, None))
        if not when or now - when >= self._max_age:
            answer = self._read(bucket, read)
            _kept[question] = (now, answer)
        return answer

    def _read(self, name: str, read: Callable[[kv.Bucket], T]) -> T:
        known = _buckets.get((self._session, name))
        try:
            return read(known or self._bucket(name))
        except (_errors.ApiError, _errors.NoAnswer) as error:
            gone = getattr(error, "err_code", 0) == jetstream.STREAM_NOT_FOUND
            silent = error.failure["code"] == "no_responders"
            if not (gone or silent):
                raise
            if known is None:
                # Behind a domain that is cut off nobody answers either
                if silent and self._session.settings.api != connection.DEFAULT_API:
                    raise
                raise kv.no_bucket(name) from error
        # It is not what it was when we looked at it: deleted, or without direct reads now
        return read(self._bucket(name))

    def _bucket(self, name: str) -> kv.Bucket:
        try:
            bucket = kv.open_bucket(self._session, name)[0]
        except _errors.PermissionMissing:
            bucket = kv.Bucket(name)  # whoever may only read keys is told enough by them
        _buckets[self._session, name] = bucket
        return bucket
