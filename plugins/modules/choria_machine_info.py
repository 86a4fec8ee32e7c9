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
    brokers. These are their states and those of their watchers, on one host or on all of them.
  - On a node it also returns which machines are in the store of Choria Server.
  - With O(wait_for_state) it waits until machines are in a state. It listens to their events, and does not ask again
    and again.
author:
  - The choria.streams developers (@choria-io)
options:
  names:
    description: The machines to tell of; all where it is left out.
    type: list
    elements: str
    aliases: [name]
  hosts:
    description: >-
      The identities of the nodes to tell of; all where it is left out. They are Choria's, which are those of
      C(identity) in the servers' files, else their FQDN. Names of the inventory do only where they are the same.
    type: list
    elements: str
  store:
    description:
      - The folder of machines on the managed host.
      - Where it is not set, and O(choria_config) names the file of a server, C(plugin.choria.machine.store) in it tells
        it.
    type: path
  events:
    description: >-
      Whether to read the stream. With V(false) there is no connection, nats-py is not needed, and RV(machines) is
      empty.
    type: bool
    default: true
  wait_for_state:
    description:
      - The state in which each of O(names) on each of O(hosts) has to be.
      - A machine tells of its transitions, and never of the state in which it starts. For that state one can only wait
        when it comes back to it.
      - Check mode does not wait. If not set, nothing is waited for.
    type: str
  fail_states:
    description:
      - States that end the wait with a failure, as soon as one of the machines is in one of them. It has to have come
        into it since O(since), where that is given.
      - Without it a machine that failed is waited for until O(max_wait) is over.
    type: list
    elements: str
    version_added: 1.0.0
  since:
    description:
      - The moment, in the form V(2026-03-01T12:00:00Z), since which the machines have to have come into the state. One
        that was in it before does not count.
      - Such as RV(choria.streams.choria_kv#module:entry.created) of the key that sets them off. It is compared with the
        broker's time.
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
  - When C(ansible-playbook) is killed, or its terminal is closed, it stops to wait within a few seconds.
  - To read the stream a token needs C(--stream-user), and to wait C(--event-viewer) as well, which servers can't have.
    Where brokers want tokens, run it on the controller, with those of a client.
seealso:
  - module: choria.streams.choria_machine
"""

EXAMPLES = r"""
---
# With brokers of Choria, whose stream CHORIA_MACHINE is read, and the agent DEPLOY of the guide docs/machines.md
- name: Tell of all machines of all nodes
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

- name: Have the release everywhere
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
  description: What machines have told, by host and name.
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
      description: Its state; null where it has not moved since it started, and so is in its initial state.
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
      description: The watchers that have told of their states.
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
          description: When it told, RFC 3339 UTC.
          type: str
          sample: "2026-03-01T12:00:00.123456789Z"
        status:
          description: What it told, which depends on its type, such as C(previous_outcome).
          type: dict
          sample: {previous_outcome: success}
installed:
  description: The machines in the store of this host; null where no store is named.
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
      description: The version of its definition; null where this host can't read YAML.
      type: str
      sample: "1.0.0"
    initial_state:
      description: The state in which it starts; null where this host can't read YAML.
      type: str
      sample: idle
    data_keys:
      description: Of what the server keeps for it, the names and not the values.
      type: list
      elements: str
      sample: [release]
failure:
  description: The machine-readable part of an error.
  returned: failure
  type: dict
  contains:
    code:
      description: >-
        The kind of the error, such as V(timeout), V(no_stream), V(permission) or V(unreachable). The guide
        Troubleshooting in C(docs/troubleshooting.md) lists all codes.
      type: str
      sample: timeout
    machines:
      description: Those that are not in the state, with C(host) and C(name).
      returned: where the time was over
      type: list
      elements: dict
      sample: [{host: web2.example.net, name: DEPLOY}]
"""

from ansible_collections.choria.streams.plugins.module_utils._module import run_hybrid
from ansible_collections.choria.streams.plugins.module_utils._operations.machine.info import SPEC, read


def main() -> None:
    """Run the module."""
    run_hybrid(SPEC, read)


if __name__ == "__main__":
    main()
