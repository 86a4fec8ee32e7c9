# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Servers that confirm a request and do not apply it, or apply more than requested, and how the modules handle it.

If one of these tests fails with a new server, change the rules in the tables of resources. test_losses.py tests
what deletes messages, and test_tables.py what each field does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.choria.streams.plugins.module_utils._api import consumers, streams
from ansible_collections.choria.streams.plugins.module_utils._errors import ApiError, Refused
from ansible_collections.choria.streams.plugins.module_utils._resources.consumer.consumer import CONSUMER
from ansible_collections.choria.streams.plugins.module_utils._resources.kv.bucket import BUCKET
from ansible_collections.choria.streams.plugins.module_utils._resources.stream.stream import STREAM
from support.infos import stream_info
from support.manage import Manager
from support.server import NatsServer
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.once

FAR = "2126-01-01T00:00:00Z"


@pytest.fixture(scope="module", params=["latest", "2.14", "2.10"])
def manager(request: pytest.FixtureRequest) -> Iterator[Manager]:
    version = None if request.param == "latest" else request.param
    with NatsServer(version=version) as server, Manager(servers=server.url) as manager:
        yield manager


def is_bound(manager: Manager) -> bool:
    info = consumers.info(manager.session, "PUSHED", "c")
    return bool(info and info.get("push_bound"))


def test_to_create_what_is_there(manager: Manager) -> None:
    """The server accepts the same configuration without effect, and refuses another one. The module updates instead."""
    session, config = manager.session, {"name": "THERE", "subjects": ["there"]}
    created = streams.create(session, config)["created"]
    assert streams.create(session, config)["created"] == created
    with pytest.raises(ApiError) as refusal:
        streams.create(session, {**config, "max_msgs": 7})
    assert refusal.value.err_code == 10058
    consumer = {"durable_name": "c", "ack_policy": "explicit"}
    consumers.create(session, "THERE", consumer)
    consumers.create(session, "THERE", consumer)
    with pytest.raises(ApiError) as refusal:
        consumers.create(session, "THERE", {**consumer, "max_deliver": 7})
    assert refusal.value.err_code == 10148
    with pytest.raises(ApiError) as refusal:
        consumers.update(session, "THERE", {**consumer, "durable_name": "other"})
    assert refusal.value.err_code == 10149
    assert manager.apply(STREAM, name="THERE", max_msgs=7).action == "update"
    assert manager.apply(CONSUMER, stream="THERE", name="c", max_deliver=7).action == "update"
    assert stream_info(manager.session, "THERE")["created"] == created


def test_unknown_fields(manager: Manager) -> None:
    """Servers since 2.12 refuse them, earlier ones ignore them. So a field that a server does not know is never
    sent.
    """
    config = {"name": "STRANGE", "subjects": ["strange"], "no_such_field": 1}
    if manager.session.server.version >= (2, 12):
        with pytest.raises(ApiError) as refusal:
            streams.create(manager.session, config)
        assert refusal.value.err_code == 10025
    else:
        assert "no_such_field" not in streams.create(manager.session, config)["config"]
        with pytest.raises(Refused, match=r"^allow_msg_ttl needs nats-server 2\.11\.0 \(API level 1\), and this"):
            manager.plan(STREAM, name="STRANGE", allow_msg_ttl=True)
        planned = manager.plan(STREAM, name="STRANGE", allow_msg_ttl=False, max_msgs=7)
        assert "allow_msg_ttl" not in planned.request


def test_copies_on_a_lone_server(manager: Manager) -> None:
    """Some servers accept them and report them, but do not have them. The module checks the kind of server instead."""
    manager.apply(STREAM, name="ALONE", subjects=["alone"])
    wanted = {**manager.config("ALONE"), "num_replicas": 3}
    try:
        answer = streams.update(manager.session, wanted)
    except ApiError as refusal:
        assert refusal.err_code == 10074
    else:
        assert manager.session.server.version < (2, 15)
        assert answer["config"]["num_replicas"] == 3
        assert not (stream_info(manager.session, "ALONE").get("cluster") or {}).get("replicas")
        streams.update(manager.session, {**wanted, "num_replicas": 1})
    with pytest.raises(Refused, match=r"^replicas: 3 copies are not possible, .* is a single server and no cluster"):
        manager.plan(STREAM, name="ALONE", replicas=3)


def test_a_bucket_whose_stream_got_limits(manager: Manager) -> None:
    """Limits of messages are removed, and limits of consumers where the server can change them. They cause no
    refusal.
    """
    limited = {"name": "KV_LIMITED", "subjects": ["$KV.LIMITED.>"], "max_msgs": 7, "max_consumers": 3}
    streams.create(manager.session, limited)
    changeable = manager.session.server.version >= (2, 12)
    if not changeable:
        with pytest.raises(ApiError) as refusal:
            streams.update(manager.session, {**limited, "max_consumers": -1})
        assert refusal.value.err_code == 10052
    changed = {change.field for change in manager.apply(BUCKET, name="LIMITED").changes}
    assert changed & {"max_msgs", "max_consumers"} == ({"max_msgs", "max_consumers"} if changeable else {"max_msgs"})
    config = manager.config("KV_LIMITED")
    assert (config["max_msgs"], config["max_consumers"]) == (-1, -1 if changeable else 3)
    assert not manager.plan(BUCKET, name="LIMITED").changed


def test_pedantic_mode_refuses_values_that_the_server_would_change(manager: Manager) -> None:
    """In pedantic mode the server refuses values that it would otherwise change. Creations and updates use that
    mode.
    """
    stream: dict[str, Any] = {"name": "STRICT", "subjects": ["strict"], "max_age": "30s", "pedantic": True}
    consumer: dict[str, Any] = {"stream": "STRICT", "name": "c", "pedantic": True}
    if manager.session.server.version < (2, 11):
        with pytest.raises(
            Refused, match=r"^pedantic needs nats-server 2\.11\.0 \(API level 1\), and this server runs"
        ):
            manager.plan(STREAM, **stream)
        manager.apply(STREAM, **{**stream, "pedantic": False})
        with pytest.raises(
            Refused, match=r"^pedantic needs nats-server 2\.11\.0 \(API level 1\), and this server runs"
        ):
            manager.plan(CONSUMER, **consumer)
        return
    with pytest.raises(ApiError, match=r"pedantic mode: duplicate window") as refusal:
        manager.apply(STREAM, **stream)
    assert refusal.value.err_code == 10157
    stream.update(duplicate_window="30s", consumer_limits={"max_ack_pending": 50, "inactive_threshold": "1h"})
    assert manager.apply(STREAM, **stream).action == "create"
    assert not manager.plan(STREAM, **stream).changed
    assert manager.apply(STREAM, **stream, description="x").action == "update"
    assert "pedantic" not in manager.config("STRICT")

    with pytest.raises(ApiError, match=r"pedantic mode: ") as refusal:
        manager.apply(CONSUMER, **consumer)
    assert refusal.value.err_code == 10157
    consumer.update(max_ack_pending=50, inactive_threshold="1h")
    assert manager.apply(CONSUMER, **consumer).action == "create"
    assert not manager.plan(CONSUMER, **consumer).changed
    with pytest.raises(ApiError, match=r"pedantic mode: ") as refusal:
        streams.update(manager.session, {**manager.config("STRICT"), "duplicate_window": 0, "pedantic": True})
    assert refusal.value.err_code == 10157
    assert manager.apply(CONSUMER, **consumer, description="x").action == "update"
    assert manager.apply(STREAM, name="STRICT", state="absent", pedantic=True, allow_data_loss=True).action == "delete"


def test_a_pause_by_update(manager: Manager) -> None:
    """The server accepts it without effect, so the module uses the API call for pauses."""
    if manager.session.server.version < (2, 11):
        with pytest.raises(Refused, match=r"^paused_until needs nats-server 2\.11\.0"):
            manager.apply(STREAM, name="PAUSED", subjects=["paused"])
            manager.plan(CONSUMER, stream="PAUSED", name="c", paused_until=FAR)
        return
    manager.apply(STREAM, name="PAUSED", subjects=["paused"])
    manager.apply(CONSUMER, stream="PAUSED", name="c")
    config = {"durable_name": "c", "ack_policy": "explicit", "pause_until": FAR}
    consumers.update(manager.session, "PAUSED", config)
    info = consumers.info(manager.session, "PAUSED", "c")
    assert info
    assert not info.get("paused")
    manager.apply(CONSUMER, stream="PAUSED", name="c", paused_until=FAR)
    info = consumers.info(manager.session, "PAUSED", "c")
    assert info
    assert info["paused"]


def test_to_deliver_elsewhere_under_a_listener(manager: Manager) -> None:
    """The server refuses it as long as there is a listener, which the consumer's info shows."""
    manager.apply(STREAM, name="PUSHED", subjects=["pushed"])
    manager.apply(CONSUMER, stream="PUSHED", name="c", deliver_subject="deliver.here")
    manager.session.subscribe("deliver.here")
    try:
        wait_until(lambda: is_bound(manager))
        elsewhere = {"stream": "PUSHED", "name": "c", "deliver_subject": "deliver.there"}
        with pytest.raises(Refused) as ours:
            manager.plan(CONSUMER, **elsewhere)
        assert ours.value.message == (
            "deliver_subject of consumer c can't be changed while somebody listens on deliver.here (JetStream error "
            "10013): end that first."
        )
        config = {"durable_name": "c", "ack_policy": "explicit", "deliver_subject": "deliver.there"}
        with pytest.raises(ApiError) as theirs:
            consumers.update(manager.session, "PUSHED", config)
        assert theirs.value.err_code == ours.value.failure["err_code"] == 10013
        # All other fields may change
        assert manager.apply(CONSUMER, stream="PUSHED", name="c", max_deliver=7).action == "update"
    finally:
        manager.session.unsubscribe_all()
    wait_until(lambda: not is_bound(manager))
    manager.apply(CONSUMER, **elsewhere)
    info = consumers.info(manager.session, "PUSHED", "c")
    assert info
    assert info["config"]["deliver_subject"] == "deliver.there"


def test_a_first_sequence_by_update(manager: Manager) -> None:
    """The server accepts and reports it, but the next message gets the next sequence."""
    manager.apply(STREAM, name="FIRST", subjects=["first"])
    answer = streams.update(manager.session, {**manager.config("FIRST"), "first_seq": 100})
    assert answer["config"]["first_seq"] == 100
    manager.session.request("first", b"x")
    assert stream_info(manager.session, "FIRST")["state"]["first_seq"] == 1
    with pytest.raises(Refused, match=r"^first_seq of stream FIRST can't be changed from 100 to 200: that has no"):
        manager.plan(STREAM, name="FIRST", first_seq=200)


def test_interest_without_consumers_is_asked_for(manager: Manager) -> None:
    """2.15 deletes all messages, 2.14 keeps them. The module requires allow_data_loss with both."""
    manager.apply(STREAM, name="NOBODY", subjects=["nobody"])
    manager.session.request("nobody", b"x")
    with pytest.raises(Refused, match="retention interest would lose 1 message"):
        manager.plan(STREAM, name="NOBODY", retention="interest")
    manager.apply(STREAM, name="NOBODY", retention="interest", allow_data_loss=True)
    kept = manager.session.server.version < (2, 15)
    assert stream_info(manager.session, "NOBODY")["state"]["messages"] == int(kept)
