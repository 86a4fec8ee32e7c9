# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The cost of lookups and governed tasks of many hosts, each of which is a process of Ansible: CPU of whole runs.

A run with a lookup of a key is compared with the same run with ansible.builtin.env, with and without the callback
choria_preload, and over mutual TLS. A run with choria_governor_run is compared with one whose task has `throttle`: a
command, and a task that only shows a text. The floor is an action that only connects and publishes. They take turns.
The server counts connections: no more than one for each process.

    forks.py [--short] [lookups tls governor]
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / ".build"), str(ROOT / "tests")]

import _table

from ansible_collections.choria.streams.plugins.module_utils._api import streams
from ansible_collections.choria.streams.plugins.module_utils._api.kv import kv, kv_write
from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from support.connect import settings
from support.manage import declared
from support.server import NatsServer
from support.tls import Authority

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LOOKUP, WITHOUT, TLS, GOVERNED = 1.3, 1.01, 1.5, 1.15
SEATS = 20
PRELOAD = {"ANSIBLE_CALLBACKS_ENABLED": "choria.streams.choria_preload"}
KEY, ENV = "{{ lookup('choria.streams.choria_kv', 'FORKS/key') }}", "{{ lookup('ansible.builtin.env', 'HOME') }}"
WORK = {"ansible.builtin.command": {"argv": ["true"]}}
CONNECTION: dict[str, Any] = {"floor_connection": {}}
WITH_FLOORS = {"ANSIBLE_ACTION_PLUGINS": str(Path(__file__).parent / "floors")}


class Subject(NamedTuple):
    """One of the runs that take turns: its task, its forks and its environment."""

    task: Mapping[str, Any]
    forks: int
    environment: Mapping[str, str] = {}


def show(text: str) -> dict[str, Any]:
    return {"ansible.builtin.debug": {"msg": text}}


def run(folder: Path, subject: Subject) -> float:
    """Return the seconds of CPU that a run takes with all its processes."""
    path = folder / "play.yml"
    path.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": [subject.task]}]))
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".build"), **subject.environment}
    command = ["ansible-playbook", "-i", str(folder / "hosts"), "-f", str(subject.forks), str(path)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def turns(folder: Path, hosts: int, rounds: int, subjects: Sequence[Subject]) -> list[list[float]]:
    """Return the seconds of each subject in all rounds. Every other round is in the reverse order."""
    names = "\n".join(f"host{number}" for number in range(hosts))
    local = f"ansible_connection=local\nansible_python_interpreter={sys.executable}"
    (folder / "hosts").write_text(f"{names}\n[all:vars]\n{local}\n")
    seconds: list[list[float]] = [[] for _subject in subjects]
    for number in range(rounds):
        for index in list(range(len(subjects)))[:: -1 if number % 2 else 1]:
            seconds[index].append(run(folder, subjects[index]))
    return seconds


def declare(server: NatsServer, **connection: str) -> None:
    with Session(settings(servers=server.url, **connection)) as session:
        streams.create(session, {"name": "KV_FORKS", "subjects": ["$KV.FORKS.>"], "allow_direct": True})
        kv_write.write(session, kv.Bucket("FORKS"), "key", kv.PUT, b"value")


def lookups(folder: Path, short: bool) -> bool:
    hosts, rounds, met = (20, 1, True) if short else (200, 5, True)
    with NatsServer() as server:
        declare(server)
        connected = {"CHORIA_STREAMS_SERVERS": server.url}
        for forks in (5,) if short else (5, 20, 50):
            before = server.monitor("varz")["total_connections"]
            env, cold, warm, without = turns(
                folder,
                hosts,
                rounds,
                [
                    Subject(show(ENV), forks),
                    Subject(show(KEY), forks, connected),
                    Subject(show(KEY), forks, {**connected, **PRELOAD}),
                    Subject(show(ENV), forks, PRELOAD),
                ],
            )
            connections = (server.monitor("varz")["total_connections"] - before) / rounds / 2
            where = f"on {hosts} hosts, {forks} forks"
            _table.record(f"lookup of a key {where}", "lookup of env", _table.ratios(cold, env))
            met &= _table.record(
                f"the same with choria_preload {where}", "lookup of env", _table.ratios(warm, env), LOOKUP
            )
            met &= _table.record(
                f"choria_preload without a lookup {where}", "none", _table.ratios(without, env), WITHOUT
            )
            met &= _table.record(f"connections of a lookup {where}", "", [connections], hosts, "")
    return met


def tls(folder: Path, short: bool) -> bool:
    hosts, rounds = (20, 1) if short else (200, 5)
    authority = Authority(folder)
    client, broker = authority.issue("client"), authority.issue("broker")
    with NatsServer(broker.server_config(verify_with=authority)) as server:
        url = server.url.replace("nats://", "tls://")
        files = {"ca_path": str(authority.path), "client_cert": str(client.certificate), "client_key": str(client.key)}
        declare(server, **files)
        connected = {f"CHORIA_STREAMS_{name.upper()}": value for name, value in {"servers": url, **files}.items()}
        subjects = [
            Subject(show(ENV), 20),
            Subject(show(KEY), 20, {**connected, **PRELOAD}),
            Subject(CONNECTION, 20, {**connected, **WITH_FLOORS}),
        ]
        env, warm, floor = turns(folder, hosts, rounds, subjects)
    where = f"over mutual TLS on {hosts} hosts, 20 forks"
    _table.record(f"floor: connects and publishes {where}", "lookup of env", _table.ratios(floor, env))
    work = f"lookup of a key with choria_preload {where}"
    return _table.record(work, "lookup of env", _table.ratios(warm, env), TLS)


def governor(folder: Path, short: bool) -> bool:
    hosts, rounds = (20, 1) if short else (80, 5)
    with NatsServer() as server:
        with Session(settings(servers=server.url)) as session:
            declared(session, governors=[{"name": "FORKS", "capacity": SEATS, "expire": "5m"}])
        connected = {"CHORIA_STREAMS_SERVERS": server.url}
        nothing = show("text")
        command, governed_command, shown, governed_text, floor = turns(
            folder,
            hosts,
            rounds,
            [
                Subject({**WORK, "throttle": SEATS}, SEATS),
                Subject(governed(WORK), SEATS, connected),
                Subject({**nothing, "throttle": SEATS}, SEATS),
                Subject(governed(nothing), SEATS, connected),
                Subject(CONNECTION, SEATS, {**connected, **WITH_FLOORS}),
            ],
        )
    where = f"on {hosts} hosts, {SEATS} forks"
    _table.record(f"choria_governor_run with a debug {where}", "throttle", _table.ratios(governed_text, shown))
    _table.record(f"floor: connects and publishes {where}", "throttle", _table.ratios(floor, shown))
    work = f"choria_governor_run with a command {where}"
    return _table.record(work, "throttle", _table.ratios(governed_command, command), GOVERNED)


def governed(task: Mapping[str, Any]) -> dict[str, Any]:
    return {"choria.streams.choria_governor_run": {"name": "FORKS", "task": task}}


def main() -> int:
    short, parts = "--short" in sys.argv, {"lookups": lookups, "tls": tls, "governor": governor}
    names = [word for word in sys.argv[1:] if word in parts] or list(parts)
    with tempfile.TemporaryDirectory() as folder:
        met = [parts[name](Path(folder), short) for name in names]
    return 0 if short or all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
