# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The edge for the module that manages a whole document."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.errors import UnsupportedError

from ._module import failing, module_of, session_of
from ._options import arguments as _arguments
from ._options.mask import HIDDEN

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ._connection import sessions
    from ._options import fields
    from ._resources.document import model


def run_document(
    spec: fields.Spec,
    kinds: Sequence[model.Kind],
    document_of: Callable[[dict[str, Any], list[model.Given]], model.Document],
    ensure: Callable[[sessions.Session, model.Document, bool, bool], dict[str, Any]],
) -> None:
    """Run a module that brings the resources in its lists into their desired states."""
    module = module_of(spec, shown=partial(_counted, kinds))
    with failing(module):
        document = document_of(module.params, items_of(kinds, module.params))
        with session_of(module, read_only=module.check_mode) as session:
            result = ensure(session, document, module.check_mode, module._diff)
        for warning in result.pop("warnings"):
            module.warn(warning)
        module.exit_json(**result)


def items_of(kinds: Iterable[model.Kind], params: Mapping[str, Any]) -> list[model.Given]:
    """Return the items of the lists as Ansible converts them, each with the error that it would report."""
    items: list[model.Given] = []
    for kind in kinds:
        if not params[kind.option]:
            continue  # what this kind needs is not imported
        arguments, rules = kind.arguments, kind.definition.spec.rules
        defaults = {name: argument["default"] for name, argument in arguments.items() if "default" in argument}
        inherited = {name: params[name] for name in arguments if name in params and name in _INHERITED}
        usual = {**dict.fromkeys(arguments), **defaults, **inherited}
        # Ansible's validation of each option takes time for thousands of items, and an item gives few of them. So
        # options with a default are validated only for rules
        always = {name for name, argument in arguments.items() if argument.get("required")}
        always |= defaults.keys() & set(_texts(rules.values()))
        validators: dict[frozenset[str], ArgumentSpecValidator] = {}
        for index, item in enumerate(params[kind.option]):
            item, refused = _arguments.given(arguments, item, rules)
            options = frozenset(item)
            if options not in validators:
                # The refusal of an unknown option names all that there are
                names = always | options if options <= arguments.keys() else arguments.keys()
                chosen = {name: argument for name, argument in arguments.items() if name in names}
                validators[options] = ArgumentSpecValidator(chosen, **rules)
            result = validators[options].validate(item)
            refusals = [error.message.removesuffix(".") for error in refused]
            for error in result.errors.errors:
                unknown = isinstance(error, UnsupportedError)
                refusals.append(f"there is no option {error.msg}" if unknown else str(error.msg))
            items.append((kind, index, {**usual, **result.validated_parameters}, refusals))
    return items


def _texts(rule: Any) -> Iterator[str]:
    """Yield all texts in the rules for options, including the names of their options."""
    if isinstance(rule, str):
        yield rule
    elif isinstance(rule, Iterable):
        for part in rule:
            yield from _texts(part)


# Options of a document that are defaults for its items
_INHERITED = ("allow_data_loss",)


def _counted(kinds: Iterable[model.Kind], params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options to show, with the lengths of the lists instead of the lists, which hold values of keys.

    A value that is not a list is hidden, since Ansible refuses it only afterwards.
    """
    given = {kind.option: params[kind.option] for kind in kinds if params.get(kind.option) is not None}
    return {**params, **{name: f"{len(it)} items" if isinstance(it, list) else HIDDEN for name, it in given.items()}}
