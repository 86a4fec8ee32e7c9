# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many messages of a stream by their sequence numbers: read and delete, pipelined."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import _errors
from . import jetstream, messages

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .._connection import sessions


def get(
    session: sessions.Session, stream: str, sequences: Iterable[int]
) -> list[messages.Stored | _errors.StreamsError | None]:
    """For each sequence the message, None where there is none, or an error."""
    what, subject = f"Reading a message of stream {stream}", f"STREAM.MSG.GET.{stream}"
    found: list[messages.Stored | _errors.StreamsError | None] = []
    for answer in jetstream.call_many(session, [(what, subject, {"seq": sequence}) for sequence in sequences]):
        if isinstance(answer, _errors.StreamsError):
            gone = isinstance(answer, _errors.ApiError) and messages.is_gone(answer)
            found.append(None if gone else answer)
        else:
            found.append(messages.stored_of(answer["message"]))
    return found


def delete(
    session: sessions.Session, stream: str, sequences: Iterable[int], *, erase: bool = False
) -> list[bool | _errors.StreamsError]:
    """For each sequence True, False where there was no message any more, or an error."""
    found: list[bool | _errors.StreamsError] = []
    for answer in jetstream.call_many(session, [messages.deleting(stream, sequence, erase) for sequence in sequences]):
        if isinstance(answer, _errors.ApiError) and messages.is_gone(answer):
            found.append(answer.repeated)  # then an earlier request did it, as far as anybody can tell
        else:
            found.append(answer if isinstance(answer, _errors.StreamsError) else True)
    return found
