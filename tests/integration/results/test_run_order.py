# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Events that are stored in another order than they happened, for example when Choria Server sends its spool."""

from __future__ import annotations

import itertools
import random
import time
from typing import TYPE_CHECKING, Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from ansible_collections.choria.streams.plugins.module_utils._operations.runs.info import SPEC, read
from support.connect import settings
from support.runs import PREFIX, declare, event, result, store

if TYPE_CHECKING:
    from ansible_collections.choria.streams.plugins.module_utils._connection.wire import Request
    from conftest import MakeServer

pytestmark = pytest.mark.once


def ask(session: Session, **options: Any) -> dict[str, Any]:
    options = {"statuses": ["ok", "failed"], **options}
    checked = ArgumentSpecValidator(SPEC.argument_spec(), **SPEC.rules).validate(options)
    assert not checked.error_messages
    return read(session, checked.validated_parameters)


def small_run(run_id: str, start: float) -> list[Request]:
    """Return five events, two of them results of the same host."""
    data: list[tuple[str, dict[str, Any]]] = [
        ("run_started", {"playbook": "/site.yml"}),
        ("play_started", {"play": {"name": "A play", "uuid": "p"}}),
    ]
    made = [event(run_id, number, kind, start + number, **more) for number, (kind, more) in enumerate(data, 1)]
    made.append(result(run_id, 3, "web1", "failed", "First", moment=start + 4))
    made.append(result(run_id, 4, "web1", "ok", "Second", moment=start + 5))
    ended = {"outcome": "failed", "events": 5, "duration": 5.0, "hosts": {"web1": {}}}
    return [*made, event(run_id, 5, "run_finished", start + 6, **ended)]


def without_places(run: dict[str, Any]) -> dict[str, Any]:
    """Return a run without its positions in the stream."""
    places = ("first_in_stream", "last_in_stream")
    return {**run, "events": {name: value for name, value in run["events"].items() if name not in places}}


@pytest.mark.parametrize("ago", [7200, 4], ids=["two hours ago", "now"])
def test_all_orders_of_a_run(make_server: MakeServer, ago: int) -> None:
    """Each of 120 orders gives the same result: by its id, among the newest, and as last result."""
    with Session(settings(servers=make_server().url)) as session:
        declare(session, allow_direct=True)
        made = small_run("run", time.time() - ago)
        expected: list[dict[str, Any]] = []
        for order in itertools.permutations(made):
            session.request("$JS.API.STREAM.PURGE.ANSIBLE_RUNS", b"")
            store(session, order)
            [by_id] = ask(session, run_id="run")["runs"]
            [newest] = ask(session)["runs"]
            [since] = ask(session, since="3h")["runs"]
            assert by_id == newest == since
            expected = expected or [without_places(by_id)]
            assert [without_places(by_id)] == expected
            [last] = ask(session, last_results=True)["last_results"]
            assert (last["task"], last["status"]) == ("Second", "ok")
        [run] = expected
        assert (run["complete"], run["start_missing"], run["outcome"]) == (True, False, "failed")
        assert [task["task"] for task in run["tasks"]] == ["First", "Second"]


def test_many_runs_in_any_order(make_server: MakeServer) -> None:
    """The newest runs come first by their time and are complete, however late and mixed their events were stored."""
    chance = random.Random(7)
    with Session(settings(servers=make_server().url)) as session:
        declare(session, allow_direct=True)
        began = time.time() - 50_000
        runs = {f"run-{number}": small_run(f"run-{number}", began + 400 * number) for number in range(40)}
        mixed = [request for run in runs.values() for request in run]
        chance.shuffle(mixed)
        store(session, mixed)
        newest = list(reversed(runs))
        for limit in (1, 3, 20, 40):
            found = ask(session, limit=limit)["runs"]
            assert [run["run_id"] for run in found] == newest[:limit]
            assert all(run["complete"] for run in found)
        [last] = ask(session, last_results=True)["last_results"]
        assert (last["run_id"], last["task"]) == ("run-39", "Second")


def test_subjects_of_the_release_before(make_server: MakeServer) -> None:
    """Results without a status in their subjects, from an earlier release, are read too."""
    with Session(settings(servers=make_server().url)) as session:
        declare(session)
        start = time.time() - 100
        old = result("old", 1, "web1", "ok", moment=start)._replace(subject=f"{PREFIX}.task_result.web1")
        other = result("old", 2, "failed", "ok", moment=start)._replace(subject=f"{PREFIX}.task_result.failed")
        store(session, [old, other, result("new", 1, "web1", "failed", moment=start + 50)])
        found = ask(session, last_results=True)["last_results"]
        assert [(row["host"], row["run_id"]) for row in found] == [("failed", "old"), ("web1", "new")]
        [alone] = ask(session, last_results=True, hosts=["failed"])["last_results"]
        assert alone["run_id"] == "old"
