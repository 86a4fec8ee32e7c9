# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Predict in check mode what a stream would answer to messages."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Optional

from ... import _errors
from ..._api import messages, reading, streams
from ..._connection import together
from .features import count_of
from .outgoing import LAST_MSG_ID, LAST_SEQUENCE, LAST_SUBJECT_SEQUENCE, Outgoing, full, moved, nobody

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..._connection import sessions

    # The info of the stream that takes a subject; None where there is none, empty where these credentials may not look
    Owner = Optional[Mapping[str, Any]]

# How many recent messages are searched for one with the same id
_MOST_RECENT = 10_000


def foresee(
    session: sessions.Session, batch: Sequence[tuple[Outgoing, Owner]]
) -> list[dict[str, Any] | _errors.StreamsError]:
    """Return the expected acknowledgement or error of each message, if they were published in this order."""
    stream_of: dict[str, _Stream] = {}
    for owner in (owner for _outgoing, owner in batch):
        name = owner["config"]["name"] if owner else ""
        if owner and name not in stream_of:
            mine = [each for each, its in batch if its and its["config"]["name"] == name]
            stream_of[name] = _Stream(session, owner, mine)
    found: list[dict[str, Any] | _errors.StreamsError] = []
    for outgoing, owner in batch:
        try:
            if owner is None:
                raise nobody(outgoing.subject)
            ack = {"stream": outgoing.stream, "seq": 0}
            found.append({"duplicate": False, **(stream_of[owner["config"]["name"]].take(outgoing) if owner else ack)})
        except _errors.StreamsError as error:
            found.append(error)
    return found


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
    """A stream as it would be after each of the messages ``mine``. Only what they need is read."""

    def __init__(self, session: sessions.Session, owner: Mapping[str, Any], mine: Sequence[Outgoing]) -> None:
        self._config, state = owner["config"], owner["state"]
        self._name = str(self._config["name"])
        self._last, self._messages = int(state["last_seq"]), int(state["messages"])
        self._ids = self._recent_ids(session) if any(each.msg_id for each in mine) else {}
        self._last_id = ""
        if any(LAST_MSG_ID in each.expected for each in mine) and self._last:
            last = messages.get(session, self._name, sequence=self._last)
            self._last_id = last.headers.get("Nats-Msg-Id", "") if last else ""
        compared = [e.subject for e in mine if LAST_SUBJECT_SEQUENCE in e.expected or e.increment is not None]
        asked = list(dict.fromkeys(compared))
        reads = [_last_on(self._name, subject) for subject in asked]
        last_on = dict(zip(asked, _raised(together.read_together(session, reads))))
        self._sequences = {subject: found.sequence if found else 0 for subject, found in last_on.items()}
        self._counts = {subject: count_of(found) for subject, found in last_on.items()}
        self._held: dict[str, int] = {}
        if self._limits_subjects:
            asked = list(dict.fromkeys(each.subject for each in mine))
            counts = _raised(together.read_together(session, [_count_on(self._name, subject) for subject in asked]))
            self._held = dict(zip(asked, counts))

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
        start, ids = datetime.now(timezone.utc) - window, dict[str, int]()
        for message in reading.onward(session, self._name, start=start, limit=_MOST_RECENT):
            ids.setdefault(message.headers.get("Nats-Msg-Id", ""), message.sequence)
        return ids

    def take(self, outgoing: Outgoing) -> dict[str, Any]:
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
        ack = {"stream": self._name, "seq": self._last}
        if outgoing.increment is not None:
            self._counts[outgoing.subject] += outgoing.increment
            ack["val"] = self._counts[outgoing.subject]
        return ack

    def check(self, outgoing: Outgoing) -> None:
        """Raise the error that the server would return for a message that is no duplicate."""
        last = {
            LAST_SEQUENCE: self._last,
            LAST_SUBJECT_SEQUENCE: self._sequences.get(outgoing.subject, 0),
            LAST_MSG_ID: self._last_id,
        }
        for option, wanted in outgoing.expected.items():
            if last[option] != wanted:
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


def _last_on(stream: str, subject: str) -> Any:
    return lambda session: messages.get(session, stream, subject=subject)


def _count_on(stream: str, subject: str) -> Any:
    return lambda session: streams.subject_counts(session, stream, subject).get(subject, 0)


def _raised(found: list[Any]) -> list[Any]:
    """Return the results of reads. Raises the first error."""
    for each in found:
        if isinstance(each, _errors.StreamsError):
            raise each
    return found
