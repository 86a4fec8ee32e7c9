# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Manage a concurrency governor."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: choria_governor
version_added: 1.0.0
short_description: Declare a concurrency governor of Choria Streams
description:
  - Creates, resizes and deletes governors, which limit how many run at once across playbooks, cron jobs and autonomous
    agents.
  - They are the governors of C(choria governor). Both use the same seats.
  - Deleting a governor, or shortening O(expire), takes seats from their holders, which keep running. It does not need
    O(choria.streams.choria_stream#module:allow_data_loss), since seats are no data. RV(consequences.messages_lost) is
    the number of these seats.
seealso:
  - module: choria.streams.choria_governor_info
  - module: choria.streams.choria_governor_run
  - module: choria.streams.choria_governor_lease
  - module: choria.streams.choria_resources
author:
  - The choria.streams developers (@choria-io)
options:
  name:
    description: The governor's name, made of letters, digits, V(_) and V(-).
    type: str
    required: true
  capacity:
    description: The number of seats. Needed on creation. A lower number evicts no holder.
    type: int
  expire:
    description:
      - The time after which a seat that was not returned is free again, as seconds or text such as V(20m). Needed on
        creation.
      - It has to be longer than the work that is done with a seat.
      - With V(0), the default of C(choria governor add), seats stay taken until they are given back or
        evicted. The seat of a holder that crashed then blocks the governor until it is evicted.
    type: str
  max_bytes:
    description: >-
      How many bytes the seats may take in storage, as a number or text such as V(1MiB), -1 for no limit. It is for
      accounts that require a limit. A seat takes less than 200 bytes, plus the name of its holder. The governor is full
      when it reaches O(capacity) or this limit. No limit for a new governor.
    type: str
  exact:
    description:
      - Whether O(replicas) and O(max_bytes), if they are left out, go back to their defaults. So do all other fields of
        the stream behind the governor. O(capacity) and O(expire) have no defaults, and have to be given.
    type: bool
    default: false
extends_documentation_fragment:
  - choria.streams.stream
  - choria.streams.connection
  - choria.streams.attributes
  - choria.streams.attributes.resource
"""

EXAMPLES = r"""
---
- name: Allow two Puppet runs at once, each for twenty minutes at most
  choria.streams.choria_governor:
    name: PUPPET
    capacity: 2
    expire: 20m

- name: Raise the capacity to five
  choria.streams.choria_governor:
    name: PUPPET
    capacity: 5

- name: Delete the governor
  choria.streams.choria_governor:
    name: PUPPET
    state: absent
"""

RETURN = r"""
---
governor:
  description: The governor as it is now, or in check mode as it would be; null if it is absent.
  returned: success
  type: dict
  contains:
    name:
      description: Its name.
      type: str
      sample: PUPPET
    stream:
      description: The name of the stream behind it.
      type: str
      sample: GOVERNOR_PUPPET
    subject:
      description: The subject for requests for seats.
      type: str
      sample: mcollective.governor.PUPPET
    collective:
      description: The collective it belongs to.
      type: str
      sample: mcollective
    capacity:
      description: The number of seats.
      type: int
      sample: 2
    expire:
      description: The seconds after which a seat expires, 0 for never.
      type: float
      sample: 1200.0
    max_bytes:
      description: How many bytes the seats may take, -1 for no limit.
      type: int
      sample: -1
    replicas:
      description: The number of replicas.
      type: int
      sample: 1
    seats_taken:
      description: How many seats are taken.
      type: int
      sample: 1
    seats_free:
      description: How many seats are free.
      type: int
      sample: 1
    created:
      description: When it was created, RFC 3339 UTC; null in check mode before it is created.
      type: str
      sample: "2026-03-01T12:00:00.123456789Z"
changes:
  description: What changes, or in check mode what would change.
  returned: success
  type: list
  elements: dict
  contains:
    field:
      description: The option, or the server's field where no option sets it.
      type: str
      sample: capacity
    before:
      description: The value before, null if there was none. Seconds and bytes are numbers.
      type: raw
      sample: 1
    after:
      description: The value after, null if there is none.
      type: raw
      sample: 2
    effect:
      description: V(create), V(delete) or V(in place).
      type: str
      sample: in place
consequences:
  description: The losses by the change.
  returned: success
  type: dict
  contains:
    messages_lost:
      description: The number of lost seats. Their holders continue, and find nothing to give back.
      type: int
      sample: 0
    consumers_lost:
      description: How many consumers.
      type: int
      sample: 0
    at_least:
      description: Whether it may be more seats, because the user may not read the stream.
      returned: when it may be more
      type: bool
      sample: false
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

from ansible_collections.choria.streams.plugins.module_utils._module_resource import run_resource
from ansible_collections.choria.streams.plugins.module_utils._resources.governor.governor import GOVERNOR


def main() -> None:
    """Run the module."""
    run_resource(GOVERNOR)


if __name__ == "__main__":
    main()
