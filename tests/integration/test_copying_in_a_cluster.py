# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""A stream with three copies is changed by copying, while others publish and its leader changes in the middle."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.choria.streams.plugins.module_utils._api import consumers, messages, reading, replicas, streams
from ansible_collections.choria.streams.plugins.module_utils._connection.wire import Request
from ansible_collections.choria.streams.plugins.module_utils._errors import StreamsError
from ansible_collections.choria.streams.plugins.module_utils._resources.stream.stream import STREAM
from support.cluster import nats_cluster, step_down
from support.killing import is_write
from support.manage import Manager
from support.publishing import Publisher

if TYPE_CHECKING:
    from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
    from support.server import NatsServer

pytestmark = pytest.mark.once

ORDERS = {"name": "ORDERS", "subjects": ["orders.>"], "replicas": 3}
COUNT = 200
# How many seconds a server that was killed stays away
AWAY = 2.0


def numbers(manager: Manager, subject: str) -> list[int]:
    return [int(message.data) for message in reading.onward(manager.session, "ORDERS", subject)]


class Unsteady:
    """Lets another server lead whatever stream there is, when so many writes of a session are answered."""

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
                with contextlib.suppress(StreamsError):  # one of them may not be there
                    step_down(self.other, name)
                    self.changed += 1
        return answers


@pytest.mark.parametrize(("version", "after"), [(None, 11), ("2.14", 3)])
def test_another_leader_in_the_middle(version: str | None, after: int) -> None:
    """When both streams are there, and before the copy is."""
    with nats_cluster(version=version) as servers:
        _change(servers, after)


def _change(servers: list[NatsServer], after: int) -> None:
    with Manager(servers=servers[0].url, timeout="3s") as manager, Manager(servers=servers[1].url) as other:
        manager.apply(STREAM, **ORDERS, storage="file")
        old = [Request("orders.old", str(number).encode()) for number in range(COUNT)]
        for answer in messages.publish_many(manager.session, "Filling", old):
            assert isinstance(answer, dict), answer
        consumers.create(manager.session, "ORDERS", {"durable_name": "worker", "ack_policy": "explicit"})
        with Publisher(servers[2].url, "orders.new") as publisher:
            publisher.wait_for(5)
            unsteady = Unsteady(manager.session, other.session, after)
            for _try in range(5):
                # A call that comes while there is no leader may fail: who runs it again finishes it
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
        assert len(found) <= publisher.acknowledged + 1  # the last one need not have heard of it
        assert [info["name"] for info in consumers.list_all(manager.session, "ORDERS")] == ["worker"]
        assert streams.names(manager.session) == ["ORDERS"]
        streams.delete(manager.session, "ORDERS")


class Deadly:
    """Kills the leader of the stream when so many writes of a session are answered, and starts it again soon."""

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
    """The server that leads the first of these streams that is there."""
    for name in wanted:
        for server in servers:
            for account in server.monitor("jsz?accounts=1&streams=1").get("account_details") or []:
                for stream in account.get("stream_detail") or []:
                    leader = (stream.get("cluster") or {}).get("leader")
                    if stream["name"] == name and leader:
                        return str(leader)
    raise AssertionError("no stream has a leader")


@pytest.mark.parametrize("after", [4, 11])
def test_the_leader_is_killed_in_the_middle(after: int) -> None:
    """One task does it: what is asked meanwhile is asked again."""
    with nats_cluster() as servers, Manager(servers=[server.url for server in servers], timeout="20s") as manager:
        manager.apply(STREAM, **ORDERS, storage="file")
        old = [Request("orders.old", str(number).encode()) for number in range(COUNT)]
        assert all(isinstance(answer, dict) for answer in messages.publish_many(manager.session, "Filling", old))
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
        assert streams.names(manager.session) == ["ORDERS"]
