# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Modules name a Python that is too old, before they import anything that it lacks."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from support import ROOT

MODULES = ROOT / "plugins/modules"
# Modules that came with 3.9 are missing, so that importing one too early fails
OLD = """
import sys, functools, importlib
import ansible.module_utils.basic
del functools.cache
sys.version_info, sys.executable = (3, 8, 18, "final", 0), "/usr/bin/python3.8"
importlib.import_module("ansible_collections.choria.streams.plugins.modules." + sys.argv[1])
"""


@pytest.mark.parametrize("module", sorted(path.stem for path in MODULES.glob("choria_*.py")))
def test_too_old(module: str) -> None:
    """The modules of actions contain only documentation, and import nothing."""
    done = subprocess.run([sys.executable, "-c", OLD, module], capture_output=True, text=True, check=False)
    if not done.stdout and done.returncode == 0:
        assert "import " not in (MODULES / f"{module}.py").read_text().replace("from __future__ import annotations", "")
        return
    assert done.returncode == 1, done.stderr
    result = json.loads(done.stdout)
    assert result["failed"]
    assert result["failure"] == {"code": "python_too_old"}
    assert result["msg"] == (
        "choria.streams needs Python 3.9 or newer on the hosts that its modules run on, and /usr/bin/python3.8 is "
        "Python 3.8.18: install a newer one there, and set ansible_python_interpreter to it."
    )
