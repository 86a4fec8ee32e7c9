# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The tarball: what is in it, that its checksums hold, and that two builds of a commit are identical."""

from __future__ import annotations

import fnmatch
import os
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

import build_collection as build

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.once

GALAXY = Path(sys.executable).parent / "ansible-galaxy"
# What users need. Anything else belongs to build_ignore in galaxy.yml.
TOP = {
    *(f"{name}.md" for name in ("CODE_OF_CONDUCT", "CONTRIBUTING", "README", "SECURITY")),
    *("CHANGELOG.rst", "LICENSE", "LICENSES", "bindep.txt", "changelogs", "docs", "meta", "playbooks", "plugins"),
    *("requirements.txt", "roles"),
}


@pytest.fixture(scope="module")
def tarball(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield build.build(tmp_path_factory.mktemp("first"), GALAXY)


def test_two_builds_are_identical(tarball: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = build.copy_tracked

    def later(folder: Path) -> None:
        """As in another checkout, whose files were written at another time and in another order."""
        copy(folder)
        for path in sorted(folder.rglob("*"), reverse=True):
            os.utime(path, (time.time() - 86400, time.time() - 86400))

    monkeypatch.setattr(build, "copy_tracked", later)
    assert build.build(tmp_path, GALAXY).read_bytes() == tarball.read_bytes()


def test_the_tarball_has_the_tracked_files_that_users_need(tarball: Path) -> None:
    ignored = yaml.safe_load((build.ROOT / "galaxy.yml").read_text())["build_ignore"]

    def is_ignored(path: str) -> bool:
        parts = path.split("/")
        paths = ["/".join(parts[: count + 1]) for count in range(len(parts))]
        return any(fnmatch.fnmatch(each, pattern) for each in [*paths, parts[-1]] for pattern in ignored)

    tracked = [path for path in build.git("ls-files", "-z").split("\0") if path and (build.ROOT / path).is_file()]
    wanted = {path for path in tracked if not is_ignored(path) and path != "galaxy.yml"}
    with tarfile.open(tarball) as archive:
        members = archive.getmembers()
    assert {member.name for member in members if member.isfile()} == {*wanted, *build.FIRST}
    assert {member.name.split("/")[0] for member in members} == {*TOP, *build.FIRST}
    assert {(member.uid, member.gid, member.uname, member.gname) for member in members} == {(0, 0, "", "")}
    assert len({member.mtime for member in members}) == 1


def test_checksums_of_the_installed_files_hold(tarball: Path, tmp_path: Path) -> None:
    collections = ["-p", str(tmp_path)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["ANSIBLE_COLLECTIONS_PATH"] = str(tmp_path)
    for command in (["install", str(tarball), "--offline"], ["verify", "choria.streams", "--offline"]):
        subprocess.run([str(GALAXY), "collection", *command, *collections], env=environment, check=True)
