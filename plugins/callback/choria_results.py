# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Submit the events of a run to a stream."""

from __future__ import annotations

DOCUMENTATION = r"""
---
name: choria_results
type: notification
version_added: 1.0.0
short_description: Submit the results of runs to a stream
description:
  - Sends events when a run, a play and a task start, for each result of a task on a host, for each include, and when
    the run is finished.
  - Events are CloudEvents 1.0 in JSON, of the types V(io.choria.streams.ansible.v1.run_started) and so on. The guide
    C(docs/results.md) lists them, and C(docs/schemas) has a JSON Schema for each.
  - Results of tasks are on the subject C(<subject_prefix>.task_result.<status>.<host>), other events of a host on
    C(<subject_prefix>.<kind>.<host>), and all others on C(<subject_prefix>.<kind>). Dots and other characters that a
    word can't have are written as in URLs, such as C(web1%2Eexample%2Enet).
  - Each event has the run's id and a number that counts from 1, so that a reader can prove that none is missing.
    An event that is sent twice is stored once, within the stream's C(duplicate_window).
  - Of a task's result it sends status, message, return code, warnings, duration, loop items and the seat of a governed
    task. It sends arguments, environment, diff, output and facts only if O(include) and O(facts) name them.
  - Of a task with C(no_log) it sends only the status. Other secrets are masked where they have a key that looks
    like that of a secret. They are also masked as values of vaulted variables and of variables with such a name, which
    may be templates, and as what a lookup of this collection returned for such a key. URLs lose their
    credentials. Other secrets can't be recognized, and are sent as Ansible shows them. Tasks that show such secrets
    need C(no_log), or O(mask).
  - A separate process sends the events. It does not delay the run, and can't change the run's result. Events that the
    servers don't accept within a second are written to disk. This run, or a later run of the same user, sends them in
    their order.
  - At the end of the run one line on the standard error output has the numbers of events in the stream, on disk and
    dropped.
  - O(identity) is the name of the controller in the events. If not set, it is the name of this host.
  - It creates no stream, see M(choria.streams.choria_stream). A stream that is created during the run gets all events.
author:
  - The choria.streams developers (@choria-io)
options:
  transport:
    description:
      - V(direct) sends events to the servers of the connection.
      - V(spool) writes them to the submission spool of the Choria Server of this host, which O(server_config) names.
        See M(choria.streams.choria_submit). The server publishes them on their subjects with the prefix
        C(<main_collective>.submission.in.), so the stream needs these subjects. If O(servers), O(choria_config) or
        O(context) is set, the brokers are asked once whether a stream has them, and the last line warns if none does.
    type: str
    choices: [direct, spool]
    default: direct
    env:
      - name: CHORIA_STREAMS_RESULTS_TRANSPORT
    ini:
      - section: choria_streams
        key: results_transport
  server_config:
    description:
      - The configuration file of the Choria Server of this host, for O(transport=spool). O(choria_config) is a client's
        file, as for modules, and says where the brokers are.
    type: path
    default: /etc/choria/server.conf
    version_added: 1.0.0
    env:
      - name: CHORIA_STREAMS_RESULTS_SERVER_CONFIG
    ini:
      - section: choria_streams
        key: results_server_config
  stream:
    description: The stream that takes the events. Events that another stream would take are refused.
    type: str
    default: ANSIBLE_RUNS
    env:
      - name: CHORIA_STREAMS_RESULTS_STREAM
    ini:
      - section: choria_streams
        key: results_stream
  subject_prefix:
    description: The first words of the subjects of events.
    type: str
    default: ansible.runs
    env:
      - name: CHORIA_STREAMS_RESULTS_SUBJECT_PREFIX
    ini:
      - section: choria_streams
        key: results_subject_prefix
  spool:
    description:
      - The folder for events that can't be sent. It is created when it is needed, for its owner only.
      - By default C(choria_streams/results) in E(XDG_STATE_HOME), else in C(~/.local/state).
    type: path
    env:
      - name: CHORIA_STREAMS_RESULTS_SPOOL
    ini:
      - section: choria_streams
        key: results_spool
  spool_size:
    description: How large that folder may become, as bytes or text. More is dropped, and the run's last line counts it.
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
        If the servers have been away for longer than this already, it waits for one second. A slow machine takes up
        to 3 s more.
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
    duplicate_window: 24h
"""

import atexit
import functools
import time
from typing import TYPE_CHECKING, Any

from ansible.plugins.callback import CallbackBase

from ansible_collections.choria.streams.plugins.module_utils import _errors
from ansible_collections.choria.streams.plugins.module_utils._options.names import STREAM_NAME
from ansible_collections.choria.streams.plugins.module_utils._options.quantities import parse_duration, parse_size
from ansible_collections.choria.streams.plugins.plugin_utils._ansible_compat import leave_out
from ansible_collections.choria.streams.plugins.plugin_utils._delivery.sender_process import Job, SenderProcess
from ansible_collections.choria.streams.plugins.plugin_utils._plugin import connection_of, settings_of
from ansible_collections.choria.streams.plugins.plugin_utils._results.event_data import status
from ansible_collections.choria.streams.plugins.plugin_utils._results.reporter import Choice, Reporter, choice

if TYPE_CHECKING:
    from collections.abc import Callable

    from ansible.executor.stats import AggregateStats
    from ansible.executor.task_result import CallbackTaskResult
    from ansible.inventory.host import Host
    from ansible.playbook import Playbook
    from ansible.playbook.included_file import IncludedFile
    from ansible.playbook.play import Play
    from ansible.playbook.task import Task

    from ansible_collections.choria.streams.plugins.plugin_utils._delivery.sender_pipe import Report


_OF_ITEMS = "v2_runner_item_on_"


def _harmless(method: Callable[..., None]) -> Callable[..., None]:
    """Return a method that never fails: after an error it warns once and turns the callback off."""

    @functools.wraps(method)
    def guarded(self: CallbackModule, *args: Any, **kwargs: Any) -> None:
        try:
            method(self, *args, **kwargs)
        except _errors.StreamsError as error:
            self.switch_off(error.message)
        except Exception as error:
            self.switch_off(_errors.bug(error).message)

    return guarded


class CallbackModule(CallbackBase):
    """Passes Ansible's calls to the reporter, and its events to the sender."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "choria.streams.choria_results"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._reporter: Reporter | None = None
        self._sender: SenderProcess | None = None
        self._prompted: list[str] = []
        # By host, of the playbooks before: Ansible counts on through all of a command line
        self._counted: dict[str, dict[str, int]] = {}

    def switch_off(self, reason: str) -> None:
        """Warn once with this reason, and report nothing more."""
        self.disabled = True
        sender, self._reporter, self._sender = self._sender, None, None
        if sender:
            sender.abandon()
        self._display.warning(f"choria_results is off, this run is not reported: {reason}")

    # Methods that Ansible calls

    @_harmless
    def v2_playbook_on_start(self, playbook: Playbook) -> None:
        self._report(playbook._file_name)

    @_harmless
    def v2_playbook_on_vars_prompt(self, varname: str, private: bool = True, *_more: Any, **_others: Any) -> None:
        if private:
            self._prompted.append(varname)

    @_harmless
    def v2_playbook_on_play_start(self, play: Play) -> None:
        self._report().play_started(play, self._prompted)

    @_harmless
    def v2_playbook_on_task_start(self, task: Task, is_conditional: bool) -> None:
        self._report().task_started(task)

    @_harmless
    def v2_playbook_on_handler_task_start(self, task: Task) -> None:
        self._report().task_started(task)

    @_harmless
    def v2_playbook_on_include(self, included_file: IncludedFile) -> None:
        self._report().included(included_file)

    @_harmless
    def v2_runner_on_start(self, host: Host, task: Task) -> None:
        self._report().host_started(host, task)

    @_harmless
    def v2_runner_on_ok(self, result: CallbackTaskResult) -> None:
        self._report().task_result(result, status("ok", changed=result.is_changed()))

    @_harmless
    def v2_runner_on_failed(self, result: CallbackTaskResult, ignore_errors: bool = False) -> None:
        self._report().task_result(result, status("failed", ignored=ignore_errors))

    @_harmless
    def v2_runner_on_skipped(self, result: CallbackTaskResult) -> None:
        self._report().task_result(result, "skipped")

    @_harmless
    def v2_runner_on_unreachable(self, result: CallbackTaskResult) -> None:
        self._report().task_result(result, status("unreachable", ignored=result.task.ignore_unreachable is True))

    @_harmless
    def v2_runner_item_on_ok(self, result: CallbackTaskResult) -> None:
        self._report().item_result(result)

    @_harmless
    def v2_runner_item_on_failed(self, result: CallbackTaskResult) -> None:
        self._report().item_result(result)

    @_harmless
    def v2_runner_item_on_skipped(self, result: CallbackTaskResult) -> None:
        self._report().item_result(result)

    @_harmless
    def v2_playbook_on_stats(self, stats: AggregateStats) -> None:
        self._finish(stats)

    @_harmless
    def _interrupted(self) -> None:
        """Handle the end of the program if Ansible did not report the end of the run."""
        self._finish(None)

    # The run

    def _report(self, playbook: str | None = None) -> Reporter:
        """Return the reporter of the current run. Each playbook of a command line is a run of its own."""
        if self._reporter:
            return self._reporter
        settings = settings_of(self)
        chosen = choice(self.get_option)
        reporter = Reporter(chosen)
        if not reporter.watches_templates:
            self._warn(
                "this ansible-core does not show the results of templates, so secrets in them are sent with events, "
                "unless the task has no_log: use a release that the collection is tested with"
            )
        self._sender = SenderProcess(self._job(reporter.run.run_id, chosen), self._warn)
        reporter.put = self._sender.put
        self._reporter = reporter
        if not reporter.watches_items:
            leave_out(self, _OF_ITEMS)  # of each item, Ansible copies the result before it calls
        atexit.register(self._interrupted)
        reporter.run_started(playbook, settings.identity)
        return reporter

    def _finish(self, stats: AggregateStats | None) -> None:
        reporter, sender, self._reporter, self._sender = self._reporter, self._sender, None, None
        atexit.unregister(self._interrupted)
        if reporter and sender:
            reporter.run_finished(stats and self._counts(stats))
            self._show_report(reporter.run.run_id, sender.finish())

    def _counts(self, stats: AggregateStats) -> dict[str, dict[str, int]]:
        """Return the counts of hosts since the previous playbook."""
        before, self._counted = self._counted, {host: stats.summarize(host) for host in sorted(stats.processed)}
        fresh = {
            host: {name: count - before.get(host, {}).get(name, 0) for name, count in counts.items()}
            for host, counts in self._counted.items()
        }
        return {host: counts for host, counts in fresh.items() if any(counts.values())}

    # The sender

    def _job(self, run_id: str, chosen: Choice) -> Job:
        return Job(
            run_id=run_id,
            connection=connection_of(self),
            transport=self.get_option("transport"),
            server_config=self.get_option("server_config"),
            stream=_errors.checked("stream", STREAM_NAME.to_wire, self.get_option("stream")),
            prefix=chosen.prefix,
            spool=self.get_option("spool"),
            spool_size=_errors.checked("spool_size", parse_size, self.get_option("spool_size")),
            flush_timeout=_errors.checked("flush_timeout", parse_duration, self.get_option("flush_timeout")),
            max_size=chosen.max_size,
            started=time.time(),
        )

    def _show_report(self, run_id: str, report: Report) -> None:
        """Show one line on the delivery of the events."""
        line = f"choria_results: run {run_id}: {report.text}"
        if report.fine:
            self._display.display(line, stderr=True)
        else:
            self._display.warning(line)

    def _warn(self, problem: str) -> None:
        self._display.warning(f"choria_results: {problem}")
