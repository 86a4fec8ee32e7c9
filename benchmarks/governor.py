# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The use of a governor's seats by waiters, the requests that it takes, and the order of service.

Each waiter is a process with its own connection. It requests a seat, works (that is, sleeps) while it holds the
seat, and gives it back or lets it expire.

- Busy is the share of the seats' time with work, from the first seat taken to the last given back.
- Requests per freed seat are those of waiting waiters: checks of the governor, and requests for a seat.
  Joining (one check, two requests) and giving back (two) are not included, since each waiter does them once.
- Order is the rank correlation of arrival and service (Spearman's), and the largest shift of a place.

    governor.py [--short] [busy] [expiry] [order]
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import statistics
import sys
import time
import traceback
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / ".build"), str(ROOT / "tests")]

import _table

from ansible_collections.choria.streams.plugins.module_utils._api import streams
from ansible_collections.choria.streams.plugins.module_utils._connection.client import preload
from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from ansible_collections.choria.streams.plugins.module_utils._connection.settings import Settings
from ansible_collections.choria.streams.plugins.module_utils._operations.governor import campaign as campaigns
from ansible_collections.choria.streams.plugins.module_utils._operations.governor import governor as governors
from support.server import NatsServer

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.synchronize import Barrier

NAME = "BENCH"
Turn = dict[str, float]


class Case(NamedTuple):
    """``work`` is seconds, ``busy`` the lowest allowed share in per cent, ``spread`` the seconds between arrivals.

    With ``expire``, seats are never given back. They expire after this many seconds, one after the other.
    """

    waiters: int
    seats: int
    work: float
    busy: float = 0
    expire: float = 0
    spread: float = 0


BUSY = (Case(20, 4, 1.0, 95), Case(20, 4, 0.2, 90), Case(80, 4, 0.2), Case(200, 4, 0.1, 85), Case(320, 4, 0.2))
EXPIRY = tuple(Case(waiters, 8, 0, expire=2.0) for waiters in (20, 40, 80, 160, 320))
ORDER = (Case(100, 3, 0.3, spread=0.02), Case(100, 3, 0.3, spread=0.2))
SHORT = {
    "busy": (Case(12, 4, 0.1),),
    "expiry": (Case(12, 4, 0, expire=0.5),),
    "order": (Case(12, 3, 0.1, spread=0.02),),
}
MOST_REQUESTS = 4.0


class Counter(Session):
    """A session that counts its requests."""

    requests = 0

    def request_many(self, requests: Any, *more: Any, **options: Any) -> Any:
        wanted = list(requests)
        self.requests += len(wanted)
        return super().request_many(wanted, *more, **options)


class Waiter(campaigns._Waiter):
    """Notes how many requests it had sent when it began to wait."""

    joined: int | None = None

    def _listen(self) -> None:
        super()._listen()
        Waiter.joined = self._session.requests + 1  # type: ignore[attr-defined]


def take_turn(url: str, barrier: Barrier, case: Case, number: int) -> Turn:
    """Run one waiter. Return when it came, began and ended its work, and how many requests it sent."""
    with Counter(Settings(servers=(url,))) as session:
        session.connect()
        barrier.wait(120)
        time.sleep(number * case.spread)
        came = time.monotonic()
        wait = campaigns.Wait(240)
        governor = campaigns.find(session, NAME, wait)
        seat = campaigns.campaign(session, governor, f"waiter {os.getpid()}", wait)
        if seat is None:
            raise RuntimeError("no seat")
        began, asked = time.monotonic(), session.requests
        time.sleep(case.work * (random.uniform(0.5, 1.5) if case.spread else 1))
        ended = time.monotonic()
        lost = "" if case.expire else governors.leave(session, seat, 5)
        if lost:
            raise RuntimeError(lost)
        sent = 0 if Waiter.joined is None else max(0, asked - Waiter.joined)
        waited = float(Waiter.joined is not None)
        left = time.monotonic()
        return {"came": came, "began": began, "ended": ended, "left": left, "sent": sent, "waited": waited}


def fork(turn: Callable[[], Turn]) -> int:
    """Start a process that takes its turn. Return the end of a pipe with its result."""
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
    """Run one case on its own server."""
    with NatsServer() as server, Session(Settings(servers=(server.url,))) as session:
        subject = f"mcollective.governor.{NAME}"
        config = {"name": f"GOVERNOR_{NAME}", "subjects": [subject], "max_msgs": case.seats}
        age = int((case.expire or 300) * 1e9)
        streams.create(session, {**config, "max_age": age, "discard": "new", "storage": "file"})
        if case.expire:
            for _seat in range(case.seats):  # so that they expire one after the other
                session.request(subject, b"holder")
                time.sleep(case.expire / case.seats)
        session.close()
        barrier = multiprocessing.get_context("fork").Barrier(case.waiters)
        before = server.monitor("varz")["in_msgs"]
        numbers = range(case.waiters)
        readers = [fork(partial(take_turn, server.url, barrier, case, number)) for number in numbers]
        turns = [json.loads(os.fdopen(reader, "rb").read() or b"null") for reader in readers]
        for _waiter in readers:
            os.wait()
        received = server.monitor("varz")["in_msgs"] - before
    if None in turns:
        raise RuntimeError(f"{turns.count(None)} of {case.waiters} waiters failed")
    check(case, turns)
    return figures(case, turns, received)


def figures(case: Case, turns: list[Turn], received: int) -> dict[str, float]:
    worked = sum(turn["ended"] - turn["began"] for turn in turns)
    span = max(turn["left"] for turn in turns) - min(turn["began"] for turn in turns)
    arrival, service = ranks([turn["came"] for turn in turns]), ranks([turn["began"] for turn in turns])
    waits = [turn["began"] - turn["came"] for turn in turns]
    return {
        "busy": 100 * worked / (case.seats * span),
        "requests": sum(turn["sent"] for turn in turns) / max(1, sum(turn["waited"] for turn in turns)),
        "received": received / case.waiters,
        "seconds": span,
        "correlation": statistics.correlation(arrival, service),
        "shift": max(abs(one - other) for one, other in zip(arrival, service)),
        "longest": max(waits) / max(0.001, statistics.median(waits)),
    }


def ranks(moments: list[float]) -> list[float]:
    order = sorted(range(len(moments)), key=moments.__getitem__)
    found = [0.0] * len(moments)
    for rank, index in enumerate(order):
        found[index] = float(rank)
    return found


def check(case: Case, turns: list[Turn]) -> None:
    """Check that there is never more work at once than seats."""
    moments = sorted([(turn["began"], 1) for turn in turns] + [(turn["ended"], -1) for turn in turns])
    working = 0
    for _moment, change in moments:
        working += change
        if working > case.seats:
            raise RuntimeError(f"{working} worked at once on {case.seats} seats")


def meets(kind: str, case: Case, found: dict[str, float]) -> bool:
    if kind == "order":
        return True  # the server chooses whom it wakes, so this is only shown
    what = f"{case.waiters} waiters of {case.seats} seats ({kind}, {case.work or case.expire:g} s)"
    met = _table.record(f"{what}: requests of each for a freed seat", "", [found["requests"]], MOST_REQUESTS, "")
    if kind != "expiry":
        met &= _table.record(f"{what}: seats in use", "", [found["busy"]], case.busy, " %", at_least=True)
    return met


def main() -> int:
    preload(Settings())
    campaigns._Waiter = Waiter  # type: ignore[misc]
    every = {"busy": BUSY, "expiry": EXPIRY, "order": ORDER}
    kinds = [kind for kind in sys.argv[1:] if kind in every] or list(every)
    short = "--short" in sys.argv[1:]
    met = True
    print(
        f"{'':8}{'waiters':>8}{'seats':>7}{'work':>7}{'busy':>8}{'per freed seat':>16}{'server saw':>12}"
        f"{'correlation':>13}{'shift':>7}{'longest/median':>16}{'time':>8}"
    )
    for kind in kinds:
        for case in SHORT[kind] if short else every[kind]:
            found = measure(case)
            met = met and meets(kind, case, found)
            print(
                f"{kind:8}{case.waiters:8}{case.seats:7}{case.work:6.1f}s{found['busy']:7.1f}%{found['requests']:16.2f}"
                f"{found['received']:12.1f}{found['correlation']:13.3f}{found['shift']:7.0f}{found['longest']:16.1f}"
                f"{found['seconds']:7.1f}s",
                flush=True,
            )
    print("All targets met." if met else "Not all targets were met.")
    return 0 if met or short else 1


if __name__ == "__main__":
    sys.exit(main())
