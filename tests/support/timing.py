# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Durations of tasks in a playbook, measured in turns within one run."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any

from support.playbook import run_playbook

if TYPE_CHECKING:
    from collections.abc import Mapping

_NOTHING = "nothing"


def timed_tasks(tasks: Mapping[str, Mapping[str, Any]], rounds: int, **options: Any) -> dict[str, list[float]]:
    """Return the seconds that each task took in each round, without the time of an empty task.

    The options are those of run_playbook. Tasks must succeed.
    """
    clock = {"ansible.builtin.set_fact": {"clock": "{{ now().timestamp() }}"}}
    order = [_NOTHING, *tasks] * rounds
    listed: list[Mapping[str, Any]] = []
    for name in order:
        listed += [clock] if name == _NOTHING else [clock, {"name": name, **tasks[name]}]
    result = run_playbook([{"hosts": "localhost", "gather_facts": False, "tasks": [*listed, clock]}], **options).check()
    clocks = [float(task.result["ansible_facts"]["clock"]) for task in result.tasks if task.action.endswith("set_fact")]
    if len(clocks) != len(order) + 1:
        raise ValueError("a timed task may be no set_fact")
    taken: dict[str, list[float]] = {name: [] for name in order}
    for name, before, after in zip(order, clocks, clocks[1:]):
        taken[name].append(after - before)
    nothing = median(taken.pop(_NOTHING))
    return {name: [seconds - nothing for seconds in found] for name, found in taken.items()}
