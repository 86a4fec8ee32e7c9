# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""CPU time of idle waiters in one second.

The waiters are a governed task (choria_governor_run), a lease (the module choria_governor_lease on its host, and
its action on the controller), and a governed task on a system without pidfd_open, which has to check twice a
second.

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

import _table

from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from ansible_collections.choria.streams.plugins.module_utils._operations.governor import governor as governors
from ansible_collections.choria.streams.plugins.module_utils._operations.governor.campaign import Wait, campaign
from ansible_collections.choria.streams.plugins.module_utils._operations.governor.lease import LEASE, act
from ansible_collections.choria.streams.plugins.module_utils._operations.signals import OUTPUT, Signals
from ansible_collections.choria.streams.plugins.module_utils._operations.wake import Wake
from ansible_collections.choria.streams.plugins.module_utils._resources.governor.governor import GOVERNOR
from ansible_collections.choria.streams.plugins.plugin_utils._run import is_gone, parent, watched
from support.connect import settings
from support.manage import Manager
from support.server import NatsServer

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

WAITERS, GOAL = 20, 0.05
SETTLED, MEASURED = 55, 30.0


def wait(url: str, name: str, woken: bool = True) -> None:
    """Wait for a seat that nobody gives back, as the action choria_governor_run does."""
    with Signals() as signals, Wake(signals, parent=parent()) as wake, Session(settings(servers=url)) as session:
        until = Wait(600, lambda: signals.pending or is_gone(), wake.fd if woken else -1)
        campaign(session, governors.read(session, name), "waiter", until)


def nap(url: str, name: str) -> None:
    """Wait as the action does on a system without pidfd_open."""
    wait(url, name, woken=False)


def lease(url: str, name: str) -> None:
    """Wait as the module choria_governor_lease does, whose output somebody reads."""
    reader, writer = os.pipe()
    os.dup2(writer, OUTPUT)
    options = {**dict.fromkeys(LEASE.argument_spec()), "name": name, "state": "acquired", "max_wait": 600}
    with Session(settings(servers=url)) as session:
        act(session, options, False)
    os.close(reader)


def attend(_url: str, _name: str) -> None:
    """Wait as the action choria_governor_lease does for its module."""
    with watched():
        signal.sigwait({signal.SIGTERM})


KINDS = {"a governed task": wait, "a lease": lease, "the action of a lease": attend, "a task that nothing wakes": nap}


def cpu(process: BaseProcess) -> float:
    """Return the CPU time of all threads of a process in milliseconds."""
    threads = Path(f"/proc/{process.pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e6


def measure(url: str, count: int) -> dict[str, float]:
    """Return the CPU time that a waiter of each kind takes, in milliseconds a second."""
    forks = multiprocessing.get_context("fork")
    numbered = list(enumerate(KINDS.items()))
    processes = {
        kind: [forks.Process(target=target, args=(url, f"G{number}")) for _process in range(count)]
        for number, (kind, target) in numbered
    }
    every = [process for kind in processes.values() for process in kind]
    try:
        for process in every:
            process.start()
        time.sleep(SETTLED)
        before = {process: cpu(process) for process in every}
        time.sleep(MEASURED)
        taken = {process: (cpu(process) - before[process]) / MEASURED for process in every}
        return {kind: statistics.mean(taken[process] for process in mine) for kind, mine in processes.items()}
    finally:
        for process in every:
            os.kill(process.pid or 0, signal.SIGTERM)
        for process in every:
            process.join()


def main() -> int:
    count = next((int(word) for word in sys.argv[1:] if word.isdecimal()), WAITERS)
    with NatsServer() as server, Manager(servers=server.url) as manager:
        for number in range(len(KINDS)):
            manager.apply(GOVERNOR, name=f"G{number}", capacity=1, expire="0")
            with Session(settings(servers=server.url)) as holder:
                campaign(holder, governors.read(holder, f"G{number}"), "holder", Wait(1))
        figures = measure(server.url, count)
    met = [
        _table.record(f"an idle waiter: {kind}", "", [figure], None if KINDS[kind] is nap else GOAL, " ms/s")
        for kind, figure in figures.items()
    ]
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
