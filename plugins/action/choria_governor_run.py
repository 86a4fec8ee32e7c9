# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run tasks while holding a seat in a governor. Documented in ``plugins/modules/choria_governor_run.py``."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from ansible.plugins.action import ActionBase

from ansible_collections.choria.streams.plugins.module_utils import _errors
from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from ansible_collections.choria.streams.plugins.module_utils._operations.governor import governor as governors
from ansible_collections.choria.streams.plugins.module_utils._operations.governor.campaign import Wait, campaign, find
from ansible_collections.choria.streams.plugins.module_utils._operations.governor.lease import (
    TERMS,
    Terms,
    report,
    timed_out,
)
from ansible_collections.choria.streams.plugins.module_utils._operations.signals import Signals
from ansible_collections.choria.streams.plugins.module_utils._operations.wake import Wake
from ansible_collections.choria.streams.plugins.plugin_utils import _action, _forks
from ansible_collections.choria.streams.plugins.plugin_utils._action import failing, options_of, settings_of
from ansible_collections.choria.streams.plugins.plugin_utils._run import is_gone, parent
from ansible_collections.choria.streams.plugins.plugin_utils._task_runner.task import (
    InnerTask,
    is_written_out,
    keep_facts,
)
from ansible_collections.choria.streams.plugins.plugin_utils._task_runner.tasks import inner_tasks, run_list, run_one

if TYPE_CHECKING:
    from collections.abc import Callable

    from ansible_collections.choria.streams.plugins.module_utils._operations.governor.governor import Governor, Seat

    Work = Callable[[], dict[str, Any]]

SPEC = {
    **TERMS.argument_spec(),
    "task": {"type": "dict"},
    "tasks": {"type": "list", "elements": "dict"},
}
RULES = {"mutually_exclusive": [("task", "tasks")], "required_one_of": [("task", "tasks")]}
# How long to try to give a seat back when the server is away: normally, and when a signal wants the process to end.
_PATIENCE, _PATIENCE_INTERRUPTED = 30.0, 3.0


class ActionModule(ActionBase):
    @classmethod
    def finalize_task_arg(cls, name: str, value: Any, templar: Any, context: Any) -> Any:
        """Keep the inner tasks untemplated, since each is templated when it runs.

        It is an experimental interface of ansible-core, which its own action ``debug`` uses.
        """
        if name in ("task", "tasks") and is_written_out(value):
            return value
        return super().finalize_task_arg(name, value, templar, context)

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        return failing(lambda: self._checked_run(tmp, task_vars))

    def _checked_run(self, tmp: str | None, task_vars: dict[str, Any] | None) -> dict[str, Any]:
        if self._task.async_val:
            raise _errors.OptionError("async", "is not possible: the seat would be given back before the work is done.")
        super().run(tmp, task_vars)
        return self._run(dict(task_vars or {}))

    def _run(self, variables: dict[str, Any]) -> dict[str, Any]:
        options = options_of(self, SPEC, RULES, variables)
        terms, work = Terms.from_options(options), self._work(options, variables)
        identity = options["identity"] or variables.get("inventory_hostname") or ""
        with Signals() as signals, Wake(signals, parent=parent()) as wake, self._session(options) as session:
            if self._task.check_mode:
                with signals.interruptible():
                    return self._run_check_mode(session, terms, identity, work)
            if is_gone():
                return {}  # the run ended while an earlier item of the loop worked
            wait = Wait(terms.max_wait, lambda: signals.pending or is_gone(), wake.fd)
            governor = find(session, terms.name, wait)
            self._check_timeout(governor)
            seat = campaign(session, governor, identity, wait)
            if wait.stopped:
                if seat:
                    _hurry(session, seat)
                return {}  # nobody reads this result
            if seat is None:
                return timed_out(session, terms, governor, identity, wait)
            return self._hold(session, seat, terms, work, signals)

    def _session(self, options: dict[str, Any]) -> Session:
        return Session(settings_of(options), read_only=self._task.check_mode, warn=self._display.warning)

    def _work(self, options: dict[str, Any], variables: dict[str, Any]) -> Work:
        """Return the inner tasks, checked as far as possible before a seat is taken."""
        if options["task"] is not None:
            task = InnerTask(self, "task", options["task"], in_a_list=False)
            return lambda: run_one(task, variables)
        tasks = inner_tasks(self, "tasks", options["tasks"])
        if not tasks:
            raise _errors.OptionError("tasks", "is empty: give at least one task.")

        def work() -> dict[str, Any]:
            result = run_list(tasks, variables)
            if result.get("ansible_facts"):
                keep_facts(self, result["ansible_facts"])
            return result

        return work

    def _hold(self, session: Session, seat: Seat, terms: Terms, work: Work, signals: Signals) -> dict[str, Any]:
        """Run the work, and give the seat back in any case."""
        facts = report(seat.governor, seat.identity, seat)
        since, entered = governors.uptime(), _now()
        try:
            with signals.interruptible():
                result = work()
        finally:
            held = governors.uptime() - since
            if not terms.keep:
                facts.update(self._leave(session, seat, signals))
        facts.update(held=round(held, 3), entered=entered, left=None if terms.keep else _now())
        if terms.keep:
            facts["expires"] = seat.expires
        return {**result, "governor": facts}

    def _leave(self, session: Session, seat: Seat, signals: Signals) -> dict[str, Any]:
        """Give the seat back. Return what the result reports if it was lost before, or could not be given back."""
        timed_out = signals.timed_out
        try:
            lost = _given_back(session, seat, signals)
        except _errors.StreamsError as error:
            self._display.warning(governors.not_given_back(seat, error))
            return {"given_back": False, "expires": seat.expires}
        if timed_out:
            self._display.warning(
                "The work of the timed-out task may still run on the host, so that until it ends more may run at once "
                f"than governor {seat.governor.name} allows ({seat.governor.capacity})."
            )
        if not lost:
            return {}
        self._display.warning(
            f"Seat {seat.sequence} of governor {seat.governor.name} was lost while the task ran: {lost}. "
            "More may have run at once than the governor allows."
        )
        return {"lost": True, "reason": lost}

    def _run_check_mode(self, session: Session, terms: Terms, identity: str, work: Work) -> dict[str, Any]:
        """Run the inner tasks in check mode, without a seat."""
        governor = governors.read_if_there(session, terms.name)
        if governor is None:
            would = f"take a seat in governor {terms.name}, which does not exist yet"
            facts = {"name": terms.name, "identity": identity, "seat": None, "waited": 0.0, "held": 0.0}
        else:
            self._check_timeout(governor)
            would, facts = governor.prospect, report(governor, identity)
        return {**work(), "governor": {**facts, "would": would}}

    def _check_timeout(self, governor: Governor) -> None:
        timeout = self._task.timeout
        if timeout and governor.expire and timeout > governor.expire:
            raise _errors.Refused(
                f"timeout: {timeout} seconds are longer than a seat in governor {governor.name} lasts "
                f"(expire {governor.expire:g}s), so that the task could go on without its seat: give a shorter "
                "timeout, or the governor a longer expire.",
                code="option",
                option="timeout",
            )


def _given_back(session: Session, seat: Seat, signals: Signals) -> str:
    """Give the seat back, as ``leave`` does. A signal shortens the time for that."""
    if not signals.pending:
        try:
            with signals.interruptible():
                return governors.leave(session, seat, _PATIENCE)
        except _errors.StreamsError:
            raise
        except BaseException:  # of the signal, or of Ansible's timeout
            session.close()
    return _hurry(session, seat)


def _hurry(session: Session, seat: Seat) -> str:
    with session.within(_PATIENCE_INTERRUPTED):
        return governors.leave(session, seat, _PATIENCE_INTERRUPTED)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


# Ansible forks a process for each task on each host, after it has loaded this file
_forks.prepare()
_action.prepare()
