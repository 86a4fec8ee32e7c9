# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Settings, and options of resources as Ansible's validation returns them, without a playbook."""

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
    """Return settings from connection options. `servers` may be a single URL. Raises OptionError as a module would."""
    return Settings.from_options(_validated(CONNECTION.argument_spec(), {}, given).get)


def options(resource: Resource, **given: Any) -> dict[str, Any]:
    """Return all options of the resource's module, None for those that are not given."""
    whole = resource.spec.merge(CONNECTION)
    return _validated({**whole.argument_spec(), **resource.states}, dict(whole.rules), given)
