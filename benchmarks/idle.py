# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""How much CPU time waiters take while nothing happens: with what wakes them, and where they look twice a second.

idle.py [WAITERS]
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / ".build"), str(ROOT / "tests")]

from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from ansible_collections.choria.streams.plugins.module_utils._operations.governor import governor as governors
from ansible_collections.choria.streams.plugins.module_utils._operations.governor.campaign import Wait, campaign
from ansible_collections.choria.streams.plugins.module_utils._operations.signals import Signals
from ansible_collections.choria.streams.plugins.module_utils._resources.governor.governor import GOVERNOR
from ansible_collections.choria.streams.plugins.plugin_utils._run import is_gone, parent
from ansible_collections.choria.streams.plugins.plugin_utils._wake import Wake
from support.connect import settings
from support.manage import Manager
from support.server import NatsServer

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

WAITERS, GOAL = 40, 0.05
SETTLED, MEASURED = 55, 30.0


def wait(url: str, woken: bool) -> None:
    """Wait for a seat that nobody gives back, as the action choria_governor_run does."""
    with Signals() as signals, Wake(signals, parent=parent()) as wake, Session(settings(servers=url)) as session:
        until = Wait(600, lambda: signals.pending or is_gone(), wake.fd if woken else -1)
        campaign(session, governors.read(session, "G"), "waiter", until)


def cpu(process: BaseProcess) -> float:
    """Return the CPU time of a process in milliseconds."""
    return int(Path(f"/proc/{process.pid}/schedstat").read_text().split()[0]) / 1e6


def measure(url: str, count: int, woken: bool) -> float:
    """Return the CPU time that a waiter takes, in milliseconds a second."""
    processes = [
        multiprocessing.get_context("fork").Process(target=wait, args=(url, woken)) for _number in range(count)
    ]
    try:
        for process in processes:
            process.start()
        time.sleep(SETTLED)
        before = [cpu(process) for process in processes]
        time.sleep(MEASURED)
        return statistics.mean((cpu(each) - was) / MEASURED for each, was in zip(processes, before, strict=True))
    finally:
        for process in processes:
            os.kill(process.pid or 0, signal.SIGTERM)
        for process in processes:
            process.join()


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else WAITERS
    with NatsServer() as server, Manager(servers=server.url) as manager:
        manager.apply(GOVERNOR, name="G", capacity=1, expire="0")
        with Session(settings(servers=server.url)) as holder:
            campaign(holder, governors.read(holder, "G"), "holder", Wait(1))
        woken, naps = (measure(server.url, count, woken) for woken in (True, False))
    met = "met" if woken <= GOAL else "not met"
    print(f"{count} idle waiters: {woken:.3f} ms CPU a second each; goal {GOAL} ({met})")
    print(f"without what wakes them: {naps:.3f} ms")


if __name__ == "__main__":
    main()
