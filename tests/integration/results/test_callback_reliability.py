# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs of two thousand results while servers crash, disks are full and runs are killed. Each event is stored once, in
order.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.choria.streams.plugins.module_utils._api import streams
from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from ansible_collections.choria.streams.plugins.module_utils._connection.settings import Settings
from support.cluster import nats_cluster
from support.infos import leader_of
from support.playbook import RunningPlaybook, run_playbook
from support.run_events import assert_complete, declare, environment, events
from support.sending import small_disk, stored
from support.waiting import wait_until

if TYPE_CHECKING:
    from conftest import MakeServer
    from support.playbook import PlaybookResult
    from support.server import NatsServer

pytestmark = pytest.mark.once

DEBUG = {"ansible.builtin.debug": {"msg": "hello"}}
WINDOW = 3600 * 10**9  # the time within which servers detect duplicates


def plays(tasks: int, **more: Any) -> list[dict[str, Any]]:
    listed = [{"name": f"Task {number}", **DEBUG, **more} for number in range(tasks)]
    return [{"hosts": "all", "gather_facts": False, "tasks": listed}]


def hosts(count: int) -> list[str]:
    return [f"host{number}" for number in range(count)]


def start(playbook: list[dict[str, Any]], count: int, state: Path, url: str, **more: str) -> RunningPlaybook:
    env = {
        **environment(None),
        "CHORIA_STREAMS_SERVERS": url,
        "CHORIA_STREAMS_RESULTS_FLUSH_TIMEOUT": "60s",
        "XDG_STATE_HOME": str(state),
        **more,
    }
    return RunningPlaybook(playbook, inventory=hosts(count), env=env, args=["--forks", "10"])


# Two thousand results of loop items, which come much faster than results of tasks
ITEMS = plays(10, loop="{{ range(50) | list }}")
ITEM_EVENTS = {"CHORIA_STREAMS_RESULTS_EVENTS": "task_started,item_result"}


def messages(server: NatsServer) -> int:
    return int(server.monitor("jsz")["messages"])


def has_more(server: NatsServer, than: int) -> bool:
    return messages(server) > than


def counts_of(result: PlaybookResult) -> tuple[int, int, int]:
    """Return how many events the last line reports as stored, spooled and dropped."""
    said = re.sub(r"\s+", " ", result.stderr)
    match = re.search(r": (\d+) events in stream ANSIBLE_RUNS, (\d+) spooled(?: in \S+)?, (\d+) dropped", said)
    assert match, result.output
    return int(match[1]), int(match[2]), int(match[3])


def journals(state: Path) -> list[Path]:
    return list(state.rglob("*.journal"))


def test_a_broker_that_is_killed_three_times(make_server: MakeServer, tmp_path: Path) -> None:
    server = make_server()
    declare(server, duplicate_window=WINDOW)
    # Results of tasks too, which come more slowly
    events_of = {"CHORIA_STREAMS_RESULTS_EVENTS": "task_started,task_result,item_result"}
    running = start(plays(20, loop="{{ range(10) | list }}"), 10, tmp_path, server.url, **events_of)
    try:
        for threshold in (200, 700, 1200):
            wait_until(partial(has_more, server, threshold), 120)
            server.kill()
            wait_until(lambda: journals(tmp_path))
            server.start()
    finally:
        result = running.wait(240)
    result.check()
    found = events(server)
    assert_complete(found)
    assert len(found) >= 2000
    assert counts_of(result) == (len(found), 0, 0)
    assert len(result.tasks) == 200
    assert journals(tmp_path) == []


def test_a_cluster_that_loses_the_streams_leader(tmp_path: Path) -> None:
    with nats_cluster(3) as servers:
        urls = ",".join(server.url for server in servers)
        with Session(Settings(servers=(servers[0].url,))) as session:
            streams.create(
                session,
                {
                    "name": "ANSIBLE_RUNS",
                    "subjects": ["ansible.runs.>"],
                    "num_replicas": 3,
                    "duplicate_window": WINDOW,
                },
            )
        running = start(ITEMS, 4, tmp_path, urls, **ITEM_EVENTS)
        try:
            wait_until(lambda: max(messages(server) for server in servers) > 200, 120)
            with Session(Settings(servers=tuple(server.url for server in servers))) as session:
                leader = leader_of(session, "ANSIBLE_RUNS")
            lost = servers[int(leader.removeprefix("n")) - 1]
            lost.kill()
            wait_until(lambda: journals(tmp_path))
            others = [server for server in servers if server is not lost]
            result = running.wait(240)
        finally:
            running.close()
        result.check()
        found = events(others[0])
        assert_complete(found)
        assert len(found) > 2000
        assert counts_of(result) == (len(found), 0, 0)
        assert journals(tmp_path) == []


def test_a_full_disk_harms_no_run(make_server: MakeServer, tmp_path: Path) -> None:
    server = make_server()
    server.shutdown()
    more = {**ITEM_EVENTS, "CHORIA_STREAMS_RESULTS_FLUSH_TIMEOUT": "1s"}
    with small_disk(tmp_path / "state", 256 << 10) as disk:
        result = start(ITEMS, 4, disk, server.url, **more).wait(240)
        result.check()
        count, spooled, dropped = counts_of(result)
        assert (count, spooled > 0, dropped > 0) == (0, True, True)
        assert spooled + dropped > 2000
        assert "could not store them: No space left on device." in re.sub(r"\s+", " ", result.stderr)
        assert len(result.tasks) == 40
        server.start()
        declare(server)
        result = start(plays(1), 1, disk, server.url).wait(60)
        assert f"and {spooled} of earlier runs delivered" in result.stderr
    first, _second = sorted(stored(server).values(), key=len, reverse=True)
    assert first == list(range(1, spooled + 1))


def test_a_killed_run_is_delivered_by_the_next(make_server: MakeServer, tmp_path: Path) -> None:
    server = make_server()
    declare(server)
    running = start(ITEMS, 4, tmp_path, server.url, **ITEM_EVENTS)
    try:
        wait_until(lambda: messages(server) > 200, 120)
        server.kill()
        wait_until(lambda: journals(tmp_path))
        [journal] = journals(tmp_path)
        size = journal.stat().st_size
        wait_until(lambda: journal.stat().st_size > size)
        running.crash()
        lines = journal.read_bytes().count(b"\n") - 2
    finally:
        running.close()
    server.start()
    result = start(plays(1), 1, tmp_path, server.url).wait(60)
    assert re.search(rf"and {lines} of earlier runs delivered", result.stderr), result.stderr
    killed, last = (numbers for numbers in stored(server).values())
    assert killed == list(range(1, len(killed) + 1))
    assert len(killed) >= 200 + lines
    assert last == list(range(1, len(last) + 1))
    assert journals(tmp_path) == []


def sender_of(running: RunningPlaybook) -> int:
    """Return the id of the process that sends, as soon as it exists."""
    wait_until(lambda: _sender_of(running))
    return _sender_of(running)


def _sender_of(running: RunningPlaybook) -> int:
    """Return 0 if there is no such process."""
    for task in Path(f"/proc/{running.process.pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            with contextlib.suppress(FileNotFoundError):
                if b"_delivery.sender_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                    return int(child)
    return 0


def test_a_sender_that_is_killed_three_times(make_server: MakeServer, tmp_path: Path) -> None:
    server = make_server()
    declare(server, duplicate_window=WINDOW)
    running = start(ITEMS, 4, tmp_path, server.url, **ITEM_EVENTS)
    killed = set()
    try:
        for threshold in (200, 700, 1200):
            wait_until(partial(has_more, server, threshold), 120)
            pid = sender_of(running)
            killed.add(pid)
            os.kill(pid, signal.SIGKILL)
    finally:
        result = running.wait(240)
    result.check()
    assert len(killed) == 3
    found = events(server)
    assert_complete(found)
    assert counts_of(result) == (len(found), 0, 0)
    assert journals(tmp_path) == []


def test_a_run_that_is_killed_is_reported_as_interrupted(make_server: MakeServer, tmp_path: Path) -> None:
    server = make_server()
    declare(server)
    running = start(plays(50), 4, tmp_path, server.url)
    try:
        wait_until(lambda: messages(server) > 10, 120)
        sender = sender_of(running)
        os.kill(running.process.pid, signal.SIGKILL)
        wait_until(lambda: not os.path.exists(f"/proc/{sender}"), 60)
    finally:
        running.close()
    found = events(server)
    assert_complete(found)
    assert found[-1]["type"].endswith(".run_finished")
    assert found[-1]["data"]["outcome"] == "interrupted"


def test_two_runs_share_the_spool(make_server: MakeServer, tmp_path: Path) -> None:
    server = make_server()
    server.shutdown()
    few = plays(3, loop=[1, 2, 3])
    running = [start(few, 4, tmp_path, server.url, **ITEM_EVENTS) for _run in range(2)]
    try:
        wait_until(lambda: len(journals(tmp_path)) == 2, 60)
        server.start()
        declare(server)
        results = [one.wait(120).check() for one in running]
    finally:
        for one in running:
            one.close()
    runs = stored(server).values()
    assert sorted(counts_of(result) for result in results) == [(len(run), 0, 0) for run in runs]
    assert all(run == list(range(1, len(run) + 1)) for run in runs)
    assert journals(tmp_path) == []


@pytest.fixture(scope="module")
def without(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PlaybookResult, float]:
    """Return a playbook that fails, its result without the callback, and its duration."""
    playbook = tmp_path_factory.mktemp("without") / "playbook.yml"
    failing = {"ansible.builtin.fail": {"msg": "On purpose"}}
    playbook.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": [DEBUG, failing]}]))
    begin = time.monotonic()
    result = run_playbook(playbook)
    return playbook, result, time.monotonic() - begin


@pytest.mark.parametrize("trouble", ["down", "hangs", "refuses"])
def test_a_run_takes_no_longer_than_flush_timeout(
    make_server: MakeServer, tmp_path: Path, without: tuple[Path, PlaybookResult, float], trouble: str
) -> None:
    """The result is the same as without the callback, and the run takes at most flush_timeout longer."""
    playbook, expected, usual = without
    server = make_server({"authorization": {"user": "u", "password": "p"}} if trouble == "refuses" else "")
    patient = {"CHORIA_STREAMS_TIMEOUT": "2m", "CHORIA_STREAMS_CONNECT_TIMEOUT": "2m"}
    settings = {**environment(server, **patient), "CHORIA_STREAMS_RESULTS_FLUSH_TIMEOUT": "2s"}
    if trouble == "down":
        server.shutdown()
    begin = time.monotonic()
    with server.frozen() if trouble == "hangs" else contextlib.nullcontext():
        result = run_playbook(playbook, env={**settings, "XDG_STATE_HOME": str(tmp_path)})
    taken = time.monotonic() - begin
    assert result.rc == expected.rc == 2
    assert result.tasks == expected.tasks
    assert result.stdout == expected.stdout
    assert journals(tmp_path)
    # Allow several times the duration, since the machine may be busy. A server that hangs would take minutes.
    assert taken < 5 * usual + 2


def test_workers_neither_connect_nor_write(make_server: MakeServer, tmp_path: Path) -> None:
    server = make_server()
    declare(server)
    before = server.monitor("varz")["total_connections"]
    start(plays(3), 6, tmp_path, server.url).wait(60).check()
    assert server.monitor("varz")["total_connections"] - before == 1
    assert not list(tmp_path.iterdir())
    server.shutdown()
    start(plays(3), 6, tmp_path, server.url, CHORIA_STREAMS_RESULTS_FLUSH_TIMEOUT="1s").wait(60).check()
    assert len(journals(tmp_path)) == 1
