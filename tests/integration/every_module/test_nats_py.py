# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The info modules return everything that nats-py creates from its own configurations, and the modules accept it
unchanged.

``CHORIA_STREAMS_EXAMPLES`` is how many random configurations of each kind are tried.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
from itertools import count
from typing import TYPE_CHECKING, Any

import nats
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from nats.js import api
from nats.js.errors import APIError

from ansible_collections.choria.streams.plugins.module_utils._resources.consumer.consumer import CONSUMER
from ansible_collections.choria.streams.plugins.module_utils._resources.kv.bucket import BUCKET
from ansible_collections.choria.streams.plugins.module_utils._resources.stream.stream import STREAM
from support.in_process import result_of
from support.server import NatsServer

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

pytestmark = pytest.mark.once

_MANY = os.environ.get("CHORIA_STREAMS_EXAMPLES")
EXAMPLES = settings(
    max_examples=int(_MANY or 40),
    derandomize=not _MANY,
    database=None,
    deadline=None,
    phases=(Phase.explicit, Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)
_numbers = count()
_flag = st.booleans()
_limit = st.sampled_from([-1, 1, 5, 1000])
_size = st.sampled_from([-1, 100, 1 << 20])
_age = st.sampled_from([0, 0.1, 1, 90.5, 86400])
_text = st.sampled_from(["", "x", "größe"])
_labels = st.dictionaries(st.sampled_from(["team", "a.b"]), _text, max_size=2)

STREAMS: dict[str, st.SearchStrategy[Any]] = {
    "description": _text,
    "retention": st.sampled_from(list(api.RetentionPolicy)),
    "max_consumers": _limit,
    "max_msgs": _limit,
    "max_bytes": _size,
    "discard": st.sampled_from(list(api.DiscardPolicy)),
    "discard_new_per_subject": _flag,
    "max_age": _age,
    "max_msgs_per_subject": _limit,
    "max_msg_size": _size,
    "storage": st.sampled_from(list(api.StorageType)),
    "num_replicas": st.sampled_from([0, 1]),
    "no_ack": _flag,
    "duplicate_window": _age,
    "placement": st.just(api.Placement(cluster="", tags=[])),
    "mirror": st.sampled_from([api.StreamSource("ORIGIN"), api.StreamSource("ORIGIN", filter_subject="origin.a")]),
    "sources": st.lists(st.sampled_from([api.StreamSource("ORIGIN"), api.StreamSource("OTHER", 3)]), max_size=2),
    "deny_delete": _flag,
    "deny_purge": _flag,
    "allow_rollup_hdrs": _flag,
    "republish": st.sampled_from([api.RePublish("", "again.>"), api.RePublish("S.>", "again.>", True)]),
    "subject_transform": st.just(api.SubjectTransform("S.>", "T.>")),
    "allow_direct": _flag,
    "compression": st.sampled_from(list(api.StoreCompression)),
    "metadata": _labels,
    "allow_msg_ttl": _flag,
}
BUCKETS: dict[str, st.SearchStrategy[Any]] = {
    "description": _text,
    "max_value_size": _size,
    "history": st.sampled_from([1, 5, 64]),
    "ttl": _age,
    "max_bytes": _size,
    "storage": st.sampled_from(list(api.StorageType)),
    "replicas": st.just(1),
    "republish": st.just(api.RePublish("", "again.>")),
    "direct": st.sampled_from([None, True, False]),
}
CONSUMERS: dict[str, st.SearchStrategy[Any]] = {
    "description": _text,
    "deliver_policy": st.sampled_from(list(api.DeliverPolicy)),
    "opt_start_seq": st.sampled_from([1, 7]),
    "ack_policy": st.sampled_from(list(api.AckPolicy)),
    "ack_wait": _age,
    "max_deliver": _limit,
    "backoff": st.sampled_from([[1, 5], [0.5]]),
    "filter_subject": st.sampled_from(["S.>", "S.a", "*.b"]),
    "filter_subjects": st.sampled_from([["S.a"], ["S.a", "S.b.*"]]),
    "replay_policy": st.sampled_from(list(api.ReplayPolicy)),
    "rate_limit_bps": st.just(4096),
    "sample_freq": st.sampled_from(["50", "100%"]),
    "max_waiting": st.sampled_from([1, 2000]),
    "max_ack_pending": _limit,
    "flow_control": _flag,
    "idle_heartbeat": st.sampled_from([1, 5.5]),
    "headers_only": _flag,
    "deliver_subject": st.just("to.me"),
    "deliver_group": st.just("group"),
    "inactive_threshold": st.sampled_from(
        [0, 3600]
    ),  # with a lower value, the consumer might be deleted before it is read
    "num_replicas": st.sampled_from([0, 1]),
    "mem_storage": _flag,
    "max_request_batch": st.just(10),
    "max_request_expires": st.just(2),
    "max_request_max_bytes": st.just(1000),
    "metadata": _labels,
}


@st.composite
def values(draw: st.DrawFn, strategies: dict[str, st.SearchStrategy[Any]], kind: type) -> dict[str, Any]:
    """Draw values for a few fields of this release of nats-py. Values for many fields would mostly contradict each
    other.
    """
    known = [field.name for field in dataclasses.fields(kind) if field.name in strategies]
    chosen = draw(st.lists(st.sampled_from(known), unique=True, max_size=4))
    return {name: draw(strategies[name]) for name in chosen}


class Client:
    """nats-py with synchronous calls. ``made`` counts the objects that the server accepted."""

    def __init__(self, server: NatsServer) -> None:
        self.server, self.made = server, 0
        self._loop = asyncio.new_event_loop()
        self._client = self.run(nats.connect(server.url))
        self.streams = self._client.jetstream(timeout=60)

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self._loop.run_until_complete(work)

    def takes(self, work: Coroutine[Any, Any, Any]) -> bool:
        """Return True if client and server accept a call."""
        try:
            self.run(work)
        except (APIError, ValueError):
            return False
        self.made += 1
        return True

    def close(self) -> None:
        self.run(self._client.close())
        self._loop.close()

    def module(self, module: str, arguments: dict[str, Any]) -> dict[str, Any]:
        return result_of(module, {"servers": [self.server.url], **arguments}, check_mode=True)


@pytest.fixture(scope="module", params=["latest", "2.10"])
def client(request: pytest.FixtureRequest) -> Iterator[Client]:
    with NatsServer(version=None if request.param == "latest" else request.param) as server:
        client = Client(server)
        for name in ("ORIGIN", "OTHER"):
            client.run(client.streams.add_stream(name=name, subjects=[f"{name.lower()}.*"]))
        yield client
        client.close()


def unchanged(client: Client, module: str, given: dict[str, Any], kind: Any) -> None:
    """Give the result of an info module to the module, without fields that have no option. Nothing may change."""
    known = {row.option for row in kind.spec}
    options = {option: value for option, value in given.items() if option in known}
    for exact in (False, True):
        result = client.module(module, {**options, "exact": exact})
        assert result.get("changed") is False, (options, result)


def test_streams(client: Client) -> None:
    before = client.made

    @EXAMPLES
    @given(values(STREAMS, api.StreamConfig))
    def example(chosen: dict[str, Any]) -> None:
        name = f"S{next(_numbers)}"
        subjects = [] if "mirror" in chosen else ["S.>"]
        if client.takes(client.streams.add_stream(api.StreamConfig(name=name, subjects=subjects, **chosen))):
            try:
                [info] = client.module("choria_stream_info", {"names": [name]})["streams"]
                unchanged(client, "choria_stream", info, STREAM)
            finally:
                client.run(client.streams.delete_stream(name))

    example()
    assert client.made > before + 10


def test_buckets(client: Client) -> None:
    before = client.made

    @EXAMPLES
    @given(values(BUCKETS, api.KeyValueConfig))
    def example(chosen: dict[str, Any]) -> None:
        name = f"B{next(_numbers)}"
        if client.takes(client.streams.create_key_value(api.KeyValueConfig(bucket=name, **chosen))):
            try:
                [info] = client.module("choria_kv_bucket_info", {"names": [name]})["buckets"]
                unchanged(client, "choria_kv_bucket", info, BUCKET)
            finally:
                client.run(client.streams.delete_key_value(name))

    example()
    assert client.made > before + 10


@pytest.mark.parametrize("retention", ["limits", "workqueue"])
def test_consumers(client: Client, retention: str) -> None:
    before, stream = client.made, f"C{next(_numbers)}"
    client.run(client.streams.add_stream(name=stream, subjects=["S.>"], retention=retention))

    @EXAMPLES
    @given(values(CONSUMERS, api.ConsumerConfig))
    def example(chosen: dict[str, Any]) -> None:
        name = f"C{next(_numbers)}"
        if client.takes(client.streams.add_consumer(stream, api.ConsumerConfig(durable_name=name, **chosen))):
            try:
                [info] = client.module("choria_consumer_info", {"stream": stream, "names": [name]})["consumers"]
                unchanged(client, "choria_consumer", {"stream": stream, **info}, CONSUMER)
            finally:
                client.run(client.streams.delete_consumer(stream, name))

    try:
        example()
    finally:
        client.run(client.streams.delete_stream(stream))
    assert client.made > before + 5
