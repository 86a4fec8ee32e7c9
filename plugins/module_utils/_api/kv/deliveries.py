# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Consumers of ours, and the revisions of keys that they deliver.

A consumer lives in the server's memory, and only brings us what is stored, so that check mode may have one too. The
server deletes it some time after we left.
"""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING, Any

from ..._connection import wire
from ..._options import quantities
from .. import answers, jetstream
from . import kv

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..._connection import sessions

# Deliveries of the message, sequence in the stream, sequence in the consumer, nanoseconds since 1970, pending messages
_NUMBERS = re.compile(r"\d{1,20}\.(\d{1,20})\.(\d{1,20})\.(\d{10,19})\.(\d{1,20})(?:\.|$)", re.ASCII)


def new_name() -> str:
    """Return a unique name for a consumer. Its prefix makes the session count requests for it as reads."""
    return f"{wire.WATCH_PREFIX}{uuid.uuid4().hex}"


def create(
    session: sessions.Session,
    what: str,
    stream: str,
    name: str,
    subjects: Sequence[str],
    forgotten_after: int,
    **own: Any,
) -> answers.ConsumerInfo:
    """Create a consumer of the messages on some subjects, with a configuration of its ``own``. Return its info.

    The server deletes it ``forgotten_after`` seconds after we left. ``what`` names the action for errors.
    """
    config = {
        **own,
        "name": name,
        "ack_policy": "none",
        "inactive_threshold": forgotten_after * quantities.NANOSECOND,
        "mem_storage": True,
        "num_replicas": 1,
    }
    call = f"CONSUMER.CREATE.{stream}.{name}"
    if len(subjects) == 1:
        config["filter_subject"], call = subjects[0], f"{call}.{subjects[0]}"
    else:
        config["filter_subjects"] = subjects
    body = {"stream_name": stream, "config": config, "action": "create"}
    return jetstream.call(session, what, call, answers.ConsumerInfo, body)


def delete(session: sessions.Session, what: str, stream: str, name: str) -> None:
    """Delete a consumer of ours."""
    jetstream.call(session, what, f"CONSUMER.DELETE.{stream}.{name}", answers.Done)


class Deliveries:
    """Reads the messages of one consumer.

    ``number`` is how many it has delivered, as of the last message that was read.
    """

    def __init__(self, bucket: kv.Bucket, consumer: str) -> None:
        self._bucket = bucket
        self._name, self._begin = f".{consumer}.", ""
        self.number, self._pending = 0, "0"

    @property
    def pending(self) -> int:
        """How many messages the consumer has yet to deliver, as of the last message that was read."""
        return int(self._pending)

    def entry(self, message: wire.Message) -> kv.Entry | None:
        """Return the revision in a message, or None if it is a status, or another consumer's.

        The subject for an acknowledgement has the numbers (ADR-15), the time in nanoseconds:
        ``$JS.ACK.[domain.account.]stream.consumer.deliveries.sequence.number.time.pending[.random]``.
        """
        reply, begin = message.reply, self._begin
        if not begin:
            before, name, _numbers = reply.partition(self._name)
            begin = self._begin = name and f"{before}{name}"
        numbers = _NUMBERS.match(reply, len(begin)) if begin and reply.startswith(begin) else None
        if not numbers:
            return None
        sequence, number, time, pending = numbers.groups()
        self.number, self._pending = int(number), pending
        return kv.entry_of(self._bucket, message.subject, int(sequence), time, message.data, message.headers)
