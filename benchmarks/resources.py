# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The cost of choria_resources compared with the least possible cost: 1,000 buckets, whole ansible-playbook runs.

The floors are measured in the same run, in turns: a playbook with one ansible.builtin.ping, and a script with
nats-py that pipelines the same requests and checks each answer. Both the script and the playbook read the buckets
from a JSON file. A list in the playbook itself has no target: Ansible searches each of its texts for templates,
with any module.

    resources.py [--short]
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / ".build"), str(ROOT / "tests")]

import _table

from support.playbook import run_playbook
from support.server import NatsServer

TARGET = 1.3

# The raw script is a separate program, like the module, so that the start is a part of both
RAW = """
import asyncio, json, sys
import nats

async def main(url, buckets):
    client = await nats.connect(url, pending_size=64 << 20)
    inbox, answers, done = client.new_inbox(), {}, asyncio.Event()

    async def on_reply(message):
        answers[message.subject] = json.loads(message.data)
        if len(answers) >= wanted:
            done.set()

    async def ask(calls):
        nonlocal wanted
        answers.clear(); done.clear(); wanted = len(calls)
        for number, (subject, body) in enumerate(calls):
            await client.publish(subject, json.dumps(body).encode(), reply=f"{inbox}.{number}")
        await done.wait()
        for answer in answers.values():
            if "error" in answer:
                raise RuntimeError(answer["error"])
        return list(answers.values())

    async def listed():
        found, total = {}, 1
        while len(found) < total:
            [page] = await ask([("$JS.API.STREAM.LIST", {"offset": len(found)})])
            found.update({info["config"]["name"]: info for info in page["streams"] or []})
            total = page["total"]
        return found

    wanted = 0
    await client.subscribe(f"{inbox}.*", cb=on_reply)
    there = await listed()
    new = [config for config in buckets if config["name"] not in there]
    for start in range(0, len(new), 256):
        await ask([(f"$JS.API.STREAM.CREATE.{config['name']}", config) for config in new[start : start + 256]])
    if new:
        await listed()
    await client.close()

asyncio.run(main(sys.argv[1], json.load(open(sys.argv[2]))))
"""


def names(count: int) -> list[str]:
    return [f"BUCKET{number}" for number in range(count)]


def config(name: str) -> dict[str, Any]:
    """Return the module's request for a bucket with only a name and a history."""
    return {
        "name": f"KV_{name}",
        "subjects": [f"$KV.{name}.>"],
        "max_msgs_per_subject": 5,
        "allow_direct": True,
        "discard": "new",
        "allow_rollup_hdrs": True,
        "deny_delete": True,
    }


def playbook_seconds(task: dict[str, Any], url: str) -> float:
    start = time.perf_counter()
    play = {"hosts": "localhost", "gather_facts": False, "tasks": [task]}
    # Users do not run the callback by which the tests read results
    env = {"ANSIBLE_CALLBACKS_ENABLED": "", "CHORIA_STREAMS_SERVERS": url}
    run_playbook([play], env=env, timeout=600).check()
    return time.perf_counter() - start


def raw_seconds(url: str, folder: Path, count: int) -> float:
    path = folder / "buckets.json"
    path.write_text(json.dumps([config(name) for name in names(count)]))
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", RAW, url, str(path)], check=True)
    return time.perf_counter() - start


def speed(folder: Path, count: int, rounds: int) -> bool:
    buckets = [{"name": name, "history": 5} for name in names(count)]
    path = folder / "declared.json"
    path.write_text(json.dumps(buckets))
    from_file = f"{{{{ lookup('ansible.builtin.file', '{path}') | from_json }}}}"
    given = {"create": from_file, "again": from_file, "again, listed in the playbook": buckets}
    pings: list[float] = []
    floors: dict[str, list[float]] = {kind: [] for kind in given}
    taken: dict[str, list[float]] = {kind: [] for kind in given}
    for _round in range(rounds):
        with NatsServer() as ours, NatsServer() as theirs:
            for kind, declared in given.items():
                pings.append(playbook_seconds({"ansible.builtin.ping": {}}, ours.url))
                floors[kind].append(pings[-1] + raw_seconds(theirs.url, folder, count))
                task = {"choria.streams.choria_resources": {"kv_buckets": declared}}
                taken[kind].append(playbook_seconds(task, ours.url))
    print(f"{count} buckets, {rounds} times, in turns; medians; ping takes {median(pings):.2f} s")
    met = True
    for kind, declared in given.items():
        print(f"{kind}: {median(taken[kind]):.2f} s, ping + raw {median(floors[kind]):.2f} s")
        work, goal = f"choria_resources, {count} buckets, {kind}", TARGET if declared == from_file else None
        met &= _table.record(work, "ping + raw requests", _table.ratios(taken[kind], floors[kind]), goal)
    return met


def main() -> int:
    short = "--short" in sys.argv
    with tempfile.TemporaryDirectory() as folder:
        met = speed(Path(folder), 100 if short else 1000, 1 if short else 9)
    return 0 if short or met else 1


if __name__ == "__main__":
    sys.exit(main())
