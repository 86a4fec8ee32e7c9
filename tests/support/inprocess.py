# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Modules run in this process, and lookups in another, with the options of a task: a few milliseconds each."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from ansible.module_utils.testing import patch_module_args

ROOT = Path(__file__).resolve().parents[2]


class RawError(Exception):
    """A module ended with an exception, or with a result that is none."""


def run_module(name: str, arguments: dict[str, Any], *, check_mode: bool = False) -> dict[str, Any]:
    """The result of a module. Raises RawError where it has none, as for users who see a traceback."""
    module = importlib.import_module(f"ansible_collections.choria.streams.plugins.modules.{name}")
    output = io.StringIO()
    given = {**arguments, "_ansible_check_mode": check_mode, "_ansible_remote_tmp": "/tmp"}
    with patch_module_args(given), contextlib.redirect_stdout(output):
        try:
            module.main()
        except SystemExit:
            pass
        except BaseException as error:
            raise RawError(f"{type(error).__name__}: {error}") from error
    try:
        return dict(json.loads(output.getvalue().strip().splitlines()[-1]))
    except (ValueError, IndexError) as error:
        raise RawError(f"no result, but {output.getvalue()[:200]!r}") from error


class Lookups:
    """Runs lookups in one process of their own, since Ansible's loader of collections comes before all imports."""

    def __init__(self) -> None:
        command = [sys.executable, "-c", _LOOKUPS, str(ROOT / ".build")]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def run(self, name: str, terms: list[Any], **options: Any) -> tuple[list[Any], str]:
        """What a lookup returns, and else why it fails. Raises RawError."""
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
