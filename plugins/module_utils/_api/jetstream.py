# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The envelope of the JetStream API: JSON requests and answers, and errors by their number (ADR-1)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from .. import _errors
from .._connection import requests, sessions, wire
from .._options import shapes, untrusted
from . import answers, mismatch

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
NAME_IN_USE = 10058
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


def call(session: sessions.Session, what: str, subject: str, body: Any = None, again: bool = False) -> dict[str, Any]:
    """Make one API call, and return its answer. ``what`` begins error sentences, such as ``Creating stream ORDERS``.

    ``subject`` is below the API's prefix, such as ``STREAM.INFO.ORDERS``. With ``again`` a second copy does no harm.
    """
    [answer] = call_many(session, [(what, subject, body)], again=again)
    if isinstance(answer, _errors.StreamsError):
        raise answer
    return answer


def call_many(
    session: sessions.Session, calls: Iterable[Call], *, again: bool = False
) -> list[dict[str, Any] | _errors.StreamsError]:
    """Make calls in a pipeline, and return an answer or an error for each, in their order.

    Each is ``(what, subject, body)``, as in ``call``. ``answers`` has the shapes of their answers.
    """
    wanted = list(calls)
    requests = [
        wire.Request(session.api(subject), encode(body), again=again or None) for _what, subject, body in wanted
    ]
    found: list[dict[str, Any] | _errors.StreamsError] = []
    for (what, subject, body), answer in zip(wanted, session.request_many(requests)):
        if isinstance(answer, _errors.StreamsError):
            found.append(named(what, answer))
            continue
        try:
            found.append(decode_call(what, subject, body, answer[0]))
        except _errors.StreamsError as error:
            found.append(error)
    return found


def decode_call(what: str, subject: str, body: Any, message: wire.Message) -> dict[str, Any]:
    """Return the answer to a call. Raises as ``decode`` does, also if it belongs to another call."""
    written = not (requests.is_read_call(subject) or subject.startswith("STREAM.SNAPSHOT."))
    answer = decode(what, message, answers.shape_of(subject), written=written, call=subject)
    problem = mismatch.of(subject, body, answer)
    if problem:
        raise _errors.WrongAnswer(what, problem, written=written)
    return answer


def pages(
    session: sessions.Session,
    what: str,
    subject: str,
    key: str,
    body: dict[str, Any] | None = None,
    missing: list[str] | None = None,
) -> Iterator[Any]:
    """Yield the items under ``key`` of a call that answers in pages.

    The names of existing items whose leaders did not answer the server are added to ``missing``.
    """
    offset = 0
    while True:
        answer = call(session, what, subject, {**(body or {}), "offset": offset})
        items, silent = page_of(what, answer, key, offset), answer.get("missing") or []
        yield from items
        if missing is not None:
            missing += silent
        offset += len(items) + len(silent)
        if not (items or silent) or offset >= answer["total"]:
            return


def page_of(what: str, answer: dict[str, Any], key: str, offset: int) -> list[Any]:
    """Return the items of a page.

    A page may be empty only if the server reports that there are no more, or that leaders did not answer it.
    """
    items: list[Any] = answer.get(key) or []
    if not items and offset < answer["total"] and not answer.get("missing"):
        raise _errors.WrongAnswer(what, f"{key} is empty, and there are {answer['total']}")
    return items


def encode(body: Any) -> bytes:
    """Return the payload of a request."""
    return b"" if body is None else json.dumps(body).encode()


def decode(
    what: str, message: wire.Message, shape: Any = answers.Empty, *, written: bool = False, call: str = ""
) -> dict[str, Any]:
    """Return the JSON object of an answer. Raises ApiError for an error, WrongAnswer for a wrong shape.

    ``written`` is True for the answer to a write. ``call`` is the API call, if it is one.
    """
    try:
        answer = untrusted.load_object(message.data)
    except ValueError as error:
        raise _errors.WrongAnswer(what, f"it {error}", written=written) from None
    kind = mismatch.other_kind(call, answer)
    if kind:
        raise _errors.WrongAnswer(what, kind, written=written)
    if answer.get("error") is not None:
        problem = shapes.problem(answer["error"], answers.Failure)
        if problem:
            raise _errors.WrongAnswer(what, f"error: {problem}", written=written)
        refusal = api_error(what, answer["error"])
        refusal.repeated = message.repeated
        raise refusal
    problem = shapes.problem(answer, shape)
    if problem:
        raise _errors.WrongAnswer(what, problem, written=written)
    return answer


def named(what: str, error: _errors.StreamsError, remedy: str = "") -> _errors.StreamsError:
    """Return an error with the name of the action and a remedy, if its outcome is unknown. Others stay as they are."""
    return _errors.OutcomeUnknown(what, error.reason, remedy) if isinstance(error, _errors.OutcomeUnknown) else error


def api_error(what: str, error: dict[str, Any]) -> _errors.ApiError:
    """Return the ApiError for the ``error`` of an answer."""
    err_code = error.get("err_code", 0)
    words = "".join(filter(str.isprintable, error.get("description", "")))[:_MOST_WORDS]
    return _errors.ApiError(what, error["code"], err_code, words, _HINTS.get(err_code, ""))


_MOST_WORDS = 1000


def account_info(session: sessions.Session) -> dict[str, Any]:
    """Return the answer of INFO (``limits``, ``tiers``, ``streams`` …), or an empty dict if it is not allowed."""
    try:
        return call(session, "Reading the account", "INFO")
    except (_errors.PermissionMissing, _errors.ApiError):
        return {}
