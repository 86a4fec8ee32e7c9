# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The processes that Ansible starts for tasks import what lookups need before they use one."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from support.playbook import run_playbook

if TYPE_CHECKING:
    from pathlib import Path

FILTER = """
import sys

class FilterModule:
    def filters(self):
        return {"are_imported": lambda names: all(name in sys.modules for name in names)}
"""
OURS = "ansible_collections.choria.streams.plugins"
NEEDED = ["nats.aio.client", "ssl", f"{OURS}.lookup.choria_kv", f"{OURS}.module_utils._connection.client"]


SHOW = {"ansible.builtin.debug": {"msg": "{{ needed | are_imported }}"}}
LOOKUP = "{{ %s('%s', 'BUCKET/key') }}"
# A lookup that is not in the text of the task. It refuses an option, which needs no server
UNNAMED = {"ansible.builtin.debug": {"msg": "{{ lookup(kind, 'BUCKET/key', no_such_option=1, errors='ignore') }}"}}


def imported(
    folder: Path, tasks: list[dict[str, Any]], variables: dict[str, str] | None = None, *, enabled: bool = True
) -> list[bool]:
    """Return, for each task that prints it, whether its process had imported what lookups need."""
    (folder / "are_imported.py").write_text(FILTER)
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "tasks": tasks,
        "vars": {"needed": NEEDED, **(variables or {})},
    }
    callbacks = f"task_results,{'choria.streams.choria_preload' if enabled else ''}".rstrip(",")
    env = {"ANSIBLE_FILTER_PLUGINS": str(folder), "ANSIBLE_CALLBACKS_ENABLED": callbacks}
    ended = run_playbook([play], env=env).check()
    return [task.result["msg"] for task in ended.tasks if isinstance(task.result.get("msg"), bool)]


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("function", ["lookup", "query", "q"])
def test_processes_of_tasks_have_the_lookups(tmp_path: Path, enabled: bool, function: str) -> None:
    variables = {"unused": LOOKUP % (function, "choria.streams.choria_kv")}
    assert imported(tmp_path, [SHOW, SHOW], variables, enabled=enabled) == [enabled, enabled]


def test_lookups_are_loaded_before_the_first_task_that_names_one(tmp_path: Path) -> None:
    naming = {**SHOW, "vars": {"unused": LOOKUP % ("lookup", "choria_kv")}}
    assert imported(tmp_path, [SHOW, naming, SHOW]) == [False, True, True]


def test_a_loop_names_a_lookup(tmp_path: Path) -> None:
    loop = {**SHOW, "with_choria.streams.choria_kv": ["BUCKET/key"], "when": "false", "ignore_errors": True}
    assert imported(tmp_path, [SHOW, loop, SHOW]) == [False, True]


def test_lookups_are_loaded_after_the_first_that_no_text_names(tmp_path: Path) -> None:
    assert imported(tmp_path, [SHOW, UNNAMED, SHOW], {"kind": "choria.streams.choria_kv"}) == [False, True]


def test_a_run_without_lookups_loads_nothing(tmp_path: Path) -> None:
    module = {"choria.streams.choria_config_info": {}, "when": "false"}
    assert imported(tmp_path, [SHOW, module, SHOW], {"note": "choria_kv is not looked up"}) == [False, False]


def test_the_callback_of_results_imports_no_client() -> None:
    """A process of its own connects, and each run waits for the imports of the callback."""
    program = f"import sys, {OURS}.callback.choria_results; print('asyncio' in sys.modules, 'ssl' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["False", "False"]
