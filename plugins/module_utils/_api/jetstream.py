# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The envelope of the JetStream API: JSON requests and answers, and errors by their number (ADR-1)."""

from __future__ import annotations

import json
import time
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from .. import _errors
from .._connection import requests, sessions, wire
from .._options import shapes, untrusted
from . import answers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_Shape = TypeVar("_Shape")

Call = tuple[str, str, type[_Shape], Any]
"""What is done, as an error's sentence begins; the subject under the API's prefix; the answer's shape; the body."""

# Numbers of nats-server's error catalogue (server/errors.json) that callers distinguish.
STREAM_NOT_FOUND = 10059
CONSUMER_NOT_FOUND = 10014
NO_MESSAGE_FOUND = 10037
MESSAGE_NOT_DELETED = 10057
SEQUENCE_NOT_FOUND = 10043
MAXIMUM_MESSAGES = 10077
NOT_ENABLED_FOR_ACCOUNT = 10039
NOT_CREATED = 10049
NAME_IN_USE = 10058
NAME_IN_USE_BY_RESTORE = 10130
RESTORE_STALLED = 10048
# Two numbers for each: the stream or consumer does not exist, and the last message is not the expected one
NOT_THERE = (STREAM_NOT_FOUND, CONSUMER_NOT_FOUND)
WRONG_LAST_SEQUENCE = (10071, 10164)

# Seconds between attempts, and for how long an account may look as if it had no JetStream
_PAUSE, _LOADING = 0.25, 0.2
_MOVING = "Wait until all replicas are current."
# Advice for errors that the plan can't predict.
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


# A call that names a consumer has more words than this
_CONSUMER_NAMED = 3
_OF_A_STREAM = ("STREAM.INFO", "STREAM.CREATE", "STREAM.UPDATE", "STREAM.SNAPSHOT")
# How types of answers begin. Servers of a cluster answer some updates and restores as creations.
_TYPE, _ALIKE = "io.nats.jetstream.api.v1.", ("stream_create", "stream_update", "stream_restore")


def call(
    session: sessions.Session, what: str, subject: str, shape: type[_Shape], body: Any = None, *, again: bool = False
) -> _Shape:
    """Make one API call, and return its answer. ``what`` begins error sentences, such as ``Creating stream ORDERS``.

    ``subject`` is below the API's prefix, such as ``STREAM.INFO.ORDERS``. ``shape`` is a class of ``answers``. With
    ``again`` a second copy does no harm.
    """
    [answer] = call_many(session, [(what, subject, shape, body)], again=again)
    return value_of(answer)


def value_of(answer: _Shape | _errors.StreamsError) -> _Shape:
    """Return an answer of ``call_many``. Raises it if it is an error."""
    if isinstance(answer, _errors.StreamsError):
        raise answer
    return answer


def or_none(answer: _Shape | _errors.StreamsError) -> _Shape | None:
    """Return an answer of ``call_many``, or None if the stream or consumer does not exist. Raises other errors."""
    if isinstance(answer, _errors.ApiError) and answer.err_code in NOT_THERE:
        return None
    return value_of(answer)


def call_many(
    session: sessions.Session, calls: Iterable[Call[_Shape]], *, again: bool = False
) -> list[_Shape | _errors.StreamsError]:
    """Make calls in a pipeline, and return an answer or an error for each, in their order.

    Each is ``(what, subject, shape, body)``, as in ``call``.
    """
    return until_ready(list(calls), partial(_call_many, session, again or None), _is_loading, _LOADING)


def until_ready(
    calls: list[Call[_Shape]],
    send: Callable[[list[Call[_Shape]]], list[_Shape | _errors.StreamsError]],
    is_early: Callable[[object], bool],
    seconds: float,
) -> list[_Shape | _errors.StreamsError]:
    """Return the answers of ``send`` to the calls, and send those again for some seconds whose answers are early."""
    answered, deadline = send(calls), time.monotonic() + seconds
    while (early := [number for number, it in enumerate(answered) if is_early(it)]) and time.monotonic() < deadline:
        time.sleep(_PAUSE)
        for number, answer in zip(early, send([calls[number] for number in early])):
            answered[number] = answer
    return answered


def _is_loading(answer: object) -> bool:
    # A server that is just loading an account of an operator refuses its first requests (server/accounts.go,
    # buildInternalAccount)
    return isinstance(answer, _errors.ApiError) and answer.err_code == NOT_ENABLED_FOR_ACCOUNT


def _call_many(
    session: sessions.Session, again: bool | None, calls: list[Call[_Shape]]
) -> list[_Shape | _errors.StreamsError]:
    sent = [wire.Request(session.api(each[1]), encode(each[3]), again=again) for each in calls]
    answered = [answer_to(each, answer) for each, answer in zip(calls, session.request_many(sent))]
    if session.wrote:
        done = (each for each, it in zip(calls, answered) if not isinstance(it, _errors.StreamsError))
        session.writes_done += sum(not requests.is_read_call(each[1]) for each in done)
    return answered


def answer_to(call: Call[_Shape], answer: list[wire.Message] | _errors.StreamsError) -> _Shape | _errors.StreamsError:
    """Return the checked answer to a call, or its error."""
    if isinstance(answer, _errors.StreamsError):
        return named(call[0], answer)
    try:
        return decode_call(call, answer[0])
    except _errors.StreamsError as error:
        return error


def decode_call(call: Call[_Shape], message: wire.Message) -> _Shape:
    """Return the answer to a call. Raises as ``decode`` does, also if it belongs to another call."""
    what, subject, shape, body = call
    written = not (requests.is_read_call(subject) or subject.startswith("STREAM.SNAPSHOT."))
    answer = decode(what, message, shape, written=written, call=subject)
    problem = _mismatch(subject, body, answer)
    if problem:
        raise _errors.WrongAnswer(what, problem, written=written)
    return answer


def encode(body: Any) -> bytes:
    """Return the payload of a request."""
    return b"" if body is None else json.dumps(body).encode()


def decode(what: str, message: wire.Message, shape: type[_Shape], *, written: bool = False, call: str = "") -> _Shape:
    """Return the JSON object of an answer. Raises ApiError for an error, WrongAnswer for a wrong shape.

    ``written`` is True for the answer to a write. ``call`` is the API call, if it is one.
    """
    try:
        answer: Any = untrusted.load_object(message.data)
    except ValueError as error:
        raise _errors.WrongAnswer(what, f"it {error}", written=written) from None
    kind = _other_kind(call, answer)
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
    checked: _Shape = answer
    return checked


def named(what: str, error: _errors.StreamsError, remedy: str = "") -> _errors.StreamsError:
    """Return an error with the name of the action and a remedy, if its outcome is unknown. Others stay as they are."""
    return _errors.OutcomeUnknown(what, error.reason, remedy) if isinstance(error, _errors.OutcomeUnknown) else error


def api_error(what: str, error: answers.Failure) -> _errors.ApiError:
    """Return the ApiError for the ``error`` of an answer."""
    err_code = error.get("err_code", 0)
    words = "".join(filter(str.isprintable, error.get("description", "")))[:_MOST_WORDS]
    return _errors.ApiError(what, error["code"], err_code, words, _HINTS.get(err_code, ""))


_MOST_WORDS = 1000


# Answers of the right shape that belong to another request


def _other_kind(call: str, answer: dict[str, Any]) -> str:
    """Return the mismatch if an answer, or an error, belongs to another kind of call; else an empty text.

    nats-server sends the kind of each answer in ``type`` (server/jetstream_api.go).
    """
    name = answer.get("type")
    if not call or not isinstance(name, str) or not name.startswith(_TYPE):
        return ""
    expected = f"{'account_' if call == 'INFO' else ''}{call.lower().replace('.', '_')}_"
    kind = name[len(_TYPE) :].removesuffix("_response")
    alike = expected.startswith(f"{kind}_") or (kind in _ALIKE and expected.startswith(_ALIKE))
    return "" if alike or kind == "system" else "it is of another kind of request"


def _mismatch(call: str, body: Any, answer: Any) -> str:
    """Return the mismatch if an answer of the right shape belongs to another request; else an empty text."""
    words, asked = call.split("."), body if isinstance(body, dict) else {}
    kind = ".".join(words[:2])
    if kind in _OF_A_STREAM and answer["config"]["name"] != words[2]:
        return "it is of another stream"
    if kind in ("CONSUMER.INFO", "CONSUMER.CREATE", "CONSUMER.RESET") and len(words) > _CONSUMER_NAMED:
        return "" if [answer["stream_name"], answer["name"]] == words[2:4] else "it is of another consumer"
    if kind == "CONSUMER.LIST" and any(info["stream_name"] != words[2] for info in answer.get("consumers") or ()):
        return "it is of another stream"
    if kind == "STREAM.MSG" and words[2] == "GET":
        return _other_message(asked, answer["message"])
    return ""


def _other_message(asked: dict[str, Any], message: Any) -> str:
    filtered = asked.get("next_by_subj") or asked.get("last_by_subj")
    if message["seq"] < asked.get("seq", 0) or ("seq" in asked and not filtered and message["seq"] != asked["seq"]):
        return "it is another message"
    return "" if not filtered or matches(message["subject"], filtered) else "it is of another subject"


def matches(subject: str, pattern: str) -> bool:
    """Return True if a subject matches a pattern with wildcards."""
    if subject == pattern or pattern == ">":
        return True
    words, parts = subject.split("."), pattern.split(".")
    if parts[-1] == ">":
        if len(words) < len(parts):
            return False
        parts = parts[:-1]
        words = words[: len(parts)]
    return len(words) == len(parts) and all(want in ("*", word) for word, want in zip(words, parts))
