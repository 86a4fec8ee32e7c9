# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the last message on each of many subjects, in as few requests as possible, and pages of messages.

Any replica answers direct requests, of a stream that allows them (ADR-31).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from .. import _errors
from .._connection import wire
from .._options import shapes
from . import answers, jetstream, messages

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from .._connection import sessions

# nats-server's limit for one request with multi_last (server/stream.go)
BATCH = 1024
BATCHES_SINCE = (2, 11, 0)
# The status if a replica of an older release answers, as in a cluster that is being upgraded
NO_BATCHES = "408"
# Batches that are under way together, and their bytes: half of what a server keeps for a client (max_pending)
_TOGETHER, _BYTES = 16, 32 << 20
_NUMBER = re.compile(r"\d{1,20}")
# Headers that the server adds to a direct reply.
_DIRECT_ONLY = ("Nats-Stream", "Nats-Last-Sequence", "Nats-Num-Pending", "Nats-UpTo-Sequence")


def of_each(
    session: sessions.Session, what: str, stream: str, subjects: Sequence[str], *, direct: bool, up_to: int = 0
) -> Iterator[messages.Stored]:
    """Yield the last message on each subject that has one, from any replica if the stream allows ``direct`` reads.

    With ``up_to``, it is the last that is not after this sequence. Servers without batches can't read the past: there,
    subjects with a later message are left out. ``what`` begins error sentences.
    """
    if len(subjects) > 1 and direct and session.server.version >= BATCHES_SINCE:
        try:
            yield from _batches(session, stream, subjects, up_to)
            return
        except (_errors.PermissionMissing, _errors.NoAnswer) as error:
            # Permissions may allow only single reads, which name their subjects
            if error.failure["code"] != "permission" and error.failure.get("status") != NO_BATCHES:
                raise
    asked = direct_last(session, stream, subjects) if direct else from_leader(session, what, stream, subjects)
    for message in existing(asked):
        if not up_to or message.sequence <= up_to:
            yield message


def from_leader(
    session: sessions.Session, what: str, stream: str, subjects: Iterable[str]
) -> Iterator[messages.Stored | _errors.StreamsError | None]:
    """Yield as ``direct_last`` does, for a stream that only its leader reads."""
    calls = (messages.getting(what, stream, {"last_by_subj": subject}) for subject in subjects)
    for answer in jetstream.call_many(session, calls):
        if isinstance(answer, _errors.ApiError) and answer.err_code == jetstream.NO_MESSAGE_FOUND:
            yield None
        else:
            yield answer if isinstance(answer, _errors.StreamsError) else messages.stored_of(answer)


def existing(answers: Iterable[messages.Stored | _errors.StreamsError | None]) -> Iterator[messages.Stored]:
    """Yield the existing messages. Raises the first error."""
    for answer in answers:
        if isinstance(answer, _errors.StreamsError):
            raise answer
        if answer is not None:
            yield answer


def _batches(session: sessions.Session, stream: str, subjects: Sequence[str], up_to: int) -> Iterator[messages.Stored]:
    moment = {"up_to_seq": up_to} if up_to else {}
    bodies: list[dict[str, Any]] = [
        {"multi_last": list(subjects[start : start + BATCH]), **moment} for start in range(0, len(subjects), BATCH)
    ]
    for start in range(0, len(bodies), _TOGETHER):
        asked = bodies[start : start + _TOGETHER]
        while asked:
            left = []
            for body in asked:
                body["max_bytes"] = _BYTES // len(asked)
            for body, (stored, beyond) in zip(asked, direct_pages(session, stream, asked)):
                if stored and beyond:
                    body["seq"] = stored[-1].sequence + 1
                    left.append(body)
                yield from stored
                stored.clear()  # before more is read
            asked = left


def direct_last(
    session: sessions.Session, stream: str, subjects: Iterable[str]
) -> list[messages.Stored | _errors.StreamsError | None]:
    """Return the last message on each subject, pipelined.

    Returns None for no message, NoAnswer if the stream does not exist or does not allow direct reads.
    """
    names = list(subjects)
    requests = [wire.Request(session.api(f"DIRECT.GET.{stream}.{subject}")) for subject in names]
    what = f"Reading stream {stream}"
    return [_last(what, subject, answer) for subject, answer in zip(names, session.request_many(requests))]


def direct_page(session: sessions.Session, stream: str, body: Mapping[str, Any]) -> tuple[list[messages.Stored], int]:
    """Return the messages of a batch request, and how many more the server has.

    ``body`` has ``multi_last``, ``batch``, ``up_to_seq`` … (ADR-31, nats-server 2.11).
    """
    return direct_pages(session, stream, [body])[0]


def direct_pages(
    session: sessions.Session, stream: str, bodies: Sequence[Mapping[str, Any]]
) -> list[tuple[list[messages.Stored], int]]:
    """Return the ``direct_page`` of each of several batch requests, pipelined. Raises the first error."""
    subject = session.api(f"DIRECT.GET.{stream}")
    requests = [wire.Request(subject, jetstream.encode(body), many=True) for body in bodies]
    replies = session.request_many(requests)
    contents = []
    for number, body in enumerate(bodies):
        reply, replies[number] = replies[number], []  # many messages: those that are decoded need no place
        if isinstance(reply, _errors.StreamsError):
            raise reply
        contents.append(_page_of(stream, body, reply))
    return contents


def _page_of(stream: str, body: Mapping[str, Any], parts: list[wire.Message]) -> tuple[list[messages.Stored], int]:
    last = parts[-1]
    if last.status not in ("204", "404"):
        reason = last.headers.get(wire.DESCRIPTION) or f"status {last.status}"
        raise _errors.NoAnswer(
            f"Reading stream {stream}: the server refused the batch: {reason}.", code="batch", status=last.status
        )
    what, patterns = f"Reading stream {stream}", body.get("multi_last") or [body.get("next_by_subj") or ">"]
    literal, page, after = set(patterns), [], body.get("seq", 0)
    for message in parts[:-1]:
        stored = message_of(what, message)
        if stored.sequence < after:
            raise _errors.WrongAnswer(what, "its messages are not in their order")
        if stored.subject not in literal and not any(jetstream.matches(stored.subject, each) for each in patterns):
            raise _errors.WrongAnswer(what, "it has messages of other subjects")
        page.append(stored)
        after = stored.sequence + 1
    pending = last.headers.get("Nats-Num-Pending") or "0"
    if not _NUMBER.fullmatch(pending):
        raise _errors.WrongAnswer(what, "Nats-Num-Pending is not a number")
    return page, int(pending)


def message_of(what: str, message: wire.Message) -> messages.Stored:
    """Return the message of a direct reply. Raises WrongAnswer if its headers lack the sequence or the time."""
    headers = dict(message.headers)
    subject, sequence = headers.pop("Nats-Subject", ""), headers.pop("Nats-Sequence", "")
    moment = headers.pop("Nats-Time-Stamp", "")
    place = {"subject": subject, "seq": int(sequence) if _NUMBER.fullmatch(sequence) else None, "time": moment}
    problem = shapes.problem(place, answers.MessageNeeds)
    if problem:
        raise _errors.WrongAnswer(what, f"the message's {problem}")
    own = {name: value for name, value in headers.items() if name not in _DIRECT_ONLY}
    return messages.Stored(subject, int(sequence), moment, message.data, own)


def _last(
    what: str, subject: str, answer: list[wire.Message] | _errors.StreamsError
) -> messages.Stored | _errors.StreamsError | None:
    if isinstance(answer, _errors.StreamsError):
        return answer
    if answer[0].status:
        return None if answer[0].status == "404" else _errors.WrongAnswer(what, "its status is unknown")
    try:
        message = message_of(what, answer[0])
    except _errors.WrongAnswer as error:
        return error
    return message if message.subject == subject else _errors.WrongAnswer(what, "it is of another subject")
