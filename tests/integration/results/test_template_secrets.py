# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Secrets from templates and lookups, in the processes that Ansible forks, are in no event."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest

from support.playbook import run_playbook
from support.run_events import assert_complete, declare, environment, events, of_kind

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import MakeServer

pytestmark = pytest.mark.each_core
PLANTED = "PLANTED"
HOSTS = 3

KEYS = """
- name: Keys
  hosts: all
  gather_facts: false
  tasks:
    - name: A bucket
      choria.streams.choria_resources:
        kv_buckets: [{name: CFG}]
        keys:
          - {bucket: CFG, key: plain, value: PLANTED-plain}
          - {bucket: CFG, key: app.password, value: PLANTED-key}
          - {bucket: CFG, key: colour, value: blue-and-green}
          - {bucket: CFG, key: app.more, value: '{"db": {"password": "PLANTED-nested", "port": 5432}}'}
          - {bucket: CFG, key: pin, value: "9876543"}
        streams: [{name: MAIL, subjects: ["mail.>"]}]
    - name: A message
      choria.streams.choria_stream_message:
        subject: mail.reset_token
        data: PLANTED-message
    - name: Another
      choria.streams.choria_stream_message:
        subject: mail.x
        headers: {X-Api-Token: PLANTED-header}
        encoding: json
        data: {secret: PLANTED-payload}
"""
PLAY = """
- name: Uses them
  hosts: all
  gather_facts: false
  strategy: STRATEGY
  vars:
    app_password: "{{ lookup('choria.streams.choria_kv', 'CFG/plain') }}"
    derived_token: "{{ lookup('choria.streams.choria_kv', 'CFG/plain') ~ '-of-' ~ inventory_hostname }}"
    piped_secret: "{{ lookup('ansible.builtin.pipe', 'echo PLANTED-piped-' ~ inventory_hostname) }}"
    app_secrets: {one: "{{ lookup('ansible.builtin.pipe', 'echo PLANTED-one') }}", two: [{x: "{{ part }}"}]}
    part: "{{ ['PLANTED', 'part'] | join('-') }}"
    all_credentials: "{{ lookup('choria.streams.choria_kv', 'CFG/app', prefix=true) }}"
    token_number: "{{ lookup('choria.streams.choria_kv', 'CFG/pin') | int }}"
    nested: {settings: [{name: API_TOKEN, value: "{{ lookup('ansible.builtin.pipe', 'echo PLANTED-pair') }}"}]}
    colour: "{{ lookup('choria.streams.choria_kv', 'CFG/colour') }}"
  tasks:
    - name: Says {{ app_password }}
      ansible.builtin.debug:
        msg: "with {{ app_password }} and {{ derived_token }}, {{ colour }}"
    - name: Pipes
      ansible.builtin.command: echo {{ piped_secret }} {{ colour }}
    - name: Parts
      ansible.builtin.debug:
        msg: ["{{ app_secrets.one }}", "{{ app_secrets }}", "{{ app_secrets.two[0].x }}", "{{ token_number }}"]
    - name: Other hosts
      ansible.builtin.debug:
        msg: "{{ hostvars['web2'].host_token }} {{ hostvars['web3']['host_token'] }}"
    - name: Below a prefix
      ansible.builtin.debug:
        msg: "{{ all_credentials.more }} {{ all_credentials.password }}"
    - name: By key
      ansible.builtin.command: echo {{ lookup('choria.streams.choria_kv', 'CFG/app.password') }} {{ colour }}
    - name: Inside of JSON
      ansible.builtin.command: echo {{ lookup('choria.streams.choria_kv', 'CFG/app.more', format='json').db.password }}
    - name: Queried
      ansible.builtin.debug:
        msg: "{{ lookup('choria.streams.choria_kv', 'CFG/app.more', format='json', query='db.password') }}"
    - name: History
      ansible.builtin.debug:
        msg: "{{ lookup('choria.streams.choria_kv', 'CFG/app.password', history=true)[0].value }}"
    - name: Messages
      ansible.builtin.debug:
        msg: "{{ lookup('choria.streams.choria_stream', 'MAIL', subject='mail.reset_token') }} {{ lookup(
          'choria.streams.choria_stream', 'MAIL', subject='mail.x', format='json').secret }} {{ lookup(
          'choria.streams.choria_stream', 'MAIL', subject='mail.x', full=true).headers.values() | list }}"
    - name: Loops
      ansible.builtin.command: echo {{ item }}
      loop: "{{ query('choria.streams.choria_kv', 'CFG/app.password') + [app_password, piped_secret] }}"
    - name: Fails
      ansible.builtin.fail:
        msg: "Can't log in with {{ app_password }}: {{ piped_secret }}"
      ignore_errors: true
    - name: Registers
      ansible.builtin.set_fact:
        kept: "{{ derived_token }}"
    - name: Shows what was kept
      ansible.builtin.debug:
        var: kept
    - name: Includes {{ item }}
      ansible.builtin.include_tasks: "{{ folder }}/included.yml"
      loop: ["{{ derived_token }}"]
"""
INCLUDED = """
- name: Is included with {{ item }}
  ansible.builtin.debug:
    msg: "{{ item }}"
"""


@pytest.mark.parametrize("strategy", ["linear", "free"])
def test_secrets_from_templates_and_lookups_are_masked(strategy: str, make_server: MakeServer, tmp_path: Path) -> None:
    server = make_server()
    declare(server)
    run_playbook(KEYS, env={"CHORIA_STREAMS_SERVERS": server.url}).check()
    (tmp_path / "included.yml").write_text(INCLUDED)
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "folder": str(tmp_path)}
    local["host_token"] = "{{ lookup('ansible.builtin.pipe', 'echo PLANTED-host-' ~ inventory_hostname) }}"
    result = run_playbook(
        PLAY.replace("STRATEGY", strategy),
        inventory={"all": {"hosts": {f"web{number}": local for number in range(1, HOSTS + 1)}}},
        env=environment(
            server,
            ANSIBLE_FORKS=str(HOSTS),
            CHORIA_STREAMS_RESULTS_INCLUDE="args,diff,environment,output",
            CHORIA_STREAMS_RESULTS_FACTS="*",
            CHORIA_STREAMS_RESULTS_EVENTS="play_started,task_started,task_result,item_result,included",
        ),
        args=["--diff"],
    ).check()
    assert "choria_results is off" not in result.output
    found = events(server)
    assert_complete(found)
    texts = [json.dumps(event) for event in found]
    assert [text for text in texts if PLANTED in text or "9876543" in text] == []
    results = of_kind(found, "task_result")
    assert len([data for data in results if data["task"]["name"] == "Pipes"]) == HOSTS
    # Values that are not secrets are shown
    assert len([data for data in results if "blue-and-green" in str(data.get("output"))]) == 2 * HOSTS
