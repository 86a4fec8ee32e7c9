# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Messages of streams without a server: the requests that follow from options, and the texts of refusals."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.choria.streams.plugins.module_utils._api.messages import Stored, window
from ansible_collections.choria.streams.plugins.module_utils._connection.wire import Request, Server
from ansible_collections.choria.streams.plugins.module_utils._errors import OptionError, Refused
from ansible_collections.choria.streams.plugins.module_utils._operations.messages import messages as stream_messages
from ansible_collections.choria.streams.plugins.module_utils._operations.messages import results as stream_results
from ansible_collections.choria.streams.plugins.module_utils._operations.messages.messages import SPEC, act
from ansible_collections.choria.streams.plugins.module_utils._operations.messages.outgoing import Outgoing, moved
from ansible_collections.choria.streams.plugins.module_utils._operations.messages.selection import (
    READ,
    Selection,
    value_of,
)
from support.connect import InvalidError, options

SERVER = Server(name="here", version=(2, 15, 0), jetstream=True, clustered=False, max_payload=1000)


def given(spec: Any = SPEC, **values: Any) -> dict[str, Any]:
    """Return all options of the module with these values."""
    return options(SimpleNamespace(spec=spec, states={}), **values)


def outgoing(**values: Any) -> Outgoing:
    return Outgoing.from_options(given(**{"subject": "orders.new", "data": "a", **values}))


def test_options_become_headers() -> None:
    message = outgoing(
        stream="ORDERS",
        msg_id="one",
        ttl="90s",
        expected_last_sequence=7,
        expected_last_subject_sequence=0,
        expected_last_msg_id="zero",
        headers={"Shop": "Berlin ", "Number": 5, "Open": True},
    )
    assert message.headers == {
        "Shop": "Berlin",
        "Number": "5",
        "Open": "true",
        "Nats-Msg-Id": "one",
        "Nats-TTL": "90s",
        "Nats-Expected-Last-Sequence": "7",
        "Nats-Expected-Last-Subject-Sequence": "0",
        "Nats-Expected-Last-Msg-Id": "zero",
        "Nats-Expected-Stream": "ORDERS",
    }


def test_lifetimes_are_whole_seconds_that_are_not_shorter() -> None:
    assert outgoing(ttl="1500ms").headers["Nats-TTL"] == "2s"
    assert outgoing(ttl="1h").headers["Nats-TTL"] == "3600s"


@pytest.mark.parametrize(
    ("data", "encoding", "payload"),
    [
        ("ü", "text", "ü".encode()),
        ("", "text", b""),
        (5, "text", b"5"),
        ({"a": [1, None]}, "json", b'{"a": [1, null]}'),
        ("a", "json", b'"a"'),
        ("//79", "base64", b"\xff\xfe\xfd"),
    ],
)
def test_payloads(data: Any, encoding: str, payload: bytes) -> None:
    assert outgoing(data=data, encoding=encoding).payload == payload


def test_size_counts_headers_as_servers_do() -> None:
    assert outgoing(data="abc").size == 3
    # NATS/1.0␍␊ A: b␍␊ ␍␊
    assert outgoing(data="abc", headers={"A": "b"}).size == 3 + 10 + 6 + 2


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"subject": "orders.*"}, "subject: 'orders.*' is not allowed: a message goes to one subject: words joined"),
        ({"subject": "a b"}, "subject: 'a b' is not allowed: a message goes to one subject"),
        ({"subject": ""}, "subject: '' is not allowed"),
        ({"stream": "A\nB: c"}, "is not allowed: a stream's name has up to 255 characters"),
        ({"data": {"secret": 1}}, "data: is a dict, which text can't hold: set encoding to json."),
        ({"data": "se%cret", "encoding": "base64"}, "data: is not base64: use the filter b64encode"),
        ({"data": float("nan"), "encoding": "json"}, "data: has a number that is not finite."),
        ({"ttl": "10ms"}, "ttl: '10ms' is too short: give at least 1s."),
        ({"ttl": "0"}, "ttl: '0' is too short: give at least 1s."),
        ({"ttl": "soon"}, "ttl: 'soon' is not a duration: write seconds, or text such as"),
        ({"msg_id": ""}, "msg_id: '' is not allowed: it must be one line, and not empty."),
        ({"msg_id": "a\r\nB: c"}, "is not allowed: it must be one line, and not empty."),
        ({"expected_last_sequence": -1}, "expected_last_sequence: -1 is out of range: give 0 or more."),
        ({"headers": {"nats-msg-ID": "a"}}, "headers: nats-msg-ID has an option of its own: give msg_id."),
        (
            {"headers": {"Nats-Expected-Stream": "a"}},
            "headers: Nats-Expected-Stream has an option of its own: give str",
        ),
        ({"headers": {"A B": "c"}}, "headers: 'A B' is not a name of a header: write ASCII without spaces and colons."),
        ({"headers": {"A": "secret\nB: c"}}, "headers: the value of A must be one line of text."),
        ({"headers": {"A": ["secret"]}}, "headers: the value of A must be one line of text."),
        ({"headers": {"A": None}}, "headers: the value of A must be one line of text."),
        (
            {"headers": {"Nats-Rollup": "all"}},
            "headers: Nats-Rollup deletes the messages that were there before: set al",
        ),
    ],
)
def test_wrong_options_are_refused(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(OptionError) as raised:
        outgoing(**values)
    assert sentence in raised.value.message
    assert "secret" not in raised.value.message


def test_a_roll_up_is_sent_when_its_loss_is_allowed() -> None:
    assert outgoing(headers={"Nats-Rollup": "sub"}, allow_data_loss=True).rolls_up


@pytest.mark.parametrize(
    ("values", "config", "option", "sentence"),
    [
        (
            {"data": "a" * 1001},
            {},
            "data",
            "has 1001 bytes with its headers, and 1000 are allowed: send less, or raise",
        ),
        ({"data": "abcd"}, {"max_msg_size": 3}, "data", "has 4 bytes with its headers, and 3 are allowed"),
        ({}, {"sealed": True}, "stream", "stream O is sealed, and never takes a message again"),
        ({}, {"no_ack": True}, "stream", "stream O acknowledges nothing (no_ack), so nobody can say what is stored"),
        ({"ttl": "1h"}, {"x": 1}, "ttl", "stream O takes no message with a lifetime: set allow_msg_ttl: true with"),
        (
            {"headers": {"Nats-Rollup": "sub"}, "allow_data_loss": True},
            {"x": 1},
            "headers",
            "stream O allows no roll-up: set allow_rollup_hdrs: true with choria_stream",
        ),
        ({"expected_last_msg_id": "a"}, {"num_replicas": 3}, "expected_last_msg_id", "stream O has 3 copies, and one"),
        ({"expected_last_msg_id": ""}, {}, "expected_last_msg_id", "how many copies the stream has can't be seen, and"),
    ],
)
def test_refused_messages(values: dict[str, Any], config: dict[str, Any], option: str, sentence: str) -> None:
    with pytest.raises(Refused) as raised:
        outgoing(**values).check(SERVER, {"name": "O", **config} if config else {})
    assert raised.value.message.startswith(f"{option}: {sentence}")
    assert raised.value.failure["option"] == option


def test_a_stream_that_is_not_known_refuses_nothing_before() -> None:
    outgoing(ttl="1h", headers={"Nats-Rollup": "sub"}, allow_data_loss=True).check(SERVER, {})
    outgoing(data="a" * 1000).check(SERVER, {"name": "O", "max_msg_size": -1})


def test_an_old_server_ignores_lifetimes_so_that_they_are_refused() -> None:
    old = Server(name="old", version=(2, 10, 26), jetstream=True, clustered=False, max_payload=1000)
    with pytest.raises(
        Refused, match=r"^ttl: needs nats-server 2.11, and this server runs 2.10.26: leave it out, or up"
    ):
        outgoing(ttl="1h").check(old, {})


@pytest.mark.parametrize(
    ("option", "wanted", "found", "sentence"),
    [
        ("expected_last_sequence", 3, 7, "the last message in the stream is 7, not 3, so it was not published"),
        ("expected_last_sequence", 3, 0, "there is no message in the stream yet, and 3 was expected, so it was"),
        ("expected_last_subject_sequence", 3, 7, "the last message on orders.new is 7, not 3, so"),
        ("expected_last_subject_sequence", 3, None, "the last message on orders.new is not 3, so"),
        ("expected_last_msg_id", "a", "b", "the last message in the stream has the id 'b', not 'a', so"),
    ],
)
def test_something_else_is_last(option: str, wanted: Any, found: Any, sentence: str) -> None:
    error = moved(outgoing(**{option: wanted}), option, found)
    assert error.message.startswith(f"{option}: {sentence}")
    assert error.failure == {"code": "wrong_last", "option": option, "found": found}


@pytest.mark.parametrize(
    ("values", "option", "state"),
    [
        ({"subject": "a", "data": "b", "keep": 2}, "keep", "present"),
        ({"subject": "a", "data": "b", "sequence": 2}, "sequence", "present"),
        ({"subject": "a", "data": "b", "erase": True}, "erase", "present"),
        ({"stream": "A", "sequence": 1, "state": "absent", "subject": "a"}, "subject", "absent"),
        ({"stream": "A", "sequence": 1, "state": "absent", "data": "a"}, "data", "absent"),
        ({"stream": "A", "state": "purged", "msg_id": "a"}, "msg_id", "purged"),
        ({"stream": "A", "state": "purged", "expected_last_sequence": 1}, "expected_last_sequence", "purged"),
    ],
)
def test_options_of_another_state(values: dict[str, Any], option: str, state: str) -> None:
    with pytest.raises(OptionError, match=f"^{option}: means nothing with state: {state}, it belongs to "):
        act(None, given(**values), False)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "values",
    [
        {"data": "a"},
        {"messages": [{"data": "a"}]},
        {"messages": [], "subject": "a"},
        {"state": "absent", "stream": "A"},
        {"state": "purged"},
        {"state": "purged", "stream": "A", "keep": 1, "sequence": 1},
        {"state": "gone"},
    ],
)
def test_options_that_ansible_refuses(values: dict[str, Any]) -> None:
    with pytest.raises(InvalidError):
        given(**values)


def test_every_option_belongs_to_a_state() -> None:
    everywhere = {"state", "stream", "encoding", "allow_data_loss"}
    assert {row.option for row in SPEC} == everywhere | set(stream_messages._BELONG)


# Reading


def selection(**values: Any) -> Selection:
    return Selection.from_options(given(READ, stream="A", **values).get)


def test_since_a_time_or_a_duration_ago() -> None:
    moment = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
    assert selection(since="2026-03-01T12:00:00Z").since == moment
    assert selection(since="2026-03-01T13:00:00.000000000+01:00").since == moment
    for text, length in (("1h", timedelta(hours=1)), ("90", timedelta(seconds=90)), ("7d", timedelta(days=7))):
        since = selection(since=text).since
        assert since is not None
        assert abs(datetime.now(timezone.utc) - length - since) < timedelta(seconds=5)


@pytest.mark.parametrize(
    ("values", "single"),
    [
        ({}, True),
        ({"subject": "a.*"}, True),
        ({"sequence": 1}, True),
        ({"last": 1}, False),
        ({"limit": 1}, False),
        ({"since": "1h"}, False),
        ({"start_sequence": 1}, False),
    ],
)
def test_options_that_select_a_single_message(values: dict[str, Any], single: bool) -> None:
    assert selection(**values).single is single


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (
            {"since": "yesterday"},
            "since: 'yesterday' is neither a time nor a duration: write RFC 3339 such as 2026-03-01T12:",
        ),
        ({"since": "2026-03-01"}, "since: '2026-03-01' is neither a time nor a duration"),
        ({"since": "99999999y"}, "since: '99999999y' is neither a time nor a duration"),
        ({"subject": "a..b"}, "subject: 'a..b' is not allowed: a subject is words joined by dots"),
        ({"subject": "a.>.b"}, "subject: 'a.>.b' is not allowed"),
        ({"subject": "a*"}, "subject: 'a*' is not allowed"),
        ({"sequence": 0}, "sequence: 0 is out of range: give 1 or more."),
        ({"last": 100_001}, "last: 100001 is out of range: give between 1 and 100000."),
        ({"limit": 0}, "limit: 0 is out of range: give between 1 and 100000."),
    ],
)
def test_wrong_selections_are_refused(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(OptionError) as raised:
        selection(**values)
    assert raised.value.message.startswith(sentence)


@pytest.mark.parametrize(
    ("one", "other"), [("sequence", "last"), ("start_sequence", "since"), ("last", "limit"), ("sequence", "subject")]
)
def test_selections_that_exclude_each_other(one: str, other: str) -> None:
    values = {"sequence": 1, "last": 1, "since": "1h", "start_sequence": 1, "limit": 1, "subject": "a"}
    with pytest.raises(OptionError, match=f"^{one}: can't be given together with {other}: give one of them.$"):
        Selection.from_options({one: values[one], other: values[other]}.get)


def test_payloads_that_are_something_else() -> None:
    with pytest.raises(
        Refused, match=r"^encoding: the payload of message 7 in stream A is not JSON .*: choose another"
    ):
        value_of("A", Stored("a", 7, "", b"secret"), "json")
    with pytest.raises(Refused, match=r"is not UTF-8 text .* such as base64"):
        value_of("A", Stored("a", 7, "", b"\xff"), "text")


def test_results_of_other_payloads_are_base64() -> None:
    message = stream_results.message("A", Stored("a", 7, "2026-03-01T12:00:00Z", b"\xff", {"B": "c"}), "json")
    assert message == {
        "stream": "A",
        "subject": "a",
        "sequence": 7,
        "time": "2026-03-01T12:00:00Z",
        "headers": {"B": "c"},
        "data": "/w==",
        "encoding": "base64",
    }


@pytest.mark.parametrize(
    ("sizes", "expected"), [((), 4000), ((0,), 4000), ((100, 4000), 4000), ((10, 1 << 20), 16), ((1 << 26,), 1)]
)
def test_the_window_of_unacknowledged_messages(sizes: tuple[int, ...], expected: int) -> None:
    """A batch is not larger than the queue of a server, which drops the rest."""
    assert window([Request("a", bytes(size)) for size in sizes]) == expected
