# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The leader is killed every ten seconds, and no task may fail."""

from __future__ import annotations

import threading
import time
from random import Random
from typing import TYPE_CHECKING, Any

from . import injection, workloads
from .witness import Witness
from .workloads import MARK, Play

if TYPE_CHECKING:
    from .injection import Site

EVERY = 10.0
AWAY = 1.5
HOSTS = 5


def run(place: Site, scale: float, seed: int) -> None:
    """Run 200 governed tasks, 200 keys, a tree of 20,000 keys, 500 resources and 200 lookups, times ``scale``.

    Then back up a stream, restore it, and change the restored stream by copying.
    """
    random = Random(seed)
    queue = _plays(random, scale)
    killing = threading.Thread(target=_kill_leaders, args=(place, Random(f"{seed}.leaders")))
    working = [threading.Thread(target=_work, args=(place, queue)) for _number in range(2)]
    with place.threads([killing, *working]):
        for thread in working:
            thread.join()


def _work(place: Site, queue: list[Play]) -> None:
    while queue and not place.over.is_set():
        place.runs.play(queue.pop(0), place.urls)


def _plays(random: Random, scale: float) -> list[Play]:
    each = max(1, round(200 * scale / HOSTS))
    governed = [workloads.governed(f"governed{number}", "EVICTED", 120, 0.3) for number in range(each)]
    puts = [
        {"name": f"put{number}", **workloads.key(f"{MARK}.put{number}", f"{MARK}.put{number}")}
        for number in range(each)
    ]
    terms: dict[str, Any] = {"kind": "governed", "governor": "EVICTED", "max_wait": 120}
    return [
        Play(HOSTS, governed, {task["name"]: terms for task in governed}),
        workloads.documents(random, round(20000 * scale), round(500 * scale)),
        Play(HOSTS, puts, {task["name"]: {"kind": "put"} for task in puts}),
        workloads.backups(random),
        workloads.lookups(random, each)._replace(hosts=HOSTS),
    ]


def _kill_leaders(place: Site, random: Random) -> None:
    with Witness(place.urls) as witness:
        while not place.over.is_set():
            began = time.monotonic()
            stream = injection.some_stream(random)
            server = place.leader(witness, stream)
            server.kill()
            try:
                place.rest(AWAY)
            finally:
                server.start()
            place.wait_until_healthy()
            place.log.write("fault", kind="kill_leader", at=began, until=time.monotonic(), stream=stream)
            place.rest(began + EVERY - time.monotonic())
