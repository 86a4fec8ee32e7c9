# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The events of runs in a stream. Each event is validated with docs/schemas and the cloudevents library."""

from __future__ import annotations

import datetime
import functools
import json
from typing import TYPE_CHECKING, Any

from cloudevents.core.formats.json import JSONFormat
from jsonschema import Draft202012Validator, FormatChecker
from referencing import Registry, Resource

from ansible_collections.choria.streams.plugins.module_utils._api import messages, streams
from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from ansible_collections.choria.streams.plugins.module_utils._connection.settings import Settings
from support import ROOT

if TYPE_CHECKING:
    from ansible_collections.choria.streams.plugins.module_utils._api.messages import Stored
    from support.server import NatsServer

NAME = "choria.streams.choria_results"
STREAM = "ANSIBLE_RUNS"
TYPE = "io.choria.streams.ansible.v1."
SCHEMAS = ROOT / "docs" / "schemas"


def declare(server: NatsServer, subjects: str = "ansible.runs.>", **config: Any) -> None:
    """Create the stream."""
    with Session(Settings(servers=(server.url,))) as session:
        streams.create(session, {"name": STREAM, "subjects": [subjects], **config})


def stored(server: NatsServer) -> list[Stored]:
    """Return all messages of the stream, each of which must be a valid event."""
    with Session(Settings(servers=(server.url,))) as session:
        info = streams.info(session, STREAM) or {"state": {"messages": 0}}
        found = [messages.get(session, STREAM, sequence=number + 1) for number in range(info["state"]["messages"])]
    for message in filter(None, found):
        assert_valid(message.data)
    return [message for message in found if message]


def events(server: NatsServer) -> list[dict[str, Any]]:
    return [json.loads(message.data) for message in stored(server)]


def environment(server: NatsServer | None, **more: str) -> dict[str, str]:
    """Return the environment that turns the callback on."""
    settings = {"ANSIBLE_CALLBACKS_ENABLED": f"task_results,{NAME}", **more}
    return {"CHORIA_STREAMS_SERVERS": server.url, **settings} if server else settings


def of_kind(found: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """Return the data of all events of a kind."""
    return [event["data"] for event in found if event["type"] == TYPE + kind]


def assert_complete(found: list[dict[str, Any]]) -> None:
    """Check that the events are one complete run, in order."""
    assert [event["data"]["sequence"] for event in found] == list(range(1, len(found) + 1))
    assert found[0]["type"] == f"{TYPE}run_started"
    assert found[-1]["type"] == f"{TYPE}run_finished"
    assert found[-1]["data"]["events"] == len(found)
    assert len({event["id"] for event in found}) == len(found)
    assert len({event["data"]["run_id"] for event in found}) == 1


def assert_valid(payload: bytes) -> None:
    """Validate an event with its schema and with the cloudevents library, and return it."""
    event = json.loads(payload)
    _validator("envelope").validate(event)
    kind = event["type"].removeprefix(TYPE)
    _validator(kind).validate(event["data"])
    assert event["id"] == f"{event['data']['run_id']}.{event['data']['sequence']}"
    parsed = JSONFormat().read(None, payload)
    assert parsed.get_type() == event["type"]
    assert parsed.get_data() == event["data"]
    assert parsed.get_time() == datetime.datetime.fromisoformat(event["time"])


@functools.cache
def _validator(name: str) -> Draft202012Validator:
    found = [(path.name, json.loads(path.read_text())) for path in SCHEMAS.glob("*.json")]
    registry = Registry().with_resources([(path, Resource.from_contents(schema)) for path, schema in found])
    schema = dict(found)[f"{name}.json"]
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema, registry=registry, format_checker=FormatChecker())
