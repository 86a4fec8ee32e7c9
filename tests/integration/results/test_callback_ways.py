# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The callback with each way to run a playbook: strategies, batches, blocks, handlers, includes, and --step."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ansible_runner
import pytest

from support import ROOT
from support.playbook import run_playbook
from support.run_events import NAME, assert_complete, declare, environment, events, of_kind
from support.server import NatsServer

if TYPE_CHECKING:
    from conftest import MakeServer

MANY = [f"host{number}" for number in range(1, 9)]

PLAYBOOK = """
- name: In batches
  hosts: all
  gather_facts: false
  serial: [2, 100%]
  tasks:
    - name: Is ok
      ansible.builtin.debug: {msg: ok}

- name: Freely
  hosts: all
  gather_facts: false
  strategy: free
  tasks:
    - name: Is free
      ansible.builtin.debug: {msg: free}
    - name: Is free too
      ansible.builtin.debug: {msg: free}

- name: All else
  hosts: host1
  gather_facts: false
  vars: {ansible_async_dir: "{{ folder }}/async"}
  handlers:
    - name: A handler
      ansible.builtin.debug: {msg: handled}
    - name: Listens
      listen: a topic
      ansible.builtin.debug: {msg: handled}
    - name: Is not notified
      ansible.builtin.debug: {msg: handled}
  tasks:
    - name: Notifies
      ansible.builtin.command: echo
      notify: [A handler, "{{ 'a topic' }}"]
    - name: Notifies nobody
      ansible.builtin.command: echo
      changed_when: false
      notify: Is not notified
    - name: Runs handlers
      ansible.builtin.meta: flush_handlers
    - name: Includes tasks
      ansible.builtin.include_tasks: "{{ folder }}/included.yml"
    - name: Includes a role
      ansible.builtin.include_role: {name: a_role}
    - name: Is rescued
      block:
        - name: Is around
          block:
            - name: Fails and is rescued
              ansible.builtin.fail: {msg: on purpose}
          always:
            - name: Is done always
              ansible.builtin.debug: {msg: always}
      rescue:
        - name: Rescues
          ansible.builtin.debug: {msg: rescued}
    - name: Waits for a job
      ansible.builtin.command: echo
      async: 60
      poll: 1
    - name: Starts a job
      ansible.builtin.command: echo
      async: 60
      poll: 0
      register: job
    - name: Looks at the job
      ansible.builtin.async_status: {jid: "{{ job.ansible_job_id }}"}
      register: looked
      until: looked is finished
      retries: 100
      delay: 0
    - name: Is delegated
      ansible.builtin.debug: {msg: elsewhere}
      delegate_to: host2
    - name: Is retried
      ansible.builtin.command: "false"
      register: tried
      until: tried is succeeded
      retries: 1
      delay: 0
      ignore_errors: true
    - name: Has items
      ansible.builtin.command: test {{ item.is }} = good
      loop: [{is: good}, {is: bad}]
      loop_control: {label: "the {{ item.is }} one"}
      ignore_errors: true
    - name: Fails
      block:
        - name: Fails in a rescue
          ansible.builtin.fail: {msg: first}
      rescue:
        - name: Fails in the rescue
          ansible.builtin.fail: {msg: second}
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Return the events of one run that uses all of these."""
    folder = tmp_path_factory.mktemp("ways")
    (folder / "included.yml").write_text("- name: Is included\n  ansible.builtin.debug: {msg: included}\n")
    tasks = folder / "roles" / "a_role" / "tasks"
    tasks.mkdir(parents=True)
    (tasks / "main.yml").write_text("- name: Is of the role\n  ansible.builtin.debug: {msg: role}\n")
    with NatsServer() as server:
        declare(server)
        result = run_playbook(
            PLAYBOOK,
            inventory=MANY,
            env=environment(
                server,
                ANSIBLE_ROLES_PATH=str(folder / "roles"),
                CHORIA_STREAMS_RESULTS_EVENTS="play_started,task_started,task_result,item_result,included",
                CHORIA_STREAMS_RESULTS_BATCH="change 42",
                TRACEPARENT="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
                GITLAB_CI="true",
                CI_JOB_ID="7",
            ),
            extra_vars={"folder": str(folder)},
            args=["--forks", "50"],
        )
        assert result.rc == 2, result.output
        assert result.stderr.count("choria_results") == 1
        return events(server)


def results(found: list[dict[str, Any]], kind: str = "task_result") -> dict[str, dict[str, Any]]:
    return {data["task"]["name"]: data for data in of_kind(found, kind)}


def test_the_run_is_whole(found: list[dict[str, Any]]) -> None:
    assert_complete(found)
    started, finished = found[0]["data"], found[-1]["data"]
    assert started["batch"] == "change 42"
    assert started["traceparent"].startswith("00-0af7651916cd43dd")
    assert started["job"] == {"system": "gitlab", "id": "7", "url": None}
    assert started["forks"] == 50
    assert started["collection_version"]
    assert (finished["outcome"], finished["hosts"]["host1"]["rescued"]) == ("failed", 2)


def test_batches_and_strategies(found: list[dict[str, Any]]) -> None:
    plays = of_kind(found, "play_started")
    assert [data["play"]["name"] for data in plays] == ["In batches", "In batches", "Freely", "All else"]
    assert plays[0]["serial"] == [2, "100%"]
    assert [data["strategy"] for data in plays] == ["linear", "linear", "free", "linear"]
    names = [data["task"]["name"] for data in of_kind(found, "task_started")]
    assert (names.count("Is ok"), names.count("Is free"), names.count("Is free too")) == (2, 1, 1)
    for task in ("Is ok", "Is free", "Is free too"):
        hosts = [data["host"] for data in of_kind(found, "task_result") if data["task"]["name"] == task]
        assert sorted(hosts) == MANY


def test_handlers(found: list[dict[str, Any]]) -> None:
    tasks = results(found)
    assert tasks["Notifies"]["notified"] == ["A handler", "a topic"]
    assert "notified" not in tasks["Notifies nobody"]
    assert {name for name, data in tasks.items() if data["handler"]} == {"A handler", "Listens"}
    assert {name for name, data in results(found, "task_started").items() if data["handler"]} == {
        "A handler",
        "Listens",
    }


def test_includes(found: list[dict[str, Any]]) -> None:
    file, role = of_kind(found, "included")
    assert (file["file"].rpartition("/")[2], file["hosts"]) == ("included.yml", ["host1"])
    assert (role["role"], role["task"]["name"]) == ("a_role", "Includes a role")
    assert {"Is included", "a_role : Is of the role"} < set(results(found))


def test_blocks(found: list[dict[str, Any]]) -> None:
    tasks = results(found)
    assert {name for name, data in tasks.items() if "rescued" in data} == {"Fails and is rescued", "Fails in a rescue"}
    assert {name for name, data in tasks.items() if data["status"] == "failed"} == {
        "Fails and is rescued",
        "Fails in a rescue",
        "Fails in the rescue",
    }


def test_jobs_retries_and_delegation(found: list[dict[str, Any]]) -> None:
    tasks = results(found)
    assert tasks["Waits for a job"]["status"] == "changed"
    assert tasks["Starts a job"]["job_id"] == tasks["Looks at the job"]["job_id"]
    assert tasks["Is delegated"]["delegated_to"] == "host2"
    assert (tasks["Is retried"]["status"], tasks["Is retried"]["attempts"]) == ("ignored", 1)


def test_items_may_be_events_of_their_own(found: list[dict[str, Any]]) -> None:
    items = [data for data in of_kind(found, "item_result") if data["task"]["name"] == "Has items"]
    assert [(item["index"], item["label"], item["status"]) for item in items] == [
        (1, "the good one", "changed"),
        (2, "the bad one", "ignored"),
    ]
    assert "items" not in results(found)["Has items"]


def settings(folder: Path, server: NatsServer) -> dict[str, str]:
    return {
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".build"),
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "ANSIBLE_CALLBACKS_ENABLED": NAME,
        "ANSIBLE_HOME": str(folder / "ansible"),
        "HOME": str(folder),
        "CHORIA_STREAMS_SERVERS": server.url,
    }


TWO_TASKS = [
    {
        "name": "Two tasks",
        "hosts": "localhost",
        "gather_facts": False,
        "tasks": [
            {"name": "First", "ansible.builtin.debug": {"msg": "first"}},
            {"name": "Second", "ansible.builtin.debug": {"msg": "second"}},
        ],
    }
]


def test_step_by_step(make_server: MakeServer, tmp_path: Path) -> None:
    server = make_server()
    declare(server)
    (tmp_path / "playbook.yml").write_text(json.dumps(TWO_TASKS))
    result = subprocess.run(
        [str(Path(sys.executable).parent / "ansible-playbook"), "--step", "playbook.yml"],
        check=True,
        cwd=tmp_path,
        env={**os.environ, **settings(tmp_path, server)},
        input="n\ny\n",
        capture_output=True,
        text=True,
        timeout=300,
    )
    found = events(server)
    assert_complete(found)
    assert set(results(found)) == {"Second"}
    assert f"{len(found)} events in stream" in result.stderr


def test_ansible_runner(make_server: MakeServer, tmp_path: Path) -> None:
    server = make_server()
    declare(server)
    done = ansible_runner.run(
        private_data_dir=str(tmp_path), playbook=TWO_TASKS, envvars=settings(tmp_path, server), quiet=True, timeout=300
    )
    assert (done.status, done.rc) == ("successful", 0)
    found = events(server)
    assert_complete(found)
    assert set(results(found)) == {"First", "Second"}
    with done.stdout as output:
        assert f"{len(found)} events in stream" in output.read()
