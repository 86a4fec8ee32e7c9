# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The plan refuses changes that an account, a server or a work queue does not allow, as the server would."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.choria.streams.plugins.module_utils._api import consumers, streams
from ansible_collections.choria.streams.plugins.module_utils._errors import ApiError, OptionError, Refused
from ansible_collections.choria.streams.plugins.module_utils._resources.consumer.consumer import CONSUMER
from ansible_collections.choria.streams.plugins.module_utils._resources.kv.bucket import BUCKET
from ansible_collections.choria.streams.plugins.module_utils._resources.stream.stream import STREAM
from support.cluster import nats_cluster
from support.credentials import Operator
from support.manage import Manager
from support.server import NatsServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.once

MIB = 1 << 20
LIMITS = {
    "max_memory": 2 * MIB,
    "max_file": 10 * MIB,
    "max_streams": 4,
    "max_consumers": 2,
    "max_bytes": True,
    "disk_max_stream_bytes": 8 * MIB,
    "max_ack_pending": 50,
}


@pytest.fixture(scope="module", params=["latest", "2.10"])
def manager(request: pytest.FixtureRequest) -> Iterator[Manager]:
    version = None if request.param == "latest" else request.param
    users = [{"user": "u", "password": "p"}]
    config = {"accounts": {"A": {"jetstream": LIMITS, "users": users}}}
    with (
        NatsServer(config, version=version) as server,
        Manager(servers=server.url, user="u", password="p") as manager,
    ):
        manager.apply(STREAM, name="HERE", subjects=["here.>"], max_bytes="6MiB", storage="file")
        yield manager


STREAMS: list[tuple[dict[str, Any], int, str]] = [
    ({}, 10113, "max_bytes: the account requires a limit for each stream: give one (JetStream error 10113)."),
    ({"max_bytes": "9MiB"}, 10122, "max_bytes: 9437184 bytes are more than the 8388608 that the account allows one"),
    (
        {"max_bytes": "5MiB"},
        10047,
        "max_bytes: 5242880 bytes are more than the account allows: its limit of storage is 10485760, of which 6291456 "
        "are reserved for other streams (JetStream error 10047).",
    ),
    ({"max_bytes": "3MiB", "storage": "memory"}, 10028, "max_bytes: 3145728 bytes are more than the account allows"),
    ({"max_bytes": "1MiB", "max_consumers": 3}, 10026, "max_consumers: 3 are more than the 2 that the account allows"),
]


@pytest.mark.parametrize(("given", "err_code", "reason"), STREAMS, ids=str)
def test_a_stream_that_the_account_does_not_allow(
    manager: Manager, given: dict[str, Any], err_code: int, reason: str
) -> None:
    with pytest.raises(Refused) as refused:
        manager.plan(STREAM, name="NEW", **given)
    assert refused.value.message.startswith(reason)
    assert refused.value.failure["err_code"] == err_code
    config = {**given, "max_bytes": int(str(given.get("max_bytes", "-1")).replace("MiB", "")) * MIB}
    with pytest.raises(ApiError) as api:
        streams.create(manager.session, {"name": "NEW", **config})
    assert api.value.err_code == err_code


def test_an_update_counts_the_stream_itself_once(manager: Manager) -> None:
    assert manager.apply(STREAM, name="HERE", max_bytes="8MiB").changed
    with pytest.raises(Refused, match=r"^max_bytes: 9437184 bytes are more than the 8388608"):
        manager.plan(STREAM, name="HERE", max_bytes="9MiB")
    with pytest.raises(Refused, match=r"^max_bucket_size: the account requires a limit for each stream"):
        manager.plan(BUCKET, name="CFG")
    manager.apply(STREAM, name="HERE", max_bytes="6MiB")


def test_the_number_of_streams(manager: Manager) -> None:
    for number in range(3):
        manager.apply(STREAM, name=f"S{number}", max_bytes=1000)
    with pytest.raises(Refused, match=r"^name: the account may have 4 streams, and has 4 \(JetStream error 10027\)\.$"):
        manager.plan(STREAM, name="S3", max_bytes=1000)
    with pytest.raises(Refused, match=r"^recreate: the account may have 4 streams, and has 4: a new configuration is"):
        manager.plan(STREAM, name="S0", max_bytes=1000, storage="memory", recreate="true")
    streams.delete(manager.session, "S2")
    wanted = {"name": "S0", "max_bytes": 1000, "storage": "memory"}
    if manager.session.server.version >= (2, 12):
        with pytest.raises(Refused, match=r"^recreate: the account requires max_bytes of each stream"):
            manager.plan(STREAM, **wanted, recreate="copy")
    assert manager.apply(STREAM, **wanted, recreate="true").changed
    for number in range(2):
        streams.delete(manager.session, f"S{number}")


def test_consumers(manager: Manager) -> None:
    plan = manager.plan(CONSUMER, stream="HERE", name="c0")
    assert plan.after
    assert plan.after["max_ack_pending"] == 50
    with pytest.raises(OptionError, match=r"^max_ack_pending: 51 are more than the 50 that the stream or the account"):
        manager.plan(CONSUMER, stream="HERE", name="c0", max_ack_pending=51)
    for number in range(2):
        manager.apply(CONSUMER, stream="HERE", name=f"c{number}")
    with pytest.raises(Refused, match=r"^name: stream HERE may have 2 consumers, by its own limit or the account's"):
        manager.plan(CONSUMER, stream="HERE", name="c2")
    with pytest.raises(ApiError) as api:
        consumers.create(manager.session, "HERE", {"durable_name": "c2", "ack_policy": "explicit"})
    assert api.value.err_code == 10026
    with pytest.raises(Refused, match=r"^name: stream HERE may have 2 consumers"):
        manager.plan(CONSUMER, stream="HERE", name="c1", max_waiting=7, recreate=True)


def test_limits_of_the_server_are_named() -> None:
    """The account's limits may be higher than those of its server."""
    with NatsServer({"jetstream": {"max_file_store": 10 * MIB}}) as server, Manager(servers=server.url) as manager:
        assert manager.plan(STREAM, name="BIG", max_bytes="11MiB").changed
        with pytest.raises(Refused) as refused:
            manager.apply(STREAM, name="BIG", max_bytes="11MiB")
        assert refused.value.message == (
            "max_bytes: Creating stream BIG: insufficient storage resources available: that is the limit of the server,"
            " and not of the account (JetStream error 10047). Lower max_bytes, delete what nobody needs, or raise "
            "max_file_store of the server."
        )


TIERS = {
    "R1": {"mem_storage": 0, "disk_storage": 10 * MIB, "streams": 2, "consumer": 1},
    "R3": {"mem_storage": 0, "disk_storage": 4 * MIB, "streams": -1, "consumer": -1, "max_bytes_required": True},
}
IN_TIERS: list[tuple[dict[str, Any], int, str]] = [
    ({"replicas": 2}, 10120, "replicas: the account has no limits for 2 copies (JetStream error 10120)."),
    ({"replicas": 3}, 10113, "max_bytes: the account requires a limit for each stream: give one"),
    (
        {"replicas": 3, "max_bytes": "3MiB"},
        10047,
        "max_bytes: 3145728 bytes are more than the account allows: its limit of storage is 4194304, of which 2097152 "
        "are reserved for other streams (JetStream error 10047).",
    ),
    ({"max_bytes": "11MiB"}, 10047, "max_bytes: 11534336 bytes are more than the account allows: its limit of storage"),
]


@pytest.mark.parametrize("version", [None, "2.10"])
def test_tiers(version: str | None, tmp_path: Path) -> None:
    """Limits of an account that differ by the number of copies."""
    operator = Operator.make(tmp_path, TIERS)
    with (
        nats_cluster(3, version, operator.server_config) as servers,
        Manager(servers=servers[0].url, creds=str(operator.creds)) as manager,
    ):
        manager.apply(STREAM, name="HERE", subjects=["here"], replicas=3, max_bytes="2MiB")
        for given, err_code, reason in IN_TIERS:
            with pytest.raises(Refused) as refused:
                manager.plan(STREAM, name="NEW", **given)
            assert refused.value.message.startswith(reason)
            assert refused.value.failure["err_code"] == err_code
            config = {"max_bytes": int(str(given.get("max_bytes", "-1")).replace("MiB", "")) * MIB}
            with pytest.raises(ApiError) as api:
                streams.create(manager.session, {"name": "NEW", "num_replicas": given.get("replicas", 1), **config})
            assert api.value.err_code == err_code
        # Changes of the number of copies, and so of the tier
        manager.apply(STREAM, name="ONE", subjects=["one"], max_bytes="3MiB")
        with pytest.raises(Refused, match=r"^max_bytes: 3145728 bytes are more than the account allows: its limit of"):
            manager.plan(STREAM, name="ONE", replicas=3)
        assert manager.plan(STREAM, name="ONE", replicas=3, max_bytes="1MiB").changed
        if version == "2.10":
            with pytest.raises(Refused, match=r"available: of the account or of the server \(JetStream error 10047\)"):
                manager.apply(STREAM, name="ONE", replicas=3, max_bytes="1MiB")
        else:
            assert manager.apply(STREAM, name="ONE", replicas=3, max_bytes="1MiB").changed
