# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Submits what happens in a run to a stream."""

from __future__ import annotations

DOCUMENTATION = r"""
---
name: choria_results
type: notification
version_added: 0.1.0
short_description: Submit the results of runs to a stream
description:
  - Sends events when a run, a play and a task start, for each result of a task on a host, for what is included, and
    when the run is finished.
  - Events are CloudEvents 1.0 in JSON, of the types V(io.choria.streams.ansible.v1.run_started) and so on. The guide
    C(docs/results.md) lists them, and C(docs/schemas) has a JSON Schema for each.
  - Events of a host are on the subject C(<subject_prefix>.<kind>.<host>), all others on C(<subject_prefix>.<kind>).
    Dots and what else can't be in one word of a subject are written as in URLs, such as C(web1%2Eexample%2Enet).
  - Each event has the run's id and a number that counts from 1, so that a reader can prove that none is missing.
    An event that is sent twice is stored once.
  - Of a task's result it passes on status, message, return code, warnings, duration, loop items and the facts of a
    governed task; never arguments, environment, facts or output.
  - Of a task with C(no_log) it passes on the status alone. A message is passed on as Ansible shows it, so that tasks
    which show secrets need C(no_log) here as well.
  - A thread of its own sends. It does not slow the run, and whatever happens to it, the run's result is the same.
    What the servers don't take within half a second goes to disk, and is sent in its order when they are back, in this
    run or by a later one of the same user.
  - At the end of the run one line on the standard error output tells how many events are in the stream, how many are on
    disk, and how many were dropped.
  - O(identity) is the name of the controller in the events, where it is not set that of this host.
  - It creates no stream, see M(choria.streams.choria_stream). A stream that is created during the run gets all events.
author:
  - The choria.streams developers (@choria-io)
options:
  transport:
    description:
      - V(direct) sends events to the servers of the connection.
      - V(spool) hands them to the Choria Server of this host, through the submission spool that O(choria_config) names,
        else C(/etc/choria/server.conf). See M(choria.streams.choria_submit). It publishes them on their subjects behind
        C(<collective>.submission.in.), which the stream has to take.
    type: str
    choices: [direct, spool]
    default: direct
    env:
      - name: CHORIA_STREAMS_RESULTS_TRANSPORT
    ini:
      - section: choria_streams
        key: results_transport
  stream:
    description:
      - The stream that takes the events. Events that another stream would take are refused.
    type: str
    default: ANSIBLE_RUNS
    env:
      - name: CHORIA_STREAMS_RESULTS_STREAM
    ini:
      - section: choria_streams
        key: results_stream
  subject_prefix:
    description:
      - The first words of the subjects of events.
    type: str
    default: ansible.runs
    env:
      - name: CHORIA_STREAMS_RESULTS_SUBJECT_PREFIX
    ini:
      - section: choria_streams
        key: results_subject_prefix
  spool:
    description:
      - The folder for events that can't be sent. It is made when it is needed, for its owner alone.
      - Where it is not set, C(choria_streams/results) in E(XDG_STATE_HOME), else in C(~/.local/state).
    type: path
    env:
      - name: CHORIA_STREAMS_RESULTS_SPOOL
    ini:
      - section: choria_streams
        key: results_spool
  spool_size:
    description:
      - How large that folder may become, as bytes or text. What is too much is dropped, and the run's last line tells.
    type: str
    default: 256MiB
    env:
      - name: CHORIA_STREAMS_RESULTS_SPOOL_SIZE
    ini:
      - section: choria_streams
        key: results_spool_size
  max_size:
    description:
      - How large an event may be, as bytes or text such as V(64KiB).
      - Of a larger one the long values are cut, and C(truncated) in its data names them.
    type: str
    default: 64KiB
    env:
      - name: CHORIA_STREAMS_RESULTS_MAX_SIZE
    ini:
      - section: choria_streams
        key: results_max_size
  flush_timeout:
    description:
      - How long the end of the run may wait until all events are stored, as seconds or text such as V(5s).
        Servers that were away for longer than this already are waited for a second.
    type: str
    default: 5s
    env:
      - name: CHORIA_STREAMS_RESULTS_FLUSH_TIMEOUT
    ini:
      - section: choria_streams
        key: results_flush_timeout
requirements:
  - enabling in configuration, C(callbacks_enabled = choria.streams.choria_results)
  - C(bin_ansible_callbacks = true) for runs of C(ansible)
extends_documentation_fragment:
  - choria.streams.results
  - choria.streams.connection
  - choria.streams.connection.plugins
"""

EXAMPLES = r"""
---
# In ansible.cfg:
#
#   [defaults]
#   callbacks_enabled = choria.streams.choria_results
#
#   [choria_streams]
#   servers = nats://broker.example.net:4222

- name: A stream for the results of runs
  choria.streams.choria_stream:
    name: ANSIBLE_RUNS
    subjects: ["ansible.runs.>"]
    max_age: 90d
"""

import atexit
import functools
import re
import time
import uuid
from typing import TYPE_CHECKING, Any

from ansible.plugins.callback import CallbackBase

from ansible_collections.choria.streams.plugins.module_utils._errors import OptionError, StreamsError
from ansible_collections.choria.streams.plugins.module_utils._options.codecs import parse_duration, parse_size
from ansible_collections.choria.streams.plugins.module_utils._services.spool import find_spool
from ansible_collections.choria.streams.plugins.plugin_utils import _event_data, _events
from ansible_collections.choria.streams.plugins.plugin_utils._circumstances import circumstances
from ansible_collections.choria.streams.plugins.plugin_utils._journal import Spool, spool_path
from ansible_collections.choria.streams.plugins.plugin_utils._plugin import settings_of
from ansible_collections.choria.streams.plugins.plugin_utils._sender import Sender
from ansible_collections.choria.streams.plugins.plugin_utils._transport import ChoriaSpool, Direct

if TYPE_CHECKING:
    from collections.abc import Callable

    from ansible.executor.stats import AggregateStats
    from ansible.executor.task_result import CallbackTaskResult
    from ansible.inventory.host import Host
    from ansible.playbook import Playbook
    from ansible.playbook.included_file import IncludedFile
    from ansible.playbook.play import Play
    from ansible.playbook.task import Task

    from ansible_collections.choria.streams.plugins.module_utils._connection.settings import Settings
    from ansible_collections.choria.streams.plugins.plugin_utils._transport import Transport

_SMALLEST = 1024


def _harmless(method: Callable[..., None]) -> Callable[..., None]:
    """A method that never fails: after one warning the callback is off, and the run goes on."""

    @functools.wraps(method)
    def guarded(self: CallbackModule, *args: Any, **kwargs: Any) -> None:
        try:
            method(self, *args, **kwargs)
        except StreamsError as error:
            self.switch_off(error.message)
        except Exception as error:
            self.switch_off(f"{type(error).__name__} in {method.__name__}, a bug of choria.streams: {error}")

    return guarded


class CallbackModule(CallbackBase):
    """Turns what Ansible tells into events and hands them to the sender. All of it in the main process."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "choria.streams.choria_results"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._run: _events.Run | None = None
        self._sender: Sender | None = None
        self._kinds: frozenset[str] = frozenset()
        self._contents = _event_data.Contents()
        # By host and task
        self._began: dict[tuple[str, str], float] = {}
        self._items: dict[tuple[str, str], int] = {}
        # What was started in this play
        self._tasks: set[str] = set()
        self._start = 0.0
        self._flush_timeout = 0.0
        self._max_size = 0
        self._prefix = ""

    def switch_off(self, reason: str) -> None:
        self.disabled = True
        self._run = None
        self._display.warning(f"choria_results is off, this run is not reported: {reason}")

    # What Ansible calls

    @_harmless
    def v2_playbook_on_start(self, playbook: Playbook) -> None:
        self._begin(playbook._file_name)

    @_harmless
    def v2_playbook_on_play_start(self, play: Play) -> None:
        run = self._begin()
        run.play = _event_data.play_data(play)
        self._tasks.clear()
        data = {"play": run.play, "hosts": play.hosts, "strategy": play.strategy, "serial": play.serial}
        self._put(run, _events.PLAY_STARTED, data)

    @_harmless
    def v2_playbook_on_task_start(self, task: Task, is_conditional: bool) -> None:
        self._task_started(task)

    @_harmless
    def v2_playbook_on_handler_task_start(self, task: Task) -> None:
        self._task_started(task)

    @_harmless
    def v2_playbook_on_include(self, included_file: IncludedFile) -> None:
        run = self._begin()
        self._put(run, _events.INCLUDED, {"play": run.play, **_event_data.included_data(included_file)})

    @_harmless
    def v2_runner_on_start(self, host: Host, task: Task) -> None:
        self._began[host.get_name(), task._uuid] = time.monotonic()

    @_harmless
    def v2_runner_on_ok(self, result: CallbackTaskResult) -> None:
        self._task_result(result, _event_data.status("ok", changed=result.is_changed()))

    @_harmless
    def v2_runner_on_failed(self, result: CallbackTaskResult, ignore_errors: bool = False) -> None:
        self._task_result(result, _event_data.status("failed", ignored=ignore_errors))

    @_harmless
    def v2_runner_on_skipped(self, result: CallbackTaskResult) -> None:
        self._task_result(result, "skipped")

    @_harmless
    def v2_runner_on_unreachable(self, result: CallbackTaskResult) -> None:
        self._task_result(result, _event_data.status("unreachable", ignored=result.task.ignore_unreachable is True))

    @_harmless
    def v2_runner_item_on_ok(self, result: CallbackTaskResult) -> None:
        self._item_result(result)

    @_harmless
    def v2_runner_item_on_failed(self, result: CallbackTaskResult) -> None:
        self._item_result(result)

    @_harmless
    def v2_runner_item_on_skipped(self, result: CallbackTaskResult) -> None:
        self._item_result(result)

    @_harmless
    def v2_playbook_on_stats(self, stats: AggregateStats) -> None:
        hosts = {host: stats.summarize(host) for host in sorted(stats.processed)}
        bad = any(counts["failures"] or counts["unreachable"] for counts in hosts.values())
        self._finish("failed" if bad else "succeeded", hosts)

    # The run

    def _begin(self, playbook: str | None = None) -> _events.Run:
        """The run under way, or a new one. Each playbook of a command line is a run of its own."""
        if self._run:
            return self._run
        settings = settings_of(self)
        self._choose_contents()
        run = _events.Run(str(uuid.uuid4()))
        self._open_sender(settings, run.run_id)
        self._run = run
        self._start = time.monotonic()
        atexit.register(self._interrupted)
        self._put(self._run, _events.RUN_STARTED, circumstances(playbook, settings.identity, self.get_option("batch")))
        return self._run

    def _choose_contents(self) -> None:
        self._kinds = frozenset((*_events.ALWAYS, *self.get_option("events")))
        self._contents = _event_data.Contents(
            frozenset(self.get_option("include")),
            tuple(self.get_option("facts")),
            items=_events.ITEM_RESULT not in self._kinds,
        )

    def _put(self, run: _events.Run, kind: str, data: dict[str, Any], host: str = "") -> None:
        if self._sender and kind in self._kinds:
            event = run.event(kind, time.time(), data, host)
            payload = _events.encode(event, self._max_size)
            self._sender.put(_events.subject(self._prefix, event), event.id, payload)

    def _task_started(self, task: Task) -> None:
        """Once for each task of a play, also where each host starts it when its time has come."""
        run = self._begin()
        if task._uuid not in self._tasks:
            self._tasks.add(task._uuid)
            data = {"play": run.play, "task": _event_data.task_data(task), "handler": _event_data.is_handler(task)}
            self._put(run, _events.TASK_STARTED, data)

    def _task_result(self, result: CallbackTaskResult, status: str) -> None:
        run = self._begin()
        host, task = result.host.get_name(), result.task
        began = self._began.pop((host, task._uuid), None)
        self._items.pop((host, task._uuid), None)
        data = {
            "status": status,
            "changed": result.is_changed(),
            "host": host,
            "play": run.play,
            "task": _event_data.task_data(task),
            "handler": _event_data.is_handler(task),
            "duration": None if began is None else round(time.monotonic() - began, 6),
            **_event_data.task_result_data(result, self._contents),
        }
        if status == "failed" and _event_data.is_rescued(task):
            data["rescued"] = True
        self._put(run, _events.TASK_RESULT, data, host)

    def _item_result(self, result: CallbackTaskResult) -> None:
        if _events.ITEM_RESULT not in self._kinds:
            return
        run = self._begin()
        host, task = result.host.get_name(), result.task
        self._items[host, task._uuid] = index = self._items.get((host, task._uuid), 0) + 1
        data = {
            "changed": result.is_changed(),
            "host": host,
            "play": run.play,
            "task": _event_data.task_data(task),
            "handler": _event_data.is_handler(task),
            "index": index,
            **_event_data.item_result_data(result, self._contents),
        }
        self._put(run, _events.ITEM_RESULT, data, host)

    def _finish(self, outcome: str, hosts: dict[str, Any] | None = None) -> None:
        run, sender, self._run = self._run, self._sender, None
        atexit.unregister(self._interrupted)
        if not run or not sender:
            return
        data = {"outcome": outcome, "events": run.sequence + 1, "duration": round(time.monotonic() - self._start, 6)}
        self._put(run, _events.RUN_FINISHED, {**data, "hosts": hosts})
        self._close_sender(run, sender)

    # The sender

    def _open_sender(self, settings: Settings, run_id: str) -> None:
        self._flush_timeout = _valid("flush_timeout", parse_duration, self.get_option("flush_timeout"))
        self._max_size = _valid("max_size", _event_size, self.get_option("max_size"))
        self._prefix = _valid("subject_prefix", _words, self.get_option("subject_prefix"))
        stream = _valid("stream", _stream_name, self.get_option("stream"))
        size = _valid("spool_size", parse_size, self.get_option("spool_size"))
        if self.get_option("transport") == "direct":
            transport: Transport = Direct(settings, self._prefix, stream)
        else:
            transport = ChoriaSpool(find_spool(None, self.get_option("choria_config")), settings.identity, self._prefix)
        self._sender = Sender(transport, Spool(spool_path(self.get_option("spool")), size), run_id)

    def _close_sender(self, run: _events.Run, sender: Sender) -> None:
        """Waits for the sender, and tells in one line what became of the events."""
        report = sender.finish(self._flush_timeout)
        line = f"choria_results: run {run.run_id}: {report.text}"
        if report.fine:
            self._display.display(line, stderr=True)
        else:
            self._display.warning(line)

    @_harmless
    def _interrupted(self) -> None:
        """The program ends, and Ansible did not tell the end of the run."""
        self._finish("interrupted")


def _valid(option: str, check: Callable[[Any], Any], value: Any) -> Any:
    try:
        return check(value)
    except ValueError as error:
        raise OptionError(option, f"{error}.") from error


def _words(value: str) -> str:
    if not re.fullmatch(r"[^\s.*>]+(\.[^\s.*>]+)*", value):
        raise ValueError(f"'{value}' is not a subject: write words joined by dots, without spaces, * and >")
    return value


def _stream_name(value: str) -> str:
    if not re.fullmatch(r"[^\s.*>/\\]+", value):
        raise ValueError(f"'{value}' is not a stream's name: it has no spaces and none of . * > / \\")
    return value


def _event_size(value: str) -> int:
    size = parse_size(value)
    if size < _SMALLEST:
        raise ValueError(f"'{value}' is too small for an event: give at least {_SMALLEST} bytes")
    return size
