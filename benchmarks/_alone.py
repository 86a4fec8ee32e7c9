# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs a module by itself, as Ansible starts it on a host, and measures its process."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = """
import importlib, json, resource, sys, time
from ansible.module_utils import basic
module = importlib.import_module(f"ansible_collections.choria.streams.plugins.modules.{sys.argv[1]}")
basic._ANSIBLE_ARGS = open(sys.argv[2], "rb").read()
basic._ANSIBLE_PROFILE = "legacy"
start = time.perf_counter()
try:
    module.main()
except SystemExit as ended:
    print(json.dumps({"rc": ended.code, "wall": time.perf_counter() - start, "cpu": time.process_time(),
                      "kilobytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}), file=sys.stderr)
"""


class Taken(NamedTuple):
    """Measurements of the process: seconds on the clock and of the processor, and the most memory in MiB."""

    wall: float
    cpu: float
    mebibytes: float


def run_module(name: str, arguments: dict[str, Any], folder: Path) -> Taken:
    """Run a module to its end. Raises RuntimeError with its output when it fails."""
    path = folder / "arguments.json"
    path.write_text(json.dumps({"ANSIBLE_MODULE_ARGS": {"_ansible_diff": True, **arguments}}))
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, name, str(path)],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(ROOT / ".build"), "HOME": str(folder)},
    )
    report = re.search(r'\{"rc".*\}', ended.stderr)
    measured = json.loads(report.group(0)) if report else None
    if measured is None or measured["rc"]:
        raise RuntimeError(ended.stderr + ended.stdout[-2000:])
    return Taken(measured["wall"], measured["cpu"], measured["kilobytes"] / 1024)
