# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Manage many resources at once."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: choria_resources
version_added: 1.0.0
short_description: Declare streams, consumers, buckets, governors and keys of Choria Streams in one document
description:
  - Brings all resources of a document into the desired state. It uses one connection and writes many at a time, so a
    thousand resources take little longer than one.
  - Each item has the options of the module for one such resource. Options that an item leaves out stay as they are.
  - The whole document is checked before anything is written. If a part of it is impossible, the task fails with all
    faults and their places, such as C(streams[3].max_age), and has changed nothing.
  - Items that others need are written first, so the order of items does not matter. If a run was interrupted, run it
    again to finish it.
  - C(invocation) in the result has the number of items of each list, but not the items.
author:
  - The choria.streams developers (@choria-io)
options:
  owner:
    description:
      - The owner of this document. Each stream, consumer, bucket and governor gets a mark with the owner in its
        metadata, under C(choria.streams.owner). An existing one without a mark gets it too, and keeps its other fields.
      - Objects with the mark of another owner are refused, see O(take_over). If O(owner) is not set, nothing is marked.
    type: str
  prune:
    description:
      - Remove the streams, consumers, buckets and governors that have the mark of O(owner) and are not in the document.
      - Objects without this mark are never removed. Nor are keys, or streams that brokers and servers create. Objects
        with data are removed only with O(allow_data_loss).
    type: bool
    default: false
  take_over:
    description: Replace the mark of another owner with that of O(owner).
    type: bool
    default: false
  allow_data_loss:
    description:
      - Whether changes and removals of streams, consumers and buckets may lose data. Items can set their own
        C(allow_data_loss).
      - Overwriting, deleting and purging keys does not need it.
    type: bool
    default: false
  on_error:
    description: What happens if the server refuses an item that the plan did not refuse.
    type: str
    choices:
      stop: Requests that were sent are completed, and no more are sent.
      continue: All items are written that do not depend on a failed one.
    default: stop
extends_documentation_fragment:
  - choria.streams.document.items
  - choria.streams.mask
  - choria.streams.connection
  - choria.streams.attributes
  - choria.streams.attributes.resource
seealso:
  - module: choria.streams.choria_stream
  - module: choria.streams.choria_consumer
  - module: choria.streams.choria_kv_bucket
  - module: choria.streams.choria_governor
  - module: choria.streams.choria_kv
"""

EXAMPLES = r"""
---
- name: Create all objects of the shop
  choria.streams.choria_resources:
    owner: shop
    streams:
      - name: ORDERS
        subjects: ["orders.>"]
        max_age: 30d
      - name: ORDERS_COPY
        mirror: {name: ORDERS}
    consumers:
      - stream: ORDERS
        name: SHIPPING
        filter_subject: orders.paid
        ack_wait: 1m
    kv_buckets:
      - name: SHOP
        history: 5
    governors:
      - name: REINDEX
        capacity: 1
        expire: 1h
    keys:
      - bucket: SHOP
        key: db.host
        value: db1.example.net
      - bucket: SHOP
        key: db.password
        value: example

- name: Show which objects prune would remove
  choria.streams.choria_resources:
    owner: shop
    prune: true
    allow_data_loss: true
    streams:
      - name: ORDERS
  check_mode: true
  diff: true
  register: plan

- name: Show it
  ansible.builtin.debug:
    msg: "{{ plan.resources | selectattr('changed') | map(attribute='name') }}"

- name: Create a bucket for each item of a list
  choria.streams.choria_resources:
    kv_buckets: "{{ dict(names | zip(names)) | dict2items(key_name='name', value_name='description') }}"
  vars:
    names: "{{ range(3) | map('regex_replace', '^', 'SITE_') }}"
"""

RETURN = r"""
---
resources:
  description: The items in the order of the document, list by list, then the pruned ones.
  returned: success, and when some failed while they were written
  type: list
  elements: dict
  contains:
    kind:
      description: V(stream), V(consumer), V(kv_bucket), V(governor) or V(key).
      type: str
      sample: stream
    name:
      description: Its name. For a key it is C(bucket/key), for a consumer C(stream/name).
      type: str
      sample: SHOP/db.host
    changed:
      description: Whether it was changed, or in check mode would be.
      type: bool
      sample: true
    action:
      description: What is done, V(none), V(create), V(update), V(delete), V(copy) or V(recreate).
      type: str
      sample: update
    changes:
      description: The changes, as the module for one such resource returns them. Left out without a change.
      type: list
      elements: dict
      sample: [{field: max_age, before: 0, after: 604800, effect: in place}]
    consequences:
      description: The losses, as the module for one such resource returns them. Left out without a change.
      type: dict
      sample: {messages_lost: 0, consumers_lost: 0}
    failure:
      description: Why it failed or was not tried, with C(message), C(code) and more. Left out if it did not fail.
      type: dict
      sample: {code: update_refused, option: storage}
summary:
  description: How many items there are of each outcome.
  returned: success, and when some failed while they were written
  type: dict
  contains:
    created:
      description: The number of created items.
      type: int
      sample: 2
    updated:
      description: The number of changed items.
      type: int
      sample: 1
    deleted:
      description: The number of deleted items.
      type: int
      sample: 0
    unchanged:
      description: The number of unchanged items.
      type: int
      sample: 12
    failed:
      description: The number of items that failed or were not tried.
      type: int
      sample: 0
consequences:
  description: The losses by all changes together; null if some are lost and their number is unknown.
  returned: success, and when some failed while they were written
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
    revisions_lost:
      description: How many old revisions of keys.
      type: int
      sample: 0
    messages_redelivered:
      description: The maximum number of messages that consumers get again. Left out without consumers.
      type: int
      sample: 0
    messages_skipped:
      description: The number of unprocessed messages of removed consumers. Left out without consumers.
      type: int
      sample: 0
    at_least:
      description: True if more messages may be lost than could be counted, else left out.
      type: bool
      sample: false
failure:
  description:
    - The machine-readable part of an error. C(code) is its kind, such as V(document) where nothing was written,
      V(unfinished) where RV(resources) has the result of each item, V(unreachable) or V(permission). The guide
      Troubleshooting in C(docs/troubleshooting.md) lists all codes.
    - With V(document), C(problems) lists all faults. Each has C(path), C(message), C(code) and more.
  returned: failure
  type: dict
  sample: {code: document, problems: [{path: 'streams[0]', message: 'name: is needed', code: option}]}
"""

from ansible_collections.choria.streams.plugins.module_utils._module_document import run_document
from ansible_collections.choria.streams.plugins.module_utils._resources.document import model
from ansible_collections.choria.streams.plugins.module_utils._resources.document.report import ensure


def main() -> None:
    """Run the module."""
    run_document(model.SPEC, model.KINDS, model.Document.of, ensure)


if __name__ == "__main__":
    main()
