# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The number of exchanges that operations need, and their extra time with a server 50 ms away.

An exchange is a group of requests that wait for another one. Their number has a goal. Each operation runs with
the server nearby, then through a proxy with a delay. The extra time is printed in round trips. Other work of the
machine disturbs it.

    latency.py [--short]
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / ".build"), str(ROOT / "tests")]

import _table
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.choria.streams.plugins.module_utils._api import streams
from ansible_collections.choria.streams.plugins.module_utils._api.kv import kv
from ansible_collections.choria.streams.plugins.module_utils._api.kv.kv_snapshot import snapshot
from ansible_collections.choria.streams.plugins.module_utils._connection.wire import Request
from ansible_collections.choria.streams.plugins.module_utils._module_document import items_of
from ansible_collections.choria.streams.plugins.module_utils._operations.kv import past
from ansible_collections.choria.streams.plugins.module_utils._operations.kv import sync as kv_sync
from ansible_collections.choria.streams.plugins.module_utils._resources.document.model import KINDS, SPEC, Document
from ansible_collections.choria.streams.plugins.module_utils._resources.document.report import ensure
from support.backups import backup, restore
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
    ensure(session, Document.of(params, items_of(KINDS, params)), False, True)


def sync(session: CountedSession, bucket: str, data: dict[str, str]) -> None:
    given = {name: argument.get("default") for name, argument in kv_sync.SPEC.argument_spec().items()}
    options = {**given, "bucket": bucket, "data": data}
    kv_sync.sync(session, options, False, lambda path, mode: False, False)


def buckets(count: int) -> list[dict[str, Any]]:
    return [{"name": f"B{number}", "history": 5, "storage": "memory"} for number in range(count)]


def keys(count: int, value: str) -> list[dict[str, Any]]:
    return [{"bucket": f"B{number}", "key": "key", "value": value} for number in range(count)]


def archive(session: CountedSession, folder: Path, mebibytes: int) -> str:
    """Return the path of a backup of so many random bytes."""
    streams.create(session, {"name": "LARGE", "subjects": ["large"]})
    for _batch in range(mebibytes // 4):
        session.request_many([Request("large", os.urandom(64 << 10)) for _number in range(64)])
    return str(backup(session, folder, stream="LARGE")["backup"]["path"])


def restored(session: CountedSession, path: str) -> None:
    streams.delete(session, "LARGE")
    restore(session, path)


def works(many: int, some: int, size: int, path: str) -> dict[str, tuple[float, Callable[[CountedSession, str], Any]]]:
    """Return, by name, the allowed number of exchanges, and the operation, which takes a session and a place.

    ``path`` is a backup to restore, whose chunks are not counted: they are sent without waiting for each other.
    """
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
        "a stream deleted, and restored": (8, lambda session, _: restored(session, path)),
    }


def taken(url: str, place: str, work: Callable[[CountedSession, str], Any]) -> tuple[float, int]:
    with CountedSession(settings(servers=url, timeout="60s")) as session:
        session.connect()
        start = time.perf_counter()
        work(session, place)
        return time.perf_counter() - start, session.exchanges


def main() -> int:
    many, some, size, mebibytes = (50, 15, 500, 8) if "--short" in sys.argv else (500, 150, 5000, 256)
    met = True
    with NatsServer() as server, Distance(server.port, AWAY / 2) as far, tempfile.TemporaryDirectory() as folder:
        with CountedSession(settings(servers=server.url, timeout="60s")) as session:
            document(session, kv_buckets=buckets(many), keys=keys(many, "0"))
            document(session, kv_buckets=[{"name": f"SYNC{place}", "history": 5} for place in ("NEAR", "FAR")])
            path = archive(session, Path(folder), mebibytes)
        for name, (goal, work) in works(many, some, size, path).items():
            near, _exchanges = taken(server.url, "NEAR", work)
            away, exchanges = taken(far.url, "FAR", work)
            print(f"{name}: {near:.2f} s near, {away:.2f} s away, {(away - near) / AWAY:.1f} round trips more")
            met &= _table.record(f"{name}: exchanges", "", [exchanges], goal, "")
    return 0 if met or "--short" in sys.argv else 1


if __name__ == "__main__":
    sys.exit(main())
