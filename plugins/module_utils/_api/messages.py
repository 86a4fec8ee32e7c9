# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Publish messages with acknowledgement, read and delete them."""

from __future__ import annotations

import base64
import os
import re
import time
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict, cast

from .. import _errors
from .._connection import sessions, wire
from .._options import quantities
from . import answers, jetstream

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


# The other servers of a cluster learn a moment later that a new stream listens. nats.go waits as long.
_HEARD_AFTER = 0.25
_TRIES = 3
MESSAGE_ID = "Nats-Msg-Id"
_NOTHING_NEW = re.compile(rb'"(error|duplicate)"')
# At most as many unacknowledged messages as with nats.go (defaultAsyncPubAckInflight), and fewer bytes than a server
# queues for a stream, from all clients together, before it drops messages (streamDefaultMaxQueueBytes).
_MESSAGES, _BYTES = 4000, 16 << 20


class _AcknowledgementNeeds(TypedDict):
    stream: str
    seq: int
    duplicate: bool


class Acknowledgement(_AcknowledgementNeeds, total=False):
    """The acknowledgement of a message. ``repeated`` is True if it was sent more than once, ``val`` is a counter's."""

    repeated: bool
    val: int


class Stored(NamedTuple):
    """A message in a stream. ``time`` is RFC 3339 UTC as the server sends it."""

    subject: str
    sequence: int
    time: str
    data: bytes
    headers: Mapping[str, str] = MappingProxyType({})


def new_ids(count: int) -> list[str]:
    """Return unique message ids. They are short, since they are stored with the messages."""
    digits = os.urandom(11 * count).hex()
    return [digits[place : place + 22] for place in range(0, len(digits), 22)]


def dedupes(session: sessions.Session, config: Mapping[str, Any]) -> bool:
    """Return True if a stream of this configuration recognizes duplicates for as long as messages are repeated."""
    window = int(config.get("duplicate_window") or 0) / quantities.NANOSECOND
    return window > session.settings.timeout + _REMEMBERED


# By how many seconds the window must be longer than the retries take, in case somebody adjusts a clock
_REMEMBERED = 5.0


def publish(
    session: sessions.Session,
    what: str,
    subject: str,
    payload: bytes,
    headers: Mapping[str, str] | None = None,
    *,
    again: bool | None = None,
    taken: bool = False,
) -> Acknowledgement:
    """Publish a message and return the stream's acknowledgement.

    ``again`` is as in a Request, ``taken`` as in ``deliver``.
    """
    [answer] = deliver(session, [wire.Request(subject, payload, headers, again=again)], taken=taken)
    return acknowledged(what, headers, answer)


def acknowledged(
    what: str, headers: Mapping[str, str] | None, answer: list[wire.Message] | _errors.StreamsError
) -> Acknowledgement:
    """Return the acknowledgement of a message. Raises its error."""
    if isinstance(answer, _errors.StreamsError):
        raise jetstream.named(what, answer)
    return described(acknowledgement(what, headers, answer[0]), repeated=answer[0].repeated)


def described(ack: answers.PubAck, *, repeated: bool = False) -> Acknowledgement:
    """Return an acknowledgement of the server with all keys that callers need."""
    duplicate = ack.get("duplicate", False)
    result: Acknowledgement = {"stream": ack["stream"], "seq": ack["seq"], "duplicate": duplicate, "repeated": repeated}
    if "val" in ack:
        result["val"] = int(ack["val"])
    return result


def deliver(
    session: sessions.Session, messages: Sequence[wire.Request], *, taken: bool = False
) -> list[list[wire.Message] | _errors.StreamsError]:
    """Publish in a pipeline, and return an answer or an error for each.

    Messages that no stream listened to are sent again, after the others. A stream does not listen during the election
    of a leader, and for a moment after its creation. So messages are sent again until the timeout if a stream has the
    subject. ``taken`` says that one has it. Otherwise the server is asked.
    """
    most = window(messages)
    replies = session.request_many(messages, most)
    tries = 1
    while unheard := [number for number, answer in enumerate(replies) if _is_unheard(answer)]:
        if tries == _TRIES and not taken:
            taken = _is_taken(session, messages[unheard[0]].subject)
        if tries >= _TRIES and (not taken or tries * _HEARD_AFTER > session.settings.timeout):
            if taken:
                _explain(session, messages, unheard, replies)
            break
        time.sleep(_HEARD_AFTER)
        tries += 1
        again = session.request_many([messages[number] for number in unheard], most)
        for number, answer in zip(unheard, again):
            replies[number] = answer
    session.writes_done += sum(isinstance(it, list) and not _NOTHING_NEW.search(it[0].data) for it in replies)
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
        answer = jetstream.call(session, "Listing streams", "STREAM.NAMES", answers.Names, {"subject": subject})
    except _errors.PermissionMissing:
        return True
    except _errors.StreamsError:
        return False
    return bool(answer.get("streams"))


def window(messages: Iterable[wire.Request]) -> int:
    """Return how many of these messages may be unacknowledged at a time."""
    largest = max((len(message.payload) for message in messages), default=0)
    return max(1, min(_MESSAGES, _BYTES // max(1, largest)))


def _is_unheard(answer: object) -> bool:
    return isinstance(answer, _errors.NoAnswer) and answer.failure.get("code") == "no_responders"


def acknowledgement(what: str, headers: Mapping[str, str] | None, answer: wire.Message) -> answers.PubAck:
    """Return the acknowledgement in an answer. Raises WrongAnswer if it names another stream than expected."""
    usual = _USUAL.fullmatch(answer.data)
    if usual:
        stream, sequence = usual.groups()
        ack = cast("answers.PubAck", {"stream": stream.decode(), "seq": int(sequence)})
    else:
        ack = jetstream.decode(what, answer, answers.PubAck, written=True)
    if ack["stream"] != (headers or {}).get("Nats-Expected-Stream", ack["stream"]):
        raise _errors.WrongAnswer(what, "it is of another stream", written=True)
    return ack


# Nearly all acknowledgements are this JSON, which fits answers.PubAck. All others are checked part by part
_USUAL = re.compile(rb'\{"stream":"([!#-\[\]-~]+)", ?"seq":([1-9][0-9]{0,18})\}')


def get(session: sessions.Session, stream: str, *, sequence: int = 0, subject: str = "") -> Stored | None:
    """Return the message with a sequence, or the last one on a subject, from the stream's leader, or None."""
    return _message_or_none(session, stream, {"seq": sequence} if sequence else {"last_by_subj": subject})


def delete(session: sessions.Session, stream: str, sequence: int, *, erase: bool = False) -> bool:
    """Delete one message. Returns False if it was gone."""
    try:
        jetstream.call(session, *deleting(stream, sequence, erase))
    except _errors.ApiError as error:
        if is_gone(error):
            return error.repeated  # then probably an earlier request of ours deleted it
        raise
    return True


def deleting(stream: str, sequence: int, erase: bool) -> jetstream.Call[answers.Done]:
    """Return the call that deletes a message."""
    body = {"seq": sequence} if erase else {"seq": sequence, "no_erase": True}
    return f"Deleting message {sequence} of stream {stream}", f"STREAM.MSG.DELETE.{stream}", answers.Done, body


def is_gone(error: _errors.ApiError) -> bool:
    """Return True if the error reports a missing message."""
    gone = error.err_code == jetstream.MESSAGE_NOT_DELETED and error.description in _GONE
    return gone or error.err_code in (jetstream.NO_MESSAGE_FOUND, jetstream.SEQUENCE_NOT_FOUND)


# The errors of nats-server's stores for a missing message (server/store.go)
_GONE = ("no message found", "stream store EOF", "deleted message")


def parse_headers(raw: bytes) -> dict[str, str]:
    """Return the headers of a stored message: ``NATS/1.0`` and lines of ``Name: value``."""
    headers = {}
    for line in raw.decode(errors="replace").split("\r\n")[1:]:
        name, separator, value = line.partition(":")
        if separator:
            headers[name.strip()] = value.strip()
    return headers


def _message_or_none(session: sessions.Session, stream: str, body: Mapping[str, Any]) -> Stored | None:
    try:
        return stored_of(jetstream.call(session, *getting(f"Reading a message of stream {stream}", stream, body)))
    except _errors.ApiError as error:
        if is_gone(error):
            return None
        raise


def getting(what: str, stream: str, body: Mapping[str, Any]) -> jetstream.Call[answers.StoredMessage]:
    """Return the call that reads the message which the body selects (``seq``, ``last_by_subj``, ``next_by_subj``)."""
    return what, f"STREAM.MSG.GET.{stream}", answers.StoredMessage, body


def stored_of(answer: answers.StoredMessage) -> Stored:
    """Return the message in an answer of STREAM.MSG.GET."""
    message = answer["message"]
    return Stored(
        subject=message["subject"],
        sequence=message["seq"],
        time=message["time"],
        data=base64.b64decode(message.get("data") or b""),
        headers=parse_headers(base64.b64decode(message.get("hdrs") or b"")),
    )


def on_subject(session: sessions.Session, stream: str, subject: str) -> list[Stored]:
    """Return the messages on one subject, the oldest first. Each takes one request, so use it for few messages."""
    stored: list[Stored] = []
    while True:
        after = stored[-1].sequence + 1 if stored else 1
        body = {"seq": after, "next_by_subj": subject}
        message = _message_or_none(session, stream, body)
        if message is None:
            return stored
        stored.append(message)
