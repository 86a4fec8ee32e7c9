# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The cost of a module's task compared with ansible.builtin.ping on the same host, in turns within one run.

Each task connects, reads, and reads back what it writes. The floor is a module that only imports nats-py, connects and
reads a key. If this machine has an OpenSSH server, the modules are also sent over ssh with pipelining.

    module.py [--short]
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / ".build"), str(ROOT / "tests")]

import _table

from ansible_collections.choria.streams.plugins.module_utils._api import streams
from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from ansible_collections.choria.streams.plugins.module_utils._connection.settings import Settings
from support.ending import end_with_us, has_ended
from support.ports import free_ports
from support.server import NatsServer
from support.timing import timed_tasks
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

TARGET, TARGET_OVER_SSH, TARGET_OF_FLOOR = 1.5, 1.1, 1.0
ITEMS = 5
TASKS: dict[str, dict[str, Any]] = {
    "ansible.builtin.ping": {"ansible.builtin.ping": {}},
    "choria_kv, no change": {"choria.streams.choria_kv": {"bucket": "CFG", "key": "key", "value": "value"}},
    "choria_kv, a write": {
        "choria.streams.choria_kv": {"bucket": "CFG", "key": "key", "value": "{{ now() }} {{ item }}"}
    },
    "choria_kv_bucket, no change": {"choria.streams.choria_kv_bucket": {"name": "CFG"}},
    "choria_stream, no change": {"choria.streams.choria_stream": {"name": "KV_CFG"}},
    "floor": {"floor_module": {"bucket": "CFG", "key": "key"}},
}
REMOTE = ("ansible.builtin.ping", "choria_kv, no change", "floor")
FLOORS = Path(__file__).parent / "floors"


@contextmanager
def ssh_server(program: str) -> Iterator[dict[str, Any]]:
    """Run an OpenSSH server for this user on loopback, and yield the variables of tasks that connect to it."""
    [port] = free_ports(1)
    with tempfile.TemporaryDirectory() as temp:
        host, user = Path(temp) / "host", Path(temp) / "user"
        for key in (host, user):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
        settings = {
            "ListenAddress": f"127.0.0.1:{port}",
            "HostKey": host,
            "AuthorizedKeysFile": f"{user}.pub",
            "PidFile": "none",
            "StrictModes": "no",
            "UsePAM": "no",
        }
        options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
        process = subprocess.Popen([program, "-D", "-f", "/dev/null", *options], stderr=subprocess.DEVNULL)
        end_with_us(process, process.terminate)
        try:
            wait_until(partial(answers, port), what="the OpenSSH server")
            yield {
                "ansible_connection": "ssh",
                "ansible_host": "127.0.0.1",
                "ansible_port": port,
                "ansible_pipelining": True,
                "ansible_python_interpreter": sys.executable,
                "ansible_ssh_private_key_file": str(user),
                "ansible_ssh_args": "-o ControlMaster=auto -o ControlPersist=5s",
                "ansible_ssh_common_args": "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null",
            }
        finally:
            has_ended(process)
            process.terminate()
            process.wait()


def answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


def measured(rounds: int, url: str, tasks: dict[str, dict[str, Any]], goal: float, where: str, **more: Any) -> bool:
    """Measure the tasks beside a ping. Return True if each is within the goal."""
    looped = {name: {**task, **more, "loop": list(range(ITEMS))} for name, task in tasks.items()}
    taken = timed_tasks(looped, rounds, env={"CHORIA_STREAMS_SERVERS": url, "ANSIBLE_LIBRARY": str(FLOORS)})
    met, ping = True, taken.pop("ansible.builtin.ping")
    for name, seconds in taken.items():
        each = 1000 / ITEMS
        print(f"{name}{where}: {median(seconds) * each:.0f} ms each, ping {median(ping) * each:.0f} ms")
        allowed = None if name == "floor" else goal
        met &= _table.record(f"a task: {name}{where}", "ansible.builtin.ping", _table.ratios(seconds, ping), allowed)
    same, name = taken["floor"], "choria_kv, no change"
    return met & _table.record(f"a task: {name}{where}", "floor", _table.ratios(taken[name], same), TARGET_OF_FLOOR)


def main() -> int:
    short = "--short" in sys.argv
    rounds = 1 if short else 8
    with NatsServer() as server:
        with Session(Settings(servers=(server.url,))) as session:
            streams.create(session, {"name": "KV_CFG", "subjects": ["$KV.CFG.>"], "allow_direct": True})
        print(f"{rounds * ITEMS} tasks of each, in turns of {ITEMS}")
        met = measured(rounds, server.url, TASKS, TARGET, "")
        program = shutil.which("sshd")
        if program:
            with ssh_server(program) as variables:
                remote = {name: TASKS[name] for name in REMOTE}
                given: dict[str, Any] = {"vars": variables, "environment": {"CHORIA_STREAMS_SERVERS": server.url}}
                met &= measured(rounds, server.url, remote, TARGET_OVER_SSH, " over ssh", **given)
        else:
            print("There is no OpenSSH server (sshd) on this machine: the rows over ssh are left out.")
    return 0 if short or met else 1


if __name__ == "__main__":
    sys.exit(main())
