# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""An environment with only the dependencies in meta/execution-environment.yml connects and uses every library.

The session execution-environment installs them from the output of `ansible-builder introspect`. Its programs are
in $EE_BIN.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from support import ROOT
from support.credentials import Operator
from support.ports import free_port
from support.server import NatsServer

BIN = Path(os.environ["EE_BIN"])
BUILD = ROOT / ".build"
TOKEN = "token-of-the-test"


def play(folder: Path, *tasks: dict[str, Any]) -> None:
    """Run tasks with the environment's own ansible-playbook, and fail with its output."""
    playbook = folder / "play.yml"
    playbook.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
    settings = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "PYTHON"))}
    settings.update(ANSIBLE_COLLECTIONS_PATH=str(BUILD), ANSIBLE_CONFIG=str(BUILD / "ansible.cfg"))
    settings.update(PATH=f"{BIN}{os.pathsep}{settings['PATH']}", ANSIBLE_PYTHON_INTERPRETER=str(BIN / "python"))
    command = [str(BIN / "ansible-playbook"), str(playbook)]
    done = subprocess.run(command, env=settings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def declare(**login: Any) -> dict[str, Any]:
    return {"choria.streams.choria_stream": {"name": "EE", "subjects": ["ee.>"], **login}}


def test_login_with_a_token(tmp_path: Path) -> None:
    with NatsServer({"authorization": {"token": TOKEN}}) as server:
        play(tmp_path, declare(servers=server.url, token=TOKEN))


def test_login_with_a_credentials_file(tmp_path: Path) -> None:
    operator = Operator.make(tmp_path)
    with NatsServer(operator.server_config) as server:
        play(tmp_path, declare(servers=server.url, creds=str(operator.creds)))


def test_login_over_a_websocket(tmp_path: Path) -> None:
    port = free_port()
    with NatsServer({"websocket": {"listen": f"127.0.0.1:{port}", "no_tls": True}}):
        play(tmp_path, declare(servers=f"ws://127.0.0.1:{port}"))


def test_yaml_and_queries(tmp_path: Path) -> None:
    bucket = {"name": "EE_KEYS"}
    entry = {"bucket": "EE_KEYS", "key": "a", "value": "{b: [1, 2]}"}
    with NatsServer() as server:
        defaults = {"servers": server.url}
        lookup = "lookup('choria.streams.choria_kv', 'a', bucket='EE_KEYS', format='yaml', query='b[1]', servers=url)"
        play(
            tmp_path,
            {"choria.streams.choria_kv_bucket": {**bucket, **defaults}},
            {"choria.streams.choria_kv": {**entry, **defaults}},
            {"ansible.builtin.assert": {"that": f"{lookup} | int == 2"}, "vars": {"url": server.url}},
        )


@pytest.mark.parametrize("library", ["aiohttp", "cryptography", "dns.resolver", "jmespath", "nats", "nkeys", "yaml"])
def test_library(library: str) -> None:
    subprocess.run([str(BIN / "python"), "-c", f"import {library}"], check=True)
