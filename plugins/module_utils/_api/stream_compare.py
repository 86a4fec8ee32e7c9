# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make one stream a complete copy of another, and check that it is one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from .. import _errors
from .._connection import sessions, wire
from . import jetstream, message_count, messages, streams

if TYPE_CHECKING:
    from . import answers


_PAUSE, _SETTLED, _PATIENCE = 0.02, 0.5, 5.0
# More subjects than this are counted, and not compared one by one
_MOST_SUBJECTS = 200_000
_IMPOSSIBLE = {"Nats-Expected-Last-Sequence": str((1 << 53) - 1)}


class Incomplete(_errors.StreamsError):
    """A copy does not become complete."""

    def __init__(self, message: str, **failure: Any) -> None:
        super().__init__(message, **{"code": "copy_incomplete", **failure})


def follow(session: sessions.Session, name: str, origin: str, patience: float) -> None:
    """Wait until a mirror is close behind its origin. Raises Incomplete after ``patience`` seconds without progress.

    The lag that servers report is not used, since it is 0 also before a mirror has found its origin.
    """
    while True:
        began, goal = time.monotonic(), _last(session, origin)[0]
        reached, moved = 0, began
        while reached < goal:
            now = _state(session, name)["last_seq"]
            if now > reached:
                reached, moved = now, time.monotonic()
            elif time.monotonic() - moved > min(patience, _PATIENCE) and refusal(session, name):
                raise Incomplete(
                    f"{name} gets no messages of {origin}: the server refuses that ({refusal(session, name)}). Change "
                    "what it objects to, and run the task again to go on."
                )
            elif time.monotonic() - moved > patience:
                raise Incomplete(
                    f"{name} has the messages of {origin} up to {reached} of {goal}, and got no more for "
                    f"{patience:g} s: check the server's log, and run the task again to go on."
                )
            else:
                time.sleep(_PAUSE)
        if time.monotonic() - began < _SETTLED:
            return


def last_sequence(session: sessions.Session, name: str, subject: str) -> int:
    """Return the last sequence of a stream that nobody publishes to, after all messages on their way have arrived.

    It publishes a message that the stream refuses, with an expected sequence that does not exist. The stream handles
    messages in their order, so the refusal comes after all earlier messages.
    """
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            messages.publish(session, f"Waiting for stream {name}", subject, b"", _IMPOSSIBLE)
        except _errors.ApiError as error:
            if error.err_code not in jetstream.WRONG_LAST_SEQUENCE:
                raise
            number = error.description.rpartition(" ")[2]
            reached = _state(session, name)["last_seq"]
            if not number.isdigit() or reached >= int(number) or time.monotonic() > deadline:
                return reached
        except _errors.NoAnswer:  # other servers of a cluster do not know yet that the stream listens there
            if time.monotonic() > deadline:
                raise
        time.sleep(_PAUSE)


def complete(session: sessions.Session, name: str, origin: str, patience: float) -> None:
    """Wait until a copy has exactly the messages of an idle origin. Raises Incomplete."""
    deadline = time.monotonic() + patience
    while not _same(session, name, origin):
        if time.monotonic() > deadline:
            copied, total = _state(session, name)["messages"], _state(session, origin)["messages"]
            refused = refusal(session, name)
            raise Incomplete(
                f"{name} has {copied} of the {total} messages of {origin}, and they were not the same after "
                f"{patience:g} s{f' (the server refuses: {refused})' if refused else ''}: nothing was deleted. Check "
                "the server's log, and run the task again to go on."
            )
        if _state(session, name)["messages"] > _state(session, origin)["messages"]:
            forget_deleted(session, name, origin)
        time.sleep(_PAUSE)


def move_on(session: sessions.Session, name: str, subject: str, last: int) -> None:
    """Raise a stream's last sequence to ``last``, with messages on a subject of its own that are deleted again."""
    state = _state(session, name)
    missing = last - state["last_seq"]
    if missing > 0 and not state["messages"]:
        streams.purge(session, name, {"seq": last + 1}, again=True)
    elif missing > 0:
        for answer in messages.deliver(session, [wire.Request(subject)] * missing, taken=True):
            messages.acknowledged(f"Moving stream {name} on", None, answer)
    streams.purge(session, name, {"filter": subject}, again=True)


def refusal(session: sessions.Session, name: str) -> str:
    """Return why the server lets a mirror copy nothing, or an empty text."""
    info = streams.info(session, name)
    mirror = info.get("mirror") if info else None
    return streams.refusal_to_copy(mirror) if mirror else ""


def _same(session: sessions.Session, name: str, origin: str) -> bool:
    copied, original = _state(session, name), _state(session, origin)
    if any(copied.get(key, 0) != original.get(key, 0) for key in ("messages", "num_subjects")):
        return False
    if not original["messages"]:
        return True
    if copied["first_seq"] != original["first_seq"] or _last(session, name) != _last(session, origin):
        return False
    if original.get("num_subjects", 0) > _MOST_SUBJECTS:
        return True
    return message_count.subject_counts(session, name) == message_count.subject_counts(session, origin)


def forget_deleted(session: sessions.Session, name: str, origin: str) -> None:
    """Delete the messages from a copy that were deleted from its origin after they were copied."""
    copied, original = _state(session, name), _state(session, origin)
    if copied["messages"] and copied["first_seq"] < original["first_seq"]:
        streams.purge(session, name, {"seq": original["first_seq"]}, again=True)
    gone = set(message_count.deleted_sequences(session, origin)) - set(message_count.deleted_sequences(session, name))
    later = sorted(sequence for sequence in gone if sequence <= copied["last_seq"])
    jetstream.call_many(session, [messages.deleting(name, sequence, False) for sequence in later])


def _last(session: sessions.Session, name: str) -> tuple[int, str]:
    """Return the sequence and the time of the last existing message, 0 and an empty text if there is none."""
    message = messages.get(session, name, subject=">")
    state = _state(session, name)
    if message is None and state["messages"]:
        # The server finds none where the very last one was deleted
        deleted, sequence = set(message_count.deleted_sequences(session, name)), int(state["last_seq"])
        while sequence in deleted:
            sequence -= 1
        message = messages.get(session, name, sequence=sequence)
    return (message.sequence, message.time) if message else (0, "")


def _state(session: sessions.Session, name: str) -> answers.StreamState:
    info = streams.info(session, name)
    if info is None:
        raise gone(name)
    return info["state"]


def gone(name: str) -> _errors.StreamsError:
    """Return the error of a stream that somebody deleted while it was copied."""
    return _errors.StreamsError(f"Stream {name} is gone: somebody else deleted it while it was copied.", code="gone")
