# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role refuses changes that a broker would not survive, and folders that belong to others."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.choria.streams.plugins.plugin_utils._role.host import host_problems

WANTED: dict[str, Any] = {
    "choria_broker": True,
    "choria_broker_hosts": ["b1", "b2", "b3"],
    "choria_identity": "b1",
    "choria_broker_peer_port": 5222,
    "choria_gateway_name": "EAST",
    "choria_gateway_port": 0,
    "choria_stream_store": "/var/lib/choria/streams",
    "store_used": True,
}
BROKER: dict[str, Any] = {
    "deployed": True,
    "running": True,
    "identity": "b1",
    "store": "/var/lib/choria/streams",
    "store_used": True,
    "cluster": {"name": "CHORIA", "peer_port": 5222, "leader": "b2"},
}
ALONE = {"name": None, "peer_port": None}
CHANGES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "identity": ({"choria_identity": "b9"}, {}, "choria_identity: the broker of b1 is part of the cluster as b1"),
    "peer port": ({"choria_broker_peer_port": 5333}, {}, "choria_broker_peer_port: the broker of b1 runs with 5222"),
    "gateway": ({"choria_gateway_port": 7222}, {}, "choria_gateway_name: the cluster of b1 is called CHORIA"),
    "one to three": ({}, {"cluster": ALONE}, "the broker of b1 runs alone"),
    "three to one": ({"choria_broker_hosts": ["b1"]}, {}, "the broker of b1 runs in a cluster"),
    "store": (
        {"choria_stream_store": "/srv/choria", "store_used": False},
        {},
        "choria_stream_store: the broker of b1 keeps its streams in /var/lib/choria/streams, and /srv/choria has none",
    ),
    "store of a stopped broker": (
        {"choria_stream_store": "/srv/choria", "store_used": False},
        {"running": False},
        "it would start empty",
    ),
}
SAME: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"choria_broker_peer_port": "5222"}, {}),
    # It is the only one with its port, which may be the wrong one
    ({"choria_broker_peer_port": 5333}, {"cluster": {"name": "CHORIA", "peer_port": 5222, "leader": None}}),
    # If brokers are stopped, all start with the new settings
    ({"choria_identity": "b9", "choria_broker_peer_port": 5333}, {"running": False}),
    ({"choria_stream_store": "/srv/choria", "store_used": True}, {}),
    ({"choria_stream_store": "/srv/choria", "store_used": False}, {"store_used": False}),
    ({"choria_broker_hosts": ["b1"], "choria_identity": "b9"}, {"cluster": ALONE}),
    ({"choria_broker_hosts": ["b1"]}, {"store_used": False}),
    ({"choria_broker": False, "choria_identity": "b9"}, {}),
    ({}, {"deployed": False}),
]


@pytest.mark.parametrize("case", CHANGES)
def test_a_change_that_the_broker_does_not_survive(case: str) -> None:
    wanted, broker, says = CHANGES[case]
    [problem] = host_problems({**WANTED, **wanted}, "b1", {**BROKER, **broker}, [])
    assert says in problem


@pytest.mark.parametrize(("wanted", "broker"), SAME)
def test_a_change_that_it_survives(wanted: dict[str, Any], broker: dict[str, Any]) -> None:
    assert host_problems({**WANTED, **wanted}, "b1", {**BROKER, **broker}, []) == []


def test_a_host_without_a_broker() -> None:
    assert host_problems(WANTED, "b1", {}, []) == []


def folder(*names: str, **stat: Any) -> dict[str, Any]:
    found = {"exists": True, "isdir": True, "path": "/srv/x", "pw_name": "choria", "roth": False, "xoth": False}
    return {
        "option": "choria_stream_store",
        "stat": {**found, **stat},
        "names": list(names),
        "own": ["jetstream"],
        "owners": ["choria", "root"],
    }


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (folder("index.html", pw_name="www-data"), "belongs to www-data, and has other files (index.html)"),
        (folder("a", "b", "c", "d", "jetstream", xoth=True), "(a, b, c)"),
        (folder(isdir=False), "/srv/x of b1 is not a folder"),
    ],
)
def test_a_folder_of_others(found: dict[str, Any], says: str) -> None:
    [problem] = host_problems({"choria_broker": False}, "b1", {}, [found])
    assert problem.startswith("choria_stream_store: ")
    assert says in problem


@pytest.mark.parametrize(
    "found",
    [
        folder(exists=False),
        folder(pw_name="www-data", roth=True),
        folder("jetstream", roth=True, xoth=True),
        folder("jetstream", "lost+found"),
    ],
)
def test_a_folder_that_the_role_may_have(found: dict[str, Any]) -> None:
    assert host_problems({"choria_broker": False}, "b1", {}, [found]) == []
