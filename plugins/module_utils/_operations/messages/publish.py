# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Publish one message to a stream, and predict the server's reaction in check mode."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ... import _errors
from ..._api import jetstream, lists, messages, streams
from ..._connection import wire
from ..._resources import subjects
from . import results
from .foresight import foresee
from .outgoing import LAST_MSG_ID, Outgoing, count_of, full, is_due, is_scheduled, moved, nobody, wrong_stream

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..._connection import sessions
    from .foresight import Owner

# An id alone takes fewer bytes with its header
_ID_BYTES = 64
_WRONG_MSG_ID, _WRONG_STREAM, _FULL = 10070, 10060, 10077


def publish(session: sessions.Session, options: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Publish and read back, or in check mode check all that would prevent it. Return the whole result."""
    outgoing = Outgoing.from_options(options)
    owner = owner_of(session, outgoing)
    outgoing.check(session.server, (owner or {}).get("config") or {})
    if outgoing.schedule:
        there = _scheduled(session, outgoing, owner)
        if there is not None:
            return there
    [ack] = foresee(session, [(outgoing, owner)]) if check_mode else send(session, [(outgoing, owner)])
    if isinstance(ack, _errors.StreamsError):
        raise ack
    stored = stored_at(session, ack["stream"], ack["seq"]) if owner else None
    message = described(outgoing, ack, stored)
    if ack["duplicate"]:
        return results.unchanged(message=message)
    lost = results.UNKNOWN if outgoing.rolls_up else 0
    return results.published(f"message on {outgoing.subject}", message, lost)


def described(outgoing: Outgoing, ack: messages.Acknowledgement, stored: messages.Stored | None) -> dict[str, Any]:
    """Return a message for results: the stored one, or without ``stored`` the sent one."""
    if stored and not outgoing.msg_id:
        # Ours alone: it is for repeating, and nothing that was asked for
        stored = stored._replace(headers={name: v for name, v in stored.headers.items() if name != messages.MESSAGE_ID})
    # The acknowledgement of a repeated request has no value
    value = ack.get("val", count_of(stored) if stored else None)
    if stored is None:
        stored = messages.Stored(outgoing.subject, ack["seq"], "", outgoing.payload, outgoing.headers)
    message = results.message(ack["stream"], stored, outgoing.encoding)
    message["duplicate"] = ack["duplicate"]
    if outgoing.headers and outgoing.increment is not None:
        message["value"] = value
    return message


def _scheduled(session: sessions.Session, outgoing: Outgoing, owner: Owner) -> dict[str, Any] | None:
    """Return the result of a schedule that exists, or has fired and was removed. None means: publish it."""
    try:
        last = messages.get(session, owner["config"]["name"], subject=outgoing.subject) if owner else None
    except _errors.PermissionMissing:
        return None
    if last and is_scheduled(last, outgoing.payload, outgoing.headers):
        message = results.message(owner["config"]["name"] if owner else "", last, outgoing.encoding)
        return results.unchanged(message={**message, "duplicate": True})
    if is_due(outgoing.schedule, streams.clock_of(owner)):
        return results.unchanged(message=None)
    return None


def owner_of(session: sessions.Session, outgoing: Outgoing) -> Owner:
    """Return the info of the stream with the subject, None if there is none, empty if it may not be read."""
    try:
        names = lists.stream_names(session, outgoing.subject)
    except _errors.PermissionMissing:
        if not outgoing.stream:
            return {}
        names = [outgoing.stream]
    if names and outgoing.stream and outgoing.stream not in names:
        raise wrong_stream(outgoing, f"stream {names[0]}")
    try:
        return streams.info(session, names[0]) if names else None
    except _errors.PermissionMissing:
        return {}


def owners_of(session: sessions.Session, batch: Sequence[Outgoing]) -> list[Owner]:
    """Return ``owner_of`` for each, with two requests for each stream, since a subject belongs to one stream."""
    by_pattern: dict[str, Mapping[str, Any]] = {}
    by_subject: dict[str, Owner] = {}
    for each in batch:
        if each.subject not in by_subject:
            for pattern, owner in by_pattern.items():
                if subjects.covers(pattern, each.subject):
                    by_subject[each.subject] = owner
                    break
            else:
                by_subject[each.subject] = other = owner_of(session, each)
                by_pattern.update(dict.fromkeys((other or {"config": {}})["config"].get("subjects") or (), other or {}))
        its = by_subject[each.subject]
        if its and each.stream and each.stream != its["config"]["name"]:
            raise wrong_stream(each, f"stream {its['config']['name']}")
    return [by_subject[each.subject] for each in batch]


def send(
    session: sessions.Session, batch: Sequence[tuple[Outgoing, Owner]]
) -> list[messages.Acknowledgement | _errors.StreamsError]:
    """Publish in order, pipelined. Return the stream's acknowledgement or an error for each."""
    limits: dict[int, tuple[int, bool | None]] = {}
    requests = []
    for (outgoing, owner), message_id in zip(batch, messages.new_ids(len(batch))):
        if id(owner) not in limits:
            limits[id(owner)] = _limits(session, (owner or {}).get("config") or {})
        requests.append(_identified(outgoing, message_id, *limits[id(owner)]))
    answers = messages.deliver(session, requests, taken=all(owner for _outgoing, owner in batch))
    acks: list[messages.Acknowledgement | _errors.StreamsError] = []
    for (outgoing, owner), request, answer in zip(batch, requests, answers):
        try:
            acks.append(_acknowledged(session, outgoing, owner, request.headers or {}, answer))
        except _errors.StreamsError as error:
            acks.append(error)
    return acks


def _acknowledged(
    session: sessions.Session,
    outgoing: Outgoing,
    owner: Owner,
    headers: Mapping[str, str],
    answer: list[wire.Message] | _errors.StreamsError,
) -> messages.Acknowledgement:
    what = f"Publishing to {outgoing.subject}"
    try:
        ack = messages.acknowledged(what, headers, answer)
    except _errors.ApiError as error:
        stored = _stored_before(session, outgoing, owner, headers) if error.repeated else None
        if not stored:
            raise refusal_of(outgoing, error) from error
        ack = stored
    except _errors.NoAnswer as error:
        code = error.failure["code"]
        # Without a stream, a plain subscriber may have heard it, and not answered or not as a stream does
        if code == "no_responders" or (owner is None and code != "jetstream_off"):
            raise nobody(outgoing.subject) from error
        stored = _stored_before(session, outgoing, owner, headers)
        if not stored:
            remedy = "check the stream with choria_stream_message_info, or give msg_id, with which a retry does no harm"
            raise jetstream.named(what, error, remedy) from error
        ack = stored
    except _errors.WrongAnswer as error:
        if owner is None:  # a plain subscriber answered
            raise nobody(outgoing.subject) from error
        raise
    if ack["duplicate"] and ack.get("repeated"):
        # An earlier copy of this very request stored it, unless the message was there before
        ack["duplicate"] = bool(outgoing.msg_id) and ack["seq"] <= _last_sequence(owner)
    return ack


def _limits(session: sessions.Session, config: Mapping[str, Any]) -> tuple[int, bool | None]:
    """Return the most bytes of a message, and whether its stream recognizes duplicates. None: that is unknown."""
    sizes = [session.connected.max_payload, int(config.get("max_msg_size") or 0)]
    return min(size for size in sizes if size > 0), messages.dedupes(session, config) if config else None


def _identified(outgoing: Outgoing, message_id: str, largest: int, dedupes: bool | None) -> wire.Request:
    """Return the request with a message id, and whether it can be sent again without harm.

    It can't without room for an id, or if the stream does not recognize it, unless an expectation prevents a copy.
    """
    headers = {messages.MESSAGE_ID: message_id, **outgoing.headers}
    again = bool(outgoing.msg_id) if dedupes is None else dedupes
    request = wire.Request(outgoing.subject, outgoing.payload, headers, False, again or bool(outgoing.expected))
    if (not outgoing.headers and len(outgoing.payload) + _ID_BYTES <= largest) or request.size <= largest:
        return request
    again = bool(outgoing.expected) or (messages.MESSAGE_ID in outgoing.headers and again)
    return request._replace(headers=outgoing.headers, again=again)


def _last_sequence(owner: Owner) -> int:
    """Return the last sequence of the stream before the message was sent."""
    return int(((owner or {}).get("state") or {}).get("last_seq") or 0)


def _stored_before(
    session: sessions.Session, outgoing: Outgoing, owner: Owner, headers: Mapping[str, str]
) -> messages.Acknowledgement | None:
    """Return the lost acknowledgement if the stream has the message, else None."""
    stream = str(((owner or {}).get("config") or {}).get("name") or "")
    message_id = headers.get(messages.MESSAGE_ID)
    if not stream or not message_id:
        return None
    try:
        stored = messages.get(session, stream, subject=outgoing.subject)
    except _errors.StreamsError:
        return None  # the answer that got lost is the better reason
    if stored is None or stored.headers.get(messages.MESSAGE_ID) != message_id:
        return None
    return {"stream": stream, "seq": stored.sequence, "duplicate": stored.sequence <= _last_sequence(owner)}


def refusal_of(outgoing: Outgoing, error: _errors.ApiError) -> _errors.StreamsError:
    """Return the server's error in terms of the options."""
    if error.err_code in jetstream.WRONG_LAST_SEQUENCE:
        number = re.search(r"(\d+)$", error.description)
        present = int(number.group(1)) if number else None
        compared = {name: expected for name, expected in outgoing.expected.items() if name != LAST_MSG_ID}
        option = next((name for name, expected in compared.items() if expected != present), None)
        return moved(outgoing, option, present) if option else error
    if error.err_code == _WRONG_MSG_ID:
        return moved(outgoing, LAST_MSG_ID, error.description.partition(": ")[2])
    if error.err_code == _WRONG_STREAM:
        return wrong_stream(outgoing, "another stream")
    return full(outgoing.subject, error.description) if error.err_code == _FULL else error


def stored_at(session: sessions.Session, stream: str, sequence: int) -> messages.Stored | None:
    """Return the stored message, or None if it is gone, or can't be read: what is published is published."""
    try:
        return messages.get(session, stream, sequence=sequence) if sequence else None
    except (_errors.PermissionMissing, _errors.Unreachable, _errors.NoAnswer):
        return None
