# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Each file that a module imports from its archive is compiled only once."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

from ansible_collections.choria.streams.plugins.module_utils import _archive

FIRST = "import utils._archive\n"
PROGRAM = """
import sys
compiled = []
sys.path.insert(0, sys.argv[1])
import utils
sys.addaudithook(lambda event, found: event == "compile" and compiled.append(str(found[1])))
{first}
import utils.one, utils.below.two
print(*(module.__file__ for module in (utils, utils.one, utils.below, utils.below.two)))
print(*compiled)
"""


def run(archive: Path, first: str) -> tuple[list[str], list[str]]:
    """Return the names of the archive's files as Python reports them, and the names of the files that it compiled."""
    program = [sys.executable, "-c", PROGRAM.format(first=first), str(archive)]
    output = subprocess.run(program, check=True, capture_output=True, text=True).stdout
    files, compiled = ([name.removeprefix(f"{archive}/") for name in line.split()] for line in output.splitlines())
    return files, [name for name in compiled if not name.endswith("_archive.py")]


def test_each_file_is_compiled_once(tmp_path: Path) -> None:
    archive = tmp_path / "payload.zip"
    source = Path(_archive.__file__).read_text()
    with zipfile.ZipFile(archive, "w") as zipped:
        for name in ("__init__", "one", "below/__init__", "below/two"):
            zipped.writestr(f"utils/{name}.py", "")
        zipped.writestr("utils/_archive.py", source)
    files, twice = run(archive, "")
    assert files == ["utils/__init__.py", "utils/one.py", "utils/below/__init__.py", "utils/below/two.py"]
    assert sorted(twice) == sorted(2 * files[1:]), "Python has learned it: _archive.py can go"
    assert run(archive, FIRST) == (files, files[1:])


def test_plugins_of_the_controller_are_imported_as_ever() -> None:
    assert _archive._Archive not in sys.path_hooks
