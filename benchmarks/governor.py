# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""How busy waiters keep the seats of a governor, and with how many requests.

Each waiter is a process with a connection of its own, which asks for a seat, works (that is, sleeps) while it holds it,
and gives it back. Busy is the share of the seats' time that was worked in, from the first seat taken to the last given
back. Compared with waiters who all ask again whenever a seat becomes free.

    governor.py [--short]
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / ".build"), str(ROOT / "tests")]

from ansible_collections.choria.streams.plugins.module_utils._api import streams
from ansible_collections.choria.streams.plugins.module_utils._connection.client import preload
from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from ansible_collections.choria.streams.plugins.module_utils._connection.settings import Settings
from ansible_collections.choria.streams.plugins.module_utils._resources import governor_events
from ansible_collections.choria.streams.plugins.module_utils._services import campaign as campaigns
from ansible_collections.choria.streams.plugins.module_utils._services import governor as governors
from support.server import NatsServer

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.synchronize import Barrier

SEATS = 4
NAME = "BENCH"


class Case(NamedTuple):
    waiters: int
    work: float
    target: float
    """The least busy share that we want, in per cent."""


CASES = (Case(20, 1.0, 95), Case(20, 0.2, 90), Case(200, 0.1, 85))
SHORT = (Case(12, 0.1, 0), Case(24, 0.05, 0))
REQUESTS_TARGET = 10


class Counter(Session):
    """A session that counts what it sends: requests, and messages that nobody answers."""

    requests = 0
    events = 0

    def request_many(self, requests: Any, *more: Any, **options: Any) -> Any:
        wanted = list(requests)
        self.requests += len(wanted)
        return super().request_many(wanted, *more, **options)

    def publish(self, *arguments: Any, **options: Any) -> None:
        self.events += 1
        super().publish(*arguments, **options)


class Everyone(campaigns._Waiter):
    """The comparison: each waiter hears each seat that becomes free, and asks."""

    def _listen(self) -> None:
        self.listening = True
        self._session.subscribe(governor_events.SUBJECTS)
        self._schedule(self._governor)

    def end(self) -> None:
        if self.listening:
            self._session.unsubscribe_all()


def take_turn(url: str, barrier: Barrier, work: float) -> dict[str, float]:
    """One waiter. Returns when it began and ended to work, and what it sent."""
    with Counter(Settings(servers=(url,))) as session:
        session.connect()
        barrier.wait(60)
        governor = governors.read(session, NAME)
        seat = campaigns.campaign(session, governor, f"waiter {os.getpid()}", campaigns.Wait(120))
        if seat is None:
            raise RuntimeError("no seat")
        began = time.monotonic()
        time.sleep(work)
        ended = time.monotonic()
        lost = governors.leave(session, seat, 5)
        if lost:
            raise RuntimeError(lost)
        return {
            "began": began,
            "ended": ended,
            "left": time.monotonic(),
            "waited": seat.waited,
            "requests": session.requests,
            "events": session.events,
        }


def fork(turn: Callable[[], dict[str, float]]) -> int:
    """A process that takes its turn. Returns the end of a pipe from which its result comes."""
    reader, writer = os.pipe()
    if os.fork():
        os.close(writer)
        return reader
    try:
        os.close(reader)
        os.write(writer, json.dumps(turn()).encode())
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(0)


def measure(case: Case) -> dict[str, float]:
    """Runs one case on a server of its own."""
    with NatsServer() as server, Session(Settings(servers=(server.url,))) as session:
        streams.create(
            session,
            {
                "name": f"GOVERNOR_{NAME}",
                "subjects": [f"mcollective.governor.{NAME}"],
                "max_msgs": SEATS,
                "max_age": 300 * 10**9,
                "discard": "new",
                "storage": "file",
            },
        )
        session.close()
        barrier = multiprocessing.get_context("fork").Barrier(case.waiters)
        before = server.monitor("varz")["in_msgs"]
        start = time.monotonic()
        readers = [fork(lambda: take_turn(server.url, barrier, case.work)) for _waiter in range(case.waiters)]
        turns = [json.loads(os.fdopen(reader, "rb").read() or b"null") for reader in readers]
        for _waiter in readers:
            os.wait()
        elapsed = time.monotonic() - start
        received = server.monitor("varz")["in_msgs"] - before
    if None in turns:
        raise RuntimeError(f"{turns.count(None)} of {case.waiters} waiters failed")
    check(turns)
    worked = sum(turn["ended"] - turn["began"] for turn in turns)
    span = max(turn["left"] for turn in turns) - min(turn["began"] for turn in turns)
    return {
        "busy": 100 * worked / (SEATS * span),
        "requests": sum(turn["requests"] for turn in turns) / case.waiters,
        "events": sum(turn["events"] for turn in turns) / case.waiters,
        "received": received / case.waiters,
        "seconds": elapsed,
    }


def check(turns: list[dict[str, float]]) -> None:
    """Never more at work than there are seats."""
    moments = sorted([(turn["began"], 1) for turn in turns] + [(turn["ended"], -1) for turn in turns])
    working = 0
    for _moment, change in moments:
        working += change
        if working > SEATS:
            raise RuntimeError(f"{working} worked at once on {SEATS} seats")


def main() -> int:
    preload(Settings())
    cases = SHORT if "--short" in sys.argv[1:] else CASES
    met = True
    print(f"{'':34}{'busy':>8}{'target':>8}{'requests':>10}{'events':>8}{'server saw':>12}{'time':>8}")
    for case in cases:
        for name, waiter in (("woken one by one", campaigns._Waiter), ("all ask (comparison)", Everyone)):
            original, campaigns._Waiter = campaigns._Waiter, waiter
            try:
                found = measure(case)
            finally:
                campaigns._Waiter = original
            ours = waiter is original
            met = met and not (ours and (found["busy"] < case.target or found["requests"] > REQUESTS_TARGET))
            print(
                f"{case.waiters:4} x {case.work:3.2f} s  {name:21}{found['busy']:7.1f}%"
                + (f"{case.target:7.0f}%" if ours else f"{'':8}")
                + f"{found['requests']:10.1f}{found['events']:8.1f}{found['received']:12.1f}{found['seconds']:7.1f}s",
                flush=True,
            )
    print("All targets met." if met else "Not all targets were met.")
    return 0 if met or cases is SHORT else 1


if __name__ == "__main__":
    sys.exit(main())
