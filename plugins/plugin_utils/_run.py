# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Detect the end of the run that a process works for.

Ansible forks a process for each task on each host, in a session of its own. It survives if ansible-playbook is killed,
or its terminal is closed. A waiting process has to notice that, or it would start to work after the run.
"""

from __future__ import annotations

import multiprocessing
import os
import select
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..module_utils import _errors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..module_utils._operations.wake import Wake

CHECK_EVERY = 0.5


def is_gone() -> bool:
    """Return True if the process that forked this one has ended. False in Ansible's main process."""
    parent = multiprocessing.parent_process()
    return parent is not None and os.getppid() != parent.pid


def parent() -> int:
    """Return the process whose end ``is_gone`` notices, 0 for none."""
    process = multiprocessing.parent_process()
    return process.pid or 0 if process is not None else 0


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
    from ..module_utils._operations.wake import Wake  # lookups need none

    done = threading.Event()
    with Wake(parent=parent()) as wake:
        thread = threading.Thread(target=_end_with_run, args=(wake, done), daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            wake.set()
            thread.join()


def _end_with_run(wake: Wake, done: threading.Event) -> None:
    """End this process when its run is gone, unless ``done`` is set before."""
    events = select.poll()
    if wake.fd >= 0:
        events.register(wake.fd, select.POLLIN)
    while not done.is_set():
        if is_gone():
            # Ansible's worker then ends its whole process group, with ssh and local modules
            os.kill(os.getpid(), signal.SIGTERM)
            return
        if wake.fd >= 0:
            events.poll()
        else:
            done.wait(CHECK_EVERY)
