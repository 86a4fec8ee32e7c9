# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs a module in this process, as Ansible would run it on a host, and tells what became of it."""

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
    """What a module returned. ``raised`` is what escaped from it, empty where nothing did."""

    seconds: float
    result: dict[str, Any] = field(default_factory=dict)
    raised: str = ""

    @property
    def failed(self) -> bool:
        return bool(self.result.get("failed"))

    @property
    def message(self) -> str:
        return str(self.result.get("msg", ""))


_specs: dict[str, dict[str, Any]] = {}


def argument_spec(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """The argument specification of a module, which it has when it is run with these arguments."""
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


def run_module(name: str, arguments: dict[str, Any], *, check_mode: bool = False) -> Outcome:
    module = importlib.import_module(f"{_MODULES}.{name}")
    output, began = io.StringIO(), time.monotonic()
    given = {**arguments, "_ansible_check_mode": check_mode, "_ansible_diff": True}
    raised, umask = "", current_umask()
    with patch_module_args(given), redirect_stdout(output), redirect_stderr(io.StringIO()):
        try:
            module.main()
        except SystemExit:
            pass
        except Exception as error:  # which is what this is to find
            if "Failed to decode JSON module parameters" in str(error):
                return Outcome(0.0, {"failed": True, "msg": str(error)})  # Ansible sends nothing like that
            raised = "".join(traceback.format_exception(error)[-3:])
    seconds = time.monotonic() - began
    if current_umask() != umask:
        raised = raised or "it left another umask"
    try:
        result = json.loads(output.getvalue().strip().splitlines()[-1]) if output.getvalue().strip() else {}
    except ValueError:
        result, raised = {}, raised or f"no JSON: {output.getvalue()[:200]}"
    return Outcome(seconds, result, raised)
