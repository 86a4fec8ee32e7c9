# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Take seats in concurrency governors for several tasks, give them back, evict and reset."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: choria_governor_lease
version_added: 1.0.0
short_description: Take, return, evict and reset seats of concurrency governors
description:
  - Takes a seat in a concurrency governor of Choria Streams in one task, and gives it back in a later task. The module
    connects from the managed host.
  - If the run fails in between, nothing gives the seat back, and it stays taken until it expires. Prefer
    M(choria.streams.choria_governor_run) if the tasks can run inside one task.
  - A task is refused where hosts would wait for each other for ever. With the strategy C(linear) this happens if there
    are more hosts than seats, because all hosts have to finish a task before any host starts the next one. With
    C(free) it happens if waiting hosts take all forks, and with C(free) and C(host_pinned) if C(throttle) holds hosts
    back. C(host_pinned) without C(throttle) is always possible, since each active host keeps its fork.
  - This is not checked if only some hosts may reach the task, because it has a condition, is included, is a handler, or
    is in a C(rescue).
author:
  - The choria.streams developers (@choria-io)
options:
  name:
    description: The name of the governor. M(choria.streams.choria_governor) creates it.
    type: str
    required: true
  state:
    description: The action.
    type: str
    required: true
    choices:
      acquired: Take a seat, and wait if all are taken. Each call takes another seat.
      released: >-
        Give the seat O(lease_id) back. It is no error if the seat is no longer taken, or if O(lease_id) is null, which
        V(acquired) returns if it took no seat. A later seat with the same number is never given back, even if the
        governor was deleted and created again.
      evicted: >-
        Evict the seat O(lease_id), or all seats of the name O(identity). The previous holder keeps running without a
        seat, and others can take it.
      reset: Take all seats away.
  lease_id:
    description:
      - The id of the seat. It is RV(lease_id) of the task that took the seat, or the C(lease_id) of a seat that
        M(choria.streams.choria_governor_info) or P(choria.streams.choria_governor#lookup) returned.
      - Only the number of a seat is accepted too, as older versions returned it. If the governor was deleted and
        created again, it can identify another seat.
      - If V(acquired) failed and does not know whether it took a seat (C(failure.code=outcome_unknown)), its
        RV(lease_id) identifies the seat, if there is one.
      - If it is null, V(released) changes nothing. In check mode V(acquired) takes no seat, but V(released) reports the
        change that it would make.
      - Needed for V(released). If it is not set, V(evicted) takes all seats of O(identity).
    type: str
  max_wait:
    description:
      - How long V(acquired) waits for a seat, as seconds or text such as V(90s). With V(0) it asks once. The time to
        connect is included.
      - A C(timeout) of the task has to be longer. Otherwise a seat could be taken after the task has ended.
    type: str
    default: 5m
  max_per_period:
    description: >-
      Declares that no task gives the seat back. The governor then limits how many start in each period, whose length is
      the governor's O(choria.streams.choria_governor#module:expire).
    type: bool
    default: false
  on_timeout:
    description:
      - What V(acquired) does when no seat became free within O(max_wait).
      - The default is V(fail), and with O(max_per_period) it is V(skip).
    type: str
    choices:
      fail: The task fails.
      skip: The task is skipped.
extends_documentation_fragment:
  - choria.streams.connection
  - choria.streams.attributes
attributes:
  check_mode:
    support: full
    details: It returns what it would do.
  diff_mode:
    support: none
  idempotent:
    support: partial
    details: The state V(acquired) takes another seat each time. The others change nothing the second time.
notes:
  - When C(ansible-playbook) is killed or its terminal is closed, V(acquired) stops waiting on all hosts within a few
    seconds, and takes no seat. A host whose connection stays open stops when the connection ends.
  - O(identity) is the name that others see in the seat. A seat is given back by the name that took it.
seealso:
  - module: choria.streams.choria_governor
  - module: choria.streams.choria_governor_info
  - module: choria.streams.choria_governor_run
"""

EXAMPLES = r"""
---
- name: A governor
  choria.streams.choria_governor:
    name: PUPPET
    capacity: 2
    expire: 20m

- name: Take a seat
  choria.streams.choria_governor_lease:
    name: PUPPET
    state: acquired
    max_wait: 10m
  register: lease

- name: Work while holding the seat
  block:
    - name: Work
      ansible.builtin.command: echo working
      changed_when: false
  always:
    - name: Give the seat back
      choria.streams.choria_governor_lease:
        name: PUPPET
        state: released
        lease_id: "{{ lease.lease_id }}"

- name: Evict a host that is gone
  choria.streams.choria_governor_lease:
    name: PUPPET
    state: evicted
    identity: web7.example.net

- name: Take all seats away
  choria.streams.choria_governor_lease:
    name: PUPPET
    state: reset
"""

RETURN = r"""
---
lease_id:
  description: >-
    The id of the seat, to be passed on unchanged. It contains the number of the seat, the creation time of the
    governor, and the attempt that took the seat. It is null if no seat was taken. A failed V(acquired) returns it too,
    so that a C(rescue) can give back a seat that may have been taken.
  returned: with O(state=acquired) and O(state=released)
  type: str
  sample: 42-64d2c1e4b8f00-0f8fad5bd9cb469fa16570867728950e
governor:
  description: The outcome for the seat. Durations are in seconds.
  returned: with O(state=acquired) and O(state=released), where the governor was asked
  type: dict
  contains:
    name:
      description: The governor's name.
      type: str
      sample: PUPPET
    identity:
      description: The name that others see in the seat.
      type: str
      sample: web1
    seat:
      description: The number of the seat that was taken.
      type: int
      sample: 7
    waited:
      description: How long it waited for the seat.
      type: float
      sample: 3.2
    held:
      description: Always V(0.0), to match the result of M(choria.streams.choria_governor_run).
      type: float
      sample: 12.5
    expires:
      description: >-
        When the seat becomes free if it is not given back, RFC 3339 UTC by the server's clock; null for never.
      type: str
      sample: "2026-03-01T12:20:00.123456789Z"
seats:
  description: The seats that were evicted, or in check mode would be.
  returned: with O(state=evicted) and O(state=reset)
  type: list
  elements: dict
  contains:
    sequence:
      description: The number of the seat.
      type: int
      sample: 7
    lease_id:
      description: The id of the seat.
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
      description: When it would have expired; null for never.
      type: str
      sample: "2026-03-01T12:20:00.123456789Z"
failure:
  description:
    - The machine-readable part of an error. C(code) is its kind, such as V(governor_timeout), V(lockstep), V(not_ours),
      V(not_found), V(option), V(unreachable), V(outcome_unknown), V(permission) or V(api). The guide Troubleshooting in
      C(docs/troubleshooting.md) lists all codes.
    - C(option) is the option to change, where it is one. C(holder) has the seat, with V(not_ours).
  returned: failure
  type: dict
  sample: {code: governor_timeout, option: max_wait, holder: web2}
"""

from ansible_collections.choria.streams.plugins.module_utils._module import run_action
from ansible_collections.choria.streams.plugins.module_utils._operations.governor.lease import LEASE, act


def main() -> None:
    """Run the module."""
    run_action(LEASE, act)


if __name__ == "__main__":
    main()
