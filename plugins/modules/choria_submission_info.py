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
  - Counts what waits in the spool on the managed host, tells since when, and whether the spool will soon be full.
  - It reads files and makes no connection, and needs nothing beside Python.
author:
  - The choria.streams developers (@choria-io)
options:
  spool:
    description:
      - The folder of the spool.
      - Where it is not set, C(plugin.choria.submission.spool) in the file O(choria_config) tells it, or where that is
        not set either, in V(/etc/choria/server.conf).
    type: path
extends_documentation_fragment:
  - choria.streams.connection
  - choria.streams.attributes
  - choria.streams.attributes.info
notes:
  - Of the connection options only O(choria_config) counts. The others are there for C(module_defaults), and nats-py is
    not needed.
  - The spool is for the user alone as whom Choria Server runs, as a rule V(root), so that tasks need C(become).
seealso:
  - module: choria.streams.choria_submit
"""

EXAMPLES = r"""
---
# On hosts with Choria Server, whose file names plugin.choria.submission.spool. The variable server_config is this file,
# such as /etc/choria/server.conf.
- name: Look at the spool
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
  description: What is in the spool.
  returned: success
  type: dict
  contains:
    path:
      description: Its folder.
      type: str
      sample: /var/spool/choria/submission
    limit:
      description: >-
        How many messages of each priority it may hold, C(plugin.choria.submission.max_spool_size) of the server's
        file, or 500 where that is not known.
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
      description: When the oldest was submitted, RFC 3339 UTC; null where there is none.
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
      description: Files that Choria Server will throw away, since they are no messages.
      type: list
      elements: dict
      contains:
        file:
          description: The path.
          type: str
          sample: /var/spool/choria/submission/P2/1772366400123456789-x.msg
        reason:
          description: What is wrong with it.
          type: str
          sample: "is not JSON (at line 1, column 2)"
    unfinished:
      description: >-
        Files beside the priorities. Each is a message that is being written, or what a program left behind that was
        killed meanwhile.
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
          description: How often the one was tried in vain that was tried most often.
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
  description: The machine-readable part of an error.
  returned: failure
  type: dict
  contains:
    code:
      description: >-
        The kind of the error, such as V(option), V(spool_missing) or V(spool_permission). The guide Troubleshooting in
        C(docs/troubleshooting.md) lists all codes.
      type: str
      sample: spool_missing
    option:
      description: The option to change, where it is one.
      type: str
      sample: name
"""

from ansible_collections.choria.streams.plugins.module_utils._module import run_hybrid
from ansible_collections.choria.streams.plugins.module_utils._operations.submission import SPOOL_INFO, spool_info


def main() -> None:
    """Run the module."""
    run_hybrid(SPOOL_INFO, spool_info)


if __name__ == "__main__":
    main()
