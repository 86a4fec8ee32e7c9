# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Changes that are impossible in place are made by copying. No message is lost while others publish, wherever the
copying is killed.
"""

from __future__ import annotations

import asyncio
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

import nats
import pytest

from ansible_collections.choria.streams.plugins.module_utils._api import (
    consumers,
    lists,
    messages,
    reading,
    stream_compare,
    streams,
)
from ansible_collections.choria.streams.plugins.module_utils._connection.wire import Request
from ansible_collections.choria.streams.plugins.module_utils._errors import PermissionMissing, Refused, StreamsError
from ansible_collections.choria.streams.plugins.module_utils._resources.consumer.consumer import CONSUMER
from ansible_collections.choria.streams.plugins.module_utils._resources.consumer.facts import as_asked
from ansible_collections.choria.streams.plugins.module_utils._resources.kv.bucket import BUCKET
from ansible_collections.choria.streams.plugins.module_utils._resources.stream import rules
from ansible_collections.choria.streams.plugins.module_utils._resources.stream.recreation import configurations
from ansible_collections.choria.streams.plugins.module_utils._resources.stream.recreation import copy as stream_copy
from ansible_collections.choria.streams.plugins.module_utils._resources.stream.stream import STREAM
from support.backups import consume
from support.filling import delete_streams, publish_many
from support.killing import killed
from support.manage import Manager
from support.playbook import run_playbook
from support.publishing import Publisher
from support.server import NatsServer
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
    from ansible_collections.choria.streams.plugins.module_utils._resources.resource import Plan
    from conftest import MakeServer

pytestmark = pytest.mark.once

SERVERS = ("latest", "2.14")

_numbers = count()


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest) -> Iterator[NatsServer]:
    with NatsServer(version=None if request.param == SERVERS[0] else request.param) as running:
        yield running


@pytest.fixture
def manager(server: NatsServer) -> Iterator[Manager]:
    """Return a manager for a server that has no stream after the test."""
    with Manager(servers=server.url) as there:
        yield there
        delete_streams(there.session)


def fill(manager: Manager, subject: str, numbers: range, headers: dict[str, str] | None = None) -> None:
    wanted = [Request(subject, str(number).encode(), headers) for number in numbers]
    for answer in publish_many(manager.session, "Publishing", wanted):
        assert not isinstance(answer, StreamsError), answer


def stored(manager: Manager, stream: str, subject: str = ">") -> list[tuple[int, str, str, bytes, dict[str, str]]]:
    """Return all messages of a stream, in order."""
    return [
        (message.sequence, message.time, message.subject, message.data, dict(message.headers))
        for message in reading.onward(manager.session, stream, subject)
    ]


def state(manager: Manager, stream: str) -> dict[str, Any]:
    info = streams.info(manager.session, stream)
    assert info
    return dict(info["state"])


async def _take(url: str, stream: str, consumer: str, number: int) -> list[bytes]:
    client = await nats.connect(url)
    subscription = await client.jetstream().pull_subscribe_bind(consumer, stream)
    taken: list[bytes] = []
    while len(taken) < number:
        for message in await subscription.fetch(number - len(taken), timeout=10):
            await message.ack_sync()
            taken.append(message.data)
    await client.close()
    return taken


def take(server: NatsServer, stream: str, consumer: str, number: int) -> list[bytes]:
    """Return the next messages of a consumer, all acknowledged."""
    return asyncio.run(_take(server.url, stream, consumer, number))


def make_orders(manager: Manager, server: NatsServer, name: str = "ORDERS") -> None:
    """Create a stream with gaps, also at its end, and a consumer that has acknowledged some messages."""
    config = {"name": name, "subjects": [f"{name}.>"], "max_age": "7d", "allow_rollup_hdrs": True}
    manager.apply(STREAM, **config, metadata={"team": "sales"}, allow_direct=True)
    fill(manager, f"{name}.old", range(40), {"Kind": "old"})
    consumers.create(manager.session, name, {"durable_name": "worker", "ack_policy": "explicit"})
    for sequence in (5, 6, 40):
        messages.delete(manager.session, name, sequence)
    take(server, name, "worker", 10)


def test_others_publish_all_the_while(manager: Manager, server: NatsServer) -> None:
    make_orders(manager, server)
    before = stored(manager, "ORDERS")
    with Publisher(server.url, "ORDERS.new") as publisher:
        for storage in ("memory", "file"):
            publisher.wait_for(50)
            manager.apply(STREAM, name="ORDERS", storage=storage, recreate="copy")
            publisher.wait_for(50)
    assert manager.config("ORDERS")["storage"] == "file"
    assert stored(manager, "ORDERS", "ORDERS.old") == before
    published = [int(data) for _sequence, _time, _subject, data, _headers in stored(manager, "ORDERS", "ORDERS.new")]
    assert published[: publisher.acknowledged] == list(range(publisher.acknowledged))
    assert len(published) <= publisher.acknowledged + 1  # the publisher may not know that the last one was stored
    sequences = [sequence for sequence, *_rest in stored(manager, "ORDERS", "ORDERS.new")]
    assert sequences[0] == 41
    assert lists.stream_names(manager.session) == ["ORDERS"]
    assert take(server, "ORDERS", "worker", 40)[:3] == [b"12", b"13", b"14"]


def applied(server: NatsServer, **given: Any) -> Plan:
    with Manager(servers=server.url) as manager:
        return manager.apply(STREAM, **given)


def copied(server: NatsServer, name: str) -> Plan:
    return applied(server, name=name, storage="memory", max_age="1d", recreate="copy")


def published(manager: Manager, stream: str, number: int) -> int:
    """Publish a number. Return the next number if it is acknowledged, otherwise the same."""
    try:
        messages.publish(manager.session, "Publishing", f"{stream}.new", str(number).encode())
    except StreamsError:
        return number
    return number + 1


def test_killed_at_each_step(manager: Manager, server: NatsServer) -> None:
    newest = manager.session.server.version >= (2, 15)
    for writes in range(1, 100, 1 if newest else 3):
        name = f"ORDERS{writes}"
        make_orders(manager, server, name)
        before, number = stored(manager, name), published(manager, name, 0)
        if not killed(partial(copied, server, name), writes):
            break
        number = published(manager, name, number)
        copied(server, name)
        number = published(manager, name, number)
        assert stored(manager, name, f"{name}.old") == before
        assert [int(message[3]) for message in stored(manager, name, f"{name}.new")] == list(range(number))
        config = manager.config(name)
        assert (config["storage"], config["max_age"]) == ("memory", 86400 * 10**9)
        assert {label: text for label, text in config["metadata"].items() if label[0] != "_"} == {"team": "sales"}
        assert not [stream for stream in lists.stream_names(manager.session) if not stream.startswith("ORDERS")]
        assert take(server, name, "worker", 27 + number)[0] == b"12"
        assert copied(server, name).action == "none"
    assert writes > 15


LIMITED: dict[str, Any] = {"consumer_limits": {"max_ack_pending": 500, "inactive_threshold": "1h"}}


def test_killed_at_each_step_with_limits_of_consumers(manager: Manager, server: NatsServer) -> None:
    """Servers apply these limits to the consumer of the mirror. The result is the old or the new stream, without
    leftovers.
    """
    newest = manager.session.server.version >= (2, 15)
    for writes in range(1, 100, 2 if newest else 6):
        name = f"ORDERS{writes}"
        make_orders(manager, server, name)
        manager.apply(STREAM, name=name, consumer_limits={"max_ack_pending": 5000, "inactive_threshold": "1h"})
        before, config = stored(manager, name), manager.config(name)
        if not killed(partial(copied, server, name), writes):
            break
        if writes % 4 == 1:  # finish with the old configuration
            plan = applied(server, name=name, storage="file", max_age="7d", recreate="copy")
            assert plan.action == "copy"
            assert manager.config(name) == config
        else:
            copied(server, name)
            assert manager.config(name)["storage"] == "memory"
        assert manager.config(name)["consumer_limits"] == config["consumer_limits"]
        assert stored(manager, name) == before
        assert not [stream for stream in lists.stream_names(manager.session) if stream.startswith("COPY_OF")]
        assert take(server, name, "worker", 27)[0] == b"12"
    assert writes > 15


CONFIGURATIONS: list[dict[str, Any]] = [
    {"no_ack": True},
    {"no_ack": True, "subjects": ["$JS.API.>"]},
    {"max_msg_size": 5},
    {"discard": "new", "max_msgs": 4},
    {"discard": "new", "max_bytes": 400},
    {"discard": "new", "max_msgs_per_subject": 4, "discard_new_per_subject": True},
    {"consumer_limits": {"max_ack_pending": 5}},
    {"consumer_limits": {"inactive_threshold": "1s"}},
    LIMITED,
    {"subject_transform": {"src": "made.>", "dest": "other.>"}},
    {"republish": {"dest": "again.>"}},
    {"deny_purge": True, "deny_delete": True},
    {"max_age": "1h", "duplicate_window": "1s"},
    {"allow_msg_ttl": True, "subject_delete_marker_ttl": "1h"},
]


@pytest.mark.parametrize("given", CONFIGURATIONS, ids=str)
@pytest.mark.parametrize("recreate", ["true", "copy"])
def test_of_any_configuration(manager: Manager, given: dict[str, Any], recreate: str) -> None:
    """No configuration makes the trial stream fail."""
    given = {"name": f"MADE{next(_numbers)}", "subjects": ["made.>"], **given}
    manager.apply(STREAM, **given)
    if "$JS.API.>" not in given["subjects"]:
        for number in range(4):
            manager.session.publish("made.a", str(number).encode())
        wait_until(lambda: state(manager, given["name"])["messages"] == 4)
    wanted = {**given, "storage": "memory", "recreate": recreate, "allow_data_loss": True, "wait_timeout": "20s"}
    assert manager.plan(STREAM, **wanted).changed
    manager.apply(STREAM, **wanted)
    if "$JS.API.>" not in given["subjects"]:
        assert state(manager, given["name"])["messages"] == (4 if recreate == "copy" else 0)
    assert not manager.plan(STREAM, **wanted).changed
    assert lists.stream_names(manager.session) == [given["name"]]


def test_a_copy_that_the_server_refuses(manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error quotes what the server says about the mirror, long before the wait ends."""
    monkeypatch.setattr(configurations, "loosened", lambda config: config)
    given = {"name": "REFUSED", "subjects": ["refused.>"], **LIMITED}
    manager.apply(STREAM, **given)
    fill(manager, "refused.a", range(3))
    with pytest.raises(StreamsError, match=r"^COPY_OF_REFUSED gets no messages of REFUSED: the server refuses that"):
        manager.apply(STREAM, **given, storage="memory", recreate="copy")
    assert manager.apply(STREAM, **given, recreate="copy").consequences["steps"] == ["delete COPY_OF_REFUSED"]
    assert not manager.plan(STREAM, **given, recreate="copy").changed


def test_a_copy_that_lacks_a_message(manager: Manager, server: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is deleted, and others continue with the old stream."""
    make_orders(manager, server)
    config = manager.config("ORDERS")
    assert killed(partial(copied, server, "ORDERS"), 8)
    while state(manager, "COPY_OF_ORDERS")["messages"] < 37:
        pass
    messages.delete(manager.session, "COPY_OF_ORDERS", 3)
    monkeypatch.setattr(stream_copy, "_FROZEN", 0.3)
    reason = r"^COPY_OF_ORDERS has 36 of the 37 messages of ORDERS, and they were not the same after 0\.3 s: no"
    with pytest.raises(StreamsError, match=reason) as error:
        manager.apply(STREAM, name="ORDERS", storage="memory", recreate="copy")
    assert error.value.failure["code"] == "copy_incomplete"
    assert manager.config("ORDERS") == config
    assert published(manager, "ORDERS", 0) == 1
    assert take(server, "ORDERS", "worker", 1) == [b"12"]
    streams.delete(manager.session, "COPY_OF_ORDERS")
    assert copied(server, "ORDERS").action == "copy"
    assert state(manager, "ORDERS")["messages"] == 38


def test_the_origin_is_created_again_meanwhile(
    manager: Manager, server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mirror continues with the new stream at the old sequence. It looks complete, but is not."""
    given = {"name": "TWICE", "subjects": ["TWICE.>"]}
    manager.apply(STREAM, **given)
    fill(manager, "TWICE.a", range(10))
    follow = stream_compare.follow

    def created_again(session: Session, name: str, origin: str, patience: float) -> None:
        follow(session, name, origin, patience)
        monkeypatch.undo()
        streams.delete(session, origin)
        manager.apply(STREAM, **given)
        fill(manager, "TWICE.a", range(100, 115))
        wait_until(lambda: state(manager, name)["last_seq"] == 15, 60)

    monkeypatch.setattr(stream_compare, "follow", created_again)
    with pytest.raises(StreamsError, match=r"^recreate: stream TWICE was deleted and created again while it") as error:
        manager.apply(STREAM, **given, storage="memory", recreate="copy")
    assert error.value.failure["code"] == "copy_incomplete"
    new = [str(number).encode() for number in range(100, 115)]
    assert [data for _sequence, _time, _subject, data, _headers in stored(manager, "TWICE")] == new
    assert published(manager, "TWICE", 0) == 1
    assert copied(server, "TWICE").action == "copy"
    assert [data for _sequence, _time, _subject, data, _headers in stored(manager, "TWICE")] == [*new, b"0"]
    assert lists.stream_names(manager.session) == ["TWICE"]


def test_another_copy_froze_the_stream(manager: Manager, server: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has recorded the subjects, which are not those of the stream any more."""
    make_orders(manager, server, "BOTH")
    before, follow = stored(manager, "BOTH"), stream_compare.follow

    def frozen(session: Session, name: str, origin: str, patience: float) -> None:
        follow(session, name, origin, patience)
        monkeypatch.undo()
        assert killed(partial(copied, server, "BOTH"), 2)
        assert configurations.quiet(manager.config("BOTH"))

    monkeypatch.setattr(stream_compare, "follow", frozen)
    assert copied(server, "BOTH").action == "copy"
    assert published(manager, "BOTH", 0) == 1
    assert stored(manager, "BOTH", "BOTH.old") == before
    assert lists.stream_names(manager.session) == ["BOTH"]


def test_the_origin_is_created_again_before_the_copy_begins(
    manager: Manager, server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record of the copy would describe the deleted stream and the positions of its consumers."""
    given = {"name": "EARLY", "subjects": ["EARLY.>"]}
    manager.apply(STREAM, **given)
    fill(manager, "EARLY.a", range(10))
    try_out = stream_copy.try_out

    def created_again(session: Session, *arguments: Any, **more: Any) -> None:
        try_out(session, *arguments, **more)
        monkeypatch.undo()
        streams.delete(session, "EARLY")
        manager.apply(STREAM, **given)

    monkeypatch.setattr(stream_copy, "try_out", created_again)
    with pytest.raises(StreamsError, match=r"^recreate: stream EARLY was deleted and created again while it"):
        manager.apply(STREAM, **given, storage="memory", recreate="copy")
    assert lists.stream_names(manager.session) == ["EARLY"]
    assert published(manager, "EARLY", 0) == 1
    assert copied(server, "EARLY").action == "copy"
    assert state(manager, "EARLY")["messages"] == 1


# Kept properties


def positions(manager: Manager, stream: str) -> dict[str, tuple[str, int, int]]:
    """Return the deliver_policy of each consumer, the last sequence it acknowledged, and its pending messages."""
    return {
        info["name"]: (info["config"]["deliver_policy"], info["ack_floor"]["stream_seq"], info["num_pending"])
        for info in consumers.list_all(manager.session, stream)
    }


def test_consumers_go_on_where_they_were(manager: Manager, server: NatsServer) -> None:
    manager.apply(STREAM, name="READ", subjects=["read.>"])
    early = {"durable_name": "early", "ack_policy": "explicit", "deliver_policy": "new"}
    consumers.create(manager.session, "READ", early)
    fill(manager, "read.a", range(10))
    paused = "2126-01-01T00:00:00Z"
    made: dict[str, dict[str, Any]] = {
        "all": {"ack_policy": "explicit"},
        "new": {"ack_policy": "explicit", "deliver_policy": "new"},
        "pushed": {"ack_policy": "all", "deliver_subject": "to.me", "max_deliver": 7},
        "started": {"ack_policy": "explicit", "deliver_policy": "by_start_sequence", "opt_start_seq": 4},
        "paused": {"ack_policy": "explicit", "pause_until": paused},
        "untouched": {"ack_policy": "none"},
    }
    for name, config in made.items():
        consumers.create(manager.session, "READ", {"durable_name": name, **config})
    take(server, "READ", "all", 3)
    before, configs = positions(manager, "READ"), {}
    for info in consumers.list_all(manager.session, "READ"):
        configs[info["name"]] = info["config"]
    plan = manager.apply(STREAM, name="READ", storage="memory", recreate="copy")
    assert plan.consequences["consumers_recreated"] == sorted(before)
    moved = {"early": ("by_start_sequence", 0, 10), "new": ("by_start_sequence", 10, 0)}
    assert positions(manager, "READ") == {**before, **moved}
    for info in consumers.list_all(manager.session, "READ"):
        was, now = configs[info["name"]], as_asked({**info["config"]})
        assert {**now, "metadata": now.get("metadata") or {}} == {**was, "metadata": was.get("metadata") or {}}
    for name in moved:
        assert not manager.plan(CONSUMER, stream="READ", name=name, deliver_policy="new").changed
    assert take(server, "READ", "all", 1) == [b"3"]


def test_a_work_queue_and_back(manager: Manager, server: NatsServer) -> None:
    manager.apply(STREAM, name="JOBS", subjects=["jobs.>"], max_msgs=100_000, discard="new")
    consumers.create(manager.session, "JOBS", {"durable_name": "worker", "ack_policy": "explicit"})
    fill(manager, "jobs.a", range(20))
    take(server, "JOBS", "worker", 5)
    manager.apply(STREAM, name="JOBS", retention="workqueue", recreate="copy")
    assert positions(manager, "JOBS") == {"worker": ("all", 5, 15)}
    assert state(manager, "JOBS")["messages"] == 20  # processed messages are kept, since allow_data_loss is not set
    with Publisher(server.url, "jobs.b") as publisher:
        publisher.wait_for(10)
        taken = take(server, "JOBS", "worker", 5)
        manager.apply(STREAM, name="JOBS", retention="limits", max_age="1h", recreate="copy")
        publisher.wait_for(10)
    assert taken == [b"5", b"6", b"7", b"8", b"9"]
    rest = take(server, "JOBS", "worker", 10 + publisher.acknowledged)
    assert rest[:10] == [str(number).encode() for number in range(10, 20)]
    assert rest[10:] == [str(number).encode() for number in range(publisher.acknowledged)]
    assert (manager.config("JOBS")["discard"], manager.config("JOBS")["max_msgs"]) == ("new", 100_000)


def test_interest_stays_interest(manager: Manager, server: NatsServer) -> None:
    manager.apply(STREAM, name="HEARD", subjects=["heard.>"], retention="interest")
    for name in ("one", "two"):
        consumers.create(manager.session, "HEARD", {"durable_name": name, "ack_policy": "explicit"})
    fill(manager, "heard.a", range(6))
    take(server, "HEARD", "one", 4)
    take(server, "HEARD", "two", 2)
    before = stored(manager, "HEARD")
    assert [data for _sequence, _time, _subject, data, _headers in before] == [b"2", b"3", b"4", b"5"]
    manager.apply(STREAM, name="HEARD", storage="memory", recreate="copy")
    assert manager.config("HEARD")["retention"] == "interest"
    assert stored(manager, "HEARD") == before
    assert (take(server, "HEARD", "one", 2), take(server, "HEARD", "two", 4)[0]) == ([b"4", b"5"], b"2")
    assert state(manager, "HEARD")["messages"] == 0


def test_copies_keep_the_effects_of_headers(manager: Manager) -> None:
    """Messages with lifetimes, roll-ups, and fields that only recreation turns off."""
    made = {"name": "LIVES", "subjects": ["lives.>"], "allow_msg_ttl": True, "allow_rollup_hdrs": True}
    manager.apply(STREAM, **made, deny_delete=True, subject_delete_marker_ttl="1m", republish={"dest": "again.>"})
    fill(manager, "lives.a", range(3), {"Nats-TTL": "1h"})
    fill(manager, "lives.b", range(3))
    fill(manager, "lives.b", range(3, 4), {"Nats-Rollup": "sub"})
    before = stored(manager, "LIVES")
    manager.apply(STREAM, name="LIVES", deny_delete=False, recreate="copy")
    assert stored(manager, "LIVES") == before
    config = manager.config("LIVES")
    assert (config["deny_delete"], config["allow_msg_ttl"], config["republish"]["dest"]) == (False, True, "again.>")
    manager.apply(STREAM, name="LIVES", allow_msg_ttl=False, subject_delete_marker_ttl=0, recreate="copy")
    assert stored(manager, "LIVES") == before


def test_sources_go_on(manager: Manager) -> None:
    manager.apply(STREAM, name="HERE", subjects=["here.>"])
    manager.apply(STREAM, name="BOTH", subjects=["both.>"], sources=[{"name": "HERE"}])
    fill(manager, "here.a", range(5))
    while state(manager, "BOTH")["messages"] < 5:
        pass
    manager.apply(STREAM, name="BOTH", storage="memory", recreate="copy")
    fill(manager, "here.a", range(5, 8))
    while state(manager, "BOTH")["messages"] < 8:
        pass
    assert [int(message[3]) for message in stored(manager, "BOTH")] == list(range(8))


def test_empty_and_purged(manager: Manager) -> None:
    """The next message gets the next sequence, although no message is left."""
    manager.apply(STREAM, name="PURGED", subjects=["purged.>"])
    fill(manager, "purged.a", range(5))
    streams.purge(manager.session, "PURGED")
    manager.apply(STREAM, name="PURGED", storage="memory", recreate="copy")
    fill(manager, "purged.a", range(1))
    assert [message[0] for message in stored(manager, "PURGED")] == [6]


def test_a_bucket(manager: Manager) -> None:
    manager.apply(BUCKET, name="CFG", history=3, description="Kept")
    for number in range(5):
        fill(manager, "$KV.CFG.a", range(number, number + 1))
        fill(manager, "$KV.CFG.b", range(1))
    before, config = stored(manager, "KV_CFG"), manager.config("KV_CFG")
    plan = manager.apply(BUCKET, name="CFG", storage="memory", recreate="copy")
    assert [(change.field, change.effect) for change in plan.changes] == [("storage", "recreate")]
    assert stored(manager, "KV_CFG") == before
    assert manager.config("KV_CFG") == {**config, "storage": "memory"}
    expected = {"Nats-Expected-Last-Subject-Sequence": "9"}
    fill(manager, "$KV.CFG.a", range(9, 10), expected)


# Refusals


@pytest.mark.parametrize(
    ("made", "wanted", "reason"),
    [
        ({"mirror": {"name": "OTHER"}}, {"storage": "memory"}, "the messages of a mirror are those of its origin"),
        ({}, {"mirror": {"name": "OTHER"}, "subjects": []}, "the messages of a mirror are those of its origin"),
        ({"allow_msg_counter": True}, {"storage": "memory"}, "the server copies no counters"),
        ({}, {"allow_msg_counter": True}, "the server copies no counters"),
        ({"allow_msg_schedules": True, "allow_rollup_hdrs": True}, {"storage": "memory"}, "the server forgets the sch"),
        ({}, {"first_seq": 7}, "a copy keeps the sequence numbers"),
    ],
)
def test_not_copyable(manager: Manager, made: dict[str, Any], wanted: dict[str, Any], reason: str) -> None:
    manager.apply(STREAM, name="OTHER", subjects=["other.>"])
    manager.apply(STREAM, name="STUCK", **made)
    with pytest.raises(Refused, match=f"^recreate: stream STUCK can't be copied: {reason}") as refusal:
        manager.plan(STREAM, name="STUCK", **wanted, recreate="copy")
    assert refusal.value.failure == {"code": "not_copyable", "option": "recreate"}


def test_others_that_would_lose_or_double(manager: Manager) -> None:
    manager.apply(STREAM, name="TAKEN", subjects=["taken.>"])
    manager.apply(STREAM, name="TAKER", sources=[{"name": "TAKEN"}])
    with pytest.raises(Refused, match=r"^recreate: stream TAKEN is among the sources of TAKER, which could take"):
        manager.plan(STREAM, name="TAKEN", storage="memory", recreate="copy")
    manager.apply(STREAM, name="QUEUE", subjects=["queue.a", "queue.b"], retention="workqueue")
    config = {"durable_name": "a", "ack_policy": "explicit", "filter_subject": "queue.a"}
    consumers.create(manager.session, "QUEUE", config)
    with pytest.raises(Refused, match=r"QUEUE is a work queue in which no consumer waits for queue\.b, and copying"):
        manager.plan(STREAM, name="QUEUE", storage="memory", recreate="copy")


def test_the_server_is_asked_beforehand(manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing changes if the server would refuse the new stream or one of its consumers."""
    # A limit of the server that the plan does not know
    monkeypatch.setattr(rules, "_transform_problem", lambda *_given: "")
    manager.apply(STREAM, name="ASKED", subjects=["asked.>"])
    fill(manager, "asked.a", range(3))
    consumers.create(manager.session, "ASKED", {"durable_name": "lazy", "ack_policy": "none"})
    before = stored(manager, "ASKED")
    with pytest.raises(
        Refused, match=r"^recreate: the server would refuse consumer lazy of ASKED with the new configuration"
    ):
        manager.apply(STREAM, name="ASKED", retention="workqueue", recreate="copy")
    for recreate in ("copy", "true"):
        with pytest.raises(
            Refused, match=r"^recreate: the server would refuse ASKED with the new configuration, and nothing was"
        ):
            manager.apply(
                STREAM,
                name="ASKED",
                storage="memory",
                subject_transform={"src": "asked.*", "dest": "asked.{{wildcard(2)}}"},
                recreate=recreate,
                allow_data_loss=True,
            )
    assert stored(manager, "ASKED") == before
    assert lists.stream_names(manager.session) == ["ASKED"]


@pytest.mark.parametrize("call", ["STREAM.PURGE", "CONSUMER.RESET", "CONSUMER.PAUSE"])
def test_a_permission_is_missing(make_server: MakeServer, call: str) -> None:
    """The copy ends before it freezes the stream."""
    user = {"user": "me", "password": "secret"}
    users = [{**user, "permissions": {"publish": {"deny": f"$JS.API.{call}.>"}}}, {"user": "root", "password": "x"}]
    server = make_server({"authorization": {"users": users}})
    with Manager(servers=server.url, user="root", password="x") as root, Manager(servers=server.url, **user) as manager:
        root.apply(STREAM, name="ORDERS", subjects=["ORDERS.>"])
        fill(root, "ORDERS.old", range(3))
        consume(root.session, "ORDERS", "worker", 2)
        with pytest.raises(PermissionMissing, match=call):
            manager.apply(STREAM, name="ORDERS", storage="memory", recreate="copy")
        assert published(root, "ORDERS", 0) == 1
        assert lists.stream_names(root.session) == ["ORDERS"]


@pytest.mark.parametrize("recreate", ["copy", "true"])
def test_the_temporary_name_is_taken(manager: Manager, server: NatsServer, recreate: str) -> None:
    """Neither the stream with that name nor the source changes. A trial stream that was left behind is removed."""
    manager.apply(STREAM, name="NAMED", subjects=["named.>"])
    manager.apply(STREAM, name="COPY_OF_NAMED", subjects=["others.>"])
    fill(manager, "named.a", range(2))
    fill(manager, "others.a", range(3))
    wanted = {"name": "NAMED", "storage": "memory", "recreate": recreate, "allow_data_loss": True}
    reason = r"^recreate: stream COPY_OF_NAMED exists, was not created by this module and is needed for the copy, so"
    with pytest.raises(Refused, match=reason) as refusal:
        manager.apply(STREAM, **wanted)
    assert refusal.value.failure == {"code": "not_copyable", "option": "recreate"}
    assert [state(manager, name)["messages"] for name in ("NAMED", "COPY_OF_NAMED")] == [2, 3]
    streams.delete(manager.session, "COPY_OF_NAMED")
    assert killed(partial(applied, server, **wanted), 1)
    assert sorted(lists.stream_names(manager.session)) == ["COPY_OF_NAMED", "NAMED"]
    manager.apply(STREAM, **wanted)
    assert lists.stream_names(manager.session) == ["NAMED"]
    assert manager.config("NAMED")["storage"] == "memory"


def test_recreation_after_an_unfinished_copy(manager: Manager, server: NatsServer) -> None:
    """A copy without messages of its own is removed. A copy with messages has to be completed first."""
    make_orders(manager, server)
    assert killed(partial(copied, server, "ORDERS"), 8)
    assert manager.config("COPY_OF_ORDERS")["mirror"]
    wanted = {"name": "ORDERS", "storage": "memory", "recreate": "true", "allow_data_loss": True}
    manager.apply(STREAM, **wanted)
    assert lists.stream_names(manager.session) == ["ORDERS"]
    marked = {"choria.streams.copy_of": "{}"}
    manager.apply(STREAM, name="COPY_OF_ORDERS", subjects=["others.>"], metadata=marked)
    with pytest.raises(Refused, match=r"^name: COPY_OF_ORDERS holds the messages of a stream that is being copied or"):
        manager.apply(STREAM, **{**wanted, "storage": "file"})
    assert sorted(lists.stream_names(manager.session)) == ["COPY_OF_ORDERS", "ORDERS"]


def test_before_2_12() -> None:
    with NatsServer(version="2.10") as old, Manager(servers=old.url) as manager:
        manager.apply(STREAM, name="OLD", subjects=["old.>"])
        fill(manager, "old.a", range(3))
        with pytest.raises(Refused, match=r"can't be copied: that needs nats-server 2\.12, and this server runs 2\.10"):
            manager.plan(STREAM, name="OLD", storage="memory", recreate="copy")
        with pytest.raises(Refused, match="recreating it would lose 3 messages") as refusal:
            manager.plan(STREAM, name="OLD", storage="memory", recreate="true")
        assert refusal.value.failure["code"] == "data_loss"
        assert state(manager, "OLD")["messages"] == 3
        manager.apply(STREAM, name="OLD", storage="memory", recreate="true", allow_data_loss=True)
        assert (manager.config("OLD")["storage"], state(manager, "OLD")["messages"]) == ("memory", 0)


def test_a_lower_limit_has_to_be_allowed(manager: Manager, server: NatsServer) -> None:
    make_orders(manager, server)
    with pytest.raises(Refused, match="max_msgs 10 would lose 27 messages"):
        manager.plan(STREAM, name="ORDERS", storage="memory", max_msgs=10, recreate="copy")
    manager.apply(STREAM, name="ORDERS", storage="memory", max_msgs=10, recreate="copy", allow_data_loss=True)
    assert state(manager, "ORDERS")["messages"] == 10


# Playbooks


def test_half_finished(nats_server: NatsServer) -> None:
    """Other tasks do not change it. The next task that copies lists the remaining steps."""
    with Manager(servers=nats_server.url) as manager:
        _half_finished(manager, nats_server)
        streams.delete(manager.session, "ORDERS")


def _half_finished(manager: Manager, server: NatsServer) -> None:
    make_orders(manager, server)
    assert killed(partial(copied, server, "ORDERS"), 17)
    assert manager.config("COPY_OF_ORDERS")["subjects"] == ["ORDERS.>"]
    gone = {"state": "absent", "allow_data_loss": True}
    for given in ({"max_age": "1d"}, gone, {**gone, "recreate": "copy"}, {"recreate": "true"}):
        with pytest.raises(
            Refused, match=r"^recreate: stream ORDERS is being copied, and that was not finished"
        ) as error:
            manager.plan(STREAM, name="ORDERS", **given)
        assert error.value.failure["code"] == "copy_under_way"
    with pytest.raises(Refused, match=r"^name: COPY_OF_ORDERS holds the messages of a stream that is being copied or"):
        manager.plan(STREAM, name="COPY_OF_ORDERS", state="absent", allow_data_loss=True)
    module: dict[str, Any] = {"name": "ORDERS", "storage": "memory", "recreate": "copy"}
    document = {"streams": [{**module, "subjects": ["ORDERS.>"]}], "owner": "team", "take_over": True}
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "module_defaults": {"group/choria.streams.all": {"servers": [server.url]}},
        "tasks": [
            {"name": "check", "choria.streams.choria_stream": module, "check_mode": True},
            {"name": "finish", "choria.streams.choria_resources": document},
            {"name": "again", "choria.streams.choria_stream": module},
            {"name": "anew", "choria.streams.choria_stream": {**module, "storage": "file", "recreate": True}},
        ],
    }
    tasks = run_playbook([play]).task
    assert tasks("check").result["consequences"]["steps"][-1] == "delete COPY_OF_ORDERS"
    assert 2 < len(tasks("check").result["consequences"]["steps"]) < 6
    assert tasks("finish").changed
    assert not tasks("again").changed
    assert tasks("anew").result["failure"]["messages_lost"] == 37
    assert "COPY_OF_ORDERS" not in lists.stream_names(manager.session)
