# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Backups of several streams at once, as a set, and restores of the folders that ``nats account backup`` writes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.choria.streams.plugins.module_utils._api import lists, streams
from ansible_collections.choria.streams.plugins.module_utils._api import stream_snapshot as snapshot
from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from ansible_collections.choria.streams.plugins.module_utils._errors import StreamsError
from ansible_collections.choria.streams.plugins.module_utils._operations.backup import backup as backup_service
from support.backups import backup, consume, fill, known, refusal, restore
from support.connect import settings
from support.filling import delete_streams

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.server import NatsServer

pytestmark = pytest.mark.once


@pytest.fixture
def session(server: NatsServer) -> Iterator[Session]:
    """A session with a server that has three streams, one of them a bucket."""
    with Session(settings(servers=server.url)) as session:
        for name in ("ORDERS", "BILLS"):
            fill(session, name, 20)
        consume(session, "ORDERS", "billing", 5)
        streams.create(session, {"name": "KV_CFG", "subjects": ["$KV.CFG.>"]})
        session.request("$KV.CFG.a", b"x")
        yield session
        server.wait_removed()
        delete_streams(session)


def sets_of(folder: Path) -> list[dict[str, Any]]:
    return list(backup_service.backups_of({"path": str(folder)}, False)["sets"])


def test_all_and_back(session: Session, tmp_path: Path) -> None:
    foreseen = backup(session, tmp_path, True, streams=["*"])
    assert foreseen["changed"] and not list(tmp_path.iterdir())
    made = backup(session, tmp_path, streams=["*"])
    assert [one["stream"] for one in made["backups"]] == ["BILLS", "KV_CFG", "ORDERS"]
    assert len(foreseen["changes"]) == len(made["changes"]) == 3
    [listed] = sets_of(tmp_path)
    assert (listed["path"], listed["streams"], listed["verified"]) == (made["set"], ["BILLS", "KV_CFG", "ORDERS"], True)
    again = backup(session, tmp_path, streams=["*"])
    assert (again["changed"], again["set"], again["backups"]) == (False, made["set"], made["backups"])

    delete_streams(session)
    foreseen = restore(session, made["set"], True)
    assert lists.stream_names(session) == []
    done = restore(session, made["set"])
    assert [one["name"] for one in done["streams"]] == ["BILLS", "KV_CFG", "ORDERS"]
    assert foreseen == done and len(done["changes"]) == 3
    assert [one["ack_floor"] for one in backup_service.positions(session, "ORDERS")] == [5]
    assert not restore(session, made["set"])["changed"]
    assert not backup(session, tmp_path, streams=["*"])["changed"]


def test_some_of_them(session: Session, tmp_path: Path) -> None:
    made = backup(session, tmp_path, streams=["ORDERS", "KV_*"])
    assert [one["stream"] for one in made["backups"]] == ["KV_CFG", "ORDERS"]
    error = refusal(backup, session, tmp_path, streams=["ORDERS", "NONE*"])
    assert error.message == "streams: 'NONE*' matches no stream: check the name or pattern, or leave it out."
    delete_streams(session)
    for path in (made["set"], tmp_path):  # a folder means the newest backup of each stream
        done = restore(session, path, streams=["KV_*"])
        assert [one["bucket"] for one in done["streams"]] == ["CFG"]
        assert lists.stream_names(session) == ["KV_CFG"]
        delete_streams(session)
    assert "no backup of a stream that 'X' matches" in refusal(restore, session, tmp_path, streams=["X"]).message
    # If one of the backups can't be restored, none is
    streams.create(session, {"name": "ORDERS", "subjects": ["orders.>"]})
    session.request("orders.a", b"another")
    assert refusal(restore, session, made["set"]).failure["code"] == "exists"
    assert lists.stream_names(session) == ["ORDERS"]


def test_keep(session: Session, tmp_path: Path) -> None:
    """The backup of an unchanged stream belongs to several sets. A set is removed with the first of its backups."""
    first = backup(session, tmp_path, streams=["*"], keep=1)
    session.request("orders.a", b"more")
    second = backup(session, tmp_path, streams=["*"], keep=1)
    assert len(second["changes"]) == 2 and second["set"] != first["set"]
    old = next(one["path"] for one in first["backups"] if one["stream"] == "ORDERS")
    assert second["removed"] == [old, first["set"]]
    assert [one["path"] for one in sets_of(tmp_path)] == [second["set"]]
    assert {one["path"] for one in first["backups"]} - {old} < {one["path"] for one in second["backups"]}


def test_a_set_stays_until_the_next_one_is_there(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last of three backups fails. The set before keeps its backups, and the result reports the new ones."""
    before = backup(session, tmp_path, streams=["*"], keep=1)
    for subject in ("bills.a", "orders.a"):
        session.request(subject, b"more")
    begin = snapshot.snapshot

    def fails(session: Session, stream: str, **given: Any) -> Any:
        if stream == "ORDERS":
            raise StreamsError("No more.", code="of_a_test")
        return begin(session, stream, **given)

    with monkeypatch.context() as patch:
        patch.setattr(snapshot, "snapshot", fails)
        assert refusal(backup, session, tmp_path, streams=["*"], keep=1).result == {"changed": True}
    [listed] = sets_of(tmp_path)
    assert (listed["path"], listed["verified"]) == (before["set"], True)
    after = backup(session, tmp_path, streams=["*"], keep=1)
    assert [one["path"] for one in sets_of(tmp_path)] == [after["set"]]
    assert sorted(one["path"] for one in known(tmp_path)) == sorted(one["path"] for one in after["backups"])


def test_one_of_them_can_not_be_restored(session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody creates the second stream after the first one was restored."""
    made = backup(session, tmp_path, streams=["*"])
    delete_streams(session)
    begin = snapshot.begin_restore

    def late(session: Session, config: Any, state: Any, timeout: float) -> Any:
        if config["name"] == "KV_CFG":
            streams.create(session, {"name": "KV_CFG", "subjects": ["other"]})
        return begin(session, config, state, timeout)

    monkeypatch.setattr(snapshot, "begin_restore", late)
    assert refusal(restore, session, made["set"]).result == {"changed": True}
    assert lists.stream_names(session) == ["BILLS", "KV_CFG"]


def test_a_set_that_is_broken(session: Session, tmp_path: Path) -> None:
    made = backup(session, tmp_path, streams=["*"])
    path, whole = Path(made["set"]), Path(made["set"]).read_text()
    delete_streams(session)
    other = json.loads(whole)
    other["backups"]["ORDERS"] = other["backups"]["BILLS"]
    outside = json.loads(whole)
    outside["backups"]["ORDERS"]["path"] = "../ORDERS"
    for text in ("", "[]", "{}", whole.replace('"version": 1', '"version": 2'), json.dumps(other), json.dumps(outside)):
        path.write_text(text)
        assert refusal(restore, session, path).failure["code"] == "broken_backup"
        [listed] = sets_of(tmp_path)
        assert not listed["verified"] and listed["problem"]
    path.write_text(whole)
    shutil.rmtree(made["backups"][0]["path"])
    assert refusal(restore, session, path).failure["code"] == "broken_backup"
    assert lists.stream_names(session) == []


def test_the_layout_of_an_account_backup(session: Session, tmp_path: Path) -> None:
    """It has a folder for each stream, named like the stream, and no manifest. tests/interop uses the real program."""
    made, account = backup(session, tmp_path / "ours", streams=["*"]), tmp_path / "account"
    for one in made["backups"]:
        shutil.copytree(one["path"], account / one["stream"], ignore=shutil.ignore_patterns("manifest.json"))
    assert sorted(one["stream"] for one in known(account)) == ["BILLS", "KV_CFG", "ORDERS"]
    assert [one["stream"] for one in known(account, bucket="CFG")] == ["KV_CFG"]
    delete_streams(session)
    assert len(restore(session, account, streams=["*"])["streams"]) == 3
    assert not restore(session, account, streams=["*"])["changed"]
