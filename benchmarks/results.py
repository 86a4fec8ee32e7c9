# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the callback choria_results costs a run, and how fast its sender is.

"Run" is a playbook of 20 tasks on 100 local hosts with 20 forks, without any callback, with choria_results, and with
what else keeps the results of runs: ARA (into a local database) and community.general.log_plays (into files). They
take turns. One task in five runs a command on each host, the others only show a text: the less tasks do, the more a
callback weighs, and --commands 0 leaves it at that, which is the worst case. Ratios are those of neighbours in time.
Another round begins as long as it is likely to end within the limit, 15 minutes.

"Sender" is the thread alone, beside a publisher of nats-py with acknowledgements, in turns.
"Disk" is how long fsync takes on the disk of the spool: the thread does that at most once a second.

    results.py [--short] [--hosts 100] [--tasks 20] [--commands 5] [--rounds 5] [--limit 900] [--only-runs] [--no-peers]
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
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / ".build"), str(ROOT / "tests")]

from ansible_collections.choria.streams.plugins.module_utils._api import streams
from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from ansible_collections.choria.streams.plugins.module_utils._connection.settings import Settings
from ansible_collections.choria.streams.plugins.module_utils._operations.runs.journal import Outgoing
from ansible_collections.choria.streams.plugins.module_utils._operations.runs.spool import Spool
from ansible_collections.choria.streams.plugins.plugin_utils._delivery.sender import Sender
from ansible_collections.choria.streams.plugins.plugin_utils._delivery.transport import Direct
from ansible_collections.choria.streams.plugins.plugin_utils._results import events as _events
from support.playbook import RunningPlaybook
from support.server import NatsServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RATIO, MEGABYTES, EVENTS_PER_SECOND, SHARE = 1.02, 30, 20_000, 0.7
FORKS = 20
PEERS = ROOT / ".venv" / "benchmark-results"
NOTHING, OURS = "no callback", "choria_results"
WAITING = 2500  # of the sender's queue; what waits for long goes to disk


@dataclass
class Taken:
    """What the runs with one callback took, each: seconds, seconds of all processors, and MiB of the controller."""

    elapsed: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)


def peers() -> dict[str, tuple[Path, dict[str, str]]]:
    """Callbacks of others: a Python and an environment each. Installed when first needed."""
    python = PEERS / "bin" / "python"
    if not python.exists():
        print(f"Installing ARA and the collections of the package ansible into {PEERS.relative_to(ROOT)}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(PEERS)], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        try:
            subprocess.run([*pip, "ara[server]", f"ansible-core=={version('ansible-core')}"], check=True)
            subprocess.run([*pip, "--no-deps", "ansible"], check=True)
        except subprocess.CalledProcessError as error:
            shutil.rmtree(PEERS)
            print(f"They can't be had ({error}).")
            return {}
    command = [str(python), "-m", "ara.setup.callback_plugins"]
    plugins = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    collections = next(PEERS.glob("lib/python*/site-packages"))
    return {
        "ARA": (python, {"ANSIBLE_CALLBACK_PLUGINS": plugins, "ANSIBLE_CALLBACKS_ENABLED": "ara_default"}),
        "log_plays": (
            python,
            {
                "ANSIBLE_CALLBACKS_ENABLED": "community.general.log_plays",
                "ANSIBLE_COLLECTIONS_PATH": str(collections),
            },
        ),
    }


def tasks(asked: argparse.Namespace) -> list[dict[str, Any]]:
    show = {"ansible.builtin.debug": {"msg": "This is {{ inventory_hostname }}"}}
    command = {"ansible.builtin.command": {"argv": ["echo", "{{ inventory_hostname }}"]}}
    commands = range(asked.commands - 1, asked.tasks, asked.commands) if asked.commands else ()
    return [{"name": f"Task {n}", **(command if n in commands else show)} for n in range(asked.tasks)]


def run(python: Path, environment: dict[str, str], asked: argparse.Namespace) -> tuple[float, float, float]:
    """Seconds, seconds of processors and MiB of the controller that a run takes."""
    plays = [{"hosts": "all", "gather_facts": False, "tasks": tasks(asked)}]
    before, start = os.times(), time.monotonic()
    running = RunningPlaybook(
        plays,
        inventory=[f"host{number:03}" for number in range(asked.hosts)],
        env={"ANSIBLE_CALLBACKS_ENABLED": "", **environment},
        args=["--forks", str(FORKS)],
        python=python,
    )
    memory = 0.0
    while running.process.poll() is None:
        memory = _peak(running.process.pid) or memory
        time.sleep(0.05)
    elapsed, after = time.monotonic() - start, os.times()
    running.wait().check()
    processors = sum(after[2:4]) - sum(before[2:4])
    return elapsed, processors, memory


def _peak(pid: int) -> float:
    """The most memory that a process had so far, in MiB."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)


def runs(server: NatsServer, asked: argparse.Namespace) -> bool:
    python = Path(sys.executable)
    settings = {"ANSIBLE_CALLBACKS_ENABLED": "choria.streams.choria_results", "CHORIA_STREAMS_SERVERS": server.url}
    subjects: dict[str, tuple[Path, dict[str, str]]] = {NOTHING: (python, {}), OURS: (python, settings)}
    if not asked.no_peers:
        subjects.update(peers())
    taken = {name: Taken() for name in subjects}
    start, done = time.monotonic(), 0
    while (done < asked.rounds and (time.monotonic() - start) * (done + 1) <= asked.limit * done) or not done:
        # Every other round is in the reverse order, so that none has the advantage of being the first
        for name in list(subjects)[:: 1 if done % 2 else -1]:
            elapsed, processor, memory = run(*subjects[name], asked)
            taken[name].elapsed.append(elapsed)
            taken[name].processor.append(processor)
            taken[name].memory.append(memory)
        done += 1
    print(
        f"Run: {asked.tasks} tasks on {asked.hosts} hosts, {FORKS} forks, "
        f"{f'one in {asked.commands} runs a command, ' if asked.commands else ''}{done} times, in turns; medians; "
        f"all in {time.monotonic() - start:.0f} s, while the load was {os.getloadavg()[2]:.1f}"
    )
    floor = taken[NOTHING]
    ratios, growth = {}, {}
    for name, found in taken.items():
        ratios[name] = median(own / other for own, other in zip(found.elapsed, floor.elapsed))
        busy = median(own / other for own, other in zip(found.processor, floor.processor))
        growth[name] = median(found.memory) - median(floor.memory)
        print(
            f"  {name:15} {median(found.elapsed):6.1f} s: {ratios[name]:5.3f} times; "
            f"processors {median(found.processor):6.1f} s: {busy:5.3f} times; "
            f"controller {median(found.memory):4.0f} MiB: {growth[name]:+5.1f} MiB"
        )
    return ratios[OURS] <= RATIO and growth[OURS] <= MEGABYTES


def events(count: int, run_id: str) -> Iterator[Outgoing]:
    made = _events.Run(run_id)
    for _number in range(count):
        event = made.event(_events.TASK_RESULT, time.time(), {"status": "ok", "msg": "x" * 200}, "web1")
        yield Outgoing(_events.subject("ansible.runs", event), event.id, _events.encode(event, 65536))


def sender(server: NatsServer, count: int, folder: Path, number: int) -> float:
    """Events per second of the sender, from the first that it is given to the last that is stored."""
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
    """The same with nats-py as it is, with a window of acknowledgements."""
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
        found: dict[str, list[float]] = {name: [] for name in measures}
        for number in range(rounds):
            for name, measure in measures.items():
                found[name].append(measure(number))
    speed, raw = median(found["sender"]), median(found["nats-py"])
    share = median(ours / other for ours, other in zip(found["sender"], found["nats-py"]))
    print(f"Sender: {count} events, {rounds} times: {speed:,.0f} a second, nats-py {raw:,.0f} a second: {share:.0%}")
    return speed >= EVENTS_PER_SECOND or share >= SHARE


def disk(rounds: int) -> None:
    """How long a second's worth of events takes to be written, and to be on the disk itself."""
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
    parser = argparse.ArgumentParser()
    parser.add_argument("--short", action="store_true", help="only shows that all of it works")
    parser.add_argument("--only-runs", action="store_true", help="leaves out disk and sender")
    parser.add_argument("--no-peers", action="store_true", help="leaves out the callbacks of others")
    for name, usual in (("hosts", 100), ("tasks", 20), ("commands", 5), ("rounds", 5), ("limit", 900)):
        parser.add_argument(f"--{name}", type=int, default=usual)
    asked = parser.parse_args()
    if asked.short:
        asked.hosts, asked.tasks, asked.rounds = 4, 2, 1
    return asked


def main() -> int:
    asked = arguments()
    with NatsServer() as server:
        with Session(Settings(servers=(server.url,))) as session:
            streams.create(session, {"name": "ANSIBLE_RUNS", "subjects": ["ansible.runs.>"]})
        fast = True
        if not asked.only_runs:
            disk(3 if asked.short else 30)
            fast = senders(server, *(1, 1000) if asked.short else (5, 20_000))
        light = runs(server, asked)
    return 0 if asked.short or (fast and light) else 1


if __name__ == "__main__":
    sys.exit(main())
