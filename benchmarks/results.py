# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The cost of the callback choria_results compared with runs without it, and the speed of its sender.

Each work is a playbook on local hosts with 20 forks. Runs with and without the callback take turns, every other
round in the reverse order, and each ratio is of two runs after each other. "Controller" is the CPU of Ansible's
main process, in which callbacks run. "All" is the CPU of the run with all its processes: the workers, the
modules, and the sender. "Floor" is a callback that only reads the results: Ansible copies each of them for it.

"usual" also runs with other tools that keep the results of runs: ARA (into a local database),
community.general.log_plays (into files) and community.general.opentelemetry (spans into a file). A message is
printed for those that can't be installed. Another round of it begins as long as it is likely to end within the
limit, 15 minutes.

"Sender" is the thread alone, compared with a publisher of nats-py with acknowledgements, in turns. "Disk" is the
duration of fsync on the disk of the spool: the thread calls it at most once a second.

    results.py [--short] [--rounds 5] [--limit 900] [--no-peers] [usual facts loop large many free sender disk …]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / ".build"), str(ROOT / "tests")]

import _table

from ansible_collections.choria.streams.plugins.module_utils._api import streams
from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from ansible_collections.choria.streams.plugins.module_utils._connection.settings import Settings
from ansible_collections.choria.streams.plugins.module_utils._operations.runs.journal import Outgoing
from ansible_collections.choria.streams.plugins.module_utils._operations.runs.spool import Spool
from ansible_collections.choria.streams.plugins.plugin_utils._delivery.sender_main import Sender
from ansible_collections.choria.streams.plugins.plugin_utils._delivery.transport import Direct
from ansible_collections.choria.streams.plugins.plugin_utils._results import events as _events
from support.playbook import RunningPlaybook
from support.server import NatsServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MEGABYTES, SHARE = 30, 0.7
FORKS = 20
PEERS = ROOT / ".venv" / "benchmark-results"
FLOORS = Path(__file__).parent / "floors"
NOTHING, FLOOR, OURS = "no callback", "floor", "choria_results"
ENABLED = "ANSIBLE_CALLBACKS_ENABLED"
WAITING = 2500  # the size of the sender's queue; events that wait longer go to disk
LINE = "line {0}: the service web-{0} has answered in {1} ms"
LARGE = "\n".join(LINE.format(number, number * 37 % 1000) for number in range(2000))[:100_000]


class Work(NamedTuple):
    """Hosts, tasks and strategy of a run, and the goal of its controller's CPU against the run without a callback."""

    hosts: int
    tasks: list[dict[str, Any]]
    goal: float
    strategy: str = "linear"


def show(text: str, **more: Any) -> dict[str, Any]:
    return {"ansible.builtin.debug": {"msg": text}, **more}


def works(short: bool) -> dict[str, Work]:
    """Return the works: one task in five of the usual one runs a command, all others show a text."""
    text = show("This is {{ inventory_hostname }}")
    command = {"ansible.builtin.command": {"argv": ["echo", "{{ inventory_hostname }}"]}}
    hosts, items = (4, 20) if short else (100, 2000)
    return {
        "usual": Work(hosts, [text, text, text, text, command] * (1 if short else 4), 1.05),
        "facts": Work(hosts * 3 // 10, [{"ansible.builtin.setup": {}}], 1.05),
        "loop": Work(1, [show("{{ item }}", loop=list(range(items)))], 1.05),
        "large": Work(hosts, [show(LARGE)] * 2, 1.1),
        "many": Work(hosts * 5, [text] * 10, 1.03),
        "free": Work(hosts * 5, [text] * 10, 1.03, "free"),
    }


class Taken(NamedTuple):
    """Seconds on the clock, of the CPU of all processes and of the controller's CPU, and the controller's memory in
    MiB.
    """

    wall: float
    cpu: float
    controller: float
    mebibytes: float


@dataclass
class Subject:
    """A Python and an environment with one callback or none, and the measurements of its runs."""

    python: Path
    environment: dict[str, str] = field(default_factory=dict)
    taken: list[Taken] = field(default_factory=list)

    def each(self, name: str) -> list[float]:
        return [getattr(taken, name) for taken in self.taken]


def peers() -> dict[str, Subject]:
    """Return other callbacks. They are installed when they are first needed."""
    python = PEERS / "bin" / "python"
    if not (PEERS / "complete").exists():
        print(f"Installing ARA, OpenTelemetry and the collections of the package ansible into {PEERS}", flush=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        telemetry = ["opentelemetry-api", "opentelemetry-sdk", "opentelemetry-exporter-otlp"]
        try:
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(PEERS)], check=True)
            subprocess.run([*pip, "ara[server]", f"ansible-core=={version('ansible-core')}", *telemetry], check=True)
            subprocess.run([*pip, "--no-deps", "ansible"], check=True)
        except subprocess.CalledProcessError as error:
            shutil.rmtree(PEERS, ignore_errors=True)
            print(f"The callbacks of others are left out, since they can't be installed: {error}")
            return {}
        (PEERS / "complete").touch()
    command = [str(python), "-m", "ara.setup.callback_plugins"]
    plugins = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    collections = {"ANSIBLE_COLLECTIONS_PATH": str(next(PEERS.glob("lib/python*/site-packages")))}
    spans = {"ANSIBLE_OPENTELEMETRY_STORE_SPANS_IN_FILE": os.devnull}
    return {
        "ARA": Subject(python, {"ANSIBLE_CALLBACK_PLUGINS": plugins, ENABLED: "ara_default"}),
        "log_plays": Subject(python, {ENABLED: "community.general.log_plays", **collections}),
        "opentelemetry": Subject(python, {ENABLED: "community.general.opentelemetry", **collections, **spans}),
    }


def run(subject: Subject, work: Work) -> Taken:
    plays = [{"hosts": "all", "gather_facts": False, "strategy": work.strategy, "tasks": work.tasks}]
    before, start = os.times(), time.monotonic()
    running = RunningPlaybook(
        plays,
        inventory=[f"host{number:03}" for number in range(work.hosts)],
        env=subject.environment,
        args=["--forks", str(FORKS)],
        python=subject.python,
    )
    controller = mebibytes = 0.0
    while running.process.poll() is None:
        controller, mebibytes = max(controller, _cpu(running.process.pid)), _peak(running.process.pid) or mebibytes
        time.sleep(0.02)
    wall, after = time.monotonic() - start, os.times()
    running.wait().check()
    return Taken(wall, sum(after[2:4]) - sum(before[2:4]), controller, mebibytes)


def _cpu(pid: int) -> float:
    """Return the seconds of CPU that a process has taken without its children."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _peak(pid: int) -> float:
    """Return the most memory that a process has had, in MiB."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)


def measure(name: str, work: Work, subjects: dict[str, Subject], asked: argparse.Namespace) -> bool:
    """Run a work with all subjects in turns, and record its rows."""
    start, rounds = time.monotonic(), 0
    while (rounds < asked.rounds and (time.monotonic() - start) * (rounds + 1) <= asked.limit * rounds) or not rounds:
        for subject in list(subjects.values())[:: -1 if rounds % 2 else 1]:
            subject.taken.append(run(subject, work))
        rounds += 1
    without, met = subjects.pop(NOTHING), True
    title = f"{name}: {work.hosts} hosts, {len(work.tasks)} {'task' if len(work.tasks) == 1 else 'tasks'}"
    for callback, subject in subjects.items():
        own = callback == OURS
        ratios = {what: _table.ratios(subject.each(what), without.each(what)) for what in ("controller", "cpu", "wall")}
        met &= _table.record(
            f"{callback}, {title}: controller", NOTHING, ratios["controller"], work.goal if own else None
        )
        _table.record(f"{callback}, {title}: all", NOTHING, ratios["cpu"])
        if name == "usual":
            grown = [ours - other for ours, other in zip(subject.each("mebibytes"), without.each("mebibytes"))]
            _table.record(f"{callback}, {title}: clock", NOTHING, ratios["wall"])
            met &= _table.record(
                f"{callback}: memory of the controller", NOTHING, grown, MEGABYTES if own else None, " MiB"
            )
    return met


def runs(server: NatsServer, asked: argparse.Namespace) -> bool:
    enabled = {ENABLED: "choria.streams.choria_results", "CHORIA_STREAMS_SERVERS": server.url}
    floor = {ENABLED: "floor_results", "ANSIBLE_CALLBACK_PLUGINS": str(FLOORS)}
    met = True
    for name, work in works(asked.short).items():
        if name in asked.names:
            python = Path(sys.executable)
            subjects = {
                NOTHING: Subject(python, {ENABLED: ""}),
                FLOOR: Subject(python, floor),
                OURS: Subject(python, enabled),
            }
            if name == "usual" and not (asked.no_peers or asked.short):
                subjects.update(peers())
            met &= measure(name, work, subjects, asked)
    return met


def events(count: int, run_id: str) -> Iterator[Outgoing]:
    made = _events.Run(run_id)
    for _number in range(count):
        event = made.event(_events.TASK_RESULT, time.time(), {"status": "ok", "msg": "x" * 200}, "web1")
        yield Outgoing(_events.subject("ansible.runs", event), event.id, _events.encode(event, 65536))


def sender(server: NatsServer, count: int, folder: Path, number: int) -> float:
    """Return the events per second of the sender, from the first event it gets to the last that is stored."""
    transport = Direct(Settings(servers=(server.url,)), "ansible.runs", "ANSIBLE_RUNS")
    prepared = list(events(count, f"ours{number}"))
    subject = Sender(transport, Spool(folder, 1 << 28), f"ours{number}")
    start = time.monotonic()
    for index, event in enumerate(prepared):
        while index - subject.stored > WAITING:
            time.sleep(0.001)
        subject.put(*event)
    report = subject.finish(60)
    taken = time.monotonic() - start
    if report.stored != count:
        raise SystemExit(report.text)
    return count / taken


def publisher(server: NatsServer, count: int, number: int) -> float:
    """Return the same for plain nats-py, with a window of acknowledgements."""
    import nats

    prepared = list(events(count, f"raw{number}"))

    async def publish() -> float:
        client = await nats.connect(server.url)
        stream = client.jetstream()
        start = time.monotonic()
        for event in prepared:
            await stream.publish_async(event.subject, event.payload, headers={"Nats-Msg-Id": event.id})
        await stream.publish_async_completed()
        taken = time.monotonic() - start
        await client.close()
        return count / taken

    return asyncio.run(publish())


def senders(server: NatsServer, rounds: int, count: int) -> bool:
    with tempfile.TemporaryDirectory(prefix="results-") as folder:
        measures: dict[str, Callable[[int], float]] = {
            "sender": lambda number: sender(server, count, Path(folder) / "spool", number),
            "nats-py": lambda number: publisher(server, count, number),
        }
        speeds: dict[str, list[float]] = {name: [] for name in measures}
        for number in range(rounds):
            for name, events_per_second in measures.items():
                speeds[name].append(events_per_second(number))
    share = _table.ratios(speeds["sender"], speeds["nats-py"])
    print(f"Sender: {median(speeds['sender']):,.0f} events a second, nats-py {median(speeds['nats-py']):,.0f}")
    return _table.record(f"sender: {count} events a second", "nats-py", share, SHARE, at_least=True)


def disk(rounds: int) -> None:
    """Measure how long it takes to write the events of a second, and to fsync them."""
    folder = Path.home() / ".local" / "state"
    written, synced = [], []
    prepared = list(events(500, "disk"))
    with tempfile.TemporaryDirectory(prefix="results-", dir=folder if folder.is_dir() else None) as place:
        journal = Spool(Path(place), 1 << 28).create("disk", {})
        for _round in range(rounds):
            start = time.monotonic()
            journal.append(prepared)
            middle = time.monotonic()
            journal.sync()
            written.append(middle - start)
            synced.append(time.monotonic() - middle)
        journal.remove()
        late = []
        for number in range(rounds):
            subject = Sender(
                Direct(Settings(servers=("nats://127.0.0.1:1",)), "p", "S"), Spool(Path(place), 1 << 28), f"{number}"
            )
            start = time.monotonic()
            subject.put(*prepared[0])
            while not list(Path(place).glob(f"*-{number}.journal")):
                time.sleep(0.002)
            late.append(time.monotonic() - start)
            subject.finish(0)
    print(f"Disk: without servers an event is written after {median(late):.2f} s (at most {max(late):.2f} s)")
    print(
        f"Disk: 500 events are written in {median(written) * 1000:.1f} ms, "
        f"and fsync takes {median(synced) * 1000:.1f} ms (at most {max(synced) * 1000:.1f} ms)"
    )


def arguments() -> argparse.Namespace:
    every = [*works(short=False), "sender", "disk"]
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", metavar="work", help=", ".join(every))
    parser.add_argument("--short", action="store_true", help="only shows that all of it works")
    parser.add_argument("--no-peers", action="store_true", help="leaves out the callbacks of others")
    for name, usual in (("rounds", 5), ("limit", 900)):
        parser.add_argument(f"--{name}", type=int, default=usual)
    asked = parser.parse_args()
    unknown = set(asked.names) - set(every)
    if unknown:
        parser.error(f"there is no {', '.join(unknown)}: choose from {', '.join(every)}")
    asked.names = asked.names or every
    if asked.short:
        asked.rounds = 1
    return asked


def main() -> int:
    asked = arguments()
    with NatsServer() as server:
        with Session(Settings(servers=(server.url,))) as session:
            streams.create(session, {"name": "ANSIBLE_RUNS", "subjects": ["ansible.runs.>"]})
        if "disk" in asked.names:
            disk(3 if asked.short else 30)
        met = "sender" not in asked.names or senders(server, *(1, 1000) if asked.short else (5, 20_000))
        met &= runs(server, asked)
    return 0 if asked.short or met else 1


if __name__ == "__main__":
    sys.exit(main())
