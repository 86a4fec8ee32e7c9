# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Governors that playbooks share with `choria governor` and with autonomous agents."""

from __future__ import annotations

import json
import re
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.choria.streams.plugins.module_utils._api import message_count, messages
from ansible_collections.choria.streams.plugins.module_utils._operations.governor import governor as governors
from ansible_collections.choria.streams.plugins.module_utils._operations.governor.campaign import Wait, campaign
from ansible_collections.choria.streams.plugins.module_utils._resources.governor.governor import GOVERNOR
from support.choria import NODE_PERMISSIONS, ChoriaBroker, ChoriaServer
from support.intervals import Recorder
from support.lifecycle import gap
from support.manage import Manager
from support.playbook import RunningPlaybook

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

ADMIN = ("--stream-admin", "--stream-user", "--governor", "--event-viewer")
NODES = ("web1.example.net", "web2.example.net", "web3.example.net")


class Site(Manager):
    """A user of the program, a connection with the same configuration, and the configuration files of nodes."""

    def __init__(self, broker: ChoriaBroker, folder: Path) -> None:
        self.admin = broker.client("admin", *ADMIN)
        super().__init__(choria_config=str(self.admin.config))
        self.broker, self.folder = broker, folder
        self.nodes = {name: self._node(name) for name in NODES}

    def _node(self, name: str) -> Path:
        """Return the server.conf of a node, for cron jobs."""
        folder = self.folder / name
        folder.mkdir()
        values = self.broker.site(name, folder, NODE_PERMISSIONS)
        path = folder / "server.conf"
        path.write_text("".join(f"{key} = {value}\n" for key, value in {**values, "loglevel": "error"}.items()))
        return path

    def recorder(self, name: str) -> Recorder:
        folder = self.folder / name
        folder.mkdir()
        return Recorder(folder)

    def run(self, node: str, governor: str, command: str, *arguments: str) -> subprocess.Popen[str]:
        """Run `choria governor run` on a node."""
        config = str(self.nodes[node])
        return self.admin.start(
            "governor", "run", "--config", config, governor, "--interval", "1s", *arguments, "--", command
        )

    def playbook(self, tasks: list[dict[str, Any]], hosts: tuple[str, ...] = ("ansible1",)) -> RunningPlaybook:
        variables = {"choria_streams_choria_config": str(self.admin.config)}
        play = {"hosts": "all", "gather_facts": False, "vars": variables, "tasks": tasks}
        return RunningPlaybook([play], inventory=hosts)

    def view(self, governor: str) -> str:
        """Return the output of `choria governor view` with single spaces."""
        return re.sub(r"[ \t]+", " ", self.admin.output("governor", "view", governor))

    def seats(self, governor: str) -> dict[int, str]:
        """Return the holders of seats, according to the program."""
        rows = re.findall(r"│ (\d+) │ (.+?) │", self.view(governor))
        return {int(sequence): name for sequence, name in rows}


@pytest.fixture(scope="module", params=["broker", "jwt_broker"], ids=["certificates", "tokens"])
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Site(request.getfixturevalue(request.param), tmp_path_factory.mktemp("governor")) as found:
        yield found


def governed(governor: str, command: str, **more: Any) -> dict[str, Any]:
    task = {"ansible.builtin.command": command}
    return {"name": governor, "choria.streams.choria_governor_run": {"name": governor, "task": task, **more}}


# Governors


def test_the_same_governor_by_either(site: Site) -> None:
    for name, capacity, expire in (("PLAIN", 5, "20m"), ("SHORT", 1, "30s")):
        theirs, ours = f"{name}_THEIRS", f"{name}_OURS"
        site.admin.run("governor", "add", theirs, str(capacity), expire)
        site.apply(GOVERNOR, name=ours, capacity=capacity, expire=expire)
        configs = [
            {path: str(value).replace(governor, "NAME") for path, value in site.config(f"GOVERNOR_{governor}").items()}
            for governor in (theirs, ours)
        ]
        assert configs[0] == configs[1]
        assert configs[0]["subjects"] == f"['{site.broker.collective}.governor.NAME']"
        assert not site.plan(GOVERNOR, name=theirs, capacity=capacity, expire=expire).changed
        before = site.config(f"GOVERNOR_{ours}")
        site.admin.run("governor", "add", ours, str(capacity), expire)
        assert site.config(f"GOVERNOR_{ours}") == before


def test_resized_by_either(site: Site) -> None:
    site.apply(GOVERNOR, name="SIZE", capacity=2, expire="20m")
    assert "Capacity: 2\n Expires: 20m0s\n Replicas: 1\n" in site.view("SIZE")
    site.admin.run("governor", "add", "SIZE", "7", "1h", "--force")
    changed = site.apply(GOVERNOR, name="SIZE", capacity=3).changes
    assert [(change.field, change.before, change.after) for change in changed] == [("capacity", 7, 3)]
    assert "Capacity: 3\n Expires: 1h0m0s\n" in site.view("SIZE")


def test_deleted_by_either(site: Site) -> None:
    site.apply(GOVERNOR, name="GONE", capacity=1, expire="1m")
    assert "GONE" in site.admin.output("governor", "list")
    site.admin.run("governor", "delete", "GONE", "--force")
    assert not site.plan(GOVERNOR, name="GONE", state="absent").changed
    site.admin.run("governor", "add", "GONE", "1", "1m")
    site.apply(GOVERNOR, name="GONE", state="absent")
    assert "GONE" not in site.admin.output("governor", "list")


# Seats


def machine(command: str, governor: str, max_wait: str = "1m") -> dict[str, Any]:
    """Return an agent that works whenever it gets a seat."""
    properties = {"command": command, "timeout": "20s", "governor": governor, "governor_timeout": max_wait}
    watcher = {"name": "work", "type": "exec", "interval": "1s", "state_match": ["on"], "properties": properties}
    transitions = [{"name": "stay", "from": ["on"], "destination": "on"}]
    return {"version": "1.0.0", "initial_state": "on", "transitions": transitions, "watchers": [watcher]}


def test_all_together_never_exceed_the_capacity(site: Site) -> None:
    site.apply(GOVERNOR, name="ALL", capacity=2, expire="5m")
    recorder, hosts = site.recorder("all"), ("ansible1", "ansible2", "ansible3", "ansible4")
    work = machine(recorder.command("machine", 0.5), "ALL")
    with ChoriaServer(site.broker, "node1.example.net", machines={"WORK": work}):
        ansible = site.playbook([governed("ALL", recorder.command("{{ inventory_hostname }}", 0.5))], hosts)
        programs = [site.run(node, "ALL", recorder.command(node, 0.5)) for node in NODES]
        assert [program.wait(60) for program in programs] == [0, 0, 0]
        ansible.wait().check()
        recorder.wait_for("machine", ended=True)
    ran = {interval.name for interval in recorder.intervals()}
    assert ran == {"machine", *NODES, *hosts}
    assert recorder.most_at_once() == 2


@pytest.mark.parametrize("waiter", ["ansible", "program"])
def test_each_waits_for_the_other(site: Site, waiter: str) -> None:
    governor, holder = f"WAIT_{waiter}", "program" if waiter == "ansible" else "ansible"
    site.apply(GOVERNOR, name=governor, capacity=1, expire="5m")
    recorder = site.recorder(governor)

    def playbook() -> RunningPlaybook:
        return site.playbook([governed(governor, recorder.command("ansible", 60))])

    def program() -> subprocess.Popen[str]:
        return site.run(NODES[0], governor, recorder.command("program", 60))

    if holder == "ansible":
        ansible = playbook()
        recorder.wait_for(holder)
        theirs = program()
    else:
        theirs = program()
        recorder.wait_for(holder)
        ansible = playbook()
        while "TASK [" not in ansible.output():
            time.sleep(0.05)
    assert list(site.seats(governor).values()) == ["ansible1" if holder == "ansible" else NODES[0]]
    time.sleep(1.5)
    assert not recorder.intervals(waiter)
    recorder.finish(holder)
    recorder.wait_for(waiter)
    # The program checks every second, and our waiter gets an event
    names = {"ansible": "ansible1", "program": NODES[0]}
    assert gap(site.session, governor, names[holder], names[waiter]) < 2.0
    recorder.finish(waiter)
    assert theirs.wait(30) == 0
    ansible.wait().check()
    assert recorder.most_at_once() == 1
    assert site.seats(governor) == {}


def test_evicted_by_the_program(site: Site) -> None:
    site.apply(GOVERNOR, name="EVICT", capacity=1, expire="5m")
    recorder = site.recorder("evict")
    run = site.playbook([governed("EVICT", recorder.command("ansible", 60))])
    recorder.wait_for("ansible")
    [(sequence, name)] = site.seats("EVICT").items()
    assert name == "ansible1"
    assert f'Evicted "ansible1" from slot {sequence}' in site.admin.output(
        "governor", "evict", "EVICT", str(sequence), "--force"
    )
    recorder.finish("ansible")
    result = run.wait().check()
    governor = result.task("EVICT").result["governor"]
    assert (governor["seat"], governor["lost"]) == (sequence, True)
    assert governor["reason"] == "it was evicted, or the governor was reset"
    assert f"Seat {sequence} of governor EVICT was lost while the task ran" in " ".join(result.output.split())


def test_an_exit_that_is_published_before_it_happens(site: Site) -> None:
    """Autonomous agents publish the event first, so a woken waiter found the governor still full."""
    site.apply(GOVERNOR, name="EARLY", capacity=1, expire="5m")
    seat = campaign(site.session, governors.read(site.session, "EARLY"), "agent", Wait(1))
    assert seat is not None
    moments: list[float] = []

    def wait() -> None:
        with Manager(choria_config=str(site.admin.config)) as other:
            if campaign(other.session, governors.read(other.session, "EARLY"), "waiter", Wait(30)):
                moments.append(time.monotonic())

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(1.0)
    leaves = {"protocol": "io.choria.lifecycle.v1.governor", "governor": "EARLY", "event_type": "exit"}
    site.session.publish("choria.lifecycle.event.governor.agent", json.dumps(leaves).encode())
    time.sleep(0.05)
    messages.delete(site.session, seat.governor.stream, seat.sequence)
    left = time.monotonic()
    thread.join()
    assert moments[0] - left < 1.5


# Events


@pytest.fixture
def viewer(site: Site) -> Iterator[subprocess.Popen[str]]:
    """Run `choria tool event`, which shows events as they arrive."""
    with site.admin.start("tool", "event", "--type", "governor") as process:
        assert process.stdout is not None
        assert "Waiting for events" in process.stdout.readline()
        yield process
        process.kill()


def test_events_of_both(site: Site, viewer: subprocess.Popen[str]) -> None:
    site.apply(GOVERNOR, name="EVENTS", capacity=1, expire="5m")
    with Manager(choria_config=str(site.admin.config)) as listener:
        listener.session.subscribe("choria.lifecycle.event.governor.>")
        assert site.run(NODES[0], "EVENTS", "true").wait(30) == 0
        site.playbook([governed("EVENTS", "true")]).wait().check()
        blocker = campaign(site.session, governors.read(site.session, "EVENTS"), "blocker", Wait(1))
        assert blocker is not None
        # The program itself ends before its event of this kind is sent
        impatient = machine("true", "EVENTS", max_wait="1s")
        with ChoriaServer(site.broker, NODES[0], machines={"AGENT": impatient}) as node:
            node.wait_for("Could not obtain a slot in the Governor EVENTS")
        site.playbook([{**governed("EVENTS", "true", max_wait=0), "ignore_errors": True}]).wait().check()
        site.admin.run("governor", "evict", "EVENTS", str(blocker.sequence), "--force")
        seat = campaign(site.session, governors.read(site.session, "EVENTS"), "blocker", Wait(1))
        assert seat is not None
        governors.evict(site.session, seat.governor, governors.list_seats(site.session, "EVENTS")[0])
        heard: list[dict[str, Any]] = []
        while message := listener.session.receive(1.0):
            heard.append({"subject": message.subject, **json.loads(message.data)})
    viewer.kill()
    shown = viewer.communicate(timeout=10)[0]
    events: dict[str, list[tuple[str, str, bool]]] = {"ansible": [], "CLI": [], "AGENT": []}
    for event in heard:
        assert event["subject"] == f"choria.lifecycle.event.governor.{event['component']}"
        assert (event["protocol"], event["governor"]) == ("io.choria.lifecycle.v1.governor", "EVENTS")
        events[event["component"]].append((event["event_type"], event["identity"], event["sequence"] > 0))
    evicted = [("enter", "blocker", True)] * 2 + [("eviction", "blocker", True)]
    assert sorted(events["CLI"]) == sorted([("enter", NODES[0], True), ("exit", NODES[0], True), evicted[-1]])
    assert set(events["AGENT"]) == {("timeouts", NODES[0], False)}
    expected = [("enter", "ansible1", True), ("exit", "ansible1", True), ("timeouts", "ansible1", False), *evicted]
    assert sorted(events["ansible"]) == sorted(expected)
    # All have the same fields
    assert len({tuple((name, type(value)) for name, value in sorted(event.items())) for event in heard}) == 1
    for line in (
        "ansible1: obtained slot 2 on EVENTS",
        "ansible1: vacated slot 2 on EVENTS",
        "ansible1: failed to obtain a slot on EVENTS",
        f"blocker: evicted from slot {seat.sequence} on EVENTS",
    ):
        assert f"[governor] {line}" in shown
    # The broker's own stream stores both kinds
    stored = message_count.subject_counts(site.session, "CHORIA_EVENTS", "choria.lifecycle.event.governor.>")
    assert stored["choria.lifecycle.event.governor.ansible"] >= len(events["ansible"])
    assert stored["choria.lifecycle.event.governor.CLI"] >= len(events["CLI"])
