# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Predict in check mode what a stream would answer to messages."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Optional

from ... import _errors
from ..._api import message_count, messages, reading, streams
from ..._connection import together
from .outgoing import LAST_MSG_ID, LAST_SEQUENCE, LAST_SUBJECT_SEQUENCE, Outgoing, count_of, full, moved, nobody

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..._connection import sessions

    # The info of the stream that takes a subject; None without one, empty if these credentials may not read it
    Owner = Optional[Mapping[str, Any]]

# How many recent messages are searched for one with the same id
_MOST_RECENT = 10_000


def foresee(
    session: sessions.Session, batch: Sequence[tuple[Outgoing, Owner]]
) -> list[messages.Acknowledgement | _errors.StreamsError]:
    """Return the expected acknowledgement or error of each message, if they were published in this order."""
    stream_of: dict[str, _Stream] = {}
    for owner in (owner for _outgoing, owner in batch):
        name = owner["config"]["name"] if owner else ""
        if owner and name not in stream_of:
            mine = [each for each, its in batch if its and its["config"]["name"] == name]
            stream_of[name] = _Stream(session, owner, mine)
    acks: list[messages.Acknowledgement | _errors.StreamsError] = []
    for outgoing, owner in batch:
        try:
            if owner is None:
                raise nobody(outgoing.subject)
            unknown: messages.Acknowledgement = {"stream": outgoing.stream, "seq": 0, "duplicate": False}
            acks.append(stream_of[owner["config"]["name"]].take(outgoing) if owner else unknown)
        except _errors.StreamsError as error:
            acks.append(error)
    return acks


def check_batch(session: sessions.Session, batch: Sequence[Outgoing], owner: Owner) -> None:
    """Raise the error that the server would return for a batch. Each message expects the state before all of them."""
    compared = [each for each in batch if each.expected] or batch[:1]
    if owner is None:
        raise nobody(compared[0].subject)
    if owner:
        stream = _Stream(session, owner, compared)
        for each in compared:
            stream.check(each)


class _Stream:
    """A stream as it would be after each of the messages ``mine``. It reads only as much as their checks need."""

    def __init__(self, session: sessions.Session, owner: Mapping[str, Any], mine: Sequence[Outgoing]) -> None:
        self._config, state, self._clock = owner["config"], owner["state"], streams.clock_of(owner)
        self._name = str(self._config["name"])
        self._last, self._messages = int(state["last_seq"]), int(state["messages"])
        self._ids = self._recent_ids(session) if any(each.msg_id for each in mine) else {}
        self._last_id = ""
        if any(LAST_MSG_ID in each.expected for each in mine) and self._last:
            last = messages.get(session, self._name, sequence=self._last)
            self._last_id = last.headers.get("Nats-Msg-Id", "") if last else ""
        compared = [e.subject for e in mine if LAST_SUBJECT_SEQUENCE in e.expected or e.increment is not None]
        asked = list(dict.fromkeys(compared))
        reads = [partial(messages.get, stream=self._name, subject=subject) for subject in asked]
        last_on = dict(zip(asked, together.raised(together.read_together(session, reads))))
        self._sequences = {subject: last.sequence if last else 0 for subject, last in last_on.items()}
        self._counts = {subject: count_of(last) for subject, last in last_on.items()}
        self._held: dict[str, int] = {}
        if self._limits_subjects:
            asked = list(dict.fromkeys(each.subject for each in mine))
            counting = [partial(message_count.subject_counts, name=self._name, subject=subject) for subject in asked]
            counts = together.raised(together.read_together(session, counting))
            self._held = {subject: each.get(subject, 0) for subject, each in zip(asked, counts)}

    @property
    def _limits_subjects(self) -> bool:
        config = self._config
        per_subject = config.get("discard_new_per_subject") and int(config.get("max_msgs_per_subject") or 0) > 0
        return bool(config.get("discard") == "new" and per_subject)

    def _recent_ids(self, session: sessions.Session) -> dict[str, int]:
        """Return the sequence of the first message with each id that the stream still remembers."""
        window = timedelta(microseconds=int(self._config.get("duplicate_window") or 0) / 1000)
        if not window:
            return {}
        start, ids = self._clock - window, dict[str, int]()
        for message in reading.onward(session, self._name, start=start, limit=_MOST_RECENT):
            ids.setdefault(message.headers.get("Nats-Msg-Id", ""), message.sequence)
        return ids

    def take(self, outgoing: Outgoing) -> messages.Acknowledgement:
        """Return the acknowledgement. Raises the error that the server would return, in its order of checks."""
        if outgoing.msg_id in self._ids:
            return {"stream": self._name, "seq": self._ids[outgoing.msg_id], "duplicate": True}
        self.check(outgoing)
        self._last += 1
        self._messages += 1
        self._held[outgoing.subject] = self._held.get(outgoing.subject, 0) + 1
        self._sequences[outgoing.subject], self._last_id = self._last, outgoing.msg_id
        if outgoing.msg_id and int(self._config.get("duplicate_window") or 0):
            self._ids[outgoing.msg_id] = self._last
        ack: messages.Acknowledgement = {"stream": self._name, "seq": self._last, "duplicate": False}
        if outgoing.increment is not None:
            self._counts[outgoing.subject] += outgoing.increment
            ack["val"] = self._counts[outgoing.subject]
        return ack

    def check(self, outgoing: Outgoing) -> None:
        """Raise the error that the server would return for a message that is not a duplicate."""
        last = {
            LAST_SEQUENCE: self._last,
            LAST_SUBJECT_SEQUENCE: self._sequences.get(outgoing.subject, 0),
            LAST_MSG_ID: self._last_id,
        }
        for option, expected in outgoing.expected.items():
            if last[option] != expected:
                raise moved(outgoing, option, last[option])
        self._check_room(outgoing)

    def _check_room(self, outgoing: Outgoing) -> None:
        if self._config.get("discard") != "new":
            return
        most, most_each = int(self._config.get("max_msgs") or 0), int(self._config.get("max_msgs_per_subject") or 0)
        if 0 < most <= self._messages:
            raise full(outgoing.subject, f"max_msgs {most}")
        if self._limits_subjects and self._held.get(outgoing.subject, 0) >= most_each:
            raise full(outgoing.subject, f"max_msgs_per_subject {most_each}")
