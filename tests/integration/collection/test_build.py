# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The tarball: its contents, its checksums, and that two builds of a commit are identical."""

from __future__ import annotations

import fnmatch
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import yaml

from support import ROOT

pytestmark = pytest.mark.once

GALAXY = Path(sys.executable).parent / "ansible-galaxy"
# Ansible's tools expect these files first, in this order
FIRST = ("MANIFEST.json", "FILES.json")
# The files that users need. All other files belong in build_ignore in galaxy.yml.
TOP = {
    *(f"{name}.md" for name in ("CODE_OF_CONDUCT", "CONTRIBUTING", "README", "SECURITY")),
    *("CHANGELOG.rst", "LICENSE", "LICENSES", "bindep.txt", "changelogs", "docs", "meta", "playbooks", "plugins"),
    *("requirements.txt", "roles"),
}


def tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def build(checkout: Path, folder: Path) -> Path:
    path = f"{GALAXY.parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "SOURCE_DATE_EPOCH": "1700000000"}
    subprocess.run([checkout / "tests" / "tools" / "build.sh", folder], env=environment, check=True)
    [tarball] = folder.glob("*.tar.gz")
    return tarball


@pytest.fixture(scope="module")
def tarball(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, tmp_path_factory.mktemp("first"))


def test_two_builds_are_identical(tarball: Path, tmp_path: Path) -> None:
    """The second build is from another checkout, with other times of files, written in another order."""
    checkout = tmp_path / "checkout"
    for name in reversed(tracked()):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, checkout / name)
    for command in (["init", "--quiet"], ["add", "--all", "--force"]):
        subprocess.run(["git", *command], cwd=checkout, check=True)
    assert build(checkout, tmp_path / "second").read_bytes() == tarball.read_bytes()


def test_the_tarball_has_the_tracked_files_that_users_need(tarball: Path) -> None:
    ignored = yaml.safe_load((ROOT / "galaxy.yml").read_text())["build_ignore"]

    def is_ignored(path: str) -> bool:
        parts = path.split("/")
        paths = ["/".join(parts[: count + 1]) for count in range(len(parts))]
        return any(fnmatch.fnmatch(each, pattern) for each in [*paths, parts[-1]] for pattern in ignored)

    wanted = {path for path in tracked() if not is_ignored(path) and path != "galaxy.yml"}
    with tarfile.open(tarball) as archive:
        members = archive.getmembers()
    assert tuple(member.name for member in members[:2]) == FIRST
    assert {member.name for member in members if member.isfile()} == {*wanted, *FIRST}
    assert {member.name.split("/")[0] for member in members} == {*TOP, *FIRST}
    assert {(member.uid, member.gid, member.uname, member.gname) for member in members} == {(0, 0, "", "")}
    assert {member.mtime for member in members} == {1700000000}


def test_checksums_of_the_installed_files_hold(tarball: Path, tmp_path: Path) -> None:
    collections = ["-p", str(tmp_path)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["ANSIBLE_COLLECTIONS_PATH"] = str(tmp_path)
    for command in (["install", str(tarball), "--offline"], ["verify", "choria.streams", "--offline"]):
        subprocess.run([str(GALAXY), "collection", *command, *collections], env=environment, check=True)
