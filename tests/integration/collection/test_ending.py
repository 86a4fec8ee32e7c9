# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests and benchmarks that are ended by a signal leave no server, playbook, worker or folder behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support import ROOT
from support.processes import with_environment
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.once
TESTS = ROOT / "tests"
PROGRAM = """
import sys
from support.playbook import run_playbook
from support.server import NatsServer

with NatsServer():
    task = {"ansible.builtin.shell": f"touch {sys.argv[1]}; sleep 300"}
    run_playbook([{"hosts": "all", "gather_facts": False, "tasks": [task]}], inventory=["a", "b"])
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for temporary files, with a short path, since it contains sockets."""
    with tempfile.TemporaryDirectory(prefix="t-") as name:
        yield Path(name)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_all_that_was_started(folder: Path, tmp_path: Path, number: signal.Signals) -> None:
    there = tmp_path / "there"
    environment = {**os.environ, "TMPDIR": str(folder), "PYTHONPATH": str(TESTS)}
    argv = [sys.executable, "-c", PROGRAM, str(there)]
    process = subprocess.Popen(argv, env=environment, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        wait_until(there.exists, timeout=60)
        process.send_signal(number)
        assert process.wait(30) == -number
        wait_until(lambda: not with_environment(str(folder)))
        assert list(folder.iterdir()) == []
    finally:
        process.kill()
