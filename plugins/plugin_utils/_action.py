# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the options of action plugins. Ansible passes those of the task alone; other sources are added here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible import constants as C
from ansible.utils.display import Display

from ..module_utils import _errors
from ..module_utils._connection.settings import Settings
from ..module_utils._options.connection import CONNECTION, NAMES, environment, is_unset
from ._plugin import counting, is_of_ansible

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ansible.plugins.action import ActionBase

_KIND, _NAME = "action", "choria.streams.connection"


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
        own = ", ".join(spec)
        raise _errors.OptionError(
            unknown[0], f"there is no such option: there are {own}, and the options of the connection."
        )
    for name in [name for name in NAMES if is_unset(action._task.args.get(name, name))]:
        del action._task.args[name]  # before types are checked, which '' is none of
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


def _connection_options(action: ActionBase, given: Mapping[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
    C.config.initialize_plugin_configuration_definitions(_KIND, _NAME, _definitions())
    direct = {row.option: given[row.option] for row in CONNECTION if not is_unset(given.get(row.option))}
    names = [f"choria_streams_{row.option}" for row in CONNECTION]
    variables = action._templar.template({name: task_vars[name] for name in names if name in task_vars})
    variables = {name: value for name, value in variables.items() if not is_unset(value)}
    return counting(
        {
            row.option: C.config.get_config_value_and_origin(
                row.option, plugin_type=_KIND, plugin_name=_NAME, variables=variables, direct=direct
            )
            for row in CONNECTION
        }
    )


def _definitions() -> dict[str, dict[str, Any]]:
    """Return the documentation of the connection options, as other plugins have it, from their table."""
    definitions = {}
    for row in CONNECTION:
        argument = row.argument()
        definitions[row.option] = {
            "type": argument["type"],
            "default": argument.get("default"),
            "env": [{"name": name} for name in environment(row.option)],
            "ini": [{"section": "choria_streams", "key": row.option}],
            "vars": [{"name": f"choria_streams_{row.option}"}],
        }
    return definitions
