# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""choria_governor_run in real runs: never more at once than there are seats, and seats given back in all ways out."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.choria.streams.plugins.module_utils._api import streams
from ansible_collections.choria.streams.plugins.module_utils._connection.session import Session
from ansible_collections.choria.streams.plugins.module_utils._services import governor as governors
from support.connect import settings
from support.playbook import RunningPlaybook, run_playbook

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.server import NatsServer

RUN = "choria.streams.choria_governor_run"


@pytest.fixture
def session(nats_server: NatsServer) -> Iterator[Session]:
    with Session(settings(servers=[nats_server.url])) as found:
        yield found


def make(session: Session, name: str, capacity: int, expire: float = 300) -> None:
    config = {"name": f"GOVERNOR_{name}", "subjects": [f"mcollective.governor.{name}"], "discard": "new"}
    streams.create(session, {**config, "max_msgs": capacity, "max_age": int(expire * 1e9)})


def play(*tasks: dict[str, Any], **keywords: Any) -> list[dict[str, Any]]:
    return [{"hosts": "all", "gather_facts": False, "tasks": list(tasks), **keywords}]


def governed(governor: str, command: str, **keywords: Any) -> dict[str, Any]:
    task = {"ansible.builtin.shell": command}
    return {"name": "Governed", RUN: {"name": governor, "max_wait": "60s", "task": task}, **keywords}


def until(condition: Callable[[], Any], timeout: float = 20) -> Any:
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.02)
    return found


def holders(session: Session, governor: str) -> list[str]:
    return [seat["name"] for seat in governors.view(session, governor)]


def most_at_once(intervals: list[tuple[float, float]]) -> int:
    moments = sorted([(began, 1) for began, _ended in intervals] + [(ended, -1) for _began, ended in intervals])
    working = most = 0
    for _moment, change in moments:
        working += change
        most = max(most, working)
    return most


def environment(server: NatsServer) -> dict[str, str]:
    return {"CHORIA_STREAMS_SERVERS": server.url}


def test_never_more_than_there_are_seats(nats_server: NatsServer, session: Session) -> None:
    make(session, "MANY", 3)
    hosts = [f"host{number}" for number in range(9)]
    command = "date +%s.%N; sleep 0.1; date +%s.%N"
    result = run_playbook(
        play(governed("MANY", command)), inventory=hosts, args=["--forks", "9"], env=environment(nats_server)
    ).check()
    intervals = [tuple(map(float, task.result["stdout_lines"])) for task in result.tasks]
    assert len(intervals) == 9
    assert most_at_once(intervals) <= 3  # type: ignore[arg-type]
    assert {task.result["governor"]["identity"] for task in result.tasks} == set(hosts)
    assert holders(session, "MANY") == []


GONE = """
from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.connection.local import Connection as Local

DOCUMENTATION = '''
name: gone
short_description: a host that is away
description: [It is away.]
author: [nobody]
'''

class Connection(Local):
    transport = "gone"

    def exec_command(self, *arguments, **options):
        raise AnsibleConnectionFailure("gone away")
"""


def test_failed_and_unreachable(nats_server: NatsServer, session: Session, tmp_path: Path) -> None:
    make(session, "BAD", 2)
    (tmp_path / "gone.py").write_text(GONE)
    listed = {
        "name": "Listed",
        RUN: {"name": "BAD", "tasks": [{"ansible.builtin.command": "true"}, {"ansible.builtin.command": "echo never"}]},
        "ignore_unreachable": True,
    }
    result = run_playbook(
        play(listed, governed("BAD", "exit 3")),
        inventory={
            "all": {
                "hosts": {"here": {"ansible_connection": "local"}, "away": {"ansible_connection": "gone"}},
                "vars": {"ansible_python_interpreter": sys.executable},
            }
        },
        # The servers from ansible.cfg, as the environment has them elsewhere in these tests
        config=f"[choria_streams]\nservers = {nats_server.url}\n",
        env={"ANSIBLE_CONNECTION_PLUGINS": str(tmp_path)},
    )
    failed = result.task("Governed", "here")
    assert (failed.status, failed.result["rc"]) == ("failed", 3)
    away = result.task("Governed", "away")
    assert (away.status, away.message) == ("unreachable", "gone away")
    assert {task.result["governor"]["name"] for task in result.tasks} == {"BAD"}
    assert "Task 1 of 2, 'ansible.builtin.command'" in result.task("Listed", "away").message
    assert result.stats["away"]["unreachable"] == 1
    assert holders(session, "BAD") == []


def test_what_ends_the_work(nats_server: NatsServer, session: Session) -> None:
    """The task's own timeout while it works and while it waits, an eviction, and no seat in time."""
    make(session, "ENDS", 1)
    make(session, "FULL", 1)
    session.request("mcollective.governor.FULL", b"somebody")
    playbook = RunningPlaybook(
        play(
            governed("ENDS", "sleep 30", timeout=1, ignore_errors=True),
            {**governed("FULL", "true", timeout=1, ignore_errors=True), "name": "Waiting"},
            {"name": "Late", RUN: {"name": "FULL", "max_wait": 0.1, "task": {"ansible.builtin.command": "true"}},
             "ignore_errors": True},
            {"name": "Skipped", RUN: {"name": "FULL", "max_wait": 0, "on_timeout": "skip",
                                      "tasks": [{"ansible.builtin.command": "true"}]}},
            {**governed("ENDS", "echo evict; sleep 1"), "name": "Evicted"},
        ),
        inventory=["web1"],
        env=environment(nats_server),
    )  # fmt: skip
    until(lambda: "[Evicted]" in playbook.output())
    until(lambda: governors.reset(session, governors.read(session, "ENDS")))
    result = playbook.wait().check()
    for name in ("Governed", "Waiting"):
        assert "Timed out after 1 second" in result.task(name).message
    assert result.task("Late").message == (
        "No seat in governor FULL became free within max_wait (0.1s): all 1 are taken by somebody. "
        "Raise max_wait, or the governor's capacity, or set on_timeout: skip."
    )
    assert result.task("Late").result["failure"]["code"] == "governor_timeout"
    assert result.task("Skipped").status == "skipped"
    evicted = result.task("Evicted").result
    assert evicted["governor"]["lost"] is True
    assert evicted["governor"]["reason"] == "it was evicted, or the governor was reset"
    assert "was lost while the task ran: it was evicted" in str(evicted["warnings"])
    assert (holders(session, "ENDS"), holders(session, "FULL")) == ([], ["somebody"])


def workers(playbook: RunningPlaybook) -> list[int]:
    """The processes of tasks: what the run has forked."""
    pid = playbook.process.pid
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_interrupted(nats_server: NatsServer, session: Session) -> None:
    make(session, "CTRLC", 2)
    playbook = RunningPlaybook(
        play(governed("CTRLC", "sleep 60")), inventory=["a", "b", "c"], env=environment(nats_server)
    )
    until(lambda: len(holders(session, "CTRLC")) == 2)
    time.sleep(0.5)
    playbook.interrupt()
    began = time.monotonic()
    result = playbook.wait(20)
    assert time.monotonic() - began < 10
    assert result.rc != 0
    assert holders(session, "CTRLC") == []


@pytest.mark.parametrize(("number", "left"), [(signal.SIGTERM, []), (signal.SIGKILL, ["web1"])])
def test_killed(nats_server: NatsServer, session: Session, number: int, left: list[str]) -> None:
    name = f"KILL{number:d}"
    make(session, name, 1, expire=4)
    playbook = RunningPlaybook(play(governed(name, "sleep 60")), inventory=["web1"], env=environment(nats_server))
    until(lambda: holders(session, name))
    time.sleep(0.5)
    for worker in workers(playbook):
        os.kill(worker, number)
    result = playbook.wait(20)
    assert result.rc != 0
    assert "dead state" in result.output
    assert holders(session, name) == left
    until(lambda: not holders(session, name), timeout=6)


def test_run_is_ended(nats_server: NatsServer, session: Session) -> None:
    """As service managers and job schedulers end a run."""
    make(session, "ENDED", 1)
    playbook = RunningPlaybook(play(governed("ENDED", "sleep 60")), inventory=["web1"], env=environment(nats_server))
    until(lambda: holders(session, "ENDED"))
    time.sleep(0.5)
    os.kill(playbook.process.pid, signal.SIGTERM)
    until(lambda: not holders(session, "ENDED"), timeout=10)
    assert playbook.wait(20).rc != 0


def test_lease_in_lock_step(nats_server: NatsServer, session: Session) -> None:
    """More hosts than seats would wait for each other: refused, with three ways out, of which two are tried here."""
    make(session, "STEP", 1)

    def leases(**keywords: Any) -> list[dict[str, Any]]:
        lease = "choria.streams.choria_governor_lease"
        acquired = {
            "name": "Take",
            lease: {"name": "STEP", "state": "acquired", "identity": "{{ inventory_hostname }}"},
        }
        released = {"state": "released", "lease_id": "{{ taken.lease_id }}", "identity": "{{ inventory_hostname }}"}
        return play(
            {**acquired, "register": "taken"}, {"name": "Give", lease: {"name": "STEP", **released}}, **keywords
        )

    refused, serial, free = leases(ignore_errors=True), leases(serial=1), leases(strategy="free")
    del refused[0]["tasks"][1]
    result = run_playbook(
        [*refused, *serial, *free], inventory=["a", "b"], args=["--forks", "2"], env=environment(nats_server)
    ).check()
    assert [task.status for task in result.tasks] == ["failed"] * 2 + ["ok"] * 8
    for task in result.tasks[:2]:
        assert task.result["failure"]["code"] == "lockstep"
        for way_out in ("choria_governor_run", "serial: 1", "strategy: free"):
            assert way_out in task.message
    assert holders(session, "STEP") == []
