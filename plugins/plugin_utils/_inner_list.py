# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tasks one after the other inside an action plugin, and one result made of theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._inner import facts_as_variables
from ._run import check

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ._inner import InnerTask

# What the whole result has of all tasks; and what else is not in the result of each.
_HOISTED = ("diff", "warnings", "deprecations")
_NOT_SHOWN = (*_HOISTED, "ansible_facts", "exception", "invocation")
_HARMLESS = ("changed", "failed", "skipped", "unreachable", "attempts")
_CENSORED = "the output has been hidden due to the fact that 'no_log: true' was specified for this result"


def run_one(task: InnerTask, variables: dict[str, Any]) -> dict[str, Any]:
    """The task's result as it is."""
    result = task.run(variables)
    if task.hidden:
        result["_ansible_no_log"] = True
    return result


def run_list(tasks: Sequence[InnerTask], variables: dict[str, Any]) -> dict[str, Any]:
    """Runs tasks until one fails. Each sees what those before registered, and the facts that they found.

    Returns ``changed``, ``failed``, ``skipped`` (where all were), ``msg``, ``diff``, ``ansible_facts``, and ``tasks``:
    for each that came to its turn its ``name``, ``action`` and ``result``.
    """
    variables = dict(variables)
    whole: dict[str, Any] = {"changed": False, "failed": False, "tasks": [], **{key: [] for key in _HOISTED}}
    for number, task in enumerate(tasks, start=1):
        check()
        result = task.run(variables)
        _learn_facts(whole, variables, task, result)
        if task.register:
            variables[task.register] = result
        _add(whole, task, result)
        # As in Ansible, ignore_errors is not for a host that is away
        if result.get("unreachable") or (result.get("failed") and not task.ignored):
            _fail(whole, task, result, f"Task {number} of {len(tasks)}, '{task.name}'")
            break
    if all(entry["result"].get("skipped") for entry in whole["tasks"]):
        whole.update(skipped=True, msg="All tasks were skipped")
    return {key: value for key, value in whole.items() if key not in _HOISTED or value}


def _learn_facts(whole: dict[str, Any], variables: dict[str, Any], task: InnerTask, result: dict[str, Any]) -> None:
    facts = result.get("ansible_facts")
    if not facts or task.only_shows:
        return
    variables.update(facts_as_variables(facts, variables))
    if not task.hidden:
        whole["ansible_facts"] = {**whole.get("ansible_facts", {}), **facts}


def _add(whole: dict[str, Any], task: InnerTask, result: dict[str, Any]) -> None:
    whole["changed"] = whole["changed"] or bool(result["changed"])
    if task.hidden:
        shown = {**{key: result[key] for key in _HARMLESS if key in result}, "censored": _CENSORED}
    else:
        for key in _HOISTED:
            more = result.get(key) or []
            whole[key] += more if isinstance(more, list) else [more]
        shown = {key: value for key, value in result.items() if key not in _NOT_SHOWN and not key.startswith("_")}
    whole["tasks"].append({"name": task.name, "action": task.action, "result": shown})


def _fail(whole: dict[str, Any], task: InnerTask, result: dict[str, Any], which: str) -> None:
    reason = "its output is hidden by no_log" if task.hidden else result.get("msg") or f"rc {result.get('rc')}"
    if result.get("unreachable"):
        whole.update(unreachable=True, msg=f"{which}: the host is unreachable: {reason}")
        return
    whole.update(failed=True, msg=f"{which}, failed: {reason}")
    if result.get("exception") and not task.hidden:
        whole["exception"] = result["exception"]
