# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Manage a consumer."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: choria_consumer
version_added: 1.0.0
short_description: Declare a durable consumer of a stream
description:
  - Creates, updates and deletes durable consumers. Check mode and C(--diff) show what a change would do and lose.
  - It works with Choria Brokers and with nats-server 2.10 and newer.
  - A change that the server would refuse, or accept without effect, fails before it is sent. The error names the
    option. A consumer of another tool can be declared as it is.
  - Numbers and durations of 0 mean that they are not set, as in the answers of the server, which then uses its default.
  - Ephemeral consumers belong to the program that reads with them, and can't be declared.
seealso:
  - module: choria.streams.choria_consumer_info
  - module: choria.streams.choria_stream
  - module: choria.streams.choria_resources
author:
  - The choria.streams developers (@choria-io)
options:
  state:
    description:
      - V(present) creates or updates the consumer. Options that are left out are not managed, and stay as they are.
      - V(absent) deletes it with its position.
      - V(reset) only moves its position, to O(opt_start_seq) or O(opt_start_time). Without these it moves back to the
        last message up to which all are acknowledged, and unacknowledged messages are delivered again at once. Needs
        nats-server 2.14. How far it may be moved depends on O(deliver_policy).
      - V(unpinned) releases O(priority_groups), or all groups of the consumer, from the clients to which they are
        pinned, so that other clients get them. Needs nats-server 2.11.
    type: str
    choices: [present, absent, reset, unpinned]
    default: present
  stream:
    description: The stream that it reads, which has to exist.
    type: str
    required: true
  name:
    description: The consumer's name, up to 255 characters without spaces and any of V(. * > / \\).
    type: str
    required: true
  description:
    description: A text of up to 4 KiB for people. Empty for a new consumer.
    type: str
  deliver_policy:
    description:
      - Where a new consumer begins. V(by_start_sequence) needs O(opt_start_seq), V(by_start_time) needs
        O(opt_start_time), V(last_per_subject) needs a filter.
      - V(all) for a new consumer. Can't be changed in place.
    type: str
    choices: [all, last, new, by_start_sequence, by_start_time, last_per_subject]
  opt_start_seq:
    description: >-
      The sequence number of the stream to begin with. Can't be changed in place. With O(state=reset), the one to go to.
      Not used by a new consumer if not set.
    type: int
  opt_start_time:
    description: >-
      The time to begin with, as RFC 3339 text. Can't be changed in place. With O(state=reset), the one to go to. Not
      used by a new consumer if not set.
    type: str
  filter_subject:
    description:
      - The subject of the messages to deliver, with or without wildcards. An empty text stands for all. Not together
        with O(filter_subjects).
      - A new filter that matches no subject and no message of the stream is refused, unless the stream copies or
        transforms messages.
      - Without a filter a new consumer gets all messages.
    type: str
  filter_subjects:
    description: >-
      Several such subjects. None of them may include another. Without a filter a new consumer gets all messages.
    type: list
    elements: str
  replay_policy:
    description: >-
      Whether messages are delivered as fast as possible or at the pace at which they were stored. Can't be changed in
      place. V(instant) for a new consumer.
    type: str
    choices: [instant, original]
  sample_freq:
    description: >-
      The percentage of acknowledgements of which to publish a sample, such as V(50%). No samples for a new consumer.
    type: str
  headers_only:
    description: Deliver the headers without the payload. Off for a new consumer.
    type: bool
  inactive_threshold:
    description: >-
      After how long without use the server deletes it, as seconds or text such as V(1h), 0 for never. Never for a new
      consumer, unless the stream has O(choria.streams.choria_stream#module:consumer_limits).
    type: str
  replicas:
    description:
      - How many servers keep its state. 0 is the number of the stream's replicas, which is also the highest value.
      - With a stream by interest or for work queues it has to equal that number. 0 for a new consumer.
    type: int
  mem_storage:
    description: Keep its state in memory. Can't be changed in place. Off for a new consumer.
    type: bool
  metadata:
    description: >-
      Labels, text to text. Keys that begin with V(_nats.) are the server's own, and never a difference. Empty for a new
      consumer.
    type: dict
  paused_until:
    description:
      - Deliver nothing until this time, as RFC 3339 text. Needs nats-server 2.11.
      - An empty text or a time in the past ends the pause. A new consumer is not paused.
    type: str
  recreate:
    description:
      - Create the consumer again if an option changes that can't be changed in place. It continues after the last
        message up to which all are acknowledged. Later messages may be delivered again, and none is skipped.
      - If O(deliver_policy), O(opt_start_seq) or O(opt_start_time) itself changes, the consumer begins at that place.
        This needs O(allow_data_loss) if it would skip messages that it still had to process.
      - Meanwhile another consumer keeps the position, and the messages of a stream by interest. If a task was
        interrupted, run it again to finish it.
    type: bool
    default: false
  exact:
    description:
      - Whether options that are left out go back to their defaults. Without it they stay as they are.
      - If an option can't go back, the task fails and names it, or with O(recreate) creates the consumer again. A pause
        ends as well. The mark of the owner of a document stays in the metadata.
    type: bool
    default: false
  pedantic:
    description:
      - Whether the server should refuse a value that it would otherwise fill in or correct by limits of the stream, the
        account or the server, such as O(max_ack_pending). Needs nats-server 2.11.
      - It only affects writes, and causes no change by itself. It does not apply to what O(recreate) creates again.
    type: bool
    default: false
  allow_data_loss:
    description:
      - Whether messages may be lost, or skipped with O(recreate). A stream by interest only keeps messages for which
        consumers wait. Deleting a consumer, or a narrower filter, may delete messages.
      - Without it such a change is refused, in check mode too. The error has the number of messages that would be lost.
    type: bool
    default: false
extends_documentation_fragment:
  - choria.streams.consumer.push
  - choria.streams.consumer.pull
  - choria.streams.consumer.acknowledgement
  - choria.streams.connection
  - choria.streams.attributes
  - choria.streams.attributes.resource
"""

EXAMPLES = r"""
---
- name: A stream to read
  choria.streams.choria_stream:
    name: ORDERS
    subjects: [orders.>]

- name: Create a consumer that workers share
  choria.streams.choria_consumer:
    stream: ORDERS
    name: WORKERS
    filter_subject: orders.new
    ack_wait: 1m
    max_deliver: 5
    backoff: [1m, 5m, 30m]

- name: Stop the workers over night
  choria.streams.choria_consumer:
    stream: ORDERS
    name: WORKERS
    paused_until: "2030-01-01T06:00:00Z"

- name: Resume the workers
  choria.streams.choria_consumer:
    stream: ORDERS
    name: WORKERS
    paused_until: ""

- name: Push messages to a queue group
  choria.streams.choria_consumer:
    stream: ORDERS
    name: LISTENERS
    deliver_policy: new
    deliver_subject: deliver.orders
    deliver_group: shop
    flow_control: true
    idle_heartbeat: 5s

- name: Change an option that the server can't change in place, and keep the position
  choria.streams.choria_consumer:
    stream: ORDERS
    name: WORKERS
    max_waiting: 2000
    recreate: true

- name: Process all messages again from number 17 on
  choria.streams.choria_consumer:
    stream: ORDERS
    name: WORKERS
    state: reset
    opt_start_seq: 17

- name: Delete a consumer
  choria.streams.choria_consumer:
    stream: ORDERS
    name: LISTENERS
    state: absent
"""

RETURN = r"""
---
consumer:
  description: The consumer as it is now, or in check mode as it would be; null if it is absent.
  returned: success
  type: dict
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
        After how long a message is delivered again, in seconds. All the other options of the module are there as well,
        under their names, with seconds and bytes as numbers.
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
          description: Whether a client listens on its O(deliver_subject).
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
changes:
  description: What changes, or in check mode what would change.
  returned: success
  type: list
  elements: dict
  contains:
    field:
      description: The option, V(position) with O(state=reset), V(pinned) and the group with O(state=unpinned).
      type: str
      sample: ack_wait
    before:
      description: The value before, null if there was none. Seconds and bytes are numbers.
      type: raw
      sample: 30.0
    after:
      description: The value after, null if there is none.
      type: raw
      sample: 60.0
    effect:
      description: V(create), V(delete), V(in place) or V(recreate).
      type: str
      sample: in place
consequences:
  description: The losses by the change.
  returned: success
  type: dict
  contains:
    messages_lost:
      description: The number of messages; null if some may be lost and their number is unknown.
      type: int
      sample: 0
    consumers_lost:
      description: How many consumers.
      type: int
      sample: 0
    messages_redelivered:
      description: >-
        How many messages may be delivered again; null if that is unknown.
      type: int
      sample: 0
    messages_skipped:
      description: >-
        How many undelivered or unacknowledged messages are skipped; null if that is unknown.
      type: int
      sample: 0
failure:
  description:
    - The machine-readable part of an error. C(code) is its kind, such as V(option), V(unreachable), V(permission),
      V(data_loss), V(update_refused) or V(api). The guide Troubleshooting in C(docs/troubleshooting.md) lists all
      codes.
    - C(option) is the option to change, where it is one. C(err_code) is JetStream's number of the error, where the
      server refused.
  returned: failure
  type: dict
  sample: {code: option, option: allow_data_loss, err_code: 10012}
"""

from ansible_collections.choria.streams.plugins.module_utils._module_resource import run_resource
from ansible_collections.choria.streams.plugins.module_utils._resources.consumer.consumer import CONSUMER


def main() -> None:
    """Run the module."""
    run_resource(CONSUMER)


if __name__ == "__main__":
    main()
