# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The credential type for AWX: AWX's own code injects it, and playbooks run in the environment that AWX gives them."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from awx_plugins.interfaces._temporary_private_api import ManagedCredentialType
from awx_plugins.interfaces._temporary_private_credential_api import Credential
from awx_plugins.interfaces._temporary_private_inject_api import inject_credential

from support import ROOT
from support.credentials import Operator
from support.playbook import run_playbook
from support.run_events import declare, environment, events
from support.server import NatsServer
from support.tls import Authority

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import MakeServer

pytestmark = pytest.mark.once

FILES = ROOT / "playbooks" / "files" / "awx"
PLAYBOOK = ROOT / "playbooks" / "awx_credential_type.yml"
SECRET = "secret-of-the-credential"


def read(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((FILES / name).read_text()))


def injected(folder: Path, **inputs: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return the environment that AWX makes of a credential, and the part that AWX displays."""
    kind = ManagedCredentialType(
        namespace="choria_streams",
        name="Choria Streams",
        kind="cloud",
        inputs=read("inputs.yml"),
        injectors=read("injectors.yml"),
    )
    given: dict[str, Any] = {}
    shown: dict[str, Any] = {}
    (folder / "env").mkdir()
    inject_credential(kind, Credential(dict(inputs)), given, shown, [], str(folder))
    # In the container of a job, the folder is /runner
    return {name: str(value).replace("/runner/", f"{folder}/") for name, value in given.items()}, shown


def by_password(folder: Path) -> tuple[dict[str, Any], dict[str, str]]:
    return {"authorization": {"user": "ann", "password": SECRET}}, {"user": "ann", "password": SECRET}


def by_token(folder: Path) -> tuple[dict[str, Any], dict[str, str]]:
    return {"authorization": {"token": SECRET}}, {"token": SECRET}


def by_creds(folder: Path) -> tuple[dict[str, Any], dict[str, str]]:
    operator = Operator.make(folder)
    return operator.server_config, {"creds": operator.creds.read_text()}


def by_tls(folder: Path) -> tuple[dict[str, Any], dict[str, str]]:
    authority = Authority(folder)
    config = authority.issue("server").server_config()
    return {**config, "authorization": {"token": SECRET}}, {"ca": authority.path.read_text(), "token": SECRET}


@pytest.mark.parametrize("login", [by_password, by_token, by_creds, by_tls])
def test_plugins_and_modules_log_in_with_the_credential(
    login: Callable[[Path], tuple[dict[str, Any], dict[str, str]]], tmp_path: Path
) -> None:
    config, inputs = login(tmp_path)
    (tmp_path / "private").mkdir()
    with NatsServer(config) as server:
        given, shown = injected(tmp_path / "private", servers=server.url, **inputs)
        tasks = [
            {"choria.streams.choria_kv_bucket": {"name": "AWX"}},
            {"choria.streams.choria_kv": {"bucket": "AWX", "key": "a", "value": "b"}},
            {"ansible.builtin.assert": {"that": "lookup('choria.streams.choria_kv', 'a', bucket='AWX') == 'b'"}},
        ]
        result = run_playbook([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}], env=given)
    assert result.rc == 0, result.output
    secrets = [value for name, value in inputs.items() if name != "user" and name != "ca"]
    assert secrets
    assert [value for value in secrets if value in json.dumps(shown)] == []


class Awx(BaseHTTPRequestHandler):
    """The credential types of AWX's API."""

    def do_GET(self) -> None:
        wanted = parse_qs(urlsplit(self.path).query)["name"][0]
        found = [kind for kind in self.server.kinds if kind["name"] == wanted]  # type: ignore[attr-defined]
        self._answer(200, {"count": len(found), "results": found})

    def do_POST(self) -> None:
        kinds = self.server.kinds  # type: ignore[attr-defined]
        kinds.append({"id": len(kinds) + 1, **self._body()})
        self._answer(201, kinds[-1])

    def do_PATCH(self) -> None:
        number = int(self.path.rstrip("/").rpartition("/")[2])
        kind = self.server.kinds[number - 1]  # type: ignore[attr-defined]
        kind.update(self._body())
        self._answer(200, kind)

    def _body(self) -> dict[str, Any]:
        return dict(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def _answer(self, status: int, content: dict[str, Any]) -> None:
        if self.headers["Authorization"] != f"Bearer {SECRET}" or not self.path.startswith("/api/v2/credential_types/"):
            status, content = 401, {}
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_arguments: Any) -> None:
        """Log nothing: the tests check the requests."""


@pytest.fixture
def awx() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Awx)
    server.kinds = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_playbook_creates_the_credential_type_once(awx: ThreadingHTTPServer) -> None:
    def run(*more: str) -> int:
        host = f"http://127.0.0.1:{awx.server_port}/"
        env = {"CONTROLLER_HOST": host, "CONTROLLER_OAUTH_TOKEN": SECRET}
        result = run_playbook(PLAYBOOK, env=env, args=list(more))
        assert result.rc == 0, result.output
        assert SECRET not in result.output
        return sum(task.changed for task in result.tasks)

    kinds = awx.kinds  # type: ignore[attr-defined]
    assert (run("--check"), kinds) == (1, [])
    assert (run(), len(kinds)) == (1, 1)
    assert kinds[0]["name"] == "Choria Streams"
    assert kinds[0]["inputs"] == read("inputs.yml")
    assert kinds[0]["injectors"] == read("injectors.yml")
    assert run() == 0
    kinds[0]["injectors"]["env"]["CHORIA_STREAMS_USER"] = "somebody else"
    assert run() == 1
    assert kinds[0]["injectors"] == read("injectors.yml")


def test_playbook_needs_host_and_token() -> None:
    result = run_playbook(PLAYBOOK, env={"CONTROLLER_HOST": "", "CONTROLLER_OAUTH_TOKEN": ""})
    assert result.rc == 2
    assert "Give the URL of AWX as awx_credential_type_host" in result.output


def test_run_in_the_environment_of_a_job(make_server: MakeServer) -> None:
    """The variables are those that AWX sets for each job."""
    server = make_server()
    declare(server)
    job = {
        "AWX_HOST": "https://awx.example.net",
        "INVENTORY_ID": "2",
        "JOB_ID": "421",
        "MAX_EVENT_RES": "700000",
        "PROJECT_REVISION": "4f2a1c9",
        "ANSIBLE_RETRY_FILES_ENABLED": "False",
    }
    extra = {"awx_job_id": 421, "awx_job_template_name": "Patch", "awx_user_name": "ann", "tower_job_id": 421}
    play = [{"hosts": "localhost", "gather_facts": False, "tasks": [{"ansible.builtin.debug": {"msg": "a"}}]}]
    result = run_playbook(play, env=environment(server, **job), extra_vars=extra)
    assert result.rc == 0, result.output
    started = events(server)[0]["data"]
    assert started["job"] == {
        "system": "awx",
        "id": "421",
        "url": "https://awx.example.net/#/jobs/playbook/421",
    }
