# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Manage a stream."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: choria_stream
version_added: 1.0.0
short_description: Declare a stream of Choria Streams or NATS JetStream
description:
  - Creates, updates and deletes streams. Check mode and C(--diff) show what a change would do and lose.
  - It works with Choria Brokers and with nats-server 2.10 and newer.
  - A change that the server would refuse, or accept without effect, fails before it is sent. The error names the
    option.
seealso:
  - module: choria.streams.choria_stream_info
  - module: choria.streams.choria_consumer
  - module: choria.streams.choria_stream_message
  - module: choria.streams.choria_resources
  - plugin: choria.streams.choria_stream
    plugin_type: lookup
author:
  - The choria.streams developers (@choria-io)
options:
  name:
    description: The stream's name, up to 255 characters without spaces and any of V(. * > / \\).
    type: str
    required: true
  subjects:
    description:
      - The subjects whose messages are stored. A new stream has its own name as subject by default.
      - No other stream may have one of them.
      - The messages of a removed subject stay.
    type: list
    elements: str
  retention:
    description:
      - V(limits) keeps messages until a limit is reached, V(interest) until all consumers have them, V(workqueue)
        until one has.
      - A change to or from V(workqueue) needs O(recreate). V(limits) for a new stream.
    type: str
    choices: [limits, interest, workqueue]
  compression:
    description: How stored messages are compressed. V(none) for a new stream.
    type: str
    choices: [none, s2]
  first_seq:
    description: The sequence number of the first message. It only has an effect at creation. 1 for a new stream.
    type: int
  no_ack:
    description: Do not acknowledge messages. Off for a new stream.
    type: bool
  duplicate_window:
    description:
      - How long a repeated C(Nats-Msg-Id) is detected, as seconds or text such as V(2m).
      - If it is left out, it is lowered together with O(max_age). V(0) stands for the server's default.
    type: str
  subject_transform:
    description: >-
      Rewrite the subjects of messages before they are stored. V({}) ends it. Subjects stay as they are in a new stream.
    type: dict
    suboptions:
      src:
        description: The subjects to rewrite. All subjects if not set.
        type: str
      dest:
        description: The new subjects. If not set, subjects stay as they are.
        type: str
  allow_direct:
    description: Let every copy answer reads, not only the leader. Off for a new stream.
    type: bool
  mirror_direct:
    description: Let this mirror answer direct reads for its origin. As O(allow_direct) of the origin for a new mirror.
    type: bool
  consumer_limits:
    description: Limits for consumers that do not set their own. No limits for a new stream.
    type: dict
    suboptions:
      inactive_threshold:
        description: How long an unused consumer lives, as seconds or text such as V(1h). No limit if not set.
        type: str
      max_ack_pending:
        description: How many messages may wait for an acknowledgement, -1 for no limit. No limit if not set.
        type: int
  persist_mode:
    description: >-
      V(async) writes to disk with delay, for speed. Needs nats-server 2.12. Can be changed with O(recreate). V(default)
      for a new stream.
    type: str
    choices: [default, async]
  renamed_from:
    description:
      - The old name of the stream. If a stream has the old name, and no stream has the new one, it is renamed.
      - All messages are copied to a stream with the new name, which takes over the subjects and the durable consumers,
        and the old stream is deleted. No message is lost. The limits are those of O(recreate=copy), also for the ids
        of messages. Needs nats-server 2.12. An interrupted task continues when it runs again.
      - If no stream has the old name, the option has no effect. If both streams exist, the task fails.
      - A stream that mirrors or sources copy from can't be renamed, since they would continue to use the old name.
      - Nothing is renamed if not set.
    type: str
  pedantic:
    description:
      - Whether the server should refuse a value that it would otherwise fill in or correct by other values or by its
        limits, such as O(duplicate_window) by O(max_age). Needs nats-server 2.11.
      - It only affects writes, and causes no change by itself. It does not apply to what O(recreate) creates again.
    type: bool
    default: false
extends_documentation_fragment:
  - choria.streams.stream
  - choria.streams.stream.data
  - choria.streams.stream.features
  - choria.streams.stream.limits
  - choria.streams.stream.protection
  - choria.streams.connection
  - choria.streams.attributes
  - choria.streams.attributes.resource
"""

EXAMPLES = r"""
---
- name: Keep orders for a week
  choria.streams.choria_stream:
    name: ORDERS
    subjects: [orders.new, orders.done]
    max_age: 7d
    max_bytes: 100MiB
    discard: old

- name: Show what a longer max_age would change
  choria.streams.choria_stream:
    name: ORDERS
    max_age: 30d
  check_mode: true
  diff: true

- name: Exactly these options, and the defaults for all others
  choria.streams.choria_stream:
    name: ORDERS
    subjects: [orders.new, orders.done]
    max_age: 7d
    exact: true

- name: Refuse new messages when the stream is full
  choria.streams.choria_stream:
    name: ORDERS
    discard: new

- name: Move the stream into memory with all messages, while others publish
  choria.streams.choria_stream:
    name: ORDERS
    storage: memory
    recreate: copy

- name: Rename the stream, and keep its messages and consumers
  choria.streams.choria_stream:
    name: SALES
    renamed_from: ORDERS

- name: Delete the stream with its messages and consumers
  choria.streams.choria_stream:
    name: SALES
    state: absent
    allow_data_loss: true
"""

RETURN = r"""
---
stream:
  description: The stream as it is now, or in check mode as it would be; null if it is absent.
  returned: success
  type: dict
  contains:
    name:
      description: Its name.
      type: str
      sample: ORDERS
    subjects:
      description: Its subjects.
      type: list
      elements: str
      sample: ["orders.>"]
    max_age:
      description: >-
        How long messages are kept, in seconds. All the other options of the module are there as well, under their
        names,
        with seconds and bytes as numbers.
      type: float
      sample: 604800.0
    created:
      description: When it was created, RFC 3339 UTC; null in check mode before it is created.
      type: str
      sample: "2026-03-01T12:00:00.123456789Z"
    state:
      description: Its contents.
      type: dict
      contains:
        messages:
          description: How many messages.
          type: int
          sample: 1200
        bytes:
          description: How many bytes.
          type: int
          sample: 409600
        first_seq:
          description: The sequence number of the oldest message.
          type: int
          sample: 1
        first_time:
          description: When the oldest message was stored, RFC 3339 UTC, null if the stream is empty.
          type: str
          sample: "2026-03-01T12:00:00.123456789Z"
        last_seq:
          description: The sequence number of the newest message.
          type: int
          sample: 1200
        last_time:
          description: When the newest message was stored, null if the stream is empty.
          type: str
          sample: "2026-03-01T12:00:00.123456789Z"
        subjects:
          description: How many different subjects the messages have.
          type: int
          sample: 14
        deleted:
          description: How many messages were deleted between the oldest and the newest.
          type: int
          sample: 0
        consumers:
          description: How many consumers there are.
          type: int
          sample: 2
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
    origins:
      description: >-
        What it copies from: the origin of a mirror, or each source. Empty for others, and in check mode before it is
        made.
      type: list
      elements: dict
      contains:
        name:
          description: The name of the stream.
          type: str
          sample: ORDERS
        api:
          description: The prefix of the API of another domain or account, null for this one.
          type: str
          sample: $JS.london.API
        lag:
          description: How many messages of it are not here yet.
          type: int
          sample: 0
        active:
          description: How many seconds ago it was heard of, null for never.
          type: float
          sample: 0.024
        error:
          description: Why the server copies nothing from it, null where it says nothing.
          type: str
          sample: stream not found
    server:
      description: >-
        The server's C(version) and API C(level) when it last saw this stream, and the C(required_level) of its
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
      description: The option, or the server's field where no option sets it.
      type: str
      sample: max_age
    before:
      description: The value before, null if there was none. Seconds and bytes are numbers.
      type: raw
      sample: 0.0
    after:
      description: The value after, null if there is none.
      type: raw
      sample: 604800.0
    effect:
      description: >-
        V(create), V(delete), V(in place) or V(recreate). In RV(failure) also V(refused) and V(without effect).
      type: str
      sample: in place
consequences:
  description: What the change loses, counted from the live state. Also part of RV(failure) where that is refused.
  returned: success
  type: dict
  contains:
    messages_lost:
      description: How many messages.
      type: int
      sample: 0
    consumers_lost:
      description: How many consumers.
      type: int
      sample: 0
    at_least:
      description: >-
        Whether it may be more messages than RV(consequences.messages_lost). Counting them would mean to read more than
        10,000 messages or 64 MiB, or the user may not read them. With a change to O(retention=interest) it also means
        that the consumers differ in their positions or subjects.
      returned: when it may be more
      type: bool
      sample: false
    irreversible:
      description: The changed fields that can't be changed back.
      returned: when there are some
      type: list
      elements: str
      sample: [sealed]
    steps:
      description: The steps in their order, without those that an earlier run has finished.
      returned: when it is copied
      type: list
      elements: str
      sample: [copy ORDERS into a new stream, delete ORDERS, copy it back]
    consumers_recreated:
      description: The consumers that are created again, and continue at their positions.
      returned: when it is copied
      type: list
      elements: str
      sample: [WORKERS]
failure:
  description:
    - The machine-readable part of an error. C(code) is its kind, such as V(option), V(unreachable), V(permission),
      V(data_loss), V(update_refused) or V(api). The guide Troubleshooting in C(docs/troubleshooting.md) lists all
      codes.
    - C(option) is the option to change, where it is one. C(err_code) is JetStream's number of the error, where the
      server refused or would refuse. C(changes) is as RV(changes), where an update is refused. The refused ones have
      the server's C(err_code) too.
  returned: failure
  type: dict
  sample:
    code: option
    option: allow_data_loss
    err_code: 10052
    changes: [{field: storage, before: file, after: memory, effect: refused, err_code: 10052}]
"""

from ansible_collections.choria.streams.plugins.module_utils._module_resource import run_resource
from ansible_collections.choria.streams.plugins.module_utils._resources.stream.stream import STREAM


def main() -> None:
    """Run the module."""
    run_resource(STREAM)


if __name__ == "__main__":
    main()
