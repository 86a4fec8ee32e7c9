# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lists of messages that are published or deleted one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.choria.streams.plugins.module_utils._api import reading, streams
from ansible_collections.choria.streams.plugins.module_utils._errors import OptionError, StreamsError
from ansible_collections.choria.streams.plugins.module_utils._operations.messages.messages import SPEC, act
from support.connect import settings
from support.counted import CountedSession

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import MakeServer

pytestmark = pytest.mark.once


@pytest.fixture(params=[None, "2.10"], ids=["new", "old"])
def session(make_server: MakeServer, request: pytest.FixtureRequest) -> Iterator[CountedSession]:
    server = make_server(version=request.param) if request.param else make_server()
    with CountedSession(settings(servers=server.url)) as session:
        for name in ("A", "B"):
            streams.create(session, {"name": name, "subjects": [f"{name.lower()}.>"], "duplicate_window": 120 * 10**9})
        yield session


def run(session: CountedSession, check_mode: bool = False, **given: Any) -> dict[str, Any]:
    found = ArgumentSpecValidator(SPEC.argument_spec(), **SPEC.rules).validate(given)
    assert not found.error_messages, found.error_messages
    session.restart()
    session.read_only = check_mode
    try:
        return act(session, found.validated_parameters, check_mode)
    finally:
        session.read_only = False


def published(session: CountedSession, wanted: list[dict[str, Any]], check_mode: bool = False) -> dict[str, Any]:
    return run(session, check_mode, messages=wanted, atomic=False)


def stored(session: CountedSession, stream: str) -> list[tuple[str, int, bytes]]:
    return [(each.subject, each.sequence, each.data) for each in reading.onward(session, stream)]


def test_a_thousand_take_a_few_exchanges(session: CountedSession) -> None:
    wanted = [{"subject": f"a.{number}", "data": str(number), "msg_id": f"id-{number}"} for number in range(1000)]
    planned = published(session, wanted, check_mode=True)
    assert stored(session, "A") == []
    done = published(session, wanted)
    assert session.exchanges <= 3
    assert session.requests <= 1002
    assert done["changed"]
    assert {**planned, "diff": 0} == {**done, "diff": 0}
    assert planned["diff"] == done["diff"]
    assert [each["sequence"] for each in done["messages"]] == list(range(1, 1001))
    assert stored(session, "A") == [(f"a.{number}", 1 + number, b"%d" % number) for number in range(1000)]
    again = published(session, wanted[:300])
    assert not again["changed"]
    assert all(each["duplicate"] and each["time"] for each in again["messages"])
    assert len(stored(session, "A")) == 1000
    sequences = [*range(1, 501), 5000]
    planned = run(session, True, state="absent", stream="A", sequences=sequences)
    gone = run(session, state="absent", stream="A", sequences=sequences)
    assert session.requests <= 502
    assert planned == gone
    assert gone["deleted"] == list(range(1, 501))
    assert [sequence for _subject, sequence, _data in stored(session, "A")] == list(range(501, 1001))
    for check_mode in (True, False):
        assert not run(session, check_mode, state="absent", stream="A", sequences=sequences)["changed"]


def test_new_ones_among_duplicates(session: CountedSession) -> None:
    first = {"subject": "a.1", "data": "first", "msg_id": "1"}
    published(session, [first])
    wanted = [{**first, "data": "other"}, {"subject": "b.1", "data": "x"}, {"subject": "a.2", "data": "y"}]
    wanted.append({"subject": "a.3", "data": "twice", "msg_id": "3"})
    wanted.append({"subject": "a.3", "data": "twice", "msg_id": "3"})
    planned, done = published(session, wanted, check_mode=True), published(session, wanted)
    for result in (planned, done):
        sequences = [(each["stream"], each["sequence"], each["duplicate"]) for each in result["messages"]]
        assert sequences == [("A", 1, True), ("B", 1, False), ("A", 2, False), ("A", 3, False), ("A", 3, True)]
        assert result["messages"][0]["data"] == "first"
        assert [change["after"] for change in result["changes"]] == [1, 2, 3]


def test_one_that_is_refused_when_it_comes(session: CountedSession) -> None:
    """An earlier message of the list meets the expectation of a later one."""
    wanted: list[dict[str, Any]] = [
        {"subject": "a.1", "data": "1", "expected_last_sequence": 0},
        {"subject": "a.1", "data": "2", "expected_last_subject_sequence": 1},
        {"subject": "a.2", "data": "3", "expected_last_subject_sequence": 1},
        {"subject": "a.2", "data": "4"},
    ]
    for check_mode, words in ((True, "would be"), (False, "were")):
        with pytest.raises(StreamsError) as failed:
            published(session, wanted, check_mode)
        assert failed.value.message.startswith(
            "messages[2].expected_last_subject_sequence: there is no message on a.2 yet"
        )
        assert failed.value.message.endswith(f" 1 of 4 messages {words} refused, and 3 {words} stored.")
        assert failed.value.failure["code"] == "wrong_last"
        assert failed.value.failure["option"] == "messages[2].expected_last_subject_sequence"
        items = failed.value.result["messages"]
        assert [each["sequence"] for each in items] == [1, 2, None, 3]
        assert ["failure" in each for each in items] == [False, False, True, False]
    assert [data for _subject, _sequence, data in stored(session, "A")] == [b"1", b"2", b"4"]


@pytest.mark.parametrize(
    ("item", "sentence"),
    [
        ({"subject": "c.1", "data": "x"}, "messages[1].subject: no stream takes c.1"),
        ({"subject": "a.1", "data": "x" * 2_000_000}, "messages[1].data: has 2000"),
        ({"subject": "a.1"}, "messages[1].data: give the payload"),
        ({"subject": "a.*", "data": "x"}, "messages[1].subject: 'a.*' is not allowed"),
        ({"subject": "a.1", "data": "x", "msg_id": ""}, "messages[1].msg_id: '' is not allowed"),
    ],
)
def test_a_foreseen_refusal_stores_nothing(session: CountedSession, item: dict[str, Any], sentence: str) -> None:
    for check_mode in (True, False):
        with pytest.raises(StreamsError) as failed:
            published(session, [{"subject": "a.1", "data": "x"}, item], check_mode)
        assert failed.value.message.startswith(sentence)
    assert stored(session, "A") == []


def test_values_that_are_not_lists(session: CountedSession) -> None:
    one = {"subject": "a.1", "data": "x"}
    for given, sentence in (
        ({"messages": [], "atomic": False}, "messages: has no entries"),
        (
            {"messages": [{**one, "msg_id": "1"}]},
            "messages[0].msg_id: messages of a batch have no ids: leave it out, or set",
        ),
        ({"subject": "a.1", "data": "x", "atomic": False}, "atomic: means nothing without messages."),
        ({"subject": "a.1", "data": "x", "sequences": [1]}, "sequences: means nothing with state: present"),
    ):
        with pytest.raises(OptionError) as failed:
            run(session, **given)
        assert failed.value.message.startswith(sentence)
    spec = ArgumentSpecValidator(SPEC.argument_spec(), **SPEC.rules)
    for more in ({"sequence": 1, "sequences": [1]}, {}):
        assert spec.validate({"state": "absent", "stream": "A", **more}).error_messages


def test_a_stream_that_denies_deletion(session: CountedSession) -> None:
    streams.create(session, {"name": "C", "subjects": ["c.>"], "deny_delete": True})
    published(session, [{"subject": "c.1", "data": "x"}])
    for check_mode in (True, False):
        assert not run(session, check_mode, state="absent", stream="C", sequences=[7])["changed"]
        with pytest.raises(StreamsError, match=r"^sequences: messages can't be deleted") as failed:
            run(session, check_mode, state="absent", stream="C", sequences=[7, 1])
        assert "does not allow that (deny_delete)" in failed.value.message
    assert len(stored(session, "C")) == 1


def test_the_last_message_when_those_after_it_were_deleted(session: CountedSession) -> None:
    published(session, [{"subject": "a.1", "data": str(number)} for number in range(6)])
    assert run(session, state="absent", stream="A", sequences=[2, 5, 6])["changed"]
    assert [each.sequence for each in reading.newest(session, "A")] == [4]
    assert [each.sequence for each in reading.newest(session, "A", count=3)] == [1, 3, 4]
    run(session, state="absent", stream="A", sequences=[1, 3, 4])
    assert reading.newest(session, "A", count=3) == []
