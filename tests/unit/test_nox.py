# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The sessions of nox: their hints on a machine without tools, their counts of tests, and that they leave no process
running.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from support import ROOT
from support.outcomes import outcomes
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.once

NOX = str(ROOT / "tests" / "tools" / "nox.sh")
SHOW_URL = "import os, time; print(os.environ['CHORIA_STREAMS_SERVERS'], flush=True); "


def session(name: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [NOX, "--session", name, "--", *arguments]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A checkout without installed tools. Its folder bin has the programs of a minimal machine, without Python."""
    (tmp_path / "tests").mkdir()
    shutil.copytree(ROOT / "tests" / "tools", tmp_path / "tests" / "tools")
    (tmp_path / "bin").mkdir()
    for name in ("cmp", "cp", "dirname", "env", "find", "flock", "mkdir", "mktemp", "rm", "sh", "tail"):
        (tmp_path / "bin" / name).symlink_to(str(shutil.which(name)))
    return tmp_path


def first_run(bare: Path, **environment: str) -> str:
    """Return what the first run prints on standard error. It fails."""
    paths = {"PATH": str(bare / "bin"), "PYENV_ROOT": str(bare)}
    command = [bare / "tests" / "tools" / "nox.sh"]
    done = subprocess.run(
        command, env={**os.environ, **paths, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    return done.stderr.removeprefix("Installing .venv/nox\n")


@pytest.mark.parametrize("script", ["", "exit 127", 'case "$*" in *ensurepip*) exit 1;; esac'])
def test_a_python_that_can_not_be_used_is_named_with_its_package(bare: Path, script: str) -> None:
    """A Python that is missing, pyenv's shim that refuses, and Debian's Python without its module venv."""
    if script:
        program = bare / "bin" / "python3.11"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
    expected = "No Python from 3.11 on has the modules venv and ensurepip: install python3 and python3-venv.\n"
    assert first_run(bare) == expected


def test_without_a_network_one_sentence_says_so(bare: Path) -> None:
    (bare / "bin" / "python3").symlink_to(os.path.realpath(sys.executable))
    index = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_NO_INDEX": "", "PIP_FIND_LINKS": ""}
    pattern = r"The package index of Python can't be reached, .*: check the network, .* pip says: ERROR: .*\n"
    assert re.fullmatch(pattern, first_run(bare, **index))


def some_test(folder: Path, code: str) -> list[str]:
    """Return the arguments that run a test in its own process, apart from this project."""
    (folder / "test_some.py").write_text(f"import pathlib, sys, time\n\nHERE = pathlib.Path(__file__).parent\n{code}")
    return [str(folder), "-n", "1", "--rootdir", str(folder), "-o", f"cache_dir={folder / 'cache'}"]


def test_tests_are_counted(tmp_path: Path) -> None:
    report = tmp_path / "junit.xml"
    cases = ["", "<skipped/>", "<failure>assert 1 == 2</failure>", "<error>no such fixture</error>"]
    report.write_text(f"<testsuites>{''.join(f'<testcase>{case}</testcase>' for case in cases)}</testsuites>")
    assert outcomes(report, "run")[0] == {"passed": 1, "skipped": 1, "failed": 2}


def test_a_missing_report_counts_as_a_failure(tmp_path: Path) -> None:
    assert outcomes(tmp_path / "junit.xml", "run") == ({"failed": 1}, [])


def test_failures_are_shown_and_not_run_again(tmp_path: Path) -> None:
    once = "def test_once():\n    (HERE / pathlib.Path(sys.prefix).name).touch(exist_ok=False)\n"
    wrong = "def test_wrong():\n    assert False, 'always'\n"
    arguments = some_test(tmp_path, once + wrong)
    done = session("test", *arguments, TEST_OUTPUT=str(tmp_path / "output"))
    lines = done.stdout.splitlines()
    began = [line.split(":")[0] for line in lines if line.startswith("==== core-")]
    assert len(began) > 1
    oldest, newest = began[0].split()[1], began[-1].split()[1]
    assert done.returncode == 1
    assert lines[-1] == "2 passed, 2 failed, 0 skipped"
    end = lines[lines.index(f"---- {oldest}: test_some::test_wrong failed") :]
    assert f"---- {newest}: test_some::test_wrong failed" in end
    assert len([line for line in end if "always" in line]) >= 2


def test_no_tests_are_no_success(tmp_path: Path) -> None:
    done = session("test", *some_test(tmp_path, ""), TEST_OUTPUT=str(tmp_path / "output"))
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == "0 passed, 0 failed, 0 skipped"


def test_interrupted_tests_have_no_sums(tmp_path: Path) -> None:
    """The tests of the next environment do not run, and no line looks like a result."""
    slow = "def test_slow():\n    (HERE / 'seen').touch()\n    [time.sleep(0.1) for _ in range(600)]\n"
    command = [NOX, "--session", "test", "--", *some_test(tmp_path, slow)]
    environment = {**os.environ, "TEST_OUTPUT": str(tmp_path / "output")}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
    wait_until((tmp_path / "seen").exists, 60)
    process.send_signal(signal.SIGTERM)
    output, _errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT
    assert "KeyboardInterrupt" in output
    assert not re.search(r"^\d+ passed, \d+ failed", output, re.M)
    assert len([line for line in output.splitlines() if line.startswith("==== core-")]) == 1


def test_missing_programs_are_named_with_their_packages(bare: Path) -> None:
    done = session("test", PATH=str(bare / "bin"))
    assert done.returncode == 1
    assert "The tests need what this machine lacks: install git and openssh-client (" in done.stderr


@pytest.mark.parametrize("variables", [{"LC_ALL": "C"}, {"LANG": "no_SUCH.UTF-8"}, {"LC_ALL": "C.UTF-8"}])
def test_ansible_runs_in_every_locale(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("LC_", "LANG"))]:
        monkeypatch.delenv(name)
    done = session("play", "ansible", "--version", **variables)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("ansible [core")


def test_settings_of_the_user_are_ignored() -> None:
    done = session("play", "env", ANSIBLE_CONFIG="/nowhere", ANSIBLE_FORKS="3", PYTHONDONTWRITEBYTECODE="1")
    assert "ANSIBLE_FORKS" not in done.stdout
    assert "PYTHONDONTWRITEBYTECODE" not in done.stdout
    assert f"ANSIBLE_CONFIG={ROOT}/.build/ansible.cfg" in done.stdout.splitlines()


def closed(url: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(url.rpartition(":")[2]))) != 0


def serve(code: str, before: Callable[[], object] | None = None) -> subprocess.Popen[str]:
    command = [NOX, "--session", "serve", "--", "python", "-c", SHOW_URL + code]
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
    assert process.returncode == min(status, 1)  # nox has no other status
    assert closed(output.strip())


def test_server_ends_with_a_program_that_is_asked_to_end() -> None:
    code = "with NatsServer() as server:\n print(server.url, flush=True)\n [time.sleep(0.1) for _ in range(600)]"
    command = [sys.executable, "-c", f"import time\nfrom support.server import NatsServer\n{code}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests")}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    assert process.stdout
    url = process.stdout.readline().strip()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGTERM
    assert closed(url)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_server_ends_after_an_interrupted_command(number: signal.Signals) -> None:
    # Python would miss a signal shortly before a long sleep until the sleep ends
    process = serve("[time.sleep(0.1) for _ in range(600)]")
    assert process.stdout
    url = process.stdout.readline().strip()
    # A terminal sends Ctrl-C to the whole group, other senders to the one process
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    _output, errors = process.communicate(timeout=60)
    assert "KeyboardInterrupt" in errors
    assert process.returncode != 0
    assert closed(url)


def test_a_command_in_the_background_is_ended() -> None:
    """Programs that a shell starts in the background ignore Ctrl-C."""
    code = "[time.sleep(0.1) for _ in range(600)]"
    process = serve(code, lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    assert process.stdout
    url = process.stdout.readline().strip()
    process.send_signal(signal.SIGTERM)
    _output, errors = process.communicate(timeout=60)
    assert "KeyboardInterrupt" in errors
    assert closed(url)


def test_nothing_of_an_interrupted_command_is_left() -> None:
    """Neither processes that it did not wait for, such as Ansible's modules, nor temporary files stay."""
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
            return not Path(f"/proc/{child}/environ").read_bytes()  # no process reads its status
        except OSError:
            return True

    wait_until(has_ended)


def test_ci_has_the_same_versions_of_ansible_core() -> None:
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]
    listed = subprocess.run([NOX, "--list"], capture_output=True, text=True, check=True).stdout
    ours = re.findall(r"sanity-core-([\d.]+)", listed)
    assert jobs["sanity"]["strategy"]["matrix"]["core"] == ours
    ansible_test = [one["core"] for one in jobs["ansible-test"]["strategy"]["matrix"]["include"]]
    assert ansible_test == [ours[0], ours[-1]]
