# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The edge for modules that manage one resource."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any

from . import _errors
from ._module import failing, module_of, session_of
from ._resources import resource

if TYPE_CHECKING:
    from ._connection import sessions

# Between attempts of which somebody else was faster, in seconds
_PAUSE, _LONGEST_PAUSE = 0.005, 0.25


def run_resource(wanted: resource.Resource) -> None:
    """Run a module that brings one resource into the desired state."""
    module = module_of(wanted.spec, wanted.states, wanted.checks)
    with failing(module):
        with session_of(module, read_only=module.check_mode) as session:
            plan, result = _bring_about(wanted, session, module.params, module.check_mode)
        for warning in (*plan.warnings, *resource.doubts(result)):
            module.warn(warning)
        told = {"changes": plan.change_list, "consequences": plan.consequences}
        if plan.changed:
            told["diff"] = plan.diff
        module.exit_json(changed=plan.changed, **told, **result)


def _bring_about(
    wanted: resource.Resource, session: sessions.Session, options: dict[str, Any], check_mode: bool
) -> tuple[resource.Plan, dict[str, Any]]:
    """Read, plan and apply, and start again if somebody else wrote in between. Return the plan and the result."""
    tried = 0
    while True:
        plan = wanted.plan(wanted.read(session, options), options, session.server)
        if check_mode or not (plan.changed or plan.follow):
            return plan, plan.result
        try:
            return plan, wanted.apply(session, plan)
        except _errors.Overtaken as error:
            tried += 1
            if tried >= error.tries:
                raise
            # Of many that write at once, all but one are overtaken: they must not come back at once
            time.sleep(random.uniform(0, min(_LONGEST_PAUSE, _PAUSE * tried)))
