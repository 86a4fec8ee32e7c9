# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The development tool: what it says of a bare machine, that it counts right, and that it leaves nothing running."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

import dev
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

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


def some_test(folder: Path, code: str) -> list[str]:
    """The arguments that run it with a process of its own, apart from this project."""
    (folder / "test_some.py").write_text(code)
    return [str(folder), "-n", "1", "--rootdir", str(folder), "-o", f"cache_dir={folder / 'cache'}"]


def test_what_failed_is_told_and_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dev, "OUTPUT", tmp_path / "output")
    once = "import pathlib\n\ndef test_once():\n    pathlib.Path(__file__).with_name('seen').touch(exist_ok=False)\n"
    wrong = "\ndef test_wrong():\n    assert False, 'always'\n"
    status, found, lines = dev.test(dev.prepare_one(), some_test(tmp_path, once + wrong))
    assert (status, found) == (1, (1, 1, 0))
    assert any(line.endswith("test_some::test_wrong failed") for line in lines)
    assert any("always" in line for line in lines)


def test_interrupted_tests_have_no_sums(tmp_path: Path) -> None:
    """Neither the next environment's tests nor a line that looks like a result."""
    slow = "import pathlib, time\n\ndef test_slow():\n    pathlib.Path(__file__).with_name('seen').touch()\n"
    arguments = some_test(tmp_path, f"{slow}    [time.sleep(0.1) for _ in range(600)]\n")
    command = [sys.executable, str(dev.ROOT / "tests/tools/dev.py"), "pytest", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    wait_until((tmp_path / "seen").exists, 60)
    process.send_signal(signal.SIGTERM)
    output, _errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert "Interrupted: 0 tests had passed" in output.splitlines()[-1]
    assert len([line for line in output.splitlines() if line.startswith("==== core-")]) == 1


def test_missing_programs_are_named_with_their_packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(dev.MissingError, match=r"^The tests need git and ssh, .* install git and openssh-client \("):
        dev.pytest([])


def test_without_a_network_one_sentence_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_NO_INDEX": "", "PIP_FIND_LINKS": ""}.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name, raising=False)
    dev.check_network.cache_clear()
    with pytest.raises(dev.MissingError, match=r"^The package index of Python can't be reached, .*: check the network"):
        dev.check_network(dev.prepare_one())


@pytest.mark.parametrize("variables", [{"LC_ALL": "C"}, {"LANG": "no_SUCH.UTF-8"}, {"LC_ALL": "C.UTF-8"}])
def test_ansible_runs_in_every_locale(variables: dict[str, str]) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG"))}
    command = [sys.executable, str(dev.ROOT / "tests/tools/dev.py"), "run", "ansible", "--version"]
    done = subprocess.run(command, env={**environment, **variables}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("ansible [core")


def closed(url: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(url.rpartition(":")[2]))) != 0


def serve(code: str, before: Callable[[], object] | None = None) -> subprocess.Popen[str]:
    command = [sys.executable, str(dev.ROOT / "tests/tools/dev.py"), "serve", "python", "-c", SHOW_URL + code]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=before,
    )


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


def test_a_command_in_the_background_is_ended() -> None:
    """A shell lets what it starts in the background ignore Ctrl-C."""
    code = "[time.sleep(0.1) for _ in range(600)]"
    process = serve(code, lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    assert process.stdout
    url = process.stdout.readline().strip()
    process.send_signal(signal.SIGTERM)
    _output, errors = process.communicate(timeout=60)
    assert "KeyboardInterrupt" in errors
    assert closed(url)


def test_nothing_of_an_interrupted_command_is_left() -> None:
    """Neither processes that it did not wait for, as Ansible's modules, nor temporary files."""
    code = "import subprocess; child = subprocess.Popen(['sleep', '300'], start_new_session=True); "
    code += "print(child.pid, os.environ['TMPDIR'], flush=True); "
    process = serve(f"{code}[time.sleep(0.1) for _ in range(600)]")
    assert process.stdout
    process.stdout.readline()
    child, folder = process.stdout.readline().split()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert not Path(folder).exists()

    def has_ended() -> bool:
        try:
            return not Path(f"/proc/{child}/environ").read_bytes()  # nobody waits for it
        except OSError:
            return True

    wait_until(has_ended)


def test_ci_has_the_same_versions_of_ansible_core() -> None:
    jobs = yaml.safe_load((dev.ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]
    ours = [core.name.removeprefix("core-") for core in dev.CORES]
    assert jobs["sanity"]["strategy"]["matrix"]["core"] == ours
    ansible_test = [one["core"] for one in jobs["ansible-test"]["strategy"]["matrix"]["include"]]
    assert ansible_test == [ours[0], ours[-1]]
