# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the page of runs. It runs on the controller, see ``plugins/action/choria_run_page.py``."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: choria_run_page
version_added: 1.0.0
short_description: Write runs as one HTML page
description:
  - Reads runs that the callback P(choria.streams.choria_results#callback) submitted, and writes them as one HTML page.
    The page needs no other file and no network.
  - It reads and writes on the controller. The playbook C(choria.streams.run_report) is a play with this task.
  - The page may contain the output of tasks, so only the user who runs Ansible can read it (mode 0600).
author:
  - The choria.streams developers (@choria-io)
options:
  dest:
    description: The file on the controller. An existing file is replaced.
    type: path
    required: true
  stream:
    description: The stream to which the callback submits, or a mirror of it.
    type: str
    default: ANSIBLE_RUNS
  subject_prefix:
    description: The first words of the subjects of events.
    type: str
    default: ansible.runs
  run_id:
    description: The one run with this id. Not with O(playbooks) and O(limit). If not set, the newest runs.
    type: str
  playbooks:
    description:
      - Only runs of these playbooks, as shell patterns for their paths or file names, such as V(site.yml) or V(/srv/*).
      - A pattern that begins with V(!) excludes playbooks. Runs of all playbooks if not set.
    type: list
    elements: str
  limit:
    description: At most this many of the newest runs, by default 1.
    type: int
  max_results:
    description: At most this many failures, and as many results, are shown of each run. The counts are of all.
    type: int
    default: 50000
  max_hosts:
    description: The timeline and the facts of each run show at most this many hosts.
    type: int
    default: 1000
extends_documentation_fragment:
  - choria.streams.connection
  - choria.streams.attributes
attributes:
  check_mode:
    support: full
    details: The runs are read, and no file is written.
  diff_mode:
    support: none
    details: A page is long, and has all that tasks wrote.
  idempotent:
    support: full
    details: The same runs give the same page.
  async:
    support: none
    description: Can be run with C(async).
notes:
  - Variables C(choria_streams_<option>), the environment variables C(CHORIA_STREAMS_<OPTION>) of the controller and the
    section C([choria_streams]) of C(ansible.cfg) set the connection options too.
seealso:
  - module: choria.streams.choria_run_info
  - plugin: choria.streams.choria_results
    plugin_type: callback
"""

EXAMPLES = r"""
---
# With runs in the stream ANSIBLE_RUNS, as the callback choria_results sends them
- name: Write the page of the newest run
  choria.streams.choria_run_page:
    dest: run.html

- name: Write the last five runs of a playbook on one page
  choria.streams.choria_run_page:
    dest: site.html
    playbooks: [site.yml]
    limit: 5
"""

RETURN = r"""
---
dest:
  description: The page's file.
  returned: success
  type: str
  sample: /home/ann/run.html
size:
  description: Its size in bytes.
  returned: success
  type: int
  sample: 204800
stream:
  description: The stream of the runs.
  returned: success
  type: dict
  contains:
    name:
      description: Its name.
      type: str
      sample: ANSIBLE_RUNS
runs:
  description: The runs of the page, the newest first.
  returned: success
  type: list
  elements: dict
  contains:
    run_id:
      description: The id of the run.
      type: str
      sample: "01a229c0-5417-7f60-a106-75824240c3eb"
    outcome:
      description: How it ended, as P(choria.streams.choria_run_info#module) returns it.
      type: str
      sample: failed
    started:
      description: When it started, RFC 3339 UTC.
      type: str
      sample: "2026-03-01T12:00:00.123456789Z"
    finished:
      description: When it ended, RFC 3339 UTC; null if the end is missing.
      type: str
      sample: "2026-03-01T12:00:42.623456789Z"
    duration:
      description: How long it took in seconds.
      type: float
      sample: 42.5
    complete:
      description: Whether all of its events are in the stream.
      type: bool
      sample: true
    counts:
      description: The number of results by status, and seconds.
      type: dict
      sample:
        ok: 8
        changed: 3
        failed: 1
        skipped: 2
        unreachable: 0
        ignored: 0
        rescued: 0
        duration: 31.2
        waited: 3.2
        held: 12.5
failure:
  description:
    - The machine-readable part of an error. C(code) is its kind, such as V(not_found), V(option), V(unreachable),
      V(permission) or V(api). The guide Troubleshooting in C(docs/troubleshooting.md) lists all codes.
    - C(option) is the option to change, where it is one.
  returned: failure
  type: dict
  sample: {code: option, option: name}
"""
