# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the results of runs."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: choria_run_info
version_added: 1.0.0
short_description: Read the results of runs from a stream of Choria Streams
description:
  - Reads the events that the callback P(choria.streams.choria_results#callback) submitted, directly from the stream. It
    writes nothing, and creates no consumer.
  - Returns the newest runs, or one of them, with counts by host and task, the failures, and all durations. With
    O(last_results) it returns the last result of each host.
  - The events of a run are numbered without a gap, so that RV(runs[].complete) is a proof. These numbers show
    events that are missing or in the stream more than once.
  - A run's start and end are found by their subjects, and usually only what lies between them is read, page by page.
    When events are missing there, all that was stored since the run began is searched. The order in which events were
    stored makes no difference.
  - The user only needs the permission to read the stream.
author:
  - The choria.streams developers (@choria-io)
options:
  stream:
    description: The stream to which the callback submits, or a mirror of it.
    type: str
    default: ANSIBLE_RUNS
  subject_prefix:
    description: The first words of the subjects of events.
    type: str
    default: ansible.runs
  run_id:
    description:
      - The one run with this id. Without it the newest runs are returned.
      - This also finds a run whose start and end are not in the stream. In a large stream, it is searched among the
        oldest and the newest 1,024 messages.
      - Not with O(playbooks), O(since), O(until), O(outcomes) and O(limit).
    type: str
  playbooks:
    description:
      - Only runs of these playbooks, as shell patterns for their paths or file names, such as V(site.yml) or V(/srv/*).
      - A pattern that begins with V(!) excludes playbooks. Runs of all playbooks if not set.
    type: list
    elements: str
  hosts:
    description:
      - Only runs with one of these hosts, and only the failures and results of these hosts.
      - Whether a run is complete, and all its counts, are still those of the whole run. All runs if not set.
    type: list
    elements: str
  since:
    description:
      - Only runs that started since then.
      - A time is written as RFC 3339, such as V(2026-03-01T12:00:00Z); a duration before now as V(90s), V(1h) or V(7d).
      - All runs if not set.
    type: str
  until:
    description: Only runs that started until then, written as O(since) is. All runs if not set.
    type: str
  outcomes:
    description: Only runs with one of these outcomes, see RV(runs[].outcome). All runs if not set.
    type: list
    elements: str
    choices: [succeeded, failed, interrupted, running, lost]
  limit:
    description: At most this many of the newest runs, by default 10.
    type: int
  statuses:
    description:
      - Which results RV(runs[].results) contains. No results if not set.
      - With O(last_results), only hosts whose last result has one of these statuses.
    type: list
    elements: str
    choices: [ok, changed, failed, skipped, unreachable, ignored]
  max_results:
    description: At most this many failures, and as many results, are returned of each run. The counts are of all.
    type: int
    default: 1000
  lost_after:
    description:
      - A run without an end counts as lost when nothing of it was stored for so long, as seconds or text such as V(1h).
    type: str
    default: 1h
  last_results:
    description:
      - Return the last result of each host, or of O(hosts), and no runs.
      - O(since), O(until) and O(statuses) then select by that result. It is the one that happened last,
        whenever it was stored.
      - Not with O(run_id), O(playbooks), O(outcomes) and O(limit).
    type: bool
    default: false
extends_documentation_fragment:
  - choria.streams.connection
  - choria.streams.attributes
  - choria.streams.attributes.info
seealso:
  - plugin: choria.streams.choria_results
    plugin_type: callback
"""

EXAMPLES = r"""
---
# With runs in the stream ANSIBLE_RUNS, as the callback choria_results sends them
- name: The failed runs of the last day
  choria.streams.choria_run_info:
    outcomes: [failed, lost]
    since: 1d
  register: bad

- name: What failed in them
  ansible.builtin.debug:
    msg: "{{ item.host }}, {{ item.task }}: {{ item.msg | default(item.status) }}"
  loop: "{{ bad.runs | map(attribute='failures') | flatten }}"

- name: The last run, with all of its results
  choria.streams.choria_run_info:
    limit: 1
    statuses: [ok, changed, failed, skipped, unreachable, ignored]
  register: last

- name: Check that no event is missing
  ansible.builtin.assert:
    that: last.runs[0].complete
  when: last.runs | length == 1

- name: The hosts whose last result is bad
  choria.streams.choria_run_info:
    last_results: true
    statuses: [failed, unreachable]
  register: troubled
"""

RETURN = r"""
---
runs:
  description: The runs, the newest first. It is not returned with O(last_results).
  returned: success
  type: list
  elements: dict
  contains:
    run_id:
      description: The id.
      type: str
      sample: "01a229c0-5417-7f60-a106-75824240c3eb"
    outcome:
      description:
        - V(succeeded), V(failed) or V(interrupted), as the run's end says.
        - Without an end V(running), or V(lost) if nothing was stored for O(lost_after).
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
      description: How long it took in seconds, or so far if it has no end.
      type: float
      sample: 42.5
    about:
      description: >-
        The data of its start event, such as C(playbook), C(user), C(controller), C(check_mode) and C(limit);
        empty if that is missing.
      type: dict
      sample: {playbook: /srv/site/site.yml, user: ann, controller: deploy1, check_mode: false, limit: null}
    complete:
      description: Whether neither the end nor any other event is missing.
      type: bool
      sample: true
    start_missing:
      description:
        - Whether the event of its start is missing. Then RV(runs[].about) is empty.
        - RV(runs[].started) is then computed from its end, or taken from its first event.
      type: bool
      sample: false
    events:
      description: Its events in the stream.
      type: dict
      contains:
        found:
          description: The number of different events.
          type: int
          sample: 60
        expected:
          description: The number of events of the run; null if its end is missing.
          type: int
          sample: 60
        missing:
          description: The missing ones as ranges of sequence numbers, C(first) to C(last).
          type: list
          elements: dict
          sample: [{first: 7, last: 8}]
        missing_count:
          description: How many are missing. Without an end, only those before the last event are counted.
          type: int
          sample: 0
        duplicates:
          description: Events that the stream has more than once, as ranges of sequence numbers.
          type: list
          elements: dict
          sample: [{first: 12, last: 12}]
        duplicate_count:
          description: The number of superfluous events.
          type: int
          sample: 0
        first_in_stream:
          description: The stream's sequence number of the first.
          type: int
          sample: 1201
        last_in_stream:
          description: The stream's sequence number of the last.
          type: int
          sample: 1260
    counts:
      description:
        - How many results had which status, C(ok) to C(ignored) and C(rescued); how long all took, C(duration), how
          long they waited for a governor's seat and held one, C(waited) and C(held), in seconds.
        - C(failed) does not count what was rescued. C(began) and C(ended) are seconds after the run's start.
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
    plays:
      description: The plays, C(name), C(uuid) and C(began).
      type: list
      elements: dict
      sample: [{name: Deploy, uuid: "0242ac11-0002-1f0c-5a3e-000000000007", began: 0.4}]
    hosts:
      description: For each host, C(host), what RV(runs[].counts) has.
      type: list
      elements: dict
      sample: [{host: web1, ok: 4, changed: 2, failed: 0}]
    recap:
      description: The counts of Ansible's own recap by host; null if the end is missing.
      type: dict
      sample: {web1: {ok: 6, changed: 2, failures: 0, unreachable: 0, skipped: 1, rescued: 0, ignored: 0}}
    tasks:
      description: >-
        For each task, C(task), C(action), C(path), C(play) and C(uuid), what RV(runs[].counts) has, and the longest
        time, C(longest), with the host that took it, C(longest_host).
      type: list
      elements: dict
      sample: [{task: Restart, action: ansible.builtin.service, path: /srv/site/site.yml:7, play: Deploy}]
    failures:
      description:
        - The results that are failed or unreachable, rescued ones among them, in their order.
        - Each has C(sequence), C(time), C(host), C(play), C(task), C(action), C(path), C(status), C(rescued),
          C(began) (seconds after the run's start) and C(duration), and all else that the event has, such as C(msg),
          C(rc), C(items) and C(governor).
      type: list
      elements: dict
      sample:
        - &result
          sequence: 31
          time: "2026-03-01T12:00:00.123456789Z"
          host: web2
          play: Deploy
          task: Restart
          action: ansible.builtin.service
          status: failed
          msg: Unit app.service not found.
    results:
      description: The results with one of O(statuses), in the form of RV(runs[].failures).
      type: list
      elements: dict
      sample: [*result]
    left_out:
      description: How many C(failures) and C(results) are not returned because of O(max_results).
      type: dict
      sample: {failures: 0, results: 12}
last_results:
  description: >-
    The last result of each host, in the form of RV(runs[].failures), but with C(run_id) in place of C(began), by host.
  returned: success and O(last_results)
  type: list
  elements: dict
  sample:
    - <<: *result
      run_id: "01a229c0-5417-7f60-a106-75824240c3eb"
stream:
  description: The stream that was read, C(name), C(messages), C(first_sequence) and C(last_sequence).
  returned: success
  type: dict
  sample: {name: ANSIBLE_RUNS, messages: 1260, first_sequence: 1, last_sequence: 1260}
unreadable:
  description: The number of messages that were read on these subjects and are not events.
  returned: success
  type: int
  sample: 0
failure:
  description:
    - The machine-readable part of an error. C(code) is its kind, such as V(option), V(no_stream), V(permission) or
      V(api). The guide Troubleshooting in C(docs/troubleshooting.md) lists all codes.
    - C(option) is the option to change, where it is one.
  returned: failure
  type: dict
  sample: {code: no_stream, option: stream}
"""

from ansible_collections.choria.streams.plugins.module_utils._module import run_reading
from ansible_collections.choria.streams.plugins.module_utils._operations.runs.info import SPEC, read


def main() -> None:
    """Run the module."""
    run_reading(SPEC, read)


if __name__ == "__main__":
    main()
