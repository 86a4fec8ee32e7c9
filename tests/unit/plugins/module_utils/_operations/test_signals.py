# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Signals while a process has something to give back. Each test runs its own process."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.choria.streams.plugins.module_utils._operations.signals import Interrupted, Signals

if TYPE_CHECKING:
    from collections.abc import Callable

# The test runner has threads, which do not matter in the children
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")


def outcome(act: Callable[[], int]) -> int:
    """Return the exit status of a process, or the negative number of the signal that ended it."""
    child = os.fork()
    if not child:
        status = 99
        try:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)  # other tests' libraries install handlers that stay
            status = act()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_waits_for_the_end(number: int) -> None:
    def act() -> int:
        with Signals() as signals:
            send(number)
            if not signals.pending:
                return 1
        return 2

    assert outcome(act) == -number


def test_work_is_broken_off_and_put_in_order() -> None:
    reader, writer = os.pipe()

    def act() -> int:
        with Signals() as signals:
            try:
                with signals.interruptible():
                    send(signal.SIGTERM)
                    time.sleep(5)
                    return 1
            except Interrupted:
                send(signal.SIGTERM)  # this signal changes nothing
                os.write(writer, b"given back")
                raise
        return 2

    assert outcome(act) == -signal.SIGTERM
    assert os.read(reader, 100) == b"given back"


def test_work_is_not_begun_after_a_signal() -> None:
    def act() -> int:
        with Signals() as signals:
            send(signal.SIGTERM)
            with signals.interruptible():
                os._exit(1)
        return 2

    assert outcome(act) == -signal.SIGTERM


def test_alarm_has_its_own_exception() -> None:
    def act() -> int:
        def alarm(number: int, frame: Any) -> None:
            raise TimeoutError

        signal.signal(signal.SIGALRM, alarm)
        try:
            with Signals() as signals, signals.interruptible():
                signal.setitimer(signal.ITIMER_REAL, 0.01)
                time.sleep(5)
        except TimeoutError:
            return 3
        return 1

    assert outcome(act) == 3


def test_alarm_that_could_not_be_raised_is_at_the_end() -> None:
    def act() -> int:
        def alarm(number: int, frame: Any) -> None:
            raise TimeoutError

        signal.signal(signal.SIGALRM, alarm)
        done = False
        try:
            with Signals() as signals:
                send(signal.SIGALRM)
                done = signals.pending
        except TimeoutError:
            return 3 if done else 1
        return 1

    assert outcome(act) == 3


def test_handlers_are_as_before() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)]
    with Signals() as signals:
        assert not signals.pending
    after = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)]
    assert before == after


def test_ignored_signals_stay_ignored() -> None:
    def act() -> int:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        with Signals() as signals:
            send(signal.SIGHUP)
            return 5 if not signals.pending else 1

    assert outcome(act) == 5
