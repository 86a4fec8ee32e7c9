# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""choria.streams.choria_results in real runs: the events in the stream, and that the callback never disturbs a run."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from support import ROOT
from support.playbook import PlaybookResult, RunningPlaybook, run_playbook
from support.run_events import NAME, STREAM, assert_complete, declare, environment, events, of_kind, stored

if TYPE_CHECKING:
    from ansible_collections.choria.streams.plugins.module_utils._api.messages import Stored
    from conftest import MakeServer
    from support.server import NatsServer

DOWN = {"CHORIA_STREAMS_SERVERS": "nats://127.0.0.1:1"}

STATUSES = """
- name: All statuses
  hosts: all
  gather_facts: false
  tasks:
    - name: Is ok
      ansible.builtin.command: echo planted-stdout
      environment: {PLANTED: planted-environment}
      changed_when: false
    - name: Is changed
      ansible.builtin.command: echo planted-stdout
    - name: Is skipped
      ansible.builtin.command: echo planted-stdout
      when: false
    - name: Is hidden
      ansible.builtin.command: sh -c 'echo planted-hidden >&2; exit 3'
      no_log: true
      ignore_errors: true
    - name: Has hidden items
      ansible.builtin.command: echo {{ item }}
      loop: [planted-one, planted-two]
      no_log: "{{ item == 'planted-two' }}"
    - name: Has items
      ansible.builtin.command: test {{ item }} != item-b
      loop: [item-a, item-b]
      ignore_errors: true
    - name: Is retried
      ansible.builtin.command: "false"
      register: probe
      until: probe is succeeded
      retries: 1
      delay: 0
      ignore_errors: true
    - name: Is out of reach
      ansible.builtin.ping:
      vars: {ansible_connection: ssh, ansible_port: 1, ansible_host: 127.0.0.1}
      ignore_unreachable: true
    - name: Sets a fact
      ansible.builtin.set_fact:
        secret: planted-fact
    - name: Is failed
      ansible.builtin.fail:
        msg: On purpose
"""

ONE_FAILS = """
- name: One fails
  hosts: b:c
  gather_facts: false
  tasks:
    - name: Fails
      ansible.builtin.fail:
      when: inventory_hostname == 'c'
    - name: Forgives it, so that the next playbook is run
      ansible.builtin.meta: clear_host_errors
"""

TWO_TASKS = """
- name: Two tasks
  hosts: all
  gather_facts: false
  tasks:
    - name: First
      ansible.builtin.ping:
    - name: Second
      ansible.builtin.fail:
      when: fails | default(false)
"""


@pytest.fixture(scope="module")
def all_statuses() -> Any:
    """A run with every status on two hosts: its result, and the messages in the stream."""
    from support.server import NatsServer

    with NatsServer() as server:
        declare(server)
        result = run_playbook(
            STATUSES,
            inventory=["web1", "web2.example.net"],
            env=environment(server),
            extra_vars={"planted": "planted-var"},
        )
        yield result, stored(server)


def task_events(found: list[Stored], host: str = "web1") -> dict[str, dict[str, Any]]:
    data = [json.loads(message.data)["data"] for message in found if ".task_result." in message.subject]
    return {item["task"]["name"]: item for item in data if item["host"] == host}


def test_run_is_complete(all_statuses: tuple[PlaybookResult, list[Stored]]) -> None:
    result, found = all_statuses
    cloud_events = [json.loads(message.data) for message in found]
    assert_complete(cloud_events)
    assert len(found) == 1 + 1 + 10 + 2 * 10 + 1
    run_id = cloud_events[0]["data"]["run_id"]
    assert f"choria_results: run {run_id}: {len(found)} events in stream {STREAM}" in result.stderr
    assert [message.headers["Nats-Msg-Id"] for message in found] == [event["id"] for event in cloud_events]


def test_subjects(all_statuses: tuple[PlaybookResult, list[Stored]]) -> None:
    _result, found = all_statuses
    statuses = ("ok", "changed", "failed", "skipped", "ignored")
    assert {message.subject for message in found} == {
        "ansible.runs.run_started",
        "ansible.runs.play_started",
        "ansible.runs.task_started",
        *(f"ansible.runs.task_result.{status}.web1" for status in statuses),
        *(f"ansible.runs.task_result.{status}.web2%2Eexample%2Enet" for status in statuses),
        "ansible.runs.run_finished",
    }
    for message in found:
        if ".task_result." in message.subject:
            assert message.subject.split(".")[3] == json.loads(message.data)["data"]["status"]


def test_statuses(all_statuses: tuple[PlaybookResult, list[Stored]]) -> None:
    tasks = task_events(all_statuses[1])
    assert {name: (data["status"], data["changed"]) for name, data in tasks.items()} == {
        "Is ok": ("ok", False),
        "Is changed": ("changed", True),
        "Is skipped": ("skipped", False),
        "Is hidden": ("ignored", True),
        "Has hidden items": ("changed", True),
        "Has items": ("ignored", True),
        "Is retried": ("ignored", True),
        "Is out of reach": ("ignored", False),
        "Sets a fact": ("ok", False),
        "Is failed": ("failed", False),
    }


def test_facts_of_a_task(all_statuses: tuple[PlaybookResult, list[Stored]]) -> None:
    tasks = task_events(all_statuses[1])
    data = tasks["Is changed"]
    assert data["play"]["name"] == "All statuses"
    assert data["task"]["action"] == "ansible.builtin.command"
    assert re.search(r"playbook\.yml:\d+$", data["task"]["path"])
    assert 0 < data["duration"] < 60
    assert data["rc"] == 0
    assert tasks["Is failed"]["msg"] == "On purpose"
    assert tasks["Is skipped"]["msg"] == "Conditional result was False"
    assert tasks["Is retried"]["attempts"] == 1
    assert "refused" in tasks["Is out of reach"]["msg"]
    assert [item["status"] for item in tasks["Has items"]["items"]] == ["changed", "failed"]


def test_of_hidden_tasks_there_is_the_status_alone(all_statuses: tuple[PlaybookResult, list[Stored]]) -> None:
    tasks = task_events(all_statuses[1])
    public = {"run_id", "sequence", "host", "play", "task", "handler", "duration", "status", "changed"}
    assert {name for name, data in tasks.items() if data.get("no_log")} == {"Is hidden", "Has hidden items"}
    assert set(tasks["Is hidden"]) == set(tasks["Has hidden items"]) == {*public, "no_log"}


def test_no_secret_is_in_the_stream(all_statuses: tuple[PlaybookResult, list[Stored]]) -> None:
    _result, found = all_statuses
    assert not [message.data for message in found if b"planted" in message.data]


def test_run_events(all_statuses: tuple[PlaybookResult, list[Stored]]) -> None:
    _result, found = all_statuses
    started, finished = (json.loads(found[index].data)["data"] for index in (0, -1))
    assert started["playbook"].endswith("/playbook.yml")
    assert started["user"]
    assert started["controller"]
    assert re.fullmatch(r"2\.\d+\.\d+\w*", started["ansible_version"])
    assert (started["check_mode"], started["limit"], started["tags"]) == (False, None, ["all"])
    assert finished["outcome"] == "failed"
    assert finished["hosts"]["web2.example.net"]["failures"] == 1
    assert finished["hosts"]["web1"]["ignored"] == 4


def test_circumstances_of_a_run(make_server: MakeServer) -> None:
    server = make_server()
    declare(server, "audit.>")
    env = environment(server, CHORIA_STREAMS_RESULTS_SUBJECT_PREFIX="audit.runs", CHORIA_STREAMS_IDENTITY="tower")
    arguments = ["--limit", "web1", "--tags", "all,never", "--skip-tags", "slow"]
    run_playbook(TWO_TASKS, inventory=["web1", "web2"], env=env, check=True, diff=True, args=arguments).check()
    found = events(server)
    assert_complete(found)
    data = found[0]["data"]
    assert (data["check_mode"], data["diff_mode"], data["limit"], data["controller"]) == (True, True, "web1", "tower")
    assert (sorted(data["tags"]), data["skip_tags"]) == (["all", "never"], ["slow"])
    assert {message.subject for message in stored(server)} > {
        "audit.runs.run_started",
        "audit.runs.task_result.ok.web1",
    }
    assert found[-1]["data"]["outcome"] == "succeeded"


def call(folder: Path, server: NatsServer, *command: str) -> str:
    """Run one of Ansible's programs as configured by an ansible.cfg. Return the callback's report."""
    config = folder / "ansible.cfg"
    config.write_text(
        "[defaults]\nbin_ansible_callbacks = true\nlocalhost_warning = false\n"
        f"callbacks_enabled = {NAME}\n[choria_streams]\nservers = {server.url}\n"
    )
    programs = Path(sys.executable).parent
    result = subprocess.run(
        [str(programs / command[0]), *command[1:]],
        check=True,
        cwd=folder,
        env={
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(folder),
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".build"),
            "ANSIBLE_CONFIG": str(config),
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    return result.stderr


def test_ad_hoc_commands_are_runs_too(make_server: MakeServer, tmp_path: Path) -> None:
    server = make_server()
    declare(server)
    assert "5 events in stream ANSIBLE_RUNS" in call(tmp_path, server, "ansible", "localhost", "-m", "ping")
    found = events(server)
    assert_complete(found)
    assert found[0]["data"]["playbook"] is None
    assert found[3]["data"]["status"] == "ok"


def test_each_playbook_is_a_run(make_server: MakeServer, tmp_path: Path) -> None:
    server = make_server()
    declare(server)
    two_tasks = TWO_TASKS.replace("hosts: all", "hosts: a:b")
    (tmp_path / "first.yml").write_text(ONE_FAILS + two_tasks)
    (tmp_path / "second.yml").write_text(two_tasks.replace("gather_facts", "serial: 1\n  gather_facts"))
    inventory = tmp_path / "hosts"
    local = f"ansible_connection=local ansible_python_interpreter={sys.executable}"
    inventory.write_text(f"a {local}\nb {local}\nc {local}\n")
    said = call(tmp_path, server, "ansible-playbook", "-i", str(inventory), "first.yml", "second.yml")
    assert said.count("events in stream") == 2
    runs: dict[str, list[dict[str, Any]]] = {}
    for event in events(server):
        runs.setdefault(event["data"]["run_id"], []).append(event)
    assert [len(run) for run in runs.values()] == [1 + 2 + 4 + 6 + 1, 1 + 2 + 4 + 4 + 1]
    for run in runs.values():
        assert_complete(run)
    # Ansible's own counters go on from one playbook to the next
    first, second = (run[-1]["data"] for run in runs.values())
    assert (first["outcome"], list(first["hosts"]), first["hosts"]["b"]["skipped"]) == ("failed", ["a", "b", "c"], 2)
    assert (second["outcome"], list(second["hosts"])) == ("succeeded", ["a", "b"])
    assert [(counts["ok"], counts["skipped"]) for counts in second["hosts"].values()] == [(1, 1)] * 2


@pytest.mark.once
def test_events_survive_a_restart_of_the_broker(make_server: MakeServer) -> None:
    server = make_server()
    declare(server)
    playbook = """
- hosts: all
  gather_facts: false
  strategy: free
  tasks:
    - name: Take a moment
      ansible.builtin.command: sleep 0.05
      loop: [1, 2, 3, 4]
    - name: Take another
      ansible.builtin.command: sleep 0.05
      loop: [1, 2, 3, 4]
"""
    running = RunningPlaybook(playbook, inventory=["a", "b", "c"], env=environment(server))
    try:
        deadline = time.monotonic() + 60
        while not stored(server) and time.monotonic() < deadline:
            time.sleep(0.1)
        server.kill()
        time.sleep(1)
        server.start()
    finally:
        result = running.wait(60)
    result.check()
    found = events(server)
    assert_complete(found)
    assert len(found) == 3 + 2 + 6
    assert f"{len(found)} events in stream" in result.stderr


def test_an_interrupted_run_is_reported(make_server: MakeServer, tmp_path: Path) -> None:
    server = make_server()
    declare(server)
    begun = tmp_path / "begun"
    task = {"ansible.builtin.shell": f"touch {begun} && sleep 60"}
    running = RunningPlaybook([{"hosts": "all", "gather_facts": False, "tasks": [task]}], env=environment(server))
    deadline = time.monotonic() + 60
    # Wait until the worker runs the task: a worker that is being forked prints the interrupt itself
    while not (begun.exists() and len(stored(server)) == 3) and time.monotonic() < deadline:
        time.sleep(0.1)
    running.interrupt()
    result = running.wait(60)
    found = events(server)
    assert_complete(found)
    assert found[-1]["data"]["outcome"] == "interrupted"
    assert "Traceback" not in result.output


@pytest.mark.once
@pytest.mark.parametrize(
    ("fails", "more", "expected"),
    [
        (False, DOWN, "0 events in stream ANSIBLE_RUNS, 7 spooled in "),
        (True, DOWN, "0 events in stream ANSIBLE_RUNS, 7 spooled in "),
        (
            False,
            {"CHORIA_STREAMS_SERVERS": "http://127.0.0.1:1"},
            "choria_results is off, this run is not reported: servers: ",
        ),
        (
            True,
            {"CHORIA_STREAMS_TOKEN": "planted", "CHORIA_STREAMS_USER": "u"},
            "this run is not reported: user: can't be",
        ),
        (False, {"CHORIA_STREAMS_CREDS": "/nowhere/file"}, "this run is not reported: creds: /nowhere/file can't be"),
        (
            True,
            {"CHORIA_STREAMS_RESULTS_STREAM": "a.b"},
            "this run is not reported: stream: 'a.b' is not allowed: a stream's name has",
        ),
        (
            False,
            {"CHORIA_STREAMS_RESULTS_SUBJECT_PREFIX": "a.>"},
            "reported: subject_prefix: 'a.>' is not allowed: write words",
        ),
        (True, {"CHORIA_STREAMS_RESULTS_MAX_SIZE": "10"}, "reported: max_size: '10' is too small for an event"),
        (False, {"CHORIA_STREAMS_RESULTS_FLUSH_TIMEOUT": "soon"}, "reported: flush_timeout: 'soon' is not a duration"),
        (True, {"CHORIA_STREAMS_RESULTS_SPOOL_SIZE": "much"}, "reported: spool_size: 'much' is not a size"),
        (
            False,
            {"CHORIA_STREAMS_RESULTS_TRANSPORT": "spool"},
            "this run is not reported: server_config: /etc/choria/server",
        ),
    ],
    ids=[
        "down",
        "down and failed",
        "URL",
        "credentials",
        "file",
        "stream",
        "prefix",
        "size",
        "timeout",
        "spool size",
        "no server",
    ],
)
def test_trouble_is_one_warning_and_no_run_suffers(fails: bool, more: dict[str, str], expected: str) -> None:
    env = environment(None, **{"CHORIA_STREAMS_RESULTS_FLUSH_TIMEOUT": "0.5s", **more})
    result = run_playbook(TWO_TASKS, env=env, extra_vars={"fails": fails})
    warnings = re.sub(r"\s+", " ", result.stderr)
    assert result.rc == (2 if fails else 0)
    assert [task.status for task in result.tasks] == ["ok", "failed" if fails else "skipped"]
    assert expected in warnings
    assert result.stderr.count("WARNING") == 1
    assert "Traceback" not in result.output
    assert "planted" not in result.output


@pytest.mark.parametrize(
    ("config", "more", "expected"),
    [
        ({}, {}, "no stream takes ansible.runs.>: create it with choria.streams.choria_stream (name: ANSIBLE_RUNS"),
        (
            {"authorization": {"user": "u", "password": "right"}},
            {"CHORIA_STREAMS_USER": "u", "CHORIA_STREAMS_PASSWORD": "planted"},
            "refused the credentials (check user and password).",
        ),
    ],
    ids=["stream missing", "wrong password"],
)
def test_refusals_are_one_warning(
    make_server: MakeServer, config: dict[str, Any], more: dict[str, str], expected: str
) -> None:
    env = environment(make_server(config), CHORIA_STREAMS_RESULTS_FLUSH_TIMEOUT="0.5s", **more)
    result = run_playbook(TWO_TASKS, env=env).check()
    assert expected in re.sub(r"\s+", " ", result.stderr)
    assert "0 events in stream ANSIBLE_RUNS, 7 spooled in " in re.sub(r"\s+", " ", result.stderr)
    assert result.stderr.count("WARNING") == 1
    assert "planted" not in result.output


def test_a_broker_that_hangs_harms_no_run(make_server: MakeServer) -> None:
    server = make_server()
    declare(server)
    patient = {"CHORIA_STREAMS_TIMEOUT": "2m", "CHORIA_STREAMS_CONNECT_TIMEOUT": "2m"}
    env = environment(server, CHORIA_STREAMS_RESULTS_FLUSH_TIMEOUT="0.5s", **patient)
    playbook = [{"hosts": "all", "gather_facts": False, "tasks": [{"ansible.builtin.command": "sleep 0.7"}] * 2}]
    running = RunningPlaybook(playbook, env=env)
    deadline = time.monotonic() + 60
    while len(stored(server)) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    os.kill(server.pid, signal.SIGSTOP)
    start = time.monotonic()
    try:
        result = running.wait(60).check()
    finally:
        os.kill(server.pid, signal.SIGCONT)
    assert time.monotonic() - start < 60  # shorter than connect_timeout and timeout
    assert re.search(
        r"\d events in stream ANSIBLE_RUNS, \d spooled in \S+, 0 dropped: the servers did not",
        re.sub(r"\s+", " ", result.stderr),
    )
    assert result.stderr.count("WARNING") == 1
    assert "Task was destroyed" not in result.stderr
    assert "Traceback" not in result.output


def test_workers_connect_while_the_thread_does(make_server: MakeServer) -> None:
    """Templates with lookups are evaluated in processes that are forked while the thread connects and sends."""
    server = make_server()
    declare(server)
    playbook = """
- hosts: all
  gather_facts: false
  tasks:
    - name: A bucket
      choria.streams.choria_kv_bucket:
        name: CFG
      run_once: true
    - name: Look up what is not there
      ansible.builtin.debug:
        msg: "{{ lookup('choria.streams.choria_kv', 'key', bucket='CFG', default='none') }}"
      loop: "{{ range(5) | list }}"
"""
    hosts = [f"h{number}" for number in range(12)]
    result = run_playbook(playbook, inventory=hosts, env=environment(server), args=["--forks", "12"], timeout=60)
    result.check()
    assert_complete(events(server))


@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize(
    ("action", "file", "expected"),
    [
        ("include_tasks", "missing.yml", "missing.yml"),
        ("include_role", {"name": "missing"}, "missing"),
        ("include_vars", "missing.yml", "missing.yml"),
    ],
)
def test_reason_of_a_failed_include(make_server: MakeServer, action: str, file: Any, expected: str, loop: bool) -> None:
    server = make_server()
    declare(server)
    task = {"name": "Includes", f"ansible.builtin.{action}": file, **({"loop": ["a", "b"]} if loop else {})}
    assert run_playbook([{"hosts": "all", "gather_facts": False, "tasks": [task]}], env=environment(server)).rc == 2
    failed = [data for data in of_kind(events(server), "task_result") if data["status"] == "failed"]
    items = [item for data in failed for item in data.get("items", [])]
    parts = items if items else failed
    assert parts
    for part in parts:
        assert part["status"] == "failed"
        assert f"{expected}'" in part["msg"]
