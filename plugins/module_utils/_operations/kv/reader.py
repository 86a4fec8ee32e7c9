# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read keys for programs that ask several times: buckets are read once, and answers cached on demand."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Callable, Generic, TypeVar, cast

from ... import _errors
from ..._api import jetstream
from ..._api.kv import kv
from ..._connection import sessions, together
from ..._options import connection

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping, Sequence

    from ..._connection.settings import Settings
    from .past import Moment

T = TypeVar("T")
Read = Callable[[sessions.Session, kv.Bucket], T]


class Undecodable(ValueError):
    """The value of ``key`` can't be decoded. The text is the reason, without a part of the value."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(reason)
        self.key = key


class Decoded(Generic[T]):
    """Collects the decoded values of keys by the rest of their names after a prefix. Deleted keys are left out.

    ``decode`` returns the value of stored bytes. Its ValueError counts only if no later revision of the key is added.
    """

    def __init__(self, prefix: str, decode: Callable[[bytes], T]) -> None:
        self._prefix, self._decode = prefix, decode
        self._values: dict[str, T] = {}
        self._problems: dict[str, str] = {}

    def add(self, entries: Iterable[kv.Entry]) -> None:
        """Add revisions, also markers of deleted keys. A later one of a key replaces the one before it."""
        values, problems, decode, start = self._values, self._problems, self._decode, len(self._prefix)
        for entry in entries:
            name = entry.key[start:]
            if problems:
                problems.pop(name, None)
            if entry.operation != kv.PUT:
                values.pop(name, None)
                continue
            try:
                values[name] = decode(entry.value)
            except ValueError as error:
                values.pop(name, None)
                problems[name] = str(error)

    def clear(self) -> None:
        """Remove all keys."""
        self._values.clear()
        self._problems.clear()

    def result(self) -> dict[str, T]:
        """Return the values in the order of their keys, which are collected no longer.

        Raises Undecodable for the first key whose value could not be decoded.
        """
        if self._problems:
            name = min(self._problems)
            raise Undecodable(f"{self._prefix}{name}", self._problems[name])
        names = sorted(self._values)
        values = [self._values[name] for name in names]
        self._values = {}  # before there is another one of its size
        return dict(zip(names, values))


def decoded(entries: Iterable[kv.Entry], prefix: str, decode: Callable[[bytes], T]) -> dict[str, T]:
    """Return the decoded values of entries as ``Decoded`` collects them. Raises Undecodable."""
    values = Decoded(prefix, decode)
    values.add(entries)
    return values.result()


_buckets: dict[tuple[Settings, str], kv.Bucket] = {}
# Answers, and when they were read. A fork begins with what its parent knew.
_kept: dict[Hashable, tuple[float, Any]] = {}


class KvReader:
    """Returns entries, which may be markers of deleted keys. Answers are cached for ``max_age`` seconds.

    Raises StreamsError if the bucket does not exist.
    """

    def __init__(self, session: sessions.Session, max_age: float = 0) -> None:
        self._session = session
        self._max_age = max_age

    def last(self, selection: Mapping[str, Sequence[str]]) -> dict[str, dict[str, kv.Entry]]:
        """Return for each bucket the newest revision of each of its keys that has one, all in one exchange."""

        def read(bucket: str) -> Callable[[sessions.Session], dict[str, kv.Entry]]:
            return lambda session: KvReader(session, self._max_age)._last(bucket, selection[bucket])

        return dict(zip(selection, together.raised(together.read_together(self._session, map(read, selection)))))

    def _last(self, bucket: str, keys: Sequence[str]) -> dict[str, kv.Entry]:
        return self._once(
            "last", bucket, keys, lambda session, where: kv.last_many(session, where, keys), self._read_early
        )

    def last_within(self, bucket: str, keys: Sequence[str], deadline: float) -> dict[str, kv.Entry]:
        """Return the same as soon as each key has a value, at most until ``deadline`` (``time.monotonic()``)."""
        entries = self._read(bucket, lambda session, where: kv.last_many(session, where, keys))
        if all(key in entries and entries[key].alive for key in keys):
            return entries
        from ..._api.kv.kv_watch import Watch

        lives = 1  # of a watch that begins: it has more if the bucket was created again meanwhile
        with self._read(bucket, lambda session, where: Watch(session, where, keys)) as watch:
            while not all(key in entries and entries[key].alive for key in keys):
                entry = watch.next(max(0.0, deadline - time.monotonic()))
                if watch.lives > lives:
                    entries, lives = {}, watch.lives  # the bucket was created again
                if entry is None:
                    break
                # A replica may have answered that was ahead
                if entry.key not in entries or entries[entry.key].revision < entry.revision:
                    entries[entry.key] = entry
        return entries

    def last_as_of(self, bucket: str, keys: Sequence[str], moment: Moment) -> dict[str, kv.Entry]:
        """Return the newest revision of each key at a revision of the bucket, or a time."""
        from . import past

        question = (moment, *keys)
        return self._once(
            "as of", bucket, question, lambda session, where: past.keys_as_of(session, where, keys, moment)
        )

    def below_as_of(self, bucket: str, prefix: str, moment: Moment) -> dict[str, kv.Entry]:
        """Return the newest revisions of all keys with the prefix at a revision of the bucket, or a time."""
        from . import past

        question = (moment, prefix)
        return self._once(
            "below as of", bucket, question, lambda session, where: past.below_as_of(session, where, prefix, moment)
        )

    def at_revision(self, bucket: str, key: str, revision: int) -> kv.Entry | None:
        """Return the revision of a key, or None if it is gone or belongs to another key."""
        question = (key, revision)
        return self._once(
            "revision", bucket, question, lambda session, where: kv.at_revision(session, where, *question)
        )

    def history(self, bucket: str, key: str) -> list[kv.Entry]:
        """Return all kept revisions of a key, the oldest first."""
        return self._once("history", bucket, [key], lambda session, where: kv.history(session, where, key))

    def below(self, bucket: str, prefix: str) -> dict[str, kv.Entry]:
        """Return the newest revisions of all keys with the prefix as of one moment."""
        from ..._api.kv import kv_snapshot  # most lookups read a few keys and need none

        return self._once(
            "below", bucket, [prefix], lambda session, where: kv_snapshot.snapshot(session, where, prefix)
        )

    def values_below(self, bucket: str, prefix: str, decode: Callable[[bytes], T]) -> dict[str, T]:
        """Return the decoded values of all keys with the prefix as of one moment, by the rest of their names.

        They are decoded while they are read, unless answers are cached: users may change the values that they get.
        ``decode`` has to be fast, since servers disconnect clients that read slowly. Raises Undecodable.
        """
        from ..._api.kv import kv_snapshot

        def read(session: sessions.Session, where: kv.Bucket) -> dict[str, T]:
            values = Decoded(prefix, decode)
            kv_snapshot.collect(session, where, prefix, values)
            return values.result()

        if self._max_age:
            return decoded(self.below(bucket, prefix).values(), prefix, decode)
        return self._read(bucket, read)

    def _once(
        self,
        kind: str,
        bucket: str,
        what: Sequence[object],
        read: Read[T],
        by: Callable[[str, Read[T]], T] | None = None,
    ) -> T:
        by = by or self._read
        if not self._max_age:
            return by(bucket, read)
        question = (self._session.settings, kind, bucket, *what)
        now = time.monotonic()
        when, answer = _kept.get(question, (0.0, None))
        if not when or now - when >= self._max_age:
            answer = by(bucket, read)
            _kept[question] = (now, answer)
        return answer

    def _read_early(self, name: str, read: Read[T]) -> T:
        """Read as most buckets allow it, while the bucket is opened. Any other bucket is read again as it needs it."""
        if (self._session.settings, name) not in _buckets:
            usual = kv.Bucket(name)
            reads: list[Callable[[sessions.Session], Any]] = [
                lambda session: self._bucket(session, name),
                lambda session: read(session, usual),
            ]
            bucket, answer = together.read_together(self._session, reads)
            if (
                isinstance(bucket, (_errors.Unreachable, _errors.NoAnswer))
                and bucket.failure["code"] != "no_responders"
            ):
                raise bucket
            is_usual = isinstance(bucket, kv.Bucket) and bucket.direct and bucket.subject("") == usual.subject("")
            if is_usual and not isinstance(answer, _errors.StreamsError):
                return cast("T", answer)
        return self._read(name, read)

    def _read(self, name: str, read: Read[T]) -> T:
        bucket = _buckets.get((self._session.settings, name))
        try:
            return read(self._session, bucket or self._bucket(self._session, name))
        except (_errors.ApiError, _errors.NoAnswer) as error:
            gone = getattr(error, "err_code", 0) == jetstream.STREAM_NOT_FOUND
            silent = error.failure["code"] == "no_responders"
            if not (gone or silent):
                raise
            if bucket is None or not bucket.config:
                # Behind a domain that is cut off nobody answers either
                if silent and self._session.settings.api != connection.DEFAULT_API:
                    raise
                raise kv.no_bucket(name) from error
        # The bucket was deleted, or no longer allows direct reads
        return read(self._session, self._bucket(self._session, name))

    @staticmethod
    def _bucket(session: sessions.Session, name: str) -> kv.Bucket:
        try:
            bucket = kv.open_bucket(session, name)[0]
        except _errors.PermissionMissing:
            bucket = kv.Bucket(name)  # permissions may allow to read keys alone
        _buckets[session.settings, name] = bucket
        return bucket
