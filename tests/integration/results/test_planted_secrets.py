# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every option that may hold a secret has one, and no output or file of a run contains it, with -vvvv and --diff."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.playbook import run_playbook
from support.run_events import assert_complete, declare, environment, events, of_kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import MakeServer

pytestmark = pytest.mark.each_core
# Each run has its own secret, since the test also reads the processes of other runs
PLANTED = f"PLANTED{os.urandom(4).hex()}"
ODD = r"PLANTED \"quoted\" back\\slash"
PLAY = """
- name: Plants secrets
  hosts: all
  gather_facts: false
  module_defaults:
    group/choria.streams.all: {connect_timeout: 2s}
  tasks:
    - name: Servers
      choria.streams.choria_stream_info:
        servers: "{{ item | replace('NOWHERE', 'u:PLANTED@127.0.0.1:1') }}"
      loop: ["NOWHERE", "127.0.0.1:1,NOWHERE", "nats:/NOWHERE", "nats://x/NOWHERE", "nats://NOWHERE"]
      loop_control: {label: one}
      ignore_errors: true
    - name: Servers of a task
      choria.streams.choria_stream_info:
        servers: ["127.0.0.1:1", "u:PLANTED@127.0.0.1:1"]
        unknown_password: PLANTED
      ignore_errors: true
    - name: Servers of a lookup
      ansible.builtin.debug:
        msg: "{{ lookup('choria.streams.choria_kv', 'CFG/x', servers='u:PLANTED/x@127.0.0.1:1') }}"
      ignore_errors: true
    - name: Credentials
      choria.streams.choria_stream_info:
        user: bob
        password: "ODD"
      ignore_errors: true
    - name: A configuration
      choria.streams.choria_config:
        path: "{{ folder }}/choria.conf"
        settings:
          plugin.nats.pass: "ODD"
          plugin.my: {password: "ODD", inner: {api_token: "ODD"}}
          plugin.choria.middleware_hosts: "u:PLANTED@h:4222"
        other_keys: [plugin.my.password, plugin.my.inner.api_token]
    - name: A machine
      choria.streams.choria_machine:
        name: planted
        store: "{{ folder }}"
        definition:
          version: 0.0.1
          initial_state: "ON"
          transitions: [{name: "off", from: ["ON"], destination: "OFF"}]
          watchers:
            - name: watch
              type: exec
              state_match: ["ON"]
              properties: {command: "x --password PLANTED", environment: ["A=PLANTED"]}
        files: [{path: file, content: "ODD"}]
    - name: A submission
      choria.streams.choria_submit:
        subject: a
        payload: "ODD"
        headers: {X-App: "ODD"}
        transport: direct
      ignore_errors: true
    - name: A message
      choria.streams.choria_stream_message:
        subject: mail.x
        data: {x: "ODD"}
        encoding: json
        headers: {X-App: PLANTED, Nats-Msg-Id: x}
      ignore_errors: true
    - name: Keys
      choria.streams.choria_kv_sync:
        bucket: CFG
        data:
          app.password: "ODD"
          app: {db: [{password: "ODD"}], port: 1}
          text: "user=x password=PLANTED"
    - name: A document
      choria.streams.choria_resources:
        keys:
          - {bucket: CFG, key: more, value: {token: "ODD"}, encoding: json}
          - {bucket: CFG, key: token, value: PLANTED}
    - name: A task with a seat
      choria.streams.choria_governor_run:
        name: SEATS
        task: {name: Hidden, ansible.builtin.command: {cmd: cat, stdin: PLANTED}, no_log: true}
    - name: Tasks with a seat
      choria.streams.choria_governor_run:
        name: SEATS
        tasks:
          - {name: Hidden, ansible.builtin.command: {cmd: cat, stdin: PLANTED}, no_log: true}
          - {name: Fails, ansible.builtin.fail: {msg: PLANTED}, no_log: true}
      ignore_errors: true
    - name: What is not a task
      choria.streams.choria_governor_run:
        name: SEATS
        tasks: [{name: Hidden, ansible.builtin.command: "echo 'PLANTED", until: 1, no_log: true}]
      ignore_errors: true
    - name: What is not a task either
      choria.streams.choria_governor_run:
        name: SEATS
        task: {name: Hidden, ansible.builtin.command: "echo PLANTED", until: 1, no_log: true}
      ignore_errors: true
"""


@contextlib.contextmanager
def process_list() -> Iterator[list[str]]:
    """Yield the command lines of processes that contain a secret."""
    seen: list[str] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.005):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    line = path.read_text(errors="replace")
                    if PLANTED in line:
                        seen.append(line)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()


def test_nothing_shows_or_keeps_them(make_server: MakeServer, short_path: Path) -> None:
    server = make_server()
    declare(server)
    prepared = {
        "streams": [{"name": "MAIL", "subjects": ["mail.>"]}],
        "kv_buckets": [{"name": "CFG"}],
        "governors": [{"name": "SEATS", "capacity": 5, "expire": "60s"}],
    }
    first = [{"hosts": "all", "gather_facts": False, "tasks": [{"choria.streams.choria_resources": prepared}]}]
    run_playbook(first, env={"CHORIA_STREAMS_SERVERS": server.url}).check()
    for name in ("tmp", "remote", "machines"):
        (short_path / name).mkdir()
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    with process_list() as seen:
        result = run_playbook(
            PLAY.replace("ODD", ODD).replace("PLANTED", PLANTED),
            inventory={"all": {"hosts": {"web1": {**local, "folder": str(short_path / "machines")}}}},
            env=environment(
                server,
                TMPDIR=str(short_path / "tmp"),
                ANSIBLE_LOCAL_TEMP=str(short_path / "tmp"),
                ANSIBLE_REMOTE_TEMP=str(short_path / "remote"),
                ANSIBLE_INJECT_INVOCATION="true",
                CHORIA_STREAMS_RESULTS_SPOOL=str(short_path / "tmp" / "spool"),
                CHORIA_STREAMS_RESULTS_INCLUDE="args,diff,environment,output",
                CHORIA_STREAMS_RESULTS_FACTS="*",
                CHORIA_STREAMS_RESULTS_EVENTS="play_started,task_started,task_result,item_result,included",
            ),
            diff=True,
            args=["-vvvv"],
        ).check()
    assert seen == []
    left = [path for name in ("tmp", "remote") for path in (short_path / name).rglob("*") if path.is_file()]
    assert [path for path in left if PLANTED.encode() in path.read_bytes()] == []
    found = events(server)
    assert_complete(found)
    texts = [json.dumps(event) for event in found]
    assert [text[max(0, text.find(PLANTED) - 200) :][:400] for text in texts if PLANTED in text] == []
    statuses = {data["task"]["name"]: data["status"] for data in of_kind(found, "task_result")}
    assert [name for name, status in statuses.items() if status == "changed"] == [
        *("A configuration", "A machine", "Keys", "A document", "A task with a seat"),
    ]
    # Ansible prints the place of a task in the playbook, with its lines
    shown = re.sub(r"(?m)^ *\d+ .*$|^ +\^ column.*$", "", result.output)
    lines = shown.splitlines()
    assert [line[max(0, line.find(PLANTED) - 200) :][:400] for line in lines if PLANTED in line] == []
