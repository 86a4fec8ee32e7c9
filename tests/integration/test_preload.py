# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the processes that Ansible starts for tasks have imported before they use a lookup."""

from __future__ import annotations

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


@pytest.mark.parametrize("enabled", [True, False])
def test_processes_of_tasks_have_the_lookups(tmp_path: Path, enabled: bool) -> None:
    (tmp_path / "are_imported.py").write_text(FILTER)
    play: dict[str, Any] = {
        "hosts": "localhost",
        "gather_facts": False,
        "tasks": [
            {"ansible.builtin.debug": {"msg": "{{ needed | are_imported }}"}},
            {"ansible.builtin.debug": {"msg": "{{ needed | are_imported }}"}},
        ],
        "vars": {"needed": NEEDED},
    }
    callbacks = f"task_results,{'choria.streams.choria_preload' if enabled else ''}".rstrip(",")
    env = {"ANSIBLE_FILTER_PLUGINS": str(tmp_path), "ANSIBLE_CALLBACKS_ENABLED": callbacks}
    ended = run_playbook([play], env=env).check()
    assert [task.result["msg"] for task in ended.tasks] == [enabled, enabled]
