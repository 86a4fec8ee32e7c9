# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read consumers."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: choria_consumer_info
version_added: 1.0.0
short_description: Read consumers of Choria Streams
description:
  - Returns the configuration and the state of consumers, with how far behind they are, and never writes.
  - Consumers without a durable name are included.
seealso:
  - module: choria.streams.choria_consumer
  - module: choria.streams.choria_stream_info
author:
  - The choria.streams developers (@choria-io)
options:
  stream:
    description: The stream of the consumers. If not set, the consumers of all streams are read.
    type: str
  names:
    description: >-
      The consumers of O(stream) to read. If not set, all are read. Consumers that do not exist are left out.
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
- name: A stream to read
  choria.streams.choria_stream:
    name: ORDERS
    subjects: [orders.>]

- name: Read a consumer
  choria.streams.choria_consumer:
    stream: ORDERS
    name: WORKERS

- name: Read one consumer
  choria.streams.choria_consumer_info:
    stream: ORDERS
    names: [WORKERS]
  register: found

- name: Show how far behind it is
  ansible.builtin.debug:
    msg: "{{ found.consumers[0].name }} has {{ found.consumers[0].state.lag }} messages to go"

- name: Read the consumers of all streams
  choria.streams.choria_consumer_info:
"""

RETURN = r"""
---
consumers:
  description: >-
    A dict for each consumer, as RV(choria.streams.choria_consumer#module:consumer) has it, in the order of streams and
    names.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Its name.
      type: str
      sample: WORKERS
    stream:
      description: Its stream.
      type: str
      sample: ORDERS
    ack_wait:
      description: >-
          After how long a message is delivered again, in seconds. All the options of
          M(choria.streams.choria_consumer) are there as well, under their names, with seconds and bytes as numbers.
      type: float
      sample: 30.0
    created:
      description: When it was created, RFC 3339 UTC; null in check mode before it is created.
      type: str
      sample: "2026-03-01T12:00:00.123456789Z"
    state:
      description: Its position.
      type: dict
      contains:
        lag:
          description: How many messages are still to be processed, C(pending) and C(ack_pending) together.
          type: int
          sample: 2
        pending:
          description: How many messages are still to be delivered.
          type: int
          sample: 2
        ack_pending:
          description: How many messages were delivered and wait for an acknowledgement.
          type: int
          sample: 2
        redelivered:
          description: How many of them were delivered more than once.
          type: int
          sample: 0
        waiting:
          description: How many pulls wait for messages.
          type: int
          sample: 1
        delivered:
          description: >-
            The last delivered message. C(consumer_seq) counts deliveries, C(stream_seq) is its sequence number in the
            stream, C(last_time) is when it was delivered.
          type: dict
          sample: {consumer_seq: 7, stream_seq: 7, last_time: "2026-03-01T12:00:00.123456789Z"}
        ack_floor:
          description: The same for the last message up to which all are acknowledged.
          type: dict
          sample: {consumer_seq: 5, stream_seq: 5, last_time: "2026-03-01T12:00:00.123456789Z"}
        paused:
          description: Whether it is paused.
          type: bool
          sample: false
        pause_remaining:
          description: The remaining seconds of the pause.
          type: float
          sample: 0.0
        push_bound:
          description: Whether a client listens on its C(deliver_subject).
          type: bool
          sample: false
        pinned:
          description: The priority groups that are pinned to a client, each with C(group), C(client) and C(since).
          type: list
          elements: dict
          sample: [{group: blue, client: vTC9RXcHRVCmjNXoEVQmPf, since: "2026-03-01T12:00:00.123456789Z"}]
    cluster:
      description: The servers that store it.
      type: dict
      contains:
        name:
          description: The cluster, null on a single server.
          type: str
          sample: streams
        leader:
          description: The server that leads, null if there is none yet.
          type: str
          sample: broker1
        replicas:
          description: The other copies, each with C(name), C(current), C(lag) in operations and C(offline).
          type: list
          elements: dict
          sample: [{name: broker2, current: true, lag: 0, offline: false}]
    server:
      description: >-
        The server's C(version) and API C(level) when it last saw this consumer, and the C(required_level) of its
        features. Each is null before that, and with nats-server 2.10.
      type: dict
      sample: {version: "2.12.1", level: 2, required_level: 0}
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
from ansible_collections.choria.streams.plugins.module_utils._resources.consumer.info import CONSUMERS, consumers_of


def main() -> None:
    """Run the module."""
    run_info(CONSUMERS, "consumers", consumers_of)


if __name__ == "__main__":
    main()
