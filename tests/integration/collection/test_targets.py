# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Each folder of targets/ is a role in the layout of ansible-test, and runs against its own server."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support import ROOT
from support.playbook import run_playbook

if TYPE_CHECKING:
    from conftest import MakeServer

TARGETS = ROOT / "tests" / "integration" / "targets"
OUTPUT = ROOT / "tests" / "output" / Path(sys.prefix).name
LOG_LINES = 60


# Managed hosts may have another Python than the controller. Some targets run their modules on the oldest one
OLDEST_PYTHON = ROOT / ".venv" / "modules-3-9" / "bin" / "python"
ON_OLDEST = ("choria_kv", "choria_run_info", "choria_stream")
TESTED = sorted(path.parent.name for path in TARGETS.glob("*/tasks"))


def module_python(target: str) -> Path:
    oldest = target in ON_OLDEST and OLDEST_PYTHON.exists()
    return OLDEST_PYTHON if oldest else Path(sys.executable)


@pytest.mark.parametrize("target", TESTED)
def test_target(target: str, make_server: MakeServer, tmp_path: Path) -> None:
    server = make_server()
    result = run_playbook(
        [{"name": target, "hosts": "localhost", "gather_facts": False, "roles": [target]}],
        extra_vars={
            "choria_test_server": server.url,
            "choria_test_monitor": server.monitor_url,
            "choria_test_folder": str(tmp_path),
            "ansible_python_interpreter": str(module_python(target)),
        },
        env={"ANSIBLE_ROLES_PATH": str(TARGETS), "CHORIA_STREAMS_SERVERS": server.url},
    )
    OUTPUT.mkdir(parents=True, exist_ok=True)
    log = OUTPUT / f"{target}.log"
    log.write_text(result.output)
    if result.rc != 0:
        tail = "\n".join(result.output.splitlines()[-LOG_LINES:])
        pytest.fail(f"{tail}\n\nansible-playbook ended with status {result.rc}; the whole log: {log}", pytrace=False)
