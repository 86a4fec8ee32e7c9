# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run tasks and blocks of tasks inside an action plugin, and combine their results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ...module_utils import _errors
from .._run import check
from .task import InnerTask, facts_as_variables

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ansible.plugins.action import ActionBase

# Keys of all tasks that go into the whole result; and other keys that are left out of the result of each.
_HOISTED = ("diff", "warnings", "deprecations")
_NOT_SHOWN = (*_HOISTED, "ansible_facts", "exception", "invocation")
_HARMLESS = ("changed", "failed", "skipped", "unreachable", "attempts")
_CENSORED = "the output has been hidden due to the fact that 'no_log: true' was specified for this result"
_SECTIONS = ("block", "rescue", "always")
# Keywords that a block passes to its tasks
_HANDED_DOWN = ("check_mode", "diff", "environment", "ignore_errors", "no_log")
_OF_A_BLOCK = frozenset((*_SECTIONS, *_HANDED_DOWN, "name", "vars", "when"))


class InnerBlock(NamedTuple):
    """The tasks of a block, its ``rescue`` and its ``always``."""

    name: str
    block: Sequence[InnerTask | InnerBlock]
    rescue: Sequence[InnerTask | InnerBlock]
    always: Sequence[InnerTask | InnerBlock]


def run_one(task: InnerTask, variables: dict[str, Any]) -> dict[str, Any]:
    """Return the task's result as it is."""
    result = task.run(variables)
    if task.hidden:
        result["_ansible_no_log"] = True
    return result


def inner_tasks(around: ActionBase, where: str, items: Sequence[Any]) -> list[InnerTask | InnerBlock]:
    """Return the tasks and blocks of a list. ``where`` is the option that contains it. Raises OptionError."""
    return [_inner(around, f"{where}[{index}]", data) for index, data in enumerate(items)]


def _inner(around: ActionBase, where: str, data: Any) -> InnerTask | InnerBlock:
    if not isinstance(data, dict):
        raise _errors.OptionError(where, "is not a task: write a module's name with its arguments, or a block.")
    if not any(section in data for section in _SECTIONS):
        return InnerTask(around, where, data, in_a_list=True)
    for keyword in data:
        if keyword not in _OF_A_BLOCK:
            raise _errors.OptionError(
                where, f"{keyword} is not possible at a block inside another task: write it at the task around."
            )
    if not isinstance(data.get("vars") or {}, dict):
        raise _errors.OptionError(where, "vars is not a dict: write names of variables with their values.")
    if not data.get("block"):
        raise _errors.OptionError(where, "has rescue or always and no block: write the tasks that they are for.")
    sections = {}
    for section in _SECTIONS:
        items = data.get(section) or []
        if not isinstance(items, list):
            raise _errors.OptionError(f"{where}.{section}", "is not a list of tasks.")
        sections[section] = inner_tasks(around, f"{where}.{section}", [_inherit(data, item) for item in items])
    return InnerBlock(str(data.get("name") or "the block"), **sections)


def _inherit(block: Mapping[str, Any], item: Any) -> Any:
    """Return a task or block with the conditions, variables and keywords of the block around it."""
    if not isinstance(item, dict):
        return item
    merged = {**{keyword: block[keyword] for keyword in _HANDED_DOWN if keyword in block}, **item}
    own = item.get("vars") or {}
    if block.get("vars") and isinstance(own, dict):  # Ansible refuses others
        merged["vars"] = {**block["vars"], **own}
    if "when" in block:
        merged["when"] = [*_listed(block["when"]), *_listed(item.get("when", []))]
    return merged


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list) else [value]


def run_list(tasks: Sequence[InnerTask | InnerBlock], variables: dict[str, Any]) -> dict[str, Any]:
    """Run tasks until one fails. Each gets the registered variables and the facts of the earlier ones.

    Returns ``changed``, ``failed``, ``skipped`` (if all were), ``msg``, ``diff``, ``ansible_facts``, and ``tasks``: the
    ``name``, ``action`` and ``result`` of each task that was reached.
    """
    work = _Work(variables)
    work.run(tasks, "")
    return work.result()


class _Failure(NamedTuple):
    task: InnerTask
    result: dict[str, Any]
    which: str


class _Work:
    """A run of tasks, with its facts, variables and results."""

    def __init__(self, variables: dict[str, Any]) -> None:
        self._variables = dict(variables)
        self._whole: dict[str, Any] = {"changed": False, "failed": False, "tasks": [], **{key: [] for key in _HOISTED}}
        self._failure: _Failure | None = None

    def run(self, tasks: Sequence[InnerTask | InnerBlock], place: str) -> None:
        """Run until there is a failure. ``place`` describes the list of a block in errors."""
        for number, task in enumerate(tasks, start=1):
            if isinstance(task, InnerBlock):
                self._block(task)
            else:
                self._task(task, f"Task {number} of {len(tasks)}{place}, '{task.name}'")
            if self._failure:
                return

    def result(self) -> dict[str, Any]:
        whole = self._whole
        if self._failure:
            _fail(whole, *self._failure)
        elif all(entry["result"].get("skipped") for entry in whole["tasks"]):
            whole.update(skipped=True, msg="All tasks were skipped")
        return {key: value for key, value in whole.items() if key not in _HOISTED or value}

    def _task(self, task: InnerTask, which: str) -> None:
        check()
        result = task.run(self._variables)
        self._learn_facts(task, result)
        if task.register:
            self._variables[task.register] = result
        _add(self._whole, task, result)
        # As in Ansible, ignore_errors is not for a host that is away
        if result.get("unreachable") or (result.get("failed") and not task.ignored):
            self._failure = _Failure(task, result, which)

    def _block(self, block: InnerBlock) -> None:
        """Run a block as Ansible does. An unreachable host runs neither ``rescue`` nor ``always``."""
        self.run(block.block, f" in {block.name}")
        if self._failure and block.rescue and not self._away:
            failed, self._failure = self._failure, None
            self._variables["ansible_failed_task"] = {"name": failed.task.name, "action": failed.task.action}
            self._variables["ansible_failed_result"] = failed.result
            self.run(block.rescue, f" in the rescue of {block.name}")
        if block.always and not self._away:
            failure, self._failure = self._failure, None
            self.run(block.always, f" in the always of {block.name}")
            self._failure = self._failure or failure

    @property
    def _away(self) -> bool:
        return bool(self._failure and self._failure.result.get("unreachable"))

    def _learn_facts(self, task: InnerTask, result: dict[str, Any]) -> None:
        facts = result.get("ansible_facts")
        if not facts or task.only_shows:
            return
        self._variables.update(facts_as_variables(facts, self._variables))
        if not task.hidden:
            self._whole["ansible_facts"] = {**self._whole.get("ansible_facts", {}), **facts}


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
