# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wake a wait in an event loop when it is to end, so that it need not wake up by itself to see whether it is."""

from __future__ import annotations

import os
import select
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..module_utils._operations.signals import Signals


class Wake:
    """A file descriptor for event loops, ``fd``. It is readable after a signal, or when ``parent`` has ended.

    ``parent`` is the id of a process, 0 for none. ``fd`` is -1 if the system can't report both: Linux 5.3 can.
    """

    def __init__(self, signals: Signals, *, parent: int = 0) -> None:
        self._signals, self._parent = signals, parent
        self._open: list[int] = []
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
        self._signals.on_signal = None
        self._close()

    def _watch(self) -> None:
        self._events = events = select.epoll()
        reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._open += [reader, writer]
        events.register(reader, select.EPOLLIN)
        if self._parent:
            self._open.append(os.pidfd_open(self._parent))
            events.register(self._open[-1], select.EPOLLIN)
        self._signals.on_signal = lambda: _write(writer)
        self.fd = events.fileno()
        if self._signals.pending:
            _write(writer)

    def _close(self) -> None:
        self.fd = -1
        for each in self._open:
            os.close(each)
        self._open = []
        if self._events is not None:
            self._events.close()
            self._events = None


def _write(writer: int) -> None:
    with suppress(OSError):  # it is full, so it was written to
        os.write(writer, b"!")
