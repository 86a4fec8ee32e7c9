# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""What lookups of keys cost beside lookups of environment variables: a thousand of each in one template, in turns.

"Template" is the whole task that renders it: reading a thousand expressions, and a new process with a new connection.
"Calls" is the loop over the lookup alone, in a process that has done one before.

    lookup.py [--short]
"""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / ".build"), str(ROOT / "tests")]

from ansible_collections.choria.streams.plugins.module_utils._api import streams
from ansible_collections.choria.streams.plugins.module_utils._api.messages import publish_many
from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from ansible_collections.choria.streams.plugins.module_utils._connection.settings import Settings
from ansible_collections.choria.streams.plugins.module_utils._connection.wire import Request
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
    """A task whose only argument is a template with the expression again and again, for another key each time."""
    text = "".join("{{ " + expression.format(number) + " }}" for number in range(count))
    return {"ansible.builtin.debug": {"msg": text}}


def calls(count: int, rounds: int, server: NatsServer) -> dict[str, float]:
    """Seconds that the calls took, by the fastest round of each."""
    found = {}
    for name, expression in (("env", ENV), ("kv", KV)):
        call = expression.replace("{}'", "' ~ number")
        loop = f"{{% for number in range({count}) %}}{{% set _ = {call} %}}{{% endfor %}}"
        # `set` keeps each of the two times as it was when the loop began and ended
        found[name] = (
            f"{{% set _ = {expression.format(0)} %}}{{% set a = now() %}}{loop}{{{{ (now() - a).total_seconds() }}}}"
        )
    tasks = [{"name": name, "ansible.builtin.debug": {"msg": text}} for name, text in found.items()] * rounds
    plays = [{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]
    result = run_playbook(plays, env={"CHORIA_STREAMS_SERVERS": server.url}).check()
    return {name: min(float(task.result["msg"]) for task in result.tasks if task.name == name) for name in found}


def report(what: str, env: float, kv: float, count: int) -> float:
    ratio = kv / env
    print(f"{what:9} env {env / count * 1000:5.2f} ms, choria_kv {kv / count * 1000:5.2f} ms each: {ratio:4.2f} times")
    return ratio


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
        ratio = report("Template:", median(taken["env"]), median(taken["kv"]), count)
        alone = calls(count, rounds, server)
        report("Calls:", alone["env"], alone["kv"], count)
        print(f"Connections that the server counted for each template: {connections / rounds:g}")
    return 0 if short or (ratio <= TARGET and connections == rounds) else 1


if __name__ == "__main__":
    sys.exit(main())
