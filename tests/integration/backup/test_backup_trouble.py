# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Backups with full disks, killed processes and servers, and leaders that move; and the memory that they need."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.choria.streams.plugins.module_utils._api import lists, streams
from ansible_collections.choria.streams.plugins.module_utils._api import stream_snapshot as snapshot
from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from ansible_collections.choria.streams.plugins.module_utils._connection.wire import Request
from ansible_collections.choria.streams.plugins.module_utils._errors import Refused, StreamsError
from ansible_collections.choria.streams.plugins.module_utils._operations.backup import on_disk
from ansible_collections.choria.streams.plugins.module_utils._operations.backup import writing as backup_writing
from support.backups import backup, content, fill, known, refusal, restore
from support.cluster import nats_cluster
from support.connect import settings
from support.filling import publish_many
from support.infos import leader_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import MakeServer
    from support.server import NatsServer

pytestmark = pytest.mark.once

MIB = 1 << 20
# Far less than the stream needs, and far more than a process needs
MEMORY_LIMIT = 96 * MIB
SIZE = 128 * MIB
WAIT = 60.0
# Runs in its own process, whose memory can be measured and limited, and which can be killed
PROGRAM = """
import pathlib, resource, sys, time
sys.path[:0] = {paths!r}
from support.backups import backup, restore
from ansible_collections.choria.streams.plugins.module_utils._api import stream_snapshot
from ansible_collections.choria.streams.plugins.module_utils._operations.backup import on_disk
from support.connect import settings
from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
def stuck(chunks):
    for number, chunk in enumerate(chunks):
        if number == 40:
            print("in the middle", flush=True)
            time.sleep(600)
        yield chunk
if {is_stuck}:
    begin, read = stream_snapshot.snapshot, on_disk.chunks
    def stuck_snapshot(*given, **more):
        head, chunks = begin(*given, **more)
        return head, stuck(chunks)
    stream_snapshot.snapshot = stuck_snapshot
    on_disk.chunks = lambda *given: stuck(read(*given))
resource.setrlimit(resource.RLIMIT_FSIZE, ({file_limit}, {file_limit}))
with Session(settings(servers={url!r})) as session:
    result = {call}
# Not ru_maxrss: that starts with the memory of the process that we were forked from
[peak] = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM:")]
print(int(peak) * 1024)
"""


def start(url: str, call: str, file_limit: int = -1, *, stuck: bool = False) -> subprocess.Popen[str]:
    program = PROGRAM.format(paths=sys.path, url=url, call=call, file_limit=file_limit, is_stuck=stuck)
    return subprocess.Popen(
        [sys.executable, "-c", program], encoding="utf-8", stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def kill_in_the_middle(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "in the middle\n"
    process.kill()
    process.communicate(timeout=WAIT)


def finish(process: subprocess.Popen[str]) -> int:
    """Wait for the end of a process. Return the most memory that it used, in bytes."""
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return int(output)


def fill_large(session: Session, size: int, **config: Any) -> None:
    streams.create(session, {"name": "LARGE", "subjects": ["large"], **config})
    for _batch in range(size // (MIB * 4)):
        requests = [Request("large", os.urandom(64 << 10)) for _number in range(64)]  # data that can't be compressed
        answers = publish_many(session, "Filling", requests)
        assert not [answer for answer in answers if isinstance(answer, StreamsError)]


def filled_and_saved(session: Session, folder: Path, count: int) -> tuple[Any, str]:
    """Return the content of a new stream ORDERS, and the path of its backup."""
    fill(session, count=count)
    return content(session, "ORDERS"), backup(session, folder, stream="ORDERS")["backup"]["path"]


def wait_for(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def connected(make_server: MakeServer) -> Iterator[tuple[NatsServer, Session]]:
    server = make_server()
    with Session(settings(servers=server.url)) as session:
        yield server, session


@pytest.mark.parametrize("version", [None, "2.10"])
def test_memory_does_not_grow(make_server: MakeServer, tmp_path: Path, version: str | None) -> None:
    server = make_server(version=version)
    with Session(settings(servers=server.url)) as session:
        fill_large(session, SIZE)
        call = f"backup(session, pathlib.Path({str(tmp_path)!r}), stream='LARGE')"
        assert finish(start(server.url, call)) < MEMORY_LIMIT
        (found,) = known(tmp_path)
        assert found["verified"] and found["messages"] == SIZE // (64 << 10)
        streams.delete(session, "LARGE")
        assert finish(start(server.url, f"restore(session, {found['path']!r})")) < MEMORY_LIMIT
        info = streams.info(session, "LARGE")
        assert info is not None and info["state"]["messages"] == found["messages"]


def test_no_space(connected: tuple[NatsServer, Session], tmp_path: Path) -> None:
    server, session = connected
    fill_large(session, 8 * MIB)
    call = f"backup(session, pathlib.Path({str(tmp_path)!r}), stream='LARGE')"
    process = start(server.url, call, file_limit=MIB)
    errors = process.communicate(timeout=300)[1]
    assert "does not fit into" in errors and "nothing of it is left there" in errors
    assert list(tmp_path.iterdir()) == []


def test_the_stream_is_created_again_before_the_snapshot(
    connected: tuple[NatsServer, Session], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The backup holds only the new stream, even if that has as many messages as the old one."""
    server, session = connected
    fill(session, count=20)
    begin = snapshot.snapshot
    new: list[Any] = []

    def created_again(*given: Any, **more: Any) -> Any:
        monkeypatch.undo()
        streams.delete(session, "ORDERS")
        server.wait_removed()
        fill(session, count=30)
        new.extend(content(session, "ORDERS"))
        return begin(*given, **more)

    monkeypatch.setattr(snapshot, "snapshot", created_again)
    made = backup(session, tmp_path, stream="ORDERS")["backup"]
    assert (made["messages"], made["last_seq"]) == (30, 30)
    assert not backup(session, tmp_path, stream="ORDERS")["changed"]
    server.wait_removed()
    streams.delete(session, "ORDERS")
    fill(session, count=30)
    assert backup(session, tmp_path, True, stream="ORDERS")["changed"]
    server.wait_removed()
    streams.delete(session, "ORDERS")
    restore(session, made["path"])
    assert content(session, "ORDERS") == new


def test_the_stream_is_created_again_during_the_snapshot(
    connected: tuple[NatsServer, Session], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server stops sending without a message. The received data is dropped, and the new stream is backed up."""
    server, session = connected
    fill_large(session, 32 * MIB)
    begin = snapshot.snapshot

    def interrupted(chunks: Iterator[bytes]) -> Iterator[bytes]:
        for number, chunk in enumerate(chunks):
            if number == 5:
                with Session(settings(servers=server.url)) as other:
                    streams.delete(other, "LARGE")
                    fill(other, "LARGE", count=3)
            yield chunk

    def once(*given: Any, **more: Any) -> Any:
        monkeypatch.undo()
        head, chunks = begin(*given, **more)
        return head, interrupted(chunks)

    monkeypatch.setattr(snapshot, "snapshot", once)
    began = time.monotonic()
    assert backup(session, tmp_path, stream="LARGE")["backup"]["messages"] == 3
    assert time.monotonic() - began < WAIT / 2
    [one] = known(tmp_path)
    assert one["verified"]


def test_a_killed_backup(connected: tuple[NatsServer, Session], tmp_path: Path) -> None:
    server, session = connected
    fill_large(session, 32 * MIB)
    call = f"backup(session, pathlib.Path({str(tmp_path)!r}), stream='LARGE')"
    process = start(server.url, call, stuck=True)
    wait_for(lambda: any(tmp_path.glob(".LARGE-*.partial/stream.tar.s2")))
    (partial,) = tmp_path.iterdir()
    backup_writing.sweep(tmp_path, "LARGE")
    assert partial.exists()  # the backup has begun
    kill_in_the_middle(process)
    assert partial.exists()
    assert known(tmp_path) == []
    assert backup(session, tmp_path, stream="LARGE")["changed"]
    whole = Path(known(tmp_path)[0]["path"]).name
    assert {entry.name for entry in tmp_path.iterdir()} == {whole, ".verified.json"}


def test_a_server_that_goes_away_during_a_backup(connected: tuple[NatsServer, Session], tmp_path: Path) -> None:
    server, session = connected
    fill_large(session, 32 * MIB)
    head, chunks = snapshot.snapshot(session, "LARGE")

    def interrupted() -> Iterator[bytes]:
        for number, chunk in enumerate(chunks):
            if number == 3:
                server.kill()
            yield chunk

    error = refusal(backup_writing.write, tmp_path, head, interrupted(), dict)
    assert error.failure["code"] == "unreachable"
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_is_too_slow(connected: tuple[NatsServer, Session], tmp_path: Path) -> None:
    """The server ends the snapshot with an error if no chunk is acknowledged."""
    _server, session = connected
    fill_large(session, 32 * MIB)
    publish = session.publish
    session.publish = lambda *_given, **_more: None  # type: ignore[method-assign]
    try:
        error = refusal(backup, session, tmp_path, stream="LARGE")
    finally:
        session.publish = publish  # type: ignore[method-assign]
    assert (error.failure["code"], "No Flow Response" in error.message) == ("stalled", True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("version", [None, "2.14", "2.10"])
def test_a_restore_that_ends_in_the_middle(make_server: MakeServer, tmp_path: Path, version: str | None) -> None:
    """The server's unfinished stream is removed, and the next run restores everything."""
    server = make_server(version=version)
    with Session(settings(servers=server.url)) as session:
        fill_large(session, 16 * MIB)
        path = backup(session, tmp_path, stream="LARGE")["backup"]["path"]
        streams.delete(session, "LARGE")
        read = on_disk.chunks

        def cut(path: Path, size: int) -> Iterator[bytes]:
            for number, chunk in enumerate(read(path, size)):
                if number < 40:
                    yield chunk

        on_disk.chunks = cut
        try:
            error = refusal(restore, session, path)
        finally:
            on_disk.chunks = read
        assert error.message.startswith("Restoring stream LARGE: ")
        assert lists.stream_names(session) == []
        assert restore(session, path)["changed"]


def test_a_killed_restore(connected: tuple[NatsServer, Session], tmp_path: Path) -> None:
    """The server may keep a part of the stream, a moment later. It never counts as restored."""
    server, session = connected
    fill_large(session, 32 * MIB)
    path = backup(session, tmp_path, stream="LARGE")["backup"]["path"]
    streams.delete(session, "LARGE")
    kill_in_the_middle(start(server.url, f"restore(session, {path!r})", stuck=True))

    def restored() -> bool:
        try:
            assert restore(session, path)["stream"]["messages"] == 512
        except Refused as error:
            assert error.failure["code"] == "exists"
            assert error.failure["messages"] < 512
            streams.delete(session, "LARGE")
            return False
        return True

    wait_for(restored)


def test_files_of_a_deleted_stream(connected: tuple[NatsServer, Session], tmp_path: Path) -> None:
    """The server finds them if it has not removed them yet. Then the restore begins again."""
    server, session = connected
    before, path = filled_and_saved(session, tmp_path, 30)
    [files] = server.folder.glob("store/jetstream/*/streams/ORDERS")
    shutil.copytree(files, tmp_path / "files")
    streams.delete(session, "ORDERS")
    server.wait_removed()
    shutil.copytree(tmp_path / "files", files)
    assert restore(session, path)["changed"]
    assert content(session, "ORDERS") == before


def test_restores_right_after_deletions(connected: tuple[NatsServer, Session], tmp_path: Path) -> None:
    """The server may make a stream again from the files of a deleted one. That one is not somebody else's."""
    _server, session = connected
    before, path = filled_and_saved(session, tmp_path, 30)
    for _round in range(40):
        streams.delete(session, "ORDERS")
        fill(session, count=30)
        streams.delete(session, "ORDERS")
        assert restore(session, path)["changed"]
        assert content(session, "ORDERS") == before


def test_two_restores_at_once(connected: tuple[NatsServer, Session], tmp_path: Path) -> None:
    """One of them, or both, complete the stream, and do not remove the other's."""
    server, session = connected
    before, path = filled_and_saved(session, tmp_path, 200)
    streams.delete(session, "ORDERS")
    ends: list[Any] = []

    def one() -> None:
        with Session(settings(servers=server.url)) as mine:
            try:
                ends.append(restore(mine, path)["changed"])
            except StreamsError as error:
                ends.append(error)

    threads = [threading.Thread(target=one) for _number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * WAIT)  # a restore waits as long as WAIT for the end of another one
    assert len(ends) == 3 and True in ends
    assert content(session, "ORDERS") == before


def test_the_stream_of_another_restore(
    connected: tuple[NatsServer, Session], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two restores begin before the stream exists. The server refuses one of them, which leaves the other's stream."""
    server, session = connected
    fill_large(session, 8 * MIB)
    path = backup(session, tmp_path, stream="LARGE")["backup"]["path"]
    streams.delete(session, "LARGE")
    server.wait_removed()
    begun, exists, refused, read = threading.Barrier(2), threading.Event(), threading.Event(), on_disk.chunks
    ends: dict[str, Any] = {}

    def held(*given: Any) -> Iterator[bytes]:
        begun.wait(WAIT)
        is_first = threading.current_thread().name == "first"
        assert is_first or exists.wait(WAIT)
        for number, chunk in enumerate(read(*given)):
            assert not is_first or number < 20 or refused.wait(WAIT)
            yield chunk

    def one() -> None:
        with Session(settings(servers=server.url)) as mine:
            try:
                ends[threading.current_thread().name] = restore(mine, path)["stream"]["messages"]
            except StreamsError as error:
                ends[threading.current_thread().name] = error.failure["code"]
                refused.set()

    monkeypatch.setattr(on_disk, "chunks", held)
    threads = [threading.Thread(target=one, name=name) for name in ("first", "second")]
    for thread in threads:
        thread.start()
    wait_for(lambda: streams.info(session, "LARGE") is not None)
    exists.set()
    for thread in threads:
        thread.join(WAIT)
    assert ends == {"first": 128, "second": "exists"}


def test_a_leader_that_moves(tmp_path: Path) -> None:
    """The server that began the snapshot finishes it, and it is complete."""
    with nats_cluster() as servers, Session(settings(servers=[server.url for server in servers])) as session:
        fill_large(session, 32 * MIB, num_replicas=3)
        head, chunks = snapshot.snapshot(session, "LARGE")

        def moving() -> Iterator[bytes]:
            with Session(settings(servers=servers[0].url)) as other:
                for number, chunk in enumerate(chunks):
                    if number == 3:
                        answer = other.request(other.api("STREAM.LEADER.STEPDOWN.LARGE"))
                        assert json.loads(answer.data)["success"]
                    yield chunk

        facts: dict[str, Any] = {"consumers": [], "server": {}}
        made = backup_writing.write(tmp_path, head, moving(), lambda: facts)
        assert made.problem() == ""
        wait_for(lambda: bool(leader_of(session, "LARGE")))
        streams.delete(session, "LARGE")
        assert restore(session, made.path)["stream"]["messages"] == 512


def test_through_a_leafnode(make_server: MakeServer, tmp_path: Path) -> None:
    """Snapshots of a stream in another JetStream domain."""
    hub = make_server({"server_name": "hub", "jetstream": {"domain": "hub"}, "leafnodes": {"listen": "127.0.0.1:-1"}})
    port = hub.monitor("varz")["leaf"]["port"]
    leaf = make_server(
        {
            "server_name": "leaf",
            "jetstream": {"domain": "leaf"},
            "leafnodes": {"remotes": [{"urls": [f"nats-leaf://127.0.0.1:{port}"]}]},
        }
    )
    with Session(settings(servers=hub.url)) as session:
        fill(session)
        before = content(session, "ORDERS")
    wait_for(lambda: leaf.monitor("leafz")["leafnodes"] == 1)
    with Session(settings(servers=leaf.url, domain="hub")) as session:
        path = backup(session, tmp_path, stream="ORDERS")["backup"]["path"]
        streams.delete(session, "ORDERS")
        restore(session, path)
        assert content(session, "ORDERS") == before
