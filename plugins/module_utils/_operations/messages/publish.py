# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Publish one message to a stream, and predict the server's reaction in check mode."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from ... import _errors
from ..._api import jetstream, messages, streams
from ..._connection import wire
from ..._resources import subjects
from . import results
from .features import is_due, is_scheduled
from .foresight import foresee
from .outgoing import LAST_MSG_ID, Outgoing, full, moved, nobody, wrong_stream

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..._connection import sessions
    from .foresight import Owner

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
    stored = stored_at(session, str(ack["stream"]), int(ack["seq"])) if owner else None
    message = described(outgoing, ack, stored)
    if ack["duplicate"]:
        return results.unchanged(message=message)
    lost = results.UNKNOWN if outgoing.rolls_up else 0
    return results.published(f"message on {outgoing.subject}", message, lost)


def described(outgoing: Outgoing, ack: Mapping[str, Any], stored: messages.Stored | None) -> dict[str, Any]:
    """Return a message for results: the stored one, or without ``stored`` the sent one."""
    if stored and not outgoing.msg_id:
        # Ours alone: it is for repeating, and nothing that was asked for
        stored = stored._replace(headers={name: v for name, v in stored.headers.items() if name != messages.MESSAGE_ID})
    if stored is None:
        stored = messages.Stored(outgoing.subject, int(ack["seq"]), "", outgoing.payload, outgoing.headers)
    duplicate = bool(ack.get("duplicate"))
    message = {**results.message(str(ack["stream"]), stored, outgoing.encoding), "duplicate": duplicate}
    if outgoing.increment is not None:
        message["value"] = int(ack["val"]) if "val" in ack else None
    return message


def _scheduled(session: sessions.Session, outgoing: Outgoing, owner: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the result of a schedule that exists, or was done and removed; None if it is to be published."""
    try:
        found = messages.get(session, owner["config"]["name"], subject=outgoing.subject) if owner else None
    except _errors.PermissionMissing:
        return None
    if found and is_scheduled(found, outgoing.payload, outgoing.headers):
        message = results.message(owner["config"]["name"] if owner else "", found, outgoing.encoding)
        return results.unchanged(message={**message, "duplicate": True})
    if is_due(outgoing.schedule, datetime.now(timezone.utc)):
        return results.unchanged(message=None)
    return None


def owner_of(session: sessions.Session, outgoing: Outgoing) -> dict[str, Any] | None:
    """Return the info of the stream with the subject, None if there is none, empty if it may not be read."""
    try:
        names = streams.names(session, outgoing.subject)
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


def owners_of(session: sessions.Session, batch: Sequence[Outgoing]) -> list[dict[str, Any] | None]:
    """Return ``owner_of`` for each, with two requests for each stream, since a subject belongs to one stream."""
    streams_: list[dict[str, Any]] = []
    by_subject: dict[str, dict[str, Any] | None] = {}
    for each in batch:
        if each.subject not in by_subject:
            found = next((owner for owner in streams_ if _takes(owner, each.subject)), None)
            by_subject[each.subject] = found or owner_of(session, each)
            if by_subject[each.subject] and not found:
                streams_.append(dict(by_subject[each.subject] or {}))
        owner = by_subject[each.subject]
        if owner and each.stream not in ("", owner["config"]["name"]):
            raise wrong_stream(each, f"stream {owner['config']['name']}")
    return [by_subject[each.subject] for each in batch]


def _takes(owner: Mapping[str, Any], subject: str) -> bool:
    return any(subjects.covers(wide, subject) for wide in owner["config"].get("subjects") or [])


def send(
    session: sessions.Session, batch: Sequence[tuple[Outgoing, Owner]]
) -> list[dict[str, Any] | _errors.StreamsError]:
    """Publish in order, pipelined. Return the stream's acknowledgement or an error for each."""
    headers, requests = [], []
    for outgoing, owner in batch:
        own, again = _identified(session, outgoing, (owner or {}).get("config") or {})
        headers.append(own)
        requests.append(wire.Request(outgoing.subject, outgoing.payload, own, again=again))
    answers = messages.deliver(session, requests, known=all(owner for _outgoing, owner in batch))
    found: list[dict[str, Any] | _errors.StreamsError] = []
    for (outgoing, owner), own, answer in zip(batch, headers, answers):
        try:
            found.append(_acknowledged(session, outgoing, owner, own, answer))
        except _errors.StreamsError as error:
            found.append(error)
    return found


def _acknowledged(
    session: sessions.Session,
    outgoing: Outgoing,
    owner: Owner,
    headers: Mapping[str, str],
    answer: list[wire.Message] | _errors.StreamsError,
) -> dict[str, Any]:
    what = f"Publishing to {outgoing.subject}"
    try:
        ack = messages.acknowledged(what, headers, answer)
    except _errors.ApiError as error:
        found = _found_again(session, outgoing, owner, headers) if error.repeated else None
        if not found:
            raise refusal_of(outgoing, error) from error
        ack = found
    except _errors.NoAnswer as error:
        code = error.failure["code"]
        # Without a stream, a plain subscriber may have heard it, and not answered or not as a stream does
        if code == "no_responders" or (owner is None and code != "jetstream_off"):
            raise nobody(outgoing.subject) from error
        found = _found_again(session, outgoing, owner, headers)
        if not found:
            remedy = (
                "look at the stream with choria_stream_message_info, or give msg_id, with which a retry does no harm"
            )
            raise jetstream.named(what, error, remedy) from error
        ack = found
    except _errors.WrongAnswer as error:
        if owner is None:  # a plain subscriber answered
            raise nobody(outgoing.subject) from error
        raise
    duplicate = bool(ack.get("duplicate"))
    if duplicate and ack.get("repeated"):
        # An earlier copy of this very request stored it, unless the message was there before
        duplicate = bool(outgoing.msg_id) and int(ack["seq"]) <= _last_sequence(owner)
    return {**ack, "duplicate": duplicate}


def _identified(
    session: sessions.Session, outgoing: Outgoing, config: Mapping[str, Any]
) -> tuple[dict[str, str], bool]:
    """Return the headers with a message id, and True if the message can be sent again without harm.

    It can't without room for an id, or if the stream does not recognize it, unless an expectation prevents a copy.
    """
    headers = {messages.MESSAGE_ID: messages.new_id(), **outgoing.headers}
    limits = [session.connected.max_payload, int(config.get("max_msg_size") or 0)]
    if wire.Request(outgoing.subject, outgoing.payload, headers).size > min(limit for limit in limits if limit > 0):
        headers = dict(outgoing.headers)
    remembered = messages.dedupes(session, config) if config else bool(outgoing.msg_id)
    return headers, bool(outgoing.expected) or (messages.MESSAGE_ID in headers and remembered)


def _last_sequence(owner: Mapping[str, Any] | None) -> int:
    """Return the last sequence of the stream before the message was sent."""
    return int(((owner or {}).get("state") or {}).get("last_seq") or 0)


def _found_again(
    session: sessions.Session, outgoing: Outgoing, owner: Mapping[str, Any] | None, headers: Mapping[str, str]
) -> dict[str, Any] | None:
    """Return the lost acknowledgement if the stream has the message, else None."""
    stream = str(((owner or {}).get("config") or {}).get("name") or "")
    message_id = headers.get(messages.MESSAGE_ID)
    if not stream or not message_id:
        return None
    try:
        found = messages.get(session, stream, subject=outgoing.subject)
    except _errors.StreamsError:
        return None  # the answer that got lost is the better reason
    if found is None or found.headers.get(messages.MESSAGE_ID) != message_id:
        return None
    return {"stream": stream, "seq": found.sequence, "duplicate": found.sequence <= _last_sequence(owner)}


def refusal_of(outgoing: Outgoing, error: _errors.ApiError) -> _errors.StreamsError:
    """Return the server's error in terms of the options."""
    if error.err_code in jetstream.WRONG_LAST_SEQUENCE:
        number = re.search(r"(\d+)$", error.description)
        found = int(number.group(1)) if number else None
        compared = {name: wanted for name, wanted in outgoing.expected.items() if name != LAST_MSG_ID}
        option = next((name for name, wanted in compared.items() if wanted != found), None)
        return moved(outgoing, option, found) if option else error
    if error.err_code == _WRONG_MSG_ID:
        return moved(outgoing, LAST_MSG_ID, error.description.partition(": ")[2])
    if error.err_code == _WRONG_STREAM:
        return wrong_stream(outgoing, "another stream")
    return full(outgoing.subject, error.description) if error.err_code == _FULL else error


def stored_at(session: sessions.Session, stream: str, sequence: int) -> messages.Stored | None:
    """Return the stored message, or None if it is gone, or may not be read."""
    try:
        return messages.get(session, stream, sequence=sequence) if sequence else None
    except _errors.PermissionMissing:
        return None
