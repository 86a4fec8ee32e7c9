# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run lookups as Ansible would, a few milliseconds each."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from support import ROOT

from .in_process import RawError


class Lookups:
    """Runs lookups in one process of their own, since Ansible's loader of collections comes before all imports."""

    def __init__(self) -> None:
        command = [sys.executable, "-c", _LOOKUPS, str(ROOT / ".build")]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def run(self, name: str, terms: list[Any], **options: Any) -> tuple[list[Any], str]:
        """Return the result of a lookup, and the error if it fails. Raises RawError."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps([name, terms, options]) + "\n")
        self._process.stdin.flush()
        found, problem, raw = json.loads(self._process.stdout.readline())
        if raw:
            raise RawError(raw)
        return found, problem

    def stop(self) -> None:
        self._process.kill()
        self._process.communicate()


_LOOKUPS = """
import json, os, sys
output = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
from ansible.plugins.loader import init_plugin_loader, lookup_loader
init_plugin_loader([sys.argv[1]])
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
loader = DataLoader()
for line in sys.stdin:
    name, terms, options = json.loads(line)
    answer = [None, "", ""]
    try:
        lookup = lookup_loader.get(f"choria.streams.{name}", loader=loader, templar=Templar(loader=loader))
        answer[0] = lookup.run(terms, variables={}, **options)
    except AnsibleError as error:
        answer[1] = str(error)
    except BaseException as error:
        answer[2] = f"{type(error).__name__}: {error}"
    print(json.dumps(answer), file=output, flush=True)
"""
