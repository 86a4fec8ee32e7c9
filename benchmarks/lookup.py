# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The cost of lookups of keys compared with lookups of environment variables, a thousand of each in one template.

"Template" is the whole task that renders it, including reading a thousand expressions, and a new process with a
new connection. "Calls" is only the loop over the lookup, in a process that has done one before.

    lookup.py [--short]
"""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / ".build"), str(ROOT / "tests")]

import _table

from ansible_collections.choria.streams.plugins.module_utils._api import streams
from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from ansible_collections.choria.streams.plugins.module_utils._connection.settings import Settings
from ansible_collections.choria.streams.plugins.module_utils._connection.wire import Request
from support.filling import publish_many
from support.playbook import run_playbook
from support.server import NatsServer
from support.timing import timed_tasks

TARGET = 3.0
ENV = "lookup('ansible.builtin.env', 'HOME{}')"
KV = "lookup('choria.streams.choria_kv', 'key{}', bucket='CFG')"


def fill(server: NatsServer, keys: int) -> None:
    with Session(Settings(servers=(server.url,))) as session:
        streams.create(session, {"name": "KV_CFG", "subjects": ["$KV.CFG.>"], "allow_direct": True})
        publish_many(session, "Filling", [Request(f"$KV.CFG.key{number}", b"value") for number in range(keys)])


def template(expression: str, count: int) -> dict[str, Any]:
    """Return a task whose only argument is a template with a thousand lookups, each of another key."""
    text = "".join("{{ " + expression.format(number) + " }}" for number in range(count))
    return {"ansible.builtin.debug": {"msg": text}}


def calls(count: int, rounds: int, server: NatsServer) -> dict[str, float]:
    """Return the seconds of the calls, in the fastest round of each."""
    found = {}
    for name, expression in (("env", ENV), ("kv", KV)):
        call = expression.replace("{}'", "' ~ number")
        loop = f"{{% for number in range({count}) %}}{{% set _ = {call} %}}{{% endfor %}}"
        # `set` stores the times when the loop began and ended
        found[name] = (
            f"{{% set _ = {expression.format(0)} %}}{{% set a = now() %}}{loop}{{{{ (now() - a).total_seconds() }}}}"
        )
    tasks = [{"name": name, "ansible.builtin.debug": {"msg": text}} for name, text in found.items()] * rounds
    plays = [{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]
    result = run_playbook(plays, env={"CHORIA_STREAMS_SERVERS": server.url}).check()
    return {name: min(float(task.result["msg"]) for task in result.tasks if task.name == name) for name in found}


def main() -> int:
    short = "--short" in sys.argv
    count, rounds = (100, 1) if short else (1000, 5)
    with NatsServer() as server:
        fill(server, count)
        before = server.monitor("varz")["total_connections"]
        tasks = {"env": template(ENV, count), "kv": template(KV, count)}
        taken = timed_tasks(tasks, rounds, env={"CHORIA_STREAMS_SERVERS": server.url})
        connections = server.monitor("varz")["total_connections"] - before
        print(f"{count} lookups in one template, {rounds} times, in turns")
        env, keys = (median(taken[name]) / count * 1000 for name in ("env", "kv"))
        print(f"With the template: env {env:.2f} ms, choria_kv {keys:.2f} ms each")
        met = _table.record(
            f"{count} lookups in a template", "lookup of env", _table.ratios(taken["kv"], taken["env"]), TARGET
        )
        alone = calls(count, rounds, server)
        _table.record(f"{count} lookups, without the template", "lookup of env", [alone["kv"] / alone["env"]])
        met &= _table.record("the same: connections for each template", "", [connections / rounds], 1, "")
    return 0 if short or met else 1


if __name__ == "__main__":
    sys.exit(main())
