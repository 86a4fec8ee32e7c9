# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restore a stream or a bucket."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: choria_restore
version_added: 1.0.0
short_description: Restore a stream or a bucket of Choria Streams
description:
  - Restores a backup with sequence numbers, times, configuration and consumers, and compares the result on the server
    with the backup.
  - It accepts backups of M(choria.streams.choria_backup), C(nats stream backup) and C(choria broker stream backup). The
    backup is verified before anything is sent.
  - An existing stream is never overwritten.
author:
  - The choria.streams developers (@choria-io)
options:
  path:
    description:
      - The folder of one backup on the managed host, as RV(choria.streams.choria_backup#module:backup.path) and
        RV(choria.streams.choria_backup_info#module:backups[].path) return it.
      - For several streams the file that RV(choria.streams.choria_backup#module:set) names, or with O(streams) a folder
        with backups, also one of C(nats account backup).
    type: path
    required: true
  streams:
    description:
      - Restore several streams, by names and shell patterns such as V(ORDERS), V(KV_*) or V(*).
      - From a folder, the newest backup of each is restored. From a set, all streams are restored by default. Nothing
        is written if one of them can't be restored.
      - Not with O(stream), O(bucket) and O(subjects).
    type: list
    elements: str
  stream:
    description:
      - The name of the restored stream. If not set, it is the name in the backup.
      - Backups of servers before nats-server 2.15 get another name through a mirror. Then the old name has to be free,
        the server has to be nats-server 2.12 or newer, and consumers have to be left out.
    type: str
  bucket:
    description:
      - The name of the restored bucket. Its keys keep their revisions and times.
      - Another name is restored through a mirror, which needs nats-server 2.12 or newer.
      - Not with O(stream) and O(subjects). If it is not set, the name is that of the backup, or O(stream).
    type: str
  subjects:
    description:
      - The subjects of the restored stream. If not set, they are those of the backup.
      - Messages keep the subjects with which they were stored.
    type: list
    elements: str
  replicas:
    description: How many servers hold the stream. If not set, as many as in the backup.
    type: int
  consumers:
    description: >-
      Whether consumers are restored too. Otherwise they are removed at once, which is refused for a stream with
      retention V(interest).
    type: bool
    default: true
extends_documentation_fragment:
  - choria.streams.connection
  - choria.streams.attributes
attributes:
  check_mode:
    support: full
    details: The backup is verified and compared with the server, and an impossible restore is refused.
  diff_mode:
    support: full
  idempotent:
    support: full
    details: >-
      If the stream is the same as in the backup, nothing is done, even if its oldest messages have expired since then.
      If messages were deleted, or taken by consumers, it is not the same.
notes:
  - Memory does not grow with the size of the backup.
  - The server deletes messages that are older than C(max_age) at once. RV(stream.expired) counts them.
  - If the leader of the stream fails, the restore begins again, up to three times. If another client creates the stream
    meanwhile, it is not changed, and the task fails.
  - An interrupted restore may leave an incomplete stream on nats-server 2.15 and newer. The next run then fails until
    the stream is deleted.
seealso:
  - module: choria.streams.choria_backup
  - module: choria.streams.choria_backup_info
"""

EXAMPLES = r"""
---
- name: A stream
  choria.streams.choria_stream:
    name: ORDERS
    subjects: [orders.>]

- name: Back it up
  choria.streams.choria_backup:
    stream: ORDERS
    path: ~/backups
  register: done

- name: Restore yesterday's messages to another stream
  choria.streams.choria_restore:
    path: "{{ done.backup.path }}"
    stream: ORDERS_YESTERDAY
    subjects: [yesterday.orders.>]

- name: Delete the stream by mistake
  choria.streams.choria_stream:
    name: ORDERS
    state: absent

- name: Restore the stream
  choria.streams.choria_restore:
    path: "{{ done.backup.path }}"

- name: Restore several streams from the newest backups in a folder
  choria.streams.choria_restore:
    path: ~/backups
    streams: [ORD*]

- name: Find the newest backup
  choria.streams.choria_backup_info:
    path: ~/backups
    stream: ORDERS
  register: found

- name: Compare the backup with the stream on the server
  choria.streams.choria_restore:
    path: "{{ found.backups[0].path }}"
  check_mode: true
"""

RETURN = r"""
---
streams:
  description: Several streams, as they are or in check mode would be. The keys are those of RV(stream).
  returned: when several are restored
  type: list
  elements: dict
  sample: [{"name": ORDERS, "messages": 1200, "first_seq": 1, "last_seq": 1200}]
backups:
  description: Their backups. The keys are those of RV(backup).
  returned: when several are restored
  type: list
  elements: dict
  sample: [{"path": /srv/backups/ORDERS-20260301T120000.123Z, "stream": ORDERS, "verified": true}]
stream:
  description: The stream as it is, or in check mode as it would be; null if several are restored.
  returned: success
  type: dict
  contains:
    name:
      description: Its name.
      type: str
      sample: ORDERS
    bucket:
      description: The name of the bucket; null if the stream is not one.
      type: str
      sample: CFG
    subjects:
      description: The subjects to which it listens.
      type: list
      elements: str
      sample: ["orders.>"]
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
      description: The names of its consumers; null in check mode if the backup does not have them.
      type: list
      elements: str
      sample: [WORKERS]
    expired:
      description: >-
        How many messages of the backup were deleted at once, since they had expired, or consumers had taken them.
      type: int
      sample: 0
backup:
  description: The backup; null if several are restored.
  returned: success
  type: dict
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
changes:
  description: What changes, or in check mode what would change.
  returned: success
  type: list
  elements: dict
  contains:
    field:
      description: Always V(stream).
      type: str
      sample: stream
    before:
      description: Always null, since no stream is overwritten.
      type: str
      sample: ORDERS
    after:
      description: The name of the stream.
      type: str
      sample: ORDERS
    effect:
      description: Always V(create).
      type: str
      sample: create
failure:
  description:
    - The machine-readable part of an error. C(code) is its kind, such as V(option), V(broken_backup), V(exists),
      V(subjects_overlap), V(format), V(rename), V(stalled), V(permission) or V(api). The guide Troubleshooting in
      C(docs/troubleshooting.md) lists all codes.
    - C(option) is the option to change, where it is one. C(err_code) is JetStream's number of the error, where the
      server refused.
  returned: failure
  type: dict
  sample: {code: broken_backup, option: path, err_code: 10074}
"""

from ansible_collections.choria.streams.plugins.module_utils._module import run_action
from ansible_collections.choria.streams.plugins.module_utils._operations.backup.restore import RESTORE, restore


def main() -> None:
    """Run the module."""
    run_action(RESTORE, restore)


if __name__ == "__main__":
    main()
