# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Back up a stream or a bucket."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: choria_backup
version_added: 1.0.0
short_description: Back up a stream or a bucket of Choria Streams
description:
  - >-
    Writes a stream, with its messages, its configuration and its consumers, into a folder of its own below O(path) on
    the managed host, reads it back, and removes the oldest backups where O(keep) says so.
  - >-
    The layout is that of the C(nats) CLI, so that C(nats stream restore) and C(choria broker stream restore) take it. A
    file C(manifest.json) beside it tells size and SHA-256 of each file.
  - M(choria.streams.choria_restore) brings it back, M(choria.streams.choria_backup_info) looks at what there is.
author:
  - The choria.streams developers (@choria-io)
options:
  stream:
    description: The stream. Either this, O(bucket) or O(streams) is needed.
    type: str
  bucket:
    description: The bucket, with all revisions of its keys. Left out where O(stream) or O(streams) is set.
    type: str
  streams:
    description:
      - >-
        Several streams, by names and patterns as of a shell, such as V(ORDERS), V(KV_*) for all buckets, or V(*) for
        all streams of the account. A pattern that matches no stream fails.
      - >-
        Each stream has a backup of its own. A file such as V(set-20261124T031500.123Z.json) beside them names those
        that belong together, and M(choria.streams.choria_restore) takes it as its O(path).
      - Left out where O(stream) or O(bucket) is set.
    type: list
    elements: str
  path:
    description:
      - The folder for backups on the managed host. It is made, for its owner alone, where it does not exist.
      - Each backup is a folder in it, such as V(ORDERS-20261124T031500.123Z), for its owner alone too.
    type: path
    required: true
  keep:
    description:
      - How many backups of this stream are kept, this one among them. Without it all are.
      - >-
        Older ones are removed when the new one is written and verified. The ones that are kept are verified too, and
        a broken one does not count. What has no manifest of this stream is never removed.
    type: int
  consumers:
    description: Whether the consumers are a part of it, with the places up to which they have acknowledged.
    type: bool
    default: true
  check_messages:
    description:
      - Have the server check each message before it begins, which reads all of the stream.
      - Since nats-server 2.15 it checks them on their way in any case.
    type: bool
    default: false
  force:
    description: Make a backup even where the newest one is of the same.
    type: bool
    default: false
extends_documentation_fragment:
  - choria.streams.connection
  - choria.streams.attributes
attributes:
  check_mode:
    support: full
    details: Nothing is written, neither to disk nor to the server, and no snapshot is taken.
  diff_mode:
    support: full
    details: Shows the backups that are made and removed.
  idempotent:
    support: full
    details: >-
      Where the newest verified backup is of the same messages, configuration and places of consumers, there is nothing
      to do, unless O(force) is set.
notes:
  - Memory does not grow with the size of the stream.
  - >-
    A run that was interrupted leaves at most a folder whose name begins with a dot, which is no backup, and which the
    next run removes.
  - Streams in memory can be backed up since nats-server 2.15.
seealso:
  - module: choria.streams.choria_restore
  - module: choria.streams.choria_backup_info
"""

EXAMPLES = r"""
---
- name: A stream to back up
  choria.streams.choria_stream:
    name: ORDERS
    subjects: [orders.>]

- name: Back it up, and keep the newest seven backups
  choria.streams.choria_backup:
    stream: ORDERS
    path: ~/backups
    keep: 7
  register: done

- name: Show where it is
  ansible.builtin.debug:
    msg: "{{ done.backup.messages }} messages in {{ done.backup.path }}, SHA-256 {{ done.backup.sha256 }}"

- name: A bucket to back up
  choria.streams.choria_kv_bucket:
    name: CFG
    history: 5

- name: Back up a bucket
  choria.streams.choria_backup:
    bucket: CFG
    path: ~/backups

- name: Back up all streams and buckets of the account
  choria.streams.choria_backup:
    streams: ["*"]
    path: ~/backups
"""

RETURN = r"""
---
backup:
  description: >-
    The backup that was made, or the newest one where there was nothing to do; null in check mode where one would be
    made, and with O(streams).
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
backups:
  description: The same of each stream, but for those that check mode would make. The keys are those of RV(backup).
  returned: success
  type: list
  elements: dict
  sample: [{"path": /srv/backups/ORDERS-20260301T120000.123Z, "stream": ORDERS, "messages": 1200, "verified": true}]
set:
  description: >-
    The file that names the backups of several streams. It is written where they are not those of the newest one; null
    in check mode where it would be.
  returned: when O(streams) is given
  type: str
  sample: /srv/backups/set-20260301T120000.123Z.json
removed:
  description: >-
    The paths of the backups that were removed, or in check mode would be, and of sets to which one of them belonged.
  returned: success
  type: list
  elements: str
  sample: [/srv/backups/ORDERS-20260201T120000.456Z]
changes:
  description: What changes, or in check mode what would change.
  returned: success
  type: list
  elements: dict
  contains:
    field:
      description: Always V(backup).
      type: str
      sample: backup
    before:
      description: The path of the backup that is removed, or of the newest one before.
      type: str
      sample: /srv/backups/ORDERS-20260228T120000.789Z
    after:
      description: The path of the new one, null in check mode and for one that is removed.
      type: str
      sample: /srv/backups/ORDERS-20260301T120000.123Z
    effect:
      description: V(create) or V(delete).
      type: str
      sample: create
failure:
  description: The machine-readable part of an error.
  returned: failure
  type: dict
  contains:
    code:
      description: >-
        The kind of the error, such as V(option), V(no_stream), V(folder), V(disk_full), V(memory_storage), V(stalled),
        V(permission) or V(api). The guide Troubleshooting in C(docs/troubleshooting.md) lists all codes.
      type: str
      sample: no_stream
    option:
      description: The option to change, where it is one.
      type: str
      sample: stream
    err_code:
      description: JetStream's number of the error, where the server refused.
      type: int
      sample: 10074
"""

from ansible_collections.choria.streams.plugins.module_utils._module import run_action
from ansible_collections.choria.streams.plugins.module_utils._operations.backup.backup import BACKUP, backup


def main() -> None:
    """Run the module."""
    run_action(BACKUP, backup)


if __name__ == "__main__":
    main()
