# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Streams that are created right after a large one of that name was deleted, whose store the server still removes."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.choria.streams.plugins.module_utils._api import consumers, jetstream, streams
from ansible_collections.choria.streams.plugins.module_utils._connection.wire import Request
from ansible_collections.choria.streams.plugins.module_utils._errors import StreamsError
from ansible_collections.choria.streams.plugins.module_utils._resources.kv.bucket import BUCKET
from ansible_collections.choria.streams.plugins.module_utils._resources.stream.stream import STREAM
from support.filling import publish_many
from support.infos import stream_info
from support.manage import Manager, declared
from support.proxy import Frame, Proxy, message
from support.server import NatsServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session

pytestmark = pytest.mark.once

TURNS, MESSAGES, BYTES = 3, 64, 512 << 10
# They make the removal of a stream take longer
CONSUMERS = 400


@pytest.fixture(scope="module", params=["latest", "2.14"])
def manager(request: pytest.FixtureRequest) -> Iterator[Manager]:
    version = None if request.param == "latest" else request.param
    with NatsServer(version=version) as server, Manager(servers=server.url) as manager:
        yield manager


def fill(session: Session, subject: str) -> None:
    answers = publish_many(session, "Filling", [Request(subject, os.urandom(BYTES)) for _number in range(MESSAGES)])
    assert all(isinstance(answer, dict) for answer in answers)


def create(manager: Manager, how: str) -> None:
    if how == "stream":
        manager.apply(STREAM, name="KV_LARGE", subjects=["$KV.LARGE.>"])
    elif how == "bucket":
        manager.apply(BUCKET, name="LARGE")
    elif how == "document":
        given: dict[str, Any] = {"kv_buckets": [{"name": "LARGE"}], "streams": [{"name": "OTHER"}]}
        assert declared(manager.session, **given)["changed"]
    else:
        streams.create(manager.session, {"name": "KV_LARGE", "subjects": ["$KV.LARGE.>"]})


@pytest.mark.parametrize("how", ["stream", "bucket", "document", "alone"])
def test_deleted_and_created_in_turns(manager: Manager, how: str) -> None:
    for _turn in range(TURNS):
        create(manager, how)
        assert stream_info(manager.session, "KV_LARGE")["state"]["messages"] == 0
        fill(manager.session, "$KV.LARGE.key")
        streams.delete(manager.session, "KV_LARGE")


@pytest.mark.parametrize("how", ["stream", "bucket", "document"])
def test_messages_of_a_deleted_stream_do_not_come_back(manager: Manager, how: str) -> None:
    """A stream that is deleted while the server removes the files of another one of its name keeps its own files."""
    session = manager.session
    create(manager, how)
    calls = [consumers.creating("KV_LARGE", {"durable_name": f"c{number}"}) for number in range(CONSUMERS)]
    assert not any(isinstance(answer, StreamsError) for answer in jetstream.call_many(session, calls))
    fill(session, "$KV.LARGE.key")
    streams.delete(session, "KV_LARGE")
    create(manager, how)
    session.request("$KV.LARGE.key", b"secret")
    streams.delete(session, "KV_LARGE")
    create(manager, how)
    assert stream_info(session, "KV_LARGE")["state"]["messages"] == 0
    streams.delete(session, "KV_LARGE")


@pytest.mark.parametrize("how", ["stream", "bucket", "document", "alone"])
def test_the_server_refuses_it_at_first(nats_server: NatsServer, how: str) -> None:
    """This error comes rarely, so that the test replaces an answer. The repeated request is answered by the server."""
    refused: list[Frame] = []
    error = {"code": 500, "err_code": 10049, "description": "error creating store for stream"}

    def rule(frame: Frame) -> list[bytes]:
        if frame.up or refused or b"stream_create_response" not in frame.raw:
            return [frame.raw]
        refused.append(frame)
        answer = {"type": "io.nats.jetstream.api.v1.stream_create_response", "error": error}
        return [message(frame.subject, frame.words[2], json.dumps(answer).encode())]

    with Proxy(nats_server.port, rule) as proxy, Manager(servers=proxy.url) as manager:
        create(manager, how)
        assert refused
        assert stream_info(manager.session, "KV_LARGE")
        for name in ("KV_LARGE", "OTHER"):
            streams.delete(manager.session, name)
