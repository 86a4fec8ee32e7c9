# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Publish messages with acknowledgement, read and delete them."""

from __future__ import annotations

import base64
import os
import re
import time
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import _errors
from .._connection import sessions, wire
from .._options import quantities, shapes
from . import answers, jetstream, mismatch

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


# When a stream was made, other servers of a cluster learn a moment later that it listens. nats.go waits as long.
_HEARD_AFTER = 0.25
_TRIES = 3
MESSAGE_ID = "Nats-Msg-Id"
# What may wait for its acknowledgement: as many messages as with nats.go (defaultAsyncPubAckInflight), and fewer bytes
# than a server queues for a stream, from all clients together, before it drops what comes (streamDefaultMaxQueueBytes).
_MESSAGES, _BYTES = 4000, 16 << 20


class Stored(NamedTuple):
    """A message in a stream. ``time`` is RFC 3339 UTC as the server sends it."""

    subject: str
    sequence: int
    time: str
    data: bytes
    headers: Mapping[str, str] = MappingProxyType({})


def new_id() -> str:
    """Return a unique message id. It is short, since it is stored with the message."""
    return os.urandom(11).hex()


def dedupes(session: sessions.Session, config: Mapping[str, Any]) -> bool:
    """Return True if a stream of this configuration recognizes duplicates for as long as messages are repeated."""
    window = int(config.get("duplicate_window") or 0) / quantities.NANOSECOND
    return window > session.settings.timeout + _REMEMBERED


# How much longer than it is tried, in seconds, so that a clock that is adjusted makes no difference
_REMEMBERED = 5.0


def publish(
    session: sessions.Session,
    what: str,
    subject: str,
    payload: bytes,
    headers: Mapping[str, str] | None = None,
    *,
    again: bool | None = None,
    known: bool = False,
) -> dict[str, Any]:
    """Publish a message and return the stream's acknowledgement (``stream``, ``seq``, ``duplicate``, ``repeated``).

    ``repeated`` is True if the message was sent more than once. ``again`` is as in a Request, ``known`` as in
    ``deliver``.
    """
    [answer] = deliver(session, [wire.Request(subject, payload, headers, again=again)], known=known)
    return acknowledged(what, headers, answer)


def acknowledged(
    what: str, headers: Mapping[str, str] | None, answer: list[wire.Message] | _errors.StreamsError
) -> dict[str, Any]:
    """Return the acknowledgement of a message, with ``repeated`` as in ``publish``. Raises its error."""
    if isinstance(answer, _errors.StreamsError):
        raise jetstream.named(what, answer)
    ack = _acknowledgement(what, headers, answer[0])
    return {**ack, "repeated": answer[0].repeated}


def deliver(
    session: sessions.Session, messages: Sequence[wire.Request], *, known: bool = False
) -> list[list[wire.Message] | _errors.StreamsError]:
    """Publish in a pipeline, and return an answer or an error for each.

    Messages that no stream listened to are sent again, after the others. A stream does not listen during the election
    of a leader, and for a moment after its creation. That is waited for within the timeout if a stream has the subject.
    With ``known`` that is certain, otherwise the server is asked.
    """
    window = _window(messages)
    replies = session.request_many(messages, window)
    tries = 1
    while unheard := [number for number, answer in enumerate(replies) if _is_unheard(answer)]:
        if tries == _TRIES and not known:
            known = _is_taken(session, messages[unheard[0]].subject)
        if tries >= _TRIES and (not known or tries * _HEARD_AFTER > session.settings.timeout):
            if known:
                _explain(session, messages, unheard, replies)
            break
        time.sleep(_HEARD_AFTER)
        tries += 1
        again = session.request_many([messages[number] for number in unheard], window)
        for number, answer in zip(unheard, again):
            replies[number] = answer
    return replies


def _explain(
    session: sessions.Session,
    messages: Sequence[wire.Request],
    unheard: Sequence[int],
    replies: list[list[wire.Message] | _errors.StreamsError],
) -> None:
    """Replace the errors of messages for an existing stream that never listened with their cause."""
    error = session.explain(messages[unheard[0]].subject)
    if error.failure.get("code") == "no_leader":
        for number in unheard:
            replies[number] = error


def _is_taken(session: sessions.Session, subject: str) -> bool:
    """Return True if a stream has the subject, or if the permissions do not allow to ask."""
    try:
        answer = jetstream.call(session, "Listing streams", "STREAM.NAMES", {"subject": subject})
    except _errors.PermissionMissing:
        return True
    except _errors.StreamsError:
        return False
    return bool(answer.get("streams"))


def _window(messages: Iterable[wire.Request]) -> int:
    """Return how many of these messages may be unacknowledged at a time."""
    largest = max((len(message.payload) for message in messages), default=0)
    return max(1, min(_MESSAGES, _BYTES // max(1, largest)))


def _is_unheard(answer: object) -> bool:
    return isinstance(answer, _errors.NoAnswer) and answer.failure.get("code") == "no_responders"


def publish_many(
    session: sessions.Session, what: str, messages: Iterable[wire.Request], window: int = sessions.WINDOW
) -> list[dict[str, Any] | _errors.StreamsError]:
    """Publish in a pipeline, and return an acknowledgement or an error for each.

    The stream stores them in their order, so messages without a listener are not sent again.
    """
    wanted = list(messages)
    found: list[dict[str, Any] | _errors.StreamsError] = []
    for request, answer in zip(wanted, session.request_many(wanted, min(window, _window(wanted)))):
        if isinstance(answer, _errors.StreamsError):
            found.append(jetstream.named(what, answer))
            continue
        try:
            found.append(_acknowledgement(what, request.headers, answer[0]))
        except _errors.StreamsError as error:
            found.append(error)
    return found


def _acknowledgement(what: str, headers: Mapping[str, str] | None, answer: wire.Message) -> dict[str, Any]:
    """Return the acknowledgement. Raises WrongAnswer if it names another stream than expected."""
    ack = jetstream.decode(what, answer, answers.PubAck, written=True)
    if ack["stream"] != (headers or {}).get("Nats-Expected-Stream", ack["stream"]):
        raise _errors.WrongAnswer(what, "it is of another stream", written=True)
    return ack


def get(session: sessions.Session, stream: str, *, sequence: int = 0, subject: str = "") -> Stored | None:
    """Return the message with a sequence, or the last one on a subject, from the stream's leader, or None."""
    return _message_or_none(session, stream, {"seq": sequence} if sequence else {"last_by_subj": subject})


def direct_last(
    session: sessions.Session, stream: str, subjects: Iterable[str]
) -> list[Stored | _errors.StreamsError | None]:
    """Return the last message on each subject, pipelined, by direct reads, which any replica answers (ADR-31).

    Returns None for no message, NoAnswer if the stream does not exist or does not allow direct reads.
    """
    wanted = list(subjects)
    requests = [wire.Request(session.api(f"DIRECT.GET.{stream}.{subject}")) for subject in wanted]
    what = f"Reading stream {stream}"
    return [_direct(what, subject, answer) for subject, answer in zip(wanted, session.request_many(requests))]


def direct_page(session: sessions.Session, stream: str, body: dict[str, Any]) -> tuple[list[Stored], int]:
    """Return the messages of a batch request, and how many more the server has.

    ``body`` has ``multi_last``, ``batch``, ``up_to_seq`` … (ADR-31, nats-server 2.11).
    """
    return direct_pages(session, stream, [body])[0]


def direct_pages(
    session: sessions.Session, stream: str, bodies: Sequence[dict[str, Any]]
) -> list[tuple[list[Stored], int]]:
    """Return ``direct_page`` of several batch requests, pipelined. Raises the first error."""
    subject = session.api(f"DIRECT.GET.{stream}")
    requests = [wire.Request(subject, jetstream.encode(body), many=True) for body in bodies]
    answers_ = session.request_many(requests)
    found = []
    for number, body in enumerate(bodies):
        answer, answers_[number] = answers_[number], []  # many messages: those that are decoded need no place
        if isinstance(answer, _errors.StreamsError):
            raise answer
        found.append(_page_of(stream, body, answer))
    return found


def _page_of(stream: str, body: dict[str, Any], messages: list[wire.Message]) -> tuple[list[Stored], int]:
    last = messages[-1]
    if last.status not in ("204", "404"):
        reason = last.headers.get("Description", "") or f"status {last.status}"
        raise _errors.NoAnswer(
            f"Reading stream {stream}: the server refused the batch: {reason}.", code="batch", status=last.status
        )
    what, patterns = f"Reading stream {stream}", body.get("multi_last") or [body.get("next_by_subj") or ">"]
    literal, found, after = set(patterns), [], body.get("seq", 0)
    for message in messages[:-1]:
        stored = from_direct(what, message)
        if stored.sequence < after:
            raise _errors.WrongAnswer(what, "its messages are not in their order")
        if stored.subject not in literal and not any(mismatch.matches(stored.subject, each) for each in patterns):
            raise _errors.WrongAnswer(what, "it has messages of other subjects")
        found.append(stored)
        after = stored.sequence + 1
    pending = last.headers.get("Nats-Num-Pending") or "0"
    if not _NUMBER.fullmatch(pending):
        raise _errors.WrongAnswer(what, "Nats-Num-Pending is no number")
    return found, int(pending)


def delete(session: sessions.Session, stream: str, sequence: int, *, erase: bool = False) -> bool:
    """Delete one message. Returns False if it was gone."""
    try:
        jetstream.call(session, *deleting(stream, sequence, erase))
    except _errors.ApiError as error:
        if is_gone(error):
            return error.repeated  # then an earlier request did it, as far as anybody can tell
        raise
    return True


def deleting(stream: str, sequence: int, erase: bool) -> jetstream.Call:
    """Return the call that deletes a message."""
    body = {"seq": sequence} if erase else {"seq": sequence, "no_erase": True}
    return f"Deleting message {sequence} of stream {stream}", f"STREAM.MSG.DELETE.{stream}", body


def is_gone(error: _errors.ApiError) -> bool:
    """Return True if the error reports a missing message."""
    gone = error.err_code == jetstream.MESSAGE_NOT_DELETED and error.description in _GONE
    return gone or error.err_code in (jetstream.NO_MESSAGE_FOUND, jetstream.SEQUENCE_NOT_FOUND)


# What the stores of nats-server answer for a message that they don't have (server/store.go)
_GONE = ("no message found", "stream store EOF", "deleted message")


def from_direct(what: str, message: wire.Message) -> Stored:
    """Return the message of a direct reply. Raises WrongAnswer if its headers lack the sequence or the time."""
    headers = dict(message.headers)
    subject, sequence = headers.pop("Nats-Subject", ""), headers.pop("Nats-Sequence", "")
    moment = headers.pop("Nats-Time-Stamp", "")
    place = {"subject": subject, "seq": int(sequence) if _NUMBER.fullmatch(sequence) else None, "time": moment}
    problem = shapes.problem(place, answers.MessageNeeds)
    if problem:
        raise _errors.WrongAnswer(what, f"the message's {problem}")
    own = {name: value for name, value in headers.items() if name not in _DIRECT_ONLY}
    return Stored(subject, int(sequence), moment, message.data, own)


_NUMBER = re.compile(r"\d{1,20}")
# What the server adds to a direct reply beside the message's own headers.
_DIRECT_ONLY = ("Nats-Stream", "Nats-Last-Sequence", "Nats-Num-Pending", "Nats-UpTo-Sequence")


def _direct(
    what: str, subject: str, answer: list[wire.Message] | _errors.StreamsError
) -> Stored | _errors.StreamsError | None:
    if isinstance(answer, _errors.StreamsError):
        return answer
    if answer[0].status:
        return None if answer[0].status == "404" else _errors.WrongAnswer(what, "its status is none of a direct read")
    try:
        found = from_direct(what, answer[0])
    except _errors.WrongAnswer as error:
        return error
    return found if found.subject == subject else _errors.WrongAnswer(what, "it is of another subject")


def parse_headers(raw: bytes) -> dict[str, str]:
    """Return the headers of a stored message: ``NATS/1.0`` and lines of ``Name: value``."""
    headers = {}
    for line in raw.decode(errors="replace").split("\r\n")[1:]:
        name, separator, value = line.partition(":")
        if separator:
            headers[name.strip()] = value.strip()
    return headers


def _message_or_none(session: sessions.Session, stream: str, body: dict[str, Any]) -> Stored | None:
    try:
        answer = jetstream.call(session, f"Reading a message of stream {stream}", f"STREAM.MSG.GET.{stream}", body)
    except _errors.ApiError as error:
        if is_gone(error):
            return None
        raise
    return stored_of(answer["message"])


def stored_of(message: Mapping[str, Any]) -> Stored:
    """Return the message in an answer of STREAM.MSG.GET."""
    return Stored(
        subject=message["subject"],
        sequence=int(message["seq"]),
        time=message["time"],
        data=base64.b64decode(message.get("data") or b""),
        headers=parse_headers(base64.b64decode(message.get("hdrs") or b"")),
    )


def on_subject(session: sessions.Session, stream: str, subject: str) -> list[Stored]:
    """Return the messages on one subject, the oldest first. Each takes one request, so use it for few messages."""
    found: list[Stored] = []
    while True:
        after = found[-1].sequence + 1 if found else 1
        body = {"seq": after, "next_by_subj": subject}
        message = _message_or_none(session, stream, body)
        if message is None:
            return found
        found.append(message)
