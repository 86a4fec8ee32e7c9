# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The release of the JetStream at the API prefix decides what is possible, not that of the connected server."""

from __future__ import annotations

import time
from typing import Any

import pytest

from ansible_collections.choria.streams.plugins.module_utils._api import messages, streams
from ansible_collections.choria.streams.plugins.module_utils._api import replicas as moves
from ansible_collections.choria.streams.plugins.module_utils._api.kv import kv, kv_snapshot
from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from ansible_collections.choria.streams.plugins.module_utils._errors import ApiError, NoAnswer, Refused
from ansible_collections.choria.streams.plugins.module_utils._resources.consumer.consumer import CONSUMER
from ansible_collections.choria.streams.plugins.module_utils._resources.stream.stream import STREAM
from support.cluster import nats_cluster, step_down
from support.connect import settings
from support.infos import leader_of
from support.manage import Manager
from support.regions import HUB, leaf_of
from support.server import NatsServer

pytestmark = pytest.mark.once

LATEST = None


@pytest.mark.parametrize("hub_version", [LATEST, "2.14"])
def test_a_hub_that_is_newer(hub_version: str | None) -> None:
    given: dict[str, Any] = {"name": "NEW", "subjects": ["new.*"], "allow_msg_ttl": True}
    with (
        NatsServer({"server_name": "london", **HUB}, version=hub_version) as hub,
        leaf_of(hub, "2.10") as leaf,
        Manager(servers=leaf.url, domain="london") as london,
        Manager(servers=leaf.url, domain="paris") as paris,
    ):
        london.apply(STREAM, **given)
        assert london.config("NEW")["allow_msg_ttl"]
        assert not london.plan(STREAM, **given).changed
        # The rules for updates are those of the hub too: before 2.12 it refuses this update
        london.apply(STREAM, name="NEW", max_consumers=7)
        london.apply(CONSUMER, stream="NEW", name="C", paused_until="2100-01-01T00:00:00Z")
        # The leaf's own domain does not show an API level
        with pytest.raises(Refused, match=r"^allow_msg_ttl .* the server behind \$JS\.paris\.API has level 0 \(nats"):
            paris.plan(STREAM, **given)


def test_a_hub_that_is_older() -> None:
    with (
        NatsServer({"server_name": "london", **HUB}, version="2.10") as hub,
        leaf_of(hub) as leaf,
        Manager(servers=leaf.url, domain="london") as london,
        Manager(servers=leaf.url, api_prefix="$JS.london.API") as by_prefix,
        Manager(servers=leaf.url) as paris,
    ):
        given: dict[str, Any] = {"name": "NEW", "subjects": ["new.*"], "allow_msg_ttl": True}
        for manager in (london, by_prefix):
            with pytest.raises(Refused) as refusal:
                manager.plan(STREAM, **given)
            assert refusal.value.message == (
                "allow_msg_ttl needs nats-server 2.11.0 (API level 1), and the server behind $JS.london.API has level "
                "0 (nats-server 2.10.0): leave the option out, or upgrade the server."
            )
        assert paris.plan(STREAM, **given).action == "create"

        # The stream of a single server shows that the server is single. 2.10 would accept more replicas and create none
        london.apply(STREAM, name="OLD", subjects=["old"])
        with pytest.raises(Refused, match=r"^replicas: 3 copies are not possible, london is a single server"):
            london.plan(STREAM, name="OLD", replicas=3)
        with pytest.raises(ApiError, match=r"replicas: 1, or use a cluster") as copies:
            london.apply(STREAM, name="MORE", subjects=["more"], replicas=3)
        assert copies.value.err_code == 10074


def test_a_level_that_can_not_be_asked_for() -> None:
    """Then the connected server's level counts. It is requested once."""
    users = [{"user": "u", "password": "p", "permissions": {"publish": {"deny": "$JS.london.API.INFO"}}}]
    with (
        NatsServer({"server_name": "london", **HUB}) as hub,
        leaf_of(hub, "2.10", {"authorization": {"users": users}}) as leaf,
        Manager(servers=leaf.url, user="u", password="p", domain="london") as london,
    ):
        london.apply(STREAM, name="S")
        with pytest.raises(Refused, match=r"^allow_msg_ttl needs .* and this server runs 2\.10\."):
            london.plan(STREAM, name="S", allow_msg_ttl=True)


def test_asked_once_also_in_check_mode() -> None:
    with (
        NatsServer({"server_name": "london", **HUB}, trace=True) as hub,
        leaf_of(hub, "2.14") as leaf,
        Session(settings(servers=leaf.url, domain="london"), read_only=True) as session,
    ):
        # Publishing needs no API level
        assert session.connected.version[:2] == (2, 14)
        assert "[LMSG $JS.london.API.INFO" not in hub.log()
        assert [session.server.version for _time in range(3)] == [(2, 15, 0)] * 3
        assert hub.log().count("[LMSG $JS.london.API.INFO") == 1


def test_copies_in_a_cluster_behind_a_lone_leaf() -> None:
    with (
        nats_cluster(config=HUB) as hubs,
        leaf_of(hubs[0], "2.14") as leaf,
        Manager(servers=leaf.url, domain="london") as london,
    ):
        for replicas in (3, 1):
            london.apply(STREAM, name="COPIES", subjects=["copies"], replicas=replicas)
            info = streams.info(london.session, "COPIES")
            assert info
            assert moves.current(info)
            assert len(streams.cluster_of(info).get("replicas") or []) == replicas - 1


def test_a_wrong_domain_behind_a_leaf_without_jetstream() -> None:
    """The leaf needs no JetStream, so the error must not give that as its reason."""
    with (
        NatsServer({"server_name": "london", **HUB}) as hub,
        leaf_of(hub, "2.14", jetstream=False) as leaf,
        Manager(servers=leaf.url, domain="london") as london,
        Manager(servers=leaf.url, domain="mars") as mars,
    ):
        london.apply(STREAM, name="S", allow_batched=True)
        with pytest.raises(NoAnswer, match=r"^Nobody answers at the JetStream API prefix \$JS\.mars\.API: check do"):
            mars.plan(STREAM, name="S")


def test_a_cluster_that_is_being_upgraded() -> None:
    """The connected server is new, and replicas of an older release answer some reads. Nothing is miscounted."""
    with nats_cluster(version=[LATEST, "2.10", "2.10"]) as servers, Manager(servers=servers[0].url) as manager:
        session = manager.session
        manager.apply(STREAM, name="S", subjects=["s.>"], replicas=3, allow_direct=True)
        bucket = {"name": "KV_B", "subjects": ["$KV.B.>"], "num_replicas": 3, "allow_direct": True}
        moves.wait_until_current(session, streams.create(session, bucket)["config"]["name"], 60)
        keys = [f"k{number}" for number in range(10)]
        for key in keys:
            messages.publish(session, "Filling", f"s.{key}", b"old", again=False, taken=True)
            messages.publish(session, "Filling", f"$KV.B.{key}", b"1", again=False, taken=True)
        time.sleep(1.1)
        messages.publish(session, "Filling", "s.new", b"new", taken=True)
        step_down_to_old(session, "S")
        with pytest.raises(Refused, match=r"max_age 1s would lose 1[01] messages"):
            manager.plan(STREAM, name="S", max_age="1s")
        where = kv.open_bucket(session, "B")[0]
        for _time in range(8):  # any replica may answer
            assert sorted(kv.last_many(session, where, keys)) == keys
            assert sorted(kv_snapshot.snapshot(session, where, "")) == keys


def step_down_to_old(session: Session, stream: str) -> None:
    while leader_of(session, stream) not in ("n2", "n3"):
        if leader_of(session, stream):
            step_down(session, stream)
        moves.wait_until_current(session, stream, 60)
