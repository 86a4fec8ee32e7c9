# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The quality gates. `make lint` runs them, and `make lint SESSIONS="types reuse"` some.

`nox --list` shows all. antsibull-nox.toml has the settings of those sessions that antsibull-nox defines.
`tests/tools/dev.py nox` installs what this file needs.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

import antsibull_nox
import nox

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "tests" / "tools"))

from dev import BUILD, CORES, find_python, prepare_one, python_folders

# Sessions find the Pythons that dev.py finds. A collection on Python's path counts as installed for ansible-galaxy.
os.environ["PATH"] = os.pathsep.join(dict.fromkeys([*os.environ["PATH"].split(os.pathsep), *python_folders()]))
os.environ.pop("PYTHONPATH", None)

antsibull_nox.load_antsibull_nox_toml()
nox.options.reuse_venv = "yes"
nox.options.error_on_missing_interpreters = False

TREE = BUILD / "ansible_collections" / "choria" / "streams"
ACTIONLINT = "v1.7.12"
ANSIBLE = "ansible-core>=2.21,<2.22"
PINNED = ("-c", "tests/tools/requirements.txt")
# The releases between the oldest and the newest find the same, and would take most of the time
SANITY_BY_DEFAULT = (CORES[0], CORES[-1])
# A stand-in for the script that ansible-test would download from a host that is no package index
GET_PIP = """\
import subprocess, sys

packages = [argument for argument in sys.argv[1:] if argument not in ("--no-setuptools", "--no-wheel")]
for command in (["ensurepip"], ["pip", "install", "--upgrade", *packages]):
    subprocess.check_call([sys.executable, "-m", *command])
"""


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
    session.install("ruff", *PINNED)
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Check the types of the collection and of the tests."""
    session.install(ANSIBLE, "mypy", "-r", "requirements.txt", "-r", "tests/requirements.txt", *PINNED)
    session.run("mypy", str(TREE / "plugins"), "tests")


@nox.session
def reuse(session: nox.Session) -> None:
    """Check that each file has a licence."""
    session.install("reuse", *PINNED)
    session.run("reuse", "lint")


@nox.session
def docs(session: nox.Session) -> None:
    """Check the documentation of plugins, and compare the schemas for editors with it."""
    session.install(ANSIBLE, "antsibull-docs", *PINNED)
    session.run("python", "tests/tools/schemas.py", "--check")
    with session.chdir(TREE):
        session.run("antsibull-docs", "lint-collection-docs", "--plugin-docs", ".")


@nox.session
def changelog(session: nox.Session) -> None:
    """Lint the fragments, and the changelog.yaml of the last release and of a trial one."""
    session.install(ANSIBLE, "antsibull-changelog", *PINNED)
    with session.chdir(copy(session)):
        session.run("antsibull-changelog", "lint")
        for release in ([], ["release", "--version", "999.0.0", "--date", "2026-01-01"]):
            if release:
                session.run("antsibull-changelog", *release)
            if Path("changelogs/changelog.yaml").exists():
                session.run("antsibull-changelog", "lint-changelog-yaml", "--strict", "changelogs/changelog.yaml")


@nox.session(python=False)
def site(session: nox.Session) -> None:
    """Build the documentation site."""
    session.run("python", "tests/tools/docsite.py")


@nox.session(python=False)
def shellcheck(session: nox.Session) -> None:
    """Check the scripts."""
    if not shutil.which("shellcheck"):
        if os.geteuid() != 0 or not shutil.which("apt-get"):
            session.skip("there is no shellcheck: install the package shellcheck")
        session.run("apt-get", "install", "--quiet", "--yes", "--no-install-recommends", "shellcheck", external=True)
    scripts = sorted([*Path("extensions/molecule").rglob("*.sh"), *Path("tests/tools").glob("*.sh")])
    session.run("shellcheck", ".ci/run", *map(str, scripts), external=True)


@nox.session(python=False)
def actionlint(session: nox.Session) -> None:
    """Check the workflows. It is built with Go: its package for pip downloads it from no package index."""
    program = ROOT / ".venv" / f"actionlint-{ACTIONLINT}" / "actionlint"
    if not program.exists():
        if not shutil.which("go"):
            session.skip("there is no go to build actionlint with: install the package golang-go")
        module = f"github.com/rhysd/actionlint/cmd/actionlint@{ACTIONLINT}"
        session.run("go", "install", module, env={"GOBIN": str(program.parent)}, external=True)
    session.run(str(program), "-color", external=True)


@nox.session(name="galaxy-importer")
def galaxy_importer(session: nox.Session) -> None:
    """Import the tarball as Galaxy does, without a warning. Other sessions run ansible-lint and ansible-test."""
    session.install(ANSIBLE, "galaxy-importer==0.4.44")
    built = session.run("python", "tests/tools/build_collection.py", session.create_tmp(), silent=True)
    tarball = str(built).split()[-1]
    settings = {"GALAXY_IMPORTER_CONFIG": str(ROOT / "tests" / "tools" / "importer.cfg")}
    with session.chdir(session.create_tmp()):
        output = session.run("python", "-m", "galaxy_importer.main", tarball, env=settings, silent=True)
    session.log(output)
    if "ERROR" in str(output) or "WARNING" in str(output):
        session.error("galaxy-importer complains")


@nox.session(name="execution-environment")
def execution_environment(session: nox.Session) -> None:
    """Install what ansible-builder reads from the collection, and nothing else, and log in with it."""
    session.install(ANSIBLE)
    answer = BUILD / "ee-requirements.txt"
    # It searches a folder of collections
    introspect = ["ansible-builder", "introspect", str(copy(session).parents[2]), "--write-pip", str(answer)]
    session.run(*introspect, "--write-bindep", str(BUILD / "ee-bindep.txt"), external=True)
    session.install("-r", str(answer))
    tester = str(prepare_one().bin / "pytest")
    session.run(tester, "-q", "-p", "no:cacheprovider", "tests/ee", env={"EE_BIN": session.bin}, external=True)


def prime_pip(packages: Path) -> None:
    """Let ansible-test make its virtual environments from the package index alone."""
    cache = Path.home() / ".ansible" / "test" / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    source = (packages / "_internal" / "python_requirements.py").read_text()
    for version in set(re.findall(r"pip='([0-9.]+)'", source)):
        (cache / f"get_pip_{version.replace('.', '_')}.py").write_text(GET_PIP)


def unobtainable(packages: Path) -> list[str]:
    """Return the sanity tests whose requirements are in no package index, such as pylint of ansible-core 2.22.0rc1."""
    files = sorted((packages / "_data" / "requirements").glob("sanity.*.txt"))
    return [path.name.split(".")[1] for path in files if re.search(r"(?m)^[\w.-]+ *@ *https?://", path.read_text())]


def sanity(session: nox.Session, core: str) -> None:
    """Run ansible-test sanity with an ansible-core."""
    session.install(core)
    [packages] = Path(session.virtualenv.location).glob("lib/python*/site-packages/ansible_test")
    prime_pip(packages)
    skipped = unobtainable(packages)
    if skipped:
        session.warn(f"Not run, since what they need is in no package index: {', '.join(skipped)}")
    without = [argument for name in skipped for argument in ("--skip-test", name)]
    with session.chdir(copy(session)):
        session.run("ansible-test", "sanity", "--venv", "--color", "no", *without)


for environment in CORES:

    def sanity_of(session: nox.Session, core: str = environment.requirements[0]) -> None:
        sanity(session, core)

    sanity_of.__doc__ = f"Run ansible-test sanity with {environment.requirements[0]}."
    nox.session(
        name=f"sanity-{environment.name}",
        python=find_python(environment.pythons) or environment.pythons[0],
        default=environment in SANITY_BY_DEFAULT,
    )(sanity_of)
