# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Stop what a program has started when a signal ends it, since Python would just end."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_SIGNALS = (signal.SIGTERM, signal.SIGHUP)
# How to stop each, and the process that started it
_started: dict[object, tuple[Callable[[], None], int]] = {}


def end_with_us(thing: object, stop: Callable[[], None]) -> None:
    """Call ``stop`` when a signal asks this program to end, unless the signal has another handler."""
    _started[thing] = stop, os.getpid()
    if threading.current_thread() is threading.main_thread():
        for number in _SIGNALS:
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, _end_all)


def has_ended(thing: object) -> None:
    _started.pop(thing, None)


def _end_all(number: int, _frame: object) -> None:
    for stop, owner in reversed(list(_started.values())):  # stop playbooks before the servers that they use
        if owner == os.getpid():  # a forked process has the handler too, but started nothing
            stop()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
