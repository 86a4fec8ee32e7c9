# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""One run among many in a stream, read and summarized, compared with a bare nats-py consumer that reads the same
range.

run_info.py [--short]

The consumer parses the JSON of the messages, and already knows where the range begins and ends.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / ".build"), str(ROOT / "tests")]

import _table
import nats
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from ansible_collections.choria.streams.plugins.module_utils._operations.runs.info import SPEC, read
from support.connect import settings
from support.runs import PREFIX, STREAM, declare, store, whole_run
from support.server import NatsServer

if TYPE_CHECKING:
    from collections.abc import Callable

TARGET = 2.0
HOSTS = 100


def fill(session: Session, events: int, of_each: int) -> str:
    """Store runs one after the other, each with this many events. Return the id of the middle one."""
    declare(session, allow_direct=True)
    runs = events // of_each
    results = [(f"web{number % HOSTS}", "ok") for number in range(of_each - 3)]
    for number in range(runs):
        store(session, whole_run(f"run-{number}", results))
    return f"run-{runs // 2}"


def ours(url: str, **given: Any) -> list[dict[str, Any]]:
    options = {row.option: row.argument_extra.get("default") for row in SPEC}
    with Session(settings(servers=url), read_only=True) as session:
        return list(read(session, {**options, **given})["runs"])


async def raw(url: str, first: int, last: int) -> int:
    client = await nats.connect(url)
    config = ConsumerConfig(
        deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=first, ack_policy=AckPolicy.NONE
    )
    subscription = await client.jetstream().pull_subscribe(f"{PREFIX}.>", stream=STREAM, config=config)
    found = 0
    while first + found <= last:
        for message in await subscription.fetch(min(512, last - first - found + 1), timeout=10):
            json.loads(message.data)
            found += 1
    await client.close()
    return found


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> int:
    short = "--short" in sys.argv
    events, of_each, rounds = (4_000, 400, 1) if short else (100_000, 2_000, 5)
    taken: dict[str, list[float]] = {"one run": [], "raw": [], "newest 5": []}
    with NatsServer() as server:
        with Session(settings(servers=server.url)) as session:
            run_id = fill(session, events, of_each)
        [run] = ours(server.url, run_id=run_id)
        first, last = run["events"]["first_in_stream"], run["events"]["last_in_stream"]
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for _round in range(rounds):
            taken["one run"].append(timed(partial(ours, server.url, run_id=run_id)))
            taken["raw"].append(timed(lambda: asyncio.run(raw(server.url, first, last))))
            taken["newest 5"].append(timed(partial(ours, server.url, limit=5)))
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10
    middle = {name: median(lengths) for name, lengths in taken.items()}
    print(f"{events} events in the stream, {of_each} of each run, {rounds} times each, in turns, with connecting")
    print(f"one run {middle['one run']:.3f} s, raw {middle['raw']:.3f} s, newest 5 {middle['newest 5']:.3f} s")
    print(f"memory grew by {grown} MiB")
    work = f"choria_run_info: one run of {of_each} in {events} events"
    met = _table.record(work, "a consumer of the same", _table.ratios(taken["one run"], taken["raw"]), TARGET)
    return 0 if short or met else 1


if __name__ == "__main__":
    sys.exit(main())
