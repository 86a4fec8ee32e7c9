# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""An autonomous agent of a real node and playbooks: the agent reads our keys, and each waits for the other's seat."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.choria.streams.plugins.module_utils._operations.governor import governor as governors
from ansible_collections.choria.streams.plugins.module_utils._resources.governor.governor import GOVERNOR
from ansible_collections.choria.streams.plugins.module_utils._resources.kv.bucket import BUCKET
from ansible_collections.choria.streams.plugins.module_utils._resources.kv.entry import ENTRY
from support.choria import ChoriaBroker, ChoriaServer
from support.intervals import Recorder
from support.lifecycle import gap
from support.manage import Manager
from support.playbook import RunningPlaybook
from support.processes import is_connected
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

NODE = "node1.example.net"
# The agent reads the key every second, and works with a changed value until the test ends it
WORKS = 30.0
ADMIN = ("--stream-admin", "--stream-user", "--governor", "--event-viewer")


def machine(recorder: Recorder) -> dict[str, Any]:
    return {
        "version": "1.0.0",
        "initial_state": "idle",
        "transitions": [
            {"name": "wanted", "from": ["idle"], "destination": "working"},
            {"name": "done", "from": ["working"], "destination": "idle"},
        ],
        "watchers": [
            {
                "name": "release",
                "type": "kv",
                "interval": "1s",
                "state_match": ["idle"],
                "success_transition": "wanted",
                "properties": {"bucket": "DEPLOY", "key": "release", "mode": "poll", "bucket_prefix": False},
            },
            {
                "name": "deploy",
                "type": "exec",
                "state_match": ["working"],
                "success_transition": "done",
                "fail_transition": "done",
                "properties": {
                    "command": recorder.command('{{ lookup "data.release" "none" }}', WORKS),
                    "timeout": "20s",
                    "governor": "DEPLOY",
                    "governor_timeout": "30s",
                },
            },
        ],
    }


class World(Manager):
    """A node with the agent, the connection of an administrator, and the record of what ran."""

    def __init__(self, broker: ChoriaBroker, recorder: Recorder) -> None:
        self.port = broker.port
        self.config_file = str(broker.client("admin", *ADMIN).config)
        super().__init__(choria_config=self.config_file)
        self.recorder = recorder

    def release(self, name: str) -> None:
        """Write the key that the agent reads."""
        assert self.apply(ENTRY, bucket="DEPLOY", key="release", value=name).changed

    def playbook(self, name: str) -> RunningPlaybook:
        """Start a run with the same governor, recorded by that name."""
        task = {
            "name": "run",
            "choria.streams.choria_governor_run": {
                "choria_config": self.config_file,
                "name": "DEPLOY",
                "task": {"ansible.builtin.command": self.recorder.command(name, WORKS)},
            },
        }
        return RunningPlaybook([{"hosts": "localhost", "gather_facts": False, "tasks": [task]}])

    def finish(self, name: str, waiting: str) -> None:
        """End the holder of the seat, for which another one waits."""
        time.sleep(1.0)
        assert not self.recorder.intervals(waiting)
        self.recorder.finish(name)
        self.recorder.wait_for(waiting)


@pytest.fixture(scope="module", params=["broker", "jwt_broker"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    broker: ChoriaBroker = request.getfixturevalue(request.param)
    recorder = Recorder(tmp_path_factory.mktemp("machine"))
    with World(broker, recorder) as found:
        found.apply(BUCKET, name="DEPLOY", history=5)
        found.apply(GOVERNOR, name="DEPLOY", capacity=1, expire="1m")
        with ChoriaServer(broker, NODE, machines={"DEPLOY": machine(recorder)}):
            yield found


def test_a_machine_reacts_to_a_key(world: World) -> None:
    world.release("first")
    world.recorder.wait_for("first")
    world.recorder.finish("first")


def test_a_machine_holds_back_a_playbook(world: World) -> None:
    world.release("second")
    world.recorder.wait_for("second")
    [seat] = governors.list_seats(world.session, "DEPLOY")
    assert seat["name"] == f"Auto Agent  DEPLOY#deploy @ {NODE}"
    run = world.playbook("waiter")
    wait_until(lambda: is_connected(run.process.pid, world.port), 60)
    world.finish("second", waiting="waiter")
    # The agent publishes its exit before it leaves. Its waiters must not miss that: they check after 4 s
    assert gap(world.session, "DEPLOY", NODE, "localhost") < 3.5
    world.recorder.finish("waiter")
    assert run.wait().check().task("run").result["governor"]["waited"] > 0.1


def test_a_playbook_holds_back_a_machine(world: World) -> None:
    run = world.playbook("holder")
    world.recorder.wait_for("holder")
    world.release("third")
    world.finish("holder", waiting="third")
    # The agent requests a seat again within five seconds
    assert gap(world.session, "DEPLOY", "localhost", NODE) < 7.0
    world.recorder.finish("third")
    run.wait().check()


def test_they_were_never_two(world: World) -> None:
    assert len(world.recorder.intervals()) == 5
    assert world.recorder.most_at_once() == 1
