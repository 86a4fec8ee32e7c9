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
  - Those that a program made for itself, without a durable name, are there as well.
seealso:
  - module: choria.streams.choria_consumer
  - module: choria.streams.choria_stream_info
author:
  - The choria.streams developers (@choria-io)
options:
  stream:
    description: The stream whose consumers to read; those of all streams where it is left out.
    type: str
  names:
    description: >-
      The consumers of O(stream) to read; all where it is left out. Those that do not exist are not in the answer.
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

- name: A consumer to look at
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
      description: When it was made, RFC 3339 UTC; null in check mode before it is made.
      type: str
      sample: "2026-03-01T12:00:00.123456789Z"
    state:
      description: How far it is.
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
            The last message delivered, C(consumer_seq) counts deliveries, C(stream_seq) is its sequence number in the
            stream, C(last_time) when that was.
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
          description: For how many more seconds.
          type: float
          sample: 0.0
        push_bound:
          description: Whether somebody listens on its C(deliver_subject).
          type: bool
          sample: false
        pinned:
          description: The groups that a client has for itself, each with C(group), C(client) and C(since).
          type: list
          elements: dict
          sample: [{group: blue, client: vTC9RXcHRVCmjNXoEVQmPf, since: "2026-03-01T12:00:00.123456789Z"}]
    cluster:
      description: Where it is kept.
      type: dict
      contains:
        name:
          description: The cluster, null on a single server.
          type: str
          sample: streams
        leader:
          description: The server that leads.
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
        features.
      type: dict
      sample: {version: "2.12.1", level: 2, required_level: 0}
failure:
  description: The machine-readable part of an error.
  returned: failure
  type: dict
  contains:
    code:
      description: >-
        The kind of the error, such as V(option), V(unreachable), V(permission), V(data_loss), V(update_refused) or
        V(api). The guide Troubleshooting in C(docs/troubleshooting.md) lists all codes.
      type: str
      sample: option
    option:
      description: The option to change, where it is one.
      type: str
      sample: name
    err_code:
      description: JetStream's number of the error, where the server refused.
      type: int
      sample: 10074
"""

from ansible_collections.choria.streams.plugins.module_utils._module import run_info
from ansible_collections.choria.streams.plugins.module_utils._resources.consumer.info import CONSUMERS, consumers_of


def main() -> None:
    """Run the module."""
    run_info(CONSUMERS, "consumers", consumers_of)


if __name__ == "__main__":
    main()
