# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""List and check backups."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: choria_backup_info
version_added: 1.0.0
short_description: List and verify backups of Choria Streams
description:
  - Lists the backups in a folder on the managed host, and verifies that they have not changed since they were written.
  - The module reads them completely. It makes no connection, and needs only Python.
author:
  - The choria.streams developers (@choria-io)
options:
  path:
    description:
      - A folder with backups of M(choria.streams.choria_backup), or a single backup.
      - Backups of the C(nats) CLI and folders of C(nats account backup) are also read. They have no SHA-256, so less
        can be verified.
    type: path
    required: true
  stream:
    description: Only backups of this stream. All streams if not set.
    type: str
  bucket:
    description: Only backups of this bucket. All buckets if not set.
    type: str
extends_documentation_fragment:
  - choria.streams.attributes
  - choria.streams.attributes.info
notes:
  - No connection is made, so there are no connection options, and nats-py is not needed. The module belongs to the
    action group C(group/choria.streams.config).
seealso:
  - module: choria.streams.choria_backup
  - module: choria.streams.choria_restore
"""

EXAMPLES = r"""
---
- name: A stream to back up
  choria.streams.choria_stream:
    name: ORDERS
    subjects: [orders.>]

- name: Back it up
  choria.streams.choria_backup:
    stream: ORDERS
    path: ~/backups

- name: Read its backups
  choria.streams.choria_backup_info:
    path: ~/backups
    stream: ORDERS
  register: found

- name: Fail where one is broken
  ansible.builtin.assert:
    that: found.backups | rejectattr('verified') | length == 0

- name: Show the newest one
  ansible.builtin.debug:
    msg: "{{ found.backups[0].path }} has {{ found.backups[0].messages }} messages"
"""

RETURN = r"""
---
backups:
  description: The backups, the newest first.
  returned: success
  type: list
  elements: dict
  contains:
    path:
      description: Its folder.
      type: str
      sample: /srv/backups/ORDERS-20260301T120000.123Z
    stream:
      description: The stream of the backup; null if that is unknown.
      type: str
      sample: ORDERS
    bucket:
      description: The bucket; null if the stream is not one.
      type: str
      sample: CFG
    created:
      description: When it was written, RFC 3339 UTC; null for backups of the nats CLI.
      type: str
      sample: "2026-03-01T12:00:00.123456789Z"
    size:
      description: The compressed size of the messages in bytes.
      type: int
      sample: 40960
    sha256:
      description: The SHA-256 of the file with the messages; null for backups of the nats CLI.
      type: str
      sample: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
    messages:
      description: How many messages it holds.
      type: int
      sample: 1200
    first_seq:
      description: The sequence number of the oldest message.
      type: int
      sample: 1
    last_seq:
      description: The sequence number of the newest message.
      type: int
      sample: 1200
    consumers:
      description: >-
        The names of its consumers, without those that were active during the backup; null if consumers were left out or
        are unknown.
      type: list
      elements: str
      sample: [WORKERS]
    server_version:
      description: The version of the server; null for backups of the nats CLI.
      type: str
      sample: "2.12.1"
    verified:
      description: Whether it was read, and has not changed since it was written.
      type: bool
      sample: true
    problem:
      description: The fault of the backup; null if there is none.
      type: str
      sample: messages.tar.s2 is shorter than it was
sets:
  description: The files of that folder that name backups of several streams, the newest first.
  returned: success
  type: list
  elements: dict
  contains:
    path:
      description: The path of the file, for M(choria.streams.choria_restore).
      type: str
      sample: /srv/backups/set-20260301T120000.123Z.json
    created:
      description: When it was written, RFC 3339 UTC; null if it can't be read.
      type: str
      sample: "2026-03-01T12:00:00.123Z"
    streams:
      description: The streams that it has a backup of.
      type: list
      elements: str
      sample: [KV_CFG, ORDERS]
    verified:
      description: Whether all of these backups exist, and have not changed since they were written.
      type: bool
      sample: true
    problem:
      description: The fault of the backup; null if there is none.
      type: str
      sample: "ORDERS-20260301T120000.123Z: stream.tar.s2 is missing"
failure:
  description:
    - The machine-readable part of an error. C(code) is its kind, such as V(option), V(folder) or V(broken_backup). The
      guide Troubleshooting in C(docs/troubleshooting.md) lists all codes.
    - C(option) is the option to change, where it is one.
  returned: failure
  type: dict
  sample: {code: option, option: name}
"""

from ansible_collections.choria.streams.plugins.module_utils._module import run_local
from ansible_collections.choria.streams.plugins.module_utils._operations.backup.backup import INFO, backups_of


def main() -> None:
    """Run the module."""
    run_local(INFO, backups_of)


if __name__ == "__main__":
    main()
