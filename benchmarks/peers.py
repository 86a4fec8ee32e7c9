# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The collection compared with the programs `choria` and `nats`, called by tasks and lookups of the same playbook.

Each row is of whole runs of ansible-playbook that take turns, every other round in the reverse order. "CPU" is that of
a run with all its processes, and "clock" is its duration. Both use the same server and the same connection: a broker
of Choria with mutual TLS for `choria`, a nats-server for `nats`.

- Keys in templates: lookups of choria_kv, and of ansible.builtin.pipe with `kv get`. With many hosts, Ansible runs with
  the callback choria_preload.
- Resources: choria_resources, and a script of the shell that checks each resource and adds what does not exist. The
  program `choria` has no command for streams, so that it declares buckets with keys only.
- Keys of a folder: choria_kv_sync, and a loop of `kv put`.
- Seats: choria_governor_run, and ansible.builtin.command with `choria governor run`, which holds its seat only while
  the command runs, and not while Ansible starts the module.

The program `choria` is the one that CHORIA_BIN names, or that is on PATH. The program `nats` is the one that NATS_CLI
names, or that is on PATH. With Go, `go install github.com/nats-io/natscli/nats@v0.5.0` builds it. A message is printed
for a program that does not exist, and its rows are left out.

    peers.py [--short] [choria] [nats]
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / ".build"), str(ROOT / "tests")]

import _table

from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from support.choria import ChoriaBroker, find_choria
from support.connect import settings
from support.manage import declared
from support.playbook import RunningPlaybook
from support.server import NatsServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

GOAL = 1.0
BUCKET, GOVERNOR, SEATS, FORKS = "PEERS", "PEERS", 5, 20
PRELOAD = "choria.streams.choria_preload"
KV = "lookup('choria.streams.choria_kv', '{}', bucket='{}')"
PIPE = "lookup('ansible.builtin.pipe', '{}')"
Task = dict[str, Any]


class Program(NamedTuple):
    """A program with the flags of its connection, and an environment with the connection of both sides."""

    name: str
    path: Path
    flags: tuple[str, ...]
    environment: dict[str, str]

    def command(self, words: str) -> str:
        """Return a command of the shell. Its words may contain variables of the shell."""
        return f"{shlex.quote(str(self.path))} {words} {shlex.join(self.flags)}".rstrip()


class Work(NamedTuple):
    """A task of the collection and one with the program, which get a name that no other run has used.

    `runs` name the runs that follow each other with the same name. `callback` is enabled in runs of the collection.
    """

    title: str
    peer: str
    ours: Callable[[str], Task]
    theirs: Callable[[str], Task]
    hosts: int = 1
    runs: tuple[str, ...] = ("",)
    callback: str = ""


class Taken(NamedTuple):
    """Seconds of CPU, and on the clock."""

    cpu: float
    clock: float


def show(expressions: list[str]) -> Task:
    return {"ansible.builtin.debug": {"msg": "".join(f"{{{{ {expression} }}}}" for expression in expressions)}}


def shell(*lines: str) -> Task:
    return {"ansible.builtin.shell": {"cmd": "\n".join(["set -e", *lines])}}


def lookups(program: Program, short: bool) -> list[Work]:
    keys, hosts = (4, 3) if short else (20, 50)

    def ours(count: int) -> Callable[[str], Task]:
        return lambda name: show([KV.format(f"key{number}", BUCKET) for number in range(count)])

    def theirs(count: int) -> Callable[[str], Task]:
        gets = [program.command(f"kv get --raw {BUCKET} key{number}") for number in range(count)]
        return lambda name: show([PIPE.format(get) for get in gets])

    peer = f"pipe, {program.name}"
    return [
        Work(f"{keys} keys in a template", peer, ours(keys), theirs(keys)),
        Work(f"a key on each of {hosts} hosts", peer, ours(1), theirs(1), hosts, callback=PRELOAD),
    ]


def resources(program: Program, short: bool) -> Work:
    buckets = 4 if short else 50
    streams = 0 if program.name == "choria" else 2 * buckets

    def ours(name: str) -> Task:
        declared_buckets = [f"{name}-{number}" for number in range(buckets)]
        return {
            "choria.streams.choria_resources": {
                "streams": [
                    {"name": f"{name}_{number}", "subjects": [f"{name}.{number}.>"]} for number in range(streams)
                ],
                "kv_buckets": [{"name": bucket} for bucket in declared_buckets],
                "keys": [{"bucket": bucket, "key": "key", "value": "value"} for bucket in declared_buckets],
            }
        }

    def theirs(name: str) -> Task:
        words = {
            "has stream": f"stream info {name}_$n",
            "add stream": f"stream add {name}_$n --subjects={name}.$n.'>' --defaults",
            "has bucket": f"kv status {name}-$n",
            "add bucket": f"kv add {name}-$n",
            "get": f"kv get --raw {name}-$n key",
            "put": f"kv put {name}-$n key value",
        }
        command = {what: program.command(called) for what, called in words.items()}
        return shell(
            f"for n in $(seq {streams}); do {command['has stream']} 2>&1 || {command['add stream']}; done",
            f"for n in $(seq {buckets}); do",
            f"{command['has bucket']} 2>&1 || {command['add bucket']}",
            f'test "$({command["get"]} 2>&1)" = value || {command["put"]}',
            "done",
        )

    title = f"{streams} streams, {buckets} buckets with a key" if streams else f"{buckets} buckets with a key"
    return Work(title, f"shell, {program.name}", ours, theirs, runs=("create", "unchanged"))


def folder(program: Program, short: bool) -> Work:
    count = 10 if short else 500

    def ours(name: str) -> Task:
        data = {f"{name}.key{number}": f"value {number}" for number in range(count)}
        return {"choria.streams.choria_kv_sync": {"bucket": BUCKET, "data": data}}

    def theirs(name: str) -> Task:
        put = program.command(f'kv put {BUCKET} {name}.key$n "value $n"')
        return shell(f"for n in $(seq {count}); do {put}; done")

    return Work(f"{count} keys written", f"shell, {program.name}", ours, theirs)


def seats(program: Program, short: bool) -> Work:
    hosts, work = SEATS + 1 if short else 4 * SEATS, {"ansible.builtin.command": {"argv": ["sleep", "0.2"]}}

    def ours(name: str) -> Task:
        return {"choria.streams.choria_governor_run": {"name": GOVERNOR, "task": work}}

    def theirs(name: str) -> Task:
        run = program.command(f"governor run --interval=1s {GOVERNOR} 'sleep 0.2'")
        return {"ansible.builtin.command": {"cmd": run}}

    title = f"0.2 s of work on {hosts} hosts, {SEATS} seats"
    return Work(title, f"command, {program.name}", ours, theirs, hosts)


def run(work: Work, task: Task, program: Program, callback: str) -> Taken:
    before, start = os.times(), time.monotonic()
    running = RunningPlaybook(
        [{"hosts": "all", "gather_facts": False, "tasks": [task]}],
        inventory=[f"host{number:02}" for number in range(work.hosts)],
        env={**program.environment, "ANSIBLE_CALLBACKS_ENABLED": callback},
        args=["--forks", str(FORKS)],
    )
    running.process.wait()
    clock, after = time.monotonic() - start, os.times()
    running.wait().check()
    return Taken(sum(after[2:4]) - sum(before[2:4]), clock)


def measure(work: Work, program: Program, rounds: int) -> bool:
    """Run both tasks in turns, and record the rows of the work."""
    taken: dict[str, tuple[list[Taken], list[Taken]]] = {kind: ([], []) for kind in work.runs}
    for number in range(rounds):
        for side in (1, 0) if number % 2 else (0, 1):
            task = (work.theirs if side else work.ours)(f"{'theirs' if side else 'ours'}{number}")
            for kind in work.runs:
                taken[kind][side].append(run(work, task, program, "" if side else work.callback))
    met = True
    for kind, (ours, theirs) in taken.items():
        for what in Taken._fields:
            seconds = [[getattr(each, what) for each in side] for side in (ours, theirs)]
            title = f"{work.title}{kind and f', {kind}'}: {'CPU' if what == 'cpu' else what}"
            met &= _table.record(title, work.peer, _table.ratios(*seconds), GOAL if what == "cpu" else None)
    return met


def fill(**connection: Any) -> None:
    """Create the bucket, its keys and the governor that runs use."""
    with Session(settings(**connection)) as session:
        declared(
            session,
            kv_buckets=[{"name": BUCKET}],
            keys=[{"bucket": BUCKET, "key": f"key{number}", "value": "value"} for number in range(20)],
            governors=[{"name": GOVERNOR, "capacity": SEATS, "expire": "5m"}],
        )


@contextmanager
def choria(path: Path) -> Iterator[Program]:
    with ChoriaBroker() as broker:
        config = str(broker.client("peer").config)
        fill(choria_config=config)
        yield Program("choria", path, ("--config", config), {"CHORIA_STREAMS_CHORIA_CONFIG": config})


@contextmanager
def nats(path: Path) -> Iterator[Program]:
    with NatsServer() as server:
        fill(servers=server.url)
        yield Program("nats", path, (), {"CHORIA_STREAMS_SERVERS": server.url, "NATS_URL": server.url})


def find_nats() -> Path | None:
    """Return the nats program: $NATS_CLI, or the one on PATH."""
    found = shutil.which(os.environ.get("NATS_CLI") or "nats")
    return Path(found).resolve() if found else None


def main() -> int:
    short = "--short" in sys.argv
    peers = {"choria": (choria, find_choria, "CHORIA_BIN"), "nats": (nats, find_nats, "NATS_CLI")}
    met = True
    for name in [word for word in sys.argv[1:] if word in peers] or list(peers):
        connected, find, variable = peers[name]
        path = find()
        if path is None:
            print(f"There is no program {name}: its rows are left out. Put it on PATH, or its path into {variable}.")
            continue
        with connected(path) as program:
            works = [*lookups(program, short), resources(program, short), folder(program, short)]
            if name == "choria":
                works.append(seats(program, short))
            for work in works:
                met &= measure(work, program, 1 if short else 3)
    return 0 if short or met else 1


if __name__ == "__main__":
    sys.exit(main())
