# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the options of action plugins. Ansible passes those of the task alone; other sources are added here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible import constants as C
from ansible.utils.display import Display

from ..module_utils import _errors
from ..module_utils._connection.settings import Settings
from ..module_utils._options.connection import CONNECTION, NAMES, is_unset
from ._plugin import checked, counting, is_of_ansible, prepare_options, unknown_option, with_origins

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ansible.plugins.action import ActionBase

_KIND, _NAME = "action", "choria.streams.connection"
# By these, Ansible converts the options of tasks and variables. ``counting`` reads all others
_DEFINITIONS = {
    row.option: {"type": row.argument()["type"], "vars": [{"name": f"choria_streams_{row.option}"}]}
    for row in CONNECTION
}


def options_of(
    action: ActionBase, spec: Mapping[str, Any], rules: Mapping[str, Any], task_vars: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the options of an action: its own by ``spec`` and ``rules``, and the connection's.

    Connection options come from the task, variables, the environment or ansible.cfg, in this order, as for all plugins.
    Raises OptionError for an unknown option, and AnsibleActionFail for an invalid one.
    """
    arguments = {**CONNECTION.argument_spec(), **spec}
    for row in CONNECTION:
        # A default would hide variables and the environment
        arguments[row.option] = {key: value for key, value in arguments[row.option].items() if key != "default"}
    unknown = [name for name in action._task.args if name not in arguments]
    if unknown:
        raise unknown_option(unknown[0], spec)
    for name in [name for name in NAMES if is_unset(action._task.args.get(name, name))]:
        del action._task.args[name]  # before types are checked, which '' is none of
    action._task.args = checked(arguments, action._task.args)
    _result, given = action.validate_argument_spec(arguments, **rules)
    return {**given, **_connection_options(action, given, task_vars)}


def failing(run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return the result of ``run``, or of any exception a failure with one sentence."""
    try:
        return run()
    except _errors.StreamsError as error:
        problem = error
    except Exception as error:
        if is_of_ansible(error):
            raise
        problem = _errors.bug(error)
    return {"changed": False, "failed": True, "msg": problem.message, "failure": problem.failure}


def settings_of(options: Mapping[str, Any]) -> Settings:
    """Return the connection settings in options. Raises OptionError, and warns of files that others can read."""
    settings = Settings.from_options(options.get)
    for warning in settings.warnings:
        Display().warning(warning)
    return settings


def prepare() -> None:
    """Keep the connection options of the environment and of ansible.cfg for processes that are forked later."""
    C.config.initialize_plugin_configuration_definitions(_KIND, _NAME, _DEFINITIONS)
    prepare_options(_KIND, _NAME, ())


def _connection_options(action: ActionBase, given: Mapping[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
    C.config.initialize_plugin_configuration_definitions(_KIND, _NAME, _DEFINITIONS)
    direct = {name: given[name] for name in NAMES if not is_unset(given.get(name))}
    variables = {name: task_vars[f"choria_streams_{name}"] for name in NAMES if f"choria_streams_{name}" in task_vars}
    variables = action._templar.template(variables)
    variables = checked(
        CONNECTION.argument_spec(), {name: value for name, value in variables.items() if not is_unset(value)}
    )
    return counting(with_origins(_KIND, _NAME, NAMES, variables, direct))
