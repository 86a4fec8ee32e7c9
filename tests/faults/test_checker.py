# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The checker finds planted violations, in records and on real servers with work that no governor limits."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from faults import checker, workloads
from faults.log import Log
from faults.network import Network
from faults.witness import Witness

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import MakeServer

pytestmark = pytest.mark.once
STATE: dict[str, Any] = {
    "capacities": {"ONE": 1, "EVICTED": 3, "RECREATED": 2},
    "expire": 30,
    "seats": {},
    "keys": {},
    "messages": {},
    "tree": {},
    "consumers": [],
    "restored": {},
    "orders": ["a", "b"],
    "results": [],
}
GOVERNED = {"kind": "governed", "governor": "ONE", "max_wait": 20}


def task(
    name: str, plan: dict[str, Any], began: float = 0.0, ended: float | None = None, **claim: Any
) -> list[dict[str, Any]]:
    """Return the records of a task on the host h1 of the run r1, with a result if it has ended."""
    common = {"log": "task", "run": "r1", "host": "h1", "task": name}
    records: list[dict[str, Any]] = [{"log": "plan", "run": "r1", "tasks": {name: plan}, "at": 0}]
    records.append({**common, "event": "start", "at": began})
    if ended is not None:
        result = {"status": "ok", "changed": True, "code": "", "msg": "", **claim}
        records.append({**common, "event": "end", "at": ended, **result})
    return records


def work(name: str, start: float, end: float | None = None, **more: Any) -> list[dict[str, Any]]:
    common = {"log": "work", "governor": "ONE", "identity": f"r1.h1.{name}", "run": "r1", **more}
    ends = [] if end is None else [{**common, "event": "end", "at": end}]
    return [{**common, "event": "start", "at": start}, *ends]


def violations(*records: list[dict[str, Any]], **state: Any) -> list[str]:
    plans: dict[str, Any] = {}
    log = [record for group in records for record in group]
    for record in log:
        if record["log"] == "plan":
            plans.update(record["tasks"])
    return checker.check(
        [{"log": "plan", "run": "r1", "tasks": plans, "at": 0}, *(r for r in log if r["log"] != "plan")],
        {**STATE, **state},
    ).violations


def one(found: list[str], words: str) -> None:
    assert len(found) == 1, found
    assert words in found[0]


def test_a_good_day_has_no_violation() -> None:
    first = [*task("a", GOVERNED, 0, 3), *work("a", 1, 2)]
    second = [*task("b", GOVERNED, 0, 4), *work("b", 2.1, 3)]
    put = task("put", {"kind": "put"}, 0, 1)
    assert violations(first, second, put, keys={"r1.h1.put": ["r1.h1.put"]}) == []


def test_more_at_once_than_there_are_seats() -> None:
    first = [*task("a", GOVERNED, 0, 3), *work("a", 1, 2)]
    second = [*task("b", GOVERNED, 0, 3), *work("b", 1.5, 2.5)]
    one(violations(first, second), "2 at once under ONE of 1")


@pytest.mark.parametrize(("at", "count"), [(1.2, 0), (1.7, 1)])
def test_an_evicted_holder_is_not_counted_from_then_on(at: float, count: int) -> None:
    first = [*task("a", GOVERNED, 0, 3), *work("a", 1, 2)]
    second = [*task("b", GOVERNED, 0, 3), *work("b", 1.5, 2.5)]
    evicted = [{"log": "fault", "kind": "evict", "at": at, "identities": ["r1.h1.a"]}]
    assert len(violations(first, second, evicted)) == count


def recreated(**more: Any) -> list[dict[str, Any]]:
    fault = {"log": "fault", "kind": "recreate", "at": 1.4, "deleted": 1.5, "governor": "ONE"}
    return [{**fault, "identities": [], "fresh": [], **more}]


def test_seats_of_a_governor_that_was_created_again() -> None:
    first = [*task("a", GOVERNED, 0, 9), *work("a", 1, 8)]
    second = [*task("b", GOVERNED, 0, 9), *work("b", 2, 8)]
    third = [*task("c", GOVERNED, 0, 9), *work("c", 2.5, 8)]
    assert violations(first, second, recreated(identities=["r1.h1.a"], fresh=["r1.h1.b"])) == []
    one(violations(first, second, third, recreated(identities=["r1.h1.a"], fresh=["r1.h1.b", "r1.h1.c"])), "2 at once")
    assert violations(first, second, third, recreated(identities=["r1.h1.a"], fresh=["r1.h1.b"])) == []


def test_the_holder_of_an_expired_seat_is_not_counted() -> None:
    first = [*task("a", GOVERNED, 0, 70), *work("a", 1, 70)]
    second = [*task("b", {**GOVERNED, "max_wait": 60}, 0, 60), *work("b", 32, 50)]
    assert violations(first, second) == []


def test_work_that_starts_after_its_run_is_gone() -> None:
    gone = [{"log": "run", "event": "gone", "run": "r1", "at": 2.0, "killed": True}]
    one(violations([*task("a", GOVERNED), *work("a", 9, 10)], gone), "started 7.0 s after its run was gone")
    assert violations([*task("a", GOVERNED), *work("a", 2.5, 10)], gone) == []


def test_longer_waits_than_max_wait() -> None:
    one(violations([*task("a", GOVERNED, 0, 40), *work("a", 36, 37)]), "waited 36.0 s")
    one(violations(task("a", GOVERNED, 0, 60, status="failed", changed=False)), "waited 60.0 s for nothing")


def test_work_that_is_claimed_and_was_not_done() -> None:
    one(violations(task("a", GOVERNED, 0, 3)), "is said to have worked, and did not")
    one(
        violations([*task("a", GOVERNED, 0, 3, status="failed", changed=False), *work("a", 1, 2)]),
        "worked, and is said not to have",
    )
    one(violations([*task("a", GOVERNED, 0, 3), *work("a", 1, 1.5), *work("a", 1.6, 2)]), "worked 2 times")


@pytest.mark.parametrize(("kind", "state"), [("put", "keys"), ("message", "messages")])
def test_lost_doubled_and_denied_writes(kind: str, state: str) -> None:
    plan, mark = {"kind": kind}, "r1.h1.w"
    one(violations(task("w", plan, 0, 1)), "is not there")
    one(violations(task("w", plan, 0, 1), **{state: {mark: [mark, mark]}}), "was written 2 times")
    denied = task("w", plan, 0, 1, status="failed", changed=False, code="unreachable")
    one(violations(denied, **{state: {mark: [mark]}}), "was written, and is said not to be")
    unknown = task("w", plan, 0, 1, status="failed", changed=True, code="outcome_unknown")
    assert violations(unknown, **{state: {mark: [mark]}}) == []


def test_a_key_without_a_reported_winner() -> None:
    lost = task("race", {"kind": "race"}, 0, 1, changed=False)
    one(violations(lost, keys={"race.r1": ["r1.h1.race"]}), "won a key, and reports changed=False")
    won = task("race", {"kind": "race"}, 0, 1)
    one(violations(won, keys={"race.r1": ["r1.h2.race"]}), "lost a key, and reports changed=True")


def test_lost_counts() -> None:
    counted = task("count0", {"kind": "count"}, 0, 1)
    one(violations(counted, keys={"counter": ["0"]}), "The counter is 0")
    one(violations(counted, keys={"counter": ["1", "2"]}), "The counter is 2")
    assert violations(counted, keys={"counter": ["1"]}) == []


def test_documents_that_are_not_whole() -> None:
    tree = task("tree", {"kind": "tree", "keys": 2}, 0, 1)
    one(violations(tree, tree={"r1.k0": ["x"]}), "1 keys are missing")
    one(violations(tree, tree={"r1.k0": ["x"], "r1.k1": ["x", "x"]}), "wrote 1 keys more than once")
    one(violations(task("resources", {"kind": "resources", "consumers": 1}, 0, 1)), "1 items are missing")
    one(violations(task("restore", {"kind": "restore"}, 0, 1), restored={"BACK_r1": ["a"]}), "differ")
    one(violations(task("copy", {"kind": "copy"}, 0, 1), restored={"BACK_r1": ["a"]}), "differ")
    one(violations(task("lookup", {"kind": "lookup", "value": "v"}, 0, 1, msg="w")), "instead of 'v'")


def test_a_copy_that_was_interrupted_says_nothing_of_the_restore() -> None:
    plan = [{"log": "plan", "run": "r1", "tasks": {name: {"kind": name} for name in ("restore", "copy")}, "at": 0}]
    restore, copy = (
        task(name, {}, 0, 1, status=status)[1:] for name, status in (("restore", "ok"), ("copy", "failed"))
    )
    assert violations(plan, restore, copy, restored={}) == []


def test_lost_and_doubled_events() -> None:
    gone = [{"log": "run", "event": "gone", "run": "r1", "at": 2.0, "killed": False, "reported": True}]
    names = ["run_started", "task_result", "run_finished"]
    events = [
        {"id": f"x.{number}", "type": name, "number": number, "run_id": "x", "batch": "r1" if number == 1 else None}
        for number, name in enumerate(names, start=1)
    ]
    done = task("lookup", {"kind": "lookup", "value": "v"}, 0, 1, msg="v")
    assert violations(done, gone, results=events) == []
    assert len(violations(done, gone, results=[events[0], events[2]])) == 2  # one event is missing, and it had a result
    one(violations(done, gone, results=[*events, events[1]]), "stored more than once")
    one(violations(done, gone, results=[]), "ended by itself with 1 results, and 0 of 0 events have one")


def test_a_seat_that_was_not_given_back() -> None:
    done = [*task("a", GOVERNED, 0, 3), *work("a", 1, 2)]
    one(violations(done, seats={"ONE": ["r1.h1.a"]}), "is still taken")
    released = task("released", {}, 3, 4, status="failed", code="unreachable")[1:]
    done = [*task("lease", GOVERNED, 0, 3), *work("lease", 1, 2)]
    one(violations(done, seats={"ONE": ["r1.h1.lease"]}), "is still taken")
    assert violations(done, released, seats={"ONE": ["r1.h1.lease"]}) == []


def test_a_governor_that_does_not_count_on_real_servers(make_server: MakeServer, tmp_path: Path) -> None:
    """Two works run at once without a governor, and a stored message is deleted, as a broken product would leave it."""
    server, log = make_server(), Log(tmp_path / "log.jsonl")
    with Witness([server.url]) as witness:
        workloads.declare(witness, 1)
        log.write("plan", run="r1", tasks={"a": GOVERNED, "b": GOVERNED, "w": {"kind": "message"}})
        for name in ("a", "b", "w"):
            log.write("task", event="start", run="r1", host="h1", task=name)

        def act(name: str) -> None:
            argv = [sys.executable, str(workloads.WORK), str(log.path), "ONE", f"r1.h1.{name}", "r1", "0.5"]
            subprocess.run(argv, check=True)

        threads = [threading.Thread(target=act, args=(name,)) for name in ("a", "b")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        witness.publish("faults.msg.r1.h1.w", [b"r1.h1.w"])
        before = checker.check(log.read(), workloads.read_state(witness)).violations
        one(before, "2 at once under ONE of 1")
        claim = {"status": "ok", "changed": True, "code": "", "msg": ""}
        log.write("task", event="end", run="r1", host="h1", task="w", **claim)
        witness.ask("STREAM.PURGE.MESSAGES")
        after = checker.check(log.read(), workloads.read_state(witness)).violations
    assert len(after) == 2
    assert "Message r1.h1.w is said to be written, and is not there" in after


def test_a_proxy_loses_what_the_server_says_and_then_cuts(make_server: MakeServer) -> None:
    server = make_server()
    proxy = Network(server.port)
    try:
        with Witness([server.url]) as direct, Witness([proxy.url]) as through:
            direct.ask("STREAM.CREATE.S", {"name": "S", "subjects": ["s"]})
            assert through.ask("STREAM.INFO.S")["state"]["messages"] == 0
            proxy.change("lose")
            with pytest.raises(TimeoutError):
                through.ask("STREAM.PURGE.S", patience=1)
            proxy.change()
            assert through.ask("STREAM.INFO.S")["state"]["messages"] == 0
            for mode in ("twice", "drop"):
                proxy.change(mode)
                for _number in range(4):
                    assert through.ask("STREAM.INFO.S")["config"]["name"] == "S"
            proxy.change()
            proxy.cut()
            through.publish("s", [b"one"])
            assert direct.ask("STREAM.INFO.S")["state"]["messages"] == 1
    finally:
        proxy.stop()
