# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The envelope of the JetStream API: JSON in, JSON out, errors by their number."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from .. import _errors
from .._connection import sessions, wire

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    Call = tuple[str, str, Any]
    """What is done, as an error's sentence begins; the subject under the API's prefix; the body."""

# Numbers of nats-server's error catalogue (server/errors.json) that callers tell apart.
STREAM_NOT_FOUND = 10059
CONSUMER_NOT_FOUND = 10014
NO_MESSAGE_FOUND = 10037
MESSAGE_NOT_DELETED = 10057
SEQUENCE_NOT_FOUND = 10043
MAXIMUM_MESSAGES = 10077
NOT_ENABLED_FOR_ACCOUNT = 10039
STORE_NOT_CREATED = 10049
NAME_IN_USE_BY_RESTORE = 10130
# Either of two numbers: what was addressed is gone, and another message came last than was expected
NOT_THERE = (STREAM_NOT_FOUND, CONSUMER_NOT_FOUND)
WRONG_LAST_SEQUENCE = (10071, 10164)

_MOVING = "Wait until all replicas are current."
# What a person can do about an error that the plan can't foresee.
_HINTS = {
    10005: "Give fewer replicas, or add servers to the cluster (options replicas and placement).",
    10023: "Free storage, or lower max_bytes.",
    10026: "The account's limit of consumers is reached.",
    10027: "The account's limit of streams is reached.",
    10028: "The account's storage limits do not allow it: check storage, max_bytes and replicas.",
    10047: "The server's storage is full or its limit does not allow it: check storage and max_bytes.",
    10065: "Choose subjects that no other stream has (option subjects).",
    10074: "Give replicas: 1, or use a cluster.",
    10124: _MOVING,
    10226: _MOVING,
    NOT_ENABLED_FOR_ACCOUNT: "Enable JetStream for this account on the server, or check user, domain and api_prefix.",
}


def call(session: sessions.Session, what: str, subject: str, body: Any = None) -> dict[str, Any]:
    """One call of the API. ``what`` begins the sentence of an error, such as ``Creating stream ORDERS``."""
    [answer] = call_many(session, [(what, subject, body)])
    if isinstance(answer, _errors.StreamsError):
        raise answer
    return answer


def call_many(session: sessions.Session, calls: Iterable[Call]) -> list[dict[str, Any] | _errors.StreamsError]:
    """Pipelined calls, each ``(what, subject, body)``: an answer or an error for each, in their order."""
    wanted = list(calls)
    requests = [wire.Request(session.api(subject), encode(body)) for _what, subject, body in wanted]
    answers: list[dict[str, Any] | _errors.StreamsError] = []
    for (what, _subject, _body), answer in zip(wanted, session.request_many(requests)):
        if isinstance(answer, _errors.StreamsError):
            answers.append(named(what, answer))
            continue
        try:
            answers.append(decode(what, answer[0]))
        except _errors.StreamsError as error:
            answers.append(error)
    return answers


def pages(
    session: sessions.Session,
    what: str,
    subject: str,
    key: str,
    body: dict[str, Any] | None = None,
    missing: list[str] | None = None,
) -> Iterator[Any]:
    """The items under ``key`` of a call that answers in pages.

    The names of those whose leader did not answer the server are added to ``missing``: they exist.
    """
    offset = 0
    while True:
        answer = call(session, what, subject, {**(body or {}), "offset": offset})
        items, silent = answer.get(key) or [], answer.get("missing") or []
        yield from items
        if missing is not None:
            missing += silent
        offset += len(items) + len(silent)
        if not (items or silent) or offset >= int(answer.get("total", 0)):
            return


def encode(body: Any) -> bytes:
    return b"" if body is None else json.dumps(body).encode()


def decode(what: str, message: wire.Message) -> dict[str, Any]:
    """The JSON object of an answer. Raises ApiError where it is an error, NoAnswer where it is something else."""
    try:
        answer = json.loads(message.data.decode())  # of bytes, it would guess the encoding first
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise _errors.NoAnswer(f"{what}: the answer is not JetStream's: check api_prefix, or what else listens there.")
    if isinstance(answer.get("error"), dict):
        error = api_error(what, answer["error"])
        error.repeated = message.repeated
        raise error
    return answer


def named(what: str, error: _errors.StreamsError, remedy: str = "") -> _errors.StreamsError:
    """An error of a request, where its outcome is unknown with the name of what was done, and what to look at."""
    return _errors.OutcomeUnknown(what, error.reason, remedy) if isinstance(error, _errors.OutcomeUnknown) else error


def api_error(what: str, error: dict[str, Any]) -> _errors.ApiError:
    err_code = int(error.get("err_code", 0))
    return _errors.ApiError(
        what, int(error.get("code", 0)), err_code, str(error.get("description", "")), _HINTS.get(err_code, "")
    )
