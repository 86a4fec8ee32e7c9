# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a task inside an action plugin, with the connection, become, check mode and diff of the outer task.

It loads and templates the task with Ansible's own code just before it runs. The parts of ansible-core's private
modules that it needs are in ``_ansible_compat.py``.
"""

from __future__ import annotations

import time
import traceback
from typing import TYPE_CHECKING, Any

from ansible import constants as C
from ansible.errors import AnsibleAction, AnsibleActionFail, AnsibleActionSkip, AnsibleConnectionFailure, AnsibleError
from ansible.playbook.attribute import FieldAttribute
from ansible.playbook.task import Task
from ansible.plugins import action as actions
from ansible.utils.vars import combine_vars, load_extra_vars
from ansible.vars.clean import clean_facts, namespace_facts

from ...module_utils import _errors
from .._ansible_compat import engine_of, is_lazy
from .._results.learned_secrets import learn_variables
from .._run import check

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ansible.plugins.action import ActionBase
    from ansible.template import Templar

# Keywords that an inner task may have, and those that are of use only in a list of tasks.
_KEYWORDS = frozenset(("action", "args", "check_mode", "diff", "environment", "name", "no_log", "vars"))
_IN_A_LIST = frozenset(
    ("changed_when", "delay", "failed_when", "ignore_errors", "register", "retries", "until", "when")
)
# Keywords that are not inherited from the task around it
_OWN = frozenset(("ignore_errors", "tags", "when"))
# Actions that Ansible's strategy runs, or that change the variables of the run.
_NOT_INSIDE = frozenset(
    ("add_host", "group_by", "import_playbook", "import_role", "import_tasks", "include", "include_role")
) | frozenset(("include_tasks", "include_vars", "meta", "set_fact", "set_stats"))
_NO_FACT = object()


class InnerTask:
    """A task as written in a playbook. ``where`` is the option that contains it, such as ``tasks[0]``.

    Raises OptionError if it can't run inside another task.
    """

    def __init__(self, around: ActionBase, where: str, data: Mapping[str, Any], *, in_a_list: bool) -> None:
        self._around = around
        self._data = dict(data)
        _check_keywords(where, self._data, _KEYWORDS | _IN_A_LIST if in_a_list else _KEYWORDS)
        self._task = self._load(where)
        self.action = str(self._task.resolved_action or self._task.action)
        if self.action.removeprefix("ansible.builtin.").removeprefix("ansible.legacy.") in _NOT_INSIDE:
            raise _errors.OptionError(
                where, f"{self.action} can't run inside another task: write it before or after that."
            )

    @property
    def name(self) -> str:
        """The name of the task, or its action."""
        return str(self._task.name or self.action)

    @property
    def register(self) -> str:
        """The variable that gets the result, or an empty text."""
        return str(self._data.get("register") or "")

    @property
    def hidden(self) -> bool:
        """True if ``no_log`` hides its result. It is known after the task has run."""
        return self._task.no_log is not False

    @property
    def only_shows(self) -> bool:
        """True if facts in its result are only shown."""
        return self.action in C._ACTION_DEBUG

    @property
    def ignored(self) -> bool:
        """True if its failure is ignored. It is known after the task has run."""
        return self._task.ignore_errors is True

    def run(self, variables: dict[str, Any]) -> dict[str, Any]:
        """Return the result, with ``changed`` and ``failed``. Exceptions of Ansible become part of the result."""
        learn_variables(self._task.vars)
        variables = {**variables, **self._task.vars, **load_extra_vars(self._around._loader)}
        try:
            templar = self._around._templar.copy_with_new_env(available_variables=variables)
            conditions = self._task.when
            if not all(templar.evaluate_conditional(condition) for condition in conditions):
                return {
                    "changed": False,
                    "failed": False,
                    "skipped": True,
                    "skip_reason": "Conditional result was False",
                }
            self._task.post_validate(engine_of(templar))
            return self._attempts(variables, templar)
        except Exception as error:
            return _result_of(error)

    def _load(self, where: str) -> Task:
        """Return the task with inherited keywords. Check names of modules and keywords. Render no templates."""
        outer = self._around._task
        data = dict(self._data)
        if outer.collections:
            data["collections"] = list(outer.collections)
        try:
            task = Task.load(data, role=outer._role, loader=self._around._loader)
            if self._around._templar.is_template(task.action):
                raise _errors.OptionError(where, "the name of the module may not be a template: write it out.")
        except AnsibleError as error:
            if data.get("no_log") not in (None, False):
                raise _errors.OptionError(
                    where, "is not a valid task, and its no_log hides the reason: remove no_log to see it."
                ) from None
            raise _errors.OptionError(where, f"{_sentence(error)}") from error
        task.squash()
        for name, attribute in task.fattributes.items():
            if isinstance(attribute, FieldAttribute) and name not in self._data and name not in _OWN:
                setattr(task, name, getattr(outer, name))
        if "environment" in self._data:
            own = task.environment if isinstance(task.environment, list) else [task.environment]
            task.environment = [*(outer.environment or []), *own]
        if "ignore_errors" not in self._data:
            task.ignore_errors = False
        task._parent = outer._parent  # where files and templates are searched
        return task

    def _attempts(self, variables: dict[str, Any], templar: Templar) -> dict[str, Any]:
        """Run the action once, or until its condition is met, and apply the task's conditions to its result."""
        task = self._task
        retries = max(0, task.retries) if task.retries is not None else 3 if task.until else 0
        for attempt in range(retries + 1):
            if attempt:
                time.sleep(max(0, task.delay))
                check()
            result = self._once(variables, templar)
            _judge(task, result, variables, self.register, templar)
            if retries:
                result["attempts"] = attempt + 1
            if result.get("unreachable"):
                return result  # as in Ansible, before "until" is asked
            if all(templar.evaluate_conditional(condition) for condition in task.until or [not result["failed"]]):
                return result
        return {**result, "failed": True} if retries else result

    def _once(self, variables: dict[str, Any], templar: Templar) -> dict[str, Any]:
        around = self._around
        handler = around._shared_loader_obj.action_loader.get(
            _handler_name(around, self._task),
            task=self._task,
            connection=around._connection,
            play_context=around._play_context,
            loader=around._loader,
            templar=templar,
            shared_loader_obj=around._shared_loader_obj,
            collection_list=self._task.collections,
        )
        # Not in a finally: after a signal, the cleanup must not connect to the host again
        try:
            result = handler.run(task_vars=variables)
        except Exception as error:
            handler.cleanup()
            return _result_of(error)
        handler.cleanup()
        return dict(result)


def is_written_out(value: Any) -> bool:
    """Return True if inner tasks are written in the playbook, and do not come from a template."""
    return not isinstance(value, str) and not is_lazy(value)


def keep_facts(around: ActionBase, facts: Mapping[str, Any]) -> None:
    """Set facts of the host after a list of tasks, since ``debug`` declares that the outer task sets none."""
    if hasattr(around, "register_host_variables"):  # since ansible-core 2.21; older ones do not declare that
        around.register_host_variables(dict(facts), actions.VariableLayer.CACHEABLE_FACT)


def facts_as_variables(facts: Mapping[str, Any], variables: Mapping[str, Any]) -> dict[str, Any]:
    """Return the variables that Ansible makes of facts. Other variables win over them.

    Ansible marks facts outside of ``ansible_facts`` as deprecated, which is left out here.
    """
    before = variables.get("ansible_facts", {})
    merged = combine_vars(before, namespace_facts(facts)["ansible_facts"])
    new = clean_facts(facts) if C.INJECT_FACTS_AS_VARS else {}
    free = {
        name: fact
        for name, fact in new.items()
        if name not in variables or variables[name] == before.get(name.removeprefix("ansible_"), _NO_FACT)
    }
    return {**free, "ansible_facts": merged}


def _check_keywords(where: str, data: Mapping[str, Any], allowed: Iterable[str]) -> None:
    """Refuse keywords that have no effect inside another task."""
    if "action" not in data and all(keyword in Task.fattributes for keyword in data):
        raise _errors.OptionError(where, "names no module: write one, with its arguments.")
    for keyword in data:
        if keyword in ("block", "rescue", "always"):
            raise _errors.OptionError(where, f"{keyword} is for the list 'tasks': use 'tasks' with one item.")
        if not isinstance(keyword, str):
            raise _errors.OptionError(
                where, f"{keyword!r} is not a keyword of a task: write keywords and a module's name."
            )
        if keyword in ("async", "poll"):
            raise _errors.OptionError(
                where, f"{keyword} is not possible: the seat would be given back before the work is done."
            )
        if keyword in _IN_A_LIST and keyword not in allowed:
            raise _errors.OptionError(
                where, f"{keyword} is for the list 'tasks': write it at the task around, or use 'tasks' with one item."
            )
        is_keyword = keyword in Task.fattributes or keyword == "local_action" or keyword.startswith("with_")
        if is_keyword and keyword not in allowed:
            raise _errors.OptionError(
                where, f"{keyword} is not possible inside another task: write it at the task around."
            )
    register = data.get("register")
    if register is not None and not isinstance(register, str):
        raise _errors.OptionError(where, "register takes the name of one variable here.")
    if "when" in data and data["when"] is None:
        raise _errors.OptionError(where, "when is empty: give a condition, or leave it out.")


def _handler_name(around: ActionBase, task: Task) -> str:
    """Return the action plugin that runs a task's module, by the rules of Ansible's task executor."""
    loaders, collections = around._shared_loader_obj, task.collections
    module = loaders.module_loader.find_plugin_with_context(task.action, collection_list=collections)
    if module.resolved and module.action_plugin:
        return str(module.action_plugin)
    if loaders.action_loader.has_plugin(task.action, collection_list=collections):
        return str(task.action)
    collection, _dot, name = task.action.rpartition(".")
    platform = name.split("_")[0]
    network = f"{collection}.{platform}" if collection else platform
    if platform in C.NETWORK_GROUP_MODULES and loaders.action_loader.has_plugin(network, collection_list=collections):
        return network
    return "ansible.legacy.normal"


def _judge(task: Task, result: dict[str, Any], variables: dict[str, Any], register: str, templar: Templar) -> None:
    """Set ``failed`` and ``changed`` of a result, by ``failed_when`` and ``changed_when`` if they are given."""
    result.setdefault("failed", bool(result.get("rc")) or bool(result.get("unreachable")))
    result.setdefault("changed", False)
    if register:
        variables[register] = result
        learn_variables({register: result})
    if result.get("skipped") or result.get("unreachable"):
        return
    if task.changed_when:
        result["changed"] = all(templar.evaluate_conditional(condition) for condition in task.changed_when)
    if task.failed_when:
        failed = all(templar.evaluate_conditional(condition) for condition in task.failed_when)
        result["failed"] = result["failed_when_result"] = failed
        if not failed:
            result.pop("exception", None)


def _result_of(error: Exception) -> dict[str, Any]:
    """Return the result that Ansible makes of an action's exception."""
    if isinstance(error, AnsibleConnectionFailure):
        return {"changed": False, "failed": False, "unreachable": True, "msg": _sentence(error)}
    result = dict(error.result) if isinstance(error, AnsibleAction) else {}
    result.setdefault("changed", False)
    if isinstance(error, AnsibleActionSkip):
        return {**result, "failed": False, "skipped": True, "msg": _sentence(error)}
    if isinstance(error, AnsibleAction) and not isinstance(error, AnsibleActionFail):
        return {"failed": False, **result}  # an action that ended early
    if not isinstance(error, AnsibleError):
        result["exception"] = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    return {**result, "failed": True, "msg": _sentence(error) or type(error).__name__}


def _sentence(error: Exception) -> str:
    return " ".join(str(error).split())
