# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""How many exchanges work needs, and how many round trips longer it takes with a server that is 50 ms away.

An exchange is a group of requests that wait for another one: their number has a goal. Each work is done near, then over
a line that delays what goes through it. What it takes longer there is printed in round trips, which other work of the
machine disturbs.

    latency.py [--short]
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / ".build"), str(ROOT / "tests")]

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.choria.streams.plugins.module_utils._api.kv import kv
from ansible_collections.choria.streams.plugins.module_utils._api.kv.kv_snapshot import snapshot
from ansible_collections.choria.streams.plugins.module_utils._module_document import items_of
from ansible_collections.choria.streams.plugins.module_utils._operations.kv import past
from ansible_collections.choria.streams.plugins.module_utils._operations.kv import sync as kv_sync
from ansible_collections.choria.streams.plugins.module_utils._resources.document.model import KINDS, SPEC, Document
from ansible_collections.choria.streams.plugins.module_utils._resources.document.report import bring_about
from support.connect import settings
from support.counted import CountedSession
from support.distance import Distance
from support.server import NatsServer

if TYPE_CHECKING:
    from collections.abc import Callable

AWAY = 0.05


def document(session: CountedSession, **given: Any) -> None:
    result = ArgumentSpecValidator(SPEC.argument_spec(), **SPEC.rules).validate(given)
    params = result.validated_parameters
    bring_about(session, Document.of(params, items_of(KINDS, params)), False, True)


def sync(session: CountedSession, bucket: str, data: dict[str, str]) -> None:
    given = {name: argument.get("default") for name, argument in kv_sync.SPEC.argument_spec().items()}
    options = {**given, "bucket": bucket, "data": data}
    kv_sync.sync(session, options, False, lambda path, mode: False, False)


def buckets(count: int) -> list[dict[str, Any]]:
    return [{"name": f"B{number}", "history": 5, "storage": "memory"} for number in range(count)]


def keys(count: int, value: str) -> list[dict[str, Any]]:
    return [{"bucket": f"B{number}", "key": "key", "value": value} for number in range(count)]


def works(many: int, some: int, size: int) -> dict[str, tuple[float, Callable[[CountedSession, str], Any]]]:
    """Return by name the allowed number of exchanges, and the work, which takes a session and a place."""
    data = {f"web.server{number}": f"value {number}" for number in range(size)}

    def as_of(session: CountedSession, place: str) -> None:
        bucket = kv.open_bucket(session, f"SYNC{place}")[0]
        past.below_as_of(session, bucket, "web.", bucket.last_sequence - size // 2)

    return {
        f"document: an unchanged key of {many} buckets": (
            10,
            lambda session, _: document(session, keys=keys(many, "0")),
        ),
        f"document: keys of {some} buckets changed": (
            15,
            lambda session, place: document(session, keys=keys(some, place)),
        ),
        f"choria_kv_sync: {size} keys written": (8, lambda session, place: sync(session, f"SYNC{place}", data)),
        f"choria_kv_sync: {size} keys, nothing to do": (8, lambda session, place: sync(session, f"SYNC{place}", data)),
        f"a prefix of {size} keys": (
            8,
            lambda session, place: snapshot(session, kv.open_bucket(session, f"SYNC{place}")[0], "web."),
        ),
        "the same with as_of, half of them newer": (8, as_of),
    }


def taken(url: str, place: str, work: Callable[[CountedSession, str], Any]) -> tuple[float, int]:
    with CountedSession(settings(servers=url, timeout="60s")) as session:
        session.connect()
        start = time.perf_counter()
        work(session, place)
        return time.perf_counter() - start, session.exchanges


def main() -> int:
    many, some, size = (50, 15, 500) if "--short" in sys.argv else (500, 150, 5000)
    met = True
    with NatsServer() as server, Distance(server.port, AWAY / 2) as far:
        with CountedSession(settings(servers=server.url, timeout="60s")) as session:
            document(session, kv_buckets=buckets(many), keys=keys(many, "0"))
            document(session, kv_buckets=[{"name": f"SYNC{place}", "history": 5} for place in ("NEAR", "FAR")])
        print(f"{'':48} {'near':>7} {'far':>7}  round trips  exchanges  goal")
        for name, (goal, work) in works(many, some, size).items():
            near, _exchanges = taken(server.url, "NEAR", work)
            away, exchanges = taken(far.url, "FAR", work)
            trips = (away - near) / AWAY
            met &= exchanges <= goal
            print(f"{name:48} {near:6.2f}s {away:6.2f}s {trips:12.1f} {exchanges:10} {goal:5g}", flush=True)
    return 0 if met or "--short" in sys.argv else 1


if __name__ == "__main__":
    sys.exit(main())
