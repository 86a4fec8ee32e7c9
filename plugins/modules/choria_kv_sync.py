# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Synchronize many keys of a bucket with a dict or folder."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: choria_kv_sync
version_added: 1.0.0
short_description: Synchronize a dict or a folder with the keys below a prefix in a bucket of Choria Streams
description:
  - Pushes a dict (O(data)) or the files of a folder (O(src)) into a bucket, or pulls keys into a folder (O(dest)).
  - It reads the existing keys together, and writes the differences over one connection, many at a time. Unchanged keys
    are not written.
  - Each key is written only if it still has the revision that was read. If another client wrote it meanwhile, it is
    read and compared again. After three times the task fails and names the keys.
  - Keys are pulled as they were at one moment.
  - Results show values only in differences and options. O(mask) hides those of secrets there.
  - If a task was interrupted, run it again to finish it.
author:
  - The choria.streams developers (@choria-io)
options:
  bucket:
    description: The bucket, which has to exist, see M(choria.streams.choria_kv_bucket).
    type: str
    required: true
  prefix:
    description:
      - The beginning of the keys. No other keys are read, written or removed.
      - V(auth) and V(auth.) mean all keys that begin with V(auth.). A prefix that ends in V(/) is used as it is. An
        empty prefix means the whole bucket.
    type: str
    default: ''
  data:
    description:
      - The keys, without O(prefix), and their values.
      - One of O(data), O(src) and O(dest) is needed.
    type: dict
  src:
    description:
      - A folder on the managed host. Each file in it and in its sub-folders is a value, byte for byte, and its path
        the key.
      - A file whose path can't be a key, such as one whose name begins with a dot, fails the task before anything is
        written.
      - Left out where O(data) or O(dest) is set.
    type: path
  dest:
    description:
      - A folder on the managed host, into which keys are pulled. It is created if it does not exist.
      - Each file is written whole or not at all. Links are replaced by files, and never followed out of the folder.
      - Left out where O(data) or O(src) is set.
    type: path
  encoding:
    description:
      - The format of the values of O(data), as in M(choria.streams.choria_kv).
      - With V(text) dicts and lists are written as JSON. They are compared after parsing, so the order of keys and
        spaces make no difference.
    type: str
    choices: [text, json, base64]
    default: text
  separator:
    description:
      - The character in a key for each slash in the path of its file. With V(.) the file C(auth/username) is the key
        C(auth.username).
      - With V(.) a dot in the name of a file becomes a folder when it is pulled. With V(/) folders stay as they were.
    type: str
    choices: [., /]
    default: .
  ttl:
    description:
      - How long each value that is written lives, as O(choria.streams.choria_kv#module:ttl). Only with O(data) and
        O(src).
      - If not set, a value lives as long as its bucket allows.
    type: str
  prune:
    description:
      - Remove the keys below O(prefix) that O(data) or O(src) does not have, or the files in O(dest) without a key.
      - In O(dest), only regular files whose path could be a key are removed, and then empty folders.
    type: bool
    default: false
  prune_state:
    description:
      - The state of keys that O(prune) removes, as O(choria.streams.choria_kv#module:state). V(purged) removes
        their history as well.
    type: str
    choices: [absent, purged]
    default: absent
  allow_data_loss:
    description:
      - Whether O(prune) may remove everything, if O(data) or O(src) is empty or there are no keys to pull. Usually that
        is a mistake.
    type: bool
    default: false
  mode:
    description: The mode of the files in O(dest).
    type: raw
    default: '0600'
  directory_mode:
    description: The mode of folders that are created for O(dest).
    type: raw
    default: '0700'
extends_documentation_fragment:
  - ansible.builtin.files
  - choria.streams.mask
  - choria.streams.connection
  - choria.streams.attributes
attributes:
  check_mode:
    support: full
    details: The same plan is made, nothing is sent but reads, and no file is touched.
  diff_mode:
    support: full
    details: >-
      Shows a difference for each key. Masked values are only marked as different. Binary values are shown by size and
      digest.
  idempotent:
    support: full
notes:
  - O(owner), O(group), O(attributes) and similar options only affect the files and new folders in O(dest).
  - O(unsafe_writes) has no effect. Files are always replaced whole.
  - The module connects from the managed host. Use C(delegate_to) for a folder on the controller.
  - To pull keys into a variable, use the lookup P(choria.streams.choria_kv#lookup) with C(prefix).
seealso:
  - module: choria.streams.choria_kv
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

- name: Write several keys below auth
  choria.streams.choria_kv_sync:
    bucket: CFG
    prefix: auth
    data:
      username: admin
      password: example
      realms: [example.net, example.org]

- name: Make these keys the only ones below auth
  choria.streams.choria_kv_sync:
    bucket: CFG
    prefix: auth
    data:
      username: admin
      password: example
    prune: true
  register: auth

- name: Show what was done
  ansible.builtin.debug:
    msg: "{{ auth.counts.removed }} removed, the newest revision is {{ auth.revision }}"

- name: Pull the keys into files
  choria.streams.choria_kv_sync:
    bucket: CFG
    prefix: auth
    dest: ~/app/auth
    mode: "0640"
    prune: true

- name: Push a folder, with slashes in the keys
  choria.streams.choria_kv_sync:
    bucket: CFG
    prefix: copy/
    src: ~/app
    separator: /
"""

RETURN = r"""
---
changes:
  description: >-
    The change of each key, or in check mode the planned change. After a failure, the changes that were made before.
  returned: success, or when some changes were made
  type: list
  elements: dict
  contains:
    key:
      description: The key, with the prefix.
      type: str
      sample: auth.username
    action:
      description: >-
        V(create), V(update), V(delete) or V(purge); V(attributes) if only the owner or mode of a file differs.
      type: str
      sample: update
    revision:
      description: >-
        The revision that was written, null in check mode; with O(dest) the revision in the file, null if it was
        removed.
      type: int
      sample: 17
    file:
      description: The file, with O(dest).
      type: str
      sample: /etc/app/auth/username
counts:
  description: How many keys or files there were of each kind.
  returned: success
  type: dict
  contains:
    created:
      description: How many were new.
      type: int
      sample: 1
    updated:
      description: How many had another value.
      type: int
      sample: 1
    removed:
      description: How many were pruned.
      type: int
      sample: 0
    unchanged:
      description: How many had the desired value already.
      type: int
      sample: 12
revision:
  description: The newest revision of the bucket that was read or written.
  returned: success
  type: int
  sample: 17
failure:
  description:
    - The machine-readable part of an error. C(code) is its kind, such as V(option), V(unreachable), V(permission),
      V(no_bucket), V(too_large), V(data_loss), V(overtaken), V(changing), V(no_file), V(file) or V(api). The guide
      Troubleshooting in C(docs/troubleshooting.md) lists all codes.
    - C(option) is the option to change, where it is one. C(overtaken_keys) are the keys that others changed each time,
      with V(overtaken). C(written) is how many changes were made before the failure. C(err_code) is JetStream's number
      of the error, where the server refused.
  returned: failure
  type: dict
  sample: {code: data_loss, option: allow_data_loss, overtaken_keys: [app.port], written: 3, err_code: 10074}
"""

from ansible_collections.choria.streams.plugins.module_utils._module_files import run_files
from ansible_collections.choria.streams.plugins.module_utils._operations.kv.sync import SPEC, shown, sync


def main() -> None:
    """Run the module."""
    run_files(SPEC, sync, shown)


if __name__ == "__main__":
    main()
