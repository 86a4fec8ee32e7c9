# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Watch changes of keys by a consumer of the server, as all NATS clients do.

The consumer delivers into an inbox of ours, so that credentials that may read keys can watch them. It lives in the
server's memory, and the server deletes it soon after we disconnect.
"""

from __future__ import annotations

import re
import time
import uuid
from contextlib import suppress
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from ... import _errors
from ..._connection import sessions, wire
from ..._connection.errors import SUBSCRIBE, missing_permission
from ..._options import quantities
from .. import jetstream, messages, streams
from . import kv

if TYPE_CHECKING:
    from collections.abc import Sequence


# The server gives a sign of life when nothing comes. After three that did not come, the watch is made anew.
_BEAT = 5
_PATIENCE = 3.0 * _BEAT
_RETRY = 0.5
_FORGOTTEN_AFTER = 60


_DIGITS = 20
# The sequences and the nanoseconds, up to the year 2262, in the subject to acknowledge to
_NUMBERS = re.compile(r"\d{1,20}\.\d{1,20}\.[0-9]{1,19}")


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
            # The server's "new" would mean later than that where the first request has to be repeated
            self._go_on_after(bucket.last_sequence)
        elif updates_only:
            self._start = {"deliver_policy": "new"}
        self._name = self._inbox = ""
        self._heard, self._delivered = 0.0, 0
        self._created, self.lives = bucket.created, 1
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
            self._forget()

    def _forget(self) -> None:
        if self._name:
            name, self._name = self._name, ""
            jetstream.call(self._session, "Ending a watch", f"CONSUMER.DELETE.{self._bucket.stream}.{name}")

    def _open(self) -> None:
        with suppress(_errors.StreamsError):
            self._forget()
        if not self._inbox:
            self._inbox = self._session.new_inbox()
            self._session.subscribe(self._inbox)
            if self._inbox in self._session.refused_subscriptions:
                raise missing_permission(SUBSCRIBE, self._inbox, self._session.settings.jwt)
        doubtful, began = bool(self._heard or "opt_start_seq" in self._start), time.monotonic()
        while True:
            self._create()
            # Asked for when the consumer is there: then that is one of this stream, or went with it
            doubtful = doubtful or time.monotonic() - began > _RETRY
            if not (doubtful and self._is_another()):
                return
            with suppress(_errors.StreamsError):
                self._forget()
            self._start, self.lives = self._afresh, self.lives + 1

    def _create(self) -> None:
        name = f"{wire.WATCH_PREFIX}{uuid.uuid4().hex}"
        subject = f"CONSUMER.CREATE.{self._bucket.stream}.{name}"
        config = {
            **self._start,
            "name": name,
            "deliver_subject": self._inbox,
            "ack_policy": "none",
            "max_deliver": 1,
            "idle_heartbeat": _BEAT * quantities.NANOSECOND,
            "inactive_threshold": _FORGOTTEN_AFTER * quantities.NANOSECOND,
            "mem_storage": True,
            "num_replicas": 1,
        }
        if len(self._subjects) == 1:
            config["filter_subject"] = self._subjects[0]
            subject = f"{subject}.{self._subjects[0]}"
        else:
            config["filter_subjects"] = self._subjects
        body = {"stream_name": self._bucket.stream, "config": config, "action": "create"}
        made = jetstream.call(self._session, f"Watching bucket {self._bucket.name}", subject, body)
        self._name, self._heard, self._delivered = name, time.monotonic(), 0
        if config["deliver_policy"] == "new":
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
        known, self._created = self._created, info["created"]
        begin = int(self._start.get("opt_start_seq", 0))
        return known not in ("", self._created) or int(info["state"]["last_seq"]) + 1 < begin

    def _entry(self, message: wire.Message) -> kv.Entry | None:
        """Return the change in a message, or None if it has none, or comes from an earlier consumer of ours."""
        if message.status == "100":
            self._heard = time.monotonic()
            last = message.headers.get("Nats-Last-Consumer") or "0"
            if last.isdecimal() and int(last[:_DIGITS]) > self._delivered:
                self._open()  # something got lost on its way
            return None
        words = message.reply.split(".")
        # $JS.ACK.[domain.account.]stream.consumer.delivered.sequence.consumer sequence.time.pending
        place = 2 if len(words) == 9 else 4
        if len(words) < 9 or words[place + 1] != self._name or not _NUMBERS.fullmatch(".".join(words[place + 3 :][:3])):
            return None
        sequence, self._delivered, moment = (int(word) for word in words[place + 3 : place + 6])
        self._heard = time.monotonic()
        self._go_on_after(sequence)
        return kv.entry_of(
            self._bucket, messages.Stored(message.subject, sequence, _rfc3339(moment), message.data, message.headers)
        )

    def _go_on_after(self, sequence: int) -> None:
        """Store where a new consumer has to begin."""
        self._start = {"deliver_policy": "by_start_sequence", "opt_start_seq": sequence + 1}


def _rfc3339(nanoseconds: int) -> str:
    whole, rest = divmod(nanoseconds, quantities.NANOSECOND)
    moment = datetime.fromtimestamp(whole, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{moment}.{rest:09}".rstrip("0").rstrip(".") + "Z"
