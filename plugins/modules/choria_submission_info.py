# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Report the submission spool of Choria Server."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: choria_submission_info
version_added: 1.0.0
short_description: Read the submission spool of Choria Server
description:
  - Counts the messages that wait in the spool on the managed host, with their ages, and warns of a nearly full spool.
  - It only reads files, makes no connection, and needs no Python library.
author:
  - The choria.streams developers (@choria-io)
options:
  spool:
    description:
      - The folder of the spool.
      - By default C(plugin.choria.submission.spool) in the file O(choria_config), or in
        V(/etc/choria/server.conf) if that is not set either.
    type: path
extends_documentation_fragment:
  - choria.streams.connection
  - choria.streams.attributes
  - choria.streams.attributes.info
notes:
  - Of the connection options, only O(choria_config) is used. The module accepts the others for C(module_defaults).
    nats-py is not needed.
  - Only the user of Choria Server, usually V(root), can use the spool. So tasks need C(become).
seealso:
  - module: choria.streams.choria_submit
"""

EXAMPLES = r"""
---
# On hosts with Choria Server, whose file names plugin.choria.submission.spool. The variable server_config is this file,
# such as /etc/choria/server.conf.
- name: Read the spool
  choria.streams.choria_submission_info:
    choria_config: "{{ server_config }}"
  register: found

- name: Fail where messages have been waiting for an hour
  ansible.builtin.assert:
    that: (found.spool.oldest_age or 0) < 3600
    fail_msg: "{{ found.spool.messages }} messages wait in {{ found.spool.path }} since {{ found.spool.oldest }}."

- name: Show how many messages of each priority wait
  ansible.builtin.debug:
    msg: "Priority {{ item.priority }}: {{ item.messages }} messages, {{ item.bytes }} bytes"
  loop: "{{ found.spool.priorities }}"
  loop_control:
    label: "{{ item.priority }}"
"""

RETURN = r"""
---
spool:
  description: The contents of the spool.
  returned: success
  type: dict
  contains:
    path:
      description: Its folder.
      type: str
      sample: /var/spool/choria/submission
    limit:
      description: >-
        How many messages of each priority it may hold, C(plugin.choria.submission.max_spool_size) of the server's file,
        or 500 if that is unknown.
      type: int
      sample: 50000
    messages:
      description: How many messages wait.
      type: int
      sample: 3
    bytes:
      description: How large their files are.
      type: int
      sample: 1516
    oldest:
      description: When the oldest was submitted, RFC 3339 UTC; null if nothing waits.
      type: str
      sample: "2026-03-01T12:00:00.123456789Z"
    oldest_age:
      description: How many seconds ago that was.
      type: float
      sample: 65.8
    nearly_full:
      description: Whether a priority holds 80 % of its limit or more.
      type: bool
      sample: false
    full:
      description: Whether a priority takes no more messages.
      type: bool
      sample: false
    broken:
      description: Files that Choria Server will delete, since they are not messages.
      type: list
      elements: dict
      contains:
        file:
          description: The path.
          type: str
          sample: /var/spool/choria/submission/P2/1772366400123456789-x.msg
        reason:
          description: The fault of the file.
          type: str
          sample: "is not JSON (at line 1, column 2)"
    unfinished:
      description: >-
        Files beside the priorities, which are being written, or were left by a killed program.
      type: list
      elements: str
      sample: [/var/spool/choria/submission/1772366400123456789-x.tmp]
    priorities:
      description: The same for each priority, in the order of their numbers.
      type: list
      elements: dict
      contains:
        priority:
          description: Its number, 0 to 4.
          type: int
          sample: 2
        messages:
          description: How many messages wait.
          type: int
          sample: 3
        bytes:
          description: How large their files are.
          type: int
          sample: 1516
        tries:
          description: The number of failed attempts of the message with the most.
          type: int
          sample: 1
        oldest:
          description: When the oldest was submitted.
          type: str
          sample: "2026-03-01T12:00:00.123456789Z"
        oldest_age:
          description: How many seconds ago that was.
          type: float
          sample: 65.789
        nearly_full:
          description: Whether it holds 80 % of its limit or more.
          type: bool
          sample: false
        full:
          description: Whether it takes no more messages.
          type: bool
          sample: false
failure:
  description:
    - The machine-readable part of an error. C(code) is its kind, such as V(option), V(spool_missing) or
      V(spool_permission). The guide Troubleshooting in C(docs/troubleshooting.md) lists all codes.
    - C(option) is the option to change, where it is one.
  returned: failure
  type: dict
  sample: {code: spool_missing, option: name}
"""

from ansible_collections.choria.streams.plugins.module_utils._module import run_hybrid
from ansible_collections.choria.streams.plugins.module_utils._operations.submission import SPOOL_INFO, spool_info


def main() -> None:
    """Run the module."""
    run_hybrid(SPOOL_INFO, spool_info)


if __name__ == "__main__":
    main()
