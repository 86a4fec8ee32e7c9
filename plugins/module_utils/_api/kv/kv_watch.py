# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Watch changes of keys by a consumer of the server, as all NATS clients do.

The consumer delivers into an inbox of ours, so that credentials that may read keys can watch them. It lives in the
server's memory, and the server deletes it soon after we disconnect.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ... import _errors
from ..._connection.errors import SUBSCRIBE, missing_permission
from ..._options import quantities
from .. import streams
from . import deliveries, kv

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..._connection import sessions, wire

# Seconds between the heartbeats of the server. After three missing heartbeats, the watch is created again.
_BEAT = 5
_PATIENCE = 3.0 * _BEAT
_RETRY = 0.5
_FORGOTTEN_AFTER = 60
_DIGITS = 20


class Watch:
    """Yields the present value of each key, then each change. With ``updates_only`` it yields only changes.

    A bucket that is deleted and created again starts its revisions again. Then the watch starts again with the present
    values of the new bucket, also with ``updates_only``, and ``lives`` is one more.
    """

    def __init__(
        self, session: sessions.Session, bucket: kv.Bucket, keys: Sequence[str], *, updates_only: bool = False
    ) -> None:
        self._session, self._bucket = session, bucket
        self._subjects = [bucket.subject(key) for key in dict.fromkeys(keys)]
        self._start: dict[str, Any] = {"deliver_policy": "last_per_subject"}
        self._afresh = {"deliver_policy": "all"} if updates_only else self._start
        if updates_only and bucket.config:
            # Not "new" of the server: if the first request has to be repeated, it would begin later
            self._go_on_after(bucket.last_sequence)
        elif updates_only:
            self._start = {"deliver_policy": "new"}
        self._name = self._inbox = ""
        self._heard, self._deliveries = 0.0, deliveries.Deliveries(bucket, "")
        self._created, self.lives = bucket.created, 1
        self._read_at = ""  # when that was read, by the server's clock
        self._open()

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def next(self, timeout: float) -> kv.Entry | None:
        """Return the next change, or None after ``timeout`` seconds. A broken connection is restored in that time.

        Raises StreamsError if that fails, or if the bucket is gone.
        """
        deadline = time.monotonic() + timeout
        while True:
            left = deadline - time.monotonic()
            try:
                if not self._name or time.monotonic() - self._heard > _PATIENCE:
                    self._open()
                message = self._session.receive(max(0.0, min(left, _PATIENCE)))
            except (_errors.Unreachable, _errors.NoAnswer):
                self._name = ""
                if left <= _RETRY:
                    raise
                time.sleep(_RETRY)
                continue
            entry = self._entry(message) if message else None
            if entry or (message is None and left <= 0):
                return entry

    def close(self) -> None:
        """End the watch. If the server can't be reached, it deletes the consumer by itself."""
        with suppress(_errors.StreamsError):
            self._session.unsubscribe_all()
            self._delete_consumer()

    def _delete_consumer(self) -> None:
        if self._name:
            name, self._name = self._name, ""
            deliveries.delete(self._session, "Ending a watch", self._bucket.stream, name)

    def _open(self) -> None:
        with suppress(_errors.StreamsError):
            self._delete_consumer()
        if not self._inbox:
            self._inbox = self._session.new_inbox()
            self._session.subscribe(self._inbox)
            if self._inbox in self._session.refused_subscriptions:
                raise missing_permission(SUBSCRIBE, self._inbox, self._session.settings.jwt)
        while True:
            self._create()
            # Checked after the consumer exists: then it is one of the present stream, or was deleted with the old one.
            # At the first time as well, since the request may have been repeated over another connection.
            if not self._is_another():
                return
            with suppress(_errors.StreamsError):
                self._delete_consumer()
            self._start, self.lives = self._afresh, self.lives + 1

    def _create(self) -> None:
        name, what = deliveries.new_name(), f"Watching bucket {self._bucket.name}"
        own = {
            **self._start,
            "deliver_subject": self._inbox,
            "max_deliver": 1,
            "idle_heartbeat": _BEAT * quantities.NANOSECOND,
        }
        made = deliveries.create(
            self._session, what, self._bucket.stream, name, self._subjects, _FORGOTTEN_AFTER, **own
        )
        self._name, self._heard = name, time.monotonic()
        self._deliveries = deliveries.Deliveries(self._bucket, name)
        if own["deliver_policy"] == "new":
            self._go_on_after(int(made["delivered"]["stream_seq"]))

    def _is_another(self) -> bool:
        """Return True if the bucket was created again, or lost its messages, since the last check.

        Credentials that may only read keys can't check that. They may get the present values of a new bucket again.
        """
        try:
            info = streams.info(self._session, self._bucket.stream)
        except _errors.PermissionMissing:
            return self._start != self._afresh and self._afresh["deliver_policy"] != "all"
        if info is None:
            return False
        created, read_at = self._created, self._read_at
        self._created, self._read_at = info["created"], info.get("ts") or ""
        again = created not in ("", self._created)
        if again and read_at and quantities.parse_timestamp(self._created) <= quantities.parse_timestamp(read_at):
            again = False  # after a restore, servers of a cluster report different times: another one leads now
        return again or int(info["state"]["last_seq"]) + 1 < int(self._start.get("opt_start_seq", 0))

    def _entry(self, message: wire.Message) -> kv.Entry | None:
        """Return the change in a message, or None if it has none, or comes from an earlier consumer of ours."""
        if message.status == "100":
            self._heard = time.monotonic()
            last = message.headers.get("Nats-Last-Consumer") or "0"
            if last.isdecimal() and int(last[:_DIGITS]) > self._deliveries.number:
                self._open()  # a message was lost
            return None
        entry = self._deliveries.entry(message)
        if entry:
            self._heard = time.monotonic()
            self._go_on_after(entry.revision)
        return entry

    def _go_on_after(self, sequence: int) -> None:
        """Store where a new consumer has to begin."""
        self._start = {"deliver_policy": "by_start_sequence", "opt_start_seq": sequence + 1}
