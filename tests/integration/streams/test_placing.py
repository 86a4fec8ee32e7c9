# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Replicas and placements without enough servers: the plan refuses them or warns, and the server decides."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.choria.streams.plugins.module_utils._api import streams
from ansible_collections.choria.streams.plugins.module_utils._errors import ApiError, Refused
from ansible_collections.choria.streams.plugins.module_utils._operations.backup.backup import backup
from ansible_collections.choria.streams.plugins.module_utils._operations.backup.restore import restore
from ansible_collections.choria.streams.plugins.module_utils._resources.kv.bucket import BUCKET
from ansible_collections.choria.streams.plugins.module_utils._resources.stream.stream import STREAM
from support.cluster import nats_cluster
from support.in_process import result_of
from support.manage import Manager
from support.server import NatsServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.once

# Users with the least permissions for choria_stream, without and with the permission to list servers
LEAST = ["$JS.API.INFO", "$JS.API.STREAM.>"]
ACCOUNTS = {
    "A": {
        "jetstream": "enabled",
        "users": [
            {"user": "u", "password": "p"},
            {"user": "least", "password": "p", "permissions": {"publish": LEAST, "subscribe": "_INBOX.>"}},
            {
                "user": "asks",
                "password": "p",
                "permissions": {"publish": [*LEAST, "$SYS.REQ.ACCOUNT.PING.STATZ"], "subscribe": "_INBOX.>"},
            },
        ],
    }
}


@pytest.fixture(scope="module", params=["latest", "2.10"])
def servers(request: pytest.FixtureRequest) -> Iterator[list[NatsServer]]:
    version = None if request.param == "latest" else request.param
    with nats_cluster(3, version, {"accounts": ACCOUNTS}) as servers:
        yield servers


def as_user(servers: list[NatsServer], user: str) -> Manager:
    return Manager(servers=servers[0].url, user=user, password="p")


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"placement": {"cluster": "C9"}}, "placement: 1 copy needs as many servers, and no server of cluster C9 answered"),
    ({"placement": {"tags": ["n:9"]}}, "placement: 1 copy needs as many servers, and no server with tag n:9 answered"),
    (
        {"replicas": 2, "placement": {"cluster": "C1", "tags": ["n:1", "n:2"]}},
        "placement: 2 copies need as many servers, and no server of cluster C1 with tags n:1, n:2 answered: there are "
        "n1 (cluster C1, n:1), n2 (cluster C1, n:2), n3 (cluster C1, n:3) (JetStream error 10005). Choose another "
        "placement, or add servers to the cluster.",
    ),
    (
        {"replicas": 3, "placement": {"tags": ["n:3"]}},
        "placement: 3 copies need as many servers, and 1 server with tag",
    ),
]


@pytest.mark.parametrize("user", ["u", "asks"])
@pytest.mark.parametrize(("given", "reason"), REFUSED, ids=str)
def test_plan_refuses_as_servers_do(servers: list[NatsServer], user: str, given: dict[str, Any], reason: str) -> None:
    with as_user(servers, user) as manager:
        with pytest.raises(Refused) as refused:
            manager.plan(STREAM if user == "u" else BUCKET, name="NEW", **given)
        assert refused.value.message.startswith(reason)
        assert refused.value.failure["err_code"] == 10005
        config = {"placement": given["placement"], "num_replicas": given.get("replicas", 1)}
        with pytest.raises(ApiError) as api:
            streams.create(manager.session, {"name": "NEW", **config})
        assert api.value.err_code == 10005


def test_servers_that_are_down_give_a_warning(servers: list[NatsServer]) -> None:
    """Since nats-server 2.11, servers that are down count too, so more replicas than running servers may be
    accepted.
    """
    with as_user(servers, "u") as manager:
        if manager.session.server.version < (2, 11):
            with pytest.raises(
                Refused, match=r"^replicas: 5 copies need as many servers, and 3 servers answered: there"
            ):
                manager.plan(STREAM, name="NEW", replicas=5)
        else:
            [warning] = manager.plan(STREAM, name="NEW", replicas=5).warnings
            assert warning.endswith("The server refuses that unless others are down now (JetStream error 10005).")
        with pytest.raises((Refused, ApiError), match="JetStream error 10005"):
            manager.apply(STREAM, name="NEW", replicas=5)


def test_without_the_right_to_ask_the_server_refuses(servers: list[NatsServer]) -> None:
    """The plan promises nothing, and the server's refusal says what to change."""
    with as_user(servers, "least") as manager:
        plan = manager.plan(STREAM, name="NEW", replicas=5)
        assert (plan.action, plan.warnings) == ("create", ())
        with pytest.raises(ApiError, match=r"Give fewer replicas, or add servers to the cluster \(options replicas"):
            manager.apply(STREAM, name="NEW", replicas=5)


def test_placements_that_fit_are_accepted(servers: list[NatsServer]) -> None:
    with as_user(servers, "asks") as manager:
        for given in ({"replicas": 3}, {"placement": {"tags": ["N:2"], "cluster": "C1"}}):
            assert not manager.apply(STREAM, name="FITS", subjects=["fits"], **given).warnings
            streams.delete(manager.session, "FITS")


def test_a_server_that_is_down() -> None:
    """Since nats-server 2.11, its replica is created when it is back. The user made no mistake."""
    with nats_cluster(3) as servers, Manager(servers=servers[0].url) as manager:
        servers[2].shutdown()
        plan = manager.apply(STREAM, name="THREE", subjects=["three"], replicas=3, wait=False)
        [warning] = plan.warnings
        assert warning.startswith("replicas: 3 copies need as many servers, and 2 servers answered: there are n1 ")
        assert manager.config("THREE")["num_replicas"] == 3


def test_a_document_asks_once(servers: list[NatsServer]) -> None:
    wanted = [{"name": f"S{number}", "placement": {"tags": [f"x:{number}"]}} for number in range(4)]
    arguments = {"streams": wanted, "servers": servers[0].url, "user": "u", "password": "p"}
    result = result_of("choria_resources", {**arguments, "owner": "me"}, check_mode=True)
    assert result["msg"].count("JetStream error 10005") == 4


def test_restore_on_a_single_server(tmp_path: Path) -> None:
    for version in ("2.10", None):
        with NatsServer(version=version) as server, Manager(servers=server.url) as manager:
            manager.apply(STREAM, name="S", subjects=["s"])
            given = {"stream": "S", "path": str(tmp_path / str(version)), "consumers": True}
            path = backup(manager.session, {**given, "check_messages": False, "force": False}, False)["backup"]["path"]
            streams.delete(manager.session, "S")
            with pytest.raises(Refused, match=r"^replicas: 3 copies are not possible, .* is a single server"):
                restore(manager.session, {"path": path, "replicas": 3, "consumers": True}, True)


def test_restore_beyond_the_account(tmp_path: Path) -> None:
    users = [{"user": "u", "password": "p"}]
    limits = {"max_streams": 1, "max_file": 1 << 30, "max_memory": 1 << 20}
    config = {"accounts": {"A": {"jetstream": limits, "users": users}}}
    with NatsServer(config) as server, Manager(servers=server.url, user="u", password="p") as manager:
        manager.apply(STREAM, name="S", subjects=["s"])
        given = {"stream": "S", "path": str(tmp_path), "consumers": True, "check_messages": False, "force": False}
        path = backup(manager.session, given, False)["backup"]["path"]
        with pytest.raises(
            Refused, match=r"^stream: the account may have 1 streams, and has 1 \(JetStream error 10027"
        ):
            restore(manager.session, {"path": path, "stream": "T", "subjects": ["t"], "consumers": True}, True)
