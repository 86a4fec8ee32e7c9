# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Publishes one message to a stream, and foresees in check mode what the server would say."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from ... import _errors
from ..._api import jetstream, messages, reading, streams
from ..._connection import sessions, wire
from . import results
from .features import count_of, is_due, is_scheduled
from .outgoing import LAST_MSG_ID, LAST_SEQUENCE, Outgoing, full, moved, nobody, wrong_stream

if TYPE_CHECKING:
    from collections.abc import Mapping


_WRONG_MSG_ID, _WRONG_STREAM, _FULL = 10070, 10060, 10077
# How many recent messages check mode looks at for one with the same id
_MOST_RECENT = 10_000


def publish(session: sessions.Session, options: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Publishes and reads back; in check mode looks for all that would be in the way. Returns the whole result."""
    outgoing = Outgoing.from_options(options)
    owner = owner_of(session, outgoing)
    outgoing.check(session.server, (owner or {}).get("config") or {})
    if outgoing.schedule:
        there = _scheduled(session, outgoing, owner)
        if there is not None:
            return there
    ack = foresee(session, outgoing, owner) if check_mode else _send(session, outgoing, owner)
    stream, sequence, duplicate = str(ack["stream"]), int(ack["seq"]), bool(ack.get("duplicate"))
    if duplicate and ack.get("repeated"):
        # An earlier copy of this very request stored it, unless the message was there before
        duplicate = bool(outgoing.msg_id) and sequence <= _last_sequence(owner)
    stored = stored_at(session, stream, sequence) if owner else None
    if stored and not outgoing.msg_id:
        # Ours alone: it is for repeating, and nothing that was asked for
        stored = stored._replace(headers={name: v for name, v in stored.headers.items() if name != messages.MESSAGE_ID})
    if stored is None:
        stored = messages.Stored(outgoing.subject, sequence, "", outgoing.payload, outgoing.headers)
    message = {**results.message(stream, stored, outgoing.encoding), "duplicate": duplicate}
    if outgoing.increment is not None:
        message["value"] = int(ack["val"]) if "val" in ack else None
    if duplicate:
        return results.unchanged(message=message)
    lost = results.UNKNOWN if outgoing.rolls_up else 0
    return results.published(f"message on {outgoing.subject}", message, lost)


def _scheduled(session: sessions.Session, outgoing: Outgoing, owner: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The result where the schedule is there already, or was done and forgotten; None where it is to be published."""
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
    """The info of the stream that takes the subject; None where there is none, empty where we may not look."""
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


def _send(session: sessions.Session, outgoing: Outgoing, owner: dict[str, Any] | None) -> dict[str, Any]:
    """Publishes, and returns the stream's acknowledgement."""
    what = f"Publishing to {outgoing.subject}"
    headers, again = _identified(session, outgoing, (owner or {}).get("config") or {})
    try:
        ack = messages.publish(
            session, what, outgoing.subject, outgoing.payload, headers, again=again, known=bool(owner)
        )
    except _errors.ApiError as error:
        found = _found_again(session, outgoing, owner, headers) if error.repeated else None
        if found:
            return found
        raise refusal_of(outgoing, error) from error
    except _errors.NoAnswer as error:
        code = error.failure["code"]
        # Without a stream, a plain subscriber may have heard it, and not answered or not as a stream does
        if code == "no_responders" or (owner is None and code != "jetstream_off"):
            raise nobody(outgoing.subject) from error
        found = _found_again(session, outgoing, owner, headers)
        if found:
            return found
        remedy = "look at the stream with choria_stream_message_info, or give msg_id, with which a retry does no harm"
        raise jetstream.named(what, error, remedy) from error
    except _errors.WrongAnswer as error:
        if owner is None:  # a plain subscriber answered
            raise nobody(outgoing.subject) from error
        raise
    return ack


def _identified(
    session: sessions.Session, outgoing: Outgoing, config: Mapping[str, Any]
) -> tuple[dict[str, str], bool]:
    """The headers with a message id, and whether the message can be sent again without harm.

    Without room for an id, or where the stream does not remember it, it can't, unless an expectation sees to that.
    """
    headers = {messages.MESSAGE_ID: messages.new_id(), **outgoing.headers}
    limits = [session.connected.max_payload, int(config.get("max_msg_size") or 0)]
    if wire.Request(outgoing.subject, outgoing.payload, headers).size > min(limit for limit in limits if limit > 0):
        headers = dict(outgoing.headers)
    remembered = messages.dedupes(session, config) if config else bool(outgoing.msg_id)
    return headers, bool(outgoing.expected) or (messages.MESSAGE_ID in headers and remembered)


def _last_sequence(owner: Mapping[str, Any] | None) -> int:
    """The last sequence that the stream had when we looked at it, before the message was sent."""
    return int(((owner or {}).get("state") or {}).get("last_seq") or 0)


def _found_again(
    session: sessions.Session, outgoing: Outgoing, owner: Mapping[str, Any] | None, headers: Mapping[str, str]
) -> dict[str, Any] | None:
    """The acknowledgement that got lost, where the stream has the message. None where it can't be found."""
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
    """The server's refusal in the words of the options."""
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
    """The message as the stream has it; None where it is gone already, or where we may not look."""
    try:
        return messages.get(session, stream, sequence=sequence) if sequence else None
    except _errors.PermissionMissing:
        return None


def foresee(session: sessions.Session, outgoing: Outgoing, owner: dict[str, Any] | None) -> dict[str, Any]:
    """The acknowledgement that would come. Raises what the server would refuse, compared in its order."""
    if owner is None:
        raise nobody(outgoing.subject)
    if not owner:
        return {"stream": outgoing.stream, "seq": 0}
    config, state = owner["config"], owner["state"]
    original = _original(session, outgoing, config)
    if original:
        return {"stream": config["name"], "seq": original.sequence, "duplicate": True}
    for option, wanted in outgoing.expected.items():
        found = _last(session, outgoing, config["name"], state, option)
        if found != wanted:
            raise moved(outgoing, option, found)
    _check_room(session, outgoing, config, state)
    ack = {"stream": config["name"], "seq": int(state["last_seq"]) + 1}
    if outgoing.increment is not None:
        ack["val"] = count_of(messages.get(session, config["name"], subject=outgoing.subject)) + outgoing.increment
    return ack


def _original(session: sessions.Session, outgoing: Outgoing, config: Mapping[str, Any]) -> messages.Stored | None:
    """The message with the same id that the stream still remembers."""
    window = timedelta(microseconds=int(config.get("duplicate_window") or 0) / 1000)
    if not outgoing.msg_id or not window:
        return None
    recent = reading.onward(session, config["name"], start=datetime.now(timezone.utc) - window, limit=_MOST_RECENT)
    return next((message for message in recent if message.headers.get("Nats-Msg-Id") == outgoing.msg_id), None)


def _last(session: sessions.Session, outgoing: Outgoing, stream: str, state: Mapping[str, Any], option: str) -> Any:
    """What the server would compare with an option."""
    if option == LAST_SEQUENCE:
        return int(state["last_seq"])
    if option == LAST_MSG_ID:
        last = messages.get(session, stream, sequence=int(state["last_seq"])) if state["last_seq"] else None
        return last.headers.get("Nats-Msg-Id", "") if last else ""
    last = messages.get(session, stream, subject=outgoing.subject)
    return last.sequence if last else 0


def _check_room(
    session: sessions.Session, outgoing: Outgoing, config: Mapping[str, Any], state: Mapping[str, Any]
) -> None:
    if config.get("discard") != "new":
        return
    most, most_each = int(config.get("max_msgs") or 0), int(config.get("max_msgs_per_subject") or 0)
    if 0 < most <= int(state["messages"]):
        raise full(outgoing.subject, f"max_msgs {most}")
    if config.get("discard_new_per_subject") and most_each > 0:
        counts = streams.subject_counts(session, config["name"], outgoing.subject)
        if counts.get(outgoing.subject, 0) >= most_each:
            raise full(outgoing.subject, f"max_msgs_per_subject {most_each}")
