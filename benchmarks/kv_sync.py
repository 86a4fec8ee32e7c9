# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The cost of choria_kv_sync compared with the least possible cost, in turns within one run.

"Service" is the module's work between reading its options and returning its result, over an existing connection.
It reads the keys, decides, writes each on the revision that it read, and lists its changes. Garbage collection is
rare in it, and so it is in the peers:

- raw puts: nats-py alone publishes the same keys and values without headers, all without waiting, and checks each
  acknowledgement. It reads nothing before, and its connection exists too;
- conditional puts: the same with the module's condition, which costs the server time. They have no target;
- a snapshot: one read of all keys at one moment, by this collection's own code.

"Task" is the whole task, compared with the same floors plus a task with ansible.builtin.ping. It has no target,
since most of it is Ansible's work: it sends 10,000 values to the module and its result of 10,000 changes back.

    kv_sync.py [--short]
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import nats

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / ".build"), str(ROOT / "tests")]

import _table

from ansible_collections.choria.streams.plugins.module_utils import _archive
from ansible_collections.choria.streams.plugins.module_utils._api import streams
from ansible_collections.choria.streams.plugins.module_utils._api.kv import kv
from ansible_collections.choria.streams.plugins.module_utils._api.kv.kv_snapshot import snapshot
from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from ansible_collections.choria.streams.plugins.module_utils._connection.settings import Settings
from ansible_collections.choria.streams.plugins.module_utils._operations.kv.sync import SPEC, sync
from support.playbook import run_playbook
from support.server import NatsServer

if TYPE_CHECKING:
    from collections.abc import Callable

WRITE_TARGET, READ_TARGET = 2.0, 1.5
COLUMNS = ("puts", "conditional", "write", "read", "no-op", "pruning no-op")
# The condition that a key does not exist
CONDITION = {"Nats-Expected-Last-Subject-Sequence": "0"}


def bucket_name(session: Session, number: int) -> str:
    name = f"B{number}"
    config = {"name": f"KV_{name}", "subjects": [f"$KV.{name}.>"], "allow_direct": True, "max_msgs_per_subject": 1}
    streams.create(session, {**config, "allow_rollup_hdrs": True})
    return name


async def puts(url: str, bucket: str, data: dict[str, str], headers: dict[str, str] | None) -> float:
    """Publish all keys without waiting, and check each acknowledgement."""
    client = await nats.connect(url)
    inbox, done, left = client.new_inbox(), asyncio.Event(), len(data)

    async def acknowledged(message: Any) -> None:
        nonlocal left
        if "seq" not in json.loads(message.data):
            raise RuntimeError(message.data)
        left -= 1
        if not left:
            done.set()

    await client.subscribe(f"{inbox}.*", cb=acknowledged)
    start = time.perf_counter()
    for number, (key, value) in enumerate(data.items()):
        await client.publish(f"$KV.{bucket}.{key}", value.encode(), reply=f"{inbox}.{number}", headers=headers)
    await done.wait()
    taken = time.perf_counter() - start
    await client.close()
    return taken


def timed(work: Callable[..., Any], *arguments: Any) -> float:
    start = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - start


def synced(session: Session, bucket: str, data: dict[str, str], prune: bool) -> dict[str, Any]:
    given = {name: argument.get("default") for name, argument in SPEC.argument_spec().items()}
    return sync(
        session, {**given, "bucket": bucket, "data": data, "prune": prune}, False, lambda path, mode: False, False
    )


def task_seconds(server: NatsServer, tasks: dict[str, dict[str, Any]], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of the tasks by their names."""
    clock = {"name": "clock", "ansible.builtin.set_fact": {"clock": "{{ now().timestamp() }}"}}
    listed: list[dict[str, Any]] = [clock]
    for number in range(rounds):
        listed += [each for name, task in tasks.items() for each in ({"name": name, **task}, clock)]
        if number + 1 < rounds:
            empty = {"bucket": "MODULE", "data": {}, "prune": True, "prune_state": "purged", "allow_data_loss": True}
            listed += [{"name": "empty", "choria.streams.choria_kv_sync": empty}, clock]
    play = {"hosts": "localhost", "gather_facts": False, "tasks": listed}
    ended = run_playbook([play], env={"CHORIA_STREAMS_SERVERS": server.url}, timeout=600).check()
    taken: dict[str, list[float]] = {}
    name, before = "", 0.0
    for task in ended.tasks:
        if task.name != "clock":
            name = task.name
            continue
        now = float(task.result["ansible_facts"]["clock"])
        taken.setdefault(name, []).append(now - before)
        before = now
    return {name: taken[name] for name in tasks}


def report(what: str, ours: list[float], floor: list[float], of: str, target: float | None = None) -> bool:
    print(f"{what}: {median(ours) * 1000:.0f} ms, {of} {median(floor) * 1000:.0f} ms")
    return _table.record(f"choria_kv_sync, {what}", of, _table.ratios(ours, floor), target)


def main() -> int:
    short = "--short" in sys.argv
    count, rounds = (500, 1) if short else (10_000, 9)
    gc.freeze()
    gc.set_threshold(_archive.NEW_OBJECTS)
    data = {f"web.server{number}": f"value {number}" for number in range(count)}
    taken: dict[str, list[float]] = {name: [] for name in COLUMNS}
    with NatsServer() as server, Session(Settings(servers=(server.url,))) as session:
        for number in range(rounds):
            raw, same, ours = (bucket_name(session, 3 * number + place) for place in range(3))
            bucket = kv.Bucket(ours)
            taken["puts"].append(asyncio.run(puts(server.url, raw, data, None)))
            taken["conditional"].append(asyncio.run(puts(server.url, same, data, CONDITION)))
            taken["write"].append(timed(synced, session, ours, data, False))
            taken["read"].append(timed(snapshot, session, bucket, ""))
            taken["no-op"].append(timed(synced, session, ours, data, False))
            taken["pruning no-op"].append(timed(synced, session, ours, data, True))
        session.close()
        print(f"{count} keys, {rounds} times, in turns")
        met = report("write", taken["write"], taken["puts"], "raw puts", WRITE_TARGET)
        report("write", taken["write"], taken["conditional"], "conditional puts")
        met &= report("nothing to do", taken["no-op"], taken["read"], "snapshot", READ_TARGET)
        met &= report("nothing to prune", taken["pruning no-op"], taken["read"], "snapshot", READ_TARGET)
        with Session(Settings(servers=(server.url,))) as setup:
            streams.create(
                setup,
                {"name": "KV_MODULE", "subjects": ["$KV.MODULE.>"], "allow_direct": True, "allow_rollup_hdrs": True},
            )
        task = {"choria.streams.choria_kv_sync": {"bucket": "MODULE", "data": data}}
        whole = task_seconds(
            server, {"ping": {"ansible.builtin.ping": {}}, "write": task, "no-op": task}, min(rounds, 3)
        )
        least, read = median(taken["puts"]), median(taken["read"])
        report("a task that writes", whole["write"], [ping + least for ping in whole["ping"]], "ping + raw puts")
        report("a task with nothing to do", whole["no-op"], [ping + read for ping in whole["ping"]], "ping + snapshot")
    return 0 if short or met else 1


if __name__ == "__main__":
    sys.exit(main())
