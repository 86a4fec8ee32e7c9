# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Backups that the program writes and the modules restore, and the other way round."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.choria.streams.plugins.module_utils._api import messages, streams
from ansible_collections.choria.streams.plugins.module_utils._connection.wire import Request
from support.filling import publish_many
from support.manage import Manager
from support.playbook import run_playbook

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.choria import ChoriaBroker, ChoriaClient

COUNT = 500


@pytest.fixture(scope="module")
def admin(jwt_broker: ChoriaBroker) -> ChoriaClient:
    return jwt_broker.client("keeper", "--stream-admin", "--stream-user", "--publish", "orders.>", "--service")


@pytest.fixture
def manager(admin: ChoriaClient) -> Iterator[Manager]:
    with Manager(choria_config=str(admin.config)) as made:
        yield made


def fill(manager: Manager) -> list[Any]:
    """Create a stream with messages and a consumer. Return the messages."""
    session = manager.session
    streams.delete(session, "ORDERS")
    streams.create(session, {"name": "ORDERS", "subjects": ["orders.>"]})
    for answer in publish_many(session, "Filling", (Request(f"orders.{n % 3}", b"x" * n) for n in range(COUNT))):
        assert isinstance(answer, dict)
    messages.delete(session, "ORDERS", 5)
    config = {"durable_name": "billing", "ack_policy": "explicit"}
    session.request(
        session.api("CONSUMER.DURABLE.CREATE.ORDERS.billing"),
        json.dumps({"stream_name": "ORDERS", "config": config}).encode(),
    )
    return content(manager)


def content(manager: Manager) -> list[Any]:
    return [messages.get(manager.session, "ORDERS", sequence=number) for number in range(1, COUNT + 1)]


def run(admin: ChoriaClient, module: str, **given: Any) -> dict[str, Any]:
    connection = {} if module == "choria_backup_info" else {"choria_config": str(admin.config)}
    task = {"name": "it", f"choria.streams.{module}": {**connection, **given}}
    result = run_playbook([{"hosts": "localhost", "gather_facts": False, "tasks": [task]}]).check()
    return result.task("it").result


def consumers(manager: Manager) -> list[str]:
    session = manager.session
    return list(json.loads(session.request(session.api("CONSUMER.NAMES.ORDERS"), b"{}").data)["consumers"])


def test_the_program_restores_ours(admin: ChoriaClient, manager: Manager, tmp_path: Path) -> None:
    before = fill(manager)
    made = run(admin, "choria_backup", stream="ORDERS", path=str(tmp_path))["backup"]
    streams.delete(manager.session, "ORDERS")
    admin.run("broker", "stream", "restore", made["path"], "--no-progress")
    assert content(manager) == before
    assert consumers(manager) == ["billing"]
    assert not run(admin, "choria_restore", path=made["path"])["changed"]


def test_we_restore_the_programs(admin: ChoriaClient, manager: Manager, tmp_path: Path) -> None:
    before = fill(manager)
    path = tmp_path / "theirs"
    admin.run("broker", "stream", "backup", "ORDERS", path, "--consumers", "--no-progress")
    assert sorted(entry.name for entry in path.iterdir()) == ["backup.json", "stream.tar.s2"]
    backups = run(admin, "choria_backup_info", path=str(path))["backups"]
    assert [(one["stream"], one["messages"], one["verified"], one["created"]) for one in backups] == [
        ("ORDERS", COUNT - 1, True, None)
    ]
    streams.delete(manager.session, "ORDERS")
    done = run(admin, "choria_restore", path=str(path))
    assert done["changed"] and done["stream"]["consumers"] == ["billing"]
    assert content(manager) == before


def test_we_restore_an_account(admin: ChoriaClient, manager: Manager, tmp_path: Path) -> None:
    """The program makes a folder for each stream."""
    before = fill(manager)
    streams.delete(manager.session, "KV_THEIRS")
    streams.create(manager.session, {"name": "KV_THEIRS", "subjects": ["$KV.THEIRS.>"]})
    manager.session.request("$KV.THEIRS.a", b"x")
    path = tmp_path / "account"
    admin.run("broker", "account", "backup", "--force", path)
    backups = {one["stream"]: one for one in run(admin, "choria_backup_info", path=str(path))["backups"]}
    assert backups["ORDERS"]["messages"] == COUNT - 1 and backups["KV_THEIRS"]["bucket"] == "THEIRS"
    for name in ("ORDERS", "KV_THEIRS"):
        streams.delete(manager.session, name)
    done = run(admin, "choria_restore", path=str(path), streams=["ORDERS", "KV_T*"])
    assert [(one["name"], one["messages"]) for one in done["streams"]] == [("KV_THEIRS", 1), ("ORDERS", COUNT - 1)]
    assert content(manager) == before
    assert consumers(manager) == ["billing"]
