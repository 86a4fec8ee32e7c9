# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of the callback that say what is in the events of a run."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  events:
    description:
      - Events to send beside those of the run's start and end. These two are always sent, so that a run can be proved
        complete.
      - With V(item_result) each item of a loop is a separate event. Without it the task's result has all items.
    type: list
    elements: str
    choices: [play_started, task_started, task_result, item_result, included]
    default: [play_started, task_started, task_result, included]
    env:
      - name: CHORIA_STREAMS_RESULTS_EVENTS
    ini:
      - section: choria_streams
        key: results_events
  include:
    description:
      - Parts of results that are sent only on request, because they may contain secrets.
      - V(args) are the arguments as the module shows them, which needs C(inject_invocation = true) with ansible-core
        2.21 or later.
      - V(environment) is the value of the task's keyword of that name. V(output) is the end of its output and the
        traceback of an error, and V(diff) what C(--diff) shows.
    type: list
    elements: str
    choices: [args, diff, environment, output]
    default: []
    env:
      - name: CHORIA_STREAMS_RESULTS_INCLUDE
    ini:
      - section: choria_streams
        key: results_include
  facts:
    description:
      - Facts to send, as names or patterns without the prefix C(ansible_). C(*) stands for any text, C(?) for a letter.
    type: list
    elements: str
    default: []
    env:
      - name: CHORIA_STREAMS_RESULTS_FACTS
    ini:
      - section: choria_streams
        key: results_facts
  mask_keys:
    description:
      - Further patterns of keys whose values are masked. The usual names, such as C(*passw*), C(*secret*), C(*token*)
        and C(*api_key*), are always masked, in data and in texts with C(key=value), C(key:\ value) or C(--key value).
    type: list
    elements: str
    default: []
    env:
      - name: CHORIA_STREAMS_RESULTS_MASK_KEYS
    ini:
      - section: choria_streams
        key: results_mask_keys
  mask:
    description:
      - Regular expressions for secrets in texts. Use them for secrets without such a key that are in no vaulted
        variable and in no variable with such a name. With them each result takes a little longer.
    type: list
    elements: str
    default: []
    env:
      - name: CHORIA_STREAMS_RESULTS_MASK
    ini:
      - section: choria_streams
        key: results_mask
  batch:
    description:
      - A name for runs that belong together, such as the number of a change. It is in the event of the run's start.
      - No name by default.
    type: str
    env:
      - name: CHORIA_STREAMS_RESULTS_BATCH
    ini:
      - section: choria_streams
        key: results_batch
"""
