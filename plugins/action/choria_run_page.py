# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the page of runs on the controller. Documented in ``plugins/modules/choria_run_page.py``.

The results of a large run stay in this process. As a task's result, Ansible would copy them several times.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible.plugins.action import ActionBase

from ansible_collections.choria.streams.plugins.module_utils import _errors
from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from ansible_collections.choria.streams.plugins.module_utils._fsync import write_whole
from ansible_collections.choria.streams.plugins.module_utils._operations.runs.info import SPEC as OF_RUNS
from ansible_collections.choria.streams.plugins.module_utils._operations.runs.info import read
from ansible_collections.choria.streams.plugins.module_utils._operations.runs.summary import STATUSES
from ansible_collections.choria.streams.plugins.module_utils._options import untrusted
from ansible_collections.choria.streams.plugins.plugin_utils._action import failing, options_of, settings_of
from ansible_collections.choria.streams.plugins.plugin_utils._results.run_page import page

if TYPE_CHECKING:
    from collections.abc import Mapping

_SELECTING = ("stream", "subject_prefix", "run_id", "playbooks", "limit", "max_results")
_OF_RUNS = OF_RUNS.argument_spec()
SPEC = {
    "dest": {"type": "path", "required": True},
    **{name: _OF_RUNS[name] for name in _SELECTING},
    "max_results": {"type": "int", "default": 50_000},
    "max_hosts": {"type": "int", "default": 1000},
}
RULES = {"mutually_exclusive": [("run_id", "playbooks"), ("run_id", "limit")]}
_SHOWN = ("run_id", "outcome", "started", "finished", "duration", "complete", "counts")


class ActionModule(ActionBase):
    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        return failing(lambda: self._run(tmp, task_vars))

    def _run(self, tmp: str | None, task_vars: dict[str, Any] | None) -> dict[str, Any]:
        if self._task.async_val:
            raise _errors.OptionError("async", "is not possible: the page is written by the controller itself.")
        super().run(tmp, task_vars)
        options = options_of(self, SPEC, RULES, dict(task_vars or {}))
        if options["max_hosts"] < 1:
            raise _errors.OptionError("max_hosts", "is not a number above 0: give the most hosts that the page shows.")
        dest = _file(options["dest"])
        result = self._read(options)
        text = page(result, options["max_hosts"]).encode()
        changed = not dest.is_file() or dest.read_bytes() != text
        if changed and not self._task.check_mode:
            _write(dest, text)
        shown = [{name: run[name] for name in _SHOWN} for run in result["runs"]]
        return {"changed": changed, "dest": str(dest), "size": len(text), "stream": result["stream"], "runs": shown}

    def _read(self, options: Mapping[str, Any]) -> dict[str, Any]:
        given = {name: options[name] for name in _SELECTING}
        if not given["run_id"] and given["limit"] is None:
            given["limit"] = 1
        unset = {name: row.get("default") for name, row in _OF_RUNS.items()}
        with Session(settings_of(options), read_only=True, warn=self._display.warning) as session:
            result = read(session, {**unset, **given, "statuses": list(STATUSES)})
        if not result["runs"]:
            raise _errors.Refused(_no_run(given), code="not_found")
        return result


def _no_run(given: Mapping[str, Any]) -> str:
    selection = "any run"
    if given["run_id"]:
        selection = f"the run {given['run_id']}"
    elif given["playbooks"]:
        selection = f"a run of {', '.join(given['playbooks'])}"
    return (
        f"Stream {given['stream']} does not have {selection}: check run_id and playbooks, or enable the callback "
        "choria.streams.choria_results and run a playbook."
    )


def _file(dest: str) -> Path:
    """Return the file to write. Raises OptionError if it can't be written."""
    path = Path(dest).absolute()
    try:
        untrusted.check_path(str(path))
    except ValueError as error:
        raise _errors.OptionError("dest", f"{error}.") from None
    if path.is_dir():
        raise _errors.OptionError("dest", f"{path} is a folder: add the name of the page's file.")
    if not path.parent.is_dir():
        raise _errors.OptionError("dest", f"there is no folder {path.parent} on the controller: create it first.")
    return path


def _write(path: Path, content: bytes) -> None:
    """Replace the file in one step. Only the user can read it, since the page shows results of tasks."""
    try:
        write_whole(path, content)
    except OSError as error:
        raise _errors.OptionError("dest", f"{path} can't be written: {error.strerror}. Name another file.") from None
