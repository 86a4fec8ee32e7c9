# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whole journals: listed, sent to other servers, dropped; and how often a run warns of journals for other servers."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.choria.streams.plugins.module_utils import _errors
from ansible_collections.choria.streams.plugins.module_utils._operations.runs import journals as results_journals
from support import ROOT
from support.playbook import run_playbook
from support.sending import STREAM, declare, events, journals, numbers, sender, stored

if TYPE_CHECKING:
    from pathlib import Path

    from ansible_collections.choria.streams.plugins.plugin_utils._delivery.sender_pipe import Report
    from conftest import MakeServer

pytestmark = pytest.mark.once

WRONG = "nats://127.0.0.1:1"
PLAYBOOK = ROOT / "playbooks" / "results_journal.yml"


def act(folder: Path, *, check: bool = False, **given: Any) -> dict[str, Any]:
    spec = results_journals.SPEC
    options = {"spool": str(folder / "spool"), **given}
    checked = ArgumentSpecValidator(spec.argument_spec(), **spec.rules).validate(options)
    assert not checked.error_messages
    return results_journals.act(checked.validated_parameters, check)


def run(url: str, folder: Path, run_id: str, count: int, timeout: float = 0.4) -> Report:
    subject = sender(url, folder, run_id)
    for event in events(count, run_id):
        subject.put(*event)
    return subject.finish(timeout)


def test_seen_and_addressed_to_another_server(make_server: MakeServer, tmp_path: Path) -> None:
    server = make_server()
    declare(server)
    assert act(tmp_path)["journals"] == []
    for run_id, count in (("one", 3), ("two", 5)):
        run(WRONG, tmp_path, run_id, count)
    listed = act(tmp_path)
    assert listed["changed"] is False
    rows = [(row["run_id"], row["events"], row["servers"], row["stream"]) for row in listed["journals"]]
    assert rows == [("one", 3, [WRONG], STREAM), ("two", 5, [WRONG], STREAM)]
    before = [path.read_bytes() for path in journals(tmp_path)]
    address = {"servers": [server.url.replace("nats://", "nats://user:SECRET@")]}
    planned = act(tmp_path, check=True, run_ids=["two"], address=address)
    assert [path.read_bytes() for path in journals(tmp_path)] == before
    done = act(tmp_path, run_ids=["two"], address=address)
    assert planned == {**done, "journals": planned["journals"]}
    assert (done["changed"], done["readdressed"]) == (True, ["two"])
    assert [row["servers"] for row in done["journals"]] == [[WRONG], [server.url]]
    assert not any(b"SECRET" in path.read_bytes() for path in journals(tmp_path))
    assert act(tmp_path, run_ids=["two"], address=address)["changed"] is False
    report = run(server.url, tmp_path, "next", 1, 20)
    assert "and 5 of earlier runs delivered" in report.text
    assert stored(server) == {"next": [1], "two": numbers(5)}


def test_addressed_to_other_subjects(make_server: MakeServer, tmp_path: Path) -> None:
    server = make_server()
    declare(server, "OTHER", subjects=["audit.runs.>"])
    run(WRONG, tmp_path, "run", 3)
    act(tmp_path, address={"servers": [server.url], "stream": "OTHER", "subject_prefix": "audit.runs"})
    [row] = act(tmp_path)["journals"]
    assert (row["stream"], row["subject_prefix"], row["events"]) == ("OTHER", "audit.runs", 3)
    assert journals(tmp_path)[0].read_bytes().count(b" audit.runs.task_result.ok.web1 run.") == 3


def test_what_a_killed_rewriting_left(make_server: MakeServer, tmp_path: Path) -> None:
    """It is removed with the next use of its journal."""
    server = make_server()
    declare(server)
    for again in (lambda: act(tmp_path), lambda: run(server.url, tmp_path, "next", 1, 20)):
        run(WRONG, tmp_path, "one", 1)
        left = journals(tmp_path)[0].with_suffix(".new")
        left.write_bytes(b"half")
        again()
        assert not left.exists()


def test_dropped(tmp_path: Path) -> None:
    for run_id in ("one", "two", "three"):
        run(WRONG, tmp_path, run_id, 1)
    assert act(tmp_path, state="absent", older_than="1h")["changed"] is False
    planned = act(tmp_path, check=True, state="absent", run_ids=["one"])
    assert (planned["changed"], planned["dropped"], len(journals(tmp_path))) == (True, ["one"], 3)
    done = act(tmp_path, state="absent", run_ids=["one"])
    assert (done["dropped"], [row["run_id"] for row in done["journals"]]) == (["one"], ["two", "three"])
    assert act(tmp_path, state="absent", run_ids=["one"])["changed"] is False
    assert act(tmp_path, state="absent", servers=["127.0.0.1:2"])["changed"] is False
    assert act(tmp_path, state="absent", servers=["127.0.0.1:1"], older_than="0s")["dropped"] == ["two", "three"]
    assert journals(tmp_path) == []


def test_journals_in_use_stay_and_broken_ones_are_dropped(tmp_path: Path) -> None:
    going_on = sender(WRONG, tmp_path, "going-on")
    going_on.put(*next(events(1, "going-on", 5000)))
    while not any(path.stat().st_size > 5000 for path in journals(tmp_path)):  # the event is written
        time.sleep(0.05)
    (tmp_path / "spool" / "1-broken.journal").write_bytes(b"no journal\n" * 9)
    os.mkfifo(tmp_path / "spool" / "2-fifo.journal")
    listed = act(tmp_path)["journals"]
    rows = [(row["run_id"], row["in_use"], row["readable"], row["servers"]) for row in listed]
    assert rows == [("broken", False, False, []), ("going-on", True, True, [])]
    done = act(tmp_path, state="absent", older_than="0s")
    assert (done["dropped"], done["in_use"]) == (["broken"], ["going-on"])
    assert going_on.finish(0.4).spooled == 1


@pytest.mark.parametrize(
    ("given", "option"),
    [
        ({"address": {"servers": ["nats://h/path"]}}, "address"),
        ({"servers": ["http://h"]}, "servers"),
        ({"state": "absent", "older_than": "soon"}, "older_than"),
        ({"state": "absent", "run_ids": ["a"], "address": {"servers": ["h"]}}, "address"),
        ({"address": {"servers": ["h"], "stream": "a.b"}}, "address"),
    ],
)
def test_refusals(tmp_path: Path, given: dict[str, Any], option: str) -> None:
    with pytest.raises(_errors.StreamsError, match=rf"^{option}") as caught:
        act(tmp_path, **given)
    assert caught.value.failure["option"].startswith(option)


def test_a_run_warns_once_a_day(make_server: MakeServer, tmp_path: Path) -> None:
    server = make_server()
    declare(server)
    run(WRONG, tmp_path, "other", 1)
    warning = (
        f"In {tmp_path}/spool are events of 1 run for other servers or streams: "
        "'ansible-playbook choria.streams.results_journal' shows, re-addresses and drops them."
    )
    first = run(server.url, tmp_path, "first", 1, 20)
    assert first.text == f"1 event in stream ANSIBLE_RUNS, 0 spooled, 0 dropped: {warning}"
    second = run(server.url, tmp_path, "second", 2, 20)
    assert (second.text, second.fine) == ("2 events in stream ANSIBLE_RUNS, 0 spooled, 0 dropped", True)
    mark = tmp_path / "spool" / "others.warned"
    os.utime(mark, (time.time() - 90_000,) * 2)
    assert warning in run(server.url, tmp_path, "third", 1, 20).text


def test_playbook(tmp_path: Path) -> None:
    run(WRONG, tmp_path, "run", 2)
    env = {"CHORIA_STREAMS_RESULTS_SPOOL": str(tmp_path / "spool")}
    shown = run_playbook(PLAYBOOK, env=env).check()
    assert f"2 events for {WRONG}, stream ANSIBLE_RUNS" in " ".join(shown.output.split())
    assert shown.stats["localhost"]["changed"] == 0
    address = {"results_journal_address": {"servers": ["nats://right.example.net:4222"]}}
    assert run_playbook(PLAYBOOK, env=env, extra_vars=address).check().stats["localhost"]["changed"] == 1
    drop = {"results_journal_state": "absent", "results_journal_run_ids": ["run"]}
    assert run_playbook(PLAYBOOK, env=env, extra_vars=drop).check().stats["localhost"]["changed"] == 1
    assert journals(tmp_path) == []
