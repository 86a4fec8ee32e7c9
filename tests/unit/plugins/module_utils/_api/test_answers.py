# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Answers of the JetStream API: which ones are accepted, and the errors of all others."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.choria.streams.plugins.module_utils._api import accounts, answers, jetstream, messages
from ansible_collections.choria.streams.plugins.module_utils._connection.wire import Message
from ansible_collections.choria.streams.plugins.module_utils._errors import ApiError, WrongAnswer

ACK = {"stream": "COUNTS", "seq": 7}


@pytest.mark.parametrize("data", [b"", b"+OK", b"\xff", b"null", b"[]", b"7"])
def test_values_that_are_not_objects_are_refused(data: bytes) -> None:
    with pytest.raises(WrongAnswer, match=r"^Reading it: the answer is not JetStream's \(it is not "):
        jetstream.decode("Reading it", Message("reply", data), answers.Empty)


def test_an_error() -> None:
    answer = Message("reply", b'{"error": {"code": 404, "err_code": 10059, "description": "stream not found"}}')
    with pytest.raises(ApiError) as error:
        jetstream.decode("Reading it", answer, answers.Empty)
    assert (error.value.status, error.value.err_code) == (404, 10059)


def test_an_object() -> None:
    assert jetstream.decode("Reading it", Message("reply", b'{"total": 1}'), answers.Page) == {"total": 1}


# As nats-server 2.10 to 2.15 send them: none of these fields is ever left out
LIMITS = {**dict.fromkeys(("max_memory", "max_storage", "max_streams", "max_consumers", "max_ack_pending"), -1)}
LIMITS |= {"memory_max_stream_bytes": -1, "storage_max_stream_bytes": -1, "max_bytes_required": False}
TIER: dict[str, Any] = dict.fromkeys(
    ("memory", "storage", "reserved_memory", "reserved_storage", "streams", "consumers"), 0
)
ACCOUNT = {**TIER, "limits": LIMITS}
_without_streams = {name: number for name, number in ACCOUNT.items() if name != "streams"}


def account_of(answer: dict[str, Any]) -> dict[str, Any]:
    reply = Message("reply", json.dumps(answer).encode())
    return dict(jetstream.decode("Reading the account", reply, accounts.Account))


@pytest.mark.parametrize(
    "answer",
    [
        {},
        _without_streams,
        {**ACCOUNT, "limits": {"max_streams": "x"}},
        {**ACCOUNT, "limits": []},
        {**ACCOUNT, "tiers": {"R1": None}},
        {**ACCOUNT, "tiers": {"R1": _without_streams}},
        {**ACCOUNT, "streams": None},
        {**ACCOUNT, "tiers": [1]},
    ],
)
def test_wrong_accounts(answer: dict[str, Any]) -> None:
    with pytest.raises(WrongAnswer, match=r"^Reading the account: "):
        account_of(answer)


@pytest.mark.parametrize("answer", [ACCOUNT, {**ACCOUNT, "tiers": None}, {**ACCOUNT, "tiers": {"R1": ACCOUNT}}])
def test_the_account(answer: dict[str, Any]) -> None:
    assert account_of(answer) == answer


@pytest.mark.parametrize("text", ["0", "-12", "+3", "9" * 40])
def test_a_counter(text: str) -> None:
    ack = jetstream.decode("Counting", Message("reply", json.dumps({**ACK, "val": text}).encode()), answers.PubAck)
    assert messages.described(ack) == {**ACK, "duplicate": False, "repeated": False, "val": int(text)}


@pytest.mark.parametrize("value", ["", "x", "1.5", "0x1", "٣", "9" * 5000, 5, None])
def test_wrong_counter_values_are_refused(value: Any) -> None:
    with pytest.raises(WrongAnswer, match=r"^Counting: .*val is not a number"):
        jetstream.decode("Counting", Message("reply", json.dumps({**ACK, "val": value}).encode()), answers.PubAck)
