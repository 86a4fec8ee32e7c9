#!/usr/bin/python
# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show the state of the Choria Broker of a host."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: choria_broker_info
version_added: 1.0.0
short_description: Read the health of the Choria Broker of a host
description:
  - Reads the statistics of the broker on the managed host, and connects to its port for clients with TLS and the
    broker's own certificate or token. So it sees what clients would see.
  - The broker's configuration file says where all that is.
  - It needs no Python library on the host. With tokens, C(cryptography) is needed to sign in; without it only the
    certificate of the broker is checked.
author:
  - The choria.streams developers (@choria-io)
options:
  config:
    description:
      - The broker's configuration file on the managed host.
      - If the file does not exist, RV(broker.deployed) is V(false).
    type: path
    default: /etc/choria/broker.conf
  server_name:
    description: >-
      The name by which clients reach the broker, and that its certificate has to have. By default its identity.
    type: str
  peers:
    description:
      - The identities of all brokers that the cluster should have, this one among them.
      - A missing broker is a problem, and so is a broker that is not in this list. Only the leader of the cluster knows
        all, so ask all brokers.
      - By default this is not checked.
    type: list
    elements: str
  max_wait:
    description: >-
      How long to wait until the broker is healthy, as seconds or text such as V(2m). The module does not fail after it.
    type: str
    default: "0"
  timeout:
    description: How long one answer may take, as seconds or text such as V(5s).
    type: str
    default: 5s
extends_documentation_fragment:
  - choria.streams.attributes
  - choria.streams.attributes.info
seealso:
  - module: choria.streams.choria_broker_peer
"""

EXAMPLES = r"""
---
- name: Read the health of the broker
  choria.streams.choria_broker_info:
    config: /etc/choria/broker.conf
  register: found

- name: Fail if it is not healthy
  ansible.builtin.assert:
    that: found.broker.problems == []
    fail_msg: "{{ found.broker.problems | join('; ') }}"
"""

RETURN = r"""
---
broker:
  description: The broker of this host.
  returned: success
  type: dict
  contains:
    deployed:
      description: >-
        Whether its configuration file exists. Without it only RV(broker.running) and RV(broker.problems) have a
        meaning.
      type: bool
      sample: true
    running:
      description: Whether it serves statistics.
      type: bool
      sample: true
    problems:
      description: Why it is not healthy, a sentence for each reason. A healthy broker has none.
      type: list
      elements: str
      sample: [the cluster has no leader]
    well:
      description: Whether it runs, and its own copies of streams are current.
      type: bool
      sample: true
    whole:
      description: Whether it sees all brokers and all copies of streams in their places. So its cluster can spare one.
      type: bool
      sample: true
    serves:
      description: Whether it runs, and takes part in its cluster.
      type: bool
      sample: true
    store:
      description: The folder of its streams by its configuration file.
      type: str
      sample: /var/lib/choria/streams
    store_used:
      description: Whether that folder has streams.
      type: bool
      sample: true
    identity:
      description: Its name among the brokers, if it runs.
      type: str
      sample: broker1.example.net
    client_port:
      description: Its port for clients, where it runs.
      type: int
      sample: 4222
    client:
      description: The result of a test connection, if it runs.
      type: dict
      contains:
        signed_in:
          description: Whether the client could sign in; null if that could not be tried.
          type: bool
          sample: true
        jetstream:
          description: Whether JetStream answered; null if the broker's own token may not request that.
          type: bool
          sample: true
        problem:
          description: The reason of a failure.
          type: str
          sample: the broker refuses the credentials
    cluster:
      description: Its cluster, where it runs.
      type: dict
      contains:
        name:
          description: The name of the cluster, null for a single broker.
          type: str
          sample: streams
        peer_port:
          description: Its port for other brokers, null for a single broker.
          type: int
          sample: 5222
        leader:
          description: The leader of the cluster, null if it has none.
          type: str
          sample: broker1
        size:
          description: The number of brokers in the cluster, including those that are offline.
          type: int
          sample: 3
        peers:
          description: The brokers that it knows. Only the leader knows all.
          type: list
          elements: str
          sample: [broker1, broker2, broker3]
        offline:
          description: Those of them that are offline.
          type: list
          elements: str
          sample: [broker3]
    led:
      description: The replicated streams that it leads, where it runs.
      type: list
      elements: str
      sample: [ORDERS]
    streams:
      description: The streams that it leads and those that only it has, where it runs.
      type: list
      elements: dict
      contains:
        name:
          description: The name of the stream.
          type: str
          sample: ORDERS
        replicas:
          description: How many copies it should have.
          type: int
          sample: 3
        max_age:
          description: How long it keeps messages, in seconds. V(0) is for ever.
          type: float
          sample: 604800.0
failure:
  description:
    - The machine-readable part of an error. C(code) is its kind, such as V(option). The guide Troubleshooting in
      C(docs/troubleshooting.md) lists all codes.
    - C(option) is the option to change, where it is one.
  returned: failure
  type: dict
  sample: {code: option, option: config}
"""

from ansible_collections.choria.streams.plugins.module_utils._module import run_local
from ansible_collections.choria.streams.plugins.module_utils._operations.broker.broker import SPEC, read


def main() -> None:
    """Run the module."""
    run_local(SPEC, lambda options, _check_mode: read(options))


if __name__ == "__main__":
    main()
