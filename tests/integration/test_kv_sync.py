# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""What choria_kv_sync does where a playbook can't look: others who write meanwhile, limits, files, and secrets."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.choria.streams.plugins.module_utils._api.kv import kv, kv_write
from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from ansible_collections.choria.streams.plugins.module_utils._errors import OptionError, Refused, StreamsError
from ansible_collections.choria.streams.plugins.module_utils._module_resource import _bring_about
from ansible_collections.choria.streams.plugins.module_utils._operations.kv.sync import SPEC, shown, sync
from ansible_collections.choria.streams.plugins.module_utils._resources.kv.bucket import BUCKET
from ansible_collections.choria.streams.plugins.module_utils._resources.kv.entry import REVERTIBLE
from support.connect import options, settings
from support.playbook import run_playbook

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import MakeServer
    from support.server import NatsServer

pytestmark = pytest.mark.once

SECRET = "planted-secret"
_numbers = count()


@pytest.fixture
def session(nats_server: NatsServer) -> Iterator[Session]:
    with Session(settings(servers=nats_server.url)) as session:
        yield session


def make_bucket(session: Session, **given: Any) -> kv.Bucket:
    name = f"SYNC{next(_numbers)}"
    _bring_about(BUCKET, session, options(BUCKET, name=name, **given), False)
    return kv.open_bucket(session, name)[0]


def synced(session: Session, bucket: kv.Bucket, check: bool = False, **given: Any) -> dict[str, Any]:
    """What the module would return."""
    result = ArgumentSpecValidator(SPEC.argument_spec(), **SPEC.rules).validate({"bucket": bucket.name, **given})
    assert not result.error_messages
    return sync(session, result.validated_parameters, check, lambda path, mode: False)


def stored(session: Session, bucket: kv.Bucket, *keys: str) -> list[bytes | None]:
    found = kv.last_many(session, bucket, keys)
    return [found[key].value if key in found and found[key].alive else None for key in keys]


def test_somebody_else_writes_in_between(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written after we looked is read again, and no write is lost unseen."""
    bucket = make_bucket(session, history=5)
    data = {"a": "1", "b": "2", "c": "3"}
    synced(session, bucket, data=data)
    wanted = {"a": "new", "b": "new", "c": "3"}
    written = kv_write.write_many
    rivals = [{"a": b"rival", "b": b"new"}]

    def late(session: Session, writes: Any) -> Any:
        for key, value in (rivals.pop() if rivals else {}).items():
            kv_write.write(session, bucket, key, kv.PUT, value)
        monkeypatch.setattr(kv_write, "write_many", written)
        answer = written(session, writes)
        monkeypatch.setattr(kv_write, "write_many", late)
        return answer

    def before(*arguments: Any) -> Any:
        monkeypatch.setattr(kv_write, "write_many", written)
        return late(*arguments)

    monkeypatch.setattr(kv_write, "write_many", before)
    result = synced(session, bucket, data=wanted)
    assert stored(session, bucket, "a", "b", "c") == [b"new", b"new", b"3"]
    # b had become as wanted, and is no change of ours; of a the rival's value is what was replaced
    assert result["changes"] == [{"key": "a", "action": "update", "revision": 6}]
    assert [(diff["before"], diff["after"]) for diff in result["diff"]] == [("rival", "new")]
    assert [entry.value for entry in kv.history(session, bucket, "a")] == [b"1", b"rival", b"new"]


def test_somebody_else_is_always_faster(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = make_bucket(session, history=20)
    synced(session, bucket, data={"a": "1"})
    written, numbers = kv_write.write_many, count()

    def late(session: Session, writes: Any) -> Any:
        written(session, [(bucket, "a", {"operation": kv.PUT, "value": f"rival {next(numbers)}".encode()})])
        return written(session, writes)

    monkeypatch.setattr(kv_write, "write_many", late)
    with pytest.raises(StreamsError) as refused:
        synced(session, bucket, data={"a": "new", "b": "new"})
    assert refused.value.message == (
        f"Others changed key a of bucket {bucket.name} each of 3 times before they could be written, so they were left "
        "alone: run it again when the others are done. 1 changes were made before that."
    )
    assert refused.value.failure == {"code": "overtaken", "overtaken_keys": ["a"], "written": 1}
    assert refused.value.result == {"changed": True, "changes": [{"key": "b", "action": "create", "revision": 3}]}
    assert stored(session, bucket, "a", "b") == [b"rival 2", b"new"]


def test_one_pipeline(make_server: MakeServer) -> None:
    """The number of requests does not grow with the keys beyond one write for each."""
    server = make_server()
    data = {f"k{number}": str(number) for number in range(3000)}
    with Session(settings(servers=server.url)) as session:
        bucket = make_bucket(session)
        before = server.monitor("varz")["in_msgs"]
        assert synced(session, bucket, data=data)["counts"]["created"] == 3000
        first = server.monitor("varz")["in_msgs"]
        assert synced(session, bucket, data=data, prune=True)["counts"]["unchanged"] == 3000
        second = server.monitor("varz")["in_msgs"]
    assert first - before < 3020
    assert second - first < 20


def test_check_mode_writes_nothing(nats_server: NatsServer, session: Session, tmp_path: Path) -> None:
    bucket = make_bucket(session)
    kv_write.write(session, bucket, "old", kv.PUT, b"x")
    with Session(settings(servers=nats_server.url), read_only=True) as reader:
        pushed = synced(reader, bucket, True, data={"a": "1"}, prune=True)
        pulled = synced(reader, bucket, True, dest=str(tmp_path / "new"))
    assert [change["action"] for change in pushed["changes"]] == ["create", "delete"]
    assert [change["revision"] for change in pushed["changes"]] == [None, None]
    assert pulled["counts"]["created"] == 1
    assert stored(session, bucket, "a", "old") == [None, b"x"]
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("given", "data", "option"),
    [
        ({"max_value_size": 100}, {"small": "x", "large": "x" * 101}, "data"),
        ({}, {"small": "x", "large": "x" * (1 << 20)}, "data"),
    ],
)
def test_what_is_too_large_is_refused_before_the_first_write(
    session: Session, given: dict[str, Any], data: dict[str, str], option: str
) -> None:
    bucket = make_bucket(session, **given)
    with pytest.raises(Refused, match=r"^data\['large'\]: has \d+ bytes, and max_") as refused:
        synced(session, bucket, data=data)
    assert (refused.value.failure["code"], refused.value.failure["option"]) == ("too_large", option)
    assert kv.open_bucket(session, bucket.name)[0].last_sequence == 0


def test_a_full_bucket_is_told_with_what_was_written(session: Session) -> None:
    bucket = make_bucket(session, max_bucket_size=2000)
    with pytest.raises(StreamsError, match=r"The bucket is full.*\d+ changes were made before that") as refused:
        synced(session, bucket, data={f"k{number}": "x" * 400 for number in range(10)})
    assert 0 < refused.value.failure["written"] < 10


def test_lifetimes(session: Session) -> None:
    bucket = make_bucket(session, limit_marker_ttl="1s")
    assert synced(session, bucket, data={"a": "1"}, ttl="1h")["changed"]
    assert not synced(session, bucket, data={"a": "1"}, ttl="1h")["changed"]
    assert not synced(session, bucket, data={"a": "1"})["changed"]
    result = synced(session, bucket, data={"a": "1"}, ttl="2h")
    assert result["diff"][0]["after"] == "operation: put\nttl: 7200\n"
    entry = kv.last(session, bucket, "a")
    assert entry
    assert entry.ttl == 7200
    with pytest.raises(Refused, match=r"^ttl: bucket .* does not let keys carry lifetimes"):
        synced(session, make_bucket(session), data={"a": "1"}, ttl="1h")


def test_json_and_base64(session: Session) -> None:
    bucket = make_bucket(session)
    assert synced(session, bucket, data={"a": {"x": 1, "y": [2]}, "b": "text"})["changed"]
    assert not synced(session, bucket, data={"a": {"y": [2], "x": 1}, "b": "text"})["changed"]
    assert synced(session, bucket, data={"b": "text", "c": None}, encoding="json")["changed"]
    assert synced(session, bucket, data={"d": "AP/+"}, encoding="base64")["diff"][0]["after"].startswith(
        "3 bytes, SHA-"
    )
    assert stored(session, bucket, "b", "c", "d") == [b'"text"', b"null", b"\x00\xff\xfe"]


# Folders


@pytest.mark.parametrize("separator", [".", "/"])
def test_there_and_back(session: Session, tmp_path: Path, separator: str) -> None:
    bucket, source, target = make_bucket(session), tmp_path / "source", tmp_path / "target"
    for path, content in {"a": b"\x00\xff", "b/c": b"", "b/d/e": b"text\n"}.items():
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_bytes(content)
    pushed = synced(session, bucket, src=str(source), separator=separator, prefix="p/")
    expected = [f"p/{name}" for name in ("a", f"b{separator}c", f"b{separator}d{separator}e")]
    assert [change["key"] for change in pushed["changes"]] == expected
    synced(session, bucket, dest=str(target), separator=separator, prefix="p/")
    found = {str(path.relative_to(target)): path.read_bytes() for path in target.rglob("*") if path.is_file()}
    assert found == {"a": b"\x00\xff", "b/c": b"", "b/d/e": b"text\n"}
    assert not synced(session, bucket, dest=str(target), separator=separator, prefix="p/", prune=True)["changed"]


def test_what_can_be_no_key(session: Session, tmp_path: Path) -> None:
    bucket = make_bucket(session)
    cases = {
        "hidden": (".git", "can't be a key: '.git' is not allowed"),
        "space": ("a b", "can't be a key"),
        "twice": ("x.y", "are both the key x.y"),
    }
    for name, (file, problem) in cases.items():
        folder = tmp_path / name
        (folder / "x").mkdir(parents=True)
        (folder / "x" / "y").write_text("1")
        (folder / file).write_text("2")
        with pytest.raises(OptionError, match=problem):
            synced(session, bucket, src=str(folder))
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / "folder").symlink_to(tmp_path)
    with pytest.raises(OptionError, match="links to a folder"):
        synced(session, bucket, src=str(tmp_path / "link"))
    with pytest.raises(OptionError, match="is not a folder on this host"):
        synced(session, bucket, src=str(tmp_path / "none"))


@pytest.mark.parametrize(
    ("keys", "separator", "problem"),
    [
        (["a", "a.b"], ".", "Key a.b can't be a file: a is one"),
        (["a/b"], ".", "it holds a slash: set separator to /"),
        (["a//b"], "/", "a part of it is empty"),
        (["/etc/x"], "/", "a part of it is empty"),
        (["x" * 256], ".", "longer than the name of a file"),
    ],
)
def test_what_can_be_no_file(session: Session, tmp_path: Path, keys: list[str], separator: str, problem: str) -> None:
    bucket = make_bucket(session)
    for key in keys:
        kv_write.write(session, bucket, key, kv.PUT, b"x")
    with pytest.raises(Refused, match=problem):
        synced(session, bucket, dest=str(tmp_path), separator=separator)
    assert list(tmp_path.iterdir()) == []


FOREIGN = ["web~1", "a:b", "größe", "50%", "x@y", "app.a*b"]


def test_keys_that_others_wrote(session: Session, tmp_path: Path) -> None:
    """Whatever a client may write can be read, changed, pruned, deleted and waited for; a new key has a plain name."""
    bucket = make_bucket(session)
    for key in [*FOREIGN, "plain"]:
        kv_write.write(session, bucket, key, kv.PUT, b"1")
    pulled = synced(session, bucket, dest=str(tmp_path), prune=True)
    assert sorted(change["key"] for change in pulled["changes"]) == sorted([*FOREIGN, "plain"])
    pushed = synced(session, bucket, data={"a:b": "2", "50%": "1"})
    assert [change["key"] for change in pushed["changes"]] == ["a:b"]
    with pytest.raises(OptionError, match=r"data\['new~1'\]: 'new~1' is not allowed: a key is made of letters"):
        synced(session, bucket, data={"new~1": "1", "other": "1"})
    assert not stored(session, bucket, "other")[0]
    kv_write.write(session, bucket, "x@y", kv.PURGED)
    assert [change["key"] for change in synced(session, bucket, dest=str(tmp_path), prune=True)["changes"]] == [
        "x@y",
        "a:b",
    ]
    assert not (tmp_path / "x@y").exists()
    for given in ({"key": "größe", "value": "3"}, {"key": "web~1", "state": "absent"}, {"key": "50%", "renew": True}):
        plan = _bring_about(REVERTIBLE, session, options(REVERTIBLE, bucket=bucket.name, **given), False)[0]
        assert plan.changed, given
    with pytest.raises(OptionError, match="key: 'new~1' is not allowed"):
        _bring_about(REVERTIBLE, session, options(REVERTIBLE, bucket=bucket.name, key="new~1", value="1"), False)
    pruned = synced(session, bucket, data={"plain": "1"}, prune=True)
    assert sorted(change["key"] for change in pruned["changes"]) == sorted({*FOREIGN} - {"x@y", "web~1"})


def test_nothing_outside_the_folder_is_touched(session: Session, tmp_path: Path) -> None:
    bucket, target, outside = make_bucket(session), tmp_path / "target", tmp_path / "outside"
    for folder in (target, outside):
        folder.mkdir()
    (outside / "b").write_text("mine")
    (outside / "file").write_text("mine")
    (target / "a").symlink_to(outside)
    (target / "file").symlink_to(outside / "file")
    kv_write.write(session, bucket, "a.b", kv.PUT, b"x")
    with pytest.raises(Refused, match=r"is no folder, and a/b has to go there"):
        synced(session, bucket, dest=str(target), prune=True)
    kv_write.write(session, bucket, "a.b", kv.DELETED)
    kv_write.write(session, bucket, "file", kv.PUT, b"x")
    synced(session, bucket, dest=str(target), prune=True)
    assert (outside / "b").read_text() == (outside / "file").read_text() == "mine"
    assert (target / "file").read_text() == "x"
    assert not (target / "file").is_symlink()
    assert (target / "a").is_symlink()


def test_files_and_folders_change_places(session: Session, tmp_path: Path) -> None:
    bucket = make_bucket(session)
    for remove, write in ((None, "a"), ("a", "a.b"), ("a.b", "a")):
        if remove:
            kv_write.write(session, bucket, remove, kv.DELETED)
        kv_write.write(session, bucket, write, kv.PUT, write.encode())
        if remove:
            with pytest.raises(Refused, match="move it"):
                synced(session, bucket, dest=str(tmp_path))
        synced(session, bucket, dest=str(tmp_path), prune=True)
        assert [path.read_text() for path in tmp_path.rglob("*") if path.is_file()] == [write]


def test_a_folder_that_is_not_ours(session: Session) -> None:
    bucket = make_bucket(session)
    kv_write.write(session, bucket, "a", kv.PUT, b"x")
    with pytest.raises(Refused, match=r"^dest: the user \d+ can't make /proc/choria \("):
        synced(session, bucket, dest="/proc/choria")


# Secrets


def test_shown() -> None:
    data = {"password": SECRET, "API_TOKEN": SECRET, "user": "x"}
    given = {"data": data, "mask": ["*password*", "p.api_*"], "prefix": "p."}
    assert shown(given)["data"] == {"password": "(masked)", "API_TOKEN": "(masked)", "user": "x"}
    assert shown({**given, "mask": []})["data"] == data
    assert shown({"data": SECRET, "mask": []})["data"] == "(masked)"
    assert shown({**given, "prefix": "no prefix", "mask": []})["data"] == "(masked)"


@pytest.mark.parametrize("prefix", ["app", "app.", "app..", "app/"])
def test_shown_knows_keys_by_their_whole_names(prefix: str) -> None:
    """A prefix need not end with the dot that stands between it and the names."""
    masked = "app/db.*" if prefix.endswith("/") else "app.db.*"
    data = {"db.host": SECRET, "user": "x"}
    assert shown({"data": data, "mask": [masked], "prefix": prefix})["data"] == {"db.host": "(masked)", "user": "x"}


def test_masked_values_are_nowhere(make_server: MakeServer, tmp_path: Path) -> None:
    """Not in what a run shows however much it is asked to, whether the task ends well or not."""
    server = make_server()
    data = {"db.password": SECRET, "user": "bob"}
    task = {"bucket": "CFG", "data": data, "prune": True}
    below = {"bucket": "CFG", "prefix": "app", "data": {"db.host": SECRET}, "mask": ["app.db.*"]}
    tasks: list[dict[str, Any]] = [
        {"choria.streams.choria_kv_bucket": {"name": "CFG"}},
        {"name": "pushed", "choria.streams.choria_kv_sync": task},
        {"name": "pulled", "choria.streams.choria_kv_sync": {"bucket": "CFG", "dest": str(tmp_path)}},
        {"name": "failed", "choria.streams.choria_kv_sync": {**task, "bucket": "NONE"}, "ignore_errors": True},
        {"choria.streams.choria_kv_sync": {**task, "data": {"a b": "x", **data}}, "ignore_errors": True},
        {"name": "below", "choria.streams.choria_kv_sync": below},
    ]
    result = run_playbook(
        [{"hosts": "localhost", "gather_facts": False, "tasks": tasks}],
        env={"CHORIA_STREAMS_SERVERS": server.url, "ANSIBLE_INJECT_INVOCATION": "true"},
        diff=True,
        args=["-vvv"],
    ).check()
    told = result.task("pushed").result
    assert told["invocation"]["module_args"]["data"] == {"db.password": "(masked)", "user": "bob"}
    assert [diff["after"] for diff in told["diff"]] == ["(masked)", "bob"]
    told = result.task("below").result
    assert told["invocation"]["module_args"]["data"] == {"db.host": "(masked)"}
    assert [diff["after"] for diff in told["diff"]] == ["(masked)"]
    assert SECRET not in result.output
    assert (tmp_path / "db" / "password").read_text() == SECRET
