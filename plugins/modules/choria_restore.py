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
  - >-
    Brings a backup back as it was, with sequence numbers, times, configuration and consumers, and compares what the
    server then has with what the backup tells.
  - >-
    It takes what M(choria.streams.choria_backup), C(nats stream backup) or C(choria broker stream backup) made. The
    backup is verified before anything is sent.
  - A stream that exists is never overwritten.
author:
  - The choria.streams developers (@choria-io)
options:
  path:
    description:
      - >-
        The folder of one backup on the managed host, as RV(choria.streams.choria_backup#module:backup.path) and
        RV(choria.streams.choria_backup_info#module:backups[].path) tell it.
      - >-
        For several streams the file that RV(choria.streams.choria_backup#module:set) names, or with O(streams) a folder
        with backups, also one of C(nats account backup).
    type: path
    required: true
  streams:
    description:
      - Restore several streams, by names and patterns as of a shell, such as V(ORDERS), V(KV_*) or V(*).
      - >-
        Of a folder that is the newest backup of each, of a set by default all. Nothing is written where one of them
        can't be restored.
      - Not with O(stream), O(bucket) and O(subjects).
    type: list
    elements: str
  stream:
    description:
      - The name of the stream to restore it as. Without it the name is that of the backup.
      - >-
        What servers before nats-server 2.15 backed up takes another name by way of a mirror, for which the old name has
        to be free, and the server to be 2.12 or newer. Consumers then have to be left out.
    type: str
  bucket:
    description:
      - The name of the bucket to restore a bucket as. Its keys get that name too, with their revisions and times.
      - It goes by way of a mirror, for which the server has to be 2.12 or newer.
      - Not with O(stream) and O(subjects). If it is not set, the name is that of the backup, or O(stream).
    type: str
  subjects:
    description:
      - The subjects to which the stream listens from then on. Without it they are those of the backup.
      - Messages keep the subjects that they were stored with.
    type: list
    elements: str
  replicas:
    description: How many servers hold the stream. Without it as many as in the backup.
    type: int
  consumers:
    description: >-
      Whether the consumers come back too. Otherwise they are removed at once, which is refused for a stream with
      retention V(interest).
    type: bool
    default: true
extends_documentation_fragment:
  - choria.streams.connection
  - choria.streams.attributes
attributes:
  check_mode:
    support: full
    details: The backup is verified, what the server has is read, and what would be refused is.
  diff_mode:
    support: full
  idempotent:
    support: full
    details: >-
      Where the stream is the very one of the backup, there is nothing to do, also when its oldest messages became too
      old since. One from which messages were deleted, or taken by consumers, is another one.
notes:
  - Memory does not grow with the size of the backup.
  - >-
    The server sees to the age of messages as ever, so that those which are too old by now are gone at once;
    RV(stream.expired) counts them.
  - >-
    When the leader of the stream dies in the middle, the restore begins again, up to three times. A stream that
    somebody else creates meanwhile is left as it is, and the task fails.
  - >-
    A restore that is interrupted may leave a part of the stream on servers since nats-server 2.15. The next run then
    refuses, since there is a stream, which has to be deleted first.
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

- name: Look at yesterday's messages beside today's
  choria.streams.choria_restore:
    path: "{{ done.backup.path }}"
    stream: ORDERS_YESTERDAY
    subjects: [yesterday.orders.>]

- name: Lose it
  choria.streams.choria_stream:
    name: ORDERS
    state: absent

- name: Bring it back
  choria.streams.choria_restore:
    path: "{{ done.backup.path }}"

- name: Bring back several streams from the newest backups of a folder
  choria.streams.choria_restore:
    path: ~/backups
    streams: [ORD*]

- name: Find the newest backup
  choria.streams.choria_backup_info:
    path: ~/backups
    stream: ORDERS
  register: found

- name: See whether it is what the server has
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
  description: The stream as it is, or in check mode as it would be; null where several are restored.
  returned: success
  type: dict
  contains:
    name:
      description: Its name.
      type: str
      sample: ORDERS
    bucket:
      description: The name of the bucket, null where it is none.
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
      description: >-
        The names of its consumers; null in check mode where the backup does not tell.
      type: list
      elements: str
      sample: [WORKERS]
    expired:
      description: >-
        How many messages of the backup were gone at once, since they were too old, or consumers had taken them.
      type: int
      sample: 0
backup:
  description: The backup; null where several are restored.
  returned: success
  type: dict
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
  description: The machine-readable part of an error.
  returned: failure
  type: dict
  contains:
    code:
      description: >-
        The kind of the error, such as V(option), V(broken_backup), V(exists), V(subjects_overlap), V(format),
        V(rename), V(stalled), V(permission) or V(api). The guide Troubleshooting in C(docs/troubleshooting.md) lists
        all codes.
      type: str
      sample: broken_backup
    option:
      description: The option to change, where it is one.
      type: str
      sample: path
    err_code:
      description: JetStream's number of the error, where the server refused.
      type: int
      sample: 10074
"""

from ansible_collections.choria.streams.plugins.module_utils._module import run_action
from ansible_collections.choria.streams.plugins.module_utils._operations.backup.restore import RESTORE, restore


def main() -> None:
    """Run the module."""
    run_action(RESTORE, restore)


if __name__ == "__main__":
    main()
