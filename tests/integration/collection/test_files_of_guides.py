# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files in guides other than YAML: the programs that read such files accept them unchanged."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from support import ROOT

pytestmark = pytest.mark.once

GUIDES = sorted((ROOT / "docs").glob("*.md"))
BLOCK = re.compile(r"^```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks() -> list[tuple[str, str]]:
    return [(path.stem, text) for path in GUIDES for text in BLOCK.findall(path.read_text())]


SERVERS = [pytest.param(text, id=f"{guide}-{text.split()[1]}") for guide, text in blocks() if "jetstream {" in text]


def test_there_are_files() -> None:
    assert len(SERVERS) == 2


@pytest.mark.parametrize("text", SERVERS)
def test_configuration_of_nats_server(text: str, tmp_path: Path) -> None:
    config = tmp_path / "server.conf"
    config.write_text(text)
    program = Path(sys.executable).parent / "nats-server"
    done = subprocess.run([str(program), "-t", "-c", str(config)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done
