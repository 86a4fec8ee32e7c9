#!/usr/bin/python
# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove a lost broker from its cluster."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: choria_broker_peer
version_added: 1.0.0
short_description: Remove a broker that is gone for good from its cluster
description:
  - A cluster needs a majority of its brokers, and counts offline brokers too. So remove a broker that will not come
    back. The cluster then makes its copies of streams on other brokers.
  - Only the leader of the cluster can do it. Run the task on all brokers that remain; on the others it changes nothing.
  - The broker of the managed host needs a user of the system account, C(plugin.choria.network.system.user) with its
    password.
author:
  - The choria.streams developers (@choria-io)
options:
  name:
    description: The identity of the broker to remove. It has to be offline.
    type: str
    required: true
  state:
    description: V(absent) removes the broker.
    type: str
    choices: [absent]
    default: absent
  config:
    description: The configuration file of the broker on the managed host.
    type: path
    default: /etc/choria/broker.conf
  server_name:
    description: >-
      The name by which clients reach the broker on the managed host, and that its certificate has to have. By
      default its identity.
    type: str
  timeout:
    description: How long an answer of the broker, and then the removal, may take, as seconds or text such as V(10s).
    type: str
    default: 10s
attributes:
  check_mode:
    support: full
    details: It checks if the broker is part of the cluster, and removes nothing.
  diff_mode:
    support: none
  idempotent:
    support: full
extends_documentation_fragment:
  - choria.streams.attributes
seealso:
  - module: choria.streams.choria_broker_info
"""

EXAMPLES = r"""
---
# On all brokers that remain
- name: Remove a broker whose machine is gone
  choria.streams.choria_broker_peer:
    name: broker5.example.net
    state: absent
"""

RETURN = r"""
---
leader:
  description: The leader of the cluster, null for a single broker. The module changes something only there.
  returned: success
  type: str
  sample: broker1
failure:
  description:
    - The machine-readable part of an error. C(code) is its kind, such as V(option) or V(no_leader). The guide
      Troubleshooting in C(docs/troubleshooting.md) lists all codes.
    - C(option) is the option to change, where it is one.
  returned: failure
  type: dict
  sample: {code: no_leader, option: peer}
"""

from ansible_collections.choria.streams.plugins.module_utils._module import run_local
from ansible_collections.choria.streams.plugins.module_utils._operations.broker.peer import SPEC, remove


def main() -> None:
    """Run the module."""
    run_local(SPEC, remove)


if __name__ == "__main__":
    main()
