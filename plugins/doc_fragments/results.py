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
      - Which events are sent beside those of the run's start and end, without which nobody could tell whether it is
        complete.
      - With V(item_result) each item of a loop is an event of its own. Without it the task's result has them all.
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
      - What the results of tasks have that they have not by themselves, because it may hold secrets.
      - V(args) are the arguments of the module, V(environment) is what the task's keyword of that name says.
        V(output) is the end of what the task wrote and the traceback of an error. V(diff) is what C(--diff) shows.
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
      - Which facts are passed on, by names without the prefix C(ansible_). C(*) and C(?) stand for any letters.
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
      - Patterns of keys whose values are masked beside those with the usual names, such as C(*passw*), C(*secret*),
        C(*token*) and C(*api_key*). Both in data and in texts with C(key=value), C(key:\ value) or C(--key value).
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
      - Regular expressions of what is masked in texts, for secrets that have no such key and are in no variable that
        is vaulted or has a telling name. With them each result takes a little longer.
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
      - A name that several runs have in common, such as that of a change. It is in the event of the run's start.
      - No name by default.
    type: str
    env:
      - name: CHORIA_STREAMS_RESULTS_BATCH
    ini:
      - section: choria_streams
        key: results_batch
"""
