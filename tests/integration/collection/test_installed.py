# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The collection as users install it: from its tarball. Each documented command runs."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from support import ROOT, runs
from support.connect import settings
from support.server import NatsServer

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.once

BIN = Path(sys.executable).parent
# Commands in guides, in comments of playbooks and roles, and in messages, up to the end of the line or quote
COMMAND = re.compile(
    r"((?:ansible-playbook|ansible-doc)(?: -t role| -t \w+)? choria\.streams\.[^`\n]*?)(?=`|'[ :]|$)", re.M
)


def documented() -> list[str]:
    places = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("roles/**/*.md"), *ROOT.glob("playbooks/*.yml")]
    found = {match[1].strip() for place in places for match in COMMAND.finditer(place.read_text())}
    return sorted(command for command in found if "awx_credential_type" not in command)  # test_awx.py has an AWX for it


def users_environment(**more: str) -> dict[str, str]:
    """Return the environment without the collection of this checkout."""
    ours = ("ANSIBLE_", "CHORIA_", "PYTHONPATH")
    return {**{name: value for name, value in os.environ.items() if not name.startswith(ours)}, **more}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of collections with only this one, installed from its tarball."""
    folder = tmp_path_factory.mktemp("installed")
    galaxy = [str(BIN / "ansible-galaxy"), "collection"]
    subprocess.run([*galaxy, "build", "--output-path", str(folder)], cwd=ROOT, check=True)
    [tarball] = folder.glob("choria-streams-*.tar.gz")
    target = folder / "collections"
    environment = users_environment(ANSIBLE_COLLECTIONS_PATH=str(target))  # otherwise the checkout counts as installed
    subprocess.run([*galaxy, "install", str(tarball), "--offline", "-p", str(target)], env=environment, check=True)
    return target


@pytest.fixture(scope="module")
def server() -> Iterator[NatsServer]:
    with NatsServer() as server:
        with Session(settings(servers=server.url)) as session:
            runs.declare(session)
            runs.store(session, runs.whole_run("run", [("web1", "ok")]))
        yield server


def test_there_are_commands() -> None:
    found = documented()
    assert "ansible-doc choria.streams.choria_stream" in found
    assert any(command.startswith("ansible-playbook choria.streams.run_report") for command in found)
    assert any(command.startswith("ansible-playbook choria.streams.results_journal") for command in found)


@pytest.mark.parametrize("command", [*documented(), "ansible-playbook choria.streams.quickstart --list-tasks"])
def test_command(installed: Path, server: NatsServer, tmp_path: Path, command: str) -> None:
    program, *arguments = shlex.split(command)
    environment = users_environment(
        ANSIBLE_COLLECTIONS_PATH=str(installed),
        ANSIBLE_LOCALHOST_WARNING="false",
        CHORIA_STREAMS_SERVERS=server.url,
        HOME=str(tmp_path),
        PWD=str(tmp_path),
    )
    done = subprocess.run(
        [str(BIN / program), *arguments],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    if "run_report" in command:
        assert list(tmp_path.glob("*.html"))


GUIDE = (
    (ROOT / "docs" / "start.md").read_text().partition("## Declare, and look up")[2].partition("## With a Choria")[0]
)
BOX = re.compile(r"(?:Save this (?:there )?as `(\S+)`[^`]*?)?^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_first_ten_minutes(installed: Path, tmp_path: Path) -> None:
    """The guide works as written: its files are saved, its commands run, and their output matches."""
    printed, compared = "", 0
    with NatsServer() as server:
        environment = users_environment(
            ANSIBLE_COLLECTIONS_PATH=str(installed),
            ANSIBLE_NOCOLOR="true",
            CHORIA_STREAMS_SERVERS=server.url,
            HOME=str(tmp_path),
            PATH=f"{BIN}{os.pathsep}{os.environ['PATH']}",
            PWD=str(tmp_path),
        )
        for name, kind, text in BOX.findall(GUIDE):
            if name:
                (tmp_path / name).write_text(text)
            elif kind == "console":
                commands = [shlex.split(line.removeprefix("$ ")) for line in text.splitlines()]
                done = [
                    subprocess.run(each, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
                    for each in commands
                ]
                assert not any(each.returncode for each in done), "".join(each.stdout + each.stderr for each in done)
                printed = " ".join(" ".join(each.stdout.split() + each.stderr.split()) for each in done)
            else:
                assert "[WARNING]" not in printed
                missing = [line for line in text.splitlines() if " ".join(line.split()) not in printed]
                assert missing == [], printed
                compared += 1
    assert compared == 5
    assert (tmp_path / "run-report.html").exists()
