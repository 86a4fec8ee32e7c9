# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a lookup in a task of many hosts costs, since Ansible starts a process for each: CPU of whole runs.

A run with a lookup of a key is held against the same run with ansible.builtin.env, in turns, with and without the
callback choria_preload. The server counts connections: no more than one for each process.

    forks.py [--short]
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / ".build"), str(ROOT / "tests")]

from ansible_collections.choria.streams.plugins.module_utils._api import streams
from ansible_collections.choria.streams.plugins.module_utils._api.kv import kv, kv_write
from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from support.connect import settings
from support.server import NatsServer

TARGET = 1.3
PRELOAD = "choria.streams.choria_preload"
KEY, ENV = "{{ lookup('choria.streams.choria_kv', 'FORKS/key') }}", "{{ lookup('ansible.builtin.env', 'HOME') }}"


def cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run(folder: Path, url: str, text: str, forks: int, callback: str = "") -> float:
    """The seconds of CPU that a run takes with all its processes."""
    path = folder / "play.yml"
    tasks = [{"ansible.builtin.debug": {"msg": text}}]
    path.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
    env = {**os.environ, "CHORIA_STREAMS_SERVERS": url, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".build")}
    env.update({"ANSIBLE_CALLBACKS_ENABLED": callback} if callback else {})
    command = ["ansible-playbook", "-i", str(folder / "hosts"), "-f", str(forks), str(path)]
    before = cpu()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=env)
    return cpu() - before


def main() -> int:
    short = "--short" in sys.argv
    hosts, rounds, met = (20, 1, True) if short else (200, 5, True)
    with tempfile.TemporaryDirectory() as name, NatsServer() as server:
        folder = Path(name)
        (folder / "hosts").write_text("\n".join(f"host{number} ansible_connection=local" for number in range(hosts)))
        with Session(settings(servers=server.url)) as session:
            streams.create(session, {"name": "KV_FORKS", "subjects": ["$KV.FORKS.>"], "allow_direct": True})
            kv_write.write(session, kv.Bucket("FORKS"), "key", kv.PUT, b"value")
        print(f"One task on {hosts} hosts, {rounds} times, in turns; CPU of the whole run against a lookup of env")
        for forks in (5,) if short else (5, 20, 50):
            ratios: dict[str, list[float]] = {"choria_kv": [], "choria_kv, preload": [], "env, preload": []}
            before = server.monitor("varz")["total_connections"]
            for _round in range(rounds):
                floor = run(folder, server.url, ENV, forks)
                ratios["choria_kv"].append(run(folder, server.url, KEY, forks) / floor)
                ratios["choria_kv, preload"].append(run(folder, server.url, KEY, forks, PRELOAD) / floor)
                ratios["env, preload"].append(run(folder, server.url, ENV, forks, PRELOAD) / floor)
            connections = (server.monitor("varz")["total_connections"] - before) / rounds / 2
            shown = ", ".join(f"{what} {median(found):.2f}" for what, found in ratios.items())
            print(
                f"{forks:3} forks: {shown} times (preload at most {TARGET:g}), {connections:g} connections", flush=True
            )
            met &= median(ratios["choria_kv, preload"]) <= TARGET and connections <= hosts
    return 0 if short or met else 1


if __name__ == "__main__":
    sys.exit(main())
