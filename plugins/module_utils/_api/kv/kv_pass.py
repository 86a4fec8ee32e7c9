# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the newest revisions of many keys in one pass, by a consumer of the server.

Its policy ``last_per_subject`` (ADR-8) has the server go through the keys by itself: nothing lists or names them. It is
pulled from (ADR-13), and so never sends more than we can take. It lives in the server's memory, and is deleted at the
end.

Why what it delivers is of one moment (nats-server ``getNextMsg`` and ``processWaiting`` in server/consumer.go): a new
consumer goes through the last message of each subject, then through what was written meanwhile, in the order of the
stream. A pull without waiting ends at the end of the stream, or at a message that was replaced before its turn came.
Then fewer messages were delivered than there were keys at the beginning. Where as many were delivered, the newest of
each key is what the bucket had at the end of the last pull. A key that is removed without a mark in that time may be
among them.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING

from ... import _errors
from ..._connection import wire
from ..._options import connection
from .. import streams
from . import deliveries, kv

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from ..._connection import sessions

# A pull: up to a quarter of what a server keeps for a client (max_pending), and what may be written meanwhile
_BYTES, _MORE = 16 << 20, 1000
# Bytes beside each value, such as the subject for its acknowledgement; and no limit
_BESIDE, _UNLIMITED = 200, 1 << 40
# How long a server that works may say nothing during a pull, and when it deletes a consumer that we left, in seconds
_SILENCE, _FORGOTTEN_AFTER = 5.0, 30
# How a pull ends: at the end of the stream (408 before nats-server 2.11), or when it is full
_END = ("404", "408")
_FULL = ("Batch Completed", "Message Size Exceeds MaxBytes")


class NotRead(Exception):
    """The pass was not possible, or it can't be shown that its keys are of one moment. Read them in another way."""


def newest(
    session: sessions.Session, bucket: kv.Bucket, keys: str, *, headers_only: bool = False
) -> Generator[kv.Entry, None, None]:
    """Yield the newest revision of all keys that a wildcard selects, including markers of deleted keys.

    ``keys`` ends in ``>``. A later revision of a key replaces the one that was yielded before. All are of one moment
    once the iterator has ended. With ``headers_only`` values are empty. Raises NotRead, also where permissions or
    limits do not allow a consumer.
    """
    # Messages of consumers may not arrive where answers do, since an api_prefix may lead into another account
    if session.settings.api != connection.DEFAULT_API:
        raise NotRead
    reading = _Pass(session, bucket, keys, headers_only)
    try:
        reading.open()
        yield from reading.entries()
    except _errors.StreamsError as error:
        if isinstance(error, _errors.Unreachable):
            reading.left = True
            if not reading.opened:
                raise  # the request has waited for servers that restart, and a second one would wait again
        raise NotRead from error
    finally:
        reading.close()


class _Pass:
    def __init__(self, session: sessions.Session, bucket: kv.Bucket, keys: str, headers_only: bool) -> None:
        self._session, self._bucket = session, bucket
        self._filter, self._headers_only = bucket.subject(keys), headers_only
        self._inbox = session.new_inbox()
        self._name, self._what = deliveries.new_name(), f"Reading bucket {bucket.name}"
        self._deliveries = deliveries.Deliveries(bucket, self._name)
        self._keys = 0
        self.opened = self.left = False
        """Whether the server created the consumer, and whether it shall delete it by itself."""

    def open(self) -> None:
        """Create the consumer."""
        self._session.subscribe(self._inbox, wait=False)
        own = {"deliver_policy": "last_per_subject", "headers_only": self._headers_only}
        try:
            created = deliveries.create(
                self._session, self._what, self._bucket.stream, self._name, [self._filter], _FORGOTTEN_AFTER, **own
            )
        except (_errors.PermissionMissing, _errors.ApiError):
            self.left = True
            raise
        self.opened = True
        if self._inbox in self._session.refused_subscriptions:
            raise NotRead
        self._keys = created["num_pending"]
        self._check_current((created.get("cluster") or {}).get("leader", ""))

    def close(self) -> None:
        """Delete the consumer. If the server can't be reached, it deletes it by itself."""
        with suppress(_errors.StreamsError):
            self._session.unsubscribe(self._inbox)
            if not self.left:
                deliveries.delete(self._session, self._what, self._bucket.stream, self._name)

    def entries(self) -> Iterator[kv.Entry]:
        """Yield the revisions as ``newest`` does."""
        status = ""
        while self._keys and status not in _END:
            number = self._deliveries.number
            status = yield from self._pulled()
            if self._deliveries.number == number:
                raise NotRead  # nothing shows that this is the end, or the next message is larger than a pull
        if self._deliveries.number < self._keys:
            raise NotRead

    def _pulled(self) -> Generator[kv.Entry, None, str]:
        """Pull once. Yield the revisions that come, and return the status at the end."""
        batch, max_bytes = self._limits()
        body = {"batch": batch, "max_bytes": max_bytes, "no_wait": True}
        subject = self._session.api(f"CONSUMER.MSG.NEXT.{self._bucket.stream}.{self._name}")
        self._session.publish(subject, json.dumps(body).encode(), reply=self._inbox)
        delivered, receive, begin = self._deliveries, self._session.receive, self._filter[:-1]
        number, silence = delivered.number, min(_SILENCE, self._session.settings.timeout)
        while message := receive(silence):
            entry = delivered.entry(message)
            if entry:
                number += 1
                if delivered.number != number or not message.subject.startswith(begin):
                    raise NotRead  # something got lost on its way
                yield entry
            elif message.subject == self._inbox:
                if message.status not in _END and message.headers.get(wire.DESCRIPTION) not in _FULL:
                    raise NotRead
                return message.status
        self.left = True  # the server does not answer
        raise NotRead

    def _limits(self) -> tuple[int, int]:
        """Return how many messages and bytes the next pull may have.

        With history, servers lose the message that exceeds the bytes (nats-server 2.15, ``loopAndGatherMsgs`` in
        server/consumer.go). There the number of messages keeps the bytes below, unless few values are far larger than
        the others.
        """
        pending = self._deliveries.pending if self._deliveries.number else self._keys
        if self._bucket.config.get("max_msgs_per_subject") == 1:
            return pending + _MORE, _BYTES
        most = max(1, _BYTES // 2 // ((0 if self._headers_only else self._bucket.mean) + _BESIDE))
        return most if pending > most else pending + _MORE, _UNLIMITED

    def _check_current(self, server: str) -> None:
        """Raise NotRead if the server with the consumer has an old state of the bucket.

        It may be a replica that is catching up, which answers no direct reads either. A server outside a cluster has no
        name here. The answer is newer than the consumer, and older than the end of the pass.
        """
        if not server or self._bucket.config.get("num_replicas") == 1:
            return
        cluster = streams.cluster_of(streams.info(self._session, self._bucket.stream))
        replicas = {peer.get("name"): peer.get("current") for peer in cluster.get("replicas") or []}
        if cluster.get("leader") != server and not replicas.get(server):
            raise NotRead
