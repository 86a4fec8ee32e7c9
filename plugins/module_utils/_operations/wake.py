# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wake a wait in an event loop when it is to end, so that it need not wake up by itself to see whether it is."""

from __future__ import annotations

import os
import select
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .signals import Signals


class Wake:
    """A file descriptor for event loops, ``fd``. It is readable after a signal, after ``set()``, and after two events.

    These are the end of the process with the id ``parent``, 0 for none, and the end of all readers of the file
    descriptor ``output``, -1 for none. ``fd`` is -1 if the system can't report them: Linux can, from 5.3 on the first.
    """

    def __init__(self, signals: Signals | None = None, *, parent: int = 0, output: int = -1) -> None:
        self._signals, self._parent, self._output = signals, parent, output
        self._open: list[int] = []
        self._writer = -1
        self._events: select.epoll | None = None
        self.fd = -1

    def __enter__(self) -> Wake:
        if hasattr(select, "epoll"):
            try:
                self._watch()
            except (OSError, AttributeError):  # no pidfd_open, or the parent is gone already
                self._close()
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._signals:
            self._signals.on_signal = None
        self._close()

    def set(self) -> None:
        """Make ``fd`` readable, for good."""
        with suppress(OSError):  # it is full, so it was written to, or it is not open
            os.write(self._writer, b"!")

    def _watch(self) -> None:
        self._events = events = select.epoll()
        reader, self._writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._open += [reader, self._writer]
        events.register(reader, select.EPOLLIN)
        if self._parent:
            self._open.append(os.pidfd_open(self._parent))
            events.register(self._open[-1], select.EPOLLIN)
        if self._output >= 0:
            with suppress(PermissionError):  # of a file, which always has a reader
                events.register(self._output, 0)  # errors and hang-ups are always reported
        self.fd = events.fileno()
        if self._signals:
            self._signals.on_signal = self.set
            if self._signals.pending:
                self.set()

    def _close(self) -> None:
        self.fd = -1
        for each in self._open:
            os.close(each)
        self._open, self._writer = [], -1
        if self._events is not None:
            self._events.close()
            self._events = None
