# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show, re-address and drop events of runs that wait on disk."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: choria_results_journal
version_added: 1.0.0
short_description: Show, re-address and drop events of runs that wait on disk
description:
  - The callback P(choria.streams.choria_results#callback) writes events that the servers do not accept into journals. A
    later run delivers those that are for its own servers and stream. This module shows all journals of a user,
    addresses them to other servers, and drops them.
  - Without other options it only lists them.
  - Run it on the controller as the user of the runs. The playbook C(choria.streams.results_journal) does that.
  - A journal of an active run, or one that another run delivers now, is not changed, and RV(in_use) names it.
author:
  - The choria.streams developers (@choria-io)
options:
  spool:
    description:
      - The folder of the journals, as the callback's option P(choria.streams.choria_results#callback) C(spool).
      - By default C(choria_streams/results) in E(XDG_STATE_HOME), else in C(~/.local/state).
    type: path
  state:
    description: V(absent) drops the selected journals with their events. V(present) keeps them.
    type: str
    choices: [present, absent]
    default: present
  run_ids:
    description: Only the journals of these runs. All runs if not set.
    type: list
    elements: str
  older_than:
    description: >-
      Only journals that were created longer ago than this, as seconds or text such as V(7d). V(0s) is all. Journals of
      any age if not set.
    type: str
  servers:
    description: Only journals for one of these servers. All servers if not set.
    type: list
    elements: str
  address:
    description:
      - Addresses the selected journals to other servers. The next run that submits to these delivers them.
      - The events keep their ids, so that one which was stored before is not stored twice.
      - If not set, journals keep the servers that they have.
    type: dict
    suboptions:
      servers:
        description:
          - The servers, as in the option C(servers) of a connection. A run delivers the events that have one server in
            common with its own.
        type: list
        elements: str
        required: true
      stream:
        description: The stream. By default the present one of the journal, else V(ANSIBLE_RUNS).
        type: str
      subject_prefix:
        description: The first words of the subjects. By default the present ones of the journal, else V(ansible.runs).
        type: str
extends_documentation_fragment:
  - choria.streams.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
notes:
  - With O(state=absent) at least one of O(run_ids), O(older_than) and O(servers) is needed.
seealso:
  - plugin: choria.streams.choria_results
    plugin_type: callback
"""

EXAMPLES = r"""
---
- name: List the journals
  choria.streams.choria_results_journal:
  register: waiting

- name: Re-address the journals for a mistyped port
  choria.streams.choria_results_journal:
    servers: [nats://broker.example.net:4223]
    address:
      servers: [nats://broker.example.net:4222]

- name: Drop journals that are older than a month
  choria.streams.choria_results_journal:
    state: absent
    older_than: 30d
"""

RETURN = r"""
spool:
  description: The folder.
  returned: success
  type: str
  sample: /home/ann/.local/state/choria_streams/results
journals:
  description: The journals that are there now, the oldest first.
  returned: success
  type: list
  elements: dict
  contains:
    file:
      description: The path.
      type: str
      sample: /home/ann/.local/state/choria_streams/results/1772366400123456789-run.journal
    run_id:
      description: The id of the run.
      type: str
      sample: "01a229c0-5417-7f60-a106-75824240c3eb"
    created:
      description: When it was started, RFC 3339 UTC.
      type: str
      sample: "2026-03-01T12:00:00.123456789Z"
    age:
      description: How long ago that was, in seconds.
      type: float
      sample: 3600.5
    bytes:
      description: Its size.
      type: int
      sample: 81920
    events:
      description: How many events wait in it; null while it is in use.
      type: int
      sample: 60
    transport:
      description: V(direct) or V(spool); null when it can't be read.
      type: str
      sample: direct
    servers:
      description: The servers that it is for.
      type: list
      elements: str
      sample: [nats://broker1.example.net:4222]
    stream:
      description: The stream that it is for.
      type: str
      sample: ANSIBLE_RUNS
    subject_prefix:
      description: The first words of its subjects.
      type: str
      sample: ansible.runs
    in_use:
      description: Whether a run writes or delivers it now.
      type: bool
      sample: false
    readable:
      description: Whether its destination can be read. O(address) repairs a journal without one.
      type: bool
      sample: true
readdressed:
  description: The ids of the runs whose events have another destination now.
  returned: success
  type: list
  elements: str
  sample: ["01a229c0-5417-7f60-a106-75824240c3eb"]
dropped:
  description: The ids of the runs whose events were dropped.
  returned: success
  type: list
  elements: str
  sample: ["01a229c0-5417-7f60-a106-75824240c3eb"]
in_use:
  description: The ids of runs that were selected, and whose journals are in use.
  returned: success
  type: list
  elements: str
  sample: ["01a229c0-5417-7f60-a106-75824240c3eb"]
failure:
  description:
    - The machine-readable part of an error. C(code) is its kind, such as V(option). The guide Troubleshooting in
      C(docs/troubleshooting.md) lists all codes.
    - C(option) is the option to change, where it is one.
  returned: failure
  type: dict
  sample: {code: option, option: older_than}
"""

from ansible_collections.choria.streams.plugins.module_utils._module import run_local
from ansible_collections.choria.streams.plugins.module_utils._operations.runs.journals import SPEC, act


def main() -> None:
    """Run the module."""
    run_local(SPEC, act)


if __name__ == "__main__":
    main()
