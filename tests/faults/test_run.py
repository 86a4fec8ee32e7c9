# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""A campaign that is stopped leaves neither processes nor files behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.processes import with_environment
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

RUN = Path(__file__).resolve().parent / "run.py"
pytestmark = pytest.mark.once


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for temporary files, with a short path, since it contains sockets."""
    with tempfile.TemporaryDirectory(prefix="t-") as name:
        yield Path(name)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_campaign_leaves_nothing_behind(folder: Path, number: signal.Signals) -> None:
    environment = {**os.environ, "TMPDIR": str(folder)}
    argv = [sys.executable, str(RUN), "--minutes", "5", "--servers", "1", "--seed", "1"]
    process = subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        wait_until(lambda: list(folder.glob("playbook-*")))
        time.sleep(2)  # stop it somewhere in the middle
        process.send_signal(number)
        output, _errors = process.communicate(timeout=60)
        assert process.returncode == 128 + number
        assert "The campaign was stopped, and says nothing" in output
        # A killed module remains until Ansible, or the system, has read its status
        wait_until(lambda: with_environment(str(folder)) == [])
        assert list(folder.iterdir()) == []
    finally:
        process.kill()
