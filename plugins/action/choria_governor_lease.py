# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pass facts to the module that only the controller knows: hosts in lockstep, the task's timeout, and null values."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from ansible import constants as C
from ansible import context
from ansible.playbook.handler import Handler
from ansible.plugins.action import ActionBase

from ansible_collections.choria.streams.plugins.module_utils import _errors
from ansible_collections.choria.streams.plugins.module_utils._operations.governor.lease import LOCKSTEP, NO_SEAT, TERMS
from ansible_collections.choria.streams.plugins.module_utils._options.connection import WIRING
from ansible_collections.choria.streams.plugins.module_utils._options.quantities import parse_duration
from ansible_collections.choria.streams.plugins.plugin_utils._action import failing
from ansible_collections.choria.streams.plugins.plugin_utils._run import watched

_MAX_WAIT = TERMS.argument_spec()["max_wait"]["default"]
_LOCKSTEP = ("linear", "debug")
_BY_ITSELF = ("free", "host_pinned")


class ActionModule(ActionBase):
    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        return failing(lambda: self._run(tmp, task_vars))

    def _run(self, tmp: str | None, task_vars: dict[str, Any] | None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        variables = task_vars or {}
        arguments = dict(self._task.args)
        if arguments.get("state") == "acquired":
            self._check_timeout(arguments.get("max_wait"))
            arguments[WIRING] = {LOCKSTEP: self._lockstep(variables)}
        elif "lease_id" in arguments and arguments["lease_id"] is None:
            arguments[WIRING] = {NO_SEAT: True}
        name = "choria.streams.choria_governor_lease"
        with watched():
            result.update(self._execute_module(module_name=name, module_args=arguments, task_vars=variables))
        return dict(result)

    def _check_timeout(self, max_wait: Any) -> None:
        """Refuse a max_wait that is not below the task's timeout: nobody would own a seat that is taken after it."""
        timeout = self._task.timeout
        with suppress(ValueError):  # the module reports it
            seconds = parse_duration(_MAX_WAIT if max_wait is None else max_wait)
            if timeout and timeout <= seconds:
                raise _errors.Refused(
                    f"timeout: {timeout} seconds are not longer than max_wait ({seconds:g}s), so that the task could "
                    "take a seat when nobody waits for it any more: give a longer timeout, or a shorter max_wait.",
                    code="option",
                    option="timeout",
                )

    def _lockstep(self, variables: dict[str, Any]) -> dict[str, int]:
        """Return how many hosts run this task in lockstep. Without lockstep, return hosts and limits that may block it.

        It is empty if that is unknown, as when only some hosts may reach this task.
        """
        strategy = str(self._task.get_play().strategy).rpartition(".")[2]
        if strategy not in (*_LOCKSTEP, *_BY_ITSELF) or self._task.run_once or self._task.when or self._skips_hosts():
            return {}
        hosts = len(variables.get("ansible_play_batch") or [])
        if strategy in _LOCKSTEP:
            return {"hosts": hosts}
        forks, throttle = int(context.CLIARGS.get("forks") or C.DEFAULT_FORKS), int(self._task.throttle or 0)
        if strategy == "free":
            return {"hosts": hosts, "forks": forks, "throttle": throttle}
        # host_pinned: a host that has begun keeps its fork until it is done with the play
        return {"hosts": min(hosts, forks) if throttle else 0, "throttle": throttle}

    def _skips_hosts(self) -> bool:
        """Return True if some hosts may not reach this task: inside an include, a handler, or the rescue of a block."""
        if isinstance(self._task, Handler) or not self._task.all_parents_static():
            return True
        inner, block = self._task, self._task._parent
        while block:
            if any(child._uuid == inner._uuid for child in getattr(block, "rescue", ())):
                return True
            inner, block = block, block._parent
        return False
