# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Publish or delete several messages, each independently, by requests that are sent together."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from ... import _errors
from ..._api import message_lists, messages
from . import publish as stream_publish
from . import removal, results
from .foresight import foresee
from .outgoing import Outgoing, nobody

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ..._connection import sessions

# How many messages are read at a time to find out whether they are there, since each may be large
_READ_AT_ONCE = 128


def publish(
    session: sessions.Session, batch: Sequence[Outgoing], options: Mapping[str, Any], check_mode: bool
) -> dict[str, Any]:
    """Publish all messages in order, and return the whole result. Raises the first error, with all results."""
    owners = stream_publish.owners_of(session, batch)
    for number, (each, owner) in enumerate(zip(batch, owners)):
        try:
            if owner is None:
                raise nobody(each.subject)
            each.check(session.server, owner.get("config") or {})
        except _errors.StreamsError as error:
            raise _of_item(f"messages[{number}]", error) from error
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
    lost = results.UNKNOWN if any(each.rolls_up for each in batch) else 0
    return {**results.published_batch(f"{len(new)} messages", new, lost), "message": shown[-1], "messages": shown}


def _shown(outgoing: Outgoing, ack: dict[str, Any] | _errors.StreamsError) -> dict[str, Any]:
    if isinstance(ack, dict):
        return stream_publish.described(outgoing, ack, None)
    nothing = stream_publish.described(outgoing, {"stream": outgoing.stream, "seq": 0}, None)
    return {**nothing, "failure": {**ack.failure, "msg": ack.message}}


def _show_first(session: sessions.Session, batch: Sequence[Outgoing], acks: Sequence[Any], shown: list[Any]) -> None:
    """Replace duplicates with the stored messages."""
    of_stream: dict[str, list[int]] = {}
    for number, ack in enumerate(acks):
        if isinstance(ack, dict) and ack["duplicate"]:
            of_stream.setdefault(str(ack["stream"]), []).append(number)
    for stream, numbers in of_stream.items():
        found = message_lists.get(session, stream, [int(acks[number]["seq"]) for number in numbers])
        for number, stored in zip(numbers, found):
            if isinstance(stored, messages.Stored):
                shown[number] = stream_publish.described(batch[number], acks[number], stored)


def _partly(
    first: tuple[int, _errors.StreamsError], shown: list[dict[str, Any]], new: int, check_mode: bool
) -> _errors.StreamsError:
    """Return the error if not all of the messages are stored."""
    number, reason = first
    refused = sum(1 for each in shown if "failure" in each)
    would = "would be" if check_mode else "were"
    told = f"{refused} of {len(shown)} messages {would} refused, and {new} {would} stored"
    error = _of_item(f"messages[{number}]", reason, told)
    error.result.update(messages=shown, changed=bool(new) or reason.failure["code"] in _errors.WRITTEN)
    return error


def _of_item(item: str, error: _errors.StreamsError, told: str = "") -> _errors.StreamsError:
    """Return the same error with the item of the list."""
    option = str(error.failure.get("option") or "")
    joined = "." if option and error.message.startswith(f"{option}:") else ": "
    message = f"{item}{joined}{error.message}" + (f" {told}." if told else "")
    named = _errors.StreamsError(message, **{**error.failure, **({"option": f"{item}.{option}"} if option else {})})
    named.result = dict(error.result)
    return named


def delete(session: sessions.Session, options: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Delete the messages with these sequences. Missing ones are no change. Return the whole result."""
    stream, wanted = options["stream"], list(dict.fromkeys(options["sequences"]))
    refusal = removal.denied(session, stream)
    if check_mode or refusal:
        there = list(_existing(session, stream, wanted))
        if there and refusal:
            raise refusal
        return _deleted(stream, there)
    answers = message_lists.delete(session, stream, wanted, erase=bool(options["erase"]))
    gone = [sequence for sequence, answer in zip(wanted, answers) if answer is True]
    for number, answer in enumerate(answers):
        if isinstance(answer, _errors.StreamsError):
            error = _of_item(f"sequences[{number}]", answer, f"{len(gone)} of {len(wanted)} messages were deleted")
            error.result.update(deleted=gone, changed=bool(gone) or answer.failure["code"] in _errors.WRITTEN)
            raise error
    return _deleted(stream, gone)


def _existing(session: sessions.Session, stream: str, wanted: list[int]) -> Iterator[int]:
    rest = iter(wanted)
    while part := list(islice(rest, _READ_AT_ONCE)):
        for sequence, found in zip(part, message_lists.get(session, stream, part)):
            if isinstance(found, _errors.StreamsError):
                raise found
            if found:
                yield sequence


def _deleted(stream: str, sequences: list[int]) -> dict[str, Any]:
    if not sequences:
        return results.unchanged(message=None, deleted=[])
    return results.deleted_many(f"messages of stream {stream}", sequences)
