# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Broken files for every reader: each is refused or reported in a sentence, soon, and does not hide other files.

hypothesis breaks whole files in typical ways, the same ones in each run. ``BROKEN_FILES=500`` tries that many for
each reader, chosen at random.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ansible_collections.choria.streams.plugins.module_utils._choria.config import read_config
from ansible_collections.choria.streams.plugins.module_utils._choria.spool import Spool
from ansible_collections.choria.streams.plugins.module_utils._choria.submission_message import Message
from ansible_collections.choria.streams.plugins.module_utils._choria.tokens import read_seed, read_token
from ansible_collections.choria.streams.plugins.module_utils._connection.settings import Settings
from ansible_collections.choria.streams.plugins.module_utils._connection.sources import from_context
from ansible_collections.choria.streams.plugins.module_utils._errors import StreamsError
from ansible_collections.choria.streams.plugins.module_utils._operations.backup import backup, on_disk
from ansible_collections.choria.streams.plugins.module_utils._operations.machine import machine
from ansible_collections.choria.streams.plugins.module_utils._operations.machine.definition import to_yaml
from ansible_collections.choria.streams.plugins.module_utils._operations.machine.files import files_in
from ansible_collections.choria.streams.plugins.module_utils._options import untrusted
from support.bad_values import BAD
from support.machines import GOOD

if TYPE_CHECKING:
    from collections.abc import Callable

_MANY = int(os.environ.get("BROKEN_FILES", "0"))
# Of the processor's time, since the machine may be busy. pytest's timeout ends a reader that waits for ever
_LONGEST = 5.0  # seconds
EACH = settings(
    max_examples=_MANY or 30,
    derandomize=not _MANY,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
# Values that JSON can't contain, and values that broke readers
_VALUES = [value for value in BAD if not isinstance(value, int) or value.bit_length() < 10_000]
DEEP = b"[" * 100_000
ODD = (
    b"",
    b"\0",
    b"[]",
    b"5",
    b"null",
    b'""',
    b"{}",
    DEEP,
    b'{"a":' * 400 + b"1" + b"}" * 400,
    b"\xff\xfe",
    b" " * 50_000 + b"x",
)


def token(claims: dict[str, Any]) -> bytes:
    parts = ({"alg": "EdDSA", "typ": "JWT"}, claims)
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in parts]
    return b".".join([*encoded, b"c2lnbmF0dXJl"])


CLAIMS = {
    "purpose": "choria_client_id",
    "callerid": "up=bob",
    "ou": "choria",
    "exp": int(datetime(2090, 1, 1, tzinfo=timezone.utc).timestamp()),
    "nbf": 1,
    "permissions": {"streams_admin": True},
}
CONTEXT = {"url": "nats://127.0.0.1:4222", "user": "u", "password": "p", "tls_first": False, "inbox_prefix": "_I"}
CONFIG = b"plugin.choria.middleware_hosts = a:1, b:2\nplugin.security.provider = file\nidentity = web1\n"
STATE = {
    "messages": 1,
    "first_seq": 1,
    "last_seq": 1,
    "first_ts": "2026-01-01T00:00:00Z",
    "last_ts": "2026-01-01T00:00:00Z",
}
# An S2 stream of one chunk without compression: an empty tar
ARCHIVE = b"\xff\x06\x00\x00S2sTwO" + b"\x01" + (4 + 1024).to_bytes(3, "little") + b"\0" * 4 + b"\0" * 1024


def broken(draw: Callable[..., Any], whole: bytes) -> bytes:
    """Return a copy of a file that is unchanged, empty, cut, or has other bytes or blanks in it."""
    way = draw(st.sampled_from(["odd", "short", "other", "blanks", "bytes", "whole"]))
    if way == "odd":
        return draw(st.sampled_from(ODD))
    if way == "bytes":
        return draw(st.binary(max_size=200))
    place = draw(st.integers(0, len(whole)))
    if way == "short":
        return whole[:place]
    if way == "other":
        return whole[:place] + bytes([draw(st.integers(0, 255))]) + whole[place + 1 :]
    return whole[:place] + b" " * 30_000 + whole[place:] if way == "blanks" else whole


def bent(draw: Callable[..., Any], whole: Any) -> Any:
    """Return the same JSON with one value replaced or removed, at any depth."""
    if isinstance(whole, dict) and whole and draw(st.booleans()):
        key = draw(st.sampled_from(sorted(whole)))
        if draw(st.integers(0, 4)) == 0:
            return {name: value for name, value in whole.items() if name != key}
        return {**whole, key: bent(draw, whole[key])}
    return draw(st.sampled_from(_VALUES))


def in_time(read: Callable[[], Any]) -> Any:
    """Return the result of a reader, or the sentence with which it refuses the file."""
    began = time.process_time()
    try:
        return read()
    except StreamsError as error:
        assert error.message.isprintable() or "\n" not in error.message
        return None
    finally:
        assert time.process_time() - began < _LONGEST


@EACH
@given(data=st.data())
def test_tokens(data: st.DataObject, tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_bytes(token(bent(data.draw, CLAIMS)) if data.draw(st.booleans()) else broken(data.draw, token(CLAIMS)))
    in_time(lambda: read_token(str(path)))
    in_time(lambda: read_seed(str(path)))


def test_a_message_shows_no_line_ends_of_a_token(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_bytes(token({**CLAIMS, "purpose": "a\nb\x1b[31m" + "x" * 1000}))
    with pytest.raises(StreamsError) as caught:
        read_token(str(path))
    assert "is for 'ab[31mxxx" in caught.value.message
    assert caught.value.message.isprintable() and len(caught.value.message) < 400


@EACH
@given(data=st.data())
def test_contexts(data: st.DataObject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    path = tmp_path / "nats" / "context" / "c.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = json.dumps(bent(data.draw, CONTEXT) if data.draw(st.booleans()) else CONTEXT).encode()
    path.write_bytes(whole if data.draw(st.booleans()) else broken(data.draw, whole))
    in_time(lambda: from_context("c"))
    given_options = {"context": "c", "validate_certs": True, "connect_timeout": "5s", "timeout": "10s"}
    in_time(lambda: Settings.from_options(given_options.get))


@EACH
@given(data=st.data())
def test_configurations(data: st.DataObject, tmp_path: Path) -> None:
    path = tmp_path / "server.conf"
    path.write_bytes(broken(data.draw, CONFIG))
    in_time(lambda: read_config(str(path)))


@EACH
@given(data=st.data())
def test_spools(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    spool = Spool(tmp_path_factory.mktemp("spool"))
    for priority in range(5):
        spool.folder(priority).mkdir(mode=0o700)
    message = Message(subject="a.b", payload=b"x", sender="s", identity="i")
    spool.write(message)
    whole = json.dumps(bent(data.draw, json.loads(message.encode()))).encode()
    name = data.draw(st.sampled_from(["²-a.msg", "1-b.msg", f"{'9' * 40}-c.msg", "-d.msg", " .msg"]))
    (spool.folder(4) / name).write_bytes(whole if data.draw(st.booleans()) else broken(data.draw, message.encode()))
    state = in_time(spool.state)
    assert state["messages"] == 2
    assert len(state["broken"]) <= 1
    json.dumps(state)


def write_backup(folder: Path, name: str) -> Path:
    """Return the smallest backup with a manifest."""
    path = folder / f"{name}-20260101T000000.000Z"
    path.mkdir()
    config = {"name": name, "subjects": ["s"], "retention": "limits", "storage": "file", "num_replicas": 1}
    (path / on_disk.CONFIG).write_text(json.dumps({"config": config, "state": STATE}))
    (path / on_disk.DATA).write_bytes(ARCHIVE)
    files = {name: on_disk.file_facts(path / name) for name in (on_disk.CONFIG, on_disk.DATA)}
    manifest = {
        **{"version": on_disk.VERSION, "stream": name, "created": "2026-01-01T00:00:00.000Z", "format": 1},
        **{"config": config, "state": STATE, "files": files, "server": {"name": "n", "version": "2.15.0"}},
        "consumers": [{"name": "C", "durable": True, "ack_floor": 1, "delivered": 1}],
    }
    (path / on_disk.MANIFEST).write_text(json.dumps(manifest))
    return path


@EACH
@given(data=st.data())
def test_backups(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("backups")
    write_backup(folder, "GOOD")
    path = write_backup(folder, "BAD")
    name = data.draw(st.sampled_from([on_disk.MANIFEST, on_disk.CONFIG, on_disk.DATA]))
    whole = (path / name).read_bytes()
    if name != on_disk.DATA and data.draw(st.booleans()):
        (path / name).write_text(json.dumps(bent(data.draw, json.loads(whole))))
    else:
        (path / name).write_bytes(broken(data.draw, whole))
    found = in_time(lambda: backup.backups_of({"path": str(folder)}, False))
    there = {Path(one["path"]).name.partition("-")[0]: one for one in found["backups"]}
    assert there["GOOD"]["verified"]
    assert there["BAD"]["verified"] == ((path / name).read_bytes() == whole) or there["BAD"]["problem"] is None
    json.dumps(found)


@EACH
@given(data=st.data())
@example(data=None)
def test_definitions_and_archives(data: st.DataObject | None, tmp_path: Path) -> None:
    definition = {"name": "DEPLOY", **GOOD["a key and a command"]}
    text = to_yaml(definition).encode()
    if data is None:
        assert machine.load(text) == definition
        return
    in_time(lambda: _loaded(broken(data.draw, text)))
    archive = tmp_path / "a"
    archive.write_bytes(broken(data.draw, text))
    in_time(lambda: files_in(str(archive), f"sha256:{hashlib.sha256(archive.read_bytes()).hexdigest()}"))


def _loaded(text: bytes) -> Any:
    try:
        return machine.load(text)
    except ValueError as error:
        assert str(error).startswith("is not")
        return None


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "nul", "long", "none"])
def test_devices_are_refused(kind: str, tmp_path: Path) -> None:
    """Each reader refuses a device at once, with the reason."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    path = {
        "pipe": str(tmp_path / "pipe"),
        "device": "/dev/zero",
        "folder": str(tmp_path / "folder"),
        "nul": f"{tmp_path}/a\0b",
        "long": f"{tmp_path}/{'x/' * 2000}",
        "none": str(tmp_path / "none"),
    }[kind]
    began = time.process_time()
    with pytest.raises(OSError) as refused:
        untrusted.read_bytes(path)
    assert refused.value.strerror
    with pytest.raises(OSError):
        untrusted.check_pem(path)
    usual = {"validate_certs": True, "connect_timeout": "5s", "timeout": "10s", "servers": ["nats://127.0.0.1:1"]}
    for option in ("choria_config", "creds", "ca_path"):
        with pytest.raises(StreamsError, match=f"^{option}: "):
            Settings.from_options({**usual, option: path}.get)
    for read in (read_token, read_seed, read_config):
        with pytest.raises(StreamsError, match="can't be read"):
            read(path)
    assert time.process_time() - began < _LONGEST
