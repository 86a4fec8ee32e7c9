# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Thousands of waiters of one governor, on one broker and on a cluster of three: the cost of a seat for them and the
broker.

Each waiter has its own connection, and runs the unchanged campaign of the collection. It takes a seat, works
(that is, sleeps), gives the seat back, and waits again, so that their number stays the same. A few processes
contain all of them. Connecting and the beginning of waits are not measured.

- Messages are those that clients send for each seat, and those that they receive.
- CPU is that of the brokers, and that of the waiters, for each seat. Memory is that of the largest broker.
- Latency is the time from the deletion of a seat to the acknowledgement of the next one.
- Busy is the share of the seats' time with work.

- The floor is the CPU of the brokers for a message that is stored and then deleted, as the one of each seat is.

    waiters.py [--short] [--seats 20] [--work 0.4] [--seconds 8] [--profile FILE] [--brokers 1,3] [500,1000,2000,5000]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import cProfile
import functools
import json
import logging
import multiprocessing
import os
import resource
import statistics
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / ".build"), str(ROOT / "tests")]

import _table
from greenlet import getcurrent, greenlet

from ansible_collections.choria.streams.plugins.module_utils._api import messages, streams
from ansible_collections.choria.streams.plugins.module_utils._connection import client, wire
from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from ansible_collections.choria.streams.plugins.module_utils._connection.settings import Settings
from ansible_collections.choria.streams.plugins.module_utils._operations.governor import campaign as campaigns
from ansible_collections.choria.streams.plugins.module_utils._operations.governor import governor as governors
from ansible_collections.choria.streams.plugins.module_utils._resources.governor.governor import GOVERNOR
from support.cluster import nats_cluster
from support.manage import Manager
from support.server import NatsServer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator
    from multiprocessing.connection import Connection

NAME = "BENCH"
PROCESSES = 2
TOGETHER = 20
FLOOR = 5_000
SETTLED = 2.0
LARGE = 50_000
# Milliseconds of CPU for a seat, with 1,000 waiters on a cluster of three
GOALS = (("waiters", "waiters", 3), ("broker_cpu", "brokers", 2))


class Loop:
    """Replaces a session's event loop: hands work over to the one loop of the process, and waits for it.

    Each waiter runs in its own greenlet, which sleeps during the wait.
    """

    def create_task(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        return asyncio.create_task(work)

    def run_until_complete(self, work: Awaitable[Any]) -> Any:
        return getcurrent().parent.switch(work)

    def is_closed(self) -> bool:
        return False


async def in_greenlet(blocking: Callable[[], None]) -> None:
    """Run a blocking function in a greenlet, and await what it hands over."""
    child = greenlet(blocking)
    work = child.switch()
    while not child.dead:
        try:
            answer = await work
        except Exception as error:
            work = child.throw(error)
        else:
            work = child.switch(answer)


def sleep(seconds: float) -> None:
    getcurrent().parent.switch(asyncio.sleep(seconds))


class Waiter(Session):
    """A session of one waiter, which notes when it freed a seat."""

    freed = 0.0
    sent = 0
    received = 0
    joined = False
    """Whether it waits, or has won a seat before."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._loop = Loop()  # type: ignore[assignment]

    def request_many(self, requests: Any, *more: Any, **options: Any) -> Any:
        wanted = list(requests)
        answers = super().request_many(wanted, *more, **options)
        if "STREAM.MSG.DELETE" in wanted[0].subject:
            self.freed = time.monotonic()
        return answers

    def receive(self, timeout: float, wake: int = -1) -> Any:
        self.joined = True
        return super().receive(timeout, wake)

    def close(self) -> None:
        if self._alive:
            self._drive(client.close(self._client))

    def _on_message(self, message: wire.Message) -> None:
        self.received += 1
        super()._on_message(message)

    def _on_reply(self, message: wire.Message) -> None:
        self.received += 1
        super()._on_reply(message)

    async def _send(self, *commands: bytes) -> None:
        self.sent += sum(command.startswith((b"PUB ", b"HPUB ")) for command in commands)
        await super()._send(*commands)


class Case(NamedTuple):
    """``work`` and ``seconds`` (of measurement) are in seconds. ``urls`` are those of the brokers."""

    waiters: int
    seats: int
    work: float
    seconds: float
    urls: tuple[str, ...]
    profile: str


class Turn(NamedTuple):
    """When a waiter came, when it won its seat, and when that was free again, by ``time.monotonic()``."""

    came: float
    won: float
    freed: float


def take_turns(session: Waiter, case: Case, wake: int, turns: list[Turn]) -> None:
    """Take seats one after the other, for ever."""
    while True:
        wait = campaigns.Wait(3600, wake=wake)
        came = time.monotonic()
        seat = campaigns.campaign(session, campaigns.find(session, NAME, wait), "waiter", wait)
        if seat is None:
            raise RuntimeError("no seat")
        won, session.joined = time.monotonic(), True
        sleep(case.work)
        lost = governors.leave(session, seat, 30)
        if lost:
            raise RuntimeError(lost)
        turns.append(Turn(came, won, session.freed))


async def hold(case: Case, number: int, parent: Connection) -> dict[str, Any]:
    """Run the waiters of one process. Return its turns, its counts, and its CPU seconds during the measurement."""
    sessions, tasks = [], []
    turns: list[Turn] = []
    wake, _writer = os.pipe()
    for index in range(number, case.waiters, PROCESSES):
        first = index % len(case.urls)
        session = Waiter(Settings(servers=(*case.urls[first:], *case.urls[:first])))
        sessions.append(session)
        tasks.append(asyncio.create_task(in_greenlet(functools.partial(take_turns, session, case, wake, turns))))
        while sum(not session.joined for session in sessions[-2 * TOGETHER :]) >= TOGETHER:
            refuse_failed(tasks)
            await asyncio.sleep(0.01)
    while not all(session.joined for session in sessions):
        refuse_failed(tasks)
        await asyncio.sleep(0.1)
    parent.send("joined")
    await asyncio.to_thread(parent.recv)
    turns.clear()
    began, before = cpu_of_us(), [(session.sent, session.received) for session in sessions]
    with profiled(case.profile if number == 0 else ""):
        await asyncio.sleep(case.seconds)
    used, after = cpu_of_us() - began, [(session.sent, session.received) for session in sessions]
    sent, received = (sum(later[side] - was[side] for later, was in zip(after, before, strict=True)) for side in (0, 1))
    refuse_failed(tasks)
    return {"turns": turns, "cpu": used, "sent": sent, "received": received}


def refuse_failed(tasks: list[asyncio.Task[None]]) -> None:
    """Raise RuntimeError if waiters failed."""
    failed = [task.exception() for task in tasks if task.done()]
    if failed:
        raise RuntimeError(f"{len(failed)} waiters failed: {failed[0]}")


def cpu_of_us() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


@contextlib.contextmanager
def profiled(path: str) -> Iterator[None]:
    if not path:
        yield
        return
    with cProfile.Profile() as profile:
        yield
    profile.dump_stats(path)


def process(case: Case, number: int, parent: Connection) -> None:
    """Run one process of waiters to its end."""
    clock = SimpleNamespace(monotonic=time.monotonic, sleep=sleep)
    for module in (campaigns, governors, messages):
        module.time = clock  # type: ignore[attr-defined]
    # A connection adds all tasks that begin while it is created to its own, and cancels them at its end
    client.asyncio = SimpleNamespace(**{**vars(asyncio), "all_tasks": set})  # type: ignore[attr-defined,assignment]
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # nats-py logs flushes of overloaded waiters
    try:
        loop = asyncio.new_event_loop()
        parent.send(loop.run_until_complete(hold(case, number, parent)))
    except BaseException as error:
        parent.send(f"{type(error).__name__}: {error}")
    finally:
        os._exit(0)  # thousands of tasks need not end one by one


def cpu_of(server: NatsServer) -> float:
    """Return the CPU time of a broker in seconds."""
    fields = Path(f"/proc/{server.pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_of(server: NatsServer) -> float:
    """Return the memory of a broker in MiB."""
    return float(server.monitor("varz")["mem"]) / (1 << 20)


def measure(case: Case, servers: list[NatsServer]) -> dict[str, float]:
    with Manager(servers=servers[0].url) as manager:
        manager.apply(GOVERNOR, name=NAME, capacity=case.seats, expire="5m", replicas=len(servers))
    case = case._replace(urls=tuple(server.url for server in servers))
    forks = multiprocessing.get_context("fork")
    pipes = [forks.Pipe() for _number in range(PROCESSES)]
    processes = [forks.Process(target=process, args=(case, number, pipes[number][1])) for number in range(PROCESSES)]
    try:
        for each in processes:
            each.start()
        for ours, _theirs in pipes:
            if (said := ours.recv()) != "joined":
                raise RuntimeError(said)
        time.sleep(SETTLED)
        for ours, _theirs in pipes:
            ours.send("measure")
        used, began = sum(map(cpu_of, servers)), time.monotonic()
        results = [ours.recv() for ours, _theirs in pipes]
        used, seconds = sum(map(cpu_of, servers)) - used, time.monotonic() - began
    finally:
        for each in processes:
            each.terminate()
            each.join()
    return figures(case, results, used, seconds) | {"memory": max(map(memory_of, servers))}


def figures(case: Case, results: list[dict[str, Any]], used: float, seconds: float) -> dict[str, float]:
    """Return the row of one case. ``used`` is the CPU time of the brokers, ``seconds`` the length of the
    measurement.
    """
    failed = [result for result in results if isinstance(result, str)]
    if failed:
        raise RuntimeError(failed[0])
    turns = sorted((turn for result in results for turn in result["turns"]), key=lambda turn: turn.won)
    count = len(turns)
    gaps = latencies(turns, case.seats)
    return {
        "seats": count / seconds,
        "busy": 100 * count * case.work / (case.seats * seconds),
        "sent": sum(result["sent"] for result in results) / count,
        "received": sum(result["received"] for result in results) / count,
        "brokers": 1000 * used / count,
        "waiters": 1000 * sum(result["cpu"] for result in results) / count,
        "median": 1000 * statistics.median(gaps),
        "p99": 1000 * gaps[int(0.99 * (len(gaps) - 1))],
        "longest": max(turn.won - turn.came for turn in turns),
    }


def latencies(turns: list[Turn], seats: int) -> list[float]:
    """Return how long each freed seat had no holder, the shortest first. The next seat that is won counts as its
    successor.
    """
    freed = sorted(turn.freed for turn in turns)
    won = [turn.won for turn in turns if turn.won > freed[0]]
    return sorted(max(0.0, later - before) for before, later in zip(freed, won)) or [0.0]


@contextlib.contextmanager
def brokers(count: int) -> Iterator[list[NatsServer]]:
    if count > 1:
        with nats_cluster(count) as servers:
            yield servers
    else:
        with NatsServer() as server:
            yield [server]


def floor(servers: list[NatsServer]) -> float:
    """Return the CPU of the brokers for a message that is stored and deleted, in milliseconds."""
    with Session(Settings(servers=(servers[0].url,))) as session:
        streams.create(session, {"name": NAME, "subjects": ["floor"], "num_replicas": len(servers)})
        used = sum(map(cpu_of, servers))
        for first in range(1, FLOOR, TOGETHER):
            session.request_many([wire.Request("floor", b"{}") for _seat in range(TOGETHER)])
            bodies = [json.dumps({"seq": first + seat}).encode() for seat in range(TOGETHER)]
            session.request_many([wire.Request(f"$JS.API.STREAM.MSG.DELETE.{NAME}", body) for body in bodies])
    return 1000 * (sum(map(cpu_of, servers)) - used) / FLOOR


COLUMNS = {
    "brokers": "brokers",
    "count": "waiters",
    "seats": "seats/s",
    "busy": "busy %",
    "sent": "sent",
    "received": "received",
    "broker_cpu": "broker ms",
    "waiters": "waiter ms",
    "memory": "MiB",
    "median": "median ms",
    "p99": "p99 ms",
    "longest": "longest s",
}
STEADY = ("sent", "broker_cpu", "waiters")


def line(row: dict[str, float]) -> str:
    return " ".join(
        f"{row[name]:10.{0 if name in ('count', 'brokers') else 2}f}" if name in row else f"{'':10}" for name in COLUMNS
    )


def extrapolated(rows: list[dict[str, float]], waiters: int) -> dict[str, float]:
    """Return the expected figures for this many waiters.

    A seat costs the same for any number of them: the median of all rows. Memory is on the straight line that fits
    the rows best.
    """
    memory = statistics.linear_regression([row["count"] for row in rows], [row["memory"] for row in rows])
    steady = {name: statistics.median(row[name] for row in rows) for name in STEADY}
    return {**rows[0], **steady, "count": waiters, "memory": memory.intercept + memory.slope * waiters}


def numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("sizes", nargs="?", type=numbers, default=[500, 1000, 2000, 5000])
    parser.add_argument("--brokers", type=numbers, default=[1, 3])
    parser.add_argument("--seats", type=int, default=20)
    parser.add_argument("--work", type=float, default=0.4)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--profile", default="")
    parser.add_argument("--short", action="store_true")
    given = parser.parse_args()
    sizes, seconds = ([100], 2) if given.short else (given.sizes, given.seconds)
    client.preload(Settings())
    rows: list[dict[str, float]] = []
    print(" ".join(f"{name:>10}" for name in COLUMNS.values()))

    def show(servers: int, case: Case) -> dict[str, float]:
        with brokers(servers) as running:
            row = measure(case, running)
        row.update(count=case.waiters, broker_cpu=row["brokers"], brokers=servers)
        print(line(row), flush=True)
        return row

    for servers in given.brokers:
        for size in sizes:
            rows.append(show(servers, Case(size, given.seats, given.work, seconds, (), given.profile)))
    if len(sizes) > 1:
        print("extrapolated:")
        for servers in given.brokers:
            row = extrapolated([row for row in rows if row["brokers"] == servers], LARGE)
            print(line({name: row[name] for name in ("brokers", "count", "memory", *STEADY)}))
    print("as many seats as the machine can give:")
    row = show(given.brokers[-1], Case(min(1000, sizes[-1]), 50, 0.05, seconds, (), ""))
    what = f"a seat of {row['count']:,.0f} waiters on {row['brokers']:.0f} brokers"
    met = [_table.record(f"{what}, CPU of {who}", "", [row[name]], goal, " ms") for name, who, goal in GOALS]
    with brokers(given.brokers[-1]) as running:
        _table.record(
            f"floor: a message stored and deleted, CPU of {len(running)} brokers", "", [floor(running)], unit=" ms"
        )
    return 0 if all(met) or given.short else 1


if __name__ == "__main__":
    sys.exit(main())
