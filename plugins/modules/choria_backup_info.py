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
  - Tells which backups a folder on the managed host has, and whether they are still as they were written.
  - It reads all of them, makes no connection, and needs nothing beside Python.
author:
  - The choria.streams developers (@choria-io)
options:
  path:
    description:
      - A folder with backups of M(choria.streams.choria_backup), or a single backup.
      - >-
        A single one may be the C(nats) CLI's, and a folder that of C(nats account backup). What tells their SHA-256 is
        missing then, so that less can be verified.
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
      description: The stream that it is of; null where that can't be told.
      type: str
      sample: ORDERS
    bucket:
      description: The bucket, null where it is none.
      type: str
      sample: CFG
    created:
      description: When it was made, RFC 3339 UTC; null for one that the nats CLI made.
      type: str
      sample: "2026-03-01T12:00:00.123456789Z"
    size:
      description: How many bytes the messages take there, compressed.
      type: int
      sample: 40960
    sha256:
      description: The SHA-256 of that file; null for one that the nats CLI made.
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
        The names of the consumers that it holds, but for those that were at work meanwhile; null where they were left
        out, or where that can't be told.
      type: list
      elements: str
      sample: [WORKERS]
    server_version:
      description: The version of the server that made it; null for one that the nats CLI made.
      type: str
      sample: "2.12.1"
    verified:
      description: Whether it was read, and is as it was written.
      type: bool
      sample: true
    problem:
      description: What is wrong with it, null where nothing is.
      type: str
      sample: messages.tar.s2 is shorter than it was
sets:
  description: The files of that folder that name backups of several streams, the newest first.
  returned: success
  type: list
  elements: dict
  contains:
    path:
      description: The file, which M(choria.streams.choria_restore) takes.
      type: str
      sample: /srv/backups/set-20260301T120000.123Z.json
    created:
      description: When it was made, RFC 3339 UTC; null where it can't be read.
      type: str
      sample: "2026-03-01T12:00:00.123Z"
    streams:
      description: The streams that it has a backup of.
      type: list
      elements: str
      sample: [KV_CFG, ORDERS]
    verified:
      description: Whether all of these backups are there, and are as they were written.
      type: bool
      sample: true
    problem:
      description: What is wrong with it, null where nothing is.
      type: str
      sample: "ORDERS-20260301T120000.123Z: stream.tar.s2 is missing"
failure:
  description: The machine-readable part of an error.
  returned: failure
  type: dict
  contains:
    code:
      description: >-
        The kind of the error, such as V(option), V(folder) or V(broken_backup). The guide Troubleshooting in
        C(docs/troubleshooting.md) lists all codes.
      type: str
      sample: option
    option:
      description: The option to change, where it is one.
      type: str
      sample: name
"""

from ansible_collections.choria.streams.plugins.module_utils._module import run_local
from ansible_collections.choria.streams.plugins.module_utils._operations.backup.backup import INFO, backups_of


def main() -> None:
    """Run the module."""
    run_local(INFO, backups_of)


if __name__ == "__main__":
    main()
