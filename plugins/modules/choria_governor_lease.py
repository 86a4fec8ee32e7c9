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
  - Takes a seat in a concurrency governor of Choria Streams in one task, and gives it back in another one. It asks from
    the managed host.
  - Nothing gives the seat back by itself when the run fails in between, so that it stays taken until it expires. Where
    M(choria.streams.choria_governor_run) can hold the seat round the tasks, it is the better choice.
  - Under the C(linear) strategy all hosts of a batch have to be done with one task before any begins with the next.
    Where they are more than the governor has seats, none could ever give one back. Under C(free) the same happens when
    those that wait for a seat have all forks, and under C(free) and C(host_pinned) with a C(throttle) that holds hosts
    back. All that is noticed and refused, unless only some hosts may come to the task (it has a condition, is included,
    a handler, or in a C(rescue)). The strategy C(host_pinned) has a fork for each host that it began with, so that
    there, without C(throttle), this can't happen.
author:
  - The choria.streams developers (@choria-io)
options:
  name:
    description: The name of the governor. M(choria.streams.choria_governor) creates it.
    type: str
    required: true
  state:
    description: What is to be done.
    type: str
    required: true
    choices:
      acquired: Take a seat, and wait for one where all are taken. Each time another one.
      released: >-
        Give our own seat O(lease_id) back. One that is not taken any more is no error, nor is null, which V(acquired)
        returned where it took none. A seat of the same number that somebody else took later is left alone, also where
        the governor was deleted and created again.
      evicted: >-
        Take away the seat O(lease_id), or all seats of the name O(identity). Whoever has it goes on without it, and it
        is free for others.
      reset: Take all seats away.
  lease_id:
    description:
      - The id of the seat, RV(lease_id) of the task that took it, or the C(lease_id) of a seat that
        M(choria.streams.choria_governor_info) or P(choria.streams.choria_governor#lookup) found.
      - The number of a seat alone is accepted too, as older versions returned it. It can't tell a seat from another
        one that got the same number when the governor was deleted and created again.
      - Where V(acquired) failed and does not know whether it took a seat (RV(failure.code=outcome_unknown)), its
        RV(lease_id) finds the seat, if there is one.
      - Where that is null, V(released) changes nothing. In check mode V(acquired) took no seat, but would have, so
        that V(released) would change something then.
      - Needed for V(released). Where it is not set, V(evicted) takes all seats of O(identity).
    type: str
  max_wait:
    description:
      - How long V(acquired) waits for a seat, as seconds or text such as V(90s). V(0) is to ask once. It includes the
        time to connect, where the servers are away.
      - V(acquired) is refused where hosts would wait for each other for ever, since more of them run the task together
        than the governor has seats.
      - A C(timeout) of the task has to be longer, or a seat could be taken when nobody waits for it any more.
    type: str
    default: 5m
  max_per_period:
    description: >-
      Says that the seat is not going to be given back, and so limits how many run in each period as long as the
      governor's O(choria.streams.choria_governor#module:expire).
    type: bool
    default: false
  on_timeout:
    description:
      - What V(acquired) does when no seat became free within O(max_wait).
      - Where it is not set, to V(fail), and with O(max_per_period) to V(skip).
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
    details: It tells what it would do.
  diff_mode:
    support: none
  idempotent:
    support: partial
    details: The state V(acquired) takes another seat each time. The others change nothing the second time.
notes:
  - When C(ansible-playbook) is killed or its terminal is closed, V(acquired) stops to wait on all hosts within a few
    seconds, and takes no seat. A host whose connection stays open notices it when its connection ends.
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
    - name: The work
      ansible.builtin.command: echo working
      changed_when: false
  always:
    - name: Give the seat back
      choria.streams.choria_governor_lease:
        name: PUPPET
        state: released
        lease_id: "{{ lease.lease_id }}"

- name: Take the seats of a host away that is gone
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
    What identifies the seat, to be passed on as it is: its number, when the governor was created, and which attempt
    took the seat. It is null where no seat was taken. A failed V(acquired) returns it too, so that a C(rescue) can give
    back what may have been taken.
  returned: with O(state=acquired) and O(state=released)
  type: str
  sample: 42-64d2c1e4b8f00-0f8fad5bd9cb469fa16570867728950e
governor:
  description: What became of the seat. Durations are seconds.
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
      description: Is V(0.0), and here to be like the one of M(choria.streams.choria_governor_run).
      type: float
      sample: 12.5
    expires:
      description: >-
        When the seat becomes free if it is not given back, RFC 3339 UTC by the server's clock; null for never.
      type: str
      sample: "2026-03-01T12:20:00.123456789Z"
seats:
  description: The seats that were taken away, or in check mode would be.
  returned: with O(state=evicted) and O(state=reset)
  type: list
  elements: dict
  contains:
    sequence:
      description: The number of the seat.
      type: int
      sample: 7
    lease_id:
      description: What identifies the seat.
      type: str
      sample: "7-66174db395d29-9975ac8b7e245d2b74570e"
    name:
      description: Who had it.
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
  description: The machine-readable part of an error.
  returned: failure
  type: dict
  contains:
    code:
      description: >-
        The kind of the error, such as V(governor_timeout), V(lockstep), V(not_ours), V(not_found), V(option),
        V(unreachable), V(outcome_unknown), V(permission) or V(api). The guide Troubleshooting in
        C(docs/troubleshooting.md) lists all codes.
      type: str
      sample: governor_timeout
    option:
      description: The option to change, where it is one.
      type: str
      sample: max_wait
    holder:
      description: Who has the seat, with V(not_ours).
      type: str
      sample: web2
"""

from ansible_collections.choria.streams.plugins.module_utils._module import run_action
from ansible_collections.choria.streams.plugins.module_utils._operations.governor.lease import LEASE, act


def main() -> None:
    """Run the module."""
    run_action(LEASE, act)


if __name__ == "__main__":
    main()
