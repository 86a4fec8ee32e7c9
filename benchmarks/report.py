# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The page of a large run: the playbook run_report compared with a floor, in turns.

report.py [--short] [--keep FILE.html]

The run has 50 tasks on each of 500 hosts, with changes, failures and output. The floor is a playbook of one debug
task, and a program that reads the same events with bare nats-py and makes one table of them with plain Jinja2.
"""

from __future__ import annotations

import asyncio
import json
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / ".build"), str(ROOT / "tests")]

import _table
import nats
from jinja2 import Environment
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from support import deployments, runs
from support.connect import settings
from support.playbook import run_playbook
from support.server import NatsServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ansible_collections.choria.streams.plugins.module_utils._connection.wire import Request

TARGET = 3.0
LASTS = 900.0
SECONDS, MEBIBYTES = 6.0, 10.0
ROW = "<tr><td>{{ row.host }}</td><td>{{ row.task.name }}</td><td>{{ row.msg }}</td></tr>"
TABLE = f"{{% for row in rows if row.task is defined %}}{ROW}{{% endfor %}}"
STATUSES = ["ok"] * 70 + ["changed"] * 20 + ["skipped"] * 8 + ["failed", "ignored"]


def large_run(hosts: int, tasks: int) -> Iterator[Request]:
    """Return the events of a run with this many tasks on this many hosts."""
    chance, start = random.Random(1), 1_700_000_000.0
    yield runs.event("large", 1, "run_started", start, playbook="/site.yml", user="ann", controller="c1")
    number = 1
    for task in range(tasks):
        for host in range(hosts):
            number += 1
            status = chance.choice(STATUSES)
            data: dict[str, Any] = {"msg": f"Task {task} says that it is {status}", "duration": chance.random()}
            data["moment"] = start + LASTS * (task + chance.random()) / tasks
            if status in ("failed", "ignored"):
                data.update(rc=1, output={"stdout": f"line {host}\n" * 5, "stderr": "no space left"})
            elif status == "changed":
                data.update(diff=[{"before": "old\n", "after": "new\n"}], output={"stdout": "done"})
            yield runs.result("large", number, f"web{host}.example.net", status, f"Task number {task}", **data)
    yield runs.event(
        "large", number + 1, "run_finished", start + LASTS, outcome="failed", events=number + 1, duration=LASTS
    )


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds on the clock, and of CPU in all processes that have ended."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    work()
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


async def raw(url: str, events: int, page: Path) -> None:
    client = await nats.connect(url)
    config = ConsumerConfig(deliver_policy=DeliverPolicy.ALL, ack_policy=AckPolicy.NONE)
    subscription = await client.jetstream().pull_subscribe(f"{runs.PREFIX}.>", stream=runs.STREAM, config=config)
    rows: list[dict[str, Any]] = []
    while len(rows) < events:
        messages = await subscription.fetch(min(512, events - len(rows)), timeout=10)
        rows += [json.loads(message.data)["data"] for message in messages]
    await client.close()
    page.write_text(Environment(autoescape=True).from_string(TABLE).render(rows=rows))


def floor(server: NatsServer, events: int, page: Path) -> None:
    debug = {"ansible.builtin.debug": {"msg": "nothing"}}
    run_playbook([{"hosts": "localhost", "gather_facts": False, "tasks": [debug]}]).check()
    subprocess.run([sys.executable, __file__, "--floor", server.url, str(events), str(page)], check=True)


def main() -> int:
    short = "--short" in sys.argv
    hosts, tasks, rounds = (20, 5, 1) if short else (500, 50, 3)
    taken: dict[str, list[tuple[float, float]]] = {"report": [], "floor": []}
    with tempfile.TemporaryDirectory() as folder, NatsServer() as server:
        page = Path(folder) / "page.html"
        with Session(settings(servers=server.url)) as session:
            runs.declare(session)
            runs.store(session, large_run(hosts, tasks))
        for _round in range(rounds):
            page.unlink(missing_ok=True)
            taken["report"].append(timed(lambda: deployments.report(server, page).check()))
            taken["floor"].append(timed(lambda: floor(server, hosts * tasks + 2, Path(folder) / "floor.html")))
        size = page.stat().st_size / 2**20
        if "--keep" in sys.argv:
            shutil.copy(page, sys.argv[sys.argv.index("--keep") + 1])
    (wall, cpu), (floor_wall, floor_cpu) = (list(zip(*taken[name])) for name in ("report", "floor"))
    work = f"page of a run of {hosts} hosts and {tasks} tasks"
    met = _table.record(f"{work}: CPU", "debug task, plain Jinja2", _table.ratios(cpu, floor_cpu), TARGET)
    _table.record(f"{work}: clock", "debug task, plain Jinja2", _table.ratios(wall, floor_wall))
    met &= _table.record(f"{work}: CPU", "", cpu, SECONDS, " s")
    met &= _table.record(f"{work}: size", "", [size], MEBIBYTES, " MiB")
    return 0 if short or met else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["--floor"]:
        asyncio.run(raw(sys.argv[2], int(sys.argv[3]), Path(sys.argv[4])))
        sys.exit(0)
    sys.exit(main())
