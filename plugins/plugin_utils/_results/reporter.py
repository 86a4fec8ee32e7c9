# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Convert Ansible's calls to the events that the user chose."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...module_utils import _errors
from ...module_utils._operations.runs import events as run_events
from ...module_utils._operations.runs import kinds as run_kinds
from ...module_utils._operations.runs.kinds import ITEM_RESULT
from ...module_utils._options.names import SUBJECT_PREFIX
from ...module_utils._options.quantities import parse_size
from . import event_data, events
from .event_data import Contents
from .masking import Masking
from .run_context import circumstances
from .secret_finder import KnownSecrets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ansible.executor.task_result import CallbackTaskResult
    from ansible.inventory.host import Host
    from ansible.playbook.included_file import IncludedFile
    from ansible.playbook.play import Play
    from ansible.playbook.task import Task

_SMALLEST = 1024


@dataclass(frozen=True)
class Choice:
    """The user's choice: ``kinds`` of events, their ``contents``, secrets, and the form of events."""

    kinds: frozenset[str]
    contents: Contents
    masking: Masking
    prefix: str
    max_size: int
    batch: str | None


def choice(get_option: Callable[[str], Any]) -> Choice:
    """Return the checked options. Raises OptionError."""
    kinds = frozenset((*events.ALWAYS, *get_option("events")))
    masking = _errors.checked("mask", lambda texts: Masking(get_option("mask_keys"), texts), get_option("mask"))
    contents = Contents(
        frozenset(get_option("include")),
        tuple(get_option("facts")),
        items=ITEM_RESULT not in kinds,
        masking=masking,
    )
    return Choice(
        kinds,
        contents,
        masking,
        _errors.checked("subject_prefix", SUBJECT_PREFIX.to_wire, get_option("subject_prefix")),
        _errors.checked("max_size", _event_size, get_option("max_size")),
        get_option("batch"),
    )


def _event_size(value: str) -> int:
    size = parse_size(value)
    if size < _SMALLEST:
        raise ValueError(f"'{value}' is too small for an event: give at least {_SMALLEST} bytes")
    return size


class Reporter:
    """Makes the events of one run, and passes them to ``put``: subject, id and payload.

    Ansible calls from the thread of the run and from one for results of items, one at a time.
    """

    def __init__(self, choice: Choice) -> None:
        self.run = events.Run(run_events.new_run_id())
        self.put: Callable[[str, str, bytes], None] | None = None
        self._choice = choice
        self._secrets = KnownSecrets(choice.masking)
        self._start = time.monotonic()
        # By host and task
        self._began: dict[tuple[str, str], float] = {}
        self._items: dict[tuple[str, str], int] = {}
        # Tasks that were started in this play, and the data that a task has in common on all hosts
        self._tasks: set[str] = set()
        self._known: dict[str, event_data.SameForAll] = {}

    @property
    def watches_templates(self) -> bool:
        """True if secrets from templates become known."""
        return self._secrets.watches_templates

    @property
    def watches_items(self) -> bool:
        """True if results of items are events of their own."""
        return run_kinds.ITEM_RESULT in self._choice.kinds

    def run_started(self, playbook: str | None, identity: str) -> None:
        """Send the event of the run's start."""
        self._secrets.of_surroundings()
        self._send(run_kinds.RUN_STARTED, circumstances(playbook, identity, self._choice.batch))

    def play_started(self, play: Play, prompted: Iterable[str]) -> None:
        """Send the event of a play's start."""
        self._secrets.of_play(play, prompted)
        self.run.play = event_data.play_data(play)
        self._tasks.clear()
        self._known.clear()
        data = {"play": self.run.play, "hosts": play.hosts, "strategy": play.strategy, "serial": play.serial}
        self._send(run_kinds.PLAY_STARTED, data)

    def task_started(self, task: Task) -> None:
        """Report the start of a task once in a play, although some strategies start it for each host."""
        self._secrets.of_changed()
        if task._uuid not in self._tasks:
            self._tasks.add(task._uuid)
            self._secrets.of_task(task)
            self._send(run_kinds.TASK_STARTED, self._about(task))

    def host_started(self, host: Host, task: Task) -> None:
        """Note when a task starts on a host."""
        self._began[host.get_name(), task._uuid] = time.monotonic()

    def included(self, included: IncludedFile) -> None:
        """Send the event of included files."""
        self._send(run_kinds.INCLUDED, {"play": self.run.play, **event_data.included_data(included)})

    def task_result(self, result: CallbackTaskResult, status: str) -> None:
        """Send the event of a task's result on a host."""
        host, task = result.host.get_name(), result.task
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
        self._send(run_kinds.TASK_RESULT, data, host)

    def item_result(self, result: CallbackTaskResult) -> None:
        """Send the event of an item's result, if these are chosen."""
        if not self.watches_items:
            return
        host, task = result.host.get_name(), result.task
        self._secrets.of_part(task, result.result)
        self._items[host, task._uuid] = index = self._items.get((host, task._uuid), 0) + 1
        data = {
            "changed": result.is_changed(),
            "host": host,
            **self._about(task),
            "index": index,
            **event_data.item_result_data(result, self._choice.contents),
        }
        self._send(run_kinds.ITEM_RESULT, data, host)

    def run_finished(self, hosts: Mapping[str, Mapping[str, int]] | None) -> None:
        """Report the end of the run. Without the counts of its hosts it was interrupted."""
        bad = hosts and any(counts["failures"] or counts["unreachable"] for counts in hosts.values())
        outcome = "interrupted" if hosts is None else "failed" if bad else "succeeded"
        data = events.finished(outcome, self.run.sequence + 1, time.monotonic() - self._start, hosts)
        self._send(run_kinds.RUN_FINISHED, data)

    def _about(self, task: Task) -> dict[str, Any]:
        data = self._known.get(task._uuid)
        if data is None:
            data = self._known[task._uuid] = event_data.SameForAll.of(task)
        return {"play": self.run.play, "task": data.task_data(task), "handler": data.handler}

    def _send(self, kind: str, data: dict[str, Any], host: str = "") -> None:
        chosen = self._choice
        if not self.put or kind not in chosen.kinds:
            return
        event = self.run.event(kind, time.time(), data, host)
        payload = events.encode(event, chosen.max_size, chosen.masking)
        self.put(events.subject(chosen.prefix, event), event.id, payload)
