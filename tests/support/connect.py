# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Settings, and options of resources, as modules have them after Ansible has looked at them: without a playbook."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.choria.streams.plugins.module_utils._connection.settings import Settings
from ansible_collections.choria.streams.plugins.module_utils._options.connection import CONNECTION

if TYPE_CHECKING:
    from ansible_collections.choria.streams.plugins.module_utils._resources.resource import Resource


class InvalidError(Exception):
    """Ansible would refuse these options."""


def _validated(arguments: dict[str, Any], rules: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    result = ArgumentSpecValidator(arguments, **rules).validate(given)
    if result.error_messages:
        raise InvalidError("; ".join(result.error_messages))
    return dict(result.validated_parameters)


def settings(**given: Any) -> Settings:
    """Settings from connection options; `servers` may be a single URL. Raises OptionError as a module would."""
    return Settings.from_options(_validated(CONNECTION.argument_spec(), {}, given).get)


def options(resource: Resource, **given: Any) -> dict[str, Any]:
    """What a module of the resource is given, all of its options with None where nothing was said."""
    whole = resource.spec.merge(CONNECTION)
    return _validated({**whole.argument_spec(), **resource.states}, dict(whole.rules), given)
