# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""A stream with three replicas is changed by copying, while others publish and its leader changes during the copy."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.choria.streams.plugins.module_utils._api import (
    consumers,
    lists,
    messages,
    reading,
    replicas,
    streams,
)
from ansible_collections.choria.streams.plugins.module_utils._api.kv import kv
from ansible_collections.choria.streams.plugins.module_utils._api.kv.kv_watch import Watch
from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from ansible_collections.choria.streams.plugins.module_utils._connection.wire import Request
from ansible_collections.choria.streams.plugins.module_utils._errors import StreamsError
from ansible_collections.choria.streams.plugins.module_utils._resources.stream.stream import STREAM
from support.backups import backup, restore
from support.cluster import nats_cluster, step_down
from support.connect import settings
from support.filling import publish_many
from support.killing import is_write
from support.manage import Manager
from support.proxy import Proxy
from support.publishing import Publisher

if TYPE_CHECKING:
    from pathlib import Path

    from support.proxy import Frame
    from support.server import NatsServer

pytestmark = pytest.mark.once

ORDERS = {"name": "ORDERS", "subjects": ["orders.>"], "replicas": 3}
COUNT = 200
# Seconds until a killed server is started again
AWAY = 2.0


def numbers(manager: Manager, subject: str) -> list[int]:
    return [int(message.data) for message in reading.onward(manager.session, "ORDERS", subject)]


class Unsteady:
    """Moves the leaders of both streams to other servers after a number of writes."""

    def __init__(self, session: Session, other: Session, after: int) -> None:
        self.session, self.other, self.after = session, other, after
        self.written, self.changed = 0, 0
        self._real = session.request_many
        session.request_many = self._request_many  # type: ignore[method-assign]

    def _request_many(self, requests: Any, *args: Any, **options: Any) -> Any:
        wanted = list(requests)
        answers = self._real(wanted, *args, **options)
        writes = [request for request in wanted if is_write(self.session, request)]
        self.written += len(writes)
        if writes and self.written >= self.after and not self.changed:
            for name in ("ORDERS", "COPY_OF_ORDERS"):
                with contextlib.suppress(StreamsError):  # one of the streams may not exist
                    step_down(self.other, name)
                    self.changed += 1
        return answers


@pytest.mark.parametrize(("version", "after"), [(None, 11), ("2.14", 3)])
def test_another_leader_in_the_middle(version: str | None, after: int) -> None:
    """The leader changes when both streams exist, and before the copy exists."""
    with nats_cluster(version=version) as servers:
        _change(servers, after)


def _change(servers: list[NatsServer], after: int) -> None:
    with Manager(servers=servers[0].url, timeout="3s") as manager, Manager(servers=servers[1].url) as other:
        manager.apply(STREAM, **ORDERS, storage="file")
        old = [Request("orders.old", str(number).encode()) for number in range(COUNT)]
        for answer in publish_many(manager.session, "Filling", old):
            assert isinstance(answer, dict), answer
        consumers.create(manager.session, "ORDERS", {"durable_name": "worker", "ack_policy": "explicit"})
        with Publisher(servers[2].url, "orders.new") as publisher:
            publisher.wait_for(5)
            unsteady = Unsteady(manager.session, other.session, after)
            for _try in range(5):
                # A call may fail while there is no leader. Another run completes the copy.
                with contextlib.suppress(StreamsError):
                    manager.apply(STREAM, name="ORDERS", storage="memory", recreate="copy")
                    break
            publisher.wait_for(5)
        assert unsteady.changed
        replicas.wait_until_current(manager.session, "ORDERS", 60)
        config = manager.config("ORDERS")
        assert (config["storage"], config["num_replicas"]) == ("memory", 3)
        assert numbers(manager, "orders.old") == list(range(COUNT))
        found = numbers(manager, "orders.new")
        assert found[: publisher.acknowledged] == list(range(publisher.acknowledged))
        assert len(found) <= publisher.acknowledged + 1  # the publisher may not know that the last one was stored
        assert [info["name"] for info in consumers.list_all(manager.session, "ORDERS")] == ["worker"]
        assert lists.stream_names(manager.session) == ["ORDERS"]
        streams.delete(manager.session, "ORDERS")


def test_a_restored_stream_whose_leader_changes(tmp_path: Path) -> None:
    """The server that restored it reports another time of creation than the others do."""
    with (
        nats_cluster() as servers,
        Manager(servers=servers[0].url) as manager,
        Manager(servers=servers[1].url) as other,
    ):
        manager.apply(STREAM, **ORDERS, storage="file")
        messages.publish(manager.session, "Filling", "orders.old", b"0")
        path = backup(manager.session, tmp_path, stream="ORDERS")["backup"]["path"]
        streams.delete(manager.session, "ORDERS")
        restore(manager.session, path, stream="ORDERS")
        replicas.wait_until_current(manager.session, "ORDERS", 60)
        assert len({detail["created"] for server in servers for detail in details_of(server)}) > 1
        unsteady = Unsteady(manager.session, other.session, 4)
        manager.apply(STREAM, name="ORDERS", storage="memory", recreate="copy")
        assert unsteady.changed
        assert numbers(manager, "orders.old") == [0]
        assert lists.stream_names(manager.session) == ["ORDERS"]


def test_a_restored_bucket_whose_leader_changes_during_a_watch(tmp_path: Path) -> None:
    """It is the same bucket, so that no present value is a change. A new bucket is still noticed."""
    config = {"name": "KV_B", "subjects": ["$KV.B.>"], "num_replicas": 3, "allow_direct": True, "deny_delete": True}
    with nats_cluster() as servers, Manager(servers=servers[0].url) as manager:
        streams.create(manager.session, config)
        messages.publish(manager.session, "Filling", "$KV.B.a", b"0")
        path = backup(manager.session, tmp_path, stream="KV_B")["backup"]["path"]
        streams.delete(manager.session, "KV_B")
        restore(manager.session, path, stream="KV_B")
        replicas.wait_until_current(manager.session, "KV_B", 60)
        bucket = kv.open_bucket(manager.session, "B")[0]
        with Watch(manager.session, bucket, ["a"], updates_only=True) as changes:
            created = bucket.created
            for _time in range(2):
                created = another_time_of_creation(manager, created)
                changes._name = ""  # as after a lost connection: a new consumer is created
                assert changes.next(1) is None
                assert changes.lives == 1
            streams.delete(manager.session, "KV_B")
            streams.create(manager.session, config)
            messages.publish(manager.session, "Filling", "$KV.B.a", b"1")
            changes._name = ""
            entry = changes.next(20)
            assert entry and (entry.value, changes.lives) == (b"1", 2)


def another_time_of_creation(manager: Manager, created: str) -> str:
    """Let servers lead the bucket until one reports another time, and return that."""

    def reported() -> str:
        info = streams.info(manager.session, "KV_B")
        return str(info["created"]) if info else ""

    while reported() == created:
        step_down(manager.session, "KV_B")
        replicas.wait_until_current(manager.session, "KV_B", 60)
    return reported()


def test_a_mirror_whose_creation_is_asked_for_twice() -> None:
    """The first answer is lost. Clusters store no duplicate window of a mirror, and so refuse the second request."""
    lost: list[bytes] = []

    def rule(frame: Frame) -> list[bytes]:
        if not frame.up and b"stream_create_response" in frame.raw and not lost:
            lost.append(frame.raw)
            return []
        return [frame.raw]

    mirror = {"name": "M", "mirror": {"name": "ORDERS"}, "duplicate_window": 120 * 10**9, "num_replicas": 3}
    with nats_cluster() as servers, Manager(servers=servers[0].url) as manager, Proxy(servers[0].port, rule) as proxy:
        manager.apply(STREAM, **ORDERS)
        with Session(settings(servers=proxy.url)) as session:
            assert streams.create(session, mirror)["config"]["mirror"] == {"name": "ORDERS"}
    assert lost


class Deadly:
    """Kills the leader of the stream after a number of writes, and starts it again soon."""

    def __init__(self, session: Session, servers: list[NatsServer], after: int) -> None:
        self.session, self.servers, self.after = session, servers, after
        self.written = 0
        self.killed: NatsServer | None = None
        self.back = threading.Timer(AWAY, lambda: None)
        self._real = session.request_many
        session.request_many = self._request_many  # type: ignore[method-assign]

    def _request_many(self, requests: Any, *args: Any, **options: Any) -> Any:
        wanted = list(requests)
        answers = self._real(wanted, *args, **options)
        self.written += sum(is_write(self.session, request) for request in wanted)
        if self.written >= self.after and not self.killed:
            name = leader_of(self.servers, ("ORDERS", "COPY_OF_ORDERS"))
            self.killed = self.servers[int(name[1:]) - 1]
            self.killed.kill()
            self.back = threading.Timer(AWAY, self.killed.start)
            self.back.start()
        return answers


def leader_of(servers: list[NatsServer], wanted: tuple[str, ...]) -> str:
    """Return the leader of the first of these streams that exists."""
    for name in wanted:
        for server in servers:
            for stream in details_of(server):
                leader = (stream.get("cluster") or {}).get("leader")
                if stream["name"] == name and leader:
                    return str(leader)
    raise AssertionError("no stream has a leader")


def details_of(server: NatsServer) -> list[dict[str, Any]]:
    """Return what a server reports about each of its streams."""
    accounts = server.monitor("jsz?accounts=1&streams=1").get("account_details") or []
    return [stream for account in accounts for stream in account.get("stream_detail") or []]


@pytest.mark.parametrize("after", [6, 12])
def test_the_leader_is_killed_in_the_middle(after: int) -> None:
    """One task completes the copy, and repeats the requests that fail meanwhile."""
    with nats_cluster() as servers, Manager(servers=[server.url for server in servers], timeout="20s") as manager:
        manager.apply(STREAM, **ORDERS, storage="file")
        old = [Request("orders.old", str(number).encode()) for number in range(COUNT)]
        assert all(isinstance(answer, dict) for answer in publish_many(manager.session, "Filling", old))
        consumers.create(manager.session, "ORDERS", {"durable_name": "worker", "ack_policy": "explicit"})
        deadly = Deadly(manager.session, servers, after)
        manager.apply(STREAM, name="ORDERS", storage="memory", recreate="copy")
        assert deadly.killed
        deadly.back.join()
        replicas.wait_until_current(manager.session, "ORDERS", 60)
        config = manager.config("ORDERS")
        assert (config["storage"], config["num_replicas"]) == ("memory", 3)
        assert numbers(manager, "orders.old") == list(range(COUNT))
        assert [info["name"] for info in consumers.list_all(manager.session, "ORDERS")] == ["worker"]
        assert lists.stream_names(manager.session) == ["ORDERS"]


@pytest.mark.parametrize("version", [None, "2.14"])
def test_ids_of_messages(version: str | None) -> None:
    """A cluster forgets them, as the documentation of recreate says. A single server remembers them."""
    with nats_cluster(version=version) as servers, Manager(servers=servers[0].url, timeout="5s") as manager:
        assert [copied_and_repeated(manager, replicas) for replicas in (1, 3)] == [False, False]


def test_ids_of_messages_on_one_server(nats_server: NatsServer) -> None:
    with Manager(servers=nats_server.url) as manager:
        assert copied_and_repeated(manager, 1)
        manager.apply(STREAM, name="RENAMED", renamed_from="ORDERS", storage="memory")
        assert published(manager)


def copied_and_repeated(manager: Manager, copies: int) -> bool:
    """Whether a message is found to be a repetition after its stream was copied."""
    manager.apply(STREAM, **{**ORDERS, "replicas": copies}, storage="file", duplicate_window="1h")
    assert [published(manager) for _time in range(2)] == [False, True]
    manager.apply(STREAM, name="ORDERS", storage="memory", recreate="copy")
    repeated = published(manager)
    if not repeated:
        streams.delete(manager.session, "ORDERS")
    return repeated


def published(manager: Manager) -> bool:
    """Publish a message with the same id. Return whether the server took it for a repetition."""
    ack = messages.publish(manager.session, "Publishing", "orders.1", b"", {"Nats-Msg-Id": "one"})
    return bool(ack.get("duplicate"))
