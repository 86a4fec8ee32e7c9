# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""choria_kv_sync with concurrent writers, limits, files and secrets, which playbooks can't test."""

from __future__ import annotations

import subprocess
import sys
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.choria.streams.plugins.module_utils._api.kv import kv, kv_pass, kv_write
from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from ansible_collections.choria.streams.plugins.module_utils._errors import OptionError, Refused, StreamsError
from ansible_collections.choria.streams.plugins.module_utils._module_resource import _ensure
from ansible_collections.choria.streams.plugins.module_utils._operations.kv import push
from ansible_collections.choria.streams.plugins.module_utils._operations.kv.desired import Folder
from ansible_collections.choria.streams.plugins.module_utils._operations.kv.sync import SPEC, shown, sync
from ansible_collections.choria.streams.plugins.module_utils._resources.kv.bucket import BUCKET
from ansible_collections.choria.streams.plugins.module_utils._resources.kv.entry import KV_ENTRY
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
    _ensure(BUCKET, session, options(BUCKET, name=name, **given), False)
    return kv.open_bucket(session, name)[0]


def synced(session: Session, bucket: kv.Bucket, check: bool = False, **given: Any) -> dict[str, Any]:
    """Return the result of the module."""
    result = ArgumentSpecValidator(SPEC.argument_spec(), **SPEC.rules).validate({"bucket": bucket.name, **given})
    assert not result.error_messages
    return sync(session, result.validated_parameters, check, lambda path, mode: False)


def stored(session: Session, bucket: kv.Bucket, *keys: str) -> list[bytes | None]:
    found = kv.last_many(session, bucket, keys)
    return [found[key].value if key in found and found[key].alive else None for key in keys]


def test_somebody_else_writes_in_between(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys that were written after the plan are read again. No write is lost without notice."""
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
    # b already had its new value, so it is not reported as changed; for a, the rival's value was replaced
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
        "alone: run it again when the others are done. Changes that were made before that: 1."
    )
    assert refused.value.failure == {"code": "overtaken", "overtaken_keys": ["a"], "written": 1}
    assert refused.value.result == {"changed": True, "changes": [{"key": "b", "action": "create", "revision": 3}]}
    assert stored(session, bucket, "a", "b") == [b"rival 2", b"new"]


def test_one_pipeline(make_server: MakeServer) -> None:
    """With more keys, only one write for each key is added."""
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
def test_large_values_are_refused_before_the_first_write(
    session: Session, given: dict[str, Any], data: dict[str, str], option: str
) -> None:
    bucket = make_bucket(session, **given)
    with pytest.raises(Refused, match=r"^data\['large'\]: has \d+ bytes, and max_") as refused:
        synced(session, bucket, data=data)
    assert (refused.value.failure["code"], refused.value.failure["option"]) == ("too_large", option)
    assert kv.open_bucket(session, bucket.name)[0].last_sequence == 0


def test_a_full_bucket_is_reported_with_the_written_keys(session: Session) -> None:
    bucket = make_bucket(session, max_bucket_size=2000)
    with pytest.raises(StreamsError, match=r"The bucket is full.*Changes that were made before that: \d+\.") as refused:
        synced(session, bucket, data={f"k{number}": "x" * 400 for number in range(10)})
    assert 0 < refused.value.failure["written"] < 10


def test_lifetimes(session: Session) -> None:
    bucket = make_bucket(session, limit_marker_ttl="1s")
    assert synced(session, bucket, data={"a": "1"}, ttl="1h")["changed"]
    assert not synced(session, bucket, data={"a": "1"}, ttl="1h")["changed"]
    assert not synced(session, bucket, data={"a": "1"})["changed"]
    result = synced(session, bucket, data={"a": "1"}, ttl="2h")
    assert result["diff"][0]["after"] == "operation: put\nttl: 7200\n"
    large = {"large": "x" * 2000}
    assert synced(session, bucket, data=large, ttl="1h")["changed"]
    assert synced(session, bucket, data=large, ttl="2h")["diff"][0]["before"] == "operation: put\nttl: 3600.0\n"
    entry = kv.last(session, bucket, "a")
    assert entry
    assert entry.ttl == 7200
    with pytest.raises(Refused, match=r"^ttl: bucket .* does not let keys carry lifetimes"):
        synced(session, make_bucket(session), data={"a": "1"}, ttl="1h")


# Runs in its own process, to measure the memory that it adds to the memory before
PROGRAM = """
import sys
sys.path[:0] = {paths!r}
from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from ansible_collections.choria.streams.plugins.module_utils._operations.kv.sync import SPEC, sync
from support.connect import settings
def mebibytes(name):
    [line] = [line.split()[1] for line in open("/proc/self/status") if line.startswith(name)]
    return int(line) >> 10
given = {{name: argument.get("default") for name, argument in SPEC.argument_spec().items()}}
with Session(settings(servers={url!r}, timeout="60s")) as session:
    session.connect()
    before = mebibytes("VmRSS")
    sync(session, {{**given, **{options!r}}}, False, lambda path, mode: False, False)
    print(mebibytes("VmHWM") - before)
"""


def mebibytes(url: str, **given: Any) -> int:
    program = PROGRAM.format(paths=sys.path, url=url, options=given)
    return int(subprocess.check_output([sys.executable, "-c", program], timeout=300))


def test_memory_is_less_than_all_values(nats_server: NatsServer, session: Session, tmp_path: Path) -> None:
    """100 MiB are written, and then compared, also with all keys of the bucket, below a prefix, and with files."""
    bucket = make_bucket(session)
    for number in range(1100):
        (tmp_path / f"k{number}").write_bytes(b"%d" % number * (100_000 // len(str(number))))
    url, folder = nats_server.url, str(tmp_path)
    for prefix, prune in (("", False), ("", False), ("", True), ("p", False), ("p", True)):
        assert mebibytes(url, bucket=bucket.name, src=folder, prefix=prefix, prune=prune) < 64
    assert mebibytes(url, bucket=bucket.name, dest=folder, prefix="p") < 64


@pytest.mark.parametrize("is_read", [True, False])
def test_pruning_a_large_bucket(session: Session, monkeypatch: pytest.MonkeyPatch, is_read: bool) -> None:
    """All keys are read in one pass, or in another way if the pass fails."""
    bucket = make_bucket(session)
    data = {f"k{number}": f"{number}" for number in range(1500)}
    assert synced(session, bucket, data=data)["counts"]["created"] == 1500
    newest = kv_pass.newest

    def partly(*given: Any, **_options: Any) -> Iterator[kv.Entry]:
        for number, entry in enumerate(list(newest(*given))):
            if number == 700:
                raise kv_pass.NotRead
            yield entry._replace(value=b"old")

    if not is_read:
        monkeypatch.setattr(kv_pass, "newest", partly)
    data = {key: value for key, value in data.items() if int(value) >= 10} | {"k20": "new", "k1500": "1500"}
    result = synced(session, bucket, data=data, prune=True)
    assert result["counts"] == {"created": 1, "updated": 1, "removed": 10, "unchanged": 1489}
    assert not synced(session, bucket, data=data, prune=True)["changed"]
    assert stored(session, bucket, "k0", "k20", "k30") == [None, b"new", b"30"]


def test_a_file_that_changes_meanwhile(session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key gets the content that the file has when it is written. A missing file is reported with what was
    written.
    """
    bucket = make_bucket(session)
    for name in "abc":
        (tmp_path / name).write_text("x" * 2000)
    write_many = kv_write.write_many
    monkeypatch.setattr(push, "_TOGETHER", 2000)

    def meanwhile(*given: Any) -> Any:
        (tmp_path / "b").write_text("y" * 3000)
        (tmp_path / "c").unlink(missing_ok=True)
        return write_many(*given)

    monkeypatch.setattr(kv_write, "write_many", meanwhile)
    with pytest.raises(Refused, match=r"^src: .*/c .*No such file") as refused:
        synced(session, bucket, src=str(tmp_path))
    assert refused.value.failure["written"] == 2
    assert stored(session, bucket, "a", "b", "c") == [b"x" * 2000, b"y" * 3000, None]


def test_json_and_base64(session: Session) -> None:
    bucket = make_bucket(session)
    assert synced(session, bucket, data={"a": {"x": 1, "y": [2]}, "b": "text"})["changed"]
    assert not synced(session, bucket, data={"a": {"y": [2], "x": 1}, "b": "text"})["changed"]
    assert synced(session, bucket, data={"b": "text", "c": None}, encoding="json")["changed"]
    assert synced(session, bucket, data={"d": "AP/+"}, encoding="base64")["diff"][0]["after"].startswith(
        "3 bytes, SHA-"
    )
    assert stored(session, bucket, "b", "c", "d") == [b'"text"', b"null", b"\x00\xff\xfe"]


# Folders of files


def test_large_values_and_their_files(session: Session, tmp_path: Path) -> None:
    bucket = make_bucket(session)
    data = {name: name * 2000 for name in ("same", "other", "new", "wrong.place")}
    synced(session, bucket, data=data)
    for name, content in {"same": data["same"], "other": "old", "wrong": "a file"}.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(Refused, match="is not a folder, but wrong/place must be in it"):
        synced(session, bucket, dest=str(tmp_path))
    (tmp_path / "wrong").unlink()
    for check in (True, False):
        result = synced(session, bucket, check, dest=str(tmp_path))
        assert [(change["key"], change["action"]) for change in result["changes"]] == [
            ("new", "create"),
            ("other", "update"),
            ("wrong.place", "create"),
        ]
    assert {name: (tmp_path / name.replace(".", "/")).read_text() for name in data} == data
    assert not synced(session, bucket, dest=str(tmp_path), prune=True)["changed"]


@pytest.mark.parametrize("change", [lambda path: path.write_text("y" * 2000), lambda path: path.unlink()])
def test_a_file_that_others_change_meanwhile(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Any
) -> None:
    """It is neither left as it is nor replaced unnoticed: its value is not held any more."""
    bucket, path = make_bucket(session), tmp_path / "a"
    kv_write.write(session, bucket, "a", kv.PUT, b"x" * 2000)
    path.write_text("x" * 2000)
    check_free = Folder.check_free

    def changed(folder: Folder, *given: Any) -> None:
        check_free(folder, *given)
        change(path)

    monkeypatch.setattr(Folder, "check_free", changed)
    with pytest.raises(Refused, match=r"^The file of key a in .* was changed while the folder was compared"):
        synced(session, bucket, dest=str(tmp_path))
    monkeypatch.undo()
    assert synced(session, bucket, dest=str(tmp_path))["changed"]
    assert path.read_text() == "x" * 2000


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


def test_files_that_can_not_be_keys(session: Session, tmp_path: Path) -> None:
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
def test_keys_that_can_not_be_files(
    session: Session, tmp_path: Path, keys: list[str], separator: str, problem: str
) -> None:
    bucket = make_bucket(session)
    for key in keys:
        kv_write.write(session, bucket, key, kv.PUT, b"x")
    with pytest.raises(Refused, match=problem):
        synced(session, bucket, dest=str(tmp_path), separator=separator)
    assert list(tmp_path.iterdir()) == []


FOREIGN = ["web~1", "a:b", "größe", "50%", "x@y", "app.a*b"]


def test_keys_that_others_wrote(session: Session, tmp_path: Path) -> None:
    """Any key that a client may write can be read, changed, pruned, deleted and waited for. New keys have plain
    names.
    """
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
        plan = _ensure(KV_ENTRY, session, options(KV_ENTRY, bucket=bucket.name, **given), False)[0]
        assert plan.changed, given
    with pytest.raises(OptionError, match="key: 'new~1' is not allowed"):
        _ensure(KV_ENTRY, session, options(KV_ENTRY, bucket=bucket.name, key="new~1", value="1"), False)
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
    with pytest.raises(Refused, match=r"is not a folder, but a/b must be in it"):
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
    """The prefix need not end with the dot before the names."""
    masked = "app/db.*" if prefix.endswith("/") else "app.db.*"
    data = {"db.host": SECRET, "user": "x"}
    assert shown({"data": data, "mask": [masked], "prefix": prefix})["data"] == {"db.host": "(masked)", "user": "x"}


def test_masked_values_are_nowhere(make_server: MakeServer, tmp_path: Path) -> None:
    """No output contains them, with full verbosity, and whether or not the task succeeds."""
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
    pushed = result.task("pushed").result
    assert pushed["invocation"]["module_args"]["data"] == {"db.password": "(masked)", "user": "bob"}
    assert [diff["after"] for diff in pushed["diff"]] == ["(masked)", "bob"]
    prefixed = result.task("below").result
    assert prefixed["invocation"]["module_args"]["data"] == {"db.host": "(masked)"}
    assert [diff["after"] for diff in prefixed["diff"]] == ["(masked)"]
    assert SECRET not in result.output
    assert (tmp_path / "db" / "password").read_text() == SECRET
