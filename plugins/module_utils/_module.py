# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The edge for modules: the only user of AnsibleModule. Options in, one plan or answer, results or one sentence out.

Rarely used parts are in files of their own, _module_*.py, since each module compiles what it imports.
"""

from __future__ import annotations

import gc
import os
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from ansible.module_utils.basic import AnsibleFallbackNotFound, AnsibleModule

try:
    from ansible.module_utils.secrets import register_secrets
except ImportError:  # before ansible-core 2.22, where modules have no_log_values
    register_secrets = None

from . import _archive, _errors
from ._connection import sessions
from ._connection.servers import secrets_of
from ._connection.settings import Settings
from ._options import arguments, connection, fields, mask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Shown = Callable[[dict[str, Any]], dict[str, Any]]
    Secrets = Callable[[dict[str, Any]], set[str]]


class _Module(AnsibleModule):
    """Masks secrets inside options, which results and the system's log show.

    They are masked in the shown options, since the log has the text of data, in which quotes and backslashes are
    written in another way. Ansible masks them in the rest of the output. ``shown`` returns the options before the usual
    secrets are masked, and ``secrets`` returns further secrets.
    """

    params: dict[str, Any]
    session: sessions.Session | None = None

    def __init__(self, shown: Shown | None = None, secrets: Secrets | None = None, **given: Any) -> None:
        self._shown, self._secrets = shown, secrets
        self._rules = given
        self.refused: list[_errors.OptionError] = []
        self.raises = False
        """Whether a failure is raised as StreamsError, so that the caller can add what was done before it."""
        super().__init__(**given)

    def _load_params(self) -> None:
        # The only moment between reading and validation, in all releases of ansible-core that we support
        super()._load_params()
        # Data that an action passes to its module besides the options
        self.wiring: dict[str, Any] = self.params.pop(connection.WIRING, None) or {}
        for name, argument in self.argument_spec.items():
            # Connection options are removed before types are checked, since '' has the wrong type for some
            if "fallback" in argument and connection.is_unset(self.params.get(name)):
                self.params.pop(name, None)
        self.params, self.refused = arguments.given(self.argument_spec, self.params, self._rules)

    def fail_json(self, msg: str, **kwargs: Any) -> None:
        """Fail with the values that were left out before the validation, if they caused its error."""
        if self.refused:
            error = self.refused.pop()
            msg, kwargs = error.message, {"failure": error.failure, "changed": False}
        elif self.raises:
            raise _errors.StreamsError(str(msg), code="attributes")
        super().fail_json(_errors.shown(str(msg)), **kwargs)

    def _hide(self) -> None:
        servers = (self.params or {}).get("servers") or []
        secrets = secrets_of(servers if isinstance(servers, list) else [servers])
        if self._secrets:
            secrets |= self._secrets(self.params or {})
        secrets = {secret for secret in secrets if len(secret) >= mask.SHORTEST}
        if register_secrets:
            register_secrets(secrets)
        else:
            self.no_log_values |= secrets

    def _without_secrets(self) -> dict[str, Any]:
        return mask.shown(self._shown(self.params) if self._shown else self.params, self.argument_spec)

    def _log_invocation(self) -> None:
        self._hide()
        params, self.params = self.params, self._without_secrets()
        super()._log_invocation()
        self.params = params

    def log(self, msg: str, log_args: dict[str, Any] | None = None) -> None:
        """Write to the system's log, which takes no NUL character: texts of options may have one."""
        super().log(msg.replace("\0", "\\0"), log_args)

    def _return_formatted(self, kwargs: dict[str, Any]) -> None:
        self._hide()
        if self.params:
            kwargs.setdefault("invocation", {"module_args": self._without_secrets()})
        super()._return_formatted(kwargs)


def run_info(
    spec: fields.Spec, key: str, read: Callable[[sessions.Session, dict[str, Any]], list[dict[str, Any]]]
) -> None:
    """Run a module that reads, and returns a list under ``key``."""
    run_reading(spec, lambda session, options: {key: read(session, options)})


def run_reading(spec: fields.Spec, read: Callable[[sessions.Session, dict[str, Any]], dict[str, Any]]) -> None:
    """Run a module that reads. ``read(session, options)`` returns the whole result."""
    module = module_of(spec)
    with failing(module):
        with session_of(module, read_only=True) as session:
            result = read(session, module.params)
        module.exit_json(changed=False, **result)


def run_action(spec: fields.Spec, act: Callable[[sessions.Session, dict[str, Any], bool], dict[str, Any]]) -> None:
    """Run a module without a desired state. ``act(session, options, check_mode)`` returns the whole result."""
    module = module_of(spec)
    with failing(module):
        with session_of(module, read_only=module.check_mode) as session:
            result = act(session, {**module.params, **module.wiring}, module.check_mode)
        module.exit_json(**result)


def run_hybrid(
    spec: fields.Spec, act: Callable[[Callable[[], sessions.Session], dict[str, Any], bool], dict[str, Any]]
) -> None:
    """Run a module that needs a connection for some of its options only, and calls ``connect()`` for them.

    ``act(connect, options, check_mode)`` returns the whole result. The Session is closed afterwards.
    """
    module = module_of(spec)
    with failing(module):
        with ExitStack() as stack:
            result = act(
                lambda: stack.enter_context(session_of(module, read_only=module.check_mode)),
                module.params,
                module.check_mode,
            )
        module.exit_json(**result)


def run_local(spec: fields.Spec, act: Callable[[dict[str, Any], bool], dict[str, Any]]) -> None:
    """Run a module that never connects. ``act(options, check_mode)`` returns the whole result, also ``warnings``."""
    module = module_of(spec, connects=False)
    with failing(module):
        result = act(module.params, module.check_mode)
        for warning in result.pop("warnings", ()):
            module.warn(warning)
        module.exit_json(**result)


def module_of(
    spec: fields.Spec,
    states: Mapping[str, Any] | None = None,
    checks: fields.Spec | None = None,
    *,
    connects: bool = True,
    **given: Any,
) -> _Module:
    """Return the module with its checked options.

    ``states`` are arguments beside the spec, and ``checks`` has codecs for some of them. A module that never
    ``connects`` has no options of a connection.
    """
    # Imported objects stay, and few others become garbage: frequent searches, and the one at exit, would find none
    gc.freeze()
    gc.set_threshold(_archive.NEW_OBJECTS)
    whole = spec.merge(connection.CONNECTION) if connects else spec
    specification = {**whole.argument_spec(), **(states or {})}
    for row in connection.CONNECTION if connects else ():
        specification[row.option]["fallback"] = (_from_environment, connection.environment(row.option))
    # Settings checks the rules of the connection, in better words
    module = _Module(argument_spec=specification, supports_check_mode=True, **spec.rules, **given)
    with failing(module):
        if module.refused:
            raise module.refused[0]
        fields.checked(whole.merge(checks) if checks else whole, module.params.get)
    return module


_NOT_CONFIGURED = (
    "None of servers, choria_config and context is set for this module. Modules do not read ansible.cfg: set the "
    "options once for all modules with module_defaults (group/choria.streams.all), or in the environment of the host."
)
# The options that have their value from the environment, and from where in it
_origins: dict[str, int] = {}


def _from_environment(*variables: str) -> str:
    """Return the fallback of a connection option. An empty variable counts as unset."""
    for variable in variables:
        if os.environ.get(variable):
            own = variables[0].partition("CHORIA_STREAMS_")[2].lower()
            _origins[own] = connection.AROUND if variable == variables[0] else connection.FOREIGN
            return os.environ[variable]
    raise AnsibleFallbackNotFound


def session_of(module: _Module, *, read_only: bool) -> sessions.Session:
    """Return the session of a module's connection options."""
    settings = Settings.from_options(module.params.get, _origins)
    for warning in settings.warnings:
        module.warn(warning)
    session = module.session = sessions.Session(settings, read_only=read_only, warn=module.warn)
    return session


@contextmanager
def failing(module: _Module) -> Iterator[None]:
    """End the module with one sentence for any exception."""
    try:
        yield
        return
    except Exception as error:
        problem = error if isinstance(error, _errors.StreamsError) else _errors.bug(error)
    written = module.session is not None and module.session.has_written(problem)
    for warning in problem.result.pop("warnings", []):
        module.warn(warning)
    if isinstance(problem, _errors.Unreachable) and not any(module.params.get(name) for name in connection.WHERE):
        problem.message += f" {_NOT_CONFIGURED}"
    module.fail_json(msg=problem.message, failure=problem.failure, **{"changed": written, **problem.result})
