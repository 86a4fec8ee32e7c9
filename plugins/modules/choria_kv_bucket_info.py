# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read key-value buckets."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: choria_kv_bucket_info
version_added: 1.0.0
short_description: Read key-value buckets of Choria Streams
description:
  - Returns the configuration and the state of key-value buckets, and never writes.
seealso:
  - module: choria.streams.choria_kv_bucket
  - plugin: choria.streams.choria_kv
    plugin_type: lookup
author:
  - The choria.streams developers (@choria-io)
options:
  names:
    description: The key-value buckets to read. If not set, all are read. Buckets that do not exist are left out.
    type: list
    elements: str
    aliases: [name]
extends_documentation_fragment:
  - choria.streams.connection
  - choria.streams.attributes
  - choria.streams.attributes.info
"""

EXAMPLES = r"""
---
- name: Read a bucket
  choria.streams.choria_kv_bucket:
    name: CFG

- name: Read all buckets
  choria.streams.choria_kv_bucket_info:
  register: found

- name: Show their sizes
  ansible.builtin.debug:
    msg: "{{ dict(found.buckets | map(attribute='name') | zip(found.buckets | map(attribute='bytes'))) }}"
"""

RETURN = r"""
---
buckets:
  description: A dict for each bucket, as RV(choria.streams.choria_kv_bucket#module:bucket) has it.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The name.
      type: str
      sample: CFG
    value_count:
      description: How many values there are, with their history and the marks of deleted keys.
      type: int
      sample: 2
failure:
  description:
    - The machine-readable part of an error. C(code) is its kind, such as V(option), V(unreachable), V(permission),
      V(data_loss), V(update_refused) or V(api). The guide Troubleshooting in C(docs/troubleshooting.md) lists all
      codes.
    - C(option) is the option to change, where it is one. C(err_code) is JetStream's number of the error, where the
      server refused.
  returned: failure
  type: dict
  sample: {code: unreachable, option: name, err_code: 10074}
"""

from functools import partial

from ansible_collections.choria.streams.plugins.module_utils._module import run_info
from ansible_collections.choria.streams.plugins.module_utils._options import names
from ansible_collections.choria.streams.plugins.module_utils._resources import info
from ansible_collections.choria.streams.plugins.module_utils._resources.kv import table


def main() -> None:
    """Run the module."""
    run_info(info.NAMES, "buckets", partial(info.shown, table.SPEC, names.BUCKET_PREFIX, table.result))


if __name__ == "__main__":
    main()
