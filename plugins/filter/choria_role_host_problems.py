# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the state of a host for the role choria."""

from __future__ import annotations

DOCUMENTATION = r"""
---
name: choria_role_host_problems
version_added: 1.0.0
short_description: Check whether a host can take the variables of the role choria
description:
  - Returns why a host can't take the variables of the role P(choria.streams.choria#role). For example, a running
    broker has another identity, or a folder holds files of others.
  - The role calls it, with what it found on the host.
author:
  - The choria.streams developers (@choria-io)
positional: host, broker, folders
options:
  _input:
    description: >-
      The variables C(choria_broker), C(choria_broker_hosts), C(choria_identity), C(choria_broker_peer_port),
      C(choria_gateway_name), C(choria_gateway_port) and C(choria_stream_store), and C(store_used), whether that
      folder has streams.
    type: dict
    required: true
  host:
    description: The name of the host in the inventory.
    type: str
    required: true
  broker:
    description: What M(choria.streams.choria_broker_info) returns, empty for a host without a broker.
    type: dict
    required: true
  folders:
    description: >-
      The folders that the role would use, each with C(option), C(stat), C(names), C(own) and C(owners).
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
---
- name: Show whether a folder is free
  ansible.builtin.debug:
    msg: "{{ {'choria_broker': false} | choria.streams.choria_role_host_problems('web1', {}, [folder]) }}"
  vars:
    folder:
      option: choria_stream_store
      stat: {exists: true, isdir: true, path: /srv/data, pw_name: www-data, roth: true}
      names: [index.html]
      own: [jetstream]
      owners: [choria, root]
"""

RETURN = r"""
---
_value:
  description: One sentence for each reason. The list is empty if there is none.
  type: list
  elements: str
  sample: [systemd is needed]
"""

from typing import TYPE_CHECKING, Any

from ansible_collections.choria.streams.plugins.plugin_utils._role.host import host_problems

if TYPE_CHECKING:
    from collections.abc import Callable

_NAME = "choria_role_host_problems"


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {_NAME: host_problems}
