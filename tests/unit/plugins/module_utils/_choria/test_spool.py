# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The submission spool: the content of a message's file, refusals, and that no incomplete file stays."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import resource
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.choria.streams.plugins.module_utils._choria.spool import Spool, find_spool
from ansible_collections.choria.streams.plugins.module_utils._choria.submission_message import (
    MAX_SIZE,
    MAX_TTL,
    Message,
    timestamp,
)
from ansible_collections.choria.streams.plugins.module_utils._errors import OptionError, Refused
from support import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

NOBODY = 65534
UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"


def make_spool(path: Path, limit: int = 500) -> Spool:
    for priority in range(5):
        (path / f"P{priority}").mkdir(0o700, parents=True)
    return Spool(path, limit)


def message(**fields: Any) -> Message:
    return Message(**{"subject": "a.b", "payload": b"hello", "sender": "user 0", "identity": "node1", **fields})


def files(spool: Spool) -> list[str]:
    return sorted(str(path.relative_to(spool.path)) for path in spool.path.rglob("*") if path.is_file())


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return make_spool(tmp_path / "spool")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can open, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@contextlib.contextmanager
def without_privileges() -> Iterator[None]:
    """Run the test as a user other than root, for whom permissions count."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


# The format


def test_file_is_as_choria_tool_submit_writes_it(spool: Spool) -> None:
    before = time.time_ns()
    sent = message(payload=b'{"a":1}\n', reliable=True, ttl=86400.0, headers={"X": "1"}, priority=2)
    path = spool.write(sent)
    assert path.parent == spool.path / "P2"
    name = re.fullmatch(rf"(\d{{19}})-({UUID})\.msg", path.name)
    assert name
    assert before <= int(name[1]) <= time.time_ns()
    assert name[2] != sent.id
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert files(spool) == [f"P2/{path.name}"]
    content = json.loads(path.read_bytes())
    assert list(content) == [
        *("id", "subject", "payload", "reliable", "priority", "created", "ttl", "max_tries", "tries", "next_try"),
        *("sender", "identity", "sign", "headers"),
    ]
    assert base64.b64decode(content.pop("payload")) == b'{"a":1}\n'
    assert re.fullmatch(UUID, content.pop("id"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", content.pop("created"))
    assert content == {
        "subject": "a.b",
        "reliable": True,
        "priority": 2,
        "ttl": 86400,
        "max_tries": 100,
        "tries": 0,
        "next_try": "0001-01-01T00:00:00Z",
        "sender": "user 0",
        "identity": "node1",
        "sign": False,
        "headers": {"X": "1"},
    }


def test_without_headers_they_are_null(spool: Spool) -> None:
    assert json.loads(spool.write(message()).read_bytes())["headers"] is None


def test_mode_does_not_depend_on_the_umask(spool: Spool) -> None:
    before = os.umask(0o777)
    try:
        path = spool.write(message())
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_files_sort_in_the_order_of_submission(spool: Spool) -> None:
    written = [spool.write(message()).name for _time in range(50)]
    assert sorted(written) == written


def test_timestamp() -> None:
    assert timestamp(1795452317730822275) == "2026-11-23T16:45:17.730822275Z"
    assert timestamp(1) == "1970-01-01T00:00:00.000000001Z"


def test_headers_are_those_of_the_server() -> None:
    sent = message(headers={"X": "1"}, priority=3, created=123)
    assert sent.sent() == {
        "X": "1",
        "Nats-Msg-Id": sent.id,
        "Choria-Priority": "3",
        "Choria-Created": "123",
        "Choria-Sender": "user 0",
        "Choria-Identity": "node1",
    }
    assert message(reliable=True).sent()["Choria-Reliable"] == "1"


# Refusals


@pytest.mark.parametrize(
    ("fields", "option", "expected"),
    [
        ({"subject": ""}, "subject", "'' is not a subject"),
        ({"subject": "a b"}, "subject", "'a b' is not a subject"),
        ({"subject": "a.*"}, "subject", "'a.*' is not a subject"),
        ({"subject": "a..b"}, "subject", "'a..b' is not a subject"),
        ({"payload": b""}, "payload", "is empty"),
        ({"priority": 5}, "priority", "5 is not a priority"),
        ({"priority": -1}, "priority", "-1 is not a priority"),
        ({"ttl": 0.0}, "ttl", "0s is out of range"),
        # The server counts whole seconds, so this one would expire at once
        ({"ttl": 0.5}, "ttl", "0.5s is out of range"),
        ({"ttl": MAX_TTL + 1.0}, "ttl", "31d"),
        ({"max_tries": 0}, "max_tries", "0 is too few"),
        ({"sender": ""}, "sender", "one line"),
        ({"sender": "a\nb"}, "sender", "one line"),
        ({"identity": "a\rb"}, "identity", "one line"),
        ({"headers": {"Choria-Sender": "x"}}, "headers", "'Choria-Sender' is reserved"),
        ({"headers": {"cHORIAn": "x"}}, "headers", "'cHORIAn' is reserved"),
        ({"headers": {"NATS-TTL": "1"}}, "headers", "'NATS-TTL' is reserved"),
        ({"headers": {"a b": "1"}}, "headers", "'a b' is not a header's name"),
        ({"headers": {"": "1"}}, "headers", "'' is not a header's name"),
        ({"headers": {"a": "1\r\nb: 2"}}, "headers", "the value of 'a' must be one line"),
    ],
)
def test_messages_that_the_server_would_lose_are_refused(fields: dict[str, Any], option: str, expected: str) -> None:
    with pytest.raises(OptionError) as caught:
        message(**fields).check()
    assert caught.value.failure["option"] == option
    assert expected in caught.value.message
    assert "hello" not in caught.value.message


@pytest.mark.parametrize("fields", [{"ttl": 1.0}, {"ttl": float(MAX_TTL)}, {"priority": 0}, {"headers": {"X": "é"}}])
def test_limits_themselves_are_allowed(fields: dict[str, Any]) -> None:
    message(**fields).check()


def test_messages_that_are_too_large_are_refused() -> None:
    room = MAX_SIZE - 400
    message(payload=b"x" * room).check_size()
    with pytest.raises(OptionError, match=f"payload: has {MAX_SIZE} bytes, and the brokers take at most {MAX_SIZE}"):
        message(payload=b"x" * MAX_SIZE).check_size()
    message(payload=b"x" * MAX_SIZE).check_size(2 * MAX_SIZE)


def test_full_as_the_server_counts(tmp_path: Path) -> None:
    spool = make_spool(tmp_path / "spool", limit=2)
    for _time in range(3):
        spool.write(message(priority=1))
    with pytest.raises(Refused, match=r"is full: 3 messages of priority 1 wait, and .*max_spool_size is 2") as caught:
        spool.write(message(priority=1))
    assert caught.value.failure["code"] == "spool_full"
    spool.write(message(priority=2))
    assert len(files(spool)) == 4


def test_no_spool(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="There is no submission spool") as caught:
        Spool(tmp_path / "none").write(message())
    assert caught.value.failure["code"] == "spool_missing"
    (tmp_path / "file").write_text("")
    with pytest.raises(Refused, match="There is no submission spool"):
        Spool(tmp_path / "file").check(4)
    with pytest.raises(Refused, match="P4 is missing in the submission spool"):
        Spool(tmp_path).check(4)
    assert not (tmp_path / "P4").exists()


def test_spool_of_another_user(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    belongs = spool.folder(4)
    if os.geteuid() == 0:
        os.chown(belongs, NOBODY, NOBODY)
    else:  # All folders belong to the test's user, and the message names the first one
        mine, belongs = os.geteuid(), spool.path
        monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
    sentence = rf"{re.escape(str(belongs))} belongs to user \d+, who could not read what user \d+ writes"
    with pytest.raises(Refused, match=sentence) as caught:
        spool.write(message())
    assert caught.value.failure["code"] == "spool_owner"
    assert files(spool) == []


def test_spool_that_everybody_can_change(spool: Spool) -> None:
    spool.folder(4).chmod(0o777)
    with pytest.raises(Refused, match=r"P4 can be changed by every user \(mode 0777\)") as caught:
        spool.write(message())
    assert caught.value.failure["code"] == "spool_mode"
    spool.folder(4).chmod(0o1777)
    spool.write(message())


@pytest.mark.parametrize(("where", "mode"), [("", 0o500), ("P4", 0o500), ("", 0o000), ("P4", 0o300)])
def test_spool_without_access(open_folder: Path, where: str, mode: int) -> None:
    spool = make_spool(open_folder / "spool")
    if os.geteuid() == 0:
        for path in (spool.path, *spool.path.iterdir()):
            os.chown(path, NOBODY, NOBODY)
    (spool.path / where).chmod(mode)
    try:
        with without_privileges(), pytest.raises(Refused, match=r"User \d+ may not .*\(become: true\)") as caught:
            spool.write(message())
    finally:
        (spool.path / where).chmod(0o700)
    assert caught.value.failure["code"] == "spool_permission"
    assert files(spool) == []


def test_root_spool_as_another_user(open_folder: Path) -> None:
    spool = make_spool(open_folder / "spool")
    spool.path.chmod(0o700 if os.geteuid() == 0 else 0o000)
    try:
        with without_privileges(), pytest.raises(Refused, match=r"User \d+ may not look into|may not write into"):
            spool.write(message())
        with without_privileges(), pytest.raises(Refused, match=r"User \d+ may not"):
            spool.state()
    finally:
        spool.path.chmod(0o700)


# A full disk


@contextlib.contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Writes beyond the limit fail, as with a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [0, 100, 4096])
def test_full_disk_leaves_nothing(spool: Spool, size: int) -> None:
    with file_size_limit(size), pytest.raises(Refused, match="did not take the message") as caught:
        spool.write(message(payload=b"secret" * 2000))
    assert caught.value.failure["code"] == "spool_write"
    assert "nothing of it is left there" in caught.value.message
    assert "secret" not in caught.value.message
    assert files(spool) == []


def test_rename_that_fails_leaves_nothing(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_paths: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", fail)
    with pytest.raises(Refused, match="No space left on device"):
        spool.write(message())
    assert files(spool) == []


def test_file_is_whole_when_it_appears(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    fsync, rename = os.fsync, os.rename

    def synced(handle: int) -> None:
        fsync(handle)
        calls.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")

    def renamed(source: str, target: Path) -> None:
        assert Path(source).parent == spool.path
        assert json.loads(Path(source).read_bytes())
        rename(source, target)
        calls.append("rename")

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "rename", renamed)
    spool.write(message())
    assert calls == ["file", "rename", "folder"]


# Reading it back


def test_empty_spool(spool: Spool) -> None:
    state = spool.state()
    assert len(state.pop("priorities")) == 5
    assert state == {
        "path": str(spool.path),
        "limit": 500,
        "messages": 0,
        "bytes": 0,
        "oldest": None,
        "oldest_age": None,
        "nearly_full": False,
        "full": False,
        "broken": [],
        "unfinished": [],
    }


def test_counts_and_ages(spool: Spool) -> None:
    hour_ago = time.time_ns() - 3600 * 10**9
    spool.write(message(priority=0))
    older = spool.write(message(priority=4))
    tried = {**json.loads(older.read_bytes()), "tries": 7}
    older.write_text(json.dumps(tried))
    older.rename(older.parent / f"{hour_ago}-x.msg")
    spool.write(message(priority=4))
    (spool.folder(4) / "no-message").write_text("")
    state = spool.state()
    assert [found["messages"] for found in state["priorities"]] == [1, 0, 0, 0, 2]
    assert [found["tries"] for found in state["priorities"]] == [0, 0, 0, 0, 7]
    assert state["messages"] == 3
    assert state["bytes"] == sum((spool.path / name).stat().st_size for name in files(spool))
    assert state["oldest"] == state["priorities"][4]["oldest"] == timestamp(hour_ago)
    assert 3600 <= state["oldest_age"] < 3660
    assert state["priorities"][0]["oldest_age"] < 60


@pytest.mark.parametrize(
    ("count", "nearly_full", "full"), [(3, False, False), (4, True, False), (5, True, False), (6, True, True)]
)
def test_nearly_full(tmp_path: Path, count: int, nearly_full: bool, full: bool) -> None:
    spool = make_spool(tmp_path / "spool", limit=5)
    for _time in range(count):
        spool.write(message(priority=3))
    state = spool.state()
    assert (state["nearly_full"], state["full"]) == (nearly_full, full)
    assert [found["nearly_full"] for found in state["priorities"]] == [False, False, False, nearly_full, False]


def test_broken_files_are_named(spool: Spool) -> None:
    whole = json.loads(message().encode())
    contents = {
        "1-a.msg": "{",
        "2-b.msg": "[]",
        "3-c.msg": json.dumps({**whole, "priority": "high"}),
        "4-d.msg": json.dumps({**whole, "tries": True}),
        "5-e.msg": json.dumps({**whole, "payload": ""}),
        "6-f.msg": json.dumps({**whole, "unknown": 1}),
        "7-g.msg": json.dumps({**whole, "tries": None}),
        "7-h.msg": json.dumps({**whole, "tries": 10**30}),
        "8-i.msg": "[" * 100_000,
        "9-j.msg": json.dumps({**whole, "payload": "%"}),
        "9-k.msg": json.dumps({**whole, "created": "soon"}),
        "²-l.msg": json.dumps(whole),
        f"{'9' * 30}-m.msg": json.dumps(whole),
        "odd.msg": json.dumps(whole),
    }
    for name, content in contents.items():
        (spool.folder(1) / name).write_text(content)
    os.mkfifo(spool.folder(1) / "pipe.msg")
    (spool.folder(1) / "folder.msg").mkdir()
    (spool.path / "choria-streams-rest").write_text("")
    state = spool.state()
    assert {Path(found["file"]).name: found["reason"] for found in state["broken"]} == {
        "1-a.msg": "is not JSON (at line 1, column 2)",
        "2-b.msg": "is not a JSON object",
        "3-c.msg": "priority has a wrong type",
        "4-d.msg": "tries has a wrong type",
        "5-e.msg": "payload is missing or empty",
        "7-h.msg": "tries is out of range",
        "8-i.msg": "is not JSON that can be read: it is nested too deeply",
        "9-j.msg": "payload is not base64",
        "9-k.msg": "created is not a time",
        "pipe.msg": "can't be read (it is not a regular file)",
        "folder.msg": "can't be read (Is a directory)",
    }
    assert state["messages"] == len(contents) + 2
    assert state["unfinished"] == [str(spool.path / "choria-streams-rest")]


# The path of the spool


def write_config(folder: Path, **values: object) -> Path:
    path = folder / "server.conf"
    keys = {name.replace("_", "."): value for name, value in values.items()}
    lines = [f"plugin.choria.submission.{name} = {value}" for name, value in keys.items()]
    path.write_text("\n".join(["identity = node7.example.net", *lines]) + "\n")
    return path


def test_spool_of_a_configuration(tmp_path: Path) -> None:
    config = write_config(tmp_path, spool=tmp_path / "spool")
    found = find_spool(None, str(config))
    assert (found.path, found.limit) == (tmp_path / "spool", 500)
    assert found.config is not None
    assert found.config.identity == "node7.example.net"


def test_limit_of_a_configuration(tmp_path: Path) -> None:
    config = tmp_path / "server.conf"
    keys = f"plugin.choria.submission.spool = {tmp_path}/spool\nplugin.choria.submission.max_spool_size = 7\n"
    config.write_text(keys)
    assert find_spool(None, str(config)).limit == 7
    assert find_spool(str(tmp_path / "spool"), str(config)).limit == 7
    other = find_spool(str(tmp_path / "other"), str(config))
    assert (other.path, other.limit, other.config) == (tmp_path / "other", 500, None)
    config.write_text(keys.replace("7", "0"))
    with pytest.raises(OptionError, match=r"max_spool_size in .* is 0"):
        find_spool(None, str(config))


def test_configuration_without_a_spool(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"server\.conf sets no plugin\.choria\.submission\.spool"):
        find_spool(None, str(write_config(tmp_path)))
    with pytest.raises(OptionError, match=r"choria_config: .*none\.conf can't be read"):
        find_spool(None, str(tmp_path / "none.conf"))


def test_needs_the_standard_library_alone(tmp_path: Path) -> None:
    spool = make_spool(tmp_path / "spool")
    code = f"""
import sys
sys.path.insert(0, {str(ROOT / ".build")!r})
from ansible_collections.choria.streams.plugins.module_utils._choria.spool import Spool
from ansible_collections.choria.streams.plugins.module_utils._operations import submission
options = dict(subject="a", payload="x", encoding="text", src=None, reliable=True, priority=4, ttl="1h", max_tries=1,
    sender=None, sign=False, headers=None, transport="spool", spool={str(spool.path)!r}, choria_config=None,
    identity=None, collective=None)
print(submission.submit(None, options, False)["message"]["file"])
"""
    # -I -S: no site-packages, and nothing from the environment
    result = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, encoding="utf-8", check=True)
    assert Path(result.stdout.strip()).exists()
