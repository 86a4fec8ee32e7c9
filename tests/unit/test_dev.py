# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The development tool: what it says of a bare machine, that it counts right, and that it leaves nothing running."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import dev

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.once

SHOW_URL = "import os, time; print(os.environ['CHORIA_STREAMS_SERVERS'], flush=True); "


def fake_python(folder: Path, script: str) -> None:
    program = folder / "python3.11"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def test_python_without_venv_is_named_with_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_python(tmp_path, 'case "$*" in *ensurepip*) exit 1;; esac')
    monkeypatch.setattr(dev, "python_folders", lambda: [str(tmp_path)])
    with pytest.raises(dev.MissingError, match=r"install the package python3\.11-venv"):
        dev.find_python(["3.11"])


def test_a_python_that_does_not_run_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_python(tmp_path, "exit 127")
    monkeypatch.setattr(dev, "python_folders", lambda: [str(tmp_path)])
    assert dev.find_python(["3.11"]) is None


def test_tests_are_counted(tmp_path: Path) -> None:
    report = tmp_path / "junit.xml"
    report.write_text('<testsuites><testsuite tests="9" errors="1" failures="2" skipped="3"/></testsuites>')
    assert dev.count(report) == (3, 3, 3)


def test_a_missing_report_counts_as_a_failure(tmp_path: Path) -> None:
    assert dev.count(tmp_path / "junit.xml") == (0, 1, 0)


UNSTEADY = """
import pathlib
import pytest

def test_steady():
    pass

def test_unsteady():
    seen = pathlib.Path(__file__).with_name("seen")
    before = seen.exists()
    seen.touch()
    assert before, "the first time"

{more}
"""


@pytest.mark.parametrize(
    ("more", "expected"), [("", (0, (2, 0, 0))), ("def test_wrong():\n    assert False", (1, (2, 1, 0)))]
)
def test_what_fails_beside_other_tests_runs_again_by_itself_and_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: str, expected: tuple[int, dev.Count]
) -> None:
    monkeypatch.setattr(dev, "OUTPUT", tmp_path / "output")
    (tmp_path / "test_some.py").write_text(UNSTEADY.format(more=more))
    arguments = [str(tmp_path), "-n", "1", "--rootdir", str(tmp_path), "-o", f"cache_dir={tmp_path / 'cache'}"]
    status, found, told = dev.test(dev.prepare_one(), arguments)
    assert (status, found) == expected
    assert any(line.endswith("test_some::test_unsteady passed by itself") for line in told)
    assert any("the first time" in line for line in told)
    assert any(line.endswith("test_some::test_wrong failed twice") for line in told) == bool(more)


def closed(url: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(url.rpartition(":")[2]))) != 0


def serve(code: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(dev.ROOT / "tests/tools/dev.py"), "serve", "python", "-c", SHOW_URL + code]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


@pytest.mark.parametrize("status", [0, 3])
def test_server_ends_with_its_command(status: int) -> None:
    process = serve(f"raise SystemExit({status})")
    output, _errors = process.communicate(timeout=60)
    assert process.returncode == status
    assert closed(output.strip())


def test_server_ends_with_a_program_that_is_asked_to_end() -> None:
    code = "with NatsServer() as server:\n print(server.url, flush=True)\n [time.sleep(0.1) for _ in range(600)]"
    command = [sys.executable, "-c", f"import time\nfrom support.server import NatsServer\n{code}"]
    environment = {**os.environ, "PYTHONPATH": str(dev.ROOT / "tests")}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    assert process.stdout
    url = process.stdout.readline().strip()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGTERM
    assert closed(url)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_server_ends_after_an_interrupted_command(number: signal.Signals) -> None:
    # Python would miss a signal that comes just before a long sleep begins, until that ends
    process = serve("[time.sleep(0.1) for _ in range(600)]")
    assert process.stdout
    url = process.stdout.readline().strip()
    # A terminal sends its Ctrl-C to the whole group, other senders address the one process
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    _output, errors = process.communicate(timeout=60)
    assert "KeyboardInterrupt" in errors
    assert process.returncode != 0
    assert closed(url)
