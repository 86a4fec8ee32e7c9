# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The quality gates: `gates.py` runs all of them, `gates.py NAME …` those. One that fails does not stop the rest."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from build_collection import build
from dev import BUILD, ROOT, VENVS, Environment, MissingError, pip, prepare, python_folders

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

GATES = Environment(
    "gates",
    # ansible-core of this environment reads the documentation only
    ("3.13", "3.12", "3.14", "3.11"),
    ("-r", "requirements.txt", "-r", "tests/requirements.txt", "-r", "tests/tools/requirements.txt"),
)
# What Galaxy runs on an upload. It needs older versions of the tools above.
IMPORTER = Environment("importer", GATES.pythons, ("ansible-core>=2.21,<2.22", "galaxy-importer==0.4.44"))
BUILDER = Environment("builder", GATES.pythons, ("ansible-builder==3.2.0",))
TREE = Path("ansible_collections", "choria", "streams")
ACTIONLINT = "v1.7.12"
# What may be at the top of the tarball: what users need
PACKED = {
    "CHANGELOG.rst",
    "CODE_OF_CONDUCT.md",
    "CONTRIBUTING.md",
    "FILES.json",
    "LICENSE",
    "LICENSES",
    "MANIFEST.json",
    "README.md",
    "SECURITY.md",
    "bindep.txt",
    "changelogs",
    "docs",
    "meta",
    "playbooks",
    "plugins",
    "requirements.txt",
    "roles",
}
# Folders of plugins/ and what ansible-doc calls their content; actions are documented among the modules
DOCUMENTED = {"callback": "callback", "filter": "filter", "lookup": "lookup", "modules": "module"}
# A stand-in for the get-pip script that ansible-test would download from a host that is no package index
GET_PIP = """\
import sys

sys.path.insert(0, {wheel!r})

from pip._internal.cli.main import main

arguments = [argument for argument in sys.argv[1:] if argument not in ("--no-setuptools", "--no-wheel")]
sys.exit(main(["install", "--upgrade", "--force-reinstall", *arguments]))
"""


class FailedError(Exception):
    """A gate found something."""


class SkippedError(Exception):
    """A gate can't run on this machine."""


def call(
    environment: Environment, *command: str, cwd: Path = ROOT, collections: Path = BUILD, capture: bool = False
) -> str:
    """Run a tool of an environment, and return its output if that is captured; a bad status fails the gate."""
    # A collection on Python's path counts as installed, and ansible-galaxy would install nothing
    settings = {
        name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_") and name != "PYTHONPATH"
    }
    settings.update(
        PATH=os.pathsep.join([str(environment.bin), *python_folders()]),
        ANSIBLE_COLLECTIONS_PATH=str(collections),
        ANSIBLE_CONFIG=str(BUILD / "ansible.cfg"),
        ANSIBLE_HOME=str(BUILD / "ansible_home"),
    )
    print("$", *command, flush=True)
    result = subprocess.run(
        command,
        check=False,
        cwd=cwd,
        encoding="utf-8",
        env=settings,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if capture else None,
    )
    if result.returncode != 0:
        raise FailedError(f"{command[0]} ended with status {result.returncode}")
    return result.stdout


def shellcheck() -> None:
    if not shutil.which("shellcheck"):
        if os.geteuid() != 0 or not shutil.which("apt-get"):
            raise SkippedError("there is no shellcheck: install the package shellcheck")
        call(GATES, "apt-get", "install", "--quiet", "--yes", "--no-install-recommends", "shellcheck")
    call(GATES, "shellcheck", ".ci/run", *map(str, sorted(ROOT.glob("extensions/molecule/**/*.sh"))))


def actionlint() -> None:
    """Check the workflows. It is built with Go: its package for pip downloads it from no package index."""
    program = VENVS / f"actionlint-{ACTIONLINT}" / "actionlint"
    if not program.exists():
        if not shutil.which("go"):
            raise SkippedError("there is no go to build actionlint with: install the package golang-go")
        module = f"github.com/rhysd/actionlint/cmd/actionlint@{ACTIONLINT}"
        call(GATES, "env", f"GOBIN={program.parent}", "go", "install", module)
    call(GATES, str(program), "-color")


def prime_pip(environment: Environment) -> None:
    """Let ansible-test make its virtual environments from the package index alone."""
    [source] = environment.bin.parent.glob("lib/python*/site-packages/ansible_test/_internal/python_requirements.py")
    cache = Path.home() / ".ansible" / "test" / "cache"
    for version in set(re.findall(r"pip='([0-9.]+)'", source.read_text())):
        script = cache / f"get_pip_{version.replace('.', '_')}.py"
        if not script.exists():
            wheel = cache / f"pip-{version}"
            pip(environment, "--no-deps", "--target", str(wheel), f"pip=={version}")
            script.write_text(GET_PIP.format(wheel=str(wheel)))


def unobtainable(environment: Environment) -> list[str]:
    """Return the sanity tests whose requirements are in no package index, such as pylint of ansible-core 2.22.0rc1."""
    [folder] = environment.bin.parent.glob("lib/python*/site-packages/ansible_test/_data/requirements")
    files = sorted(folder.glob("sanity.*.txt"))
    return [path.name.split(".")[1] for path in files if re.search(r"(?m)^[\w.-]+ *@ *https?://", path.read_text())]


def copy_tree(folder: Path) -> Path:
    """Copy the files that git knows or would add below a folder for collections, and return where they are."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
    )
    tree = folder / TREE
    for name in filter(None, listing.stdout.decode().split("\0")):
        # Deleted, but not yet in git's index
        if (ROOT / name).exists():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tree / name)
    return tree


def sanity(environment: Environment) -> None:
    """ansible-test sanity on a copy, since it refuses a tree that is reached by a symbolic link or ignored by git."""
    if list(ROOT.glob("tests/sanity/ignore-*.txt")):
        print("Ignored:", *(path.read_text() for path in ROOT.glob("tests/sanity/ignore-*.txt")), sep="\n")
    prime_pip(environment)
    skipped = unobtainable(environment)
    if skipped:
        print(f"Not run with {environment.name}, since what they need is in no package index: {', '.join(skipped)}")
    without = [argument for name in skipped for argument in ("--skip-test", name)]
    with tempfile.TemporaryDirectory() as folder:
        tree = copy_tree(Path(folder))
        call(
            environment,
            "ansible-test",
            "sanity",
            "--venv",
            "--color",
            "no",
            *without,
            cwd=tree,
            collections=Path(folder),
        )


def package(cores: Sequence[Environment]) -> None:
    """Build the tarball, look into it, install it offline, and read every plugin's documentation from there."""
    with tempfile.TemporaryDirectory() as folder:
        tarball = build(Path(folder), cores[-1].bin / "ansible-galaxy")
        with tarfile.open(tarball) as archive:
            names = archive.getnames()
        wrong = [name for name in names if name.split("/")[0] not in PACKED or "__pycache__" in name]
        if wrong:
            raise FailedError(f"the tarball holds {', '.join(wrong)}: extend build_ignore in galaxy.yml")
        if "README.md" not in names:
            raise FailedError("the tarball has no README.md")
        for environment in cores:
            target = Path(folder) / environment.name
            command = ["ansible-galaxy", "collection", "install", str(tarball), "--offline", "-p", str(target)]
            call(environment, *command, collections=target)
            for folder_name, kind in DOCUMENTED.items():
                found = (re.fullmatch(rf"plugins/{folder_name}/(choria_\w+)\.py", name) for name in names)
                wanted = [f"choria.streams.{match[1]}" for match in found if match]
                if wanted:
                    command = ["ansible-doc", "--type", kind, "--json", *wanted]
                    documented = json.loads(call(environment, *command, collections=target, capture=True))
                    missing = [name for name in wanted if not documented.get(name, {}).get("doc")]
                    if missing:
                        raise FailedError(f"ansible-doc shows nothing of {', '.join(missing)}")


def changelog() -> None:
    """Lint the fragments, and the changelog.yaml that a release makes of them, in a copy of the tree."""
    call(GATES, "antsibull-changelog", "lint", cwd=BUILD / TREE)
    with tempfile.TemporaryDirectory() as folder:
        tree = copy_tree(Path(folder))
        released = tree / "changelogs" / "changelog.yaml"
        if released.exists():
            call(GATES, "antsibull-changelog", "lint-changelog-yaml", "--strict", str(released), cwd=tree)
        release = ["antsibull-changelog", "release", "--version", "999.0.0", "--date", "2026-01-01"]
        call(GATES, *release, cwd=tree, collections=Path(folder))
        call(GATES, "antsibull-changelog", "lint-changelog-yaml", "--strict", str(released), cwd=tree)


def galaxy_importer() -> None:
    """Import the tarball as Galaxy does. Its ansible-lint, which ends after some time, has a gate of its own."""
    prepare([IMPORTER])
    with tempfile.TemporaryDirectory() as folder:
        tarball = build(Path(folder), IMPORTER.bin / "ansible-galaxy")
        settings = Path(folder) / "importer.cfg"
        settings.write_text("[galaxy-importer]\nRUN_ANSIBLE_LINT = False\nRUN_ANSIBLE_TEST = False\n")
        output = call(
            IMPORTER,
            "env",
            f"GALAXY_IMPORTER_CONFIG={settings}",
            "python",
            "-m",
            "galaxy_importer.main",
            str(tarball),
            cwd=Path(folder),
            capture=True,
        )
    print(output)
    if "ERROR" in output or "WARNING" in output:
        raise FailedError("galaxy-importer complains")


def execution_environment() -> None:
    """Install what ansible-builder reads from the collection, and nothing else, and log in with it."""
    prepare([BUILDER])
    with tempfile.TemporaryDirectory() as folder:
        copy_tree(Path(folder))
        answer = Path(folder) / "requirements.txt"
        call(
            BUILDER,
            "ansible-builder",
            "introspect",
            folder,
            "--write-pip",
            str(answer),
            "--write-bindep",
            f"{folder}/bindep.txt",
        )
        wanted = BUILD / "ee-requirements.txt"
        wanted.write_text(answer.read_text())
    prepare([GATES._replace(name="ee", requirements=("ansible-core>=2.21,<2.22", "-r", str(wanted.relative_to(ROOT))))])
    call(GATES, "pytest", "-q", "-p", "no:cacheprovider", "tests/ee")


def all_gates(cores: Sequence[Environment]) -> dict[str, Callable[[], object]]:
    return {
        "ruff-format": lambda: call(GATES, "ruff", "format", "--check", "."),
        "ruff": lambda: call(GATES, "ruff", "check", "."),
        "mypy": lambda: call(GATES, "mypy", str(BUILD / TREE / "plugins"), "tests"),
        "ansible-lint": lambda: call(GATES, "ansible-lint", "--strict"),
        "docs": lambda: call(GATES, "antsibull-docs", "lint-collection-docs", "--plugin-docs", ".", cwd=BUILD / TREE),
        "site": lambda: call(GATES, "python3", "tests/tools/docsite.py"),
        "schemas": lambda: call(GATES, "python", "tests/tools/schemas.py", "--check"),
        "reuse": lambda: call(GATES, "reuse", "lint"),
        "changelog": changelog,
        "shellcheck": shellcheck,
        "actionlint": actionlint,
        "package": lambda: package(cores),
        "galaxy-importer": galaxy_importer,
        "execution-environment": execution_environment,
        **{f"sanity-{core.name}": functools.partial(sanity, core) for core in cores},
    }


def run(name: str, gate: Callable[[], object]) -> str | None:
    """Run one gate, and return the reason when it does not pass."""
    print(f"\n==== {name}", flush=True)
    start = time.monotonic()
    problem = None
    try:
        gate()
    except SkippedError as error:
        print(f"Skipped: {error}.")
    except (FailedError, subprocess.CalledProcessError) as error:
        problem = str(error)
        print(f"Failed: {problem}.")
    print(f"---- {name}: {time.monotonic() - start:.0f} s", flush=True)
    return problem


def main() -> int:
    try:
        prepare([GATES])
        cores = prepare()
        gates = all_gates(cores)
    except MissingError as error:
        print(error, file=sys.stderr)
        return 1
    # With four releases this would take most of the time; those between the oldest and the newest find the same
    between = {f"sanity-{core.name}" for core in cores[1:-1]}
    wanted = sys.argv[1:] or [name for name in gates if name not in between]
    unknown = set(wanted) - set(gates)
    if unknown:
        print(f"There is no gate {', '.join(sorted(unknown))}; there are {', '.join(gates)}.", file=sys.stderr)
        return 2
    problems = {name: run(name, gates[name]) for name in wanted}
    failed = [name for name, problem in problems.items() if problem]
    print(f"\n{len(wanted) - len(failed)} of {len(wanted)} gates passed", flush=True)
    for name in failed:
        print(f"{name}: {problems[name]}", flush=True)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
