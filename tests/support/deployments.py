# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs of a small deployment with the callback: one that succeeds, one with every kind of failure, one interrupted."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from ansible_collections.choria.streams.plugins.module_utils._resources.governor.governor import GOVERNOR
from ansible_collections.choria.streams.plugins.module_utils._resources.stream.stream import STREAM as STREAM_RESOURCE
from support import ROOT
from support.manage import Manager
from support.playbook import PlaybookResult, RunningPlaybook, run_playbook

if TYPE_CHECKING:
    from pathlib import Path

    from support.server import NatsServer

STREAM = "ANSIBLE_RUNS"
REPORT = ROOT / "playbooks" / "run_report.yml"

SITE = """
- name: Deploy the shop
  hosts: web
  gather_facts: false
  tasks:
    - name: Install the packages
      ansible.builtin.command: sleep 0.{{ 2 + inventory_hostname[-1] | int % 3 }}
      changed_when: version == '1.4.0'
    - name: Configure the application
      ansible.builtin.copy:
        content: "version = {{ version }}\\n"
        dest: "{{ folder }}/{{ inventory_hostname }}.conf"
        mode: "0600"
    - name: Look for the old release
      ansible.builtin.command: "false"
      ignore_errors: true
      changed_when: false
      when: troubles and inventory_hostname == 'web6'
    - name: Restart, two hosts at a time
      choria.streams.choria_governor_run:
        name: RESTART
        task:
          ansible.builtin.command: sleep 0.4
    - name: Health check
      block:
        - name: The application answers
          ansible.builtin.shell: |
            echo "GET /health: 503 Service Unavailable"
            echo "connection pool <main>: 20 of 20 in use" >&2
            exit 7
          changed_when: false
          when: troubles and inventory_hostname in ('web2', 'web5')
      rescue:
        - name: Roll back
          ansible.builtin.command: sleep 0.2
          changed_when: inventory_hostname == 'web2'
          failed_when: inventory_hostname == 'web5'
    - name: Wait for the interruption
      ansible.builtin.shell: echo > {{ folder }}/waiting; exec sleep 60
      changed_when: true
      when: endless and inventory_hostname == 'web1'

    - name: Look at the disk
      look_at_disk:
      when: troubles and inventory_hostname in ('web1', 'web3')
    - name: Remember the release
      ansible.builtin.set_fact:
        release: "{{ version }}"
        seats: {all: 2}

- name: Migrate the database
  hosts: db
  gather_facts: false
  tasks:
    - name: Migrate
      ansible.builtin.command: sleep 0.3
"""

# Warnings that are the same on each host, that differ, and deprecations
LOOK_AT_DISK = """
from ansible.module_utils.basic import AnsibleModule

module = AnsibleModule({})
module.warn("The disk is <nearly> full")
module.deprecate("Looking at disks will be left to others", version="99.0")
module.exit_json()
"""


def inventory(*, troubles: bool) -> dict[str, Any]:
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    away = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1} if troubles else {}
    web: dict[str, Any] = {"hosts": {f"web{number}": {} for number in range(1, 7)}}
    return {"all": {"vars": local, "children": {"web": web, "db": {"hosts": {"db1.example.net": away}}}}}


def declare(server: NatsServer) -> None:
    with Manager(servers=server.url) as manager:
        manager.apply(STREAM_RESOURCE, name=STREAM, subjects=["ansible.runs.>"])
        manager.apply(GOVERNOR, name="RESTART", capacity=2, expire="1m")


def environment(server: NatsServer) -> dict[str, str]:
    enabled = {"ANSIBLE_CALLBACKS_ENABLED": "task_results,choria.streams.choria_results"}
    results = {"CHORIA_STREAMS_RESULTS_INCLUDE": "output,diff", "CHORIA_STREAMS_RESULTS_BATCH": "release-42"}
    results["CHORIA_STREAMS_RESULTS_FACTS"] = "release,seats"
    quick = {"ANSIBLE_FORKS": "8", "ANSIBLE_PIPELINING": "true"}
    return {"CHORIA_STREAMS_SERVERS": server.url, **quick, **enabled, **results}


def deploy(server: NatsServer, folder: Path, version: str, *, troubles: bool = False) -> PlaybookResult:
    return _start(server, folder, version, troubles=troubles).wait()


def interrupted(server: NatsServer, folder: Path) -> PlaybookResult:
    """Run a play that Ctrl-C ends during its last task."""
    running = _start(server, folder, "1.5.0", endless=True)
    while not (folder / "waiting").exists() and running.process.poll() is None:
        time.sleep(0.05)
    running.interrupt()
    return running.wait()


def _start(
    server: NatsServer, folder: Path, version: str, *, troubles: bool = False, endless: bool = False
) -> RunningPlaybook:
    site = folder / "site.yml"
    site.write_text(SITE)
    (folder / "library").mkdir(exist_ok=True)
    (folder / "library" / "look_at_disk.py").write_text(LOOK_AT_DISK)
    given = {"version": version, "troubles": troubles, "endless": endless, "folder": str(folder)}
    return RunningPlaybook(
        site, inventory=inventory(troubles=troubles), extra_vars=given, env=environment(server), diff=True
    )


def report(server: NatsServer, page: Path, **given: Any) -> PlaybookResult:
    """Run the playbook run_report, without the callback."""
    variables = {f"run_report_{name}": value for name, value in given.items()}
    extra = {"run_report_dest": str(page), **variables}
    return run_playbook(REPORT, extra_vars=extra, env={"CHORIA_STREAMS_SERVERS": server.url})
