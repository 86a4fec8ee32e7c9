# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read streams."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: choria_stream_info
version_added: 1.0.0
short_description: Read streams of Choria Streams
description:
  - Returns the configuration and the state of streams, and never writes.
seealso:
  - module: choria.streams.choria_stream
  - module: choria.streams.choria_consumer_info
  - module: choria.streams.choria_stream_message_info
  - plugin: choria.streams.choria_stream
    plugin_type: lookup
author:
  - The choria.streams developers (@choria-io)
options:
  names:
    description: The streams to read; all where it is left out. Those that do not exist are not in the answer.
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
- name: A stream to look at
  choria.streams.choria_stream:
    name: ORDERS
    subjects: [orders.>]

- name: Read one stream
  choria.streams.choria_stream_info:
    names: [ORDERS]
  register: found

- name: Show how much it holds
  ansible.builtin.debug:
    msg: "{{ found.streams[0].name }} holds {{ found.streams[0].state.messages }} messages"

- name: Read all streams
  choria.streams.choria_stream_info:
"""

RETURN = r"""
---
streams:
  description: A dict for each stream, as RV(choria.streams.choria_stream#module:stream) has it.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The name.
      type: str
      sample: ORDERS
    created:
      description: When it was made, RFC 3339 UTC; null in check mode before it is made.
      type: str
      sample: "2026-03-01T12:00:00.123456789Z"
    state:
      description: What it holds.
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
          description: When the oldest message was stored, RFC 3339 UTC, null where there is none.
          type: str
          sample: "2026-03-01T12:00:00.123456789Z"
        last_seq:
          description: The sequence number of the newest message.
          type: int
          sample: 1200
        last_time:
          description: When the newest message was stored.
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
      sample: no_api
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
from ansible_collections.choria.streams.plugins.module_utils._resources.info import NAMES
from ansible_collections.choria.streams.plugins.module_utils._resources.stream.info import streams_of


def main() -> None:
    """Run the module."""
    run_info(NAMES, "streams", streams_of)


if __name__ == "__main__":
    main()
