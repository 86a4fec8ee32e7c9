# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The growth of time and memory with the size of the work: linear, or none.

Each size has its own server, and the module runs by itself, as Ansible starts it on a host. Plots as text show
the processor time and the memory, and their distance from a straight line. The time on the clock is printed
beside them. It includes the server's time, which for each stream grows with the number of streams.

    growth.py [--short] [buckets keys mixed events …]
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / ".build"), str(ROOT / "tests")]

import _table
import nats
from _alone import run_module

from ansible_collections.choria.streams.plugins.module_utils._api import streams
from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from ansible_collections.choria.streams.plugins.module_utils._operations.runs.events import new_run_id
from support import runs
from support.connect import settings
from support.server import NatsServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ansible_collections.choria.streams.plugins.module_utils._connection.wire import Request

OFF_LINE = 10.0  # percent of the highest value; a busy machine causes some percent
EVENTS_OF_A_RUN = 2_000


class Growth(NamedTuple):
    """One plot: the sizes, the module, and the goal of its memory at the largest size in MiB."""

    sizes: tuple[int, ...]
    module: str
    mebibytes: float


GROWTHS = {
    "buckets": Growth((100, 2_000, 4_000, 6_000, 8_000, 10_000), "choria_resources", 300),
    "mixed": Growth((100, 2_500, 5_000, 7_500, 10_000), "choria_resources", 300),
    "keys": Growth((100, 10_000, 20_000, 30_000, 40_000, 50_000), "choria_kv_sync", 200),
    "events": Growth((20_000, 500_000, 1_000_000, 2_000_000), "choria_run_info", 100),
}
SHORT = {"buckets": (20, 40), "mixed": (20, 40), "keys": (100, 200), "events": (4_000, 8_000)}


def arguments(kind: str, size: int) -> dict[str, Any]:
    """Return the options of the module for the work: `size` buckets, keys, or streams and consumers together."""
    if kind == "buckets":
        return {"kv_buckets": [{"name": f"BUCKET{number}", "history": 5} for number in range(size)]}
    if kind == "keys":
        return {"bucket": "CFG", "data": {f"web.server{number}": f"value {number}" for number in range(size)}}
    if kind == "events":
        return {"run_id": run_id(size // EVENTS_OF_A_RUN // 2)}
    names = [f"STREAM{number}" for number in range(size // 2)]
    return {
        "streams": [{"name": name, "subjects": [f"{name.lower()}.>"]} for name in names],
        "consumers": [{"stream": name, "name": "WORKER"} for name in names],
    }


@cache
def run_id(_number: int) -> str:
    """Return the id of a run, which begins with the time of the first call for it."""
    return new_run_id()


def events(size: int) -> Iterator[Request]:
    """Return the events of runs one after the other."""
    results = [(f"web{number % 100}", "ok") for number in range(EVENTS_OF_A_RUN - 3)]
    for number in range(size // EVENTS_OF_A_RUN):
        yield from runs.whole_run(run_id(number), results)


def prepare(server: NatsServer, kind: str, size: int) -> None:
    """Create the objects that the work needs on the server."""
    run_id.cache_clear()
    with Session(settings(servers=server.url, timeout="60s")) as session:
        if kind == "keys":
            streams.create(session, {"name": "KV_CFG", "subjects": ["$KV.CFG.>"], "allow_direct": True})
        if kind == "events":
            runs.declare(session, allow_direct=True)
            asyncio.run(store(server.url, size))


async def store(url: str, size: int) -> None:
    """Store the events of runs. Each thousandth is acknowledged, which the server does after it stored those before."""
    client = await nats.connect(url)
    for number, event in enumerate(events(size), start=1):
        if number % 1_000 and number < size:
            await client.publish(event.subject, event.payload)
        else:
            await client.request(event.subject, event.payload, timeout=60)
    await client.close()


def measure(kind: str, growth: Growth, sizes: tuple[int, ...], folder: Path) -> bool:
    """Run the work with each size twice. The second run has nothing to do. Return True if the goals are met."""
    first, again = [], []
    for size in sizes:
        with NatsServer() as server:
            prepare(server, kind, size)
            given = {"servers": [server.url], "timeout": "60s", **arguments(kind, size)}
            first.append(run_module(growth.module, given, folder))
            again.append(run_module(growth.module, given, folder))
        print(f"{kind}: {size:9,}: {first[-1].wall:6.2f} s pass, then {again[-1].wall:6.2f} s", flush=True)
    memory = [max(pair) for pair in zip((one.mebibytes for one in first), (one.mebibytes for one in again))]
    series = {"memory": (memory, "MiB"), "processor time": ([one.cpu for one in first], "s")}
    if kind != "events":  # events are only read
        series["processor time, nothing to do"] = ([one.cpu for one in again], "s")
    off = [
        _table.plot(f"{kind}: {what}", list(zip(sizes, values)), unit) * 100 for what, (values, unit) in series.items()
    ]
    print()
    work = f"{growth.module}, {sizes[-1]:,} {kind}"
    met = _table.record(f"{work}: memory", "", memory[-1:], growth.mebibytes, " MiB")
    return _table.record(f"{work}: off a straight line", "", [max(off)], OFF_LINE, " %") and met


def main() -> int:
    short, kinds = "--short" in sys.argv, [word for word in sys.argv[1:] if word in GROWTHS] or list(GROWTHS)
    with tempfile.TemporaryDirectory() as folder:
        met = [
            measure(kind, GROWTHS[kind], SHORT[kind] if short else GROWTHS[kind].sizes, Path(folder)) for kind in kinds
        ]
    return 0 if short or all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
