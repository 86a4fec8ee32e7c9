# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The edge for modules: the only user of AnsibleModule. Options in, one plan or answer, results or one sentence out."""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from ansible.module_utils.basic import AnsibleModule, env_fallback
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.errors import AnsibleValidationError, UnsupportedError

from ._connection.session import Session
from ._connection.settings import Settings, secrets_of
from ._errors import WRITTEN, OptionError, Overtaken, StreamsError
from ._options.connection import CONNECTION, environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from ._options.fields import Spec
    from ._resources.document import Document, Given, Kind
    from ._resources.resource import Plan, Resource
    from ._services.choria_file import TextFile

    Shown = Callable[[dict[str, Any]], dict[str, Any]]
    Settle = Callable[[str, Any], bool]


class _Module(AnsibleModule):
    """Hides the passwords in servers' URLs as well: results show the options that a module was called with.

    ``shown`` gives the options as results and the system's log may show them.
    """

    params: dict[str, Any]

    def __init__(self, shown: Shown | None = None, **given: Any) -> None:
        self._shown = shown
        super().__init__(**given)

    def _log_invocation(self) -> None:
        params = self.params
        self.params = self._shown(params) if self._shown else params
        super()._log_invocation()
        self.params = params

    def _return_formatted(self, kwargs: dict[str, Any]) -> None:
        if self._shown and self.params:
            kwargs.setdefault("invocation", {"module_args": self._shown(self.params)})
        servers = (self.params or {}).get("servers") or []
        self.no_log_values |= secrets_of([servers] if isinstance(servers, str) else servers)
        super()._return_formatted(kwargs)


def run_resource(resource: Resource) -> None:
    """A module that brings one resource into the desired state."""
    module = _module(resource.spec, resource.states)
    with _failing(module):
        with _session(module, read_only=module.check_mode) as session:
            plan, result = _bring_about(resource, session, module.params, module.check_mode)
        for warning in plan.warnings:
            module.warn(warning)
        told = {"changes": plan.change_list, "consequences": plan.consequences}
        if plan.changed:
            told["diff"] = plan.diff
        module.exit_json(changed=plan.changed, **told, **result)


def _bring_about(
    resource: Resource, session: Session, options: dict[str, Any], check_mode: bool, tries: int = 3
) -> tuple[Plan, dict[str, Any]]:
    """Reads, plans and applies, anew when somebody else wrote in between. Returns the result beside the plan."""
    plan = resource.plan(resource.read(session, options), options, session.server)
    if check_mode or not plan.changed:
        return plan, plan.result
    try:
        return plan, resource.apply(session, plan)
    except Overtaken:
        if tries == 1:
            raise
    return _bring_about(resource, session, options, check_mode, tries - 1)


def run_info(spec: Spec, key: str, read: Callable[[Session, dict[str, Any]], list[dict[str, Any]]]) -> None:
    """A module that reads, and returns a list under ``key``."""
    run_reading(spec, lambda session, options: {key: read(session, options)})


def run_reading(spec: Spec, read: Callable[[Session, dict[str, Any]], dict[str, Any]]) -> None:
    """A module that reads. ``read(session, options)`` returns the whole result."""
    module = _module(spec)
    with _failing(module):
        with _session(module, read_only=True) as session:
            found = read(session, module.params)
        module.exit_json(changed=False, **found)


def run_action(spec: Spec, act: Callable[[Session, dict[str, Any], bool], dict[str, Any]]) -> None:
    """A module that does something. ``act(session, options, check_mode)`` returns the whole result."""
    module = _module(spec)
    with _failing(module):
        with _session(module, read_only=module.check_mode) as session:
            result = act(session, module.params, module.check_mode)
        module.exit_json(**result)


def run_hybrid(spec: Spec, act: Callable[[Callable[[], Session], dict[str, Any], bool], dict[str, Any]]) -> None:
    """A module that needs a connection for some of its options only, and calls ``connect()`` for them.

    ``act(connect, options, check_mode)`` returns the whole result. The Session is closed afterwards.
    """
    module = _module(spec)
    with _failing(module):
        with ExitStack() as sessions:
            result = act(
                lambda: sessions.enter_context(_session(module, read_only=module.check_mode)),
                module.params,
                module.check_mode,
            )
        module.exit_json(**result)


def run_file(spec: Spec, prepare: Callable[[dict[str, Any]], TextFile], secrets: Callable[..., set[str]]) -> None:
    """A module that brings the text file at ``path`` into the desired state, with its owner, group and mode.

    ``secrets(options)`` are values that no result may hold. A new file has mode 0600 unless the task says otherwise.
    """
    module = _module(spec, add_file_common_args=True)
    module.no_log_values |= secrets(module.params)
    os.umask(0o077)  # atomic_move gives a new file what the umask allows
    path = module.params["path"]
    with _failing(module):
        if not os.path.isdir(os.path.dirname(os.path.abspath(path))) and not module.check_mode:
            raise OptionError("path", f"{path} can't be written (its folder is not there): make the folder first.")
        file = prepare(module.params)
        changed = file.before != file.after
        if changed and not module.check_mode:
            _write_file(module, path, file.after)
        if file.after is not None and os.path.exists(path):
            changed = module.set_fs_attributes_if_different(module.load_file_common_arguments(module.params), changed)
        told = {"diff": file.diff(path)} if file.before != file.after else {}
        module.exit_json(changed=changed, path=path, **told)


def _write_file(module: AnsibleModule, path: str, text: str | None) -> None:
    """Puts a file in its place at once and whole, or takes it away. What is there keeps its owner and mode."""
    try:
        if text is None:
            os.unlink(path)
            return
        descriptor, made = tempfile.mkstemp(dir=module.tmpdir)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise OptionError("path", f"{path} can't be written ({error.strerror}): check path and permissions.") from error
    module.atomic_move(made, path)


def run_document(
    spec: Spec,
    kinds: Sequence[Kind],
    document_of: Callable[[dict[str, Any], list[Given]], Document],
    bring_about: Callable[[Session, Document, bool, bool], dict[str, Any]],
) -> None:
    """A module that brings many resources into their desired state, which its lists have by their kinds."""
    module = _module(spec, shown=partial(_counted, kinds))
    with _failing(module):
        document = document_of(module.params, _items(kinds, module.params))
        with _session(module, read_only=module.check_mode) as session:
            result = bring_about(session, document, module.check_mode, module._diff)
        for warning in result.pop("warnings"):
            module.warn(warning)
        module.exit_json(**result)


def _items(kinds: Iterable[Kind], params: Mapping[str, Any]) -> list[Given]:
    """The lists' items as Ansible makes them of their arguments, each with what it would refuse."""
    items: list[Given] = []
    for kind in kinds:
        validator = ArgumentSpecValidator(kind.arguments, **kind.resource.spec.rules)
        inherited = {name: params[name] for name in kind.arguments if name in params and name in _INHERITED}
        for index, given in enumerate(params[kind.option]):
            result = validator.validate({**inherited, **given})
            refusals = [_refusal(error) for error in result.errors.errors]
            items.append((kind, index, result.validated_parameters, refusals))
    return items


def _refusal(error: AnsibleValidationError) -> str:
    return f"there is no option {error.msg}" if isinstance(error, UnsupportedError) else str(error.msg)


# What a document says for all items that say nothing else
_INHERITED = ("allow_data_loss",)


def _counted(kinds: Iterable[Kind], params: Mapping[str, Any]) -> dict[str, Any]:
    """The options with the lengths of the lists alone: they are long, and hold the values of keys."""
    given = {kind.option: params.get(kind.option) for kind in kinds}
    return {**params, **{name: f"{len(items)} items" for name, items in given.items() if isinstance(items, list)}}


def run_files(
    spec: Spec,
    act: Callable[[Session, dict[str, Any], bool, Settle], dict[str, Any]],
    shown: Shown,
) -> None:
    """A module that may write files, with the options on their owner and mode that all such modules have.

    ``act(session, options, check_mode, settle)`` returns the whole result. ``settle(path, mode)`` gives a file or
    folder what these options say, the mode apart, and tells whether that changed something. ``shown`` gives the
    options as they may be shown.
    """
    module = _module(spec, shown=shown, add_file_common_args=True)

    def settle(path: str, mode: Any) -> bool:
        arguments = module.load_file_common_arguments({**module.params, "mode": mode}, path)
        return bool(module.set_fs_attributes_if_different(arguments, False))

    with _failing(module):
        with _session(module, read_only=module.check_mode) as session:
            result = act(session, module.params, module.check_mode, settle)
        if not module._diff:
            result.pop("diff", None)  # it can be large
        module.exit_json(**result)


def _module(spec: Spec, states: Mapping[str, Any] | None = None, **given: Any) -> AnsibleModule:
    whole = spec.merge(CONNECTION)
    arguments = {**whole.argument_spec(), **(states or {})}
    for row in CONNECTION:
        arguments[row.option]["fallback"] = (env_fallback, environment(row.option))
    # Settings checks the rules of the connection, in better words
    return _Module(argument_spec=arguments, supports_check_mode=True, **spec.rules, **given)


def _session(module: AnsibleModule, *, read_only: bool) -> Session:
    settings = Settings.from_options(module.params.get)
    for warning in settings.warnings:
        module.warn(warning)
    return Session(settings, read_only=read_only)


@contextmanager
def _failing(module: AnsibleModule) -> Iterator[None]:
    try:
        yield
    except StreamsError as error:
        written = error.failure["code"] in WRITTEN
        for warning in error.result.pop("warnings", []):
            module.warn(warning)
        module.fail_json(msg=error.message, failure=error.failure, **{"changed": written, **error.result})
