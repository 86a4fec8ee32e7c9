# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Summarize the state of all brokers of a cluster for the role choria."""

from __future__ import annotations

DOCUMENTATION = r"""
---
name: choria_role_brokers
version_added: 1.0.0
short_description: Find ill brokers, and streams of brokers that differ
description:
  - Takes the results of M(choria.streams.choria_broker_info) from all brokers of a cluster. Returns which brokers are
    not healthy, and which of the streams that brokers make are missing or differ.
  - The role P(choria.streams.choria#role) calls it.
author:
  - The choria.streams developers (@choria-io)
positional: replicas, retention
options:
  _input:
    description:
      - The results of a loop over the brokers. An item is the name of a broker.
    type: list
    elements: dict
    required: true
  replicas:
    description: How many copies each stream should have.
    type: int
    required: true
  retention:
    description: How long streams should keep messages, by their kind.
    type: dict
    required: true
"""

EXAMPLES = r"""
---
- name: Show which brokers are ill
  ansible.builtin.debug:
    msg: "{{ (answers | choria.streams.choria_role_brokers(1, {})).ill | map(attribute='text') }}"
  vars:
    answers:
      - item: broker1
        broker: {problems: [its cluster has no leader], streams: []}
"""

RETURN = r"""
---
_value:
  description:
    - A dict with C(ill), the brokers that are not healthy, and C(drift), the streams that are missing or differ.
    - Each is a list of dicts with C(name) and C(text), a sentence without its end. Those of C(ill) also have C(well)
      and C(whole) of the module.
  type: dict
  sample: {ill: [{name: broker2, text: the cluster has no leader, whole: false}], drift: []}
"""

from typing import TYPE_CHECKING, Any

from ansible_collections.choria.streams.plugins.plugin_utils._role.brokers import brokers

if TYPE_CHECKING:
    from collections.abc import Callable

_NAME = "choria_role_brokers"


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {_NAME: brokers}
