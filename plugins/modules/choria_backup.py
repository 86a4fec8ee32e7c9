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
  - Writes a stream, with its messages, its configuration and its consumers, into a folder of its own below O(path) on
    the managed host, checks it there, and with O(keep) removes the oldest backups.
  - The layout is that of the C(nats) CLI, so C(nats stream restore) and C(choria broker stream restore) accept it. A
    file C(manifest.json) beside it has the size and SHA-256 of each file.
  - M(choria.streams.choria_restore) restores backups, M(choria.streams.choria_backup_info) lists and verifies them.
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
      - Several streams, by names and shell patterns, such as V(ORDERS), V(KV_*) for all buckets, or V(*) for all
        streams of the account. A pattern that matches no stream fails.
      - Each stream has a backup of its own. A file such as V(set-20261124T031500.123Z.json) beside them names those
        that belong together, and M(choria.streams.choria_restore) takes it as its O(path).
      - Left out where O(stream) or O(bucket) is set.
    type: list
    elements: str
  path:
    description:
      - The folder for backups on the managed host. If it does not exist, it is created, for its owner only.
      - Each backup is a folder in it, such as V(ORDERS-20261124T031500.123Z), for its owner only.
    type: path
    required: true
  keep:
    description:
      - How many backups of this stream are kept, including this one. If not set, all are kept.
      - >-
        Older ones are removed when the new one is written and checked: its length, its archive's frames, and both
        descriptions. Broken ones do not count. A folder without a manifest of this stream is never removed.
      - Older backups are read completely to find broken ones. This is left out if they were written or read within the
        last seven days, and the system reports no change of their files since.
    type: int
  consumers:
    description: Whether to include the consumers, with their positions.
    type: bool
    default: true
  check_messages:
    description:
      - Let the server check each message before it begins, which reads the whole stream.
      - nats-server 2.15 and newer always check messages during the backup.
    type: bool
    default: false
  force:
    description: Write a backup even if the newest one has the same contents.
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
      If the newest verified backup has the same messages, configuration and positions of consumers, nothing is written,
      unless O(force) is set.
notes:
  - Memory does not grow with the size of the stream.
  - An interrupted run leaves at most a folder whose name begins with a dot. It is no backup, and the next run removes
    it.
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
    The new backup, or the newest one if nothing had to be done; null with O(streams), and in check mode if a backup
    would be written.
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
backups:
  description: The backups of all streams, except those that check mode would write. The keys are those of RV(backup).
  returned: success
  type: list
  elements: dict
  sample: [{"path": /srv/backups/ORDERS-20260301T120000.123Z, "stream": ORDERS, "messages": 1200, "verified": true}]
set:
  description: >-
    The file that names the backups of several streams. It is written if they differ from those of the newest set; null
    in check mode if it would be written.
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
      description: The path of the new backup; null in check mode, and for a removed backup.
      type: str
      sample: /srv/backups/ORDERS-20260301T120000.123Z
    effect:
      description: V(create) or V(delete).
      type: str
      sample: create
failure:
  description:
    - The machine-readable part of an error. C(code) is its kind, such as V(option), V(no_stream), V(folder),
      V(disk_full), V(memory_storage), V(stalled), V(permission) or V(api). The guide Troubleshooting in
      C(docs/troubleshooting.md) lists all codes.
    - C(option) is the option to change, where it is one. C(err_code) is JetStream's number of the error, where the
      server refused.
  returned: failure
  type: dict
  sample: {code: no_stream, option: stream, err_code: 10074}
"""

from ansible_collections.choria.streams.plugins.module_utils._module import run_action
from ansible_collections.choria.streams.plugins.module_utils._operations.backup.backup import BACKUP, backup


def main() -> None:
    """Run the module."""
    run_action(BACKUP, backup)


if __name__ == "__main__":
    main()
