# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Publish several messages in one batch, of which the stream stores all or none (ADR-50), or each independently.

The latter, and deletions, are requests that are sent together.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from ... import _errors
from ..._api import answers, jetstream, messages
from ..._connection import wire
from ..._options import codecs, fields
from . import publish as stream_publish
from . import removal, results
from .foresight import check_batch, foresee
from .outgoing import LAST_SEQUENCE, LAST_SUBJECT_SEQUENCE, PUBLISH, STREAM, V2_12, Outgoing, nobody, refused

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from ..._connection import sessions

# The most messages that a server accepts in one batch (streamMaxAtomicBatchSize)
_MOST = 1000
_ITEM = tuple(
    row
    for row in PUBLISH
    if row.option in ("subject", "data", "headers", "msg_id", "ttl", "increment", LAST_SEQUENCE, LAST_SUBJECT_SEQUENCE)
)
_ITEMS = fields.Spec(_ITEM)
BATCH = fields.Field("messages", codecs.Codec({"type": "list", "elements": "dict", "options": {}}))
BATCH.codec.spec["options"] = {
    row.option: {**row.argument(), **({"required": True} if row.option == "subject" else {})} for row in _ITEM
}


def publish(session: sessions.Session, options: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Publish all messages in one batch. In check mode, only check what would prevent it. Return the whole result."""
    if not options["messages"]:
        raise _errors.OptionError("messages", "has no entries: give one message or more.")
    if options["atomic"] is False:
        return publish_each(session, _outgoings(options), options, check_mode)
    if len(options["messages"]) > _MOST:
        have = f"has {len(options['messages'])} entries, and a batch has up to {_MOST}"
        raise _errors.OptionError("messages", f"{have}: set atomic to false, or give fewer.")
    for number, item in enumerate(options["messages"]):
        for option in ("msg_id", *((LAST_SEQUENCE,) if number else ())):
            if item.get(option) is not None:
                why = (
                    "messages of a batch have no ids"
                    if option == "msg_id"
                    else "only the first message of a batch can have it"
                )
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
        listed = ", ".join(sorted(str(name) for name in names))
        raise refused("messages", f"the subjects belong to several streams ({listed}), and a batch goes to one")
    owner = owners[batch[0].subject]
    if owner and not owner["config"].get("allow_atomic"):
        why = f"stream {owner['config']['name']} takes no batches: set allow_atomic: true with choria_stream"
        raise refused("messages", why)
    for each in batch:
        each.check(session.server, (owner or {}).get("config") or {})
    ack = _foresee(session, batch, owner) if check_mode else _send(session, batch)
    return _result(session, batch, ack, stored=bool(owner) and not check_mode)


def _outgoings(options: Mapping[str, Any]) -> list[Outgoing]:
    shared = fields.checked(fields.Spec((STREAM,)), options.get)
    encoding, allow_data_loss = options["encoding"], bool(options["allow_data_loss"])
    checks: dict[tuple[str, ...], list[Any]] = {}
    outgoings = []
    for number, item in enumerate(options["messages"]):
        # Nearly all items have the same options, and only these are checked
        given = tuple([option for option, value in item.items() if value is not None])
        if given not in checks:
            checks[given] = [(row.option, row.codec.to_wire) for row in _ITEM if row.option in given]
        try:
            try:
                checked = {option: check(item[option]) for option, check in checks[given]}
            except ValueError:
                fields.checked(_ITEMS, item.get)  # raises the error of the option
                raise
            checked.update(shared)
            outgoings.append(Outgoing.from_checked(checked, encoding, allow_data_loss))
        except _errors.OptionError as error:
            raise _errors.OptionError(f"messages[{number}].{error.failure['option']}", error.reason) from error
    return outgoings


def _send(session: sessions.Session, batch: list[Outgoing]) -> messages.Acknowledgement:
    """Publish in order, and return the acknowledgement of the last one, which holds for all."""
    [name], requests = messages.new_ids(1), []
    for number, each in enumerate(batch, start=1):
        headers = {**each.headers, "Nats-Batch-Id": name, "Nats-Batch-Sequence": str(number)}
        if number == len(batch):
            headers["Nats-Batch-Commit"] = "1"
        requests.append(wire.Request(each.subject, each.payload, headers, again=False))
    ack: answers.PubAck | None = None
    for each, answer in zip(batch, session.request_many(requests)):
        if isinstance(answer, _errors.StreamsError):
            raise answer
        if not answer[0].data:
            continue  # received, and not stored yet
        try:
            what = f"Publishing a batch with {each.subject}"
            ack = jetstream.decode(what, answer[0], answers.PubAck, written=True)
        except _errors.ApiError as error:
            raise _refusal(batch, error) from error
    if ack is None:
        raise _errors.NoAnswer("messages: the stream did not acknowledge the batch: check its messages.")
    return messages.described(ack)


def _refusal(batch: list[Outgoing], error: _errors.ApiError) -> _errors.StreamsError:
    """Return the error of the batch. The server names no message, so the expectation of a message identifies it."""
    reasons = (stream_publish.refusal_of(each, error) for each in batch if each.expected)
    return next((reason for reason in reasons if reason is not error), error)


def _foresee(session: sessions.Session, batch: list[Outgoing], owner: stream_publish.Owner) -> messages.Acknowledgement:
    """Return the expected acknowledgement of all, or raise the error that the server would return."""
    check_batch(session, batch, owner)
    config, state = (owner or {}).get("config", {}), (owner or {}).get("state", {})
    last = int(state["last_seq"]) + len(batch) if owner else 0
    return {"stream": config.get("name", batch[0].stream), "seq": last, "duplicate": False}


def _result(
    session: sessions.Session, batch: list[Outgoing], ack: messages.Acknowledgement, *, stored: bool
) -> dict[str, Any]:
    stream, last = ack["stream"], ack["seq"]
    sequences = [last - len(batch) + number if last else 0 for number in range(1, len(batch) + 1)]
    there = _stored(session, stream, sequences) if stored else [None] * len(batch)
    shown = []
    for each, sequence, message in zip(batch, sequences, there):
        message = message or messages.Stored(each.subject, sequence, "", each.payload, each.headers)
        shown.append({**results.message(stream, message, each.encoding), "duplicate": False})
    lost = results.UNKNOWN if any(each.rolls_up for each in batch) else 0
    return results.published_batch(f"{len(batch)} messages to stream {stream}", shown, lost)


# How many messages are read at a time to find out whether they are there, since each may be large
_READ_AT_ONCE = 128


def publish_each(
    session: sessions.Session, batch: Sequence[Outgoing], options: Mapping[str, Any], check_mode: bool
) -> dict[str, Any]:
    """Publish all messages in order, and return the whole result. Raises the first error, with all results."""
    owners = stream_publish.owners_of(session, batch)
    _check(session, batch, owners)
    pairs = list(zip(batch, owners))
    acks = foresee(session, pairs) if check_mode else stream_publish.send(session, pairs)
    shown = [_shown(each, ack) for each, ack in zip(batch, acks)]
    _show_first(session, batch, acks, shown)
    new = [it for it, ack in zip(shown, acks) if isinstance(ack, dict) and not ack["duplicate"]]
    refused = [(number, ack) for number, ack in enumerate(acks) if isinstance(ack, _errors.StreamsError)]
    if refused:
        raise _partly(refused[0], shown, len(new), check_mode)
    if not new:
        return results.unchanged(message=shown[-1], messages=shown)
    lost = results.UNKNOWN if any(each.rolls_up for each in batch if each.headers) else 0
    return {**results.published_batch(f"{len(new)} messages", new, lost), "message": shown[-1], "messages": shown}


def _check(session: sessions.Session, batch: Sequence[Outgoing], owners: Sequence[Mapping[str, Any] | None]) -> None:
    """Raise the error of the first message that its stream would refuse."""
    server = session.server
    fits: dict[int, int] = {}  # the size of a payload that passed, by stream: smaller ones without headers pass too
    for number, (each, owner) in enumerate(zip(batch, owners)):
        if not each.headers and len(each.payload) <= fits.get(id(owner), -1):
            continue
        try:
            if owner is None:
                raise nobody(each.subject)
            each.check(server, owner.get("config") or {})
        except _errors.StreamsError as error:
            raise _of_item(f"messages[{number}]", error) from error
        if not each.headers:
            fits[id(owner)] = len(each.payload)


def _shown(outgoing: Outgoing, ack: messages.Acknowledgement | _errors.StreamsError) -> dict[str, Any]:
    if not isinstance(ack, _errors.StreamsError):
        return stream_publish.described(outgoing, ack, None)
    nothing = stream_publish.described(outgoing, {"stream": outgoing.stream, "seq": 0, "duplicate": False}, None)
    return {**nothing, "failure": {**ack.failure, "msg": ack.message}}


def _show_first(session: sessions.Session, batch: Sequence[Outgoing], acks: Sequence[Any], shown: list[Any]) -> None:
    """Replace duplicates with the stored messages."""
    of_stream: dict[str, list[int]] = {}
    for number, ack in enumerate(acks):
        if isinstance(ack, dict) and ack["duplicate"]:
            of_stream.setdefault(str(ack["stream"]), []).append(number)
    for stream, numbers in of_stream.items():
        first_ones = _stored(session, stream, [int(acks[number]["seq"]) for number in numbers])
        for number, stored in zip(numbers, first_ones):
            if stored:
                shown[number] = stream_publish.described(batch[number], acks[number], stored)


def _partly(
    first: tuple[int, _errors.StreamsError], shown: list[dict[str, Any]], new: int, check_mode: bool
) -> _errors.StreamsError:
    """Return the error if not all of the messages are stored."""
    number, reason = first
    refused = sum(1 for each in shown if "failure" in each)
    would = "would be" if check_mode else "were"
    counts = f"{refused} of {len(shown)} messages {would} refused, and {new} {would} stored"
    error = _of_item(f"messages[{number}]", reason, counts)
    failures = (each["failure"] for each in shown if "failure" in each)
    error.result.update(messages=shown, changed=bool(new) or _is_unknown(failures))
    return error


def _is_unknown(failures: Iterable[Mapping[str, Any]]) -> bool:
    """Return True if it is not known of a failed write whether it was done."""
    return any(failure["code"] in _errors.WRITTEN for failure in failures)


def _of_item(item: str, error: _errors.StreamsError, counts: str = "") -> _errors.StreamsError:
    """Return the same error with the item of the list."""
    option = str(error.failure.get("option") or "")
    joined = "." if option and error.message.startswith(f"{option}:") else ": "
    message = f"{item}{joined}{error.message}" + (f" {counts}." if counts else "")
    named = _errors.StreamsError(message, **{**error.failure, **({"option": f"{item}.{option}"} if option else {})})
    named.result = dict(error.result)
    return named


def delete(session: sessions.Session, options: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Delete the messages with these sequences. Missing ones are no change. Return the whole result."""
    stream, sequences = options["stream"], list(dict.fromkeys(options["sequences"]))
    refusal = removal.denied(session, stream)
    if check_mode or refusal:
        there = list(_existing(session, stream, sequences))
        if there and refusal:
            raise refusal
        return _deleted(stream, there)
    answers = delete_each(session, stream, sequences, erase=bool(options["erase"]))
    gone = [sequence for sequence, answer in zip(sequences, answers) if answer is True]
    refused = [(number, answer) for number, answer in enumerate(answers) if isinstance(answer, _errors.StreamsError)]
    if refused:
        number, first = refused[0]
        error = _of_item(f"sequences[{number}]", first, f"{len(gone)} of {len(sequences)} messages were deleted")
        failures = [answer.failure for _number, answer in refused]
        error.result.update(deleted=gone, changed=bool(gone) or _is_unknown(failures))
        raise error
    return _deleted(stream, gone)


def _existing(session: sessions.Session, stream: str, sequences: list[int]) -> Iterator[int]:
    rest = iter(sequences)
    while part := list(islice(rest, _READ_AT_ONCE)):
        for sequence, answer in zip(part, get_each(session, stream, part)):
            if isinstance(answer, _errors.StreamsError):
                raise answer
            if answer:
                yield sequence


def _deleted(stream: str, sequences: list[int]) -> dict[str, Any]:
    if not sequences:
        return results.unchanged(message=None, deleted=[])
    return results.deleted_many(f"messages of stream {stream}", sequences)


def _stored(session: sessions.Session, stream: str, sequences: list[int]) -> list[messages.Stored | None]:
    """Return the published message of each sequence, None if it is gone, or can't be read."""
    stored: list[messages.Stored | None] = []
    for answer in get_each(session, stream, sequences):
        if isinstance(answer, _errors.WrongAnswer):
            raise answer
        stored.append(answer if isinstance(answer, messages.Stored) else None)
    return stored


def get_each(
    session: sessions.Session, stream: str, sequences: Iterable[int]
) -> list[messages.Stored | _errors.StreamsError | None]:
    """Return the message of each sequence, None if it is gone, or an error."""
    what = f"Reading a message of stream {stream}"
    calls = [messages.getting(what, stream, {"seq": sequence}) for sequence in sequences]
    results: list[messages.Stored | _errors.StreamsError | None] = []
    for answer in jetstream.call_many(session, calls):
        if isinstance(answer, _errors.StreamsError):
            gone = isinstance(answer, _errors.ApiError) and messages.is_gone(answer)
            results.append(None if gone else answer)
        else:
            results.append(messages.stored_of(answer))
    return results


def delete_each(
    session: sessions.Session, stream: str, sequences: Iterable[int], *, erase: bool = False
) -> list[bool | _errors.StreamsError]:
    """Delete each message. Return True, False if it was gone, or an error for each."""
    listed, subject = list(sequences), session.api(f"STREAM.MSG.DELETE.{stream}")
    body = b'{"seq": %d}' if erase else b'{"seq": %d, "no_erase": true}'
    requests = [wire.Request(subject, body % sequence, again=True) for sequence in listed]
    results: list[bool | _errors.StreamsError] = []
    for sequence, reply in zip(listed, session.request_many(requests)):
        if not isinstance(reply, _errors.StreamsError) and reply[0].data == _DELETED:
            results.append(True)
            continue
        answer = jetstream.answer_to(messages.deleting(stream, sequence, erase), reply)
        if isinstance(answer, _errors.ApiError) and messages.is_gone(answer):
            results.append(answer.repeated)  # then probably an earlier request of ours deleted it
        else:
            results.append(answer if isinstance(answer, _errors.StreamsError) else True)
    return results


# The answer to nearly all deletions. All others are checked part by part
_DELETED = b'{"type":"io.nats.jetstream.api.v1.stream_msg_delete_response","success":true}'
