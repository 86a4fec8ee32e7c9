# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""A cluster whose leaders are killed. Running operations complete, and errors say that a leader is missing."""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.choria.streams.plugins.module_utils._api import lists, replicas, streams
from ansible_collections.choria.streams.plugins.module_utils._api import stream_snapshot as snapshot
from ansible_collections.choria.streams.plugins.module_utils._api.kv import kv, kv_write
from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from ansible_collections.choria.streams.plugins.module_utils._connection.wire import Request
from ansible_collections.choria.streams.plugins.module_utils._errors import (
    NoAnswer,
    OutcomeUnknown,
    Refused,
    StreamsError,
)
from ansible_collections.choria.streams.plugins.module_utils._operations.backup import on_disk, transfer
from support import sending
from support.backups import backup, content, restore
from support.cluster import nats_cluster
from support.connect import settings
from support.filling import publish_many
from support.infos import leader_of, stream_info
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.server import NatsServer

pytestmark = pytest.mark.once

BUCKET = {"name": "KV_B", "subjects": ["$KV.B.>"], "num_replicas": 3, "allow_direct": True}


@pytest.fixture
def cluster() -> Iterator[list[NatsServer]]:
    with nats_cluster() as servers:
        yield servers


def open_session(cluster: list[NatsServer], timeout: str = "60s") -> Session:
    return Session(settings(servers=[server.url for server in cluster], timeout=timeout))


class Killing:
    """Kills the leader of a stream every few seconds, and starts it again soon."""

    def __init__(self, cluster: list[NatsServer], stream: str, times: int) -> None:
        self._cluster, self._stream, self._times = cluster, stream, times
        self.killed: list[str] = []
        self._thread = threading.Thread(target=self._kill)
        self._stop = threading.Event()

    def _kill(self) -> None:
        with open_session(self._cluster) as session:
            while len(self.killed) < self._times and not self._stop.wait(1.5):
                leader = leader_of(session, self._stream)
                if leader:
                    server = self._cluster[int(leader[1:]) - 1]
                    server.kill()
                    self.killed.append(leader)
                    self._stop.wait(2.0)
                    server.start()

    def __enter__(self) -> Killing:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stop.set()
        self._thread.join()


def test_writes_and_reads_while_leaders_are_killed(cluster: list[NatsServer]) -> None:
    """Each value is stored once. Lists of streams include those without a leader."""
    with open_session(cluster) as session:
        streams.create(session, BUCKET)
        for number in range(20):
            streams.create(session, {"name": f"S{number}", "subjects": [f"s{number}"], "num_replicas": 3})
        bucket, written = kv.open_bucket(session, "B")[0], 0
        with Killing(cluster, "KV_B", 3) as killing:
            while len(killing.killed) < 3:
                written += 1
                assert kv_write.write(session, bucket, f"k{written}", kv.PUT, b"1", expected=0) == written
                assert (kv.last(session, bucket, f"k{written}") or kv.Entry("", 0, "", "", b"")).revision == written
                if not written % 10:
                    assert len(list(lists.streams(session))) == 21
        writes = [(bucket, f"m{number}", {"operation": kv.PUT, "value": b"1", "expected": 0}) for number in range(6000)]
        with Killing(cluster, "KV_B", 2):
            answers = kv_write.write_many(session, writes)
        assert [answer for answer in answers if isinstance(answer, StreamsError)] == []
        state = stream_info(session, "KV_B")["state"]
        assert (state["messages"], state["last_seq"]) == (written + 6000, written + 6000)


def test_a_snapshot_whose_leader_dies(cluster: list[NatsServer]) -> None:
    """It ends within seconds, and not after a minute, so that it can be started again."""
    with open_session(cluster) as session:
        streams.create(session, {"name": "S", "subjects": ["s"], "num_replicas": 3})
        for _number in range(40):
            session.request("s", os.urandom(500_000))
        leader = leader_of(session, "S")
        others = [server for server in cluster if server is not cluster[int(leader[1:]) - 1]]
        with Session(settings(servers=others[0].url)) as reader:
            _head, chunks = snapshot.snapshot(reader, "S")
            next(chunks)
            cluster[int(leader[1:]) - 1].kill()
            with pytest.raises(NoAnswer, match="does not lead the stream any more"):
                list(chunks)


def large(session: Session) -> None:
    streams.create(session, {"name": "LARGE", "subjects": ["large"], "num_replicas": 3})
    answers = publish_many(session, "Filling", [Request("large", os.urandom(64 << 10)) for _n in range(256)])
    assert not [answer for answer in answers if isinstance(answer, StreamsError)]


class DyingReceiver:
    """Receives the chunks of a backup. Kills the server that restores ``stream`` once, before a given chunk."""

    def __init__(self, cluster: list[NatsServer], stream: str, number: int) -> None:
        self._cluster, self._stream, self._number = cluster, stream, number
        self._read = on_disk.chunks
        self.killed: NatsServer | None = None

    def __enter__(self) -> DyingReceiver:
        on_disk.chunks = self._chunks
        return self

    def __exit__(self, *_exc: object) -> None:
        on_disk.chunks = self._read

    def _chunks(self, path: Path, size: int) -> Iterator[bytes]:
        for number, chunk in enumerate(self._read(path, size)):
            if number == self._number and not self.killed:
                self.killed = self._cluster[int(self._receiver()[1:]) - 1]
                self.killed.kill()
            yield chunk

    def _receiver(self) -> str:
        """Return the server that restores the stream. It is its leader, which the API does not show yet."""
        for server in self._cluster:
            for account in server.monitor("jsz?accounts=1&streams=1").get("account_details") or []:
                for stream in account.get("stream_detail") or []:
                    leader = (stream.get("cluster") or {}).get("leader")
                    if stream["name"] == self._stream and leader:
                        return str(leader)
        raise AssertionError("nobody takes the chunks")


@pytest.mark.parametrize(("version", "number"), [(None, 40), ("2.14", 40), ("2.10", 127)])
def test_a_restore_whose_leader_dies(tmp_path: Path, version: str | None, number: int) -> None:
    """The restore begins again at the next leader and is complete. The killed server gets the stream when it is
    back.
    """
    with nats_cluster(version=version) as servers, open_session(servers, "15s") as session:
        large(session)
        before = content(session, "LARGE")
        path = backup(session, tmp_path, stream="LARGE")["backup"]["path"]
        streams.delete(session, "LARGE")
        with DyingReceiver(servers, "LARGE", number) as dying:
            assert restore(session, path)["changed"]
        assert dying.killed
        dying.killed.start()
        replicas.wait_until_current(session, "LARGE", 60)
        assert content(session, "LARGE") == before
        assert not restore(session, path)["changed"]


@pytest.mark.parametrize("version", [None, "2.14"])
def test_restores_while_a_server_is_down(tmp_path: Path, version: str | None) -> None:
    """The cluster gives every third new stream to that server. Each restore is complete in the end."""
    with nats_cluster(version=version) as servers, open_session(servers, "15s") as session:
        streams.create(session, {"name": "S", "subjects": ["s"], "num_replicas": 3})
        for number in range(10):
            session.request("s", b"%d" % number)
        before = content(session, "S")
        path = backup(session, tmp_path, stream="S")["backup"]["path"]
        servers[-1].kill()
        for _time in range(4):
            wait_until(lambda: not fails(lambda: streams.delete(session, "S")), 30)
            assert restore(session, path)["changed"]
            assert content(session, "S") == before


def fails(write: Callable[[], object]) -> bool:
    try:
        write()
    except StreamsError:
        return True
    return False


def test_another_stream_is_made_while_a_restore_begins_again(cluster: list[NatsServer], tmp_path: Path) -> None:
    """The other stream stays, even if it has the same configuration."""
    with open_session(cluster) as session:
        large(session)
        path = backup(session, tmp_path, stream="LARGE")["backup"]["path"]
        streams.delete(session, "LARGE")
        read = on_disk.read(Path(path))
        attempt = transfer._Attempt(session, read, {**read.config})
        with DyingReceiver(cluster, "LARGE", 40) as dying, pytest.raises(StreamsError) as lost:
            attempt.run()
        assert dying.killed and attempt.is_lost(lost.value)
        dying.killed.start()

        def make() -> None:
            streams.delete(session, "LARGE")  # servers may keep the stream without messages
            streams.create(session, {**read.config})
            session.request("large", b"theirs")

        wait_until(lambda: not fails(make), 60)
        with pytest.raises(Refused, match="created by somebody else while it was restored"):
            attempt.run()
        assert not attempt.is_removed()
        assert [message.data for message in content(session, "LARGE")] == [b"theirs"]


def test_no_leader_is_named(cluster: list[NatsServer]) -> None:
    """With two of three servers down, the error names the group, the servers, and since when it has no leader."""
    with open_session(cluster) as session:
        streams.create(session, BUCKET)
        bucket = kv.open_bucket(session, "B")[0]
        info: Any = stream_info(session, "KV_B")
        group = info["cluster"]["raft_group"]
    with Session(settings(servers=cluster[0].url, timeout="4s")) as session:
        wait_until(lambda: len(streams.cluster_of(stream_info(session, "KV_B")).get("replicas") or []) == 2)
        for server in cluster[1:]:
            server.kill()

        def problem() -> str:
            try:
                kv_write.write(session, bucket, "k", kv.PUT, b"1")
            except NoAnswer as error:
                named = (error.reason if isinstance(error, OutcomeUnknown) else error).failure["code"] == "no_leader"
                return error.message if named and "(group" in error.message else ""
            return ""

        found = ""

        def named() -> bool:
            nonlocal found
            found = problem()
            return bool(found)

        wait_until(named, 60)
    assert re.search(rf"stream KV_B has no leader \(group {group}, since 20\S+Z\), not heard of: n2, n3", found)


@pytest.mark.parametrize("replicas", [1, 3])
def test_results_say_that_their_stream_has_no_leader(cluster: list[NatsServer], tmp_path: Path, replicas: int) -> None:
    """They do not report that the stream is missing."""
    with open_session(cluster) as session:
        streams.create(session, {"name": sending.STREAM, "subjects": sending.SUBJECTS, "num_replicas": replicas})
        leader = cluster[int(leader_of(session, sending.STREAM)[1:]) - 1]
    ours, other = (server for server in cluster if server is not leader)
    sender = sending.sender(ours.url, tmp_path)
    for server in (leader, other)[:replicas]:
        server.kill()
    for event in sending.events(3):
        sender.put(*event)
    wait_until(lambda: "has no leader" in sender._problem, 60, lambda: sender._problem)
    report = sender.finish(0.5)
    assert (report.stored, report.spooled) == (0, 3)
    assert "has no leader" in report.text and "no stream takes" not in report.text
