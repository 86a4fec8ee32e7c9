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
  - Brings all that a document lists into the desired state, over one connection and many at a time, so that a thousand
    resources take little longer than one.
  - Each item has the options of the module for one such resource. What an item leaves out stays as it is.
  - The whole document is looked at before anything is written. Where anything can't be as it says, the task fails,
    tells all that is wrong with its place, such as C(streams[3].max_age), and has changed nothing.
  - What other items need is written first, so that the order of items means nothing. A run that was interrupted is
    finished by running it again.
  - C(invocation) in the result has the number of items of each list, and none of them.
author:
  - The choria.streams developers (@choria-io)
options:
  owner:
    description:
      - Whose document this is. Each stream, consumer, bucket and governor gets a mark with the owner in its metadata,
        under C(choria.streams.owner). One that exists without a mark gets it, and keeps what the document does not say.
      - What has another owner's mark is refused, see O(take_over). If O(owner) is not set, nothing is marked.
    type: str
  prune:
    description:
      - Remove the streams, consumers, buckets and governors that have the mark of O(owner) and are not in the document.
      - What has no mark or another owner's is left alone, and so are the streams that brokers and servers make for
        themselves, and keys. What holds data is not removed without O(allow_data_loss).
    type: bool
    default: false
  take_over:
    description: Give what has another owner's mark to O(owner).
    type: bool
    default: false
  allow_data_loss:
    description:
      - >-
        Whether changes and removals of streams, consumers and buckets may lose data, for all that do not say so
        themselves.
      - Keys are written over, deleted and purged as the document says, without asking.
    type: bool
    default: false
  on_error:
    description: What happens when the server refuses an item though the plan was good.
    type: str
    choices:
      stop: What is under way is finished, and nothing else begun.
      continue: All is written that does not need what failed.
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
- name: Everything that the shop needs
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

- name: What would go, if this were the whole document?
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

- name: As many buckets as a list has items
  choria.streams.choria_resources:
    kv_buckets: "{{ dict(names | zip(names)) | dict2items(key_name='name', value_name='description') }}"
  vars:
    names: "{{ range(3) | map('regex_replace', '^', 'SITE_') }}"
"""

RETURN = r"""
---
resources:
  description: The items, as they stand in the document, list by list, then those that are pruned.
  returned: success, and when some failed while they were written
  type: list
  elements: dict
  contains:
    kind:
      description: V(stream), V(consumer), V(kv_bucket), V(governor) or V(key).
      type: str
      sample: stream
    name:
      description: Its name; of a key the bucket and the key, of a consumer its stream and its name, joined by C(/).
      type: str
      sample: SHOP/db.host
    changed:
      description: Whether it was changed, or in check mode would be.
      type: bool
      sample: true
    action:
      description: What is done, V(none), V(create), V(update), V(delete), V(copy) or V(make anew).
      type: str
      sample: update
    changes:
      description: What changes, as the module for one such resource tells it. Left out where nothing does.
      type: list
      elements: dict
      sample: [{field: max_age, before: 0, after: 604800, effect: update}]
    consequences:
      description: What the change loses, as the module for one such resource tells it. Left out where nothing changes.
      type: dict
      sample: {messages_lost: 0, consumers_lost: 0}
    failure:
      description: Why it failed or was not tried, with C(message), C(code) and more. Left out where it did not fail.
      type: dict
      sample: {code: update_refused, option: storage}
summary:
  description: How many items there are of each outcome.
  returned: success, and when some failed while they were written
  type: dict
  contains:
    created:
      description: How many were made.
      type: int
      sample: 2
    updated:
      description: How many were changed.
      type: int
      sample: 1
    deleted:
      description: How many were removed.
      type: int
      sample: 0
    unchanged:
      description: How many were as they should be.
      type: int
      sample: 12
    failed:
      description: How many failed or were not tried.
      type: int
      sample: 0
consequences:
  description: What all changes lose together; null where some is lost but the number can't be known before.
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
      description: How many messages consumers get again at most. Left out where there are no consumers.
      type: int
      sample: 0
    messages_skipped:
      description: How many messages removed consumers had still to process. Left out where there are no consumers.
      type: int
      sample: 0
    at_least:
      description: True where more messages may be lost than could be counted, else left out.
      type: bool
      sample: false
failure:
  description: The machine-readable part of an error.
  returned: failure
  type: dict
  contains:
    code:
      description: >-
        The kind of the error, such as V(document) where nothing was written, V(unfinished) where RV(resources) has what
        became of each item, V(unreachable) or V(permission). The guide Troubleshooting in C(docs/troubleshooting.md)
        lists all codes.
      type: str
      sample: document
    problems:
      description: With V(document), all that is wrong, each with C(path), C(message), C(code) and more.
      type: list
      elements: dict
      sample: [{path: "streams[0]", message: "name: is needed", code: option}]
"""

from ansible_collections.choria.streams.plugins.module_utils._module_document import run_document
from ansible_collections.choria.streams.plugins.module_utils._resources.document import model
from ansible_collections.choria.streams.plugins.module_utils._resources.document.report import bring_about


def main() -> None:
    """Run the module."""
    run_document(model.SPEC, model.KINDS, model.Document.of, bring_about)


if __name__ == "__main__":
    main()
