# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The edge for plugins on the controller: converts options to Settings, and our errors to Ansible's."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from ansible.errors import AnsibleError, AnsibleValueOmittedError
from ansible.utils.display import Display

from ..module_utils import _errors
from ..module_utils._connection.settings import Settings
from ..module_utils._options import arguments, quantities
from ..module_utils._options.connection import AROUND, FOREIGN, NAMES, TASK, chosen, environment, is_unset
from ._ansible_compat import is_omit

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Mapping, Sequence

    from ansible.plugins.lookup import LookupBase

_VARIABLE = "choria_streams_"
_VARIABLES = tuple((name, f"{_VARIABLE}{name}") for name in NAMES)
_ENVIRONMENT = tuple(variable for name in NAMES for variable in environment(name))
# What set_options found, by all that it depends on. It takes longer than a lookup's request, and a template may hold
# a thousand lookups.
_found: dict[Hashable, tuple[dict[str, Any], Settings]] = {}
_MOST_FOUND = 1000


class HasOptions(Protocol):
    """Any plugin: lookups, actions, callbacks and inventories share this one method."""

    def get_option_and_origin(self, option: str) -> tuple[object, str]: ...


def settings_of(plugin: HasOptions) -> Settings:
    """Return the connection settings of a plugin. Raises OptionError."""
    return Settings.from_options(connection_of(plugin).get)


def connection_of(plugin: HasOptions) -> dict[str, Any]:
    """Return the connection options of a plugin that are in effect, by their origins."""
    return counting({name: plugin.get_option_and_origin(name) for name in NAMES})


def counting(found: Mapping[str, tuple[Any, str]]) -> dict[str, Any]:
    """Return the connection options in effect, from their values and the origins that Ansible reports."""
    values = {name: None if _is_empty(value, origin) else value for name, (value, origin) in found.items()}
    return chosen(values, {name: _place(str(origin)) for name, (_value, origin) in found.items()})


def _is_empty(value: Any, origin: str) -> bool:
    """Return True if an option is an empty text. Ansible would convert it to a folder for paths."""
    variable = _variable(str(origin))
    if variable:
        return not os.environ.get(variable)
    return is_unset(value) or (os.path.isabs(str(origin)) and str(value) == os.path.dirname(str(origin)))


def _place(origin: str) -> int:
    variable = _variable(origin)
    if variable == "NATS_URL":
        return FOREIGN
    return AROUND if variable or os.path.isabs(origin) else TASK


def _variable(origin: str) -> str:
    return origin[len("env: ") :] if origin.startswith("env: ") else ""


def options_of(
    lookup: LookupBase, variables: Mapping[str, Any], direct: Mapping[str, Any]
) -> tuple[dict[str, Any], Settings]:
    """Return the options of a lookup, and its connection settings. Raises OptionError.

    They are those of ``set_options``, but variables may be templates, and an unknown option is an error.
    """
    given = {name: _rendered(lookup, variables[variable]) for name, variable in _VARIABLES if variable in variables}
    given = {name: value for name, value in given.items() if not _is_left_out(value)}
    direct = {name: value for name, value in direct.items() if name not in NAMES or not _is_left_out(value)}
    question = (lookup._load_name, _frozen(given), _frozen(direct), *map(os.environ.get, _ENVIRONMENT))
    try:
        if question in _found:
            return _found[question]
    except TypeError:  # a dict among the values: nothing that any option takes
        return _options_of(lookup, given, direct)
    if len(_found) >= _MOST_FOUND:
        _found.clear()
    found = _found[question] = _options_of(lookup, given, direct)
    return found


def texts_of(terms: Sequence[Any], what: str, remedy: str) -> list[str]:
    """Return the terms of a lookup as texts, with the items of lists. Numbers are converted.

    ``what`` is the name of one of them, such as ``key``. Raises OptionError without terms, with the remedy, and for
    terms that are neither texts nor numbers.
    """
    if not terms:
        raise _errors.OptionError(what, f"is not given, and the lookup reads nothing without one: {remedy}.")
    found = []
    for item in [item for term in terms for item in (term if isinstance(term, list) else [term])]:
        if isinstance(item, bool) or not isinstance(item, (str, int, float)):
            # Ansible has types of its own below Python's, which tell a reader nothing
            kind = next(base.__name__ for base in type(item).__mro__ if not base.__name__.startswith("_"))
            raise _errors.OptionError(
                what, f"a {what} is text, and this one is a {kind}: put quotes around it, or check its variable."
            )
        found.append(str(item))
    return found


def _options_of(
    lookup: LookupBase, given: Mapping[str, Any], direct: Mapping[str, Any]
) -> tuple[dict[str, Any], Settings]:
    direct = _checked(lookup, direct)
    lookup.set_options(
        var_options={f"{_VARIABLE}{name}": value for name, value in _checked(lookup, given).items()}, direct=direct
    )
    options = lookup.get_options()
    unknown = sorted(set(direct) - set(options))
    if unknown:
        own = ", ".join(name for name in options if name not in NAMES and not name.startswith("_"))
        raise _errors.OptionError(
            unknown[0], f"there is no such option: there are {own}, and the options of the connection."
        )
    settings = settings_of(lookup)
    for warning in settings.warnings:
        Display().warning(warning)
    return options, settings


def _checked(lookup: LookupBase, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values except null. Raises OptionError for values of a wrong type or choice.

    Ansible's own messages for wrong choices differ between releases.
    """
    definitions = lookup.option_definitions
    found, refused = arguments.given(definitions, values, {})
    if refused:
        raise refused[0]
    for name, value in found.items():
        choices = definitions.get(name, {}).get("choices")
        if choices and isinstance(value, str) and value not in choices:
            shown = quantities.shortened(value)
            raise _errors.OptionError(name, f"'{shown}' is not one of {', '.join(choices)}: give one of these.")
    return found


def _is_left_out(value: Any) -> bool:
    """Return True if a variable or an option of a lookup is unset: null, an empty text, or omit."""
    return is_unset(value) or is_omit(value)


def _rendered(lookup: LookupBase, value: Any) -> Any:
    # Rendering takes longer than a request, so that it is done for templates alone
    template = "{" in value if isinstance(value, str) else isinstance(value, (list, dict))
    try:
        return lookup._templar.template(value) if template else value
    except AnsibleValueOmittedError:
        return None


def _frozen(options: Mapping[str, Any]) -> Hashable:
    return tuple((name, tuple(value) if isinstance(value, list) else value) for name, value in options.items())


@contextmanager
def translated(prefix: str = "") -> Iterator[None]:
    """Convert errors to Ansible's, with the plugin's name before the sentence, including unexpected ones."""
    try:
        yield
    except _errors.StreamsError as error:
        # Without the cause, whose words Ansible would add to ours
        raise AnsibleError(f"{prefix}{error.message}") from None
    except Exception as error:
        if is_of_ansible(error):
            raise
        raise AnsibleError(f"{prefix}{_errors.bug(error).message}") from None


def is_of_ansible(error: Exception) -> bool:
    """Return True if Ansible or its templates raise and handle this error."""
    return any(kind.__module__.partition(".")[0] in ("ansible", "jinja2") for kind in type(error).__mro__)
