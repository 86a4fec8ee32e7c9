# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Positions of consumers: kept when a consumer is created again, however often that is interrupted; reset; unpinned."""

from __future__ import annotations

import json
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.choria.streams.plugins.module_utils._api import answers, consumers, messages, streams
from ansible_collections.choria.streams.plugins.module_utils._api.jetstream import call
from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from ansible_collections.choria.streams.plugins.module_utils._connection.wire import Request
from ansible_collections.choria.streams.plugins.module_utils._errors import (
    OptionError,
    Overtaken,
    Refused,
    StreamsError,
)
from ansible_collections.choria.streams.plugins.module_utils._resources.consumer.consumer import CONSUMER
from ansible_collections.choria.streams.plugins.module_utils._resources.consumer.info import consumers_of
from support.connect import options, settings
from support.filling import publish_many
from support.in_process import result_of
from support.server import NatsServer
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ansible_collections.choria.streams.plugins.module_utils._resources.resource import Plan

pytestmark = pytest.mark.once

_numbers = count()


@pytest.fixture(scope="module", params=["latest", "2.14", "2.10"])
def session(request: pytest.FixtureRequest) -> Iterator[Session]:
    version = None if request.param == "latest" else request.param
    with NatsServer(version=version) as server, Session(settings(servers=server.url)) as session:
        yield session


class Reader:
    """A stream with ten messages of two subjects, and a consumer that has acknowledged some of them.

    With ``half`` the consumer takes the messages of one subject only.
    """

    def __init__(self, session: Session, retention: str = "limits", *, half: bool = False, **config: Any) -> None:
        self.session, self.stream, self.name = session, f"P{next(_numbers)}", "READER"
        streams.create(
            session,
            {"name": self.stream, "subjects": [f"{self.stream}.>"], "retention": retention, "allow_direct": True},
        )
        self.apply(**({"filter_subjects": [f"{self.stream}.0"]} if half else {}), **config)
        wanted = (Request(f"{self.stream}.{number % 2}", str(number).encode()) for number in range(10))
        assert all(isinstance(answer, dict) for answer in publish_many(session, "Filling", wanted))
        self.wait_pending(5 if half else 10)

    def plan(self, **given: Any) -> Plan:
        wanted = options(CONSUMER, stream=self.stream, name=self.name, **given)
        return CONSUMER.plan(CONSUMER.read(self.session, wanted), wanted, self.session.server)

    def apply(self, **given: Any) -> Plan:
        plan = self.plan(**given)
        if plan.changed:
            CONSUMER.apply(self.session, plan)
        return plan

    def wait_pending(self, number: int) -> None:
        """Wait until the consumer counts these messages, which the server may do after it acknowledged them."""
        wait_until(lambda: self.info["num_pending"] == number)

    def pull(self, number: int, ack: bool = True, **more: Any) -> list[str]:
        """Pull the next messages and acknowledge them. Return their values."""
        session, inbox = self.session, self.session.new_inbox()
        session.subscribe(inbox)
        body = json.dumps({"batch": number, "no_wait": True, **more}).encode()
        session._drive(  # modules never send a request with many answers that each have their own reply subject
            session._client.publish(session.api(f"CONSUMER.MSG.NEXT.{self.stream}.{self.name}"), body, reply=inbox)
        )
        got: list[str] = []
        while len(got) < number:
            message = session.receive(30)
            assert message is not None
            if message.status:
                break
            got.append(message.data.decode())
            if ack:
                session.request(message.reply, b"+ACK")
        session.unsubscribe_all()
        return got

    @property
    def info(self) -> answers.ConsumerInfo:
        found = consumers.info(self.session, self.stream, self.name)
        assert found is not None
        return found

    @property
    def names(self) -> list[str]:
        return sorted(info["name"] for info in consumers.list_all(self.session, self.stream))

    @property
    def left(self) -> int:
        found = streams.info(self.session, self.stream)
        assert found is not None
        return int(found["state"]["messages"])


def test_the_position_of_a_consumer(session: Session) -> None:
    """Three messages are acknowledged, two were delivered twice, and five were never delivered."""
    reader = Reader(session)
    reader.pull(3)
    reader.apply(max_ack_pending=2)  # otherwise the next two messages would be delivered in their place
    assert reader.pull(2, ack=False) == ["3", "4"]
    reader.apply(ack_wait="100ms")
    got: list[str] = []
    while len(got) < 2:
        got += reader.pull(2 - len(got), ack=False)
    assert sorted(got) == ["3", "4"]
    (found,) = consumers_of(session, {"stream": reader.stream, "names": [reader.name]})
    state = found["state"]
    assert (state["lag"], state["pending"], state["ack_pending"], state["redelivered"]) == (7, 5, 2, 2)
    assert (state["ack_floor"]["stream_seq"], state["delivered"]["stream_seq"]) == (3, 5)
    assert state["delivered"]["consumer_seq"] == 7


@pytest.mark.parametrize(
    "given", [{"max_waiting": 7, "recreate": True}, {"state": "reset", "opt_start_seq": 3, "allow_data_loss": True}]
)
def test_the_stream_is_created_again_meanwhile(session: Session, given: dict[str, Any]) -> None:
    """The position belongs to the deleted stream. On the new stream, the consumer would skip messages."""
    if "state" in given and session.server.version < (2, 14, 0):
        given = {"max_waiting": 8, "recreate": True}
    reader = Reader(session)
    reader.pull(6)
    plan, config = reader.plan(**given), streams.info(session, reader.stream)
    assert config
    streams.delete(session, reader.stream)
    streams.create(session, config["config"])
    reader.apply()
    with pytest.raises(Overtaken, match=rf"^Stream {reader.stream} was deleted and created again meanwhile, and consu"):
        CONSUMER.apply(session, plan)
    assert reader.names == ["READER"]
    messages.publish(session, "Filling", f"{reader.stream}.0", b"new")
    reader.wait_pending(1)
    assert reader.pull(1) == ["new"]


@pytest.mark.parametrize("retention", ["limits", "interest", "workqueue"])
def test_recreation_keeps_the_position(session: Session, retention: str) -> None:
    reader = Reader(session, retention, deliver_policy="all", metadata={"team": "shop"})
    assert reader.pull(4) == ["0", "1", "2", "3"]
    assert reader.pull(2, ack=False) == ["4", "5"]
    with pytest.raises(Refused, match=r"max_waiting of consumer READER can't be changed.*Set recreate: true"):
        reader.plan(max_waiting=7)
    plan = reader.apply(max_waiting=7, recreate=True)
    assert [(change.field, change.effect) for change in plan.changes] == [("max_waiting", "recreate")]
    assert plan.consequences["messages_redelivered"] == 2
    assert plan.consequences["messages_skipped"] == 0
    assert reader.info["config"]["max_waiting"] == 7
    assert reader.names == ["READER"]
    # The start that was given at the creation is no difference, nor is any other field. Updates in place still work.
    for given in ({"max_waiting": 7, "deliver_policy": "all", "metadata": {"team": "shop"}}, {"max_waiting": 7}):
        assert not reader.plan(recreate=True, **given).changed
        assert not reader.plan(**given).changed
    assert reader.apply(metadata={"team": "wiki"}, ack_wait="5s", deliver_policy="all").changed
    assert not reader.plan(metadata={"team": "wiki"}, deliver_policy="all").changed
    assert CONSUMER.apply(session, reader.apply(description="x"))["consumer"]["metadata"] == {"team": "wiki"}
    assert reader.left == (10 if retention == "limits" else 6)
    assert reader.pull(10) == ["4", "5", "6", "7", "8", "9"]


@pytest.mark.parametrize("retention", ["limits", "interest", "workqueue"])
def test_interrupted_at_any_step_and_run_again(session: Session, retention: str) -> None:
    """After any number of steps, the next run restores the position, and no message is lost."""
    steps = 2 if retention == "workqueue" else 4
    for done in range(1, steps + 1):
        reader = Reader(session, retention, filter_subject="", deliver_policy="all")
        assert len(reader.pull(4)) == 4
        plan = reader.plan(max_waiting=7, recreate=True)
        calls = CONSUMER.calls_of(plan)
        assert len(calls) == steps
        for each in calls[:done]:
            call(session, *each)
        again = reader.apply(max_waiting=7, recreate=True)
        assert again.changed == (done < steps)
        assert not reader.plan(max_waiting=7, recreate=True, deliver_policy="all").changed
        assert reader.names == ["READER"]
        assert reader.pull(10) == [str(number) for number in range(4, 10)]


def test_refused_in_the_middle(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else takes the place of the deleted consumer. The result of the module says that something changed."""
    streams.create(session, {"name": "TAKEN", "subjects": ["taken"], "max_consumers": 2})
    given = {"servers": list(session.settings.servers), "stream": "TAKEN", "name": "READER"}
    assert result_of("choria_consumer", given)["changed"]
    exchange = Session.request_many

    def request_many(self: Session, requests: Any, *more: Any, **options: Any) -> Any:
        answers = exchange(self, requests, *more, **options)
        if any(request.subject.endswith("CONSUMER.DELETE.TAKEN.READER") for request in requests):
            consumers.create(session, "TAKEN", {"durable_name": "theirs", "ack_policy": "explicit"})
        return answers

    monkeypatch.setattr(Session, "request_many", request_many)
    result = result_of("choria_consumer", {**given, "max_waiting": 7, "recreate": True})
    assert (result["failed"], result["changed"], result["failure"]["err_code"]) == (True, True, 10026)


@pytest.mark.parametrize("retention", ["limits", "interest"])
def test_a_new_start_with_a_filter_is_meant_however_often_that_is_interrupted(session: Session, retention: str) -> None:
    """The consumer that holds the position has the old filter and start. The new start may need the new filter."""
    for done in range(5):
        reader = Reader(session, retention, deliver_policy="all")
        assert len(reader.pull(4)) == 4
        given: dict[str, Any] = {"deliver_policy": "last_per_subject", "filter_subject": f"{reader.stream}.>"}
        given.update(recreate=True, allow_data_loss=True)
        for each in CONSUMER.calls_of(reader.plan(**given))[:done]:
            call(session, *each)
        assert reader.apply(**given).changed == (done < 4)
        assert not reader.plan(**given).changed
        assert reader.names == ["READER"]
        assert reader.info["config"]["deliver_policy"] == "last_per_subject"
        assert reader.pull(10) == ["8", "9"]


def test_a_new_start_is_meant(session: Session) -> None:
    """A new start applies only if deliver_policy itself changes. Skipping messages needs allow_data_loss."""
    reader = Reader(session)
    reader.pull(4)
    with pytest.raises(Refused) as refused:
        reader.plan(deliver_policy="new", recreate=True)
    assert refused.value.message == (
        "consumer READER: beginning elsewhere would pass over 6 messages that it still has to process: set "
        "allow_data_loss: true if that is wanted."
    )
    plan = reader.apply(deliver_policy="by_start_sequence", opt_start_seq=3, recreate=True)
    assert plan.consequences["messages_redelivered"] == 2
    assert not reader.plan(deliver_policy="by_start_sequence", opt_start_seq=3).changed
    assert reader.pull(3) == ["2", "3", "4"]
    reader.apply(deliver_policy="new", recreate=True, allow_data_loss=True)
    assert reader.pull(1) == []


# Narrower filters on streams with retention interest


def lost(reader: Reader, messages: int | None, sentence: str, **given: Any) -> None:
    """The change is refused, then allowed. Afterwards the server has deleted the announced number of messages."""
    before = reader.left
    with pytest.raises(Refused, match=f"its new filter would lose {sentence}: set allow_data_loss: true") as refused:
        reader.plan(**given)
    assert refused.value.failure["code"] == "data_loss"
    assert reader.apply(allow_data_loss=True, **given).consequences["messages_lost"] == messages
    wait_until(lambda: messages is None or reader.left == before - messages)
    assert not reader.plan(**given).changed


def beside(reader: Reader, name: str, **config: Any) -> None:
    consumers.create(reader.session, reader.stream, {"durable_name": name, "ack_policy": "explicit", **config})


@pytest.mark.parametrize("more", [{}, {"max_waiting": 7, "recreate": True}])
def test_a_narrower_filter(session: Session, more: dict[str, Any]) -> None:
    reader = Reader(session, "interest")
    half = f"{reader.stream}.0"
    reader.pull(2)
    lost(reader, 4, "4 messages", filter_subject=half, **more)
    assert reader.left == 4
    assert reader.pull(10) == ["2", "4", "6", "8"]

    # A filter as wide as the stream, or wider than before, loses nothing
    reader = Reader(session, "interest", half=True)
    for wanted in ([f"{reader.stream}.*"], [f"{reader.stream}.0", f"{reader.stream}.1"]):
        assert reader.apply(filter_subjects=wanted, **more).consequences["messages_lost"] == 0
    # Other retentions lose nothing
    for retention in ("limits", "workqueue"):
        reader = Reader(session, retention)
        assert reader.apply(filter_subject=f"{reader.stream}.0", **more).consequences["messages_lost"] == 0
        assert reader.left == 10


@pytest.mark.parametrize(
    ("given", "option", "err_code"),
    [
        ({"ack_policy": "none"}, "ack_policy", 10084),
        ({"ack_policy": "all"}, "ack_policy", 10098),
        ({"deliver_policy": "new"}, "deliver_policy", 10101),
        ({"deliver_policy": "last"}, "deliver_policy", 10101),
    ],
)
def test_a_work_queue_refuses_it_before_it_is_deleted(
    session: Session, given: dict[str, Any], option: str, err_code: int
) -> None:
    reader = Reader(session, "workqueue")
    created = reader.info["created"]
    with pytest.raises(Refused) as refused:
        reader.apply(recreate=True, allow_data_loss=True, **given)
    assert (refused.value.failure["code"], refused.value.failure["option"]) == ("work_queue", option)
    assert refused.value.failure["err_code"] == err_code
    assert reader.info["created"] == created
    body = {"durable_name": "OTHER", "ack_policy": "explicit", "filter_subject": f"{reader.stream}.x", **given}
    consumers.delete(session, reader.stream, reader.name)
    with pytest.raises(StreamsError) as theirs:
        consumers.create(session, reader.stream, body)
    assert theirs.value.failure["err_code"] == err_code
    # It can be created again otherwise
    reader.apply()
    assert reader.apply(recreate=True, max_waiting=7).changed


def test_a_narrower_filter_beside_others(session: Session) -> None:
    # A consumer of one subject keeps all messages of that subject
    reader = Reader(session, "interest")
    beside(reader, "OTHER", filter_subject=f"{reader.stream}.1")
    session.request(f"{reader.stream}.2", b"x")
    lost(reader, 1, "1 message", filter_subject=f"{reader.stream}.0")
    assert reader.left == 10
    # It is unknown which messages a consumer with a later start still keeps
    reader = Reader(session, "interest")
    later = {"deliver_policy": "by_start_sequence", "opt_start_seq": 7}
    beside(reader, "OTHER", filter_subject=f"{reader.stream}.1", **later)
    session.request(f"{reader.stream}.2", b"x")
    lost(reader, None, "at least 1 message", filter_subject=f"{reader.stream}.0")
    wait_until(lambda: reader.left == 7)


def newest(session: Session) -> bool:
    return session.server.version >= (2, 14, 0)


def test_reset(session: Session) -> None:
    reader = Reader(session)
    reader.pull(4)
    reader.pull(2, ack=False)
    if not newest(session):
        with pytest.raises(Refused, match=r"state: reset needs nats-server 2\.14\.0"):
            reader.plan(state="reset")
        return
    plan = reader.apply(state="reset")
    assert plan.consequences["messages_redelivered"] == 2
    assert not reader.plan(state="reset").changed
    assert reader.pull(2) == ["4", "5"]
    plan = reader.apply(state="reset", opt_start_seq=3)
    assert plan.changes[0].shown == {
        "field": "position",
        "before": {"delivered": 6, "ack_floor": 6},
        "after": {"delivered": 2, "ack_floor": 2},
        "effect": "in place",
    }
    assert plan.consequences["messages_redelivered"] == 4
    assert not reader.plan(state="reset", opt_start_seq=3).changed
    assert reader.pull(1) == ["2"]
    moment = messages.get(session, reader.stream, sequence=9)
    assert moment is not None
    plan = reader.apply(state="reset", opt_start_time=moment.time)
    # Times are compared to the microsecond, so the message before may be included
    assert plan.consequences["messages_skipped"] in range(4, 6)
    assert reader.pull(10)[-2:] == ["8", "9"]


def test_pins_are_taken(session: Session) -> None:
    if session.server.version < (2, 11, 0):
        return
    reader = Reader(session, priority_policy="pinned_client", priority_groups=["all"])
    assert not reader.plan(state="unpinned").changed
    assert reader.pull(1, group="all") == ["0"]
    assert reader.plan(state="unpinned", priority_groups=["all"]).changed
    plan = reader.apply(state="unpinned")
    assert plan.changes[0].field == "pinned.all"
    assert not reader.plan(state="unpinned").changed
    with pytest.raises(OptionError) as refused:
        reader.plan(state="unpinned", priority_groups=["some"])
    assert refused.value.message == "priority_groups: there is no group 'some', there are all."


def test_acts_take_no_other_options(session: Session) -> None:
    reader = Reader(session)
    for state, given in (("reset", {"max_waiting": 3}), ("unpinned", {"opt_start_seq": 3})):
        with pytest.raises(OptionError, match=f"does not go with state: {state}: leave it out"):
            reader.plan(state=state, **given)
    reader.name = "NONE"
    for state in ("reset", "unpinned"):
        with pytest.raises(StreamsError, match=r"name: there is no consumer NONE of stream"):
            reader.plan(state=state)
