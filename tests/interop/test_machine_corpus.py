# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Our check of definitions beside ``choria machine run``: both have to agree on what starts."""

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
# What ends a machine, or what it says when it has begun
_FAILED = re.compile(r"Could not start manager|panic:|choria: error|could not load|validation failed")
_STARTED = re.compile(r"Starting \S+ watcher")
# How long it takes to begin on a busy machine, and how long to fail after that
_PATIENCE, _GRACE = 60.0, 1.0


def starts(choria: str, folder: Path, content: dict[str, Any]) -> bool:
    """Whether Choria runs it: when it has begun, it has nothing to say against it for a while, and does not end."""
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
    """What our check says against it, empty for nothing."""
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
