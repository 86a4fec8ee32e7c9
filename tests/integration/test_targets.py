# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Each folder of targets/ is a role, laid out as for ansible-test, and runs against a server of its own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.playbook import ROOT, run_playbook

if TYPE_CHECKING:
    from conftest import MakeServer

TARGETS = Path(__file__).resolve().parent / "targets"
OUTPUT = ROOT / "tests" / "output" / Path(sys.prefix).name
LOG_LINES = 60


# Hosts have other Pythons than the controller: some targets run their modules with the oldest one as well
OLDEST_PYTHON = ROOT / ".venv" / "modules-3.9" / "bin" / "python"
ON_OLDEST = ("choria_kv", "choria_run_info", "choria_stream")
RUNS = [
    pytest.param(path.parent.name, Path(sys.executable), id=path.parent.name)
    for path in sorted(TARGETS.glob("*/tasks"))
]
if OLDEST_PYTHON.exists():
    RUNS += [
        pytest.param(target, OLDEST_PYTHON, id=f"{target}-oldest-python", marks=pytest.mark.once)
        for target in ON_OLDEST
    ]


@pytest.mark.parametrize(("target", "python"), RUNS)
def test_target(target: str, python: Path, make_server: MakeServer, tmp_path: Path) -> None:
    server = make_server()
    result = run_playbook(
        [{"name": target, "hosts": "localhost", "gather_facts": False, "roles": [target]}],
        extra_vars={
            "choria_test_server": server.url,
            "choria_test_monitor": server.monitor_url,
            "choria_test_folder": str(tmp_path),
            "ansible_python_interpreter": str(python),
        },
        env={"ANSIBLE_ROLES_PATH": str(TARGETS), "CHORIA_STREAMS_SERVERS": server.url},
    )
    OUTPUT.mkdir(parents=True, exist_ok=True)
    log = OUTPUT / (f"{target}.log" if python != OLDEST_PYTHON else f"{target}-oldest-python.log")
    log.write_text(result.output)
    if result.rc != 0:
        tail = "\n".join(result.output.splitlines()[-LOG_LINES:])
        pytest.fail(f"{tail}\n\nansible-playbook ended with status {result.rc}; the whole log: {log}", pytrace=False)
