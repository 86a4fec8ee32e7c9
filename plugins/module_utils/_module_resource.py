# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The edge for modules that manage one resource."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any

from . import (  # pylint: disable=unused-import
    _archive,  # noqa: F401  # before all others, for these to be compiled once
    _errors,
)
from ._module import failing, module_of, session_of
from ._resources import resource

if TYPE_CHECKING:
    from ._connection import sessions

# Between attempts that another writer overtook, in seconds
_PAUSE, _LONGEST_PAUSE = 0.005, 0.25


def run_resource(kind: resource.Resource) -> None:
    """Run a module that brings one resource into the desired state."""
    module = module_of(kind.spec, kind.states, kind.checks)
    with failing(module):
        with session_of(module, read_only=module.check_mode) as session:
            plan, result = _ensure(kind, session, module.params, module.check_mode)
        for warning in (*plan.warnings, *resource.origin_warnings(result)):
            module.warn(warning)
        report = {"changes": plan.change_list, "consequences": plan.consequences}
        if plan.changed:
            report["diff"] = plan.diff
        module.exit_json(changed=plan.changed, **report, **result)


def _ensure(
    kind: resource.Resource, session: sessions.Session, options: dict[str, Any], check_mode: bool
) -> tuple[resource.Plan, dict[str, Any]]:
    """Read, plan and apply, and start again if somebody else wrote in between. Return the plan and the result."""
    tried = 0
    while True:
        plan = kind.plan(kind.read(session, options), options, session.server)
        if check_mode or not (plan.changed or plan.follow):
            return plan, plan.result
        try:
            return plan, kind.apply(session, plan)
        except _errors.Overtaken as error:
            tried += 1
            if tried >= error.tries:
                raise
            # Of many that write at once, all but one are overtaken: they must not come back at once
            time.sleep(random.uniform(0, min(_LONGEST_PAUSE, _PAUSE * tried)))
