# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read messages of a stream."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: choria_stream_message_info
version_added: 1.0.0
short_description: Read messages of a stream of Choria Streams
description:
  - Returns messages of a stream, the oldest first. It never writes, and creates no consumer.
  - Without O(sequence), O(start_sequence), O(since), O(last) and O(limit) it returns only the last message.
  - It reads on the managed host; P(choria.streams.choria_stream#lookup) reads the same on the controller.
author:
  - The choria.streams developers (@choria-io)
options:
  stream:
    description: The stream.
    type: str
    required: true
  encoding:
    description:
      - The format of payloads. V(text) is UTF-8 text, V(json) is parsed, and V(base64) returns any bytes as base64.
      - A payload in another format is an error.
    type: str
    choices: [text, json, base64]
    default: text
extends_documentation_fragment:
  - choria.streams.messages
  - choria.streams.connection
  - choria.streams.attributes
  - choria.streams.attributes.info
seealso:
  - module: choria.streams.choria_stream_message
  - plugin: choria.streams.choria_stream
    plugin_type: lookup
"""

EXAMPLES = r"""
---
- name: A stream
  choria.streams.choria_stream:
    name: ORDERS
    subjects: [orders.>]

- name: A message in it
  choria.streams.choria_stream_message:
    subject: orders.new
    data: one bicycle

- name: Read the last message
  choria.streams.choria_stream_message_info:
    stream: ORDERS
  register: newest

- name: Read a message by its number
  choria.streams.choria_stream_message_info:
    stream: ORDERS
    sequence: "{{ newest.messages[0].sequence }}"

- name: Read the messages of the last hour on some subjects, at most a hundred
  choria.streams.choria_stream_message_info:
    stream: ORDERS
    subject: orders.*
    since: 1h
    limit: 100
"""

RETURN = r"""
---
messages:
  description: The messages, the oldest first; an empty list if there are none.
  returned: success
  type: list
  elements: dict
  contains:
    stream:
      description: The stream.
      type: str
      sample: ORDERS
    subject:
      description: The message's subject.
      type: str
      sample: orders.new
    sequence:
      description: Its number in the stream.
      type: int
      sample: 1
    time:
      description: When it was stored, RFC 3339 UTC.
      type: str
      sample: "2026-03-01T12:00:00.123456789Z"
    headers:
      description: Its headers.
      type: dict
      sample: {Nats-Msg-Id: order-1}
    data:
      description: Its payload, in the form O(encoding).
      type: raw
      sample: {article: Fahrrad, count: 1}
failure:
  description:
    - The machine-readable part of an error. C(code) is its kind, such as V(option), V(no_stream), V(encoding),
      V(too_many), V(permission) or V(api). The guide Troubleshooting in C(docs/troubleshooting.md) lists all codes.
    - C(option) is the option to change, where it is one.
  returned: failure
  type: dict
  sample: {code: option, option: name}
"""

from ansible_collections.choria.streams.plugins.module_utils._module import run_info
from ansible_collections.choria.streams.plugins.module_utils._operations.messages.selection import READ, read


def main() -> None:
    """Run the module."""
    run_info(READ, "messages", read)


if __name__ == "__main__":
    main()
