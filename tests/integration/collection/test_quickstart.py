# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The quickstart as `make quickstart` runs it, with the ansible-core under test, and the short name of the lookup."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from ansible_collections.choria.streams.plugins.module_utils._api import messages, streams
from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from ansible_collections.choria.streams.plugins.module_utils._connection.settings import Settings
from support import ROOT
from support.playbook import run_playbook

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import MakeServer

FLEET = ["web1", "web2", "web3", "web4", "web5", "web6"]
PLAYBOOK = ROOT / "playbooks" / "quickstart.yml"
CONFIG = ROOT / "playbooks" / "quickstart.cfg"


def test_quickstart(make_server: MakeServer, short_path: Path) -> None:
    server = make_server()
    result = run_playbook(
        PLAYBOOK,
        config=CONFIG.read_text(),
        env={
            "CHORIA_STREAMS_SERVERS": server.url,
            # The environment of the tests sets it too, and overrides ansible.cfg
            "ANSIBLE_CALLBACKS_ENABLED": "task_results,choria.streams.choria_results",
            "TMPDIR": str(short_path),
        },
    ).check()

    assert result.stats["first-run"]["changed"] == 6
    assert result.stats["second-run"]["changed"] == 0
    assert list(short_path.iterdir()) == []
    assert "tooManySecrets" not in result.output
    assert "[WARNING]" not in result.output

    summary = result.task("Show what happened").result["msg"]
    assert "Bucket CFG has 2 values, and keeps the last 5 of each key" in summary
    assert "At most 2 hosts had a seat at once" in summary
    assert "The declarations made 6 changes in the first run, and 0 in the second" in summary
    seats = [re.match(r"(\w+) waited [\d.]+ s, and had seat \d of PUPPET", line) for line in summary]
    assert sorted(match[1] for match in seats if match) == FLEET
    # ansible-core before 2.21 folds longer lines
    assert max(len(line) for line in summary) <= 78

    with Session(Settings(servers=(server.url,))) as session:
        info = streams.info(session, "ANSIBLE_RUNS")
        assert info
        last = messages.get(session, "ANSIBLE_RUNS", sequence=info["state"]["messages"])
    assert last
    finished = json.loads(last.data)["data"]
    assert finished["outcome"] == "succeeded"
    assert finished["events"] == info["state"]["messages"]
    assert f"{finished['events']} events in stream ANSIBLE_RUNS" in result.stderr


def test_configuration_turns_the_callback_on() -> None:
    assert "callbacks_enabled = choria.streams.choria_results" in CONFIG.read_text()
    assert "ANSIBLE_CONFIG=playbooks/quickstart.cfg" in (ROOT / "Makefile").read_text()


def test_lookup_by_its_short_name(make_server: MakeServer) -> None:
    """Short names work with lookup_plugins, as in the README."""
    playbook = """
- hosts: localhost
  gather_facts: false
  tasks:
    - name: A bucket
      choria.streams.choria_kv_bucket:
        name: CFG
    - name: Look up
      ansible.builtin.debug:
        msg: "{{ lookup('choria_kv', 'auth.username', bucket='CFG', default='nobody') }}"
"""
    lookups = ROOT / ".build" / "ansible_collections" / "choria" / "streams" / "plugins" / "lookup"
    config = f"[defaults]\nlookup_plugins = {lookups}\n"
    result = run_playbook(playbook, config=config, env={"CHORIA_STREAMS_SERVERS": make_server().url}).check()
    assert result.task("Look up").message == "nobody"
