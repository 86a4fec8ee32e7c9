# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Delete one message of a stream, or many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ... import _errors
from ..._api import message_count, messages, reading, streams
from ..._options import codecs, fields
from ..._resources import losses
from . import results
from .outgoing import refused
from .selection import FILTER, STREAM

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..._api import answers
    from ..._connection import sessions

_WHERE = fields.Spec(
    (
        STREAM,
        fields.Field("subject", FILTER, wire="filter"),
        fields.Field("sequence", codecs.whole(1), wire="seq"),
        fields.Field("keep", codecs.whole(1)),
    )
)


def delete(session: sessions.Session, options: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Delete the message with a sequence. A missing one is not a change. Return the whole result."""
    given = fields.checked(_WHERE, options.get)
    stream, sequence = given["stream"], given["sequence"]
    refusal = denied(session, stream, f"message {sequence}", "sequence")
    stored = messages.get(session, stream, sequence=sequence)
    if stored is None:
        return results.unchanged(message=None)
    if refusal:
        raise refusal
    if not check_mode:
        if not messages.delete(session, stream, sequence, erase=bool(options["erase"])):
            return results.unchanged(message=None)
        if messages.get(session, stream, sequence=sequence):
            raise _errors.StreamsError(
                f"The server confirmed that message {sequence} of stream {stream} is deleted, but still has it: check "
                "its log.",
                code="not_applied",
            )
    before = results.message(stream, stored, options["encoding"])
    return results.deleted(f"message {sequence} of stream {stream}", before)


def denied(
    session: sessions.Session, stream: str, what: str = "messages", option: str = "sequences"
) -> _errors.Refused | None:
    """Why the stream deletes no message, or None. Raises the error of a stream that does not exist."""
    config = _info(session, stream)["config"]
    if config.get("sealed") or config.get("deny_delete"):
        why = "is sealed" if config.get("sealed") else "does not allow that (deny_delete)"
        return refused(option, f"{what} can't be deleted, stream {stream} {why}")
    return None


def purge(session: sessions.Session, options: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Delete all messages, or those that ``subject``, ``keep`` and ``sequence`` select. Return the whole result."""
    given = fields.checked(_WHERE, options.get)
    stream = given["stream"]
    body = {row.path: given[row.option] for row in _WHERE if row.option in given and row.option != "stream"}
    info = _info(session, stream)
    before = info["state"]["messages"]
    going = _count(session, stream, before, body)
    if not going:
        return results.unchanged(purged=0, messages_before=before, messages_after=before)
    _check_purge(stream, info["config"])
    losses.Loss(going, 0, "purging it").check(f"stream {stream}", bool(options["allow_data_loss"]))
    after = before - going
    if not check_mode:
        going = streams.purge(session, stream, body)
        after = _info(session, stream)["state"]["messages"]
        if not going:  # others were faster
            return results.unchanged(purged=0, messages_before=after, messages_after=after)
    return results.purged(f"stream {stream}", before, after, going)


def _info(session: sessions.Session, stream: str) -> answers.StreamInfo:
    info = streams.info(session, stream)
    if info is None:
        raise streams.missing(stream)
    return info


def _count(session: sessions.Session, stream: str, total: int, body: Mapping[str, Any]) -> int:
    """Return how many messages a purge deletes."""
    subject = body.get("filter", reading.ALL)
    matching = sum(message_count.subject_counts(session, stream, subject).values()) if "filter" in body else total
    if "keep" in body:
        return max(0, matching - int(body["keep"]))
    if "seq" in body:
        return reading.count_before(session, stream, subject, body["seq"], matching)
    return matching


def _check_purge(stream: str, config: Mapping[str, Any]) -> None:
    if config.get("sealed") or config.get("deny_purge"):
        why = "is sealed" if config.get("sealed") else "does not allow that (deny_purge)"
        raise refused("state", f"stream {stream} can't be purged, it {why}")
