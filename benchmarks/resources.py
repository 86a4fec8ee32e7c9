# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""What choria_resources costs beside the least that its work could cost: 1,000 buckets, whole ansible-playbook runs.

The floors are measured in the same run, in turns: a playbook with one ansible.builtin.ping, and a script with nats-py
that pipelines the same requests, each answer looked at. Both the script and the playbook have the buckets in a JSON
file. A list in the playbook itself has no target: Ansible takes its time to look at each of its texts for templates,
whatever the module. Then the module's memory and processor time from 100 to 10,000
buckets, with a plot of both as text, and how far they are from a straight line. What passes until the server has made
the buckets is printed beside it: for each it takes the longer, the more streams it has.

    resources.py [--short] [--growth | --speed]
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import linear_regression, median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / ".build"), str(ROOT / "tests")]

from support.playbook import run_playbook
from support.server import NatsServer

TARGET = 1.3
MEGABYTES = 300
# As part of the greatest value; machines that do other work as well are off by some percents
NOT_LINEAR = 0.1
WIDTH = 50

# The raw script is a program of its own, as the module is: its start is a part of both
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
    """What the module sends for a bucket of which only the name and the history are given."""
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
    # The callback that the tests read results by is no part of what users run
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
        # Of each turn, since machines are faster at one time than at another
        ratio = median(own / floor for own, floor in zip(taken[kind], floors[kind]))
        told = f"{kind}: {median(taken[kind]):5.2f} s, ping + raw {median(floors[kind]):5.2f} s: {ratio:4.2f} times"
        if declared == from_file:
            told, met = f"{told} (at most {TARGET:g})", met and ratio <= TARGET
        print(told)
    return met


MODULE = """
import json, resource, sys, time
from ansible.module_utils import basic
from ansible_collections.choria.streams.plugins.modules.choria_resources import main
basic._ANSIBLE_ARGS = open(sys.argv[1], "rb").read()
try:
    basic._ANSIBLE_PROFILE = "legacy"
except Exception:
    pass
start = time.perf_counter()
try:
    main()
except SystemExit as ended:
    print(json.dumps({"rc": ended.code, "passed": time.perf_counter() - start, "seconds": time.process_time(),
                      "kilobytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}), file=sys.stderr)
"""


def module(url: str, folder: Path, count: int) -> dict[str, Any]:
    """The module alone, as Ansible starts it on a host: the seconds and megabytes that it takes."""
    path = folder / "arguments.json"
    buckets = [{"name": name, "history": 5} for name in names(count)]
    arguments = {"kv_buckets": buckets, "servers": [url], "timeout": "60s", "_ansible_diff": True}
    path.write_text(json.dumps({"ANSIBLE_MODULE_ARGS": arguments}))
    ended = subprocess.run(
        [sys.executable, "-c", MODULE, str(path)],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(ROOT / ".build"), "HOME": str(folder)},
    )
    found = re.search(r'\{"rc".*\}', ended.stderr)
    if not found:
        raise RuntimeError(ended.stderr)
    told = dict(json.loads(found.group(0)))
    if told["rc"]:
        raise RuntimeError(ended.stdout[-2000:])
    return told


def growth(folder: Path, counts: list[int]) -> bool:
    rows: list[tuple[int, float, float, float]] = []
    for count in counts:
        with NatsServer() as server:
            made, again = module(server.url, folder, count), module(server.url, folder, count)
        megabytes = max(made["kilobytes"], again["kilobytes"]) / 1024
        rows.append((count, megabytes, made["seconds"], again["seconds"]))
        work = f"create {made['seconds']:5.2f} s ({made['passed']:.1f} s pass), again {again['seconds']:5.2f} s"
        print(f"{count:6} buckets: {megabytes:4.0f} MB, {work}", flush=True)
    off = [
        plot(title, [(row[0], float(row[column])) for row in rows], unit)
        for title, column, unit in (
            ("memory", 1, "MB"),
            ("processor time, create", 2, "s"),
            ("processor time, again", 3, "s"),
        )
    ]
    peak = rows[-1][1]
    print(f"{counts[-1]} buckets take {peak:.0f} MB (at most {MEGABYTES})")
    return peak <= MEGABYTES and max(off) <= NOT_LINEAR


def plot(title: str, points: list[tuple[int, float]], unit: str) -> float:
    """Bars, and the straight line that fits them best. Returns the greatest distance from it in parts of the whole."""
    most = max(value for _count, value in points)
    print(f"\n{title}")
    for count, value in points:
        print(f"{count:6} |{'#' * round(WIDTH * value / most):{WIDTH}}| {value:.2f} {unit}")
    slope, base = linear_regression(*zip(*points))
    off = max(abs(value - base - slope * count) for count, value in points) / most
    print(f"linear: {base:.2f} {unit} and {slope * 1000:.2f} {unit} for each 1000, at most {off:.0%} off that line")
    return off


def main() -> int:
    short, only = "--short" in sys.argv, [word for word in sys.argv[1:] if word in ("--growth", "--speed")]
    met = True
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if only != ["--growth"]:
            met &= speed(folder, 100 if short else 1000, 1 if short else 9)
        if only != ["--speed"]:
            met &= growth(folder, [100, 200] if short else [100, *range(2000, 10_001, 2000)])
    return 0 if short or met else 1


if __name__ == "__main__":
    sys.exit(main())
