# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run a module in this process as Ansible would run it on a host, and report how it ended."""

from __future__ import annotations

import importlib
import io
import json
import os
import time
import traceback
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args

_MODULES = "ansible_collections.choria.streams.plugins.modules"


@dataclass
class Outcome:
    """The result of a module. ``raised`` is the exception that escaped from it, or empty.

    ``warnings`` are those of the module. Its result has none in a process that also imported Ansible's controller.
    """

    seconds: float
    result: dict[str, Any] = field(default_factory=dict)
    raised: str = ""
    warnings: list[str] = field(default_factory=list)

    @property
    def failed(self) -> bool:
        return bool(self.result.get("failed"))

    @property
    def message(self) -> str:
        return str(self.result.get("msg", ""))


class RawError(Exception):
    """A module or lookup ended with an exception, where users would see a traceback, or without a valid result."""


_specs: dict[str, dict[str, Any]] = {}


def argument_spec(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the argument specification of a module that runs with these arguments."""
    if name not in _specs:
        made: list[dict[str, Any]] = []
        original = AnsibleModule.__init__

        def noted(self: Any, argument_spec: dict[str, Any], **given: Any) -> None:
            made.append(argument_spec)
            original(self, argument_spec=argument_spec, **given)

        with mock.patch.object(AnsibleModule, "__init__", noted):
            run_module(name, arguments, check_mode=True)
        _specs[name] = made[0]
    return _specs[name]


def current_umask() -> int:
    os.umask(umask := os.umask(0o077))
    return umask


def result_of(name: str, arguments: dict[str, Any], *, check_mode: bool = False) -> dict[str, Any]:
    """Run a module, and return its result. Raises RawError."""
    outcome = run_module(name, arguments, check_mode=check_mode)
    if outcome.raised or not outcome.result:
        raise RawError(outcome.raised or "no result")
    return outcome.result


def run_module(name: str, arguments: dict[str, Any], *, check_mode: bool = False) -> Outcome:
    """Run a module, and return how it ended. Raises no exception of the module."""
    module = importlib.import_module(f"{_MODULES}.{name}")
    output, began = io.StringIO(), time.monotonic()
    given = {**arguments, "_ansible_check_mode": check_mode, "_ansible_diff": True, "_ansible_remote_tmp": "/tmp"}
    raised, umask, warnings = "", current_umask(), list[str]()
    warned = mock.patch.object(AnsibleModule, "warn", lambda _module, warning: warnings.append(warning))
    with patch_module_args(given), warned, redirect_stdout(output), redirect_stderr(io.StringIO()):
        try:
            module.main()
        except SystemExit:
            pass
        except Exception as error:  # any exception is a fault
            if "Failed to decode JSON module parameters" in str(error):
                return Outcome(0.0, {"failed": True, "msg": str(error)})  # Ansible never sends such arguments
            raised = "".join(traceback.format_exception(error)[-3:])
    seconds = time.monotonic() - began
    if current_umask() != umask:
        raised = raised or "it left another umask"
    try:
        result = json.loads(output.getvalue().strip().splitlines()[-1]) if output.getvalue().strip() else {}
    except ValueError:
        result, raised = {}, raised or f"no JSON: {output.getvalue()[:200]}"
    return Outcome(seconds, result, raised, warnings)
