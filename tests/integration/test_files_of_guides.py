# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files that guides show, and that are no YAML: programs that read such files accept them as they stand."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.playbook import ROOT

pytestmark = pytest.mark.once

GUIDES = sorted((ROOT / "docs").glob("*.md"))
BLOCK = re.compile(r"^```(ini|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
UNIT = re.compile(r"^# /etc/systemd/system/(\S+)\n(.*?)(?=^# /etc/|\Z)", re.MULTILINE | re.DOTALL)


def blocks() -> list[tuple[str, str]]:
    return [(path.stem, text) for path in GUIDES for _kind, text in BLOCK.findall(path.read_text())]


SERVERS = [pytest.param(text, id=f"{guide}-{text.split()[1]}") for guide, text in blocks() if "jetstream {" in text]
UNITS = [pytest.param(dict(UNIT.findall(text)), id=guide) for guide, text in blocks() if UNIT.search(text)]


def test_there_are_files() -> None:
    assert len(SERVERS) == 2
    assert len(UNITS) == 1


@pytest.mark.parametrize("text", SERVERS)
def test_configuration_of_nats_server(text: str, tmp_path: Path) -> None:
    config = tmp_path / "server.conf"
    config.write_text(text)
    program = Path(sys.executable).parent / "nats-server"
    done = subprocess.run([str(program), "-t", "-c", str(config)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done


@pytest.mark.parametrize("units", UNITS)
def test_units_of_systemd(units: dict[str, str], tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if not program:
        pytest.skip("there is no systemd-analyze on this machine")
    for name, text in units.items():
        # The program that the unit starts is another one here
        (tmp_path / name).write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", text, flags=re.MULTILINE))
    done = subprocess.run(
        [program, "verify", "--recursive-errors=no", *(str(tmp_path / name) for name in units)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done
    assert str(tmp_path) not in done.stderr, done
