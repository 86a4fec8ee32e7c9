# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tells the module of the same name how many hosts run it in lock-step. It does all the rest on the managed host."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

_LOCKSTEP = ("linear", "debug")


class ActionModule(ActionBase):
    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        variables = task_vars or {}
        arguments = dict(self._task.args)
        if arguments.get("state") == "acquired":
            arguments.setdefault("lockstep_hosts", self._lockstep_hosts(variables))
        name = "choria.streams.choria_governor_lease"
        result.update(self._execute_module(module_name=name, module_args=arguments, task_vars=variables))
        return result

    def _lockstep_hosts(self, variables: dict[str, Any]) -> int:
        """How many hosts have to be done with this task before any goes on to the next; 0 for unknown.

        With a condition it is unknown, since which hosts it holds for is not known before.
        """
        strategy = str(self._task.get_play().strategy).rpartition(".")[2]
        if strategy not in _LOCKSTEP or self._task.run_once or self._task.when:
            return 0
        return len(variables.get("ansible_play_batch") or [])
