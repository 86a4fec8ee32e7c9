# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Report autonomous agents, and wait for a state of theirs."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: choria_machine_info
version_added: 1.0.0
short_description: Read the states of autonomous agents, and wait for one
description:
  - Returns what autonomous agents, which Choria also calls machines, reported to the stream C(CHORIA_MACHINE) of the
    brokers. These are their states and those of their watchers, on one host or on all hosts.
  - On a node it also returns which machines are in the store of Choria Server.
  - With O(wait_for_state) it waits until machines are in a state. It listens to their events, and does not poll.
author:
  - The choria.streams developers (@choria-io)
options:
  names:
    description: The machines to return. All by default.
    type: list
    elements: str
    aliases: [name]
  hosts:
    description: >-
      The identities of the nodes to return. All by default. An identity is C(identity) in the server's configuration
      file, else the FQDN of the host. Names of the inventory work only if they are the same.
    type: list
    elements: str
  store:
    description:
      - The folder of machines on the managed host.
      - If not set, it is C(plugin.choria.machine.store) of O(choria_config), if that is the file of a server.
    type: path
  events:
    description: >-
      Whether to read the stream. With V(false) there is no connection, nats-py is not needed, and RV(machines) is
      empty.
    type: bool
    default: true
  wait_for_state:
    description:
      - The state that each of O(names) on each of O(hosts) must have.
      - A machine publishes its transitions, and not the state in which it starts. A task can wait for this state only
        when the machine returns to it.
      - Check mode does not wait. If not set, the module does not wait.
    type: str
  fail_states:
    description:
      - States that end the wait with a failure, as soon as one of the machines is in one of them. With O(since), the
        machine must have entered it since that time.
      - Without it the module waits for a failed machine until O(max_wait) is over.
    type: list
    elements: str
    version_added: 1.0.0
  since:
    description:
      - A time such as V(2026-03-01T12:00:00Z). The machines must have entered the state since then.
      - Use for example RV(choria.streams.choria_kv#module:entry.created) of the key that triggers the machines. It is
        compared with the broker's time.
      - If not set, any time counts.
    type: str
  max_wait:
    description: How long to wait, as seconds or text such as V(20m).
    type: str
    default: 5m
extends_documentation_fragment:
  - choria.streams.connection
  - choria.streams.attributes
  - choria.streams.attributes.info
notes:
  - When C(ansible-playbook) is killed, or its terminal is closed, the module stops waiting within a few seconds.
  - To read the stream, a token needs C(--stream-user), and to wait also C(--event-viewer), which servers can't have. If
    brokers require tokens, run the module on the controller, with a client's token.
seealso:
  - module: choria.streams.choria_machine
"""

EXAMPLES = r"""
---
# With brokers of Choria, whose stream CHORIA_MACHINE is read, and the agent DEPLOY of the guide docs/machines.md
- name: Read the states of all machines of all nodes
  choria.streams.choria_machine_info:
  register: found
  delegate_to: localhost
  run_once: true

- name: Show where they are
  ansible.builtin.debug:
    msg: "{{ item.name }} on {{ item.host }}: {{ item.state }} since {{ item.since }}"
  loop: "{{ found.machines }}"
  loop_control:
    label: "{{ item.name }} on {{ item.host }}"

- name: Set the release for all nodes
  choria.streams.choria_kv:
    bucket: DEPLOY
    key: release
    value: "1.4"
  register: release
  run_once: true

- name: Wait until all hosts of the play have it
  choria.streams.choria_machine_info:
    names: [DEPLOY]
    hosts: "{{ ansible_play_hosts }}"
    wait_for_state: deployed
    fail_states: [failed]
    since: "{{ release.entry.created if release is changed else omit }}"
    max_wait: 30m
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
---
machines:
  description: The states of machines by their events, sorted by host and name.
  returned: success, and where the time was over
  type: list
  elements: dict
  contains:
    host:
      description: The identity of the node.
      type: str
      sample: web1.example.net
    name:
      description: The name of the machine.
      type: str
      sample: DEPLOY
    instance:
      description: Its id, which is another one each time it starts.
      type: str
      sample: "1f2c7a90b8e44b21"
    version:
      description: The version of its definition.
      type: str
      sample: "1.0.0"
    state:
      description: Its state; null if it has not moved since it started, and is in its initial state.
      type: str
      sample: deploying
    from_state:
      description: The state before.
      type: str
      sample: idle
    transition:
      description: The transition that led from one to the other.
      type: str
      sample: wanted
    since:
      description: When that was, RFC 3339 UTC.
      type: str
      sample: "2026-03-01T12:00:00.123456789Z"
    watchers:
      description: The watchers that have published their states.
      type: list
      elements: dict
      contains:
        name:
          description: Its name.
          type: str
          sample: deploy
        type:
          description: Its type, such as V(exec).
          type: str
          sample: exec
        time:
          description: When the watcher published it, RFC 3339 UTC.
          type: str
          sample: "2026-03-01T12:00:00.123456789Z"
        status:
          description: Its status, which depends on its type, such as C(previous_outcome).
          type: dict
          sample: {previous_outcome: success}
installed:
  description: The machines in the store of this host; null if no store is known.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The name of its folder.
      type: str
      sample: DEPLOY
    path:
      description: Its folder.
      type: str
      sample: /etc/choria/machines/DEPLOY
    checksum:
      description: The SHA-256 digest of C(machine.yaml).
      type: str
      sample: fe1ed4245ab9c83a783c2fb315c50cce877c4408186fe31c5caa68d8db8b597c
    version:
      description: The version of its definition; null if this host can't read YAML.
      type: str
      sample: "1.0.0"
    initial_state:
      description: The state in which it starts; null if this host can't read YAML.
      type: str
      sample: idle
    data_keys:
      description: The names of the data that the server keeps for it, without values.
      type: list
      elements: str
      sample: [release]
failure:
  description:
    - The machine-readable part of an error. C(code) is its kind, such as V(timeout), V(no_stream), V(permission) or
      V(unreachable). The guide Troubleshooting in C(docs/troubleshooting.md) lists all codes.
    - After V(timeout), C(machines) lists those that are not in the state, each with C(host) and C(name).
  returned: failure
  type: dict
  sample: {code: timeout, machines: [{host: web2.example.net, name: DEPLOY}]}
"""

from ansible_collections.choria.streams.plugins.module_utils._module import run_hybrid
from ansible_collections.choria.streams.plugins.module_utils._operations.machine.info import SPEC, read


def main() -> None:
    """Run the module."""
    run_hybrid(SPEC, read)


if __name__ == "__main__":
    main()
