# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a task of a module costs beside ansible.builtin.ping on the same host, in turns within one run.

Each task connects, reads, and where it writes reads back. Half of what it takes beyond ping is importing nats-py and
asyncio, most of the rest compiling the module: Ansible sends source code to hosts.

    module.py [--short]
"""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / ".build"), str(ROOT / "tests")]

from ansible_collections.choria.streams.plugins.module_utils._api import streams
from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from ansible_collections.choria.streams.plugins.module_utils._connection.settings import Settings
from support.server import NatsServer
from support.timing import timed_tasks

TARGET = 1.5
ITEMS = 5
TASKS = {
    "ansible.builtin.ping": {"ansible.builtin.ping": {}},
    "choria_kv, no change": {"choria.streams.choria_kv": {"bucket": "CFG", "key": "key", "value": "value"}},
    "choria_kv, a write": {
        "choria.streams.choria_kv": {"bucket": "CFG", "key": "key", "value": "{{ now() }} {{ item }}"}
    },
    "choria_kv_bucket, no change": {"choria.streams.choria_kv_bucket": {"name": "CFG"}},
    "choria_stream, no change": {"choria.streams.choria_stream": {"name": "KV_CFG"}},
}


def main() -> int:
    short = "--short" in sys.argv
    rounds = 1 if short else 8
    with NatsServer() as server:
        with Session(Settings(servers=(server.url,))) as session:
            streams.create(session, {"name": "KV_CFG", "subjects": ["$KV.CFG.>"], "allow_direct": True})
        tasks = {name: {**task, "loop": list(range(ITEMS))} for name, task in TASKS.items()}
        taken = timed_tasks(tasks, rounds, env={"CHORIA_STREAMS_SERVERS": server.url})
    print(f"{rounds * ITEMS} tasks of each, in turns of {ITEMS}")
    ratios = {}
    for name, seconds in taken.items():
        each = median(seconds) / ITEMS
        ratios[name] = each / (median(taken["ansible.builtin.ping"]) / ITEMS)
        print(f"{name:28} {each * 1000:4.0f} ms each: {ratios[name]:4.2f} times (at most {TARGET:g})")
    return 0 if short or max(ratios.values()) <= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
