# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The streams that a broker creates itself can be read, and are never changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.choria.streams.plugins.module_utils._api import lists, message_count
from ansible_collections.choria.streams.plugins.module_utils._errors import Refused
from ansible_collections.choria.streams.plugins.module_utils._resources.stream.stream import STREAM
from support import ROOT
from support.manage import Manager
from support.playbook import run_playbook

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.choria import ChoriaBroker, ChoriaClient, ChoriaServer

DAY = 24 * 60 * 60
# Name, subjects, and the seconds for which messages are kept
SYSTEM = [
    ("CHORIA_EVENTS", ["choria.lifecycle.>"], DAY),
    ("CHORIA_EXECUTOR", ["choria.submission.in.choria.executor.>"], DAY),
    ("CHORIA_MACHINE", ["choria.machine.>"], DAY),
    ("CHORIA_STREAM_ADVISORIES", ["$JS.EVENT.ADVISORY.>"], 7 * DAY),
    ("KV_CHORIA_LEADER_ELECTION", ["$KV.CHORIA_LEADER_ELECTION.>"], 60),
]


@pytest.fixture(scope="module")
def admin(jwt_broker: ChoriaBroker) -> ChoriaClient:
    # The callback of the quickstart publishes to ansible.runs.>
    flags = ("--stream-admin", "--stream-user", "--governor", "--event-viewer", "--publish", "ansible.runs.>")
    return jwt_broker.client("admin", *flags)


@pytest.fixture
def manager(admin: ChoriaClient) -> Iterator[Manager]:
    with Manager(choria_config=str(admin.config)) as made:
        yield made


def made_by_the_broker(manager: Manager) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return the creation time and the configuration of each."""
    found: dict[str, Any] = {
        info["config"]["name"]: (info["created"], info["config"]) for info in lists.streams(manager.session)
    }
    return {name: found[name] for name, _subjects, _age in SYSTEM}


def test_they_are_seen(admin: ChoriaClient) -> None:
    names = [name for name, _subjects, _age in SYSTEM]
    tasks = [
        {"name": "all", "choria.streams.choria_stream_info": {}},
        {"name": "some", "choria.streams.choria_stream_info": {"names": names}},
        {"name": "bucket", "choria.streams.choria_kv_bucket_info": {"names": ["CHORIA_LEADER_ELECTION"]}},
    ]
    play = {"hosts": "localhost", "gather_facts": False, "tasks": tasks}
    result = run_playbook([play], env={"CHORIA_STREAMS_CHORIA_CONFIG": str(admin.config)}).check()
    found = result.task("some").result["streams"]
    assert [(stream["name"], stream["subjects"], stream["max_age"]) for stream in found] == SYSTEM
    assert set(names) <= {stream["name"] for stream in result.task("all").result["streams"]}
    [bucket] = result.task("bucket").result["buckets"]
    assert (bucket["ttl"], bucket["max_value_size"], bucket["history"]) == (60, 1024, 1)


def test_their_subjects_are_theirs(manager: Manager) -> None:
    with pytest.raises(Refused, match="overlaps with the subjects of stream CHORIA_EVENTS"):
        manager.plan(STREAM, name="MINE", subjects=["choria.lifecycle.event.>"])


def test_the_quickstart_works_here_and_leaves_them(
    jwt_broker: ChoriaBroker, jwt_server: ChoriaServer, admin: ChoriaClient, manager: Manager
) -> None:
    before = made_by_the_broker(manager)
    result = run_playbook(
        ROOT / "playbooks" / "quickstart.yml",
        env={
            "ANSIBLE_CALLBACKS_ENABLED": "task_results,choria.streams.choria_results",
            "CHORIA_STREAMS_CHORIA_CONFIG": str(admin.config),
        },
    ).check()
    assert sum(task.changed for task in result.tasks) > 10
    assert made_by_the_broker(manager) == before
    # They were used in the meantime
    for subject in ("choria.lifecycle.event.startup.server", "choria.lifecycle.event.governor.ansible"):
        assert message_count.subject_counts(manager.session, "CHORIA_EVENTS", subject)
