# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Autonomous agents on real nodes: deployed, started by a key, limited by a governor, and reported."""

from __future__ import annotations

import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import pytest
from integration.collection.test_examples import blocks, plays

from ansible_collections.choria.streams.plugins.module_utils._errors import PermissionMissing, Refused, StreamsError
from ansible_collections.choria.streams.plugins.module_utils._operations.governor import governor as governors
from ansible_collections.choria.streams.plugins.module_utils._operations.machine import info as machine_info
from ansible_collections.choria.streams.plugins.module_utils._operations.machine import machine
from ansible_collections.choria.streams.plugins.module_utils._operations.machine.definition import (
    beyond_program,
    to_yaml,
)
from support import ROOT
from support.choria import ChoriaServer, find_choria
from support.intervals import Recorder
from support.machines import BAD, GOOD, UNKNOWN_TO_THE_PROGRAM
from support.manage import Manager
from support.playbook import RunningPlaybook
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.choria import ChoriaBroker

GUIDE = ROOT / "docs" / "machines.md"
NODES = ("web1.example.net", "web2.example.net", "web3.example.net")
SEATS = 2
# Seconds that a command runs unless the test ends it
LONG = 60.0


def test_the_program_agrees(tmp_path: Path) -> None:
    """The program accepts and refuses the same definitions, except those that are marked."""
    definitions = {**GOOD, **{label: bad.definition for label, bad in BAD.items()}}
    expected = {label: label not in UNKNOWN_TO_THE_PROGRAM for label in GOOD}
    expected.update({label: not bad.program for label, bad in BAD.items()})

    def accepts(label: str) -> bool:
        folder = tmp_path / label.replace(" ", "-")
        folder.mkdir()
        (folder / "machine.yaml").write_text(to_yaml({"name": "DEPLOY", **definitions[label]}))
        command = [str(find_choria()), "machine", "validate", str(folder)]
        return subprocess.run(command, check=False, capture_output=True, timeout=60).returncode == 0

    with ThreadPoolExecutor(4) as pool:
        assert dict(zip(definitions, pool.map(accepts, definitions))) == expected
    assert {label: not beyond_program(GOOD[label]) for label in GOOD} == {label: expected[label] for label in GOOD}


def test_a_refusal_of_the_program(tmp_path: Path) -> None:
    """The program's refusal counts, unless the definition uses features that the server knows and the program does
    not.
    """
    store = tmp_path / "machines"
    store.mkdir(mode=0o700)
    options = dict.fromkeys([row.option for row in machine.SPEC])
    options |= {"state": "present", "name": "DEPLOY", "store": str(store), "choria_config": None, "files": []}
    options |= {"program": str(find_choria()), "validate": True}
    known = machine.act(pytest.fail, {**options, "definition": GOOD["a key and a command"]}, False)["machine"]
    assert (known["validated"], known["unknown_to_program"]) == (["schema", "program"], [])
    beyond = {**options, "definition": GOOD["an archive"]}
    for bad in (beyond, {**options, "definition": BAD["no bucket"].definition}):
        with pytest.raises(Refused, match="machine validate refuses it"):
            machine.act(pytest.fail, {**bad, "validate": False}, False)
    machine_result = machine.act(pytest.fail, beyond, False)["machine"]
    assert (machine_result["validated"], machine_result["unknown_to_program"]) == (["schema"], ["archive watchers"])


class Fleet(Manager):
    """Nodes with empty stores, a client with all permissions, and the record of what ran."""

    def __init__(self, broker: ChoriaBroker, folder: Path) -> None:
        self.client = broker.client("fleet", "--stream-admin", "--stream-user", "--governor", "--event-viewer")
        super().__init__(choria_config=str(self.client.config))
        self.recorder = Recorder(folder)
        self.nodes: dict[str, ChoriaServer] = {}

    def guide(self) -> RunningPlaybook:
        """Run the guide's playbook on all nodes."""
        local = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
        hosts = {
            name: {
                "server_config": str(node.config),
                "deploy_command": self.recorder.command(name, LONG),
            }
            for name, node in self.nodes.items()
        }
        return RunningPlaybook(
            plays(blocks(GUIDE), {}),
            inventory={"all": {"hosts": hosts, "vars": {**local, "client_config": str(self.client.config)}}},
        )

    def running(self) -> list[str]:
        return [interval.name for interval in self.recorder.intervals() if interval.end is None]

    def info(self, **given: Any) -> dict[str, Any]:
        options = {
            **dict.fromkeys(("names", "hosts", "store", "choria_config", "wait_for_state", "fail_states", "since")),
            "events": True,
            "max_wait": "60s",
        }
        return machine_info.read(lambda: self.session, {**options, **given}, False)

    def why(self, **given: Any) -> StreamsError:
        with pytest.raises(StreamsError) as caught:
            self.info(wait_for_state="deployed", max_wait=0, **given)
        return caught.value


@pytest.fixture(scope="module")
def fleet(broker: ChoriaBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with ExitStack() as stack:
        found = stack.enter_context(Fleet(broker, tmp_path_factory.mktemp("fleet")))
        for name in NODES:
            found.nodes[name] = stack.enter_context(ChoriaServer(broker, name))
        yield found


def test_a_rolling_update_by_one_key(fleet: Fleet) -> None:
    """The guide's steps, unchanged: never more nodes than seats deploy at once."""
    run = fleet.guide()
    try:
        for _turn in NODES[SEATS:]:
            wait_until(lambda: len(fleet.running()) == SEATS, 60, lambda: f"two nodes deploy\n{run.output()}")
            seats = [seat["name"] for seat in governors.list_seats(fleet.session, "DEPLOY")]
            assert sorted(name.rsplit(" ", 1)[-1] for name in seats) == sorted(fleet.running())
            fleet.recorder.finish(fleet.running()[0])
        for name in NODES:
            fleet.recorder.finish(name)
        result = run.wait().check()
    finally:
        run.close()
    machines = result.task("Wait until all nodes have it").result["machines"]
    assert [(one["host"], one["state"], one["from_state"]) for one in machines] == [
        (name, "deployed", "deploying") for name in NODES
    ]
    assert all(one["watchers"][0]["status"]["previous_outcome"] == "success" for one in machines)
    assert sorted(interval.name for interval in fleet.recorder.intervals()) == sorted(NODES)
    assert fleet.recorder.most_at_once() == SEATS


def test_reported_and_installed_machines(fleet: Fleet) -> None:
    node = fleet.nodes[NODES[0]]
    found = fleet.info(choria_config=str(node.config), hosts=[NODES[0]])
    [state], [installed] = found["machines"], found["installed"]
    assert (state["host"], state["name"], state["version"]) == (NODES[0], "DEPLOY", "1.0.0")
    assert installed["initial_state"] == "waiting" and installed["data_keys"] == ["release"]
    # The server reports the same digest
    assert f"from {installed['path']} ({installed['checksum']})" in node.log()
    again = fleet.info(names=["DEPLOY"], hosts=[NODES[0]], wait_for_state="deployed", since=state["since"])
    assert again["machines"] == [state]


def test_waits_that_time_out(fleet: Fleet) -> None:
    late = fleet.why(names=["DEPLOY"], hosts=[NODES[0]], since="2100-01-01T00:00:00Z")
    assert late.failure["code"] == "timeout" and "DEPLOY on web1.example.net is in state deployed since" in late.message
    unknown = fleet.why(names=["OTHER"], hosts=[NODES[0]]).message
    assert "OTHER on web1.example.net has never published an event (known there: DEPLOY)" in unknown
    nowhere = fleet.why(names=["DEPLOY"], hosts=["web9.example.net"]).message
    assert "DEPLOY on web9.example.net has never published an event (it has on web1.example.net" in nowhere


def test_waiting_is_over_with_the_event(fleet: Fleet) -> None:
    """The nodes get another release one after the other, and the connection breaks during the wait."""
    since = datetime.now(timezone.utc).isoformat()
    fleet.session.connect()
    breaker = threading.Timer(1.0, fleet.session._client._transport.close)
    fleet.client.run("kv", "put", "DEPLOY", "release", "1.5")
    breaker.start()
    found = fleet.info(names=["DEPLOY"], hosts=list(NODES), wait_for_state="deployed", since=since)
    breaker.join()
    assert {one["state"] for one in found["machines"]} == {"deployed"}
    assert len(fleet.recorder.intervals()) == 2 * len(NODES)
    assert fleet.recorder.most_at_once() == SEATS


def test_a_server_never_sees_half_of_a_machine(fleet: Fleet) -> None:
    """A machine changes all the time, while the server reads the store."""
    node = fleet.nodes[NODES[0]]
    data = (node.machines / "DEPLOY" / "machine_data.json").read_text()
    definition = {**GOOD["a key and a command"], "name": "DEPLOY"}
    options = dict.fromkeys([row.option for row in machine.SPEC])
    options |= {"state": "present", "name": "DEPLOY", "store": str(node.machines), "choria_config": None}
    before, number = len(node.log()), 0
    while "version 2.0." not in node.log()[before:]:
        number += 1
        options |= {
            "definition": {**definition, "version": f"2.0.{number}"},
            "files": [{"path": "bin/deploy", "content": f"{number}\n", "encoding": "text", "mode": "0755"}],
            "validate": True,
        }
        assert machine.act(pytest.fail, options, False)["changed"]
        time.sleep(0.02)
        assert number < 2000
    log = node.log()[before:]
    for trouble in ("Could not load", "could not determine hash", "does not exist anymore", "panic"):
        assert trouble not in log, log
    assert (node.machines / "DEPLOY" / "machine_data.json").read_text() == data
    node.wait_for("Starting Choria Machine DEPLOY version 2.0.", after=before)
    # It started again, and is still in its first state
    options |= {"state": "purged", "keep": []}
    assert machine.act(pytest.fail, options, False)["removed"] == ["DEPLOY"]
    node.wait_for("Machine DEPLOY does not exist anymore", after=before)


def test_a_node_s_token_may_read_and_not_wait(jwt_broker: ChoriaBroker, jwt_server: ChoriaServer) -> None:
    with Manager(choria_config=str(jwt_server.config)) as node:
        options = {
            **dict.fromkeys(("names", "hosts", "store", "choria_config", "wait_for_state", "fail_states", "since")),
            "events": True,
            "max_wait": "1s",
        }
        assert machine_info.read(lambda: node.session, options, False)["machines"] == []
        options |= {"names": ["DEPLOY"], "hosts": [jwt_server.identity], "wait_for_state": "deployed"}
        with pytest.raises(PermissionMissing, match="no server's token may"):
            machine_info.read(lambda: node.session, options, False)
