# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files and folders that the user of a task may not use: modules name them, and report no bug."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from support.in_process import Outcome, run_module
from support.machines import GOOD

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.server import NatsServer

NOBODY = 65534
# {closed} is a folder that only its owner may enter, {open} one of the same owner that all may read
TASKS: list[tuple[str, dict[str, Any]]] = [
    ("choria_backup_info", {"path": "{closed}/backups"}),
    ("choria_restore", {"path": "{closed}/backups", "stream": "NEW"}),
    ("choria_kv_sync", {"bucket": "B", "src": "{closed}/folder"}),
    ("choria_kv_sync", {"bucket": "B", "dest": "{closed}/folder"}),
    ("choria_kv_sync", {"bucket": "B", "dest": "{open}/file/folder"}),
    ("choria_machine", {"store": "{closed}", "state": "purged", "keep": ["A"]}),
    ("choria_machine", {"store": "{closed}", "state": "absent", "name": "AGENT"}),
    ("choria_config", {"path": "{open}/client.conf", "settings": {"loglevel": "info"}}),
    ("choria_config", {"path": "{closed}/client.conf", "settings": {"loglevel": "info"}}),
    ("choria_credentials", {"folder": "{closed}/keys", "client_tokens": [{"name": "a"}]}),
]


# {theirs} belongs to the user of the task, and holds something of another one, {sticky} too, in which each user may
# only remove what is theirs
WRITES: list[tuple[str, dict[str, Any]]] = [
    ("choria_config", {"path": "{open}/client.conf", "settings": {"loglevel": "info"}}),
    ("choria_config", {"path": "{open}/file", "settings": {"loglevel": "info"}}),
    ("choria_config", {"path": "{open}/file", "state": "absent"}),
    ("choria_config", {"path": "{sticky}/file", "settings": {"loglevel": "info"}}),
    ("choria_credentials", {"folder": "{open}", "client_tokens": [{"name": "a"}]}),
    ("choria_credentials", {"folder": "{open}", "certificates": [{"name": "a"}]}),
    ("choria_machine", {"store": "{open}", "name": "NEW", "definition": GOOD["a key and a command"]}),
    ("choria_machine", {"store": "{open}", "name": "folder", "state": "absent"}),
    ("choria_machine", {"store": "{theirs}", "name": "folder", "state": "absent"}),
    ("choria_machine", {"store": "{theirs}", "state": "purged", "keep": ["other"]}),
    ("choria_kv_sync", {"bucket": "B", "dest": "{open}"}),
    ("choria_kv_sync", {"bucket": "B", "dest": "{open}", "separator": "/"}),
    ("choria_kv_sync", {"bucket": "B", "dest": "{theirs}", "prune": True}),
    ("choria_kv_sync", {"bucket": "B", "dest": "{sticky}", "prune": True}),
    ("choria_backup", {"bucket": "B", "path": "{open}"}),
    ("choria_backup", {"streams": ["KV_B"], "path": "{open}"}),
]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder below /tmp, whose parents all users may enter."""
    made = Path(tempfile.mkdtemp(prefix="others-", dir="/tmp"))
    for name in ("open", "closed", "theirs", "sticky"):
        (made / name).mkdir()
        (made / name / "folder").mkdir()
    for name in ("open/file", "sticky/file", "theirs/folder/machine.yaml"):
        (made / name).touch()
        (made / name).chmod(0o644)
    (made / "sticky").chmod(0o1777)
    if os.geteuid() == 0:
        os.chown(made / "theirs", NOBODY, NOBODY)
    else:
        (made / "theirs" / "folder").chmod(0o555)
    made.chmod(0o755)
    (made / "closed").chmod(0o700 if os.geteuid() == 0 else 0)
    (made / "open").chmod(0o555)
    yield made
    for path in (*made.iterdir(), made / "theirs" / "folder"):
        path.chmod(0o700)
    shutil.rmtree(made)


def by_another(name: str, task: dict[str, Any], *, check_mode: bool = False) -> Outcome:
    """Run a module as a user who owns nothing, if this process may."""
    run_module(name, {})  # imports all that it needs
    if os.geteuid() != 0:
        return run_module(name, task, check_mode=check_mode)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        outcome = run_module(name, task, check_mode=check_mode)
        os.write(writer, json.dumps([outcome.result, outcome.raised]).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        result, raised = json.loads(answer.read())
    os.waitpid(child, 0)
    return Outcome(0.0, result, raised)


def filled(name: str, task: dict[str, Any], folder: Path, server: NatsServer) -> dict[str, Any]:
    """Return a task with its folders, and with a server that has a bucket with a key."""
    connection = {"servers": [server.url]}
    run_module("choria_kv_bucket", {**connection, "name": "B"})
    run_module("choria_kv", {**connection, "bucket": "B", "key": "folder.key", "value": "x"})
    text = json.dumps(task)
    for place in ("closed", "open", "theirs", "sticky"):
        text = text.replace(f"{{{place}}}", str(folder / place))
    connects = name in ("choria_kv_sync", "choria_restore", "choria_backup")
    return {**json.loads(text), **(connection if connects else {})}


def content(folder: Path) -> dict[str, float]:
    return {str(path): path.lstat().st_mtime_ns for path in (folder, *folder.rglob("*"))}


@pytest.mark.once
@pytest.mark.parametrize(("name", "task"), WRITES)
def test_check_mode_refuses_what_a_run_refuses(
    name: str, task: dict[str, Any], folder: Path, nats_server: NatsServer
) -> None:
    given, before = filled(name, task, folder, nats_server), content(folder)
    outcomes = [by_another(name, given, check_mode=check_mode) for check_mode in (True, False)]
    for outcome in outcomes:
        assert outcome.failed and not outcome.raised, outcome
        assert str(folder) in outcome.message
        assert "Permission denied" in outcome.message or "Operation not permitted" in outcome.message
        assert outcome.result["failure"]["code"] != "bug"
        assert not outcome.result["changed"]
    assert outcomes[0].message == outcomes[1].message
    assert content(folder) == before


@pytest.mark.once
@pytest.mark.parametrize(("name", "task"), TASKS, ids=json.dumps)
def test_they_are_named(name: str, task: dict[str, Any], folder: Path, nats_server: NatsServer) -> None:
    outcome = by_another(name, filled(name, task, folder, nats_server))
    assert outcome.failed and not outcome.raised, outcome
    assert str(folder) in outcome.message and outcome.result["failure"]["code"] != "bug", outcome
    assert not outcome.result["changed"]
