# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write or delete one key of a bucket."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: choria_kv
version_added: 1.0.0
short_description: Write or delete a key in a key-value bucket of Choria Streams
description:
  - Writes or deletes one key of a bucket. All clients of the bucket see the change, such as C(choria kv), autonomous
    agents and the lookup P(choria.streams.choria_kv#lookup).
  - If the key already has the value, nothing is written, and there is no new revision.
  - >-
    If the answer to a write is lost, the write is sent again within O(timeout). It has a message id, so it is stored
    once. If it remains unknown whether it was stored, the task fails with C(failure.code=outcome_unknown) and
    C(changed) V(true). A retry of the task is then safe for plain values, and with O(revision). With O(create_only) and
    O(increment) check the key first: this task may have written it.
  - Overwriting, deleting or purging a key does not need C(allow_data_loss). RV(consequences.revisions_lost) is the
    number of old revisions that are deleted, in check mode too.
author:
  - The choria.streams developers (@choria-io)
options:
  bucket:
    description: The bucket, which has to exist, see M(choria.streams.choria_kv_bucket).
    type: str
    required: true
  key:
    description:
      - The key, made of letters, digits, V(-), V(_), V(/), V(=) and dots, with no dot at its ends nor two in a row.
      - An existing key with other characters, from another client, can be read, changed and deleted too.
    type: str
    required: true
  state:
    description: The state of the key.
    type: str
    choices:
      present: It has O(value).
      absent: It is deleted. Old revisions stay, as many as the bucket's history allows.
      purged: It is deleted with its old revisions. A marker of its deletion stays.
    default: present
  value:
    description:
      - The value, needed with O(state=present) unless O(revert_to) is given. An empty text is a value.
      - With O(encoding=text) it is written as it is. Numbers and booleans are written as JSON writes them, so that
        V(yes) without quotes, which YAML reads as a boolean, becomes C(true). Quote values that should stay as they
        look.
      - With O(encoding=json) it may be any value that YAML and JSON both have, and text becomes a JSON string.
      - With O(encoding=base64) it is base64 text, and the decoded bytes are written.
      - The result contains it. Elsewhere, such as in C(--diff), it is masked if O(key) or a key inside it looks like
        that of a secret. Set C(no_log) for the task of a secret.
    type: raw
  encoding:
    description:
      - The format of O(value).
      - With V(json) values are compared after parsing, so the order of keys and spaces make no difference.
    type: str
    choices: [text, json, base64]
    default: text
  create_only:
    description:
      - Write only if the key does not exist, or was deleted. An existing key stays as it is, whatever its value, and
        the task reports no change.
      - If many tasks try at once, exactly one writes.
    type: bool
    default: false
  revision:
    description:
      - Write or delete only while this is the key's newest revision, V(0) for a key that does not exist or was deleted.
        The task fails if another writer was faster, and the error has the actual revision.
      - If the key already has the desired state, the task does not fail, and reports no change.
      - Revisions start again when the bucket is deleted and created again. Then a number belongs to another value.
      - Not checked if not set.
    type: int
  revert_to:
    description:
      - Write the value again that the key had in this revision, as a new revision. The bucket has to keep it, see
        O(choria.streams.choria_kv_bucket#module:history).
      - A key that has this value is not written. A value that another writer stores meanwhile is not replaced.
      - By default the key gets O(value).
    type: int
  increment:
    description:
      - Add this whole number, which may be negative, to the whole number that the key has. A key that does not exist,
        or was deleted, counts as V(0).
      - It is added to the revision that was read, and again if another writer was faster, so that any number of tasks
        can count at once and each counts exactly once. RV(entry.value) is the number that this task made, as a number.
      - Each run of the task adds the number, and reports a change. By default the key gets O(value).
    type: int
    version_added: 1.0.0
  ttl:
    description:
      - How long the value lives, as whole seconds or text such as V(90s) or V(20m); V(0) for as long as the bucket
        allows.
      - Needs nats-server 2.11, and a bucket with O(choria.streams.choria_kv_bucket#module:limit_marker_ttl). Where the
        bucket keeps a history, it can't be shorter than that.
      - If the key has the value with another lifetime, the value is written again. If the lifetime is the same, it
        continues, unless O(renew) is set. Without this option an unchanged value keeps its lifetime, and a new value
        gets none of its own.
    type: str
  renew:
    description:
      - Write the key again even if it already has this value, so that its lifetime begins again, O(ttl) or that of the
        bucket. Use it for presence and heartbeats.
      - Without O(value) the key keeps its value, and without O(ttl) its lifetime. It has to exist then.
      - Each run of the task writes, and reports a change.
    type: bool
    default: false
    version_added: 1.0.0
extends_documentation_fragment:
  - choria.streams.connection
  - choria.streams.attributes
  - choria.streams.attributes.resource
seealso:
  - module: choria.streams.choria_kv_bucket
  - plugin: choria.streams.choria_kv
    plugin_type: lookup
"""

EXAMPLES = r"""
---
- name: A bucket for configuration, with five values of each key
  choria.streams.choria_kv_bucket:
    name: CFG
    history: 5
    limit_marker_ttl: 1m

- name: Write a key
  choria.streams.choria_kv:
    bucket: CFG
    key: auth.username
    value: admin
  register: username

- name: Write a secret
  choria.streams.choria_kv:
    bucket: CFG
    key: auth.password
    value: "{{ vault_password | default('example') }}"
  no_log: true

- name: Replace the value only if nobody has written since
  choria.streams.choria_kv:
    bucket: CFG
    key: auth.username
    value: root
    revision: "{{ username.entry.revision }}"

- name: Revert to the first value
  choria.streams.choria_kv:
    bucket: CFG
    key: auth.username
    revert_to: "{{ username.entry.revision }}"

- name: Increment a counter, even while others do
  choria.streams.choria_kv:
    bucket: CFG
    key: deployments
    increment: 1
  register: deployments

- name: Use the number
  ansible.builtin.debug:
    msg: This is deployment number {{ deployments.entry.value }}

- name: Report the presence of this host, with a new revision in each run
  choria.streams.choria_kv:
    bucket: CFG
    key: "presence.{{ inventory_hostname }}"
    value: "{{ ansible_facts.date_time.iso8601 | default('here') }}"
    renew: true

- name: Write a value only if the key has none
  choria.streams.choria_kv:
    bucket: CFG
    key: cluster.id
    value: "{{ 999999 | random | string }}"
    create_only: true

- name: Write data as JSON
  choria.streams.choria_kv:
    bucket: CFG
    key: web.server
    encoding: json
    value:
      port: 8080
      hosts: [web1, web2]

- name: Write binary data
  choria.streams.choria_kv:
    bucket: CFG
    key: web.icon
    encoding: base64
    value: R0lGODlhAQABAAAAACw=

- name: Write a key that expires after an hour
  choria.streams.choria_kv:
    bucket: CFG
    key: maintenance
    value: planned
    ttl: 1h

- name: Delete a key, and keep its old values
  choria.streams.choria_kv:
    bucket: CFG
    key: maintenance
    state: absent

- name: Delete a key and its old values
  choria.streams.choria_kv:
    bucket: CFG
    key: auth.password
    state: purged
"""

RETURN = r"""
---
entry:
  description: The key as it is now, or in check mode as it would be; null if the bucket has no revision of it.
  returned: success
  type: dict
  contains:
    bucket:
      description: The bucket.
      type: str
      sample: CFG
    key:
      description: The key.
      type: str
      sample: auth.username
    operation:
      description: V(put), or V(delete) or V(purge) if it was deleted.
      type: str
      sample: put
    value:
      description: The value, null if it was deleted.
      type: raw
      sample: admin
    encoding:
      description: The format of RV(entry.value). V(base64) if another client's value is not in the format O(encoding).
      type: str
      sample: text
    revision:
      description: The number of this revision, which grows with each write to the bucket; null in check mode.
      type: int
      sample: 17
    created:
      description: When it was written, RFC 3339 UTC; null in check mode.
      type: str
      sample: "2026-03-01T12:00:00.123456789Z"
    ttl:
      description: How long it lives from then on, in seconds; null where it has no lifetime of its own.
      type: float
      sample: 3600.0
changes:
  description: What changes, or in check mode what would change.
  returned: success
  type: list
  elements: dict
  contains:
    field:
      description: V(value), V(ttl), or V(operation) if a deleted key is purged.
      type: str
      sample: value
    before:
      description: The value before, null if there was none.
      type: raw
      sample: root
    after:
      description: The value after, null if there is none.
      type: raw
      sample: admin
    effect:
      description: V(create), V(delete) or V(in place).
      type: str
      sample: in place
consequences:
  description: The losses by the change.
  returned: success
  type: dict
  contains:
    revisions_lost:
      description: How many old revisions of this key the bucket does not keep any more.
      type: int
      sample: 0
failure:
  description:
    - The machine-readable part of an error. C(code) is its kind, such as V(option), V(unreachable), V(outcome_unknown),
      V(permission), V(no_bucket), V(wrong_revision), V(not_a_number), V(too_large), V(server_too_old) or V(api). The
      guide Troubleshooting in C(docs/troubleshooting.md) lists all codes.
    - C(option) is the option to change, where it is one. C(revision) is the key's newest revision, with
      V(wrong_revision). C(err_code) is JetStream's number of the error, where the server refused.
  returned: failure
  type: dict
  sample: {code: wrong_revision, option: revision, revision: 17, err_code: 10074}
"""

from ansible_collections.choria.streams.plugins.module_utils._module_resource import run_resource
from ansible_collections.choria.streams.plugins.module_utils._resources.kv.entry import KV_ENTRY


def main() -> None:
    """Run the module."""
    run_resource(KV_ENTRY)


if __name__ == "__main__":
    main()
