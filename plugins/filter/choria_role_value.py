# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compute a value for the role choria."""

from __future__ import annotations

DOCUMENTATION = r"""
---
name: choria_role_value
version_added: 1.0.0
short_description: Compute a value for the role choria
description:
  - Computes a value from the variables of the role P(choria.streams.choria#role), such as the contents of a
    configuration file. The role calls it in C(vars/main.yml).
  - It reads the variables of the host itself, and only those that the value needs.
author:
  - The choria.streams developers (@choria-io)
options:
  _input:
    description: What to compute.
    type: str
    required: true
    choices:
      [broker_settings, brokers, calendars, certificates, client_mode, client_settings, expected_files, folders,
       given_files, host_problems, job_problems, machine_problems, material_problems, own_files, peer_identities,
       problems, removal_problems, server_names, server_settings, server_tokens, services, users]
"""

EXAMPLES = r"""
---
- name: Show the files with which a user signs in
  ansible.builtin.debug:
    msg: "{{ 'users' | choria.streams.choria_role_value }}"
  vars:
    choria_client_users: [{name: bob}]
    choria_security_folder: /srv/secrets
    choria_security_provider: file
"""

RETURN = r"""
---
_value:
  description: The value.
  type: raw
  sample: [{name: bob, identity: bob, certificate: /srv/secrets/bob.pem, key: /srv/secrets/bob.key}]
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ansible.errors import AnsibleFilterError
from jinja2 import pass_context
from jinja2.runtime import missing

from ansible_collections.choria.streams.plugins.plugin_utils._role import (
    brokers,
    certificates,
    checks,
    files,
    host,
    network,
    settings,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jinja2.runtime import Context

_NAME = "choria_role_value"
COMPUTED: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    "broker_settings": settings.broker_settings,
    "brokers": lambda given: brokers.brokers(
        given["_choria_health"]["results"],
        given["choria_stream_replicas"],
        given["choria_stream_retention"],
        given["inventory_hostname"],
    ),
    "calendars": files.calendars,
    "certificates": network.certificates,
    "client_mode": settings.client_mode,
    "client_settings": settings.client_settings,
    "expected_files": files.expected_files,
    "folders": files.folders,
    "given_files": files.given_files,
    "host_problems": host.registered_problems,
    "job_problems": checks.job_problems,
    "machine_problems": checks.machine_problems,
    "material_problems": lambda given: certificates.material_problems(files.material(given)),
    "own_files": files.own_files,
    "peer_identities": network.peer_identities,
    "problems": lambda given: checks.problems(given, given["inventory_hostname"], given["_choria_os_family"]),
    "removal_problems": checks.removal_problems,
    "server_names": network.server_names,
    "server_settings": settings.server_settings,
    "server_tokens": network.server_tokens,
    "services": files.services,
    "users": files.users,
}


class _Undefined(KeyError):
    """A variable is not defined."""


class Variables(Mapping[str, Any]):
    """The variables of a template. Each is rendered when it is read, since some need facts that come later."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def __getitem__(self, name: str) -> Any:
        value = self._context.resolve_or_missing(name)
        if value is missing:
            raise _Undefined(name)
        return value

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in self._context

    def __iter__(self) -> Iterator[str]:
        return iter(self._context.get_all())

    def __len__(self) -> int:
        return len(self._context.get_all())


@pass_context
def _value(context: Context, name: Any) -> Any:
    if not isinstance(name, str) or name not in COMPUTED:
        raise AnsibleFilterError(f"{_NAME}: {name!r} is not one of {', '.join(COMPUTED)}.")
    try:
        return COMPUTED[name](Variables(context))
    except _Undefined as error:
        raise AnsibleFilterError(f"{_NAME}: {name} needs the variable {error}: define it.") from None
    # The role checks its variables before, with names and remedies
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        remedy = "check the variables with the filter choria.streams.choria_role_problems"
        raise AnsibleFilterError(f"{_NAME}: a variable for {name} has a wrong value ({error}): {remedy}.") from None


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {_NAME: _value}
