# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role's backup script runs with a real broker, and choria_restore restores its backups."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from ansible_collections.choria.streams.plugins.module_utils._api import streams
from support import ROOT
from support.choria import find_choria
from support.manage import Manager
from support.playbook import run_playbook

if TYPE_CHECKING:
    from pathlib import Path

    from support.choria import ChoriaBroker, ChoriaClient

ROLE = ROOT / "roles" / "choria"
TEMPLATE = ROLE / "templates" / "backup.sh.j2"
VARS = yaml.safe_load((ROLE / "vars" / "main.yml").read_text())
NAMES = ("ORDERS", "EMPTY")


@pytest.fixture(scope="module")
def admin(jwt_broker: ChoriaBroker) -> ChoriaClient:
    return jwt_broker.client("nightly", "--stream-admin", "--stream-user", "--service")


def backup(admin: ChoriaClient, folder: Path, *names: str, keep: int = 2) -> subprocess.CompletedProcess[str]:
    entry = {
        "name": "night",
        "streams": list(names),
        "path": str(folder / "to"),
        "keep": keep,
        "config": str(admin.config),
    }
    variables: dict[str, Any] = {
        "_choria_unit_header": "#",
        "_choria_program": str(find_choria()),
        "_choria_as_client": trust_as_template(VARS["_choria_as_client"]),
        "_choria_client_config": entry["config"],
        "backup": entry,
    }
    script = folder / "night"
    script.write_text(
        Templar(DataLoader(), variables=variables).template(
            trust_as_template(TEMPLATE.read_text().replace("{#", "", 1).split("#}\n", 1)[1])
        )
    )
    script.chmod(0o700)
    (folder / "to").mkdir(mode=0o700, exist_ok=True)
    return subprocess.run([str(script)], capture_output=True, text=True, check=False, timeout=60)


def kept(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "to").iterdir())


def restore(admin: ChoriaClient, folder: Path) -> dict[str, Any]:
    task = {
        "name": "it",
        "choria.streams.choria_restore": {
            "choria_config": str(admin.config),
            "path": str(folder / "to" / kept(folder)[-1]),
            "streams": ["ORDERS"],
        },
    }
    return run_playbook([{"hosts": "localhost", "gather_facts": False, "tasks": [task]}]).check().task("it").result


def test_backups_of_the_script_are_restored(admin: ChoriaClient, tmp_path: Path) -> None:
    with Manager(choria_config=str(admin.config)) as manager:
        for name in NAMES:
            streams.create(manager.session, {"name": name, "subjects": [f"{name.lower()}.>"]})
        done = backup(admin, tmp_path, *NAMES)
        assert done.returncode == 0, done.stderr
        [made] = kept(tmp_path)
        assert sorted(path.name for path in (tmp_path / "to" / made).iterdir()) == sorted(NAMES)
        streams.delete(manager.session, "ORDERS")
        assert restore(admin, tmp_path)["changed"]


def test_keep_limits_the_backups_and_a_failed_run_leaves_none(admin: ChoriaClient, tmp_path: Path) -> None:
    with Manager(choria_config=str(admin.config)) as manager:
        streams.delete(manager.session, "KEPT")
        streams.create(manager.session, {"name": "KEPT", "subjects": ["kept.>"]})
    old = [f"night-2020010{day}T000000Z" for day in (1, 2, 3)]
    other = ["night-2-20200101T000000Z", "week-20200101T000000Z", "night-notes"]
    for name in (*old, *other):
        (tmp_path / "to" / name).mkdir(parents=True)
    failed = backup(admin, tmp_path, "KEPT", "NOTHERE")
    assert failed.returncode != 0
    assert {name for name in kept(tmp_path) if name != ".night"} == {*old, *other}
    assert backup(admin, tmp_path, "KEPT").returncode == 0
    assert len(kept(tmp_path)) == len(other) + 2
    assert {*other, old[-1]} < set(kept(tmp_path))
