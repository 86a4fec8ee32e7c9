# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read concurrency governors."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: choria_governor_info
version_added: 1.0.0
short_description: Read concurrency governors of Choria Streams
description:
  - Returns the configuration and the state of concurrency governors, and never writes.
seealso:
  - module: choria.streams.choria_governor
  - module: choria.streams.choria_governor_run
  - module: choria.streams.choria_governor_lease
  - plugin: choria.streams.choria_governor
    plugin_type: lookup
author:
  - The choria.streams developers (@choria-io)
options:
  names:
    description: >-
      The concurrency governors to read. If not set, all are read. Governors that do not exist are left out.
    type: list
    elements: str
    aliases: [name]
extends_documentation_fragment:
  - choria.streams.connection
  - choria.streams.attributes
  - choria.streams.attributes.info
"""

EXAMPLES = r"""
---
- name: Read a governor
  choria.streams.choria_governor:
    name: PUPPET
    capacity: 2
    expire: 20m

- name: Read who holds seats
  choria.streams.choria_governor_info:
    names: [PUPPET]
  register: found

- name: Show the holders
  ansible.builtin.debug:
    msg: "{{ found.governors[0].seats | map(attribute='name') | list }}"
"""

RETURN = r"""
---
governors:
  description: A dict for each governor, as RV(choria.streams.choria_governor#module:governor) has it, with its seats.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The name.
      type: str
      sample: PUPPET
    seats:
      description: The taken seats, the longest held first.
      type: list
      elements: dict
      contains:
        sequence:
          description: The seat's number.
          type: int
          sample: 7
        lease_id:
          description: The id of the seat. It differs if the governor is deleted and created again.
          type: str
          sample: "7-66174db395d29-9975ac8b7e245d2b74570e"
        name:
          description: The name of the holder.
          type: str
          sample: web1
        since:
          description: When it was taken, RFC 3339 UTC.
          type: str
          sample: "2026-03-01T12:00:00.123456789Z"
        expires:
          description: When it expires, RFC 3339 UTC; null if seats do not expire.
          type: str
          sample: "2026-03-01T12:20:00.123456789Z"
failure:
  description:
    - The machine-readable part of an error. C(code) is its kind, such as V(option), V(unreachable), V(permission),
      V(data_loss), V(update_refused) or V(api). The guide Troubleshooting in C(docs/troubleshooting.md) lists all
      codes.
    - C(option) is the option to change, where it is one. C(err_code) is JetStream's number of the error, where the
      server refused.
  returned: failure
  type: dict
  sample: {code: option, option: name, err_code: 10074}
"""

from ansible_collections.choria.streams.plugins.module_utils._module import run_info
from ansible_collections.choria.streams.plugins.module_utils._resources.governor.info import governors_of
from ansible_collections.choria.streams.plugins.module_utils._resources.info import NAMES


def main() -> None:
    """Run the module."""
    run_info(NAMES, "governors", governors_of)


if __name__ == "__main__":
    main()
