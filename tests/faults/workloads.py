# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The workloads of a campaign: its streams, buckets and governors, and the plays that use them.

A mark ``<run>.<host>.<task>`` identifies the effects of a task on a host: the identity of a seat, a key, a
subject.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from .witness import Witness

WORK = Path(__file__).resolve().parent / "work.py"
MARK = "{{ faults_run }}.{{ inventory_hostname }}"
# The capacity of each governor. Faults evict seats of the second, and delete and recreate the third.
GOVERNORS = {"ONE": 1, "EVICTED": 3, "RECREATED": 2}
EXPIRE = 30
STATIC_KEYS, STATIC_MESSAGES = 40, 300
BUCKET, STATIC, MESSAGES, ORDERS, RESULTS, TREE = "FAULTS", "STATIC", "MESSAGES", "ORDERS", "ANSIBLE_RUNS", "TREE"


class Play(NamedTuple):
    """The tasks of a run, and the facts about each task that the checker needs, by the task's name."""

    hosts: int
    tasks: list[dict[str, Any]]
    plan: dict[str, dict[str, Any]]
    strategy: str = "free"


def static_value(key: str) -> str:
    return f"value of {key}"


def governor_config(name: str, replicas: int) -> dict[str, Any]:
    """Return the configuration that choria_governor and the choria program create."""
    return {
        "name": f"GOVERNOR_{name}",
        "subjects": [f"mcollective.governor.{name}"],
        "storage": "file",
        "discard": "new",
        "max_msgs": GOVERNORS[name],
        "max_age": EXPIRE * 10**9,
        "duplicate_window": EXPIRE * 10**9,
        "num_replicas": replicas,
    }


def bucket_config(name: str, replicas: int, history: int) -> dict[str, Any]:
    return {
        "name": f"KV_{name}",
        "subjects": [f"$KV.{name}.>"],
        "max_msgs_per_subject": history,
        "discard": "new",
        "allow_rollup_hdrs": True,
        "deny_delete": True,
        "allow_direct": True,
        "num_replicas": replicas,
    }


def declare(witness: Witness, replicas: int) -> None:
    streams: list[dict[str, Any]] = [governor_config(name, replicas) for name in GOVERNORS]
    streams += [
        bucket_config(BUCKET, replicas, 20),
        bucket_config(STATIC, replicas, 1),
        bucket_config(TREE, replicas, 5),
    ]
    streams += [
        {"name": MESSAGES, "subjects": ["faults.msg.>"], "num_replicas": replicas},
        {"name": ORDERS, "subjects": ["faults.orders"], "num_replicas": replicas},
        {"name": RESULTS, "subjects": ["ansible.runs.>"], "duplicate_window": 3600 * 10**9, "num_replicas": replicas},
    ]
    for stream in streams:
        witness.ask(f"STREAM.CREATE.{stream['name']}", stream)
    for number in range(STATIC_KEYS):
        witness.publish(f"$KV.{STATIC}.k{number}", [static_value(f"k{number}").encode()])
    witness.publish("faults.orders", [f"order {number}".encode() for number in range(STATIC_MESSAGES)])


def governed(name: str, governor: str, max_wait: int, seconds: float, **more: Any) -> dict[str, Any]:
    """A task that works while it holds a seat, for choria_governor_run."""
    options = {"name": governor, "max_wait": max_wait, "identity": f"{MARK}.{name}", **more}
    return {"name": name, "choria.streams.choria_governor_run": {**options, "task": _work(name, governor, seconds)}}


def _work(name: str, governor: str, seconds: float) -> dict[str, Any]:
    argv = [sys.executable, "-I", "-S", str(WORK), "{{ faults_log }}", governor, f"{MARK}.{name}"]
    return {"ansible.builtin.command": {"argv": [*argv, "{{ faults_run }}", f"{seconds:.2f}"]}}


def seats(random: Random) -> Play:
    """Two governed tasks on several hosts."""
    tasks, plan = [], {}
    for number in range(2):
        governor = random.choice(list(GOVERNORS))
        max_wait = random.choice([6, 25, 60, 60])
        seconds = random.uniform(2, 4) if governor == "RECREATED" else random.uniform(0.2, 1.2)
        name = f"governed{number}"
        tasks.append(governed(name, governor, max_wait, seconds))
        plan[name] = {"kind": "governed", "governor": governor, "max_wait": max_wait}
    return Play(random.randint(2, 5), tasks, plan, random.choice(["free", "linear"]))


def leases(random: Random) -> Play:
    """A seat that one task takes and another one gives back."""
    governor, max_wait = random.choice(["EVICTED", "RECREATED"]), random.choice([20, 60])
    lease = {"name": governor, "identity": f"{MARK}.lease"}
    acquired = {"choria.streams.choria_governor_lease": {**lease, "state": "acquired", "max_wait": max_wait}}
    released = {**lease, "state": "released", "lease_id": "{{ lease.lease_id | default(none) }}"}
    tasks = [
        {"name": "acquired", **acquired, "register": "lease"},
        {"name": "lease", **_work("lease", governor, random.uniform(0.5, 3)), "when": "lease is succeeded"},
        {"name": "released", "choria.streams.choria_governor_lease": released, "when": "lease is succeeded"},
    ]
    return Play(1, tasks, {"lease": {"kind": "lease", "governor": governor, "max_wait": max_wait, "after": "acquired"}})


def writes(random: Random) -> Play:
    """Keys that only one task writes, one key that all try to create, and messages."""
    tasks: list[dict[str, Any]] = []
    plan: dict[str, dict[str, Any]] = {}
    for number in range(3):
        name = f"put{number}"
        tasks.append({"name": name, **key(f"{MARK}.{name}", f"{MARK}.{name}")})
        plan[name] = {"kind": "put"}
    tasks.append({"name": "race", **key("race.{{ faults_run }}", f"{MARK}.race", create_only=True)})
    plan["race"] = {"kind": "race"}
    for number in range(2):
        name = f"message{number}"
        message = {"stream": MESSAGES, "subject": f"faults.msg.{MARK}.{name}", "data": f"{MARK}.{name}"}
        tasks.append({"name": name, "choria.streams.choria_stream_message": message})
        plan[name] = {"kind": "message"}
    random.shuffle(tasks)
    return Play(random.randint(1, 3), tasks, plan)


def key(key: str, value: str, **more: Any) -> dict[str, Any]:
    return {"choria.streams.choria_kv": {"bucket": BUCKET, "key": key, "value": value, **more}}


def counts(random: Random) -> Play:
    """Several hosts increment one key."""
    options = {"bucket": BUCKET, "key": "counter", "increment": 1}
    tasks = [{"name": f"count{number}", "choria.streams.choria_kv": options} for number in range(2)]
    return Play(random.randint(1, 3), tasks, {f"count{number}": {"kind": "count"} for number in range(2)})


def documents(random: Random, keys: int = 300, items: int = 50) -> Play:
    """Many writes in one task: a tree of keys, and resources, of which every fifth is a consumer."""
    data = {f"k{number}": f"{MARK}.{number}" for number in range(keys)}
    tree = {"bucket": TREE, "prefix": "{{ faults_run }}", "data": data}
    consumers = items // 5
    declared = {
        "consumers": [{"stream": ORDERS, "name": f"{{{{ faults_run }}}}_{number}"} for number in range(consumers)],
        "keys": [
            {"bucket": TREE, "key": f"{{{{ faults_run }}}}.item{number}", "value": f"{number}"}
            for number in range(items - consumers)
        ],
    }
    tasks = [
        {"name": "tree", "choria.streams.choria_kv_sync": tree},
        {"name": "resources", "choria.streams.choria_resources": declared},
    ]
    plan = {
        "tree": {"kind": "tree", "keys": keys},
        "resources": {"kind": "resources", "consumers": consumers, "keys": items - consumers},
    }
    random.shuffle(tasks)
    return Play(1, tasks, plan)


def backups(random: Random) -> Play:
    """A backup that is restored under another name, and a copy of the restored stream."""
    back = {
        "path": "{{ backup.backup.path }}",
        "stream": "BACK_{{ faults_run }}",
        "subjects": ["back.{{ faults_run }}"],
    }
    tasks = [
        {
            "name": "backup",
            "choria.streams.choria_backup": {"stream": ORDERS, "path": "{{ faults_folder }}/{{ faults_run }}"},
            "register": "backup",
        },
        {
            "name": "restore",
            "choria.streams.choria_restore": back,
            "when": "backup is succeeded",
            "register": "restore",
        },
        {
            "name": "copy",
            "choria.streams.choria_stream": {"name": back["stream"], "max_consumers": 50, "recreate": "copy"},
            # Ansible calls a skipped task succeeded
            "when": "restore is succeeded and restore is not skipped",
        },
    ]
    return Play(1, tasks, {name: {"kind": name} for name in ("backup", "restore", "copy")})


def lookups(random: Random, count: int = 8) -> Play:
    """Keys that never change, each read by a lookup."""
    tasks, plan = [], {}
    for number in range(count):
        key, name = f"k{random.randrange(STATIC_KEYS)}", f"lookup{number}"
        term = f"{{{{ lookup('choria.streams.choria_kv', '{key}', bucket='{STATIC}') }}}}"
        tasks.append({"name": name, "ansible.builtin.debug": {"msg": term}})
        plan[name] = {"kind": "lookup", "value": static_value(key)}
    return Play(1, tasks, plan)


# How often each play is chosen
MIXED: dict[Callable[[Random], Play], int] = {
    seats: 8,
    leases: 3,
    writes: 4,
    counts: 2,
    documents: 1,
    backups: 1,
    lookups: 2,
}


def read_state(witness: Witness) -> dict[str, Any]:
    """Return the data on the servers, for the checker."""
    results = []
    for _sequence, _subject, data in witness.messages(RESULTS):
        event = json.loads(data)
        about = {"id": event["id"], "type": event["type"].rpartition(".")[2], "number": event["data"]["sequence"]}
        results.append({**about, "run_id": event["data"]["run_id"], "batch": event["data"].get("batch")})
    consumers: list[str] = []
    while True:
        page = witness.ask(f"CONSUMER.NAMES.{ORDERS}", {"offset": len(consumers)})
        consumers += page["consumers"] or []
        if len(consumers) >= page["total"] or not page["consumers"]:
            break
    return {
        "capacities": GOVERNORS,
        "expire": EXPIRE,
        "keys": _by_subject(witness, f"KV_{BUCKET}", f"$KV.{BUCKET}."),
        "tree": _by_subject(witness, f"KV_{TREE}", f"$KV.{TREE}."),
        "messages": _by_subject(witness, MESSAGES, "faults.msg."),
        "consumers": consumers,
        "restored": {name: _payloads(witness, name) for name in _restored(witness)},
        "orders": _payloads(witness, ORDERS),
        "results": results,
        "seats": {name: _payloads(witness, f"GOVERNOR_{name}") for name in GOVERNORS},
    }


def _by_subject(witness: Witness, stream: str, prefix: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for _sequence, subject, data in witness.messages(stream):
        found.setdefault(subject.removeprefix(prefix), []).append(data.decode())
    return found


def _payloads(witness: Witness, stream: str) -> list[str]:
    return [data.decode() for _sequence, _subject, data in witness.messages(stream)]


def _restored(witness: Witness) -> list[str]:
    names = witness.ask("STREAM.NAMES", {"subject": "back.>"})["streams"] or []
    return [name for name in names if name.startswith("BACK_")]
