# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""What modules say to a Python that is too old for them: that, before they import what it does not have."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

MODULES = Path(__file__).resolve().parents[2] / "plugins/modules"
# What came with 3.9 is not there, so that importing it too early fails
OLD = """
import sys, functools, importlib
import ansible.module_utils.basic
del functools.cache
sys.version_info, sys.executable = (3, 8, 18, "final", 0), "/usr/bin/python3.8"
importlib.import_module("ansible_collections.choria.streams.plugins.modules." + sys.argv[1])
"""


@pytest.mark.parametrize("module", sorted(path.stem for path in MODULES.glob("choria_*.py")))
def test_too_old(module: str) -> None:
    """Actions have modules that are documentation alone, which import nothing."""
    done = subprocess.run([sys.executable, "-c", OLD, module], capture_output=True, text=True, check=False)
    if not done.stdout and done.returncode == 0:
        assert "import " not in (MODULES / f"{module}.py").read_text().replace("from __future__ import annotations", "")
        return
    assert done.returncode == 1, done.stderr
    told = json.loads(done.stdout)
    assert told["failed"]
    assert told["failure"] == {"code": "python_too_old"}
    assert told["msg"] == (
        "choria.streams needs Python 3.9 or newer on the hosts that its modules run on, and /usr/bin/python3.8 is "
        "Python 3.8.18: install a newer one there, and set ansible_python_interpreter to it."
    )
