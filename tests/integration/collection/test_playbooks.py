# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Each playbook of the collection works with a server that is configured only in the section [choria_streams] of
ansible.cfg.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml

from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from ansible_collections.choria.streams.plugins.module_utils._options.connection import NAMES
from support import ROOT, runs
from support.connect import settings
from support.playbook import run_playbook
from support.server import NatsServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.once

PLAYBOOKS = sorted(path.stem for path in (ROOT / "playbooks").glob("*.yml"))
CALLBACKS = {"ANSIBLE_CALLBACKS_ENABLED": "task_results,choria.streams.choria_results"}


@pytest.fixture
def server() -> Iterator[NatsServer]:
    """A server with a password, so that more than its address has to be passed on."""
    with NatsServer("authorization { user: ann, password: 'pa$$ word, =\"x\"' }") as server:
        yield server


def configured(server: NatsServer, **more: str) -> str:
    given = {"servers": server.url, "user": "ann", "password": 'pa$$ word, ="x"', **more}
    return "[choria_streams]\n" + "".join(f"{name} = {value}\n" for name, value in given.items())


def run(name: str, config: str, folder: Path, **extra: Any) -> Any:
    env = {**CALLBACKS, "XDG_STATE_HOME": str(folder)}
    return run_playbook(ROOT / "playbooks" / f"{name}.yml", config=config, env=env, extra_vars=extra)


def test_all_playbooks_are_tried() -> None:
    # awx_credential_type connects only to AWX
    assert [name for name in PLAYBOOKS if name != "awx_credential_type"] == [
        "quickstart",
        "results_journal",
        "run_report",
    ]


def test_all_options_are_passed_on() -> None:
    found = yaml.safe_load((ROOT / "playbooks" / "vars" / "configured.yml").read_text())
    assert found["configured_options"] == list(NAMES)


def test_quickstart(server: NatsServer, tmp_path: Path) -> None:
    result = run("quickstart", configured(server), tmp_path).check()
    assert result.stats["first-run"]["changed"] == 6
    assert "pa$$" not in result.output


def test_run_report(server: NatsServer, tmp_path: Path) -> None:
    with Session(settings(servers=server.url, user="ann", password='pa$$ word, ="x"')) as session:
        runs.declare(session)
        runs.store(session, runs.whole_run("run", [("web1", "ok")]))
    page = tmp_path / "page.html"
    result = run("run_report", configured(server), tmp_path, run_report_dest=str(page)).check()
    assert [found["run_id"] for found in result.task("Write the page").result["runs"]] == ["run"]
    assert page.exists()


def test_results_journal(server: NatsServer, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    config = configured(server, results_spool=str(spool))
    # The stream does not exist, so the events of this run are written to disk
    play = [{"hosts": "localhost", "gather_facts": False, "tasks": [{"ansible.builtin.meta": "noop"}]}]
    run_playbook(play, config=config, env=CALLBACKS)
    assert list(spool.iterdir())
    result = run("results_journal", config, tmp_path).check()
    found = result.task("Check the journals").result
    assert found["spool"] == str(spool)
    assert found["journals"]
