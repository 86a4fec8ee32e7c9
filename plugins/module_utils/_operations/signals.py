# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""End waits on signals, and when nobody reads the result any more, so that seats can be given back."""

from __future__ import annotations

import os
import select
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .. import _errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from .._connection import sessions

# How often to check that the result is still awaited, in seconds
_CHECK_EVERY = 1.0
OUTPUT = 1
"""The file descriptor from which the result of a module is read."""
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def is_output_closed() -> bool:
    """Return True if nobody reads a module's result any more, as after the task's timeout, or the end of its run."""
    output = select.poll()
    output.register(OUTPUT, 0)  # poll always reports errors and hang-ups
    return any(event & (select.POLLERR | select.POLLHUP) for _fd, event in output.poll(0))


def end_when_output_closes(session: sessions.Session) -> None:
    """Let a module's waits end with an error if nobody reads its result any more."""

    def check() -> None:
        if is_output_closed():
            raise _errors.StreamsError("Nobody waits for the result any more.", code="run_gone")

    session.meanwhile(_CHECK_EVERY, check)


class Interrupted(KeyboardInterrupt):
    """A signal interrupted the work. It is a KeyboardInterrupt, since asyncio passes on no other exception."""


class Signals:
    """Defers signals that end the process until the context is left. It is for the main thread.

    ``pending`` is True after a signal. Work inside ``interruptible()`` is interrupted. That includes an alarm if
    somebody has set one, as Ansible does for a task's ``timeout``; it has its own exception.
    """

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self._came: int | None = None
        self._may_raise = False
        self._alarm_raised = False
        self.on_signal: Callable[[], object] | None = None
        """A function that is called after each signal."""

    @property
    def pending(self) -> bool:
        """True after a signal."""
        return self._came is not None

    @property
    def timed_out(self) -> bool:
        """True if an alarm interrupted the work."""
        return self._alarm_raised

    def __enter__(self) -> Signals:
        for number in (*_ENDING, signal.SIGALRM):
            handler = signal.getsignal(number)
            # Ignored signals stay ignored, as under nohup; and an alarm without a handler is not Ansible's
            if handler not in (signal.SIG_IGN, None) and (number != signal.SIGALRM or callable(handler)):
                self._before[number] = handler
                signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_exc: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._came == signal.SIGALRM and not self._alarm_raised:
            self._before[self._came](self._came, None)
        elif self._came in _ENDING:
            os.kill(os.getpid(), self._came)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Allow a signal to interrupt the block, with Interrupted or the alarm's own exception."""
        self._may_raise = True
        try:
            if self._came is not None:
                self._raise(self._came, None)
            yield
        finally:
            self._may_raise = False

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._came is None or self._came == signal.SIGALRM:
            self._came = number
        if self.on_signal:
            self.on_signal()
        if self._may_raise:
            self._raise(number, frame)

    def _raise(self, number: int, frame: FrameType | None) -> None:
        self._may_raise = False  # only once: a second signal must not interrupt the cleanup
        if number == signal.SIGALRM:
            self._alarm_raised = True
            self._before[number](number, frame)
        raise Interrupted(signal.Signals(number).name)
