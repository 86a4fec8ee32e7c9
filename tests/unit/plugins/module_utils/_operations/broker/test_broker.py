# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The reasons why a broker is not healthy, from its statistics and the result of the test connection.

tests/interop asks real brokers."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.choria.streams.plugins.module_utils._operations.broker.broker import (
    Client,
    Statistics,
    client_problems,
    cluster_problems,
    facts,
)

SECOND = 1_000_000_000
HEALTHY = Client(signed_in=True, jetstream=True)
B2, B3 = ({"name": name, "current": True, "active": SECOND // 2} for name in ("b2", "b3"))


def statistics(*, leader: str = "b1", peers: Any = (B2, B3), health: str = "ok", **stream: Any) -> Statistics:
    cluster = {"leader": "b1", "replicas": [B2, B3], **stream}
    detail = {"name": "EVENTS", "config": {"num_replicas": 3}, "cluster": cluster}
    single = {"name": "ONE", "config": {"num_replicas": 1}, "cluster": {"leader": ""}}
    return Statistics(
        {"server_name": "b1", "port": 4222, "cluster": {"name": "CHORIA", "cluster_port": 5222}},
        {"status": health, "error": "" if health == "ok" else "JetStream stream 'EVENTS' is not current"},
        {
            "meta_cluster": {"leader": leader, "replicas": list(peers), "cluster_size": len(peers) + 1},
            "account_details": [{"stream_detail": [detail, single]}],
        },
    )


def wrong(found: Statistics, client: Client = HEALTHY, peers: Any = ("b1", "b2", "b3")) -> list[str]:
    return [*cluster_problems(found, peers), *client_problems(client)]


def test_a_healthy_broker_has_no_problem() -> None:
    assert wrong(statistics()) == []


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (
            statistics(health="unavailable"),
            "it reports that it is not healthy: JetStream stream 'EVENTS' is not current",
        ),
        (statistics(leader=""), "its cluster has no leader"),
        (statistics(peers=(B2,)), "the cluster lacks b3"),
        (statistics(peers=(B2, {**B3, "offline": True})), "the cluster lacks b3"),
        (statistics(peers=(B2, {**B3, "active": 9 * SECOND})), "the cluster lacks b3"),
        # A leader that never heard of it
        (statistics(peers=(B2, {"name": "b3", "current": False, "active": 0})), "the cluster lacks b3"),
        (statistics(peers=(B2, B3, {"name": "b4", "offline": True})), "the cluster still counts b4"),
    ],
)
def test_problems_in_statistics_are_reported(found: Statistics, says: str) -> None:
    assert says in " ".join(wrong(found))


def test_a_stream_without_a_leader() -> None:
    found = statistics()
    found.streams["account_details"][0]["stream_detail"][0]["cluster"]["leader"] = ""
    assert wrong(found) == ["stream EVENTS has no leader"]


def test_a_stream_that_lacks_a_copy() -> None:
    assert wrong(statistics(replicas=[B2, {**B3, "active": 9 * SECOND}])) == ["stream EVENTS lacks its copy on b3"]
    # Another broker leads it, and says so itself
    found = statistics(replicas=[B2, {**B3, "active": 9 * SECOND}])
    found.streams["account_details"][0]["stream_detail"][0]["cluster"]["leader"] = "b2"
    assert wrong(found) == []


def test_streams_that_lack_the_same_copy_are_named_together() -> None:
    found = statistics(replicas=[B2, {**B3, "active": 9 * SECOND}])
    details = found.streams["account_details"][0]["stream_detail"]
    details.append({**details[0], "name": "AUDIT"})
    assert wrong(found) == ["streams AUDIT, EVENTS lack their copies on b3"]


def test_only_the_leader_knows_which_brokers_there_are() -> None:
    assert wrong(statistics(leader="b2", peers=())) == []


def test_one_broker_needs_no_cluster() -> None:
    assert wrong(statistics(leader="", peers=()), peers=("b1",)) == []
    assert wrong(statistics(leader="", peers=()), peers=None) == []


@pytest.mark.parametrize(
    ("client", "says"),
    [
        (Client(signed_in=False, jetstream=None, problem="its certificate has expired"), "its certificate has expired"),
        (Client(signed_in=True, jetstream=False), "JetStream does not answer"),
    ],
)
def test_problems_of_the_client_are_reported(client: Client, says: str) -> None:
    assert wrong(statistics(), client) == [f"clients can't use it: {says}"]


def test_untried_checks_are_no_problem() -> None:
    assert wrong(statistics(), Client(signed_in=None, jetstream=True, problem="cryptography is needed")) == []
    assert wrong(statistics(), Client(signed_in=True, jetstream=None, problem="not allowed")) == []


def test_the_result_names_the_cluster_and_what_the_broker_leads() -> None:
    found = facts(statistics(peers=(B2, {**B3, "offline": True})))
    assert found["cluster"] == {
        "name": "CHORIA",
        "peer_port": 5222,
        "leader": "b1",
        "size": 3,
        "peers": ["b1", "b2", "b3"],
        "offline": ["b3"],
    }
    assert (found["identity"], found["client_port"], found["led"]) == ("b1", 4222, ["EVENTS"])


def test_only_the_leader_of_a_stream_shows_its_settings() -> None:
    found = statistics()
    [detail, single] = found.streams["account_details"][0]["stream_detail"]
    detail["config"] = {"num_replicas": 3, "max_age": 90 * SECOND}
    assert facts(found)["streams"] == [{"name": "EVENTS", "replicas": 3, "max_age": 90.0}]
    # This copy may be older than that of the leader
    detail["cluster"]["leader"] = "b2"
    assert facts(found)["streams"] == []
    # A server without a cluster
    del single["cluster"]
    assert facts(found)["streams"] == [{"name": "ONE", "replicas": 1, "max_age": 0.0}]
