# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""A playbook with secrets in every possible place. None of them is in an event, neither in the stream nor on disk."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest
from ansible.parsing.vault import VaultLib, VaultSecret

from support.playbook import ROOT, run_playbook
from support.run_events import assert_complete, declare, environment, events, of_kind, stored

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import MakeServer
    from support.server import NatsServer

pytestmark = pytest.mark.each_core

# Each secret that the callback can detect contains this text. It can't detect UNKNOWN, which no event may request.
PLANTED = "PLANTED"
VAULT_PASSWORD = f"{PLANTED}-vault-password"

TASKS = """
- name: Shows variables
  ansible.builtin.debug:
    msg: "{{ vaulted }} {{ of_vaulted_file }} {{ db_password }} {{ list_of_secrets[0] }} {{ ansible_password }}
      {{ ansible_become_pass }} {{ extra_token }} {{ lookup('ansible.builtin.env', 'APP_SECRET') }}
      {{ lookup('ansible.builtin.file', vault_password_file) }}"
- name: Is named {{ vaulted }}
  ansible.builtin.command: echo {{ vaulted }} UNKNOWN
  environment: {APP_PASSWORD: PLANTED-environment, OTHER: "{{ vaulted }}"}
- name: Fails with a text
  ansible.builtin.fail:
    msg: password=PLANTED-text, see https://bob:PLANTED-url@example.net/ and postgres://bob:PLANTED/url@db1/
  ignore_errors: true
- name: Fails with an exception
  ansible.builtin.debug:
    msg: "{{ lookup('ansible.builtin.file', '/nowhere/' ~ db_password) }}"
  ignore_errors: true
- name: Reads a page
  ansible.builtin.uri:
    url: http://bob:PLANTED-url@127.0.0.1:1/?token=PLANTED-query
  ignore_errors: true
- name: Loops
  ansible.builtin.debug:
    msg: "{{ item.password }}"
  loop: [{name: one, password: "{{ vaulted }}", other: UNKNOWN}]
  loop_control: {label: "{{ item.name }} with {{ item.password }}"}
- name: Loops over secrets
  ansible.builtin.command: echo {{ item }}
  loop: ["{{ vaulted }}", "https://bob:PLANTED-item@example.net"]
- name: Loops over dicts
  ansible.builtin.command: echo
  loop: [{odd: UNKNOWN}]
- name: Writes a file
  ansible.builtin.copy:
    content: "user = bob\\npassword = PLANTED-diff\\nother = {{ vaulted }}\\n"
    dest: "{{ folder }}/file"
    mode: "0600"
- name: Hides {{ odd }}
  ansible.builtin.command: echo {{ item }} {{ odd }}
  loop: [PLANTED-hidden-item]
  loop_control: {label: "{{ item }} PLANTED-hidden-label"}
  no_log: true
- name: Hides a failure of {{ odd }}
  ansible.builtin.fail: {msg: PLANTED-hidden}
  no_log: true
  ignore_errors: true
- name: Sets facts
  ansible.builtin.set_fact: {api_key: PLANTED-fact}
- name: Sets hidden facts
  ansible.builtin.set_fact: {late_token: PLANTED-hidden-fact}
  no_log: true
- name: Shows facts
  ansible.builtin.debug:
    msg: [{at: "{{ api_key }}"}, "{{ late_token }}"]
- name: Includes
  ansible.builtin.include_tasks: "{{ folder }}/included.yml"
  vars: {inner_password: PLANTED-include}
- name: Notifies
  ansible.builtin.command: echo
  notify: A handler
"""

INCLUDED = """
- name: Is included with {{ inner_password }}
  ansible.builtin.debug:
    msg: "it was {{ inner_password }}"
"""

EVERYTHING = {
    "CHORIA_STREAMS_RESULTS_INCLUDE": "args,diff,environment,output",
    "CHORIA_STREAMS_RESULTS_FACTS": "*",
    "CHORIA_STREAMS_RESULTS_EVENTS": "play_started,task_started,task_result,item_result,included",
    "GITLAB_CI": "true",
    "CI_JOB_ID": "7",
    "CI_JOB_URL": "https://bob:PLANTED-job@gitlab.example.net/7",
}


def vaulted(text: str) -> str:
    vault = VaultLib([("default", VaultSecret(VAULT_PASSWORD.encode()))])
    return str(vault.encrypt(text, vault_id="default").decode())


def playbook(folder: Path) -> str:
    """Write a playbook whose tasks all use secrets, and the files that it needs."""
    (folder / "included.yml").write_text(INCLUDED)
    (folder / "vault-password").write_text(VAULT_PASSWORD)
    (folder / "vaulted.yml").write_text(vaulted("of_vaulted_file: PLANTED-vaulted-file\n"))
    block = "\n".join(f"          {line}" for line in vaulted("PLANTED-vaulted").splitlines())
    header = f"""
- name: Knows {{{{ extra_token }}}}
  hosts: all
  gather_facts: false
  vars_files: [{folder}/vaulted.yml]
  vars:
    odd: PLANTED-odd
    folder: {folder}
    vault_password_file: {folder}/vault-password
    list_of_secrets: [PLANTED-list]
    vaulted: !vault |
{block}
  handlers:
    - name: A handler
      ansible.builtin.debug: {{msg: "{{{{ vaulted }}}}"}}
  tasks:
"""
    return header + "\n".join(f"    {line}" for line in TASKS.splitlines())


def inventory() -> dict[str, Any]:
    secrets = {
        "ansible_password": "PLANTED-login",
        "ansible_become_pass": "PLANTED-become",
        "db_password": "PLANTED-db",
    }
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    return {"all": {"hosts": {"web1": {**local, **secrets}}}}


def run(folder: Path, server: NatsServer, **more: str) -> Any:
    env = environment(server, APP_SECRET="PLANTED-process", CHORIA_STREAMS_RESULTS_SPOOL=str(folder / "spool"), **more)
    return run_playbook(
        playbook(folder),
        inventory=inventory(),
        extra_vars={"extra_token": "PLANTED-extra"},
        env=env,
        diff=True,
        args=["--vault-password-file", str(folder / "vault-password")],
    ).check()


def test_no_secret_leaves_whatever_is_asked_for(make_server: MakeServer, tmp_path: Path) -> None:
    """All kinds of data are enabled. Events are first written to disk, as there is no server, and delivered later."""
    server = make_server()
    declare(server)
    server.shutdown()
    result = run(tmp_path, server, CHORIA_STREAMS_RESULTS_FLUSH_TIMEOUT="0.5s", **EVERYTHING)
    on_disk = {path.name: path.read_bytes() for path in (tmp_path / "spool").rglob("*") if path.is_file()}
    assert any(b"task_result" in content for content in on_disk.values())
    assert [name for name, content in on_disk.items() if PLANTED.encode() in content] == []
    said = [line for line in result.stderr.splitlines() if "choria_results" in line]
    assert said
    assert PLANTED not in "".join(said)

    server.start()
    run_playbook(
        [{"hosts": "all", "gather_facts": False, "tasks": [{"ansible.builtin.ping": {}}]}],
        env=environment(server, CHORIA_STREAMS_RESULTS_SPOOL=str(tmp_path / "spool")),
    ).check()
    found = events(server)
    first = [event for event in found if event["data"]["run_id"] == found[0]["data"]["run_id"]]
    assert_complete(first)
    assert [message.data for message in stored(server) if PLANTED.encode() in message.data] == []
    results = {data["task"]["name"]: data for data in of_kind(first, "task_result")}
    # The other parts of the output are kept
    assert "(masked)" in results["Shows variables"]["msg"]
    assert results["Is named (masked)"]["output"]["stdout"] == "(masked) UNKNOWN"
    assert results["Is named (masked)"]["environment"] == {"APP_PASSWORD": "(masked)", "OTHER": "(masked)"}
    assert results["Hides {{ odd }}"]["no_log"] is True
    assert results["Sets facts"]["facts"] == {"api_key": "(masked)"}
    assert results["Writes a file"]["diff"][0]["after"].startswith("user = bob\npassword = (masked)\n")
    items = {data["label"] for data in of_kind(first, "item_result") if "label" in data}
    assert items == {"one with (masked)", "(masked)", "https://example.net"}


LATE = """
- name: Learns late
  hosts: all
  gather_facts: false
  tasks:
    - name: Includes
      ansible.builtin.include_vars: {folder}/single.yml
    - name: Includes files
      ansible.builtin.include_vars: "{{{{ item }}}}"
      loop: [{folder}/one.yml, {folder}/whole.yml]
    - name: Sets facts
      ansible.builtin.set_fact: {{"{{{{ item }}}}_token": "PLANTED-fact-{{{{ item }}}}"}}
      loop: [one, two]
    - name: Registers
      ansible.builtin.command: echo PLANTED-registered
      register: admin_password
    - name: Registers items
      ansible.builtin.command: echo PLANTED-registered-{{{{ item }}}}
      loop: [one]
      register: other_password
    - name: Shows {{{{ single }}}}
      ansible.builtin.debug:
        msg: ["at {{{{ single }}}}", "{{{{ in_loop }}}} {{{{ one_token }}}} {{{{ two_token }}}} {{{{ pin }}}}",
          "{{{{ admin_password.stdout }}}} {{{{ other_password.results[0].stdout }}}}", "{{{{ {{'n': pin}} }}}}"]
      environment: "{{{{ {{'A': 'b'}} }}}}"
    - name: Shows items
      ansible.builtin.command: echo {{{{ item }}}}
      loop: ["{{{{ in_loop }}}}", "{{{{ admin_password.stdout }}}}"]
"""


def test_secrets_that_appear_during_a_play(make_server: MakeServer, tmp_path: Path) -> None:
    for name, variable in (("single", "single"), ("one", "in_loop")):
        block = "\n".join(f"  {line}" for line in vaulted(f"PLANTED-{name}").splitlines())
        (tmp_path / f"{name}.yml").write_text(f"{variable}: !vault |\n{block}\n")
    (tmp_path / "whole.yml").write_text(vaulted("pin: 7654321\n"))
    (tmp_path / "vault-password").write_text(VAULT_PASSWORD)
    server = make_server()
    declare(server)
    result = run_playbook(
        LATE.format(folder=tmp_path),
        env=environment(server, **EVERYTHING),
        args=["--vault-password-file", str(tmp_path / "vault-password")],
    ).check()
    assert "choria_results is off" not in result.output
    found = events(server)
    assert_complete(found)
    assert [event for event in found if PLANTED in json.dumps(event) or "7654321" in json.dumps(event)] == []
    [shown] = [data for data in of_kind(found, "task_result") if data["task"]["name"] == "Shows (masked)"]
    assert shown["msg"][1:] == ["(masked) (masked) (masked) (masked)", "(masked) (masked)", {"n": "(masked)"}]
    [registered] = [data for data in of_kind(found, "task_result") if data["task"]["name"] == "Registers"]
    assert registered["output"]["stdout"] == "(masked)"


def test_arguments_and_output_are_not_sent_by_default(make_server: MakeServer, tmp_path: Path) -> None:
    server = make_server()
    declare(server)
    run(tmp_path, server)
    found = events(server)
    assert_complete(found)
    assert [event for event in found if PLANTED in json.dumps(event) or "UNKNOWN" in json.dumps(event)] == []
    results = {data["task"]["name"]: data for data in of_kind(found, "task_result")}
    assert results["Fails with a text"]["msg"].startswith("password=(masked) see https://example.net/")
    assert results["Is named (masked)"].keys() == results["Notifies"].keys() - {"notified"}
    assert [item["label"] for item in results["Loops"]["items"]] == ["one with (masked)"]
    assert "items" in results["Loops over dicts"]
    assert "label" not in results["Loops over dicts"]["items"][0]


DELEGATED = """
- hosts: web1
  gather_facts: false
  tasks:
    - name: Sets a fact of another host
      ansible.builtin.set_fact:
        db_password: "{{ 'PLANTED' ~ '-delegated' }}"
      delegate_to: "{{ owner }}"
      delegate_facts: true
      no_log: true
    - name: Sets facts of several
      ansible.builtin.set_fact:
        api_token: "{{ 'PLANTED' ~ '-for-' ~ item }}"
      delegate_to: "{{ item }}"
      delegate_facts: true
      no_log: true
      loop: [db1, db2]
    - name: Shows them
      ansible.builtin.debug:
        msg: "{{ hostvars.db1.db_password }} {{ hostvars.db1.api_token }} {{ hostvars.db2.api_token }}"
"""


def test_facts_of_other_hosts(make_server: MakeServer, tmp_path: Path) -> None:
    """Facts of other hosts are masked in the play that sets them, in templates and loops, and with no_log."""
    server = make_server()
    declare(server)
    path = tmp_path / "playbook.yml"
    path.write_text(DELEGATED)
    hosts = ["web1", "db1", "db2"]
    run_playbook(path, inventory=hosts, env=environment(server), extra_vars={"owner": "db1"}).check()
    [shown] = [data for data in of_kind(events(server), "task_result") if data["task"]["name"] == "Shows them"]
    assert shown["msg"] == "(masked) (masked) (masked)"


VAULTED = """
- hosts: all
  gather_facts: false
  vars: {{folder: {folder}, password: "{{{{ lookup('file', folder ~ '/vault-password') }}}}"}}
  tasks:
    - name: Shows a value of its own
      ansible.builtin.debug:
        msg: !vault |
{block}
    - name: Loops over one
      ansible.builtin.command: echo {{{{ item }}}}
      loop:
        - !vault |
{block}
    - name: Shows files
      ansible.builtin.debug:
        msg: ["{{{{ lookup('file', folder ~ '/vaulted') }}}}", "{{{{ lookup('unvault', folder ~ '/vaulted') }}}}",
          "{{{{ lookup('pipe', 'cat ' ~ folder ~ '/vaulted') | unvault(password) }}}}"]
    - name: Copies one
      ansible.builtin.copy: {{src: "{{{{ folder }}}}/vaulted", dest: "{{{{ folder }}}}/copy", mode: "0600"}}
    - name: Shows the copy
      ansible.builtin.command: base64 -w {{{{ item }}}} {{{{ folder }}}}/copy
      loop: [0, 40]
    - name: Reads the copy
      ansible.builtin.slurp: {{src: "{{{{ folder }}}}/copy"}}
      register: copy
    - name: Shows it encoded
      ansible.builtin.debug:
        msg: ["{{{{ copy.content }}}}", "{{{{ ('x' ~ lookup('unvault', folder ~ '/vaulted')) | b64encode }}}}"]
    - name: Renders a template
      ansible.builtin.template: {{src: "{{{{ folder }}}}/template", dest: "{{{{ folder }}}}/rendered", mode: "0600"}}
"""


def test_vaults_outside_of_variables(make_server: MakeServer, tmp_path: Path) -> None:
    """Vaulted values in tasks, and the content of vaulted files, are masked like those of variables."""
    server = make_server()
    declare(server)
    (tmp_path / "vault-password").write_text(VAULT_PASSWORD)
    (tmp_path / "vaulted").write_text(vaulted("PLANTED-first-line\nPLANTED-second-line"))
    (tmp_path / "template").write_text(vaulted("on {{ inventory_hostname }} PLANTED-after\nPLANTED-line\n"))
    block = "\n".join(f"          {line}" for line in vaulted("PLANTED-in-task").splitlines())
    run_playbook(
        VAULTED.format(folder=tmp_path, block=block),
        env=environment(server, **EVERYTHING),
        diff=True,
        args=["--vault-password-file", str(tmp_path / "vault-password")],
    ).check()
    found = events(server)
    assert_complete(found)
    assert [event for event in found if PLANTED in json.dumps(event)] == []
    results = {data["task"]["name"]: data for data in of_kind(found, "task_result")}
    assert results["Shows files"]["msg"] == ["(masked)"] * 3
    assert results["Copies one"]["diff"][0]["after"] == "(masked)"
    assert [item["output"]["stdout"] for item in of_kind(found, "item_result")[-2:]] == ["(masked)"] * 2
    assert results["Shows it encoded"]["msg"] == ["(masked)"] * 2
    assert results["Renders a template"]["diff"][0]["after"] == "on localhost (masked)\n(masked)\n"


MODULE = """
from ansible.module_utils.basic import AnsibleModule
inner = dict(material=dict(type="str", no_log=True), user=dict(type="str"))
lists = dict(type="list", elements="dict", options=inner)
module = AnsibleModule(argument_spec=dict(auth=dict(type="dict", options=inner), entries=lists))
module.exit_json(changed=True)
"""
OTHERS = """
- hosts: all
  gather_facts: false
  vars: {plain: "{{ 'PLANTED' ~ '-rendered' }}"}
  tasks:
    - name: Uses a module
      other.things.thing:
        auth: {material: "{{ plain }}", user: bob}
        entries: [{material: PLANTED-literal}]
      environment: {APP: "{{ app_secret }}", DB_PASSWORD: "{{ plain }}", API_TOKEN: PLANTED-literal, LANG: C}
    - name: Uses it in the background
      other.things.thing: {auth: {material: "{{ plain }}"}}
      async: 30
      poll: 0
    - name: Uses it with a mistake
      other.things.thing: {auth: {material: "{{ plain }}"}, odd: 1}
      ignore_errors: true
    - name: Shows the environment
      ansible.builtin.command: printenv APP DB_PASSWORD LANG
      environment: ["{{ {'APP': app_secret} }}", {DB_PASSWORD: "{{ app_secret }}", LANG: C}]
"""


@pytest.mark.parametrize("shows", ["", "true"])
def test_secret_options_of_other_collections(shows: str, make_server: MakeServer, tmp_path: Path) -> None:
    """Only a module knows its secret options. Ansible-core 2.21 and later do not ask it, unless that is configured."""
    server = make_server()
    declare(server)
    folder = tmp_path / "ansible_collections" / "other" / "things" / "plugins" / "modules"
    folder.mkdir(parents=True)
    (folder / "thing.py").write_text(MODULE)
    run_playbook(
        OTHERS,
        extra_vars={"app_secret": "PLANTED-app"},
        env=environment(
            server,
            ANSIBLE_INJECT_INVOCATION=shows,
            ANSIBLE_COLLECTIONS_PATH=f"{ROOT / '.build'}:{tmp_path}",
            **EVERYTHING,
        ),
    ).check()
    found = events(server)
    assert_complete(found)
    assert [event for event in found if PLANTED in json.dumps(event) or "_ansible_" in json.dumps(event)] == []
    results = {data["task"]["name"]: data for data in of_kind(found, "task_result")}
    assert results["Uses a module"]["args"].keys() == {"auth", "entries"}
    if shows:
        assert results["Uses a module"]["args"]["auth"]["user"] == "bob"
    assert results["Uses a module"]["environment"]["LANG"] == "C"
    assert results["Shows the environment"]["output"]["stdout"] == "(masked)\n(masked)\nC"


INSIDE = """
- hosts: all
  gather_facts: false
  tasks:
    - name: Adds a host
      ansible.builtin.add_host: {{name: new, db_password: "{{{{ 'PLANTED' ~ '-added' }}}}"}}
    - name: Adds a host unseen
      ansible.builtin.add_host: {{name: other, db_password: "{{{{ 'PLANTED' ~ '-unseen' }}}}"}}
      no_log: true
    - name: Reads facts of the site
      ansible.builtin.setup: {{fact_path: {folder}, filter: ansible_local}}
    - name: Reads the environment of the host
      ansible.builtin.setup: {{filter: env}}
      environment: {{APP_SECRET: "{{{{ 'PLANTED' ~ '-of-host' }}}}"}}
    - name: Logs in
      choria.streams.choria_stream_message_info: {{stream: LOGINS, encoding: json}}
      register: login
    - name: Runs tasks inside
      choria.streams.choria_governor_run:
        name: SEATS
        tasks:
          - {{ansible.builtin.command: echo PLANTED-inner, register: db_password}}
          - ansible.builtin.fail: {{msg: "neither {{{{ db_password.stdout }}}} nor {{{{ other_password }}}}"}}
            vars: {{other_password: PLANTED-literal}}
      ignore_errors: true
    - name: Shows them
      ansible.builtin.debug:
        msg: "{{{{ hostvars.new.db_password }}}} {{{{ hostvars.other.db_password }}}}
          {{{{ ansible_facts.ansible_local.app.db_password }}}} {{{{ ansible_facts.env.APP_SECRET }}}}
          {{{{ login.messages[0].data.access_token }}}}"
"""


def test_secrets_inside_of_results(make_server: MakeServer, tmp_path: Path) -> None:
    """Variables of added hosts and inner tasks, facts of the site, and keys inside of results are checked as others."""
    server = make_server()
    declare(server)
    (tmp_path / "app.fact").write_text('{"db_password": "PLANTED-of-site"}')
    run_playbook(
        [
            {
                "hosts": "all",
                "gather_facts": False,
                "tasks": [
                    {"choria.streams.choria_stream": {"name": "LOGINS", "subjects": ["login"]}},
                    {"choria.streams.choria_governor": {"name": "SEATS", "capacity": 1, "expire": "1m"}},
                    {
                        "choria.streams.choria_stream_message": {
                            "subject": "login",
                            "data": {"access_token": "PLANTED-login"},
                            "encoding": "json",
                        }
                    },
                ],
            }
        ],
        env={"CHORIA_STREAMS_SERVERS": server.url},
    ).check()
    run_playbook(INSIDE.format(folder=tmp_path), env=environment(server)).check()
    results = {data["task"]["name"]: data for data in of_kind(events(server), "task_result")}
    assert results["Shows them"]["msg"] == "(masked) (masked) (masked) (masked) (masked)"
    assert results["Runs tasks inside"]["msg"].endswith("failed: neither (masked) nor (masked)")
