# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the variables of the role choria."""

from __future__ import annotations

DOCUMENTATION = r"""
---
name: choria_role_problems
version_added: 1.0.0
short_description: Check the variables of the role choria
description:
  - Returns the faults in the variables of the role P(choria.streams.choria#role), before it changes any host.
  - The role calls it. Use it yourself to check an inventory without its hosts.
author:
  - The choria.streams developers (@choria-io)
positional: host, os_family
options:
  _input:
    description:
      - Variables of the role with their values.
      - Rules between variables are checked if all of them are given.
    type: dict
    required: true
  host:
    description: The name of the host in the inventory.
    type: str
    required: true
  os_family:
    description: The fact C(os_family) of the host.
    type: str
    required: true
"""

EXAMPLES = r"""
---
- name: Show what is wrong with a port
  ansible.builtin.debug:
    msg: "{{ {'choria_broker_port': 70000} | choria.streams.choria_role_problems('web1', 'Debian') }}"
"""

RETURN = r"""
---
_value:
  description: One sentence for each fault. The list is empty if there is none.
  type: list
  elements: str
  sample: ["choria_state: 'gone' is neither present nor absent"]
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ansible.errors import AnsibleFilterError

from ansible_collections.choria.streams.plugins.plugin_utils._role.checks import problems

if TYPE_CHECKING:
    from collections.abc import Callable

_NAME = "choria_role_problems"


def _problems(given: Any, host: str, os_family: str) -> list[str]:
    if not isinstance(given, Mapping):
        raise AnsibleFilterError(f"{_NAME}: give a dict of variables with their values.")
    return problems(given, host, os_family)


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {_NAME: _problems}
