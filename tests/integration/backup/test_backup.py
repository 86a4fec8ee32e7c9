# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Backups with real servers: the files that are written, the restored streams, and each refusal."""

from __future__ import annotations

import json
import os
import shutil
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.choria.streams.plugins.module_utils._api import consumers, lists, messages, streams
from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from ansible_collections.choria.streams.plugins.module_utils._errors import StreamsError
from ansible_collections.choria.streams.plugins.module_utils._operations.backup import backup as backup_service
from ansible_collections.choria.streams.plugins.module_utils._operations.backup import on_disk
from support.backups import COUNT, backup, consume, content, fill, known, refusal, restore
from support.cluster import nats_cluster
from support.connect import settings
from support.filling import delete_streams
from support.infos import stream_info
from support.killing import killed
from support.server import NatsServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import MakeServer

pytestmark = pytest.mark.once

VERSIONS = {"new": None, "before": "2.14", "old": "2.10"}
# Parts of a snapshot's contents: messages, or the server's files with the name of the stream
MESSAGES = ("new",)


@pytest.fixture(scope="module", params=list(VERSIONS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def server(kind: str) -> Iterator[NatsServer]:
    with NatsServer(version=VERSIONS[kind]) as running:
        yield running


@pytest.fixture
def session(server: NatsServer) -> Iterator[Session]:
    """A session with a server that has no streams."""
    with Session(settings(servers=server.url)) as session:
        server.wait_removed()
        delete_streams(session)
        yield session


# Writing backups


def test_a_backup_and_back(session: Session, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "backups"
    fill(session)
    messages.delete(session, "ORDERS", 7)
    consume(session, "ORDERS", "billing", 5)
    before = content(session, "ORDERS")

    foreseen = backup(session, folder, True, stream="ORDERS")
    assert foreseen["changed"] and foreseen["backup"] is None and not folder.exists()
    made = backup(session, folder, stream="ORDERS")
    path = Path(made["backup"]["path"])
    assert made["changed"] and path.parent == folder and path.name.startswith("ORDERS-20")
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in path.iterdir()} == dict.fromkeys(
        ("stream.tar.s2", "backup.json", "manifest.json"), 0o600
    )
    shown = {
        key: made["backup"][key] for key in ("stream", "messages", "first_seq", "last_seq", "consumers", "verified")
    }
    assert shown == {
        "stream": "ORDERS",
        "messages": COUNT - 1,
        "first_seq": 1,
        "last_seq": COUNT,
        "consumers": ["billing"],
        "verified": True,
    }
    assert known(folder) == [made["backup"]]

    again = backup(session, folder, stream="ORDERS")
    assert (again["changed"], again["backup"]) == (False, made["backup"])
    assert "diff" not in again
    assert {entry.name for entry in folder.iterdir()} == {path.name, ".verified.json"}

    streams.delete(session, "ORDERS")
    foreseen = restore(session, path, True)
    assert lists.stream_names(session) == []
    done = restore(session, path)
    assert foreseen == done and done["changed"]
    assert done["stream"]["messages"] == COUNT - 1
    assert content(session, "ORDERS") == before
    (consumer,) = backup_service.positions(session, "ORDERS")
    assert (consumer["name"], consumer["ack_floor"]) == ("billing", 5)

    again = restore(session, path)
    assert (again["changed"], again["stream"]) == (False, done["stream"])
    # The restored stream is the same one, so nothing changed since the backup
    assert not backup(session, folder, stream="ORDERS")["changed"]


@pytest.mark.parametrize("shape", ["empty", "purged", "end deleted", "begins later", "compressed", "work queue"])
def test_shapes(session: Session, tmp_path: Path, shape: str, kind: str) -> None:
    more = {"compressed": {"compression": "s2"}, "work queue": {"retention": "workqueue"}}.get(shape, {})
    fill(session, count=0 if shape == "empty" else 20, **more)
    if shape == "purged":
        streams.purge(session, "ORDERS")
    for number in {"end deleted": (18, 19, 20), "begins later": (1, 2, 3)}.get(shape, ()):
        messages.delete(session, "ORDERS", number)
    before = content(session, "ORDERS")
    path = backup(session, tmp_path, stream="ORDERS")["backup"]["path"]
    assert not backup(session, tmp_path, stream="ORDERS")["changed"]
    streams.delete(session, "ORDERS")
    assert restore(session, path)["changed"]
    assert content(session, "ORDERS") == before
    assert not restore(session, path)["changed"]
    assert not backup(session, tmp_path, stream="ORDERS")["changed"]
    streams.delete(session, "ORDERS")
    if kind == "old" or (shape == "work queue" and kind not in MESSAGES):
        assert refusal(restore, session, path, stream="COPY", subjects=["copy.>"]).failure["code"] == "rename"
        return
    restore(session, path, stream="COPY", subjects=["copy.>"])
    assert [one for one in content(session, "COPY") if one] == [one for one in before if one]
    assert not restore(session, path, stream="COPY", subjects=["copy.>"])["changed"]


def test_each_change_makes_a_backup(session: Session, tmp_path: Path) -> None:
    fill(session, count=5)
    consume(session, "ORDERS", "billing", 1)
    assert backup(session, tmp_path, stream="ORDERS")["changed"]

    def write() -> None:
        messages.publish(session, "x", "orders.1", b"x")

    def remove() -> None:
        messages.delete(session, "ORDERS", 2)

    def configure() -> None:
        info = streams.info(session, "ORDERS")
        assert info is not None
        streams.update(session, {**info["config"], "description": "other"})

    for change in (write, remove, configure, lambda: consume(session, "ORDERS", "billing", 1)):
        change()
        before = known(tmp_path)[0]["path"]
        foreseen, done = backup(session, tmp_path, True, stream="ORDERS"), backup(session, tmp_path, stream="ORDERS")
        assert foreseen["changed"] and done["changed"]
        assert done["changes"] == [
            {"field": "backup", "before": before, "after": done["backup"]["path"], "effect": "create"}
        ]
        assert not backup(session, tmp_path, stream="ORDERS")["changed"]
    assert backup(session, tmp_path, stream="ORDERS", force=True)["changed"]
    assert backup(session, tmp_path, stream="ORDERS", consumers=False)["changed"]
    assert len(known(tmp_path)) == 7


def test_keep(session: Session, tmp_path: Path) -> None:
    fill(session, count=5)
    fill(session, "ORDERS-OLD", count=5)
    other = backup(session, tmp_path, stream="ORDERS-OLD")["backup"]["path"]
    (tmp_path / "ORDERS-20200101T000000.000Z").mkdir()  # not a backup: it has no files
    made = [backup(session, tmp_path, stream="ORDERS", force=True)["backup"]["path"] for _number in range(4)]
    (Path(made[3]) / "stream.tar.s2").write_bytes(b"broken")

    foreseen = backup(session, tmp_path, True, stream="ORDERS", keep=2, force=True)
    done = backup(session, tmp_path, stream="ORDERS", keep=2, force=True)
    assert foreseen["removed"] == done["removed"] == [made[1], made[0]]
    assert f"{made[1]}\n{made[0]}\n" == foreseen["diff"]["before"] == done["diff"]["before"]
    left = {one["path"]: one["verified"] for one in known(tmp_path, stream="ORDERS")}
    assert left == {done["backup"]["path"]: True, made[3]: False, made[2]: True}
    assert other in [one["path"] for one in known(tmp_path)]
    assert (tmp_path / "ORDERS-20200101T000000.000Z").exists()
    assert not backup(session, tmp_path, stream="ORDERS", keep=2)["changed"]
    # A lower value of keep is a change, even without a new backup
    done = backup(session, tmp_path, stream="ORDERS", keep=1)
    assert done["removed"] == [made[3], made[2]]
    assert [change["effect"] for change in done["changes"]] == ["delete", "delete"]


def test_a_clock_that_goes_back(session: Session, tmp_path: Path) -> None:
    """The newest backup is the one that was made last, and ``keep`` does not remove it."""
    fill(session, count=5)
    made = Path(backup(session, tmp_path, streams=["ORDERS"])["backups"][0]["path"])
    ahead = made.rename(tmp_path / "ORDERS-21260101T000000.000Z")
    [first] = tmp_path.glob("set-*.json")
    first.write_text(first.read_text().replace(made.name, ahead.name))
    first.rename(tmp_path / "set-21260101T000000.000Z.json")
    messages.publish(session, "x", "orders.1", b"more")
    done = backup(session, tmp_path, streams=["ORDERS"], keep=1)
    assert done["removed"] == [str(ahead), str(tmp_path / "set-21260101T000000.000Z.json")]
    assert [one["path"] for one in known(tmp_path)] == [done["backups"][0]["path"]]
    assert not backup(session, tmp_path, streams=["ORDERS"], keep=1)["changed"]


def test_earlier_backups_are_read_once_a_week(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths_read: list[Path] = []
    whole = on_disk.Backup.problem

    def problem(one: on_disk.Backup) -> str:
        paths_read.append(one.path)
        return whole(one)

    def again(check: bool = False) -> list[Path]:
        """Make a backup, and keep three. Return the paths of those that were read as a whole to verify them."""
        paths_read.clear()
        backup(session, tmp_path, check, stream="ORDERS", force=True, keep=3)
        return list(paths_read)

    monkeypatch.setattr(on_disk.Backup, "problem", problem)
    fill(session, count=5)
    assert [again() for _number in range(4)] == [[], [], [], []] and not again(check=True)
    newest, earlier, _oldest = (Path(one["path"]) for one in known(tmp_path))
    marks = tmp_path / ".verified.json"
    # A backup that was last read more than a week ago is read again
    marked = json.loads(marks.read_text())
    marked[earlier.name]["read"] -= 8 * 86400
    marks.write_text(json.dumps(marked))
    assert again(check=True) == [earlier]
    assert again() == [earlier] and not again()
    # Other bytes with the same size and time are noticed when the backup is read
    newest = Path(known(tmp_path)[0]["path"])
    data, state = newest / on_disk.DATA, (newest / on_disk.DATA).stat()
    _alter(data)
    os.utime(data, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert data.stat().st_size == state.st_size
    assert set(again()) == {newest}
    assert [one["verified"] for one in known(tmp_path)] == [True, False, True, True]
    # A copy in another folder is read again, and so are backups whose marks can't be read
    shutil.copytree(tmp_path, tmp_path / "copy", copy_function=shutil.copy2)
    paths_read.clear()
    assert not backup(session, tmp_path / "copy", stream="ORDERS")["changed"]
    assert len(paths_read) == 1
    for text in ("{", "[]", json.dumps({Path(known(tmp_path)[0]["path"]).name: {"read": "x", "files": 1}}), "\x00"):
        marks.write_text(text)
        assert len(set(again())) >= 2


def test_a_bucket(session: Session, tmp_path: Path) -> None:
    fill(session, "KV_CFG", subjects=["$KV.CFG.>"], count=0, max_msgs_per_subject=5)
    for number in range(9):
        messages.publish(session, "x", f"$KV.CFG.key.{number % 3}", str(number).encode())
    made = backup(session, tmp_path, bucket="CFG")["backup"]
    assert (made["stream"], made["bucket"], made["messages"]) == ("KV_CFG", "CFG", 9)
    assert refusal(backup, session, tmp_path, bucket="NONE").message.startswith("bucket: there is no bucket NONE")
    before = content(session, "KV_CFG")
    streams.delete(session, "KV_CFG")
    assert restore(session, made["path"])["stream"]["bucket"] == "CFG"
    assert content(session, "KV_CFG") == before


def test_memory(session: Session, tmp_path: Path, kind: str) -> None:
    fill(session, storage="memory")
    if kind not in MESSAGES:
        error = refusal(backup, session, tmp_path, True, stream="ORDERS")
        assert error.failure["code"] == "memory_storage"
        assert not list(tmp_path.iterdir())
        return
    before = content(session, "ORDERS")
    made = backup(session, tmp_path, stream="ORDERS", check_messages=True)["backup"]
    streams.delete(session, "ORDERS")
    restore(session, made["path"])
    assert content(session, "ORDERS") == before


# Restoring under another name


def test_another_name(session: Session, tmp_path: Path, kind: str) -> None:
    fill(session, first_seq=10)
    messages.delete(session, "ORDERS", 17)
    before = content(session, "ORDERS")
    path = backup(session, tmp_path, stream="ORDERS")["backup"]["path"]
    # The subjects belong to the stream that still exists
    if kind in MESSAGES:
        error = refusal(restore, session, path, True, stream="COPY")
        assert error.failure["code"] == "subjects_overlap"
    else:
        error = refusal(restore, session, path, True, stream="COPY", subjects=["copy.>"])
        assert error.failure["code"] == "rename"
        assert lists.stream_names(session) == ["ORDERS"]
        streams.delete(session, "ORDERS")
    if kind == "old":
        error = refusal(restore, session, path, stream="COPY", subjects=["copy.>"])
        assert "2.12" in error.message
        return
    done = restore(session, path, stream="COPY", subjects=["copy.>"])
    assert (done["stream"]["name"], done["stream"]["subjects"]) == ("COPY", ["copy.>"])
    assert sorted(lists.stream_names(session)) == (["COPY", "ORDERS"] if kind in MESSAGES else ["COPY"])
    assert content(session, "COPY") == before
    assert messages.publish(session, "x", "copy.1", b"x")["stream"] == "COPY"


def test_another_bucket(session: Session, tmp_path: Path, kind: str) -> None:
    fill(session, "KV_CFG", subjects=["$KV.CFG.>"], count=0, max_msgs_per_subject=5, allow_rollup_hdrs=True)
    for number in range(9):
        messages.publish(session, "x", f"$KV.CFG.key.{number % 3}", str(number).encode())
    before = content(session, "KV_CFG")
    path = backup(session, tmp_path, bucket="CFG")["backup"]["path"]
    if kind not in MESSAGES:
        assert refusal(restore, session, path, bucket="NEW").failure["code"] == "rename"
        streams.delete(session, "KV_CFG")
    if kind == "old":
        assert refusal(restore, session, path, bucket="NEW").failure["code"] == "rename"
        assert lists.stream_names(session) == []
        return
    done = restore(session, path, bucket="NEW")
    assert done["stream"]["bucket"] == "NEW"
    assert "KV_NEW" in lists.stream_names(session)
    assert not [name for name in lists.stream_names(session) if "RESTORING" in name]
    moved = [
        (one.subject.replace("$KV.NEW", "$KV.CFG"), one.sequence, one.time, one.data)
        for one in content(session, "KV_NEW")
    ]
    assert moved == [(one.subject, one.sequence, one.time, one.data) for one in before]
    assert messages.publish(session, "x", "$KV.NEW.key", b"x")["stream"] == "KV_NEW"
    info = streams.info(session, "KV_NEW")
    assert info is not None and not info["config"].get("mirror")


def test_killed_on_the_way_to_another_bucket(server: NatsServer, session: Session, tmp_path: Path, kind: str) -> None:
    """The leftovers never count as restored. The error names the streams to delete."""
    if kind == "old":
        return  # it can't be restored as another bucket
    fill(session, "KV_CFG", subjects=["$KV.CFG.>"], count=0)
    messages.publish(session, "x", "$KV.CFG.key", b"1")
    path = backup(session, tmp_path, bucket="CFG")["backup"]["path"]
    streams.delete(session, "KV_CFG")

    def restored() -> None:
        with Session(settings(servers=server.url)) as own:
            restore(own, path, bucket="NEW")

    for writes in range(1, 99):
        if not killed(restored, writes):
            break
        left = lists.stream_names(session)
        try:
            restored()
        except StreamsError as error:
            assert error.failure["code"] in ("exists", "rename"), left
            assert all(name in error.message for name in left)
        else:
            assert lists.stream_names(session) == ["KV_NEW"]
            assert stream_info(session, "KV_NEW")["config"]["subjects"] == ["$KV.NEW.>"]
        delete_streams(session)
        server.wait_removed()
    assert writes > 3


SETTINGS: list[tuple[tuple[int, int], dict[str, Any]]] = [
    ((2, 11), {"allow_msg_ttl": True, "subject_delete_marker_ttl": 60 * 10**9, "allow_rollup_hdrs": True}),
    ((2, 12), {"allow_atomic": True}),
    ((2, 14), {"allow_batched": True}),
    ((2, 10), {"consumer_limits": {"max_ack_pending": 5, "inactive_threshold": 10**9}}),
    ((2, 10), {"sealed": True, "deny_delete": True, "deny_purge": True}),
    ((2, 10), {"deny_delete": True, "max_msgs": 100, "discard": "new", "max_age": 10**15}),
]


@pytest.mark.parametrize(("since", "config"), SETTINGS, ids=[next(iter(config)) for _since, config in SETTINGS])
def test_another_bucket_keeps_its_settings(
    session: Session, tmp_path: Path, since: tuple[int, int], config: dict[str, Any]
) -> None:
    """The copy goes through a mirror. Settings that a mirror can't have are restored too."""
    if session.server.version < max(since, (2, 12)):
        return
    fill(session, "KV_CFG", subjects=["$KV.CFG.>"], count=0, **{**config, "sealed": False})
    for number in range(9):
        messages.publish(session, "x", f"$KV.CFG.key.{number % 3}", str(number).encode())
    if config.get("sealed"):
        streams.update(session, {**stream_info(session, "KV_CFG")["config"], "sealed": True})
    before = content(session, "KV_CFG")
    path = backup(session, tmp_path, bucket="CFG")["backup"]["path"]
    streams.delete(session, "KV_CFG")
    foreseen, done = restore(session, path, True, bucket="NEW"), restore(session, path, bucket="NEW")
    assert foreseen == done
    assert [(one.sequence, one.time, one.data) for one in content(session, "KV_NEW")] == [
        (one.sequence, one.time, one.data) for one in before
    ]
    there = stream_info(session, "KV_NEW")["config"]
    assert {name: there.get(name) for name in config} == config
    assert lists.stream_names(session) == ["KV_NEW"]
    assert not restore(session, path, bucket="NEW")["changed"]


@pytest.mark.parametrize("field", ["allow_msg_counter", "allow_msg_schedules"])
def test_a_mirror_restores_no_counters_or_schedules(session: Session, tmp_path: Path, field: str) -> None:
    """The restore is refused before anything is sent, also in check mode."""
    if session.server.version < (2, 12):
        return
    streams.create(session, {"name": "KV_CFG", "subjects": ["$KV.CFG.>"], "allow_rollup_hdrs": True, field: True})
    path = backup(session, tmp_path, bucket="CFG")["backup"]["path"]
    streams.delete(session, "KV_CFG")
    for check in (True, False):
        error = refusal(restore, session, path, check, bucket="NEW")
        assert error.failure["code"] == "rename"
        assert error.message.endswith("restore it under its own name.")
        assert lists.stream_names(session) == []
    assert restore(session, path)["changed"]


def test_without_consumers(session: Session, tmp_path: Path) -> None:
    fill(session, count=5)
    consume(session, "ORDERS", "billing", 1)
    path = backup(session, tmp_path, stream="ORDERS")["backup"]["path"]
    streams.delete(session, "ORDERS")
    done = restore(session, path, consumers=False)
    assert done["stream"]["consumers"] == []
    assert consumers.list_all(session, "ORDERS") == []


# Refusals


def test_an_existing_stream_stays(session: Session, tmp_path: Path) -> None:
    fill(session)
    path = backup(session, tmp_path, stream="ORDERS")["backup"]["path"]
    messages.publish(session, "x", "orders.1", b"x")
    before = content(session, "ORDERS")
    for check in (True, False):
        error = refusal(restore, session, path, check)
        assert error.failure["code"] == "exists"
        assert str(COUNT + 1) in error.message and "another name" in error.message
    assert content(session, "ORDERS") == before


MAY_BE_GONE: list[dict[str, Any]] = [
    {},
    {"max_age": 30 * 86400 * 10**9},
    {"max_age": 30 * 86400 * 10**9, "allow_msg_ttl": True},
    {"allow_msg_ttl": True},
    {"retention": "workqueue"},
    {"retention": "interest"},
]


@pytest.mark.parametrize("config", MAY_BE_GONE, ids=str)
def test_a_purged_stream_is_another_one(session: Session, tmp_path: Path, kind: str, config: dict[str, Any]) -> None:
    """A stream whose missing messages did not expire is another one than the backup's."""
    if kind == "old" and "allow_msg_ttl" in config:
        return
    fill(session, count=0, **config)
    consume(session, "ORDERS", "billing", 0)
    for number in range(9):
        messages.publish(session, "x", f"orders.{number}", b"x")
    path = backup(session, tmp_path, stream="ORDERS")["backup"]["path"]
    for how in ("one", "some", "all"):
        if how == "one":
            messages.delete(session, "ORDERS", 5)
        else:
            streams.purge(session, "ORDERS", {"keep": 3} if how == "some" else {})
        for check in (True, False):
            error = refusal(restore, session, path, check)
            assert error.failure["code"] == "exists"
            assert "where the backup has 9 up to 9" in error.message


def test_messages_older_than_max_age_are_not_missed(session: Session, tmp_path: Path) -> None:
    fill(session, count=3, max_age=2 * 10**9)
    time.sleep(1)
    for _number in range(3):
        messages.publish(session, "x", "orders.1", b"x")
    path = backup(session, tmp_path, stream="ORDERS")["backup"]["path"]

    def messages_left() -> int:
        return int(stream_info(session, "ORDERS")["state"]["messages"])

    for left in (3, 0):
        while messages_left() > left:
            time.sleep(0.02)
        done = restore(session, path)
        assert not done["changed"]
        assert done["stream"]["expired"] >= 6 - left
    # If all messages expired before the restore, the restored stream counts as the same one too
    streams.delete(session, "ORDERS")
    assert restore(session, path)["changed"]
    assert not restore(session, path)["changed"]


def test_subjects_of_another_stream(session: Session, tmp_path: Path) -> None:
    fill(session)
    path = backup(session, tmp_path, stream="ORDERS")["backup"]["path"]
    streams.delete(session, "ORDERS")
    streams.create(session, {"name": "OTHER", "subjects": ["orders.3.*", "x"]})
    for check in (True, False):
        error = refusal(restore, session, path, check)
        assert error.failure["code"] == "subjects_overlap"
        assert "OTHER" in error.message
    assert lists.stream_names(session) == ["OTHER"]
    assert restore(session, path, subjects=["orders.new.>"])["stream"]["subjects"] == ["orders.new.>"]


def _cut(path: Path, size: int) -> None:
    os.truncate(path, size)


def _alter(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _of_another(path: Path) -> None:
    described = json.loads(path.read_text())
    described["state"]["messages"] += 1
    path.write_text(json.dumps(described))


BREAKS: dict[str, Callable[[Path], Any]] = {
    "cut off": lambda path: _cut(path / "stream.tar.s2", (path / "stream.tar.s2").stat().st_size - 1),
    "altered": lambda path: _alter(path / "stream.tar.s2"),
    "data missing": lambda path: (path / "stream.tar.s2").unlink(),
    "configuration missing": lambda path: (path / "backup.json").unlink(),
    "configuration altered": lambda path: _of_another(path / "backup.json"),
    "manifest altered": lambda path: _of_another(path / "manifest.json"),
    "manifest no JSON": lambda path: (path / "manifest.json").write_text("{"),
    "manifest empty": lambda path: (path / "manifest.json").write_text("{}"),
    "no backup": shutil.rmtree,
}
# A backup without a manifest, as the nats CLI writes it
WITHOUT_MANIFEST: dict[str, Callable[[Path], Any]] = {
    "cut off": BREAKS["cut off"],
    "no archive": lambda path: (path / "stream.tar.s2").write_bytes(b"x" * 1000),
    "empty": lambda path: (path / "stream.tar.s2").write_bytes(b""),
    "nothing in it": lambda path: _cut(path / "stream.tar.s2", 10),
    "two archives": lambda path: shutil.copy(path / "stream.tar.s2", path / "stream.arc.s2"),
    "no configuration": lambda path: (path / "backup.json").write_text('{"config": {}}'),
    "no JSON": lambda path: (path / "backup.json").write_text("no"),
}


@pytest.mark.parametrize("how", [*BREAKS, *(f"no manifest, {how}" for how in WITHOUT_MANIFEST)])
def test_broken_backups(session: Session, tmp_path: Path, how: str) -> None:
    fill(session)
    path = Path(backup(session, tmp_path, stream="ORDERS")["backup"]["path"])
    streams.delete(session, "ORDERS")
    if how.startswith("no manifest, "):
        (path / "manifest.json").unlink()
        WITHOUT_MANIFEST[how.removeprefix("no manifest, ")](path)
    else:
        BREAKS[how](path)
        assert [one["verified"] for one in known(tmp_path)] == ([False] if path.exists() else [])
    requests = session.request_many
    session.request_many = refusing  # type: ignore[method-assign]
    try:
        error = refusal(restore, session, path)
    finally:
        session.request_many = requests  # type: ignore[method-assign]
    assert error.failure["code"] == "broken_backup"
    assert str(path) in error.message and error.message.endswith(".")
    assert "nothing was sent" in error.message


def refusing(*_given: Any, **_more: Any) -> Any:
    raise AssertionError("a request was sent")


def test_damage_that_only_the_server_detects(session: Session, tmp_path: Path) -> None:
    """The server checks the contents of a backup without a manifest. The stream that it began to restore is removed."""
    fill(session)
    path = Path(backup(session, tmp_path, stream="ORDERS")["backup"]["path"])
    streams.delete(session, "ORDERS")
    (path / "manifest.json").unlink()
    _alter(path / "stream.tar.s2")
    error = refusal(restore, session, path)
    assert error.message.startswith("Restoring stream ORDERS: restore failed")
    assert lists.stream_names(session) == []


def test_other_servers_format(make_server: MakeServer, tmp_path: Path) -> None:
    new, old = make_server(), make_server(version="2.14")
    with Session(settings(servers=new.url)) as session:
        fill(session)
        path = backup(session, tmp_path, stream="ORDERS")["backup"]["path"]
    with Session(settings(servers=old.url)) as session:
        for check in (True, False):
            error = refusal(restore, session, path, check)
            assert error.failure["code"] == "format"
        fill(session, "OLDER")
        path = backup(session, tmp_path, stream="OLDER")["backup"]["path"]
    with Session(settings(servers=new.url)) as session:
        assert restore(session, path)["stream"]["messages"] == COUNT


def test_no_such_stream(session: Session, tmp_path: Path) -> None:
    error = refusal(backup, session, tmp_path, stream="NONE")
    assert error.failure["code"] == "no_stream"
    assert not list(tmp_path.iterdir())


# Streams that prevent a restore


def test_permissions(make_server: MakeServer, tmp_path: Path) -> None:
    users = {
        "all": {},
        "snapshot": {"publish": {"deny": ["$JS.API.STREAM.SNAPSHOT.>"]}},
        "ack": {"publish": {"deny": ["$JS.SNAPSHOT.ACK.>"]}},
        "restore": {"publish": {"deny": ["$JS.API.STREAM.RESTORE.>"]}},
        "chunks": {"publish": {"deny": ["$JS.SNAPSHOT.RESTORE.>"]}},
    }
    listed = [{"user": name, "password": "x", "permissions": found} for name, found in users.items()]
    server = make_server({"authorization": {"users": listed}})

    def connect(user: str) -> Session:
        return Session(settings(servers=server.url, user=user, password="x"))

    with connect("all") as session:
        fill(session)
    for user, subject in (("snapshot", "$JS.API.STREAM.SNAPSHOT.ORDERS"), ("ack", "$JS.SNAPSHOT.ACK.ORDERS")):
        with connect(user) as session:
            error = refusal(backup, session, tmp_path, stream="ORDERS")
            assert error.failure["code"] == "permission"
            assert subject in error.message
            assert not list(tmp_path.iterdir())
    with connect("all") as session:
        path = backup(session, tmp_path, stream="ORDERS")["backup"]["path"]
        streams.delete(session, "ORDERS")
    for user, subject in (("restore", "$JS.API.STREAM.RESTORE.ORDERS"), ("chunks", "$JS.SNAPSHOT.RESTORE.ORDERS")):
        with connect(user) as session:
            error = refusal(restore, session, path)
            assert error.failure["code"] == "permission"
            assert subject in error.message
            assert lists.stream_names(session) == []


def test_the_folder(session: Session, tmp_path: Path) -> None:
    fill(session, count=5)
    (tmp_path / "file").write_text("x")
    error = refusal(backup, session, tmp_path / "file" / "x", stream="ORDERS")
    assert (error.failure["code"], error.failure["option"]) == ("folder", "path")


def test_leftovers_are_swept(session: Session, tmp_path: Path) -> None:
    fill(session, count=5)
    left = tmp_path / ".ORDERS-abc.partial"
    left.mkdir()
    (left / on_disk.DATA).write_bytes(b"x")
    young = tmp_path / ".ORDERS-young.partial"
    young.mkdir()
    assert known(tmp_path) == []
    backup(session, tmp_path, stream="ORDERS")
    assert not left.exists()
    assert young.exists()


def test_domain_and_prefix(make_server: MakeServer, tmp_path: Path) -> None:
    server = make_server({"jetstream": {"domain": "hub"}})
    with Session(settings(servers=server.url, domain="hub")) as session:
        fill(session)
        path = backup(session, tmp_path, stream="ORDERS")["backup"]["path"]
        streams.delete(session, "ORDERS")
        assert restore(session, path)["changed"]


def test_a_cluster(tmp_path: Path) -> None:
    with nats_cluster() as servers, Session(settings(servers=[server.url for server in servers])) as session:
        fill(session, num_replicas=3)
        consume(session, "ORDERS", "billing", 5)
        before = content(session, "ORDERS")
        path = backup(session, tmp_path, stream="ORDERS")["backup"]["path"]
        assert not backup(session, tmp_path, stream="ORDERS")["changed"]
        streams.delete(session, "ORDERS")
        done = restore(session, path)
        assert done["stream"]["consumers"] == ["billing"]
        assert content(session, "ORDERS") == before
        streams.delete(session, "ORDERS")
        assert restore(session, path, replicas=1)["changed"]
        info = streams.info(session, "ORDERS")
        assert info is not None and info["config"]["num_replicas"] == 1
    with NatsServer() as server, Session(settings(servers=server.url)) as session:
        assert "replicas" in refusal(restore, session, path).message
        assert restore(session, path, replicas=1)["stream"]["messages"] == COUNT
