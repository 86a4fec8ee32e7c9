# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wait for values of keys."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: choria_kv_watch
version_added: 1.0.0
short_description: Wait until a key of a bucket of Choria Streams has a value
description:
  - Waits until one of the keys has a value, or one of O(values), or one that meets O(condition), as C(choria kv watch
    --once --timeout) does. An existing value ends the wait too, unless O(updates_only) is set.
  - The write of any client wakes the module, which sends no requests meanwhile. After a broken connection it connects
    again, and misses no write in between, even if the bucket was deleted and created again.
  - When O(max_wait) is over, the task fails.
  - >-
    In check mode it does not wait: it reads the present values once, RV(matched) is true if one matches, and the task
    does not fail if none does.
author:
  - The choria.streams developers (@choria-io)
options:
  bucket:
    description: The bucket, which has to exist.
    type: str
    required: true
  keys:
    description: The keys. A value of any of them ends the wait.
    type: list
    elements: str
    required: true
  values:
    description: The values to wait for, in the format of O(format). Any value if not set. Not with O(condition).
    type: list
    elements: raw
  condition:
    description:
      - A JMESPath expression that is applied to each value, such as V(status == `ready`). It is met if its result is
        neither C(null) nor C(false) nor empty. Needs V(json) or V(yaml) for O(format).
      - Needs the Python library jmespath on the host on which the module runs. If not set, it waits for O(values).
    type: str
  format:
    description:
      - The format of values. A value in another format does not end the wait.
      - V(yaml) needs the Python library PyYAML on the host on which the module runs.
    type: str
    choices: [text, json, base64, yaml]
    default: text
  updates_only:
    description: Wait for the next write of a value, and ignore the present value.
    type: bool
    default: false
  max_wait:
    description: >-
      How long to wait at most, as seconds or text such as V(90s) and V(20m). It is not O(timeout), which is for each
      answer of the server.
    type: str
    default: 5m
extends_documentation_fragment:
  - choria.streams.connection
  - choria.streams.attributes
  - choria.streams.attributes.info
notes:
  - When C(ansible-playbook) is killed, or its terminal is closed, the module stops waiting within a few seconds.
seealso:
  - module: choria.streams.choria_kv
  - plugin: choria.streams.choria_kv
    plugin_type: lookup
"""

EXAMPLES = r"""
---
- name: A bucket
  choria.streams.choria_kv_bucket:
    name: DEPLOY

- name: Write keys, as other clients do
  choria.streams.choria_kv:
    bucket: DEPLOY
    key: "{{ item.key }}"
    encoding: "{{ item.encoding }}"
    value: "{{ item.value }}"
  loop:
    - {key: web.version, encoding: text, value: "1.2.3"}
    - {key: web.health, encoding: json, value: {status: ready, nodes: [web1, web2]}}

- name: Wait until there is a version
  choria.streams.choria_kv_watch:
    bucket: DEPLOY
    keys: [web.version]
    max_wait: 10m
  register: version

- name: Show it
  ansible.builtin.debug:
    msg: "{{ version.entry.value }}, after {{ version.elapsed }} s"

- name: Wait until the deployment has succeeded or failed
  choria.streams.choria_kv_watch:
    bucket: DEPLOY
    keys: [web.version, web.failed]
    values: ["1.2.3", "yes"]

- name: Wait until two nodes are ready
  choria.streams.choria_kv_watch:
    bucket: DEPLOY
    keys: [web.health]
    format: json
    condition: status == `ready` && length(nodes) >= `2`

- name: Wait a second for the next change, without regard to the present value
  choria.streams.choria_kv_watch:
    bucket: DEPLOY
    keys: [web.version]
    updates_only: true
    max_wait: 1s
  register: next
  failed_when: next.failure.code | default("") not in ["", "timeout"]
"""

RETURN = r"""
---
matched:
  description: Whether a value matched.
  returned: success, and when O(max_wait) was over
  type: bool
  sample: true
entry:
  description: >-
    The key and value that ended the wait; null when O(max_wait) was over, and in check mode if none matches.
  returned: success, and when O(max_wait) was over
  type: dict
  contains:
    bucket:
      description: The bucket.
      type: str
      sample: CFG
    key:
      description: The key.
      type: str
      sample: deploy.version
    value:
      description: The value, as O(format) reads it. Set C(no_log) for the task if it is a secret.
      type: raw
      sample: "2.1"
    revision:
      description: The number of this revision.
      type: int
      sample: 17
    created:
      description: When it was written, RFC 3339 UTC.
      type: str
      sample: "2026-03-01T12:00:00.123456789Z"
    ttl:
      description: How long it lives from then on, in seconds; null where it has no lifetime of its own.
      type: float
      sample: 3600.0
elapsed:
  description: How many seconds it took.
  returned: success, and when O(max_wait) was over
  type: float
  sample: 12.3
failure:
  description:
    - >-
      The machine-readable part of an error. C(code) is its kind: V(timeout) when O(max_wait) was over, or another such
      as V(option), V(no_bucket), V(unreachable), V(permission) or V(library_missing). The guide Troubleshooting in
      C(docs/troubleshooting.md) lists all codes.
    - C(option) is the option to change, where it is one.
  returned: failure
  type: dict
  sample: {code: timeout, option: max_wait}
"""

from ansible_collections.choria.streams.plugins.module_utils._module import run_action
from ansible_collections.choria.streams.plugins.module_utils._operations.kv.watch import SPEC, watch


def main() -> None:
    """Run the module."""
    run_action(SPEC, watch)


if __name__ == "__main__":
    main()
