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
  - Publishes one message or a list of them, and waits until the stream has stored them. It also deletes messages, and
    purges a stream.
  - To read messages, use M(choria.streams.choria_stream_message_info) on the managed host, or
    P(choria.streams.choria_stream#lookup) on the controller.
author:
  - The choria.streams developers (@choria-io)
options:
  state:
    description:
      - V(present) publishes a message. Each run stores another one, unless O(msg_id) is the same.
      - V(absent) deletes the message with O(sequence), or those with O(sequences). A missing message is no
        change.
      - V(purged) deletes all messages, or those that O(subject), O(keep) and O(sequence) select.
    type: str
    choices: [present, absent, purged]
    default: present
  stream:
    description:
      - The stream. Needed to delete and to purge.
      - With O(state=present) the message is refused if O(subject) belongs to another stream.
    type: str
  subject:
    description:
      - The subject to publish to. It has to belong to a stream.
      - With O(state=purged) only messages on this subject are deleted. It may have the wildcards V(*) and V(>).
      - Needed to publish, unless O(messages) is set. Without it a purge deletes messages of all subjects.
    type: str
  data:
    description:
      - The payload, in the form of O(encoding). An empty text is an empty payload.
      - Needed to publish, unless O(increment) is set.
      - The result contains it, but options and differences do not. Set C(no_log) for a secret.
    type: raw
  encoding:
    description:
      - How O(data) becomes bytes, and how results show them.
      - V(text) is UTF-8 text, V(json) sends any value as JSON, and V(base64) decodes O(data), for binary data.
      - A stored message in another form is shown in base64, and RV(message.encoding) is V(base64).
    type: str
    choices: [text, json, base64]
    default: text
  sequence:
    description:
      - With O(state=absent) the sequence number of the message to delete.
      - With O(state=purged) the first message to keep. Messages before it are deleted.
      - Sequence numbers start again when the stream is deleted and created again. Then a number belongs to another
        message. The diff shows the deleted message.
      - Needed for V(absent), unless O(sequences) is set.
    type: int
  sequences:
    description:
      - The sequence numbers of messages to delete, in place of O(sequence).
      - The diff shows the deleted numbers, and not the content of the messages.
      - If not set, O(sequence) is deleted.
    type: list
    elements: int
  erase:
    description: Overwrite the deleted message on disk, which takes longer. Off by default.
    type: bool
  keep:
    description: >-
      How many of the newest messages a purge keeps, of all that O(subject) selects. Not with O(sequence). If not set,
      messages from O(sequence) on are kept, or none.
    type: int
  allow_data_loss:
    description:
      - Whether a purge, or a message with C(Nats-Rollup), may delete messages.
      - Without it such a purge is refused, in check mode too, and the error has the number of messages to delete.
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
      - Only reads are sent. A task that the server would refuse fails.
      - The returned sequence number is the next one, if no other client publishes before.
      - It can't predict a missing right to publish to O(subject). Without the right to read the stream, it can't
        predict other refusals either.
  diff_mode:
    support: full
  idempotent:
    support: partial
    details: >-
      Deletions, purges and schedules are. Publishing is with O(msg_id), within the stream's duplicate window.
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

- name: Publish only if no other client has since
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

- name: Publish a reminder later
  choria.streams.choria_stream_message:
    subject: later.schedules.reminder
    data: renew the licence
    schedule:
      at: "2126-01-01T09:00:00Z"
      target: later.reminders

- name: Increment a counter
  choria.streams.choria_stream_message:
    subject: counts.deployments
    increment: 1
  register: deployments

- name: Store both or none, if the first subject is unchanged
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

- name: Delete the published messages
  choria.streams.choria_stream_message:
    stream: ORDERS
    sequences: "{{ many.messages | map(attribute='sequence') }}"
    state: absent

- name: Delete a message
  choria.streams.choria_stream_message:
    stream: ORDERS
    sequence: "{{ placed.message.sequence }}"
    state: absent

- name: Show how many messages a purge would delete
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
    With O(state=present), the stored message, or an earlier one with the same O(msg_id). Null if it was deleted.
  returned: success, and O(state) is V(present) or V(absent)
  type: dict
  contains:
    stream:
      description: The stream that stored it; null in check mode without the right to search for it.
      type: str
      sample: ORDERS
    subject:
      description: Its subject.
      type: str
      sample: orders.new
    sequence:
      description: >-
        Its number in the stream; in check mode the next one, null without the right to read it.
      type: int
      sample: 1
    time:
      description: >-
        When it was stored, RFC 3339 UTC. Null in check mode, without the right to read it back, and with
        O(atomic=false) except for duplicates.
      type: str
      sample: "2026-03-01T12:00:00.123456789Z"
    headers:
      description: Its headers.
      type: dict
      sample: {Nats-Msg-Id: order-1}
    data:
      description: Its payload, in the form RV(message.encoding).
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
    - The messages in the order of O(messages), each as RV(message). RV(message) is then the last one.
    - With O(atomic=false) it is also returned if some are refused. These have no sequence number, and C(failure), which
      is RV(failure) and C(msg).
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
      description: The number before, null if there was none.
      type: int
      sample: 1
    after:
      description: The number after, null if there is none.
      type: int
      sample: 1
    effect:
      description: V(create) or V(delete).
      type: str
      sample: create
consequences:
  description: The losses by the change.
  returned: success
  type: dict
  contains:
    messages_lost:
      description: How many messages; null if a C(Nats-Rollup) deletes an unknown number.
      type: int
      sample: 0
    consumers_lost:
      description: Always 0.
      type: int
      sample: 0
failure:
  description:
    - The machine-readable part of an error. C(code) is its kind, such as V(option), V(no_stream), V(wrong_last),
      V(full), V(data_loss), V(permission) or V(api). The guide Troubleshooting in C(docs/troubleshooting.md) lists all
      codes.
    - C(option) is the option to change, where it is one. It names the item of a list, such as V(messages[3].subject).
      With V(wrong_last), C(found) is the actual value in place of the expected one; null if it is unknown. C(err_code)
      is JetStream's number of the error, where the server refused.
  returned: failure
  type: dict
  sample: {code: no_stream, option: expected_last_subject_sequence, found: 2, err_code: 10074}
"""

from ansible_collections.choria.streams.plugins.module_utils._module import run_action
from ansible_collections.choria.streams.plugins.module_utils._operations.messages.messages import SPEC, act


def main() -> None:
    """Run the module."""
    run_action(SPEC, act)


if __name__ == "__main__":
    main()
