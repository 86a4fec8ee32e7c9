# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Publish several messages in one batch: the stream stores all of them, or none (ADR-50)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ... import _errors
from ..._api import jetstream, message_lists, messages
from ..._connection import wire
from ..._options import codecs, fields
from . import publish as stream_publish
from . import results, several
from .features import V2_12
from .foresight import check_batch
from .outgoing import LAST_SEQUENCE, LAST_SUBJECT_SEQUENCE, PUBLISH, Outgoing, refused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..._connection import sessions

# What the server takes in one batch (streamMaxAtomicBatchSize)
_MOST = 1000
_ITEM = tuple(
    row
    for row in PUBLISH
    if row.option in ("subject", "data", "headers", "msg_id", "ttl", "increment", LAST_SEQUENCE, LAST_SUBJECT_SEQUENCE)
)
BATCH = fields.Field("messages", codecs.Codec({"type": "list", "elements": "dict", "options": {}}))
BATCH.codec.spec["options"] = {
    row.option: {**row.argument(), **({"required": True} if row.option == "subject" else {})} for row in _ITEM
}


def publish(session: sessions.Session, options: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Publish all in one batch, or in check mode check all that would prevent it. Return the whole result."""
    if not options["messages"]:
        raise _errors.OptionError("messages", "has no entries: give one message or more.")
    if options["atomic"] is False:
        return several.publish(session, _outgoings(options), options, check_mode)
    if len(options["messages"]) > _MOST:
        have = f"has {len(options['messages'])} entries, and a batch has up to {_MOST}"
        raise _errors.OptionError("messages", f"{have}: set atomic to false, or give fewer.")
    for number, item in enumerate(options["messages"]):
        for option in ("msg_id", *((LAST_SEQUENCE,) if number else ())):
            if item.get(option) is not None:
                why = "a batch knows no ids" if option == "msg_id" else "the first message of a batch alone can have it"
                raise _errors.OptionError(
                    f"messages[{number}].{option}", f"{why}: leave it out, or set atomic to false."
                )
    batch = _outgoings(options)
    if session.server.version < V2_12:
        why = f"needs nats-server 2.12, and {session.server.runs}: set atomic to false"
        raise refused("messages", why, "server_too_old")
    owners = {each.subject: owner for each, owner in zip(batch, stream_publish.owners_of(session, batch))}
    names = {(owner or {}).get("config", {}).get("name") for owner in owners.values()}
    if len(names) > 1:
        told = ", ".join(sorted(str(name) for name in names))
        raise refused("messages", f"the subjects belong to several streams ({told}), and a batch goes to one")
    owner = owners[batch[0].subject]
    if owner and not owner["config"].get("allow_atomic"):
        told = f"stream {owner['config']['name']} takes no batches: set allow_atomic: true with choria_stream"
        raise refused("messages", told)
    for each in batch:
        each.check(session.server, (owner or {}).get("config") or {})
    ack = _foresee(session, batch, owner) if check_mode else _send(session, batch)
    return _result(session, batch, ack, stored=bool(owner) and not check_mode)


def _outgoings(options: Mapping[str, Any]) -> list[Outgoing]:
    return [_outgoing(number, item, options) for number, item in enumerate(options["messages"])]


def _outgoing(number: int, item: Mapping[str, Any], options: Mapping[str, Any]) -> Outgoing:
    blank = dict.fromkeys(row.option for row in PUBLISH)
    shared = {name: options[name] for name in ("stream", "encoding", "allow_data_loss")}
    try:
        return Outgoing.from_options({**blank, **item, **shared})
    except _errors.OptionError as error:
        raise _errors.OptionError(f"messages[{number}].{error.failure['option']}", error.reason) from error


def _send(session: sessions.Session, batch: list[Outgoing]) -> dict[str, Any]:
    """Publish in order, and return the acknowledgement of the last one, which holds for all."""
    name, requests = messages.new_id(), []
    for number, each in enumerate(batch, start=1):
        headers = {**each.headers, "Nats-Batch-Id": name, "Nats-Batch-Sequence": str(number)}
        if number == len(batch):
            headers["Nats-Batch-Commit"] = "1"
        requests.append(wire.Request(each.subject, each.payload, headers, again=False))
    ack: dict[str, Any] = {}
    for each, answer in zip(batch, session.request_many(requests)):
        if isinstance(answer, _errors.StreamsError):
            raise answer
        if not answer[0].data:
            continue  # taken, and not stored yet
        try:
            ack = jetstream.decode(f"Publishing a batch with {each.subject}", answer[0])
        except _errors.ApiError as error:
            raise _refusal(batch, error) from error
    if "seq" not in ack:
        raise _errors.NoAnswer("messages: the stream did not acknowledge the batch: look at its messages.")
    return ack


def _refusal(batch: list[Outgoing], error: _errors.ApiError) -> _errors.StreamsError:
    """Return the error of the batch. The server names no message, so it is assigned by the expectations."""
    found = (stream_publish.refusal_of(each, error) for each in batch if each.expected)
    return next((reason for reason in found if reason is not error), error)


def _foresee(session: sessions.Session, batch: list[Outgoing], owner: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the expected acknowledgement of all, or raise the error that the server would return."""
    check_batch(session, batch, owner)
    config, state = (owner or {}).get("config", {}), (owner or {}).get("state", {})
    last = int(state["last_seq"]) + len(batch) if owner else 0
    return {"stream": config.get("name", batch[0].stream), "seq": last}


def _result(
    session: sessions.Session, batch: list[Outgoing], ack: Mapping[str, Any], *, stored: bool
) -> dict[str, Any]:
    stream, last = str(ack["stream"]), int(ack["seq"])
    sequences = [last - len(batch) + number if last else 0 for number in range(1, len(batch) + 1)]
    there: list[Any] = list(message_lists.get(session, stream, sequences)) if stored else [None] * len(batch)
    shown = []
    for each, sequence, found in zip(batch, sequences, there):
        if not isinstance(found, messages.Stored):
            found = messages.Stored(each.subject, sequence, "", each.payload, each.headers)
        shown.append({**results.message(stream, found, each.encoding), "duplicate": False})
    lost = results.UNKNOWN if any(each.rolls_up for each in batch) else 0
    return results.published_batch(f"{len(batch)} messages to stream {stream}", shown, lost)
