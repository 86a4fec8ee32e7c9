# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the last message on each of many subjects, in as few requests as possible."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import _errors
from . import jetstream, messages

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from .._connection import sessions

# nats-server's limit for one request with multi_last (server/stream.go)
BATCH = 1024
BATCHES_SINCE = (2, 11, 0)
# Batches that are under way together, and their bytes: half of what a server keeps for a client (max_pending)
_TOGETHER, _BYTES = 16, 32 << 20


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
        except _errors.PermissionMissing:
            pass  # what is allowed may be the single reads, which name their subjects
    asked = messages.direct_last(session, stream, subjects) if direct else from_leader(session, what, stream, subjects)
    for message in there(asked):
        if not up_to or message.sequence <= up_to:
            yield message


def from_leader(
    session: sessions.Session, what: str, stream: str, subjects: Iterable[str]
) -> Iterator[messages.Stored | _errors.StreamsError | None]:
    """Yield as ``direct_last`` does, for a stream that only its leader reads."""
    calls = ((what, f"STREAM.MSG.GET.{stream}", {"last_by_subj": subject}) for subject in subjects)
    for answer in jetstream.call_many(session, calls):
        if isinstance(answer, _errors.ApiError) and answer.err_code == jetstream.NO_MESSAGE_FOUND:
            yield None
        else:
            yield answer if isinstance(answer, _errors.StreamsError) else messages.stored_of(answer["message"])


def there(answers: Iterable[messages.Stored | _errors.StreamsError | None]) -> Iterator[messages.Stored]:
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
            for body, (found, beyond) in zip(asked, messages.direct_pages(session, stream, asked)):
                yield from found
                if found and beyond:
                    body["seq"] = found[-1].sequence + 1
                    left.append(body)
            asked = left
