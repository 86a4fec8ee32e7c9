# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Detect the end of the run that a process works for.

Ansible forks a process for each task on each host, in a session of its own. It survives if ansible-playbook is killed,
or its terminal is closed. A waiting process has to notice that, or it would start to work after the run.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..module_utils import _errors

if TYPE_CHECKING:
    from collections.abc import Iterator

LOOK_EVERY = 0.5


def is_gone() -> bool:
    """Return True if the process that forked this one has ended. False in Ansible's main process."""
    parent = multiprocessing.parent_process()
    return parent is not None and os.getppid() != parent.pid


def parent() -> int:
    """Return the process whose end ``is_gone`` notices, 0 where there is none."""
    found = multiprocessing.parent_process()
    return found.pid or 0 if found is not None else 0


def check() -> None:
    """Raise an error if the run is gone, for waits that an error ends."""
    if is_gone():
        raise _errors.StreamsError("The run that this was for has ended.", code="run_gone")


@contextmanager
def watched() -> Iterator[None]:
    """End this process soon after its run is gone, and with it the module that it waits for.

    It is for actions whose modules wait. The end of their output ends the modules, on this host as on others.
    """
    if multiprocessing.parent_process() is None:
        yield
        return
    done = threading.Event()

    def watch() -> None:
        while not done.wait(LOOK_EVERY):
            if is_gone():
                # What Ansible's worker does with it ends its whole process group, ssh and local modules included
                os.kill(os.getpid(), signal.SIGTERM)
                return

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
