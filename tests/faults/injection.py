# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Faults of servers, network, processes and governors while tasks run.

The seed determines the faults and their lengths, but not which tasks they hit.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
import urllib.error
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support.processes import children, descendants
from support.server import freeze

from . import workloads
from .witness import RefusedError, Witness

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from random import Random

    from support.server import NatsServer

    from .log import Log
    from .network import Network
    from .runs import Runs

_HEALTHY = 30.0
# Seconds for which the seats of a new governor are read: longer than from a seat to its work
_FRESH = 3.0


class Site:
    """The servers of a campaign, the proxies in front of them, and the runs that use them."""

    def __init__(self, servers: list[NatsServer], proxies: list[Network], runs: Runs, log: Log) -> None:
        self.servers = servers
        self.proxies = proxies
        self.runs = runs
        self.log = log
        self.over = threading.Event()

    @property
    def urls(self) -> list[str]:
        return [server.url for server in self.servers]

    def leader(self, witness: Witness, stream: str) -> NatsServer:
        cluster = witness.ask(f"STREAM.INFO.{stream}").get("cluster") or {}
        number = str(cluster.get("leader", "n1")).removeprefix("n") if len(self.servers) > 1 else "1"
        return self.servers[int(number or 1) - 1]

    @contextlib.contextmanager
    def threads(self, threads: list[threading.Thread]) -> Iterator[None]:
        """Start threads that end with the campaign. An exception in one of them ends the campaign."""
        try:
            for thread in threads:
                thread.start()
            yield
        except BaseException:
            self.runs.stop()
            raise
        finally:
            self.over.set()
            for thread in threads:
                thread.join(60)

    def rest(self, seconds: float) -> None:
        self.over.wait(seconds)

    def wait_until_healthy(self, *, whatever: bool = False) -> None:
        """Wait until all servers are healthy. Unless ``whatever``, the wait ends with the campaign."""
        deadline = time.monotonic() + _HEALTHY
        while time.monotonic() < deadline and (whatever or not self.over.is_set()):
            try:
                for server in self.servers:
                    server.monitor("healthz")
                return
            except (urllib.error.URLError, OSError):  # 503 while it recovers
                time.sleep(0.1)


def some_stream(random: Random) -> str:
    names = [f"GOVERNOR_{name}" for name in workloads.GOVERNORS if name != "RECREATED"]
    return random.choice(
        [*names, f"KV_{workloads.BUCKET}", f"KV_{workloads.TREE}", workloads.ORDERS, workloads.RESULTS]
    )


# Servers

# Each fault returns its description, or None if there was no target
Kinds = dict["Callable[[Site, Witness, Random], dict[str, Any] | None]", int]


def kill_leader(site: Site, witness: Witness, random: Random) -> dict[str, Any]:
    stream = some_stream(random)
    return _kill(site, site.leader(witness, stream), random, stream=stream)


def kill_server(site: Site, witness: Witness, random: Random) -> dict[str, Any]:
    return _kill(site, random.choice(site.servers), random)


def _kill(site: Site, server: NatsServer, random: Random, **about: Any) -> dict[str, Any]:
    away = random.uniform(0.3, 5.0)
    server.kill()
    try:
        site.rest(away)
    finally:
        server.start()
    site.wait_until_healthy()
    return {"server": site.servers.index(server) + 1, "seconds": away, **about}


def stop_leader(site: Site, witness: Witness, random: Random) -> dict[str, Any]:
    server, seconds = site.leader(witness, some_stream(random)), random.uniform(0.5, 8.0)
    with server.frozen():
        site.rest(seconds)
    site.wait_until_healthy()
    return {"server": site.servers.index(server) + 1, "seconds": seconds}


def change_leader(site: Site, witness: Witness, random: Random) -> dict[str, Any]:
    stream = some_stream(random)
    witness.ask(f"STREAM.LEADER.STEPDOWN.{stream}")
    return {"stream": stream}


# The network


def delay(site: Site, witness: Witness, random: Random) -> dict[str, Any]:
    seconds, pause = random.uniform(1, 5), random.uniform(0.02, 0.4)
    return _through(site, random, "pass", pause, seconds)


def silence(site: Site, witness: Witness, random: Random) -> dict[str, Any]:
    return _through(site, random, "silent", 0.0, random.choice([random.uniform(0.5, 6), 12.0]))


def lose_answers(site: Site, witness: Witness, random: Random) -> dict[str, Any]:
    return _through(site, random, "lose", 0.0, random.uniform(0.2, 4))


def drop_some(site: Site, witness: Witness, random: Random) -> dict[str, Any]:
    return _through(site, random, "drop", 0.0, random.uniform(1, 5))


def answer_twice(site: Site, witness: Witness, random: Random) -> dict[str, Any]:
    return _through(site, random, "twice", 0.0, random.uniform(1, 6))


def cut(site: Site, witness: Witness, random: Random) -> dict[str, Any]:
    for proxy in random.sample(site.proxies, random.randint(1, len(site.proxies))):
        proxy.cut()
    return {}


def _through(site: Site, random: Random, mode: str, pause: float, seconds: float) -> dict[str, Any]:
    chosen = random.sample(site.proxies, random.randint(1, len(site.proxies)))
    for proxy in chosen:
        proxy.change(mode, pause)
    try:
        site.rest(seconds)
    finally:
        for proxy in chosen:
            proxy.change()
    return {"seconds": seconds, "proxies": len(chosen)}


# Governors


def evict(site: Site, witness: Witness, random: Random) -> dict[str, Any] | None:
    """Evict a seat, as an operator does."""
    stream = "GOVERNOR_EVICTED"
    seats = witness.messages(stream)
    if not seats:
        return None
    sequence, _subject, holder = random.choice(seats)
    at = time.monotonic()
    with contextlib.suppress(RefusedError):  # the seat was given back meanwhile
        witness.ask(f"STREAM.MSG.DELETE.{stream}", {"seq": sequence})
    return {"at": at, "identities": [holder.decode()]}


def recreate(site: Site, witness: Witness, random: Random) -> dict[str, Any]:
    """Delete a governor and create it again at once. Its sequence starts at one again."""
    stream = "GOVERNOR_RECREATED"
    config = workloads.governor_config("RECREATED", min(3, len(site.servers)))
    holders = [data.decode() for _sequence, _subject, data in witness.messages(stream)]
    at = time.monotonic()
    with contextlib.suppress(RefusedError):  # it was already deleted by a request whose answer was lost
        witness.ask(f"STREAM.DELETE.{stream}")
    deleted = time.monotonic()
    witness.ask(f"STREAM.CREATE.{stream}", config)
    # Work that starts now may have a seat of either governor, unless its seat is in the new one
    fresh: set[str] = set()
    while time.monotonic() < deleted + _FRESH:
        fresh.update(data.decode() for _sequence, _subject, data in witness.messages(stream))
        site.rest(0.1)
    about = {"governor": "RECREATED", "deleted": deleted, "fresh": sorted(fresh)}
    return {"at": at, "identities": holders, **about}


# Processes


def kill_worker(site: Site, witness: Witness, random: Random) -> dict[str, Any] | None:
    """Kill a process that Ansible forked for a task on a host, as the kernel does when memory is short.

    Under the strategy free, Ansible would wait for it for ever.
    """
    run = site.runs.any(random)
    if not run or run.strategy != "linear":
        return None
    workers = [pid for pid in children(run.process.pid) if _command(pid) == _command(run.process.pid)]
    if not workers:
        return None
    run.hurt = True
    _send(random.choice(workers), signal.SIGKILL)
    return {"run": run.name}


def kill_sender(site: Site, witness: Witness, random: Random) -> dict[str, Any] | None:
    """Kill the process that sends the results of a run."""
    run = site.runs.any(random)
    senders = [pid for pid in children(run.process.pid) if b"-c" in _command(pid).split(b"\0")] if run else []
    if not run or not senders:
        return None
    _send(senders[0], signal.SIGKILL)
    return {"run": run.name}


def end_run(site: Site, witness: Witness, random: Random) -> dict[str, Any] | None:
    """End a run: close its terminal, kill it, stop it as a service manager does, or interrupt it as a user does."""
    run = site.runs.any(random)
    if not run:
        return None
    number = random.choice([signal.SIGHUP, signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
    whole = number in (signal.SIGHUP, signal.SIGINT) and random.random() < 0.5
    run.killed = True
    with contextlib.suppress(ProcessLookupError):
        os.killpg(run.process.pid, number) if whole else os.kill(run.process.pid, number)
    return {"run": run.name, "signal": number.name, "group": whole}


def stop_run(site: Site, witness: Witness, random: Random) -> dict[str, Any] | None:
    """Stop a run with all its processes for a while, like a suspended virtual machine."""
    run, seconds = site.runs.any(random), random.uniform(0.5, 6)
    if not run:
        return None
    stopped = descendants(run.process.pid)
    for pid in stopped:
        with contextlib.suppress(OSError):
            freeze(pid)
    try:
        site.rest(seconds)
    finally:
        for pid in stopped:
            _send(pid, signal.SIGCONT)
    run.stood += seconds
    return {"run": run.name, "seconds": seconds}


def _command(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def _send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


# How often each fault is chosen. Faults of one list never happen at the same time
SERVERS: Kinds = {
    kill_leader: 3,
    kill_server: 1,
    stop_leader: 3,
    change_leader: 2,
}
NETWORK: Kinds = {
    delay: 2,
    silence: 2,
    lose_answers: 3,
    drop_some: 1,
    answer_twice: 1,
    cut: 2,
}
PROCESSES: Kinds = {
    evict: 3,
    recreate: 2,
    end_run: 3,
    kill_worker: 1,
    kill_sender: 1,
    stop_run: 1,
}


def inject(
    site: Site,
    kinds: Kinds,
    random: Random,
    longest: float,
) -> None:
    """Inject faults one after the other until the campaign is over, with pauses of at most ``pause`` seconds. For a
    thread.
    """
    with Witness(site.urls) as witness:
        while not site.over.is_set():
            site.rest(random.uniform(longest / 9, longest))
            fault = random.choices(list(kinds), list(kinds.values()))[0]
            if site.over.is_set():
                return
            began = time.monotonic()
            try:
                done = fault(site, witness, random)
            except (TimeoutError, RefusedError) as error:
                site.log.write("fault", kind=f"{fault.__name__} (not possible)", at=began, reason=str(error))
                continue
            if done is not None:
                site.log.write("fault", **{"kind": fault.__name__, "at": began, "until": time.monotonic(), **done})
