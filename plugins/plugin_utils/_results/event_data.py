# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Select the parts of Ansible's plays, tasks and results for events. All other parts are left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, NamedTuple

from ansible.playbook.handler import Handler
from ansible.playbook.task_include import TaskInclude

from ...module_utils._options import mask
from .masking import Masking

if TYPE_CHECKING:
    from ansible.executor.task_result import CallbackTaskResult
    from ansible.playbook.included_file import IncludedFile
    from ansible.playbook.play import Play
    from ansible.playbook.task import Task

# Parts of results that users may add with the option ``include``
ARGS, DIFF, ENVIRONMENT, OUTPUT = "args", "diff", "environment", "output"

_OURS, _ANSIBLES = "choria.streams.", "ansible.builtin."
_PASSED_ON = ("msg", "rc", "attempts", "retries")
# Characters of the end of an output that are sent, and that are searched
_TAIL, _LOOKED_AT = 8192, 32768
# How Ansible's words end when the action gave its own under another name
_NOTHING_SAID = "Unknown error."
FAILURES = ("failed", "unreachable")
_NO_TRACEBACK = "(traceback unavailable)"


@dataclass(frozen=True)
class Contents:
    """The user's choice of contents: ``include`` of the above, ``facts`` by patterns of their names.

    ``masking`` is used where a text is cut, since a cut secret could not be recognized.
    """

    include: frozenset[str] = frozenset()
    facts: tuple[str, ...] = ()
    items: bool = True
    masking: Masking = field(default_factory=Masking)


def play_data(play: Play) -> dict[str, Any]:
    """Return ``name`` and ``uuid`` of a play."""
    return {"name": play.get_name(), "uuid": str(play._uuid)}


class SameForAll(NamedTuple):
    """The parts of a task that are the same on all hosts; ``name`` is None if it is a template."""

    name: str | None
    uuid: str
    path: str
    handler: bool

    @classmethod
    def of(cls, task: Task) -> SameForAll:
        """Return these parts of a task."""
        name = str(task.get_name())
        static = not _is_template(_written_name(task)) and not _is_template(name)
        return cls(name if static else None, str(task._uuid), task.get_path(), isinstance(task, Handler))

    def task_data(self, task: Task) -> dict[str, Any]:
        """Return the task for an event."""
        return {
            "name": task_name(task) if self.name is None else self.name,
            "uuid": self.uuid,
            "action": task.resolved_action or task.action,
            "path": self.path,
        }


def task_name(task: Task) -> str:
    """Return the task's name. With ``no_log``, or if it may be set, templates in it stay as written."""
    raw = _written_name(task)
    if not _is_template(raw) or not task.no_log:
        return str(task.get_name())
    return f"{task._role.get_name()} : {raw}" if task._role else raw


def _written_name(task: Task) -> str:
    return str((task.get_ds() or {}).get("name") or "")


def _is_template(text: str) -> bool:
    return "{{" in text or "{%" in text


def included_data(included: IncludedFile) -> dict[str, Any]:
    """Return the included file or role and its hosts, without the variables."""
    where = "role" if included._is_role else "file"
    task = SameForAll.of(included._task).task_data(included._task)
    return {"task": task, where: included._filename, "hosts": [str(host) for host in included._hosts]}


def status(state: str, *, changed: bool = False, ignored: bool = False) -> str:
    """Return ``ok``, ``changed``, ``failed``, ``skipped``, ``unreachable`` or ``ignored``."""
    if state == "ok":
        return "changed" if changed else "ok"
    return "ignored" if ignored else state


def is_rescued(task: Task) -> bool:
    """Return True if a block around the task has a ``rescue`` that handles its failure."""
    inner, outer = task, task._parent
    while outer is not None:
        if getattr(outer, "rescue", None) and any(child._uuid == inner._uuid for child in outer.block):
            return True
        inner, outer = outer, outer._parent
    return False


def is_hidden(task: Task, result: Mapping[str, Any]) -> bool:
    """Return True if ``no_log`` hides the result, or that of a loop item."""
    return task.no_log is True or "censored" in result or bool(result.get("_ansible_no_log"))


def task_result_data(result: CallbackTaskResult, contents: Contents, *, failed: bool) -> dict[str, Any]:
    """Return the parts of a task's result for an event, only ``no_log`` for a hidden one."""
    task, raw = result.task, result.result
    if is_hidden(task, raw):
        return {"no_log": True}
    if failed and isinstance(task, TaskInclude):
        # Its items were fine when the loop ended, and Ansible does not say whose file could not be included then
        raw = {name: value for name, value in raw.items() if name != "results"}
    data = result_data(raw, contents, failed=failed)
    if task.delegate_to:
        data["delegated_to"] = str(task.delegate_to)
    if result.is_changed() and task.notify:
        data["notified"] = [task.notify] if isinstance(task.notify, str) else list(task.notify)
    if raw.get("ansible_job_id"):
        data["job_id"] = raw["ansible_job_id"]
    if ARGS in contents.include:
        data["args"] = _arguments(task, raw)
    if ENVIRONMENT in contents.include:
        # A value that is a template as a whole is text here, and its own value is not sent
        parts = [part for part in task.environment or [] if isinstance(part, Mapping)]
        data["environment"] = {name: value for part in parts for name, value in part.items()}
    return data


def _arguments(task: Task, result: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the options of the task: as the module shows them, else as Ansible has them, without secrets.

    Only the module knows which of its options are secrets. The usual names are the secrets of Ansible's own modules.
    """
    args = (result.get("invocation") or {}).get("module_args") or task.args
    action = str(task.resolved_action or task.action)
    if not isinstance(args, Mapping):
        return args
    if args is task.args:
        args = {name: value for name, value in args.items() if not str(name).startswith("_ansible_")}
        if action.startswith(_ANSIBLES):
            return mask.shown(args)
        if not action.startswith(_OURS):
            return {name: value if mask.is_nothing(value) else mask.HIDDEN for name, value in args.items()}
    if not action.startswith(_OURS):
        return args
    args = _without_hidden_tasks(args)
    if action == f"{_OURS}choria_config":
        from ...module_utils._operations.config_file import shown_options as shown
    elif action == f"{_OURS}choria_kv_sync":
        from ...module_utils._operations.kv.sync import shown
    else:
        return mask.shown(args)
    return mask.shown(shown(args))


def _without_hidden_tasks(value: Any) -> Any:
    """Return inner tasks, of which those with ``no_log`` keep only their names."""
    if isinstance(value, (list, tuple)):
        return [_without_hidden_tasks(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    if value.get("no_log") in (None, False, "false", "no"):
        return {key: _without_hidden_tasks(item) for key, item in value.items()}
    return {key: item if key in ("name", "no_log") else mask.HIDDEN for key, item in value.items()}


def item_result_data(result: CallbackTaskResult, contents: Contents) -> dict[str, Any]:
    """Return the parts of a loop item's result for an event. A hidden one has only its status."""
    data = item_data(result.result, contents)
    if data["status"] == "failed" and result.task.ignore_errors is True:
        data["status"] = "ignored"
    return {"status": data["status"], "no_log": True} if is_hidden(result.task, result.result) else data


def result_data(result: Mapping[str, Any], contents: Contents, *, failed: bool = False) -> dict[str, Any]:
    """Return the parts of a result, or of a loop item's result, for an event."""
    data = {name: result[name] for name in _PASSED_ON if result.get(name) not in (None, "", [])}
    reason = _reason(result) if failed else None
    if reason:
        data["msg"] = reason
    if "msg" not in data and result.get("skip_reason"):
        data["msg"] = result["skip_reason"]
    for kind in ("warnings", "deprecations"):
        if result.get(kind):
            data[kind] = [message["msg"] if isinstance(message, Mapping) else message for message in result[kind]]
    governor = result.get("governor")
    if isinstance(governor, Mapping) and "waited" in governor:  # a module's may be the governor itself
        data["governor"] = governor
    if contents.facts and result.get("ansible_facts"):
        data["facts"] = _facts(result["ansible_facts"], contents.facts)
    if DIFF in contents.include and result.get("diff"):
        data["diff"] = result["diff"] if isinstance(result["diff"], list) else [result["diff"]]
    if OUTPUT in contents.include:
        data.update(_output(result, contents.masking))
    items = result.get("results")
    if contents.items and isinstance(items, list) and items and all(_is_item(item) for item in items):
        data["items"] = [item_data(item, contents) for item in items]
    return data


def _reason(result: Mapping[str, Any]) -> str | None:
    """Return why a task failed, if ``msg`` does not contain it."""
    if isinstance(result.get("reason"), str):  # of includes, up to ansible-core 2.20
        return str(result["reason"]) or None
    message = str(result.get("msg") or "")
    if isinstance(result.get("message"), str) and (not message or message.endswith(_NOTHING_SAID)):
        return str(result["message"]) or None
    return None


def item_data(item: Mapping[str, Any], contents: Contents) -> dict[str, Any]:
    """Return the parts of a loop item in the result of its task."""
    state = _item_status(item)
    data = {"status": state, **result_data(item, contents, failed=state in FAILURES)}
    label = item.get("_ansible_item_label")
    if isinstance(label, (str, int, float)):  # of items with an inner life only what loop_control says of them
        data["label"] = str(label)
    return data


def _is_item(item: Any) -> bool:
    return isinstance(item, Mapping) and "ansible_loop_var" in item


def _item_status(item: Mapping[str, Any]) -> str:
    # ansible-core 2.21 leaves failed and skipped out of what callbacks see, but not what goes with them
    for state, signs in (
        ("unreachable", ("unreachable",)),
        ("failed", ("failed", "exception")),
        ("skipped", ("skipped", "skip_reason")),
    ):
        if any(item.get(sign) for sign in signs):
            return state
    return status("ok", changed=bool(item.get("changed")))


def _facts(facts: Mapping[str, Any], patterns: tuple[str, ...]) -> dict[str, Any]:
    """Return the facts whose names match, without the prefix of those of modules."""
    named = {str(name).removeprefix("ansible_"): value for name, value in facts.items()}
    return {name: value for name, value in named.items() if any(fnmatchcase(name, pattern) for pattern in patterns)}


def _output(result: Mapping[str, Any], masking: Masking) -> dict[str, Any]:
    masking.update()
    output = {
        "stdout": result.get("stdout") or result.get("module_stdout"),
        "stderr": result.get("stderr") or result.get("module_stderr"),
        "traceback": None if result.get("exception") == _NO_TRACEBACK else result.get("exception"),
    }
    ends = {name: _end(str(text), masking) for name, text in output.items() if text}
    return {"output": ends} if ends else {}


def _end(text: str, masking: Masking) -> str:
    looked_at = max(_LOOKED_AT, _TAIL + masking.reach)
    end = masking.text(text[-looked_at:])
    if len(text) > looked_at:  # a secret may begin before it
        end = end[masking.reach :]
    return end[-_TAIL:]
