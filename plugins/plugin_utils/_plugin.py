# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The edge for plugins on the controller: converts options to Settings, and our errors to Ansible's."""

from __future__ import annotations

import atexit
import configparser
import difflib
import os
from contextlib import contextmanager, suppress
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, Protocol

from ansible import constants as C
from ansible.errors import AnsibleError, AnsibleOptionsError, AnsibleValueOmittedError
from ansible.module_utils.parsing.convert_bool import BOOLEANS, boolean
from ansible.utils.display import Display
from ansible.utils.path import unfrackpath

from ..module_utils import _errors
from ..module_utils._connection.settings import Settings
from ..module_utils._options import arguments, quantities
from ..module_utils._options.connection import AROUND, CONNECTION, FOREIGN, NAMES, TASK, chosen, environment, is_unset
from ._ansible_compat import is_omit
from ._forks import Notice

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence

    from ansible.plugins.lookup import LookupBase

    from ..module_utils._connection.sessions import Session

_VARIABLE = "choria_streams_"
_VARIABLES = tuple((name, f"{_VARIABLE}{name}") for name in NAMES)
_ENVIRONMENT = tuple(variable for name in NAMES for variable in environment(name))
# How Ansible names the environment as the origin of an option
_ENVIRONMENT_ORIGIN = "env: "
_ARGUMENTS = {row.option: row.argument() for row in CONNECTION}
# Results of options_of, by all their inputs. It takes longer than a lookup's request, and a template may hold
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
    """Return the connection options of a plugin that are in effect. Raises OptionError."""
    return counting({name: plugin.get_option_and_origin(name) for name in NAMES})


def counting(origins_by_option: Mapping[str, tuple[Any, str]]) -> dict[str, Any]:
    """Return the connection options in effect, from their values and the origins that Ansible reports.

    Options of the environment and of ansible.cfg are read again, as ``_around`` says. Raises OptionError.
    """
    values, places = {}, {}
    for name, (value, origin) in origins_by_option.items():
        is_around = origin.startswith(_ENVIRONMENT_ORIGIN) or os.path.isabs(origin)
        values[name], places[name] = _around(name) if is_around else (value, TASK)
    return chosen(values, places)


def _around(name: str) -> tuple[Any, int]:
    """Return a connection option of the environment or of ansible.cfg, or None, and its place. Raises OptionError.

    Ansible prefers each variable to ansible.cfg, also NATS_URL. It takes an empty text for a value, and converts any
    word that is not a boolean to false.
    """
    own, *foreign = environment(name)
    path = C.CONFIG_FILE or ""
    for text, place, folder in (
        (os.environ.get(own), AROUND, None),
        (_file_options(path).get(name), AROUND, os.path.dirname(path)),
        *((os.environ.get(variable), FOREIGN, None) for variable in foreign),
    ):
        if text:
            return _converted(name, text, folder), place
    return None, AROUND


@cache
def _file_options(path: str) -> dict[str, str]:
    """Return the options of the section ``choria_streams`` of an ansible.cfg."""
    file = configparser.ConfigParser(inline_comment_prefixes=(";",), interpolation=None)
    file.read(path, encoding="utf-8")
    return dict(file["choria_streams"]) if "choria_streams" in file else {}


def _converted(name: str, text: str, folder: str | None) -> Any:
    """Return the value that a text means. Paths are relative to the folder, or to the present one."""
    argument = _ARGUMENTS[name]
    _check(name, text, argument)
    if argument["type"] == "bool":
        return boolean(text)
    if argument["type"] == "list":
        return [part.strip() for part in text.split(",")]
    if argument["type"] == "path":
        return unfrackpath(text.replace("{{CWD}}", os.getcwd()), follow=False, basedir=folder)
    return text


def _check(option: str, value: Any, argument: Mapping[str, Any]) -> None:
    """Raise OptionError for a value that is not one of the choices, or not a boolean.

    Ansible takes all other words for false. Its own messages for wrong choices differ between releases.
    """
    choices, shown = argument.get("choices"), quantities.shortened(value)
    if argument.get("type") == "bool" and value not in (True, False) and str(value).lower().strip() not in BOOLEANS:
        raise _errors.OptionError(option, f"'{shown}' is not a boolean: give true or false.")
    if choices and not isinstance(value, list) and value not in choices:
        raise _errors.OptionError(option, f"'{shown}' is not one of {', '.join(choices)}: give one of these.")


def with_origins(
    kind: str, plugin: str, options: Iterable[str], variables: Mapping[str, Any], direct: Mapping[str, Any]
) -> dict[str, tuple[Any, str]]:
    """Return the values of a plugin's options with their origins, as Ansible's own ``set_options`` finds them.

    ``variables`` and ``direct`` are by the name of the option. All others come from the environment, ansible.cfg or the
    defaults, which are the same for all tasks of a run, so that they are kept. ``counting`` reads those of the
    connection. Raises OptionError.
    """
    values, around = {}, tuple(map(os.environ.get, _ENVIRONMENT))
    own = {f"{_VARIABLE}{name}": value for name, value in variables.items()}
    for option in options:
        if option in variables or option in direct:
            values[option] = _value(kind, plugin, option, variables=own, direct=direct)
        elif option in _ARGUMENTS:
            values[option] = None, _ENVIRONMENT_ORIGIN
        else:
            values[option] = _value_around(kind, plugin, option, around)
    return values


def prepare_options(kind: str, plugin: str, options: Iterable[str]) -> None:
    """Keep what ``with_origins`` and ``counting`` need. Errors are raised where an option is needed."""
    _file_options(C.CONFIG_FILE or "")
    for option in options:
        with suppress(AnsibleError, _errors.StreamsError):
            with_origins(kind, plugin, [option], {}, {})


@lru_cache(maxsize=1000)
def _value_around(kind: str, plugin: str, option: str, _environment: tuple[str | None, ...]) -> tuple[Any, str]:
    return _value(kind, plugin, option)


def _value(kind: str, plugin: str, option: str, **sources: Mapping[str, Any]) -> tuple[Any, str]:
    try:
        value, origin = C.config.get_config_value_and_origin(option, plugin_type=kind, plugin_name=plugin, **sources)
    except AnsibleOptionsError as error:
        # A server's URL may have a password
        reason = "give a list of texts" if option == "servers" else error.__cause__ or error
        raise _errors.OptionError(option, f"has a value of a wrong type: {reason}") from error
    return value, str(origin)


def options_of(
    lookup: LookupBase, variables: Mapping[str, Any], direct: Mapping[str, Any]
) -> tuple[dict[str, Any], Settings]:
    """Return the options of a lookup, and its connection settings. Raises OptionError.

    Ansible's ``set_options`` returns the same, but ignores unknown options and renders no templates in variables.
    """
    Notice.set()
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
    options = _found[question] = _options_of(lookup, given, direct)
    return options


def texts_of(terms: Sequence[Any], what: str, remedy: str) -> list[str]:
    """Return the terms of a lookup as texts, with the items of lists. Numbers are converted.

    ``what`` is the name of one of them, such as ``key``. Raises OptionError without terms, with the remedy, and for
    terms that are neither texts nor numbers.
    """
    if not terms:
        raise _errors.OptionError(what, f"is not given, and the lookup reads nothing without one: {remedy}.")
    texts = []
    for item in [item for term in terms for item in (term if isinstance(term, list) else [term])]:
        if isinstance(item, bool) or not isinstance(item, (str, int, float)):
            # Ansible has private subclasses of Python's types, whose names would not help the reader
            kind = next(base.__name__ for base in type(item).__mro__ if not base.__name__.startswith("_"))
            raise _errors.OptionError(
                what, f"a {what} is text, and this one is a {kind}: put quotes around it, or check its variable."
            )
        texts.append(str(item))
    return texts


def unknown_option(name: str, own: Iterable[str]) -> _errors.OptionError:
    """Return the error of an option that a plugin with its ``own`` options, and those of the connection, lacks."""
    near = difflib.get_close_matches(name, [*own, *NAMES], 1)
    hint = f", did you mean {near[0]}" if near else ""
    return _errors.OptionError(
        name, f"there is no such option{hint}: there are {', '.join(own)}, and the options of the connection."
    )


def _options_of(
    lookup: LookupBase, given: Mapping[str, Any], direct: Mapping[str, Any]
) -> tuple[dict[str, Any], Settings]:
    names = lookup.option_definitions
    direct = checked(names, direct)
    unknown = sorted(set(direct) - set(names))
    if unknown:
        raise unknown_option(unknown[0], [name for name in names if name not in NAMES and not name.startswith("_")])
    values = with_origins("lookup", lookup._load_name, names, checked(names, given), direct)
    options = {name: value for name, (value, _origin) in values.items()}
    settings = Settings.from_options(counting({name: values[name] for name in NAMES}).get)
    for warning in settings.warnings:
        Display().warning(warning)
    return options, settings


def checked(definitions: Mapping[str, Mapping[str, Any]], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of options except null. Raises OptionError for values of a wrong type or choice.

    ``definitions`` has the type and the choices of each option.
    """
    options, refused = arguments.given(definitions, values, {})
    if refused:
        raise refused[0]
    for name, value in options.items():
        _check(name, value, definitions.get(name, {}))
    return options


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


_shared: dict[tuple[int, Settings, bool], Session] = {}


def shared_session(settings: Settings, *, read_only: bool, warn: Callable[[str], None] | None = None) -> Session:
    """Return the session of this process for these settings. A fork makes its own; all are closed at exit."""
    if not _shared:
        atexit.register(_close_shared)
    key = (os.getpid(), settings, read_only)
    if key not in _shared:
        from ..module_utils._connection.sessions import Session  # the callback choria_results needs none

        _shared[key] = Session(settings, read_only=read_only, warn=warn)
    return _shared[key]


def _close_shared() -> None:
    for key in [key for key in _shared if key[0] == os.getpid()]:
        _shared.pop(key).close()
