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
    description: The streams to read. If not set, all are read. Streams that do not exist are left out.
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
- name: Read a stream
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
failure:
  description:
    - The machine-readable part of an error. C(code) is its kind, such as V(option), V(unreachable), V(permission),
      V(data_loss), V(update_refused) or V(api). The guide Troubleshooting in C(docs/troubleshooting.md) lists all
      codes.
    - C(option) is the option to change, where it is one. C(err_code) is JetStream's number of the error, where the
      server refused.
  returned: failure
  type: dict
  sample: {code: no_api, option: name, err_code: 10074}
"""

from functools import partial

from ansible_collections.choria.streams.plugins.module_utils._module import run_info
from ansible_collections.choria.streams.plugins.module_utils._resources import info
from ansible_collections.choria.streams.plugins.module_utils._resources.stream import table


def main() -> None:
    """Run the module."""
    run_info(info.NAMES, "streams", partial(info.shown, table.SPEC, "", table.result))


if __name__ == "__main__":
    main()
