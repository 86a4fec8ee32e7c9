# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Autonomous agents in a store: refused definitions, unchanged files, and no incomplete machine at any moment."""

from __future__ import annotations

import copy
import hashlib
import io
import json
import os
import sys
import tarfile
import threading
import zipfile
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from ansible_collections.choria.streams.plugins.module_utils._errors import OptionError, Refused
from ansible_collections.choria.streams.plugins.module_utils._operations.machine import machine
from ansible_collections.choria.streams.plugins.module_utils._operations.machine import store as machine_store
from ansible_collections.choria.streams.plugins.module_utils._operations.machine.definition import to_yaml
from ansible_collections.choria.streams.plugins.module_utils._operations.machine.schema import SCHEMA, WATCHERS
from support import ROOT
from support.in_process import run_module
from support.machine_corpus import DOES_NOT_START, STARTS
from support.machine_corpus import definition as corpus_definition
from support.machines import BAD, GOOD, changed

PUBLISHED = ROOT / "docs" / "machine.schema.json"
DEFAULTS: dict[str, Any] = {
    "state": "present",
    "name": "DEPLOY",
    "definition": None,
    "files": [],
    "archive": None,
    "archive_checksum": None,
    "exact": False,
    "validate": True,
    "program": None,
    "keep": None,
    "choria_config": None,
}
SCRIPT = {"path": "bin/run", "content": "one", "encoding": "text", "mode": "0755"}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "machines"
    folder.mkdir(mode=0o700)
    return folder


def act(store: Path, *, check: bool = False, **given: Any) -> Any:
    options = {**DEFAULTS, "store": str(store), **given}
    if options["state"] == "present" and options["definition"] is None and options["archive"] is None:
        options["definition"] = GOOD["a key and a command"]
    return machine.act(lambda: pytest.fail("it connects"), options, check)


def refused(store: Path, **given: Any) -> str:
    with pytest.raises((OptionError, Refused)) as caught:
        act(store, **given)
    assert [path.name for path in store.iterdir()] == [], "something was written"
    return str(caught.value)


def test_the_schema_is_published() -> None:
    assert json.loads(PUBLISHED.read_text()) == SCHEMA, (
        "write it anew: python3 -c 'import json; from ansible_collections.choria.streams.plugins.module_utils._options."
        "machine_schema import SCHEMA; print(json.dumps(SCHEMA, indent=2))' > docs/machine.schema.json"
    )
    jsonschema.Draft7Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("label", GOOD)
def test_good_definitions(label: str) -> None:
    jsonschema.Draft7Validator(SCHEMA).validate({"name": "DEPLOY", **GOOD[label]})
    machine.check_definition({"name": "DEPLOY", **GOOD[label]}, "definition")


@pytest.mark.parametrize("label", BAD)
def test_bad_definitions(label: str) -> None:
    case = BAD[label]
    with pytest.raises(OptionError) as caught:
        machine.check_definition({"name": "DEPLOY", **case.definition}, "definition")
    assert case.says in caught.value.message
    valid = jsonschema.Draft7Validator(SCHEMA).is_valid({"name": "DEPLOY", **case.definition})
    assert valid == case.beyond_schema


@pytest.mark.parametrize("name", STARTS)
def test_watchers_that_start(name: str) -> None:
    machine.check_definition(corpus_definition(STARTS[name]), "definition")


@pytest.mark.parametrize("name", DOES_NOT_START)
def test_watchers_that_do_not_start(name: str) -> None:
    with pytest.raises(OptionError, match=r"^definition: watchers"):
        machine.check_definition(corpus_definition(DOES_NOT_START[name]), "definition")


@pytest.mark.parametrize("key", ["machine_state", "name"])
def test_foreign_states_with_another_key(key: str) -> None:
    """The server would not run such a watcher, and report the reason only in its log."""
    watcher = {**STARTS["command"], "foreign_state_required": [{"machine_name": "OTHER", key: "running"}]}
    with pytest.raises(OptionError, match=r"foreign_state_required\[0\].state is missing"):
        machine.check_definition(corpus_definition(watcher), "definition")


def test_every_watcher_has_a_good_definition() -> None:
    assert {watcher["type"] for one in GOOD.values() for watcher in one["watchers"]} == set(WATCHERS)


@pytest.mark.parametrize(
    "value",
    [
        *GOOD.values(),
        {"on": ["yes", {"a": []}, ["x", ["y"]]], "text": 'two\nlines "and" \u00e9 \U0001f600 # : {', "none": None},
        {"a\x85b": "a\x7fb\x85c\u2028d\ufeffe\x00"},
    ],
)
def test_yaml_says_the_same(value: dict[str, Any]) -> None:
    assert yaml.safe_load(to_yaml(value)) == value


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"name": "a.b"}, "'a.b' can't name an autonomous agent"),
        ({"name": "ab\n"}, "can't name an autonomous agent"),
        ({"name": "../up"}, "can't name an autonomous agent"),
        ({"name": "my-temp"}, "passes over folders"),
        ({"name": "x" * 300}, "it has more than 200 characters"),
        ({"definition": {"name": "OTHER", **GOOD["a key and a command"]}}, "defines OTHER, and not DEPLOY"),
        ({"files": [{**SCRIPT, "path": "../up"}]}, "files[0].path: '../up' is not a path inside"),
        ({"files": [{**SCRIPT, "path": "/etc/x"}]}, "is not a path inside"),
        ({"files": [{**SCRIPT, "path": "."}]}, "is not a path inside"),
        ({"files": [SCRIPT, {**SCRIPT, "path": "bin//run"}]}, "files[1].path: 'bin/run' is there twice"),
        ({"files": [{**SCRIPT, "path": "machine_data.json"}]}, "belongs to the server"),
        ({"files": [{**SCRIPT, "path": "machine.yaml"}]}, "is already given by definition"),
        ({"files": [{**SCRIPT, "path": "./machine.yaml"}]}, "is already given by definition"),
        ({"files": [{**SCRIPT, "mode": "4755"}]}, "'4755' is not a mode"),
        ({"files": [{**SCRIPT, "mode": 755}]}, "lets others write"),
        ({"files": [{**SCRIPT, "mode": "0777"}]}, "lets others write"),
        ({"files": [{**SCRIPT, "encoding": "base64", "content": "!"}]}, "files[0].content: is not base64"),
        ({"program": "/none/choria"}, "/none/choria machine validate does not work"),
    ],
)
def test_unusable_files_and_archives_are_refused(store: Path, given: dict[str, Any], says: str) -> None:
    assert says in refused(store, **given)


def tar(path: Path, *members: tarfile.TarInfo | str) -> dict[str, Any]:
    with tarfile.open(path, "w:gz") as made:
        for member in members:
            info = tarfile.TarInfo(member) if isinstance(member, str) else member
            content = to_yaml({"name": "DEPLOY", **GOOD["a key and a command"]}).encode()
            info.size = len(content) if info.isfile() else 0
            made.addfile(info, io.BytesIO(content))
    return {"archive": str(path), "archive_checksum": f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"}


def link(name: str, kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "/etc/passwd"
    return info


def test_archives_that_can_t_be_used(store: Path, tmp_path: Path) -> None:
    cases: list[tuple[tarfile.TarInfo | str, str]] = [
        ("../up", "outside of the machine's folder"),
        ("/etc/up", "outside of the machine's folder"),
        (link("x", tarfile.SYMTYPE), "a link or a device"),
        (link("x", tarfile.LNKTYPE), "a link or a device"),
        (link("x", tarfile.CHRTYPE), "a link or a device"),
        ("machine_data.json", "belongs to the server"),
    ]
    for number, (member, says) in enumerate(cases):
        assert says in refused(store, **tar(tmp_path / f"{number}.tgz", "machine.yaml", member))
    good = tar(tmp_path / "good.tgz", "machine.yaml")
    assert "is another file than expected" in refused(store, **{**good, "archive_checksum": f"sha256:{'0' * 64}"})
    assert "is not a checksum" in refused(store, **{**good, "archive_checksum": "md5:00"})
    assert "can't be read" in refused(store, **{**good, "archive": str(tmp_path / "none.tgz")})
    assert "has no machine.yaml" in refused(store, **tar(tmp_path / "without.tgz", "run"))
    assert "defines DEPLOY, and not OTHER" in refused(store, name="OTHER", **good)
    text = tmp_path / "text"
    text.write_text("no archive")
    machine: dict[str, Any] = {
        "archive": str(text),
        "archive_checksum": f"sha256:{hashlib.sha256(b'no archive').hexdigest()}",
    }
    assert "can't be read" in refused(store, **machine)


def packed(path: Path, files: dict[str, bytes]) -> dict[str, Any]:
    """Return an archive of these files, and its checksum."""
    mode: Any = f"w:{path.suffix[1:] if path.suffix != '.tar' else ''}"
    with tarfile.open(path, mode) as made:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            made.addfile(info, io.BytesIO(content))
    return checksummed(path)


def checksummed(path: Path) -> dict[str, Any]:
    return {"archive": str(path), "archive_checksum": f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"}


DEFINITION = to_yaml({"name": "DEPLOY", **GOOD["a key and a command"]}).encode()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "its machine.yaml is empty"),
        (b"# nothing\n", "it defines no machine with a name"),
        (b"[" * 500, "its machine.yaml is not YAML"),
        (b"- " * 500 + b"1", "its machine.yaml is not YAML"),
        (b"\xff", "its machine.yaml is not UTF-8 text"),
        (b"name: !!timestamp x", "its machine.yaml is not YAML"),
        (b"name: [DEPLOY]", "it defines ['DEPLOY'], and not DEPLOY"),
        (b"a: " + b"x" * (1 << 20), "has more than 1048576 characters"),
    ],
    ids=lambda value: str(value)[:20],
)
@pytest.mark.parametrize("validate", [True, False])
def test_broken_definitions_in_archives(
    store: Path, tmp_path: Path, content: bytes, says: str, *, validate: bool
) -> None:
    assert says in refused(store, validate=validate, **packed(tmp_path / "a.gz", {"machine.yaml": content}))


@pytest.mark.parametrize("kind", ["tar", "gz", "bz2", "xz"])
def test_each_changed_byte_of_a_packed_archive_is_noticed(store: Path, tmp_path: Path, kind: str) -> None:
    good = tmp_path / f"good.{kind}"
    packed(good, {"machine.yaml": DEFINITION, "bin/run": b"x" * 2000})
    whole = good.read_bytes()
    # Compressed data has a checksum, except gzip's own header. In other archives only headers have one
    places = range(0, 345, 7) if kind == "tar" else range(30 if kind == "gz" else 0, len(whole), 37)
    for place in places:
        changed = tmp_path / "changed"
        changed.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        assert "archive: " in refused(store, **checksummed(changed)), place
    for length in range(0, len(whole) - 9000 if kind == "tar" else len(whole), 397):
        (tmp_path / "short").write_bytes(whole[:length])
        assert "archive: " in refused(store, **checksummed(tmp_path / "short")), length


def test_archives_that_are_no_files(store: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path):
        said = refused(store, archive=str(path), archive_checksum=f"sha256:{'0' * 64}")
        assert said.startswith(f"archive: {path} can't be read"), said


def test_files_below_files(store: Path, tmp_path: Path) -> None:
    files = [{**SCRIPT, "path": "bin"}, SCRIPT]
    assert "files[1].path: 'bin/run' is below another file" in refused(store, files=files)
    archive = packed(tmp_path / "a.gz", {"machine.yaml/x": b"", "machine.yaml": b""})
    assert "is below another file" in refused(store, **archive)
    assert "files[0].path: " in refused(store, files=[{**SCRIPT, "path": "a" * 300}])
    for path, given in (("b.gz", {"bin": b""}), ("c.gz", {"bin/run/it": b""})):
        archive = packed(tmp_path / path, {"machine.yaml": b"name: DEPLOY", **given})
        assert "is below a file, and one of them is in archive: move one." in refused(store, **archive, files=[SCRIPT])


def test_a_zip_archive_with_a_folder_around_all(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "machine.zip"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("agent-1.0/machine.yaml", json.dumps({"name": "DEPLOY", **GOOD["a key and a command"]}))
        made.writestr("agent-1.0/bin/run", "run")
    given: dict[str, Any] = {
        "archive": str(path),
        "archive_checksum": f"sha512:{hashlib.sha512(path.read_bytes()).hexdigest()}",
    }
    # JSON needs no library for YAML
    monkeypatch.setitem(sys.modules, "yaml", None)
    result = act(store, **given)
    assert result["machine"]["files"] == ["bin/run", "machine.yaml"]
    assert result["machine"]["validated"] == ["schema"]
    assert not act(store, **given)["changed"]


def test_an_archive_in_yaml_where_the_host_has_no_library(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    empty = packed(tmp_path / "empty.tar", {"machine.yaml": b"\n"})
    assert "archive: its machine.yaml is empty" in refused(store, **empty)
    result = act(store, **tar(tmp_path / "good.tgz", "machine.yaml"))
    assert result["changed"] and result["machine"]["validated"] == []


def test_stores_that_can_t_be_used(store: Path, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="There is no store of autonomous agents"):
        act(tmp_path / "none")
    assert act(tmp_path / "none", check=True)["changed"]
    store.chmod(0o777)
    assert "others could change what Choria Server runs" in refused(store)
    store.chmod(0o700)
    (tmp_path / "elsewhere").mkdir()
    (store / "DEPLOY").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Refused, match="is a link or a file"):
        act(store)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_unchanged_files_are_not_replaced(store: Path) -> None:
    act(store, files=[SCRIPT])
    folder = store / "DEPLOY"
    with (folder / "log").open("w") as log:
        (folder / "cache").mkdir()
        (folder / "machine_data.json").write_text("{}")
        act(store, files=[{**SCRIPT, "content": "two"}])
        log.write("still written")
    assert (folder / "log").read_text() == "still written"
    assert (folder / "cache").is_dir()
    assert (folder / "bin/run").read_text() == "two"
    act(store, files=[{**SCRIPT, "content": "two"}], exact=True)
    assert sorted(path.name for path in folder.iterdir()) == ["bin", "machine.yaml", "machine_data.json"]
    assert [path.name for path in store.iterdir()] == ["DEPLOY"]


def test_data_written_during_the_exchange_is_kept(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    act(store)
    data = store / "DEPLOY" / "machine_data.json"
    data.write_text("old")
    exchange = machine_store._exchange

    def late(fresh: Path, folder: Path, away: Path) -> None:
        (folder / "temporary").write_text("new")
        (folder / "temporary").replace(folder / "machine_data.json")
        exchange(fresh, folder, away)

    monkeypatch.setattr(machine_store, "_exchange", late)
    act(store, files=[SCRIPT])
    assert data.read_text() == "new"


@pytest.mark.parametrize("with_exchange", [True, False])
def test_a_machine_is_never_incomplete(store: Path, monkeypatch: pytest.MonkeyPatch, with_exchange: bool) -> None:
    if not with_exchange:
        monkeypatch.setattr(machine_store.ctypes, "CDLL", lambda *_args, **_more: object())
    act(store, files=[{**SCRIPT, "content": "0"}])
    seen: list[str] = []
    ended = threading.Event()

    def look() -> None:
        while not ended.is_set():
            found = machine_store.Store(store).machines()
            if found != ["DEPLOY"] and (with_exchange or found):
                seen.append(str(found))

    thread = threading.Thread(target=look)
    thread.start()
    for number in range(1, 60):
        act(store, files=[{**SCRIPT, "content": str(number)}], definition=changed(version=f"1.0.{number}"))
    ended.set()
    thread.join()
    assert seen == []
    assert (store / "DEPLOY" / "bin" / "run").read_text() == "59"


def test_a_run_that_ended_between_two_steps(store: Path) -> None:
    """Systems that can't exchange two folders need two steps."""
    act(store)
    (store / "DEPLOY" / "machine_data.json").write_text("kept")
    (store / "DEPLOY").rename(store / ".choria_machine.DEPLOY.old")
    act(store)
    assert (store / "DEPLOY" / "machine_data.json").read_text() == "kept"
    assert [path.name for path in store.iterdir()] == ["DEPLOY"]


def test_a_removal_that_ended_in_the_middle(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next machine of that name gets no file of the removed one."""
    act(store)
    (store / "DEPLOY" / "machine_data.json").write_text("gone")
    with monkeypatch.context() as patch:
        patch.setattr(machine_store.shutil, "rmtree", lambda *_given, **_more: None)
        act(store, state="absent")
    act(store)
    assert [path.name for path in (store / "DEPLOY").iterdir()] == ["machine.yaml"]
    assert [path.name for path in store.iterdir()] == ["DEPLOY"]


def test_a_refusal_by_the_program_leaves_all_as_it_is(store: Path, tmp_path: Path) -> None:
    act(store)
    program = tmp_path / "choria"
    program.write_text('#!/bin/sh\necho "/watchers/0/interval: bad"\nexit 1\n')
    program.chmod(0o755)
    before = copy.deepcopy((store / "DEPLOY" / "machine.yaml").read_text())
    for check in (True, False):
        with pytest.raises(Refused, match="machine validate refuses it: /watchers/0/interval: bad"):
            act(store, program=str(program), definition=changed(version="2.0.0"), check=check)
    assert (store / "DEPLOY" / "machine.yaml").read_text() == before
    assert [path.name for path in store.iterdir()] == ["DEPLOY"]


def test_only_what_changed_is_written(store: Path) -> None:
    act(store, files=[SCRIPT])
    before = (store / "DEPLOY").stat(), (store / "DEPLOY/machine.yaml").stat(), store.stat().st_mtime_ns
    assert not act(store, files=[SCRIPT])["changed"]
    assert before == ((store / "DEPLOY").stat(), (store / "DEPLOY/machine.yaml").stat(), store.stat().st_mtime_ns)
    (store / "DEPLOY/bin/run").chmod(0o700)
    assert act(store, files=[SCRIPT])["changed"]
    assert (store / "DEPLOY/bin/run").stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("keep", ["", [""]])
def test_an_empty_name_to_keep(store: Path, keep: Any) -> None:
    """It matches no machine, so that all would be removed. A variable without a value looks like that."""
    act(store)
    refused = run_module("choria_machine", {"store": str(store), "state": "purged", "keep": keep})
    assert refused.message == "keep: '' is not allowed: give names or patterns, which are not empty."
    assert (store / "DEPLOY").is_dir()
