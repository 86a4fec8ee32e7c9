# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action of this name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: choria_governor_run
version_added: 1.0.0
short_description: Run tasks while holding a seat in a concurrency governor
description:
  - Takes a seat in a concurrency governor of Choria Streams, runs one task or several on the host, and gives the seat
    back. If all seats are taken, it waits for one.
  - The governor counts seats over hosts, runs, controllers and programs. It is the same one that
    C(choria governor run), cron jobs and Choria's autonomous agents use.
  - The controller asks for the seat, so only the controller has to reach the servers. Hosts need nothing.
  - The seat is given back when the tasks are done or failed, the host became unreachable, C(timeout) of the task was
    over, or the run was interrupted (Ctrl-C) or ended (SIGTERM).
  - When C(ansible-playbook) is killed (signal 9), or its terminal is closed, running tasks continue to their ends, as
    with any task, and then the seat is given back. Nothing new is started. Waiting hosts give up within a second,
    and neither the next of O(tasks) nor the next item of a C(loop) is started.
  - The seat stays taken until it expires only if the controller fails, or if the process that works for the host is
    killed too.
  - The inner tasks run with the connection, C(become), C(environment), check mode and diff of this task. Modules and
    actions run as in any task. Actions that affect the run itself can't be inside, such as C(include_tasks),
    C(import_role), C(meta), C(set_fact) and C(add_host).
  - In a C(loop) of this task each item takes its own seat. To use one seat for several tasks, set O(tasks).
author:
  - The choria.streams developers (@choria-io)
options:
  name:
    description: The name of the governor. M(choria.streams.choria_governor) creates it.
    type: str
    required: true
  task:
    description:
      - The task to run, written as in any playbook. Its result is the result of this task.
      - It may have the keywords C(name), C(args), C(vars), C(environment), C(check_mode), C(diff) and C(no_log). Use
        all other keywords on the outer task.
      - Its templates are evaluated while the seat is held. If a variable contains the whole task, they are evaluated
        before.
      - Left out where O(tasks) is set.
    type: dict
  tasks:
    description:
      - The tasks to run one after the other with one seat, until one fails.
      - In addition to the keywords for O(task), they may have C(when), C(register), C(changed_when), C(failed_when),
        C(ignore_errors), C(until), C(retries) and C(delay).
      - Each task is templated just before it runs, with the registered variables and facts of the tasks before it.
        Registered variables do not exist after this task, nor inside a variable that contains the whole list.
      - Items may be blocks, with C(block), C(rescue) and C(always), and the keywords C(name), C(when), C(vars),
        C(environment), C(check_mode), C(diff), C(ignore_errors) and C(no_log). They work as in a play. A rescue has
        C(ansible_failed_result), and the C(name) and C(action) of C(ansible_failed_task). A block whose rescue succeeds
        has not failed.
      - Left out where O(task) is set.
    type: list
    elements: dict
  max_wait:
    description: >-
      How long to wait for a seat, as seconds or text such as V(90s). With V(0) it asks once. The time to connect is
      included.
    type: str
    default: 5m
  max_per_period:
    description: >-
      Keep the seat until it expires. The governor then limits how many start in each period, whose length is its
      O(choria.streams.choria_governor#module:expire), and not how many run at once.
    type: bool
    default: false
  on_timeout:
    description:
      - What to do when no seat became free within O(max_wait).
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
    details: No seat is taken, also not for inner tasks with C(check_mode=false). The others run in check mode.
  diff_mode:
    support: full
    details: The differences of the inner tasks are shown.
  idempotent:
    support: N/A
    details: It is as idempotent as the inner tasks are.
  async:
    support: none
    description: Can be run with C(async).
notes:
  - O(identity) is the name that others see in the seat. By default it is the host's name in the inventory.
  - The C(timeout) of this task counts the time to wait as well. It has to be shorter than the
    O(choria.streams.choria_governor#module:expire) of the governor.
  - After C(timeout), or when the connection broke, Ansible does not end the work on the host. The seat is given back,
    although the work may still run. Until it ends, more tasks may run at once than the governor allows. After
    C(timeout) a warning says so.
  - Variables C(choria_streams_<option>), the environment variables C(CHORIA_STREAMS_<OPTION>) of the controller and the
    section C([choria_streams]) of C(ansible.cfg) set the connection options too.
  - Each waiting task uses a fork. With C(throttle), or fewer forks, fewer tasks wait at once.
  - The order of waiting tasks is random. For each free seat the server chooses one. With long jobs one task may wait
    two or three times as long as most. C(choria governor run) and autonomous agents do not queue either. They ask from
    time to time.
  - It listens to the events of governors (C(choria.lifecycle.event.governor.*)) to know when a seat is free. Without
    that permission it checks every five seconds.
seealso:
  - module: choria.streams.choria_governor
  - module: choria.streams.choria_governor_info
  - module: choria.streams.choria_governor_lease
"""

EXAMPLES = r"""
---
- name: Create a governor for two hosts at once, each for twenty minutes at most
  choria.streams.choria_governor:
    name: PUPPET
    capacity: 2
    expire: 20m
  run_once: true

- name: Run one task while holding a seat
  choria.streams.choria_governor_run:
    name: PUPPET
    task:
      ansible.builtin.command: echo "configured {{ inventory_hostname }}"
  register: configured

- name: Show how long it waited
  ansible.builtin.debug:
    msg: "{{ configured.stdout }} in seat {{ configured.governor.seat }} after {{ configured.governor.waited }} s"

- name: Run several tasks with one seat, and wait an hour for it
  choria.streams.choria_governor_run:
    name: PUPPET
    max_wait: 1h
    tasks:
      - name: Read the system's name
        ansible.builtin.command: uname -s
        register: system
        changed_when: false

      - name: Do the work
        ansible.builtin.debug:
          msg: "Working on {{ system.stdout }}"
        when: system.rc == 0

- name: Return a host to the load balancer in any case
  choria.streams.choria_governor_run:
    name: PUPPET
    tasks:
      - name: Update
        block:
          - name: Take the host out of the load balancer
            ansible.builtin.command: echo drained

          - name: Do the work
            ansible.builtin.command: echo updated
        rescue:
          - name: Show the failed task
            ansible.builtin.debug:
              msg: "{{ ansible_failed_task.name }}: {{ ansible_failed_result.msg }}"
        always:
          - name: Return the host to the load balancer
            ansible.builtin.command: echo restored

- name: A governor of three an hour
  choria.streams.choria_governor:
    name: REPORT
    capacity: 3
    expire: 1h
  run_once: true

- name: Run on no more than three hosts in an hour, and skip the rest
  choria.streams.choria_governor_run:
    name: REPORT
    max_per_period: true
    max_wait: 0
    task:
      ansible.builtin.command: echo report
"""

RETURN = r"""
---
governor:
  description: The outcome for the seat. Durations are in seconds. All else is the result of the inner task.
  returned: when the governor was asked
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
      description: >-
        The number of the seat, with which M(choria.streams.choria_governor_lease) can evict it. Null if there was none.
      type: int
      sample: 7
    waited:
      description: How long it waited for the seat.
      type: float
      sample: 3.2
    held:
      description: How long the inner tasks took.
      type: float
      sample: 12.5
    entered:
      description: When the inner tasks began, RFC 3339 UTC by the controller's clock.
      type: str
      sample: "2026-03-01T12:00:00.123456789Z"
    left:
      description: When the seat was given back; null if it is kept.
      type: str
      sample: "2026-03-01T12:00:12.623456789Z"
    expires:
      description: >-
        When a seat that was not given back becomes free, by the server's clock; null for never.
      type: str
      sample: "2026-03-01T12:20:00.123456789Z"
    given_back:
      description: Is V(false) if the seat could not be given back. A warning says why.
      type: bool
      sample: true
    lost:
      description: >-
        Is V(true) if the seat was lost before it was given back, so that more may have run at once than the governor
        allows.
      type: bool
      sample: true
    reason:
      description: >-
        Why it was lost: it expired or was evicted, or the governor was deleted, or deleted and created again.
      type: str
      sample: the seat expired
    would:
      description: In check mode, what asking for a seat would do.
      type: str
      sample: take one of 2 free seats in governor PUPPET
  sample:
    name: PUPPET
    identity: web1.example.net
    seat: 42
    waited: 3.172
    held: 20.018
    entered: '2026-03-01T12:00:00.000Z'
    left: '2026-03-01T12:00:20.018Z'
tasks:
  description: With O(tasks), the outcome of each task that was reached.
  returned: with O(tasks)
  type: list
  elements: dict
  contains:
    name:
      description: The name of the task, or of its module.
      type: str
      sample: Install updates
    action:
      description: The full name of its module.
      type: str
      sample: ansible.builtin.package
    result:
      description: Its result. With C(no_log) only V(changed), V(failed) and the like.
      type: dict
      sample: {changed: true, rc: 0}
failure:
  description:
    - The machine-readable part of an error that is not an error of an inner task. C(code) is its kind, such as
      V(governor_timeout), V(not_found), V(option), V(unreachable), V(permission) or V(api). The guide Troubleshooting
      in C(docs/troubleshooting.md) lists all codes.
    - C(option) is the option to change, where it is one.
  returned: failure
  type: dict
  sample: {code: governor_timeout, option: max_wait}
"""
