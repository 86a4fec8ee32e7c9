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
  - Gives one key of a bucket a value, or deletes it. All clients of the bucket see it, such as C(choria kv), Autonomous
    Agents and the lookup P(choria.streams.choria_kv#lookup).
  - A value that is there already is not written again, and makes no new revision.
  - >-
    A write whose answer gets lost is sent again within O(timeout), with a message id of its own, so that it is stored
    once. Where it stays unknown whether it was stored, the task fails with RV(failure.code=outcome_unknown) and
    C(changed) V(true). A retry of the task is then safe for plain values, and with O(revision). With O(create_only) and
    O(increment) look at the key first: whoever wrote it may have been this task.
  - A key is written over, deleted or purged without C(allow_data_loss). RV(consequences.revisions_lost) tells how many
    old revisions go, in check mode too.
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
      - A key that another client wrote, with whatever name, is read, changed and deleted like any other.
    type: str
    required: true
  state:
    description: What becomes of the key.
    type: str
    choices:
      present: It has O(value).
      absent: It is deleted. Old revisions stay, as many as the bucket's history allows.
      purged: It is deleted with its old revisions, and a mark of that is left.
    default: present
  value:
    description:
      - The value, needed with O(state=present) unless O(revert_to) is given. An empty text is a value.
      - >-
        With O(encoding=text) it is written as it is. Numbers and booleans are written as JSON writes them, so that
        V(yes) without quotes, which YAML reads as a boolean, becomes C(true). Put quotes around what is to stay as it
        looks.
      - With O(encoding=json) it may be anything that YAML and JSON both know, and text becomes a JSON string.
      - With O(encoding=base64) it is base64 text, and what it stands for is written.
      - It is part of the result. Elsewhere, as in the differences that C(--diff) shows, it is masked where O(key) or a
        key inside of it looks like that of a secret. Set C(no_log) for the task of a secret.
    type: raw
  encoding:
    description:
      - How O(value) is to be understood.
      - >-
        With V(json) values are compared by what they mean, so that the order of keys and spaces are no difference.
    type: str
    choices: [text, json, base64]
    default: text
  create_only:
    description:
      - Write only when the key does not exist, or was deleted. A key that exists is left as it is, whatever its value,
        and that is no change.
      - Of many that try at once, one writes.
    type: bool
    default: false
  revision:
    description:
      - Write or delete only while this is the key's newest revision, V(0) for a key that does not exist or was deleted.
        The task fails when somebody else was faster, and tells the actual revision.
      - When the key has become as wanted already, that is no failure and no change.
      - Revisions begin again when the bucket is deleted and created again. The same number is another value's then.
      - Not checked if not set.
    type: int
  revert_to:
    description:
      - >-
        Give the key the value again that it had in this revision, as a new revision. It has to be kept by the bucket,
        see O(choria.streams.choria_kv_bucket#module:history).
      - A key that has this value is left alone. What somebody else writes in between is not replaced unseen.
      - By default the key gets O(value).
    type: int
  increment:
    description:
      - Add this whole number, which may be negative, to the whole number that the key has. A key that does not exist,
        or was deleted, counts as V(0).
      - >-
        It is counted on the revision that was read, and anew where somebody else was faster, so that any number of
        tasks can count at once and each counts exactly once. RV(entry.value) is the number that this task made, as a
        number.
      - It counts each time that the task runs, and is always a change. By default the key gets O(value).
    type: int
    version_added: 1.0.0
  ttl:
    description:
      - How long the value lives, as whole seconds or text such as V(90s) or V(20m); V(0) for as long as the bucket
        allows.
      - >-
        Needs nats-server 2.11, and a bucket with O(choria.streams.choria_kv_bucket#module:limit_marker_ttl). Where the
        bucket keeps a history, it can't be shorter than that.
      - >-
        The value is written again when it has another lifetime than this. It is not written again to begin the same
        lifetime anew, unless O(renew) is set. Without this option a value that stays keeps its lifetime, and a new one
        has none of its own.
    type: str
  renew:
    description:
      - Write the key again also where it has this value already, so that its lifetime begins anew, be it O(ttl) or that
        of the bucket. Presence and heartbeats are built on it.
      - Without O(value) the key keeps its value, and without O(ttl) its lifetime. It has to exist then.
      - It is done each time that the task runs, and is always a change.
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

- name: Write it only if it is still as we have seen it
  choria.streams.choria_kv:
    bucket: CFG
    key: auth.username
    value: root
    revision: "{{ username.entry.revision }}"

- name: Go back to the value that it had at first
  choria.streams.choria_kv:
    bucket: CFG
    key: auth.username
    revert_to: "{{ username.entry.revision }}"

- name: Count, whoever else counts
  choria.streams.choria_kv:
    bucket: CFG
    key: deployments
    increment: 1
  register: deployments

- name: Use the number
  ansible.builtin.debug:
    msg: This is deployment number {{ deployments.entry.value }}

- name: Say that this host is there, each time that this runs
  choria.streams.choria_kv:
    bucket: CFG
    key: "presence.{{ inventory_hostname }}"
    value: "{{ ansible_facts.date_time.iso8601 | default('here') }}"
    renew: true

- name: Set a first value, and leave it alone afterwards
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

- name: Write any bytes
  choria.streams.choria_kv:
    bucket: CFG
    key: web.icon
    encoding: base64
    value: R0lGODlhAQABAAAAACw=

- name: Write a key that vanishes after an hour
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
  description:
    - The key as it is now, or in check mode as it would be; null where the bucket has no trace of it.
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
      description: V(put), or V(delete) or V(purge) where it was deleted.
      type: str
      sample: put
    value:
      description: The value, null where it was deleted.
      type: raw
      sample: admin
    encoding:
      description: How RV(entry.value) is written; V(base64) where a value of others is not as O(encoding) says.
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
      description: V(value), V(ttl), or V(operation) where a deleted key is purged.
      type: str
      sample: value
    before:
      description: What it was before, null where it was not there.
      type: raw
      sample: root
    after:
      description: What it is afterwards.
      type: raw
      sample: admin
    effect:
      description: V(create), V(delete) or V(in place).
      type: str
      sample: update
consequences:
  description: What the change loses.
  returned: success
  type: dict
  contains:
    revisions_lost:
      description: How many old revisions of this key the bucket does not keep any more.
      type: int
      sample: 0
failure:
  description: The machine-readable part of an error.
  returned: failure
  type: dict
  contains:
    code:
      description: >-
        The kind of the error, such as V(option), V(unreachable), V(outcome_unknown), V(permission), V(no_bucket),
        V(wrong_revision), V(not_a_number), V(too_large), V(server_too_old) or V(api). The guide Troubleshooting in
        C(docs/troubleshooting.md) lists all codes.
      type: str
      sample: wrong_revision
    option:
      description: The option to change, where it is one.
      type: str
      sample: revision
    revision:
      description: The key's newest revision, with V(wrong_revision).
      type: int
      sample: 17
    err_code:
      description: JetStream's number of the error, where the server refused.
      type: int
      sample: 10074
"""

from ansible_collections.choria.streams.plugins.module_utils._module_resource import run_resource
from ansible_collections.choria.streams.plugins.module_utils._resources.kv.entry import REVERTIBLE


def main() -> None:
    """Run the module."""
    run_resource(REVERTIBLE)


if __name__ == "__main__":
    main()
