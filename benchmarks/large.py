# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The cost of reading many keys compared with a raw consumer, and its growth with their number.

The peer is a script with nats-py alone: a push consumer with last_per_subject and flow control. Its values become
a dict of texts, its headers a list of markers. Each turn runs every work and its peer in separate processes, one
after the other, with one server. A row has the ratios of processor time and memory, without the start of the
process and its imports. The server's processor time comes from /proc.

- prefix: the lookup choria_kv with a prefix that has all keys;
- compact: the reads of choria_kv_bucket to find 1,000 markers of deleted keys;
- no-op: choria_kv_sync with prune, when each key has its value.

    large.py [--short] [--million] [KEYS …]

By default it runs with 25,000 and 100,000 keys. Growth goes to 50,000 keys, and with --million to 1,000,000.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / ".build"), str(ROOT / "tests")]

import _table
import nats

from ansible_collections.choria.streams.plugins.module_utils import _archive
from ansible_collections.choria.streams.plugins.module_utils._api import streams
from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from ansible_collections.choria.streams.plugins.module_utils._connection.wire import Request
from ansible_collections.choria.streams.plugins.module_utils._operations.kv.reader import KvReader
from ansible_collections.choria.streams.plugins.module_utils._operations.kv.sync import SPEC, sync
from ansible_collections.choria.streams.plugins.module_utils._resources.kv.compaction import KV_BUCKET
from ansible_collections.choria.streams.plugins.plugin_utils._kv_answers import answers
from support.connect import options, settings
from support.filling import publish_many
from support.server import NatsServer

if TYPE_CHECKING:
    from collections.abc import Sequence

TICK = os.sysconf("SC_CLK_TCK")
SIZES, GROWTH, MILLION = (25_000, 100_000), (100, 10_000, 20_000, 30_000, 40_000, 50_000), 1_000_000
MARKS = 1_000
OFF_LINE = 10.0
AT_ONCE = 50_000
# Works, their peers, and the goals: processor time of the client and of the server, and memory. Marks take so little
# that what else a process allocates meanwhile decides on their ratio.
GOALS = {
    "prefix": ("values", 1.5, 1.5, 1.3),
    "compact": ("marks", 1.5, 1.5, None),
    "no-op": ("values", 1.5, 2.0, None),
}


class Taken(NamedTuple):
    """Seconds of the processor here and on the server, and MiB at most."""

    client: float
    server: float
    mebibytes: float


def fill(server: NatsServer, count: int) -> None:
    """Create the bucket, with this many markers at its end."""
    config = {"name": "KV_CFG", "subjects": ["$KV.CFG.>"], "allow_direct": True, "max_msgs_per_subject": 1}
    with Session(settings(servers=server.url, timeout="60s")) as session:
        streams.create(session, {**config, "allow_rollup_hdrs": True})
        for start in range(0, count, AT_ONCE):
            part = (Request(subject(number), value(number)) for number in range(start, min(count, start + AT_ONCE)))
            assert all(isinstance(answer, dict) for answer in publish_many(session, "Filling", part))
        marks = (Request(f"$KV.CFG.deleted.k{number}", b"", {"KV-Operation": "DEL"}) for number in range(MARKS))
        assert all(isinstance(answer, dict) for answer in publish_many(session, "Filling", marks))


def subject(number: int) -> str:
    return f"$KV.CFG.web.server{number}"


def value(number: int) -> bytes:
    return b"value %d" % number


# Each runs in its own process


async def raw(url: str, headers_only: bool) -> Any:
    """Return the values, or the markers, that a raw consumer delivers."""
    client, texts, marks = await nats.connect(url), {}, []
    inbox, ended, start = client.new_inbox(), asyncio.Event(), len("$KV.CFG.")

    async def deliver(message: Any) -> None:
        if message.headers and message.headers.get("Status") == "100":
            await client.publish(message.headers.get("Nats-Consumer-Stalled") or message.reply)
            return
        if not headers_only:
            texts[message.subject[start:]] = message.data.decode()
        elif "KV-Operation" in message.headers:
            marks.append(message.subject[start:])
        if message.reply.endswith(".0"):
            ended.set()

    await client.subscribe(inbox, cb=deliver)
    config = {"deliver_policy": "last_per_subject", "deliver_subject": inbox, "ack_policy": "none", "mem_storage": True}
    config.update(filter_subject="$KV.CFG.>" if headers_only else "$KV.CFG.web.>", headers_only=headers_only)
    config.update(flow_control=True, idle_heartbeat=5_000_000_000)
    body = json.dumps({"stream_name": "KV_CFG", "config": config}).encode()
    await client.request("$JS.API.CONSUMER.CREATE.KV_CFG", body, timeout=60)
    await ended.wait()
    await client.close()
    return marks if headers_only else texts


def work(name: str, url: str, desired: dict[str, str]) -> Any:
    """Do a work, and return its result."""
    if name in ("values", "marks"):
        return asyncio.run(raw(url, name == "marks"))
    with Session(settings(servers=url, timeout="60s"), read_only=True) as session:
        if name == "prefix":
            how = {"format": "text", "as_of": None, "prefix": True}
            [answer] = answers(KvReader(session), [("CFG", "web.")], how)
            return answer.value
        if name == "compact":
            return KV_BUCKET.read(session, options(KV_BUCKET, name="CFG", compact="0"))[1]
        given: dict[str, Any] = {row: argument.get("default") for row, argument in SPEC.argument_spec().items()}
        given.update(bucket="CFG", prefix="web", prune=True, data=desired)
        return sync(session, given, True, lambda path, mode: False, False)


def measured(name: str, url: str, count: int) -> None:
    """Print what the work takes in addition to the process before it, which has the option ``data``."""
    desired = {f"server{number}": f"value {number}" for number in range(count)} if name == "no-op" else {}
    gc.freeze()
    gc.set_threshold(_archive.NEW_OBJECTS)
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak to the current memory of the process
    before, start = peak(), time.process_time()
    result = work(name, url, desired)
    print(json.dumps([time.process_time() - start, max(0.1, peak() - before)]))
    size = len(result) if name != "no-op" else count - len(result["changes"])
    if size != (MARKS if name in ("marks", "compact") else count):
        raise RuntimeError(f"{name}: {size} of {count}")


def peak() -> float:
    """Return the most memory of the process in MiB."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def run(name: str, server: NatsServer, count: int) -> Taken:
    before = server_seconds(server)
    command = [sys.executable, __file__, "--work", name, server.url, str(count)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)
    client, mebibytes = json.loads(ended.stdout)
    return Taken(client, server_seconds(server) - before, mebibytes)


def server_seconds(server: NatsServer) -> float:
    """Return the processor time of a server."""
    fields = Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


# Results


def compare(count: int, rounds: int) -> bool:
    """Run all works and peers in turns, and record their ratios."""
    names = ["values", "marks", *GOALS]
    taken: dict[str, list[Taken]] = {name: [] for name in names}
    with NatsServer() as server:
        fill(server, count)
        for _round in range(rounds):
            for name in names:
                taken[name].append(run(name, server, count))
    for name in names:
        client, seconds, mebibytes = (sorted(values)[rounds // 2] for values in zip(*taken[name]))
        print(f"{count:9,} keys, {name:8} client {client:6.2f} s, server {seconds:6.2f} s, {mebibytes:6.1f} MiB")
    met = True
    for name, (peer, *goals) in GOALS.items():
        for column, (what, goal) in enumerate(zip(("client", "server", "memory"), goals)):
            ours, theirs = ([max(each[column], 1 / TICK) for each in taken[other]] for other in (name, peer))
            met &= _table.record(f"{name}, {count:,} keys: {what}", "raw consumer", _table.ratios(ours, theirs), goal)
    return met


def grow(sizes: Sequence[int]) -> bool:
    """Plot the processor time and the memory of the lookup of a prefix by the number of keys."""
    points = []
    for count in sizes:
        with NatsServer() as server:
            fill(server, count)
            points.append((count, run("prefix", server, count)))
    met = True
    for column, (what, unit) in enumerate((("client", "s"), ("server", "s"), ("memory", "MiB"))):
        line = [(count, taken[column]) for count, taken in points]
        off = _table.plot(f"prefix of so many keys: {what}", line, unit)
        met &= _table.record(f"prefix, to {sizes[-1]:,} keys: {what} off a line", "", [off * 100], OFF_LINE, " %")
    return met


def main() -> int:
    short = "--short" in sys.argv
    sizes = [int(word) for word in sys.argv[1:] if word.isdecimal()] or ([2_000] if short else list(SIZES))
    met = True
    for count in sizes:
        met &= compare(count, 1 if short else 3)
    met &= grow((500, 1_000, 2_000) if short else (*GROWTH, MILLION) if "--million" in sys.argv else GROWTH)
    return 0 if short or met else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        measured(sys.argv[2], sys.argv[3], int(sys.argv[4]))
        sys.exit(0)
    sys.exit(main())
