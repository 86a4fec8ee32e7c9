# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Connection options that are unset in any way or set in several places, and sessions that end without output."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from ansible_collections.choria.streams.plugins.module_utils._api import messages, streams
from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from ansible_collections.choria.streams.plugins.module_utils._errors import NoAnswer
from ansible_collections.choria.streams.plugins.module_utils._operations.kv.reader import KvReader
from support.connect import settings
from support.playbook import run_playbook

if TYPE_CHECKING:
    from conftest import MakeServer

pytestmark = pytest.mark.once

UNSET = """
- hosts: localhost
  gather_facts: false
  vars:
    choria_streams_token: "{{{{ '' | default(omit, true) }}}}"
    choria_streams_creds: ""
    choria_streams_user: null
  tasks:
    - ansible.builtin.assert:
        that: lookup('choria.streams.choria_kv', 'B/k', domain=omit, seed='') == 'v'
    - choria.streams.choria_governor_run:
        name: G
        token: "{{{{ '' | default(omit, true) }}}}"
        ca_path: ''
        tls_first: ''
        task: {{ansible.builtin.debug: {{msg: hi}}}}
    - choria.streams.choria_kv: {{bucket: B, key: k, value: v, servers: "{url}", token: '', ca_path: '',
        validate_certs: '', timeout: '', tls_first: '', user: null}}
    - choria.streams.choria_kv: {{bucket: B, key: k, value: v}}
      register: unconfigured
      ignore_errors: true
    - ansible.builtin.assert:
        that: "'Modules do not read ansible.cfg' in unconfigured.msg"
"""
QUIET = """
import gc, sys, time
from ansible_collections.choria.streams.plugins.module_utils._api import lists
from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from ansible_collections.choria.streams.plugins.module_utils._connection.settings import Settings
with Session(Settings.from_options({"servers": [sys.argv[1]]}.get)) as session:
    for pause in (3.5, 3.5, 0):
        assert lists.stream_names(session) == []
        time.sleep(pause)
gc.collect()
"""


def test_not_set_in_any_way(make_server: MakeServer, tmp_path: Path) -> None:
    server = make_server()
    with Session(settings(servers=server.url)) as session:
        streams.create(session, {"name": "KV_B", "subjects": ["$KV.B.>"], "allow_direct": True})
        seats = {"max_msgs": 1, "max_age": 60 * 10**9, "discard": "new"}
        streams.create(session, {"name": "GOVERNOR_G", "subjects": ["mcollective.governor.G"], **seats})
        messages.publish(session, "Filling", "$KV.B.k", b"v")
    (tmp_path / "ansible.cfg").write_text(f"[choria_streams]\nservers={server.url}\nca_path=\ntoken=\n")
    (tmp_path / "play.yml").write_text(UNSET.format(url=server.url))
    empty = dict.fromkeys(("CLIENT_CERT", "TLS_FIRST", "VALIDATE_CERTS", "CA_PATH"), "")
    environment = {
        **os.environ,
        **{f"CHORIA_STREAMS_{name}": value for name, value in empty.items()},
        "ANSIBLE_CONFIG": str(tmp_path / "ansible.cfg"),
        "ANSIBLE_COLLECTIONS_PATH": str(Path(".build").resolve()),
        "HOME": str(tmp_path),
    }
    program = Path(sys.executable).parent / "ansible-playbook"
    done = subprocess.run(
        [program, "play.yml"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


PRECEDENCE = """
- hosts: localhost
  gather_facts: false
  tasks:
    - name: Read a key, and wait for a seat
      choria.streams.choria_governor_run:
        name: G
        task:
          ansible.builtin.debug:
            msg: "{{ lookup('choria.streams.choria_kv', 'k', bucket='B') }}"
"""


@pytest.mark.parametrize("own", ["ansible.cfg", "CHORIA_STREAMS_SERVERS"])
def test_plugins_prefer_their_own_servers_to_those_of_other_programs(
    make_server: MakeServer, tmp_path: Path, own: str
) -> None:
    server = make_server()
    with Session(settings(servers=server.url)) as session:
        streams.create(session, {"name": "KV_B", "subjects": ["$KV.B.>"], "allow_direct": True})
        streams.create(
            session, {"name": "GOVERNOR_G", "subjects": ["mcollective.governor.G"], "max_msgs": 1, "discard": "new"}
        )
        messages.publish(session, "Filling", "$KV.B.k", b"the value")
    config = f"[choria_streams]\nservers = {server.url}\n" if own == "ansible.cfg" else ""
    done = run_playbook(
        yaml.safe_load(PRECEDENCE),
        env={"NATS_URL": "nats://127.0.0.1:1", **({} if config else {own: server.url})},
        config=config,
    )
    assert "the value" in str(done.check().task("Read a key, and wait for a seat").result)


def test_a_session_that_was_hung_up_on_ends_quietly(make_server: MakeServer) -> None:
    server = make_server({"ping_interval": "1s", "ping_max": 1})
    done = subprocess.run([sys.executable, "-c", QUIET, server.url], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert server.monitor("varz")["total_connections"] == 3


def test_a_domain_that_is_cut_off(make_server: MakeServer) -> None:
    """Nobody answers there, which does not mean that the bucket is missing."""
    with Session(settings(servers=make_server().url, domain="mars"), read_only=True) as session:
        reader = KvReader(session)
        for read in (lambda: reader.last({"B": ["k"]}), lambda: reader.below("B", "")):
            with pytest.raises(NoAnswer, match=r"Nobody answers at the JetStream API prefix \$JS\.mars\.API.*cut off"):
                read()
