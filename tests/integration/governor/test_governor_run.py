# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""choria_governor_run in real runs: at most as many tasks at once as seats, and each seat given back, however a task
ends.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.choria.streams.plugins.module_utils._api import streams
from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from ansible_collections.choria.streams.plugins.module_utils._operations.governor import governor as governors
from support.connect import settings
from support.playbook import RunningPlaybook, run_playbook
from support.proxy import Proxy
from support.server import freeze

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import MakeServer
    from support.proxy import Frame
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
    return [seat["name"] for seat in governors.list_seats(session, governor)]


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
    kept = [listed]
    unheeded: dict[str, dict[str, Any]] = {
        "Ignored": {"ignore_errors": True},
        "Until": {"register": "it", "until": "it.rc == 0", "retries": 1, "delay": 0},
    }
    for name, keywords in unheeded.items():
        tasks = [{"ansible.builtin.command": "true", **keywords}, {"ansible.builtin.command": "echo never"}]
        kept.append({"name": name, RUN: {"name": "BAD", "tasks": tasks}, "ignore_unreachable": True})
    result = run_playbook(
        play(*kept, governed("BAD", "exit 3")),
        inventory={
            "all": {
                "hosts": {"here": {"ansible_connection": "local"}, "away": {"ansible_connection": "gone"}},
                "vars": {"ansible_python_interpreter": sys.executable},
            }
        },
        # The servers come from ansible.cfg. Other tests use the environment.
        config=f"[choria_streams]\nservers = {nats_server.url}\n",
        env={"ANSIBLE_CONNECTION_PLUGINS": str(tmp_path)},
    )
    failed = result.task("Governed", "here")
    assert (failed.status, failed.result["rc"]) == ("failed", 3)
    away = result.task("Governed", "away")
    assert (away.status, away.message) == ("unreachable", "gone away")
    assert {task.result["governor"]["name"] for task in result.tasks} == {"BAD"}
    for name in ("Listed", "Ignored", "Until"):
        task = result.task(name, "away")
        assert task.status == "unreachable"
        assert task.message == "Task 1 of 2, 'ansible.builtin.command': the host is unreachable: gone away"
        assert len(task.result["tasks"]) == 1
        assert result.task(name, "here").result["tasks"][1]["result"]["stdout"] == "never"
    assert result.stats["away"]["unreachable"] == 1
    assert holders(session, "BAD") == []


def test_seats_are_returned_after_timeouts_and_evictions(nats_server: NatsServer, session: Session) -> None:
    """A timeout of the task while it works and while it waits, an eviction, and no seat in time."""
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
    still = "may still run on the host, so that until it ends more may run at once than governor ENDS allows (1)."
    assert still in str(result.task("Governed").result["warnings"])
    assert "may still run" not in str(result.task("Waiting").result)
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
    """Return the processes of tasks, which are forked by the run."""
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


def test_interrupted_while_the_seat_is_given_back(nats_server: NatsServer, session: Session) -> None:
    """The server does not answer any more. Ctrl-C ends the wait for it soon."""
    make(session, "HANGS", 1)
    leaving = threading.Event()

    def hang(frame: Frame) -> list[bytes]:
        if frame.up and ".STREAM.MSG.GET." in frame.subject:
            leaving.set()
        return [] if leaving.is_set() and not frame.up else [frame.raw]

    with Proxy(nats_server.port, hang) as proxy:
        variables = {"CHORIA_STREAMS_SERVERS": proxy.url}
        playbook = RunningPlaybook(play(governed("HANGS", "true")), inventory=["host0"], env=variables)
        assert leaving.wait(20)
        playbook.interrupt()
        began = time.monotonic()
        assert playbook.wait(40).rc != 0
        assert time.monotonic() - began < 10
    assert holders(session, "HANGS") == ["host0"]


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
    """The signals of service managers and job schedulers."""
    make(session, "ENDED", 1)
    playbook = RunningPlaybook(play(governed("ENDED", "sleep 60")), inventory=["web1"], env=environment(nats_server))
    until(lambda: holders(session, "ENDED"))
    time.sleep(0.5)
    os.kill(playbook.process.pid, signal.SIGTERM)
    until(lambda: not holders(session, "ENDED"), timeout=10)
    assert playbook.wait(20).rc != 0


LEASE = "choria.streams.choria_governor_lease"


def acquired(governor: str, **keywords: Any) -> dict[str, Any]:
    lease = {"name": governor, "state": "acquired", "identity": "{{ inventory_hostname }}"}
    return {"name": "Take", LEASE: lease, "register": "taken", **keywords}


def released(governor: str) -> dict[str, Any]:
    lease = {"name": governor, "state": "released", "identity": "{{ inventory_hostname }}"}
    return {"name": "Give", LEASE: {**lease, "lease_id": "{{ taken.lease_id }}"}}


def test_lease_in_lock_step(nats_server: NatsServer, session: Session) -> None:
    """More hosts than seats would wait for each other. The module refuses, and names three ways out. Two are tried
    here.

    Fewer forks than waiting hosts are refused too. Batches of two hosts are not.
    """
    make(session, "STEP", 1)
    refused = play(acquired("STEP", ignore_errors=True))
    refused += play(acquired("STEP", ignore_errors=True), strategy="free")
    both = acquired("STEP"), released("STEP")
    ways_out = play(*both, serial=1) + play(*both, strategy="host_pinned") + play(*both, strategy="free", serial=2)
    result = run_playbook(
        [*refused, *ways_out],
        inventory=["a", "b", "c"],
        args=["--forks", "2"],
        env=environment(nats_server),
        timeout=120,
    ).check()
    assert [task.status for task in result.tasks] == ["failed"] * 6 + ["ok"] * 18
    for number, task in enumerate(result.tasks[:6]):
        assert task.result["failure"]["code"] == "lockstep"
        assert task.message.startswith("3 hosts run this task " + ("together" if number < 3 else "with 2 forks"))
        for way_out in ("choria_governor_run", "serial: 1", "strategy: host_pinned"):
            assert way_out in task.message
    assert holders(session, "STEP") == []


def test_lease_with_a_throttle(nats_server: NatsServer, session: Session) -> None:
    """With throttle, strategies without lock step start no task on other hosts while they hold one back."""
    make(session, "HELD", 1)
    held = acquired("HELD", ignore_errors=True, throttle=1)
    refused = play(held, strategy="host_pinned") + play(held, strategy="free")
    enough = acquired("HELD", throttle="{{ 2 }}"), released("HELD")
    ways_out = play(*enough, strategy="host_pinned") + play(*enough, strategy="free")
    result = run_playbook(
        [*refused, *ways_out],
        inventory=["a", "b", "c"],
        args=["--forks", "4"],
        env=environment(nats_server),
        timeout=120,
    ).check()
    assert [task.status for task in result.tasks] == ["failed"] * 6 + ["ok"] * 12
    for task in result.tasks[:6]:
        assert (task.result["failure"]["code"], task.result["failure"]["option"]) == ("lockstep", "throttle")
        assert "leave throttle out" in task.message
    assert holders(session, "HELD") == []


def test_lease_for_some_hosts(nats_server: NatsServer, session: Session, tmp_path: Path) -> None:
    """Which hosts run an included task, a handler or a rescue is unknown beforehand, so none is refused."""
    make(session, "SOME", 1)
    (tmp_path / "included.yml").write_text(json.dumps([acquired("SOME"), released("SOME")]))
    on_one = {"when": "inventory_hostname == 'a'"}
    both = [acquired("SOME"), released("SOME")]
    result = run_playbook(
        play(
            {"ansible.builtin.include_tasks": str(tmp_path / "included.yml"), **on_one},
            {"block": [{"ansible.builtin.fail": {}, **on_one}], "rescue": [{"block": both}]},
            {"ansible.builtin.debug": {}, "changed_when": True, "notify": ["Take", "Give"], **on_one},
            handlers=both,
        ),
        inventory=["a", "b"],
        env=environment(nats_server),
    ).check()
    assert [task.status for task in result.tasks if task.name in ("Take", "Give")] == ["ok"] * 6
    assert holders(session, "SOME") == []


def test_lease_in_check_mode(nats_server: NatsServer) -> None:
    """The whole documented pattern works in check mode, with a governor that does not exist yet."""
    governor = {"choria.streams.choria_governor": {"name": "YET", "capacity": 1, "expire": "1h"}}
    result = run_playbook(
        play(governor, acquired("YET"), released("YET")), check=True, env=environment(nats_server)
    ).check()
    for name in ("Take", "Give"):
        assert result.task(name).changed
        assert result.task(name).result["lease_id"] is None


def test_lease_that_nobody_waits_for(nats_server: NatsServer, session: Session) -> None:
    """After a timeout the module outlives its task. It must not take a seat, since nobody would give it back."""
    make(session, "ALONE", 1)
    session.request("mcollective.governor.ALONE", b"somebody")

    def connections() -> int:
        return int(nats_server.monitor("varz")["connections"])

    before = connections()
    playbook = RunningPlaybook(play(acquired("ALONE")), inventory=["web1"], env=environment(nats_server))
    until(lambda: connections() > before)
    for worker in workers(playbook):
        os.kill(worker, signal.SIGKILL)
    until(lambda: connections() == before)
    governors.reset(session, governors.read(session, "ALONE"))
    playbook.wait(20)
    assert holders(session, "ALONE") == []


def test_document_that_raises_the_capacity_wakes_waiters(nats_server: NatsServer, session: Session) -> None:
    """One event is published for each new seat, as the module does."""
    make(session, "DOCUMENT", 1)
    session.subscribe("choria.lifecycle.event.governor.ansible:free")
    document = {"choria.streams.choria_resources": {"governors": [{"name": "DOCUMENT", "capacity": 3}]}}
    run_playbook(play(document, document), env=environment(nats_server)).check()
    woken = []
    while message := session.receive(0.5):
        woken.append(json.loads(message.data)["governor"])
    assert woken == ["DOCUMENT", "DOCUMENT"]


# Killed runs


def begun(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def end_run(playbook: RunningPlaybook, number: int) -> None:
    """End a run as when its terminal is closed or the run is killed. Its workers are in other sessions."""
    os.kill(playbook.process.pid, number)


def ours(pid: int) -> list[int]:
    """Return the processes of a session that still run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[3]) == pid and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


@pytest.mark.parametrize("how", ["SIGHUP", "SIGKILL", "terminal"])
def test_dead_run_starts_no_new_work(nats_server: NatsServer, session: Session, tmp_path: Path, how: str) -> None:
    """Not on further hosts, nor for the next item of a loop, nor for the next task of the same host.

    ``terminal`` is what happens when an ssh session breaks: sshd closes its end of the terminal.
    """
    name = f"DEAD_{how}"
    theirs, terminal = os.openpty() if how == "terminal" else (None, None)
    make(session, name, 1)
    tasks = [
        {"ansible.builtin.shell": f"touch {tmp_path}/{{{{ inventory_hostname }}}}-{{{{ item }}}}; sleep 2"},
        {"ansible.builtin.file": {"path": f"{tmp_path}/second-{{{{ inventory_hostname }}}}", "state": "touch"}},
    ]
    playbook = RunningPlaybook(
        play({"name": "Governed", RUN: {"name": name, "max_wait": "60s", "tasks": tasks}, "loop": [1, 2]}),
        inventory=["a", "b", "c", "d"],
        args=["--forks", "4"],
        env=environment(nats_server),
        terminal=terminal,
    )
    connections = int(nats_server.monitor("varz")["connections"])
    until(lambda: begun(tmp_path))
    until(lambda: int(nats_server.monitor("varz")["connections"]) >= 5)
    sessions_of_workers = workers(playbook)
    if theirs is not None and terminal is not None:
        os.close(terminal)
        os.close(theirs)
    else:
        end_run(playbook, getattr(signal, how))
    until(lambda: not any(ours(pid) for pid in sessions_of_workers), timeout=15)
    assert len(begun(tmp_path)) == 1
    assert holders(session, name) == []
    assert int(nats_server.monitor("varz")["connections"]) <= connections
    playbook.wait(20)


def test_server_stands_still_when_the_seat_is_won(make_server: MakeServer, tmp_path: Path) -> None:
    """The seat was won in time, but is nearly over when the answer arrives. No work begins."""
    server = make_server()
    stopped: list[threading.Timer] = []

    def rule(frame: Frame) -> list[bytes]:
        if stopped or frame.up or b'"stream":"GOVERNOR_STILL"' not in frame.raw or b'"seq":' not in frame.raw:
            return [frame.raw]
        freeze(server.pid)
        stopped.append(threading.Timer(3.5, os.kill, (server.pid, signal.SIGCONT)))
        stopped[0].start()
        return []  # lose the answer

    with Session(settings(servers=[server.url])) as session, Proxy(server.port, rule) as proxy:
        make(session, "STILL", 1, expire=6)
        options = {"name": "STILL", "max_wait": "1s", "task": {"ansible.builtin.shell": f"touch {tmp_path}/begun"}}
        result = run_playbook(play({"name": "Governed", RUN: options}), env={"CHORIA_STREAMS_SERVERS": proxy.url})
        assert stopped
        task = result.tasks[0].result
        assert task["failure"]["code"] == "governor_timeout"
        assert task["msg"].startswith("No seat in governor STILL could be used within max_wait (1s): ")
        assert begun(tmp_path) == []
        assert holders(session, "STILL") == []


@pytest.mark.parametrize("kind", ["lease", "watch", "lookup"])
def test_dead_run_waits_no_more(nats_server: NatsServer, session: Session, kind: str) -> None:
    """Neither modules on this host nor lookups continue to wait."""
    name = f"WAITS_{kind}"
    make(session, name, 1)
    session.request(f"mcollective.governor.{name}", b"somebody")
    streams.create(session, {"name": f"KV_{name}", "subjects": [f"$KV.{name}.>"], "max_msgs_per_subject": 1,
                             "allow_direct": True, "allow_rollup_hdrs": True, "deny_delete": True})  # fmt: skip
    wait = f"lookup('choria.streams.choria_kv', '{name}/key', wait='60s')"
    task = {
        "lease": acquired(name),
        "watch": {"choria.streams.choria_kv_watch": {"bucket": name, "keys": ["key"], "max_wait": "60s"}},
        "lookup": {"ansible.builtin.debug": {"msg": "{{ " + wait + " }}"}},
    }[kind]
    before = int(nats_server.monitor("varz")["connections"])
    playbook = RunningPlaybook(play(task), inventory=["a"], env=environment(nats_server))
    until(lambda: int(nats_server.monitor("varz")["connections"]) > before)
    sessions_of_workers = workers(playbook)
    end_run(playbook, signal.SIGKILL)
    until(lambda: not any(ours(pid) for pid in sessions_of_workers), timeout=8)
    until(lambda: int(nats_server.monitor("varz")["connections"]) == before)
    governors.reset(session, governors.read(session, name))
    assert holders(session, name) == []
    playbook.wait(20)


def test_options_of_no_use(nats_server: NatsServer) -> None:
    """Options of actions are checked as those of modules: null is no value, and a dict is no text."""
    show = {"ansible.builtin.debug": {"msg": "x"}}
    wrong: dict[str, tuple[dict[str, Any], str]] = {
        "null": ({"task": None}, "one of the following is required: task, tasks"),
        "no name": ({"name": None, "task": show}, "name: is null, and it is needed: give a value."),
        "a dict": ({"identity": {"a": 1}, "task": show}, "identity: is a dict: give text."),
        "no task": ({"tasks": [None]}, "tasks: its entry 0 is null: remove it."),
        "vars": ({"tasks": [{"block": [{**show, "vars": ["a"]}], "vars": {"x": 1}}]}, "tasks[0].block[0]: "),
        "vars of a block": ({"tasks": [{"block": [show], "vars": ["a"]}]}, "tasks[0]: vars is not a dict: write names"),
    }
    pages: dict[str, tuple[dict[str, Any], str]] = {
        "no page": ({"dest": None}, "dest: is null, and it is needed: give a value."),
        "a long name": ({"dest": "/tmp/" + "x" * 300}, "dest: is too long: a path has at most"),
        "a list": ({"dest": "/tmp/page.html", "run_id": ["a"]}, "run_id: is a list: give text."),
    }
    tasks = [
        {"name": name, "choria.streams.choria_governor_run": {"name": "NONE", **options}}
        for name, (options, _says) in wrong.items()
    ]
    tasks += [{"name": name, "choria.streams.choria_run_page": options} for name, (options, _says) in pages.items()]
    play = {"hosts": "localhost", "gather_facts": False, "ignore_errors": True, "tasks": tasks}
    result = run_playbook([play], env={"CHORIA_STREAMS_SERVERS": nats_server.url})
    for name, (_options, says) in {**wrong, **pages}.items():
        found = result.task(name)
        assert found.status == "failed" and says in found.message and "bug" not in found.message, found
