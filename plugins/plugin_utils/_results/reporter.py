# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Convert Ansible's calls to events."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Any

from . import event_data, events
from .run_context import circumstances
from .secret_finder import KnownSecrets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ansible.executor.task_result import CallbackTaskResult
    from ansible.inventory.host import Host
    from ansible.playbook.included_file import IncludedFile
    from ansible.playbook.play import Play
    from ansible.playbook.task import Task

    from .options import Choice


class Reporter:
    """Makes the events of one run, and passes them to ``put``: subject, id and payload.

    Ansible calls from the thread of the run and from one for results of items, one at a time.
    """

    def __init__(self, choice: Choice) -> None:
        self.run = events.Run(str(uuid.uuid4()))
        self.put: Callable[[str, str, bytes], None] | None = None
        self._choice = choice
        self._secrets = KnownSecrets(choice.masking)
        self._start = time.monotonic()
        # By host and task
        self._began: dict[tuple[str, str], float] = {}
        self._items: dict[tuple[str, str], int] = {}
        # What was started in this play, and what is the same of a task on all of its hosts
        self._tasks: set[str] = set()
        self._known: dict[str, event_data.SameForAll] = {}

    @property
    def watches_templates(self) -> bool:
        """True if secrets from templates become known."""
        return self._secrets.watches_templates

    def run_started(self, playbook: str | None, identity: str) -> None:
        self._secrets.of_surroundings()
        self._tell(events.RUN_STARTED, circumstances(playbook, identity, self._choice.batch))

    def play_started(self, play: Play, prompted: Iterable[str]) -> None:
        self._secrets.of_play(play, prompted)
        self.run.play = event_data.play_data(play)
        self._tasks.clear()
        self._known.clear()
        data = {"play": self.run.play, "hosts": play.hosts, "strategy": play.strategy, "serial": play.serial}
        self._tell(events.PLAY_STARTED, data)

    def task_started(self, task: Task) -> None:
        """Report the start of a task once in a play, although some strategies start it for each host."""
        self._secrets.of_changed()
        if task._uuid not in self._tasks:
            self._tasks.add(task._uuid)
            self._secrets.of_task(task)
            self._tell(events.TASK_STARTED, self._about(task))

    def host_started(self, host: Host, task: Task) -> None:
        self._began[host.get_name(), task._uuid] = time.monotonic()

    def included(self, included: IncludedFile) -> None:
        self._tell(events.INCLUDED, {"play": self.run.play, **event_data.included_data(included)})

    def task_result(self, result: CallbackTaskResult, status: str) -> None:
        host, task = result.host.get_name(), result.task
        self._secrets.of_templates()
        self._secrets.of_result(result)
        self._items.pop((host, task._uuid), None)
        began = self._began.pop((host, task._uuid), None)
        data = {
            "status": status,
            "changed": result.is_changed(),
            "host": host,
            **self._about(task),
            "duration": None if began is None else round(time.monotonic() - began, 6),
            **event_data.task_result_data(
                result, self._choice.contents, failed=status in (*event_data.FAILURES, "ignored")
            ),
        }
        if status == "failed" and event_data.is_rescued(task):
            data["rescued"] = True
        self._tell(events.TASK_RESULT, data, host)

    def item_result(self, result: CallbackTaskResult) -> None:
        if events.ITEM_RESULT not in self._choice.kinds:
            return
        host, task = result.host.get_name(), result.task
        self._secrets.of_templates()
        self._secrets.of_part(task, result.result)
        self._items[host, task._uuid] = index = self._items.get((host, task._uuid), 0) + 1
        data = {
            "changed": result.is_changed(),
            "host": host,
            **self._about(task),
            "index": index,
            **event_data.item_result_data(result, self._choice.contents),
        }
        self._tell(events.ITEM_RESULT, data, host)

    def run_finished(self, hosts: Mapping[str, Mapping[str, int]] | None) -> None:
        """Report the end of the run. Without the counts of its hosts it was interrupted."""
        bad = hosts and any(counts["failures"] or counts["unreachable"] for counts in hosts.values())
        outcome = "interrupted" if hosts is None else "failed" if bad else "succeeded"
        data = events.finished(outcome, self.run.sequence + 1, time.monotonic() - self._start, hosts)
        self._tell(events.RUN_FINISHED, data)

    def _about(self, task: Task) -> dict[str, Any]:
        known = self._known.get(task._uuid)
        if known is None:
            known = self._known[task._uuid] = event_data.SameForAll.of(task)
        return {"play": self.run.play, "task": known.task_data(task), "handler": known.handler}

    def _tell(self, kind: str, data: dict[str, Any], host: str = "") -> None:
        chosen = self._choice
        if not self.put or kind not in chosen.kinds:
            return
        # The names of tasks are rendered in this process, with what was asked for just before
        self._secrets.of_templates()
        event = self.run.event(kind, time.time(), data, host)
        payload = events.encode(event, chosen.max_size, chosen.masking)
        self.put(events.subject(chosen.prefix, event), event.id, payload)
