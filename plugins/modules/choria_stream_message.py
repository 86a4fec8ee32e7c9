# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Publish a message to a stream, or delete messages."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: choria_stream_message
version_added: 1.0.0
short_description: Publish messages to a stream of Choria Streams, or delete messages
description:
  - Publishes one message or a list of them, and waits until the stream has stored them, deletes messages, or purges a
    stream.
  - Messages are read with M(choria.streams.choria_stream_message_info) on the managed host, and with
    P(choria.streams.choria_stream#lookup) on the controller.
author:
  - The choria.streams developers (@choria-io)
options:
  state:
    description:
      - V(present) publishes a message. Each run stores another one, unless O(msg_id) says that it is the same.
      - V(absent) deletes the message with O(sequence), or those with O(sequences); one that is gone already is no
        change.
      - V(purged) deletes all messages, or those that O(subject), O(keep) and O(sequence) select.
    type: str
    choices: [present, absent, purged]
    default: present
  stream:
    description:
      - The stream. Needed to delete and to purge.
      - With O(state=present) the message is refused unless this is the stream that O(subject) belongs to.
    type: str
  subject:
    description:
      - The subject to publish to. Some stream has to have it among its own.
      - With O(state=purged) only messages on this subject are deleted, which may hold the wildcards V(*) and V(>).
      - Needed to publish, unless O(messages) is set. A purge without it is of all subjects.
    type: str
  data:
    description:
      - The payload, in the form that O(encoding) says. An empty text is an empty payload.
      - Needed to publish, unless it is an O(increment).
      - It is part of the result, but not shown among the options nor in differences. Set C(no_log) for a secret.
    type: raw
  encoding:
    description:
      - How O(data) becomes bytes, and how results show them.
      - V(text) is UTF-8 text, V(json) sends any value as JSON, V(base64) decodes O(data), for anything else.
      - A stored message that is not of that kind is shown in base64; RV(message.encoding) tells.
    type: str
    choices: [text, json, base64]
    default: text
  sequence:
    description:
      - With O(state=absent) the sequence number of the message to delete.
      - With O(state=purged) the first message to keep; those before it are deleted.
      - Sequence numbers begin again when the stream is deleted and created again. The same number is another message's
        then. The diff tells what was deleted.
      - Needed for V(absent), unless O(sequences) is set.
    type: int
  sequences:
    description:
      - The sequence numbers of messages to delete, in place of O(sequence).
      - The diff tells the numbers that were deleted, and not what was in the messages.
      - If not set, O(sequence) says which.
    type: list
    elements: int
  erase:
    description: Overwrite the deleted message on disk, which takes longer. The default is not to.
    type: bool
  keep:
    description: >-
      How many of the newest messages a purge keeps, counted over all that O(subject) selects. Not with O(sequence). If
      not set, O(sequence) says which are kept, or none are.
    type: int
  allow_data_loss:
    description:
      - Whether a purge, or a message with C(Nats-Rollup), may delete messages.
      - Without it a purge that would is refused, in check mode too, and tells how many it would delete.
      - The messages that O(state=absent) names are deleted without it.
    type: bool
    default: false
extends_documentation_fragment:
  - choria.streams.messages.outgoing
  - choria.streams.messages.schedule
  - choria.streams.messages.expected
  - choria.streams.messages.several
  - choria.streams.connection
  - choria.streams.attributes
attributes:
  check_mode:
    support: full
    details:
      - Nothing is sent but reads. What the server would refuse fails as it would.
      - The sequence number is the one that comes next, if nobody else publishes first.
      - >-
        What can't be seen without sending is whether these credentials may publish to O(subject), and, where they may
        not read the stream, what it says to the message.
  diff_mode:
    support: full
  idempotent:
    support: partial
    details: >-
      Deleting and purging are, and schedules. Publishing is with O(msg_id), within the stream's duplicate window.
seealso:
  - module: choria.streams.choria_stream
  - module: choria.streams.choria_stream_message_info
  - plugin: choria.streams.choria_stream
    plugin_type: lookup
"""

EXAMPLES = r"""
---
- name: A stream to publish to
  choria.streams.choria_stream:
    name: ORDERS
    subjects: [orders.>]

- name: Publish a text
  choria.streams.choria_stream_message:
    subject: orders.new
    data: one bicycle

- name: Publish JSON once, however often this runs within two minutes
  choria.streams.choria_stream_message:
    stream: ORDERS
    subject: orders.new
    encoding: json
    data:
      article: bicycle
      count: 2
    msg_id: order-4711
    headers:
      Shop: Berlin
  register: placed

- name: Publish only if nobody else has since
  choria.streams.choria_stream_message:
    subject: orders.done
    data: "{{ placed.message.data.article }}"
    expected_last_sequence: "{{ placed.message.sequence }}"

- name: A stream for what is published later, for counters, and for batches
  choria.streams.choria_stream:
    name: "{{ item.name }}"
    subjects: ["{{ item.name | lower }}.>"]
    allow_msg_schedules: "{{ item.name == 'LATER' }}"
    allow_msg_counter: "{{ item.name == 'COUNTS' }}"
    allow_atomic: true
  loop:
    - name: LATER
    - name: COUNTS

- name: Remind everybody once
  choria.streams.choria_stream_message:
    subject: later.schedules.reminder
    data: renew the licence
    schedule:
      at: "2126-01-01T09:00:00Z"
      target: later.reminders

- name: Count
  choria.streams.choria_stream_message:
    subject: counts.deployments
    increment: 1
  register: deployments

- name: Store both or none, if nobody has written the first since
  choria.streams.choria_stream_message:
    messages:
      - subject: later.from
        data: "-5"
        expected_last_subject_sequence: 0
      - subject: later.to
        data: "5"

- name: Publish many, each once within two minutes
  choria.streams.choria_stream_message:
    encoding: json
    atomic: false
    messages:
      - subject: orders.new
        data: {article: bell, count: 1}
        msg_id: order-4712
      - subject: orders.new
        data: {article: lamp, count: 2}
        msg_id: order-4713
  register: many

- name: Delete these
  choria.streams.choria_stream_message:
    stream: ORDERS
    sequences: "{{ many.messages | map(attribute='sequence') }}"
    state: absent

- name: Delete a message
  choria.streams.choria_stream_message:
    stream: ORDERS
    sequence: "{{ placed.message.sequence }}"
    state: absent

- name: See how many messages a purge would delete
  choria.streams.choria_stream_message:
    stream: ORDERS
    subject: orders.done
    state: purged
    allow_data_loss: true
  check_mode: true
  register: would

- name: Keep the newest ten
  choria.streams.choria_stream_message:
    stream: ORDERS
    keep: 10
    state: purged
    allow_data_loss: true
"""

RETURN = r"""
---
message:
  description: >-
    The message as the stream has it, with O(state=present); with O(msg_id) it may be an earlier one. Null where it was
    deleted.
  returned: success, and O(state) is V(present) or V(absent)
  type: dict
  contains:
    stream:
      description: The stream that stored it; null in check mode where these credentials may not look for it.
      type: str
      sample: ORDERS
    subject:
      description: Its subject.
      type: str
      sample: orders.new
    sequence:
      description: >-
        Its number in the stream; in check mode the one that comes next, null where these credentials may not see it.
      type: int
      sample: 1
    time:
      description: >-
        When it was stored, RFC 3339 UTC; null in check mode, where these credentials may not read it back, and with
        O(atomic=false) but for duplicates.
      type: str
      sample: "2026-03-01T12:00:00.123456789Z"
    headers:
      description: Its headers.
      type: dict
      sample: {Nats-Msg-Id: order-1}
    data:
      description: Its payload, in the form that RV(message.encoding) says.
      type: raw
      sample: one
    encoding:
      description: The form of RV(message.data), V(text), V(json) or V(base64).
      type: str
      sample: text
    value:
      description: The counter's value after O(increment).
      returned: with O(increment)
      type: int
      sample: 42
    duplicate:
      description: Whether the stream had a message with this O(msg_id) already, and stored nothing.
      type: bool
      sample: false
messages:
  description:
    - The messages in the order of O(messages), each as RV(message), which is the last of them then.
    - With O(atomic=false) it is also returned where some of them are refused. Those have C(failure), as RV(failure)
      with the sentence as C(msg), and no sequence number.
  returned: O(messages) is given, and they were sent or in check mode would be
  type: list
  elements: dict
  sample:
    - stream: ORDERS
      subject: orders.new
      sequence: 1
      time: "2026-03-01T12:00:00.123456789Z"
      headers: {}
      data: one
      encoding: text
deleted:
  description: The sequence numbers of the messages that were deleted, or in check mode would be.
  returned: O(sequences) is given, and at least one deletion was tried
  type: list
  elements: int
  sample: [4, 5]
purged:
  description: How many messages were deleted, or in check mode would be.
  returned: success, and O(state) is V(purged)
  type: int
  sample: 2
messages_before:
  description: How many messages the stream had before.
  returned: success, and O(state) is V(purged)
  type: int
  sample: 4
messages_after:
  description: How many messages the stream has now, or in check mode would have.
  returned: success, and O(state) is V(purged)
  type: int
  sample: 2
changes:
  description: What changes, or in check mode what would change.
  returned: success
  type: list
  elements: dict
  contains:
    field:
      description: V(message) for one, whose sequence number follows; V(messages) for a purge, with their number.
      type: str
      sample: message
    before:
      description: The number before, null where there was none.
      type: int
      sample: 1
    after:
      description: The number after, null where there is none.
      type: int
      sample: 1
    effect:
      description: V(create) or V(delete).
      type: str
      sample: create
consequences:
  description: What the change loses.
  returned: success
  type: dict
  contains:
    messages_lost:
      description: How many messages; null where a C(Nats-Rollup) deletes some that nobody has counted.
      type: int
      sample: 0
    consumers_lost:
      description: Always 0.
      type: int
      sample: 0
failure:
  description: The machine-readable part of an error.
  returned: failure
  type: dict
  contains:
    code:
      description: >-
        The kind of the error, such as V(option), V(no_stream), V(wrong_last), V(full), V(data_loss), V(permission) or
        V(api). The guide Troubleshooting in C(docs/troubleshooting.md) lists all codes.
      type: str
      sample: no_stream
    option:
      description: >-
        The option to change, where it is one. It names the item of a list, such as V(messages[3].subject).
      type: str
      sample: expected_last_subject_sequence
    found:
      description: With V(wrong_last), what the stream had in place of what was expected; null where that is not known.
      type: raw
      sample: 2
    err_code:
      description: JetStream's number of the error, where the server refused.
      type: int
      sample: 10074
"""

from ansible_collections.choria.streams.plugins.module_utils._module import run_action
from ansible_collections.choria.streams.plugins.module_utils._operations.messages.messages import SPEC, act


def main() -> None:
    """Run the module."""
    run_action(SPEC, act)


if __name__ == "__main__":
    main()
