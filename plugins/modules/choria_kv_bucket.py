# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Manage a key-value bucket."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: choria_kv_bucket
version_added: 1.0.0
short_description: Declare a key-value bucket of Choria Streams
description:
  - Creates, updates and deletes buckets. C(choria kv), autonomous agents and all NATS clients use the same buckets.
  - All options except O(storage) and O(mirror) can be changed in place, also O(replicas).
  - Changes of other tools to the stream behind a bucket, such as a limit of messages, are undone. A limit of consumers
    can be removed only by nats-server 2.12 or newer.
seealso:
  - module: choria.streams.choria_kv_bucket_info
  - module: choria.streams.choria_kv
  - module: choria.streams.choria_kv_sync
  - module: choria.streams.choria_resources
  - plugin: choria.streams.choria_kv
    plugin_type: lookup
author:
  - The choria.streams developers (@choria-io)
options:
  name:
    description: The bucket's name, made of letters, digits, V(_) and V(-).
    type: str
    required: true
  history:
    description: >-
      How many values of each key are kept, 1 to 64. 1 for a new bucket. Lowering it deletes old values. A bucket of
      another tool with a higher number can keep it.
    type: int
  ttl:
    description: How long values live, as seconds or text such as V(20m), 0 for ever. For ever in a new bucket.
    type: str
  max_value_size:
    description: >-
      How large a value may be, as bytes or text such as V(10KiB), -1 for no limit. No limit for a new bucket.
    type: str
  max_bucket_size:
    description: >-
      How large the bucket may become, as bytes or text such as V(1GiB), -1 for no limit. No limit for a new bucket.
    type: str
  compression:
    description: Whether values are compressed on disk. Off for a new bucket.
    type: bool
  allow_direct:
    description:
      - Whether all servers that have a copy answer reads of keys, and not only the leader. That is faster, and may
        return a value that was replaced a moment ago. On for a new bucket, as with C(choria kv add).
    type: bool
  limit_marker_ttl:
    description:
      - Let keys have their own lifetimes. When a key expires, its marker stays for this long.
      - Needs nats-server 2.11. Keys may keep their own lifetimes when it is turned off again. Off for a new bucket.
    type: str
  compact:
    description:
      - Permanently remove the keys that were deleted longer ago than this, as seconds or text such as V(30m), V(0) for
        all deleted keys. This removes their markers, which otherwise stay, and their old values.
      - If there are old values, this needs O(allow_data_loss). A key that is written again meanwhile stays.
      - Clients that watch the bucket and were disconnected for longer do not receive these deletions.
      - Nothing is removed if not set.
    type: str
extends_documentation_fragment:
  - choria.streams.stream
  - choria.streams.stream.data
  - choria.streams.connection
  - choria.streams.attributes
  - choria.streams.attributes.resource
"""

EXAMPLES = r"""
---
- name: A bucket for configuration, with five values of each key
  choria.streams.choria_kv_bucket:
    name: CFG
    history: 5

- name: Create a bucket whose keys expire after twenty minutes
  choria.streams.choria_kv_bucket:
    name: SESSIONS
    ttl: 20m
    max_value_size: 10KiB
    max_bucket_size: 64MiB
    limit_marker_ttl: 1m

- name: A bucket that collects the keys below app of another one, and what sensors publish
  choria.streams.choria_kv_bucket:
    name: ALL
    sources:
      - name: CFG
        filter_subject: app.>
      - name: SENSORS  # a stream
        subject_transforms:
          - src: sensors.>
            dest: $KV.ALL.sensors.>

- name: Remove the markers of keys that were deleted more than a day ago
  choria.streams.choria_kv_bucket:
    name: CFG
    compact: 1d
    allow_data_loss: true

- name: Delete the bucket with its keys
  choria.streams.choria_kv_bucket:
    name: SESSIONS
    state: absent
    allow_data_loss: true
"""

RETURN = r"""
---
bucket:
  description: The bucket as it is now, or in check mode as it would be; null if it is absent.
  returned: success
  type: dict
  contains:
    name:
      description: Its name.
      type: str
      sample: CFG
    stream:
      description: The name of the stream behind it.
      type: str
      sample: KV_CFG
    history:
      description: >-
        How many values of each key are kept. All the other options of the module are there as well, under their names,
        with seconds and bytes as numbers.
      type: int
      sample: 5
    value_count:
      description: How many values there are, with their history and the marks of deleted keys.
      type: int
      sample: 2
    key_count:
      description: How many keys there are, deleted ones with their marks among them.
      type: int
      sample: 3
    revision:
      description: >-
        The number of the last write to the bucket, for the option O(choria.streams.choria_kv#lookup:as_of) of the
        lookup.
      type: int
      sample: 17
    bytes:
      description: How large it is.
      type: int
      sample: 412
    created:
      description: When it was created, RFC 3339 UTC; null in check mode before it is created.
      type: str
      sample: "2026-03-01T12:00:00.123456789Z"
    cluster:
      description: The servers that store it.
      type: dict
      contains:
        name:
          description: The cluster, null on a single server.
          type: str
          sample: streams
        leader:
          description: The server that leads, null if there is none yet.
          type: str
          sample: broker1
        replicas:
          description: The other copies, each with C(name), C(current), C(lag) in operations and C(offline).
          type: list
          elements: dict
          sample: [{name: broker2, current: true, lag: 0, offline: false}]
    origins:
      description: >-
        What it copies from: the origin of a mirror, or each source. Empty for others, and in check mode before it is
        made.
      type: list
      elements: dict
      contains:
        name:
          description: The name of the stream.
          type: str
          sample: KV_CFG
        api:
          description: The prefix of the API of another domain or account, null for this one.
          type: str
          sample: $JS.london.API
        lag:
          description: How many messages of it are not here yet.
          type: int
          sample: 0
        active:
          description: How many seconds ago it was heard of, null for never.
          type: float
          sample: 0.024
        error:
          description: Why the server copies nothing from it, null where it says nothing.
          type: str
          sample: stream not found
    server:
      description: >-
        The server's C(version) and API C(level) when it last saw this stream, and the C(required_level) of its
        features. Each is null before that, and with nats-server 2.10.
      type: dict
      sample: {version: "2.12.1", level: 2, required_level: 0}
changes:
  description: What changes, or in check mode what would change.
  returned: success
  type: list
  elements: dict
  contains:
    field:
      description: The option, V(deleted_keys) with O(compact), or the server's field where no option sets it.
      type: str
      sample: history
    before:
      description: The value before, null if there was none. Seconds and bytes are numbers.
      type: raw
      sample: 1
    after:
      description: The value after, null if there is none.
      type: raw
      sample: 5
    effect:
      description: >-
        V(create), V(delete), V(in place) or V(recreate). In RV(failure) also V(refused) and V(without effect).
      type: str
      sample: in place
consequences:
  description: What the change loses, counted from the live state. Also part of RV(failure) where that is refused.
  returned: success
  type: dict
  contains:
    messages_lost:
      description: How many messages.
      type: int
      sample: 0
    consumers_lost:
      description: How many consumers.
      type: int
      sample: 0
    at_least:
      description: >-
        Whether it may be more messages than RV(consequences.messages_lost), because more than 10,000 or 64 MiB had to
        be read to count them, or the user may not read them.
      returned: when it may be more
      type: bool
      sample: false
    irreversible:
      description: The changed fields that can't be changed back.
      returned: when there are some
      type: list
      elements: str
      sample: [sealed]
    steps:
      description: The steps in their order, without those that an earlier run has finished.
      returned: when it is copied
      type: list
      elements: str
      sample: [copy ORDERS into a new stream, delete ORDERS, copy it back]
    consumers_recreated:
      description: The consumers that are created again, and continue at their positions.
      returned: when it is copied
      type: list
      elements: str
      sample: [WORKERS]
failure:
  description:
    - The machine-readable part of an error. C(code) is its kind, such as V(option), V(unreachable), V(permission),
      V(data_loss), V(update_refused) or V(api). The guide Troubleshooting in C(docs/troubleshooting.md) lists all
      codes.
    - C(option) is the option to change, where it is one. C(err_code) is JetStream's number of the error, where the
      server refused or would refuse. C(changes) is as RV(changes), where an update is refused. The refused ones have
      the server's C(err_code) too.
  returned: failure
  type: dict
  sample:
    code: option
    option: allow_data_loss
    err_code: 10055
    changes: [{field: storage, before: file, after: memory, effect: refused, err_code: 10052}]
"""

from ansible_collections.choria.streams.plugins.module_utils._module_resource import run_resource
from ansible_collections.choria.streams.plugins.module_utils._resources.kv.compaction import KV_BUCKET


def main() -> None:
    """Run the module."""
    run_resource(KV_BUCKET)


if __name__ == "__main__":
    main()
