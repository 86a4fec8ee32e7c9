# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The check of definitions agrees with ``choria machine run`` about which definitions start."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.choria.streams.plugins.module_utils._errors import OptionError
from ansible_collections.choria.streams.plugins.module_utils._operations.machine.definition import check_definition
from support.choria import find_choria
from support.machine_corpus import DOES_NOT_START, STARTS, definition
from support.machines import GOOD
from support.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

ALL: dict[str, dict[str, Any]] = {
    **{f"starts: {name}": definition(one) for name, one in STARTS.items()},
    **{f"does not start: {name}": definition(one) for name, one in DOES_NOT_START.items()},
    **{f"example: {name}": {"name": "CORPUS", **one} for name, one in GOOD.items()},
}
# Lines of the log that show the failure or the start of a machine
_FAILED = re.compile(r"Could not start manager|panic:|choria: error|could not load|validation failed")
_STARTED = re.compile(r"Starting \S+ watcher")
# Seconds that a start takes at most on a busy machine, and seconds in which it may then fail
_PATIENCE, _GRACE = 60.0, 1.0


def starts(choria: str, folder: Path, content: dict[str, Any]) -> bool:
    """Return True if Choria runs it: it starts, logs no error for a while, and does not end."""
    folder.mkdir()
    (folder / "machine.yaml").write_text(json.dumps(content))
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [choria, "machine", "run", str(folder)],
            stdout=output,
            stderr=output,
            env={**os.environ, "HOME": str(folder)},
        )
    try:
        wait_until(lambda: process.poll() is not None or _STARTED.search(log.read_text()), timeout=_PATIENCE)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE)
        return process.poll() is None and not _FAILED.search(log.read_text())
    finally:
        process.kill()
        process.wait()


def accepted(content: dict[str, Any]) -> str:
    """Return the refusal of our check, or an empty text."""
    try:
        check_definition(content, "definition")
    except OptionError as error:
        return error.message
    return ""


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bool]:
    folder = tmp_path_factory.mktemp("corpus")
    with ThreadPoolExecutor(4) as pool:
        found = pool.map(lambda item: starts(str(find_choria()), folder / str(item[0]), ALL[item[1]]), enumerate(ALL))
        return dict(zip(ALL, found))


@pytest.mark.parametrize("name", ALL)
def test_both_agree(verdicts: dict[str, bool], name: str) -> None:
    assert verdicts[name] is not name.startswith("does not start"), "the corpus is wrong"
    problem = accepted(ALL[name])
    assert verdicts[name] is (not problem), problem
