# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where consumers stand: kept when they are made anew, however often that is interrupted; reset; pins taken away."""

from __future__ import annotations

import json
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.choria.streams.plugins.module_utils._api import consumers, messages, streams
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

    ``half`` lets the consumer take those of one subject alone.
    """

    def __init__(self, session: Session, retention: str = "limits", *, half: bool = False, **config: Any) -> None:
        self.session, self.stream, self.name = session, f"P{next(_numbers)}", "READER"
        streams.create(
            session,
            {"name": self.stream, "subjects": [f"{self.stream}.>"], "retention": retention, "allow_direct": True},
        )
        self.apply(**({"filter_subjects": [f"{self.stream}.0"]} if half else {}), **config)
        wanted = (Request(f"{self.stream}.{number % 2}", str(number).encode()) for number in range(10))
        assert all(isinstance(answer, dict) for answer in messages.publish_many(session, "Filling", wanted))

    def plan(self, **given: Any) -> Plan:
        wanted = options(CONSUMER, stream=self.stream, name=self.name, **given)
        return CONSUMER.plan(CONSUMER.read(self.session, wanted), wanted, self.session.server)

    def apply(self, **given: Any) -> Plan:
        plan = self.plan(**given)
        if plan.changed:
            CONSUMER.apply(self.session, plan)
        return plan

    def pull(self, number: int, ack: bool = True, **more: Any) -> list[str]:
        """The values of the next messages, which are acknowledged."""
        session, inbox = self.session, self.session.new_inbox()
        session.subscribe(inbox)
        body = json.dumps({"batch": number, "no_wait": True, **more}).encode()
        session._drive(  # a request with many answers, each with a reply of its own, is not for modules
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
    def info(self) -> dict[str, Any]:
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


def test_where_it_is(session: Session) -> None:
    """Three are acknowledged, two were delivered twice, and five were never."""
    reader = Reader(session)
    reader.pull(3)
    reader.apply(max_ack_pending=2)  # or the next two would come in their place
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
    """The position is one of the stream that is gone: the consumer of the new one would skip what it has."""
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
    assert reader.pull(1) == ["new"]


@pytest.mark.parametrize("retention", ["limits", "interest", "workqueue"])
def test_made_anew_at_its_position(session: Session, retention: str) -> None:
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
    # What it was asked to begin with is no difference, nor is anything else, and changes in place still work
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
    """Whatever was done before, the next run ends with the consumer at its position, and no message is lost."""
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


@pytest.mark.parametrize("retention", ["limits", "interest"])
def test_a_new_start_with_a_filter_is_meant_however_often_that_is_interrupted(session: Session, retention: str) -> None:
    """What holds the position has the old filter and the old place: the new start may need the new filter."""
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
    """Where it begins is only honoured anew when that itself changes, and what that passes over takes a permission."""
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


# A narrower filter on a stream by interest


def lost(reader: Reader, told: int | None, sentence: str, **given: Any) -> None:
    """What is refused, then allowed, and what the server does."""
    before = reader.left
    with pytest.raises(Refused, match=f"its new filter would lose {sentence}: set allow_data_loss: true") as refused:
        reader.plan(**given)
    assert refused.value.failure["code"] == "data_loss"
    assert reader.apply(allow_data_loss=True, **given).consequences["messages_lost"] == told
    wait_until(lambda: told is None or reader.left == before - told)
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

    # As wide as the stream, or wider than before: nothing goes
    reader = Reader(session, "interest", half=True)
    for wanted in ([f"{reader.stream}.*"], [f"{reader.stream}.0", f"{reader.stream}.1"]):
        assert reader.apply(filter_subjects=wanted, **more).consequences["messages_lost"] == 0
    # Nor with other retentions
    for retention in ("limits", "workqueue"):
        reader = Reader(session, retention)
        assert reader.apply(filter_subject=f"{reader.stream}.0", **more).consequences["messages_lost"] == 0
        assert reader.left == 10


def test_a_narrower_filter_beside_others(session: Session) -> None:
    # One that waits for all of one subject keeps that
    reader = Reader(session, "interest")
    beside(reader, "OTHER", filter_subject=f"{reader.stream}.1")
    session.request(f"{reader.stream}.2", b"x")
    lost(reader, 1, "1 message", filter_subject=f"{reader.stream}.0")
    assert reader.left == 10
    # Of one that waits for some it is not known which these are
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
    # Times are compared to the microsecond, so that the message before may be taken along
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
