# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is told of mirrors and sources: how far they are behind, and whether they were ever heard of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.choria.streams.plugins.module_utils._api import messages, streams
from ansible_collections.choria.streams.plugins.module_utils._connection.wire import Request
from ansible_collections.choria.streams.plugins.module_utils._errors import Refused, StreamsError
from ansible_collections.choria.streams.plugins.module_utils._resources import resource
from ansible_collections.choria.streams.plugins.module_utils._resources.consumer.consumer import CONSUMER
from ansible_collections.choria.streams.plugins.module_utils._resources.kv.bucket import BUCKET
from ansible_collections.choria.streams.plugins.module_utils._resources.stream.info import streams_of
from ansible_collections.choria.streams.plugins.module_utils._resources.stream.stream import STREAM
from support.inprocess import run_module
from support.manage import Manager
from support.playbook import run_playbook
from support.server import NatsServer

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.once


@pytest.fixture(scope="module", params=["latest", "2.10"])
def server(request: pytest.FixtureRequest) -> Iterator[NatsServer]:
    with NatsServer(version=None if request.param == "latest" else request.param) as server:
        yield server


@pytest.fixture
def manager(server: NatsServer) -> Iterator[Manager]:
    """Of a server that has no stream when the test is over, and one with a thousand messages before."""
    with Manager(servers=server.url) as there:
        there.apply(STREAM, name="HERE", subjects=["here.>"])
        wanted = [Request("here.a", b"x")] * 1000
        assert all(isinstance(answer, dict) for answer in messages.publish_many(there.session, "Filling", wanted))
        yield there
        for name in streams.names(there.session):
            streams.delete(there.session, name)


def applied(manager: Manager, resource: Any, **given: Any) -> dict[str, Any]:
    """The result, also of what changes nothing."""
    plan = manager.plan(resource, **given)
    return dict(resource.apply(manager.session, plan)) if plan.changed or plan.follow else plan.result


def test_one_that_is_not_there(manager: Manager) -> None:
    result = applied(manager, STREAM, name="COPY", sources=[{"name": "NOWHERE"}, {"name": "HERE"}])
    found = {origin["name"]: origin for origin in result["stream"]["origins"]}
    assert found["NOWHERE"]["active"] is None
    assert found["HERE"]["active"] >= 0
    assert found["HERE"]["error"] is None
    (warning,) = resource.doubts(result)
    assert warning.startswith("COPY has heard nothing of its origin NOWHERE (")
    # Also later, in check mode, and when somebody looks
    again = manager.plan(STREAM, name="COPY", sources=[{"name": "NOWHERE"}, {"name": "HERE"}])
    assert not again.changed
    assert len(resource.doubts(again.result)) == 1
    (shown,) = streams_of(manager.session, {"names": ["COPY"]})
    assert [origin["active"] is None for origin in shown["origins"]].count(True) == 1
    with pytest.raises(StreamsError, match=r"^Stream COPY does not have all .*NOWHERE: stream not found") as error:
        applied(manager, STREAM, name="COPY", wait_for_origins=True, wait_timeout="1s")
    assert error.value.failure["code"] == "not_followed"


def test_a_domain_that_is_not_there(manager: Manager) -> None:
    mirror = {"name": "HERE", "external": {"api": "$JS.nowhere.API"}}
    result = applied(manager, STREAM, name="COPY", mirror=mirror)
    (origin,) = result["stream"]["origins"]
    assert (origin["active"], origin["api"]) == (None, "$JS.nowhere.API")
    assert len(resource.doubts(result)) == 1


def test_all_that_the_origin_has(manager: Manager) -> None:
    """Of a mirror and of a bucket's source, when it is made, and again."""
    manager.apply(BUCKET, name="ORIGIN")
    wanted = [Request(f"$KV.ORIGIN.{number}", b"x") for number in range(500)]
    assert all(isinstance(answer, dict) for answer in messages.publish_many(manager.session, "Filling", wanted))
    for _run in range(2):
        result = applied(manager, STREAM, name="COPY", mirror={"name": "HERE"}, wait_for_origins=True)
        assert result["stream"]["state"]["messages"] == 1000
        assert [(origin["name"], origin["lag"]) for origin in result["stream"]["origins"]] == [("HERE", 0)]
        assert not resource.doubts(result)
    result = applied(manager, BUCKET, name="ALL", sources=[{"name": "ORIGIN"}], wait_for_origins=True)
    assert result["bucket"]["value_count"] == 500


def test_what_the_server_refuses(manager: Manager) -> None:
    """Limits of consumers hold for the consumer by which a mirror reads."""
    manager.apply(STREAM, name="HERE", consumer_limits={"max_ack_pending": 5})
    with pytest.raises(StreamsError, match=r"HERE: .*max ack pending.*, JetStream error 10082"):
        applied(manager, STREAM, name="COPY", mirror={"name": "HERE"}, wait_for_origins=True, wait_timeout="10s")


def test_warnings_of_a_task_and_of_a_document(server: NatsServer) -> None:
    tasks = [
        {"name": "ONE", "choria.streams.choria_stream": {"name": "ONE", "mirror": {"name": "NOWHERE"}}},
        {
            "name": "TWO",
            "choria.streams.choria_resources": {"streams": [{"name": "TWO", "sources": [{"name": "NOWHERE"}]}]},
        },
    ]
    play = {"hosts": "localhost", "gather_facts": False, "tasks": tasks}
    result = run_playbook([play], env={"NATS_URL": server.url}).check()
    for name in ("ONE", "TWO"):
        warnings = result.task(name).result["warnings"]
        assert [text for text in warnings if f"{name} has heard nothing of its origin NOWHERE" in str(text)]


UNMATCHED: list[dict[str, Any]] = [
    {"mirror": {"name": "HERE", "filter_subject": "there.>"}},
    {"sources": [{"name": "HERE"}, {"name": "HERE", "filter_subject": "there.>"}]},
    {"sources": [{"name": "HERE", "subject_transforms": [{"src": "there.>", "dest": "x.>"}]}]},
]


@pytest.mark.parametrize("given", UNMATCHED, ids=str)
def test_a_filter_that_matches_nothing(manager: Manager, given: dict[str, Any]) -> None:
    field = next(iter(given))
    with pytest.raises(Refused) as refused:
        manager.plan(STREAM, name="COPY", **given)
    assert refused.value.message == (
        f"{field}: 'there.>' matches none of the subjects of HERE, which are here.>, and no message that it holds, so "
        "nothing would be copied: change the filter, or give HERE such a subject first."
    )
    with pytest.raises(Refused, match=r"^sources: 'there.>' matches none"):
        moved = [{"src": "there.>", "dest": "$KV.COPY.>"}]
        manager.plan(BUCKET, name="COPY", sources=[{"name": "HERE", "subject_transforms": moved}])
    # What the server has already is no mistake of this task, and what is elsewhere is not known
    streams.create(manager.session, {"name": "COPY", **given})
    assert not manager.plan(STREAM, name="COPY", **given).changed
    manager.plan(STREAM, name="FAR", mirror={"name": "HERE", "external": {"api": "$JS.far.API"}, "filter_subject": "x"})


def test_a_filter_of_what_an_origin_still_holds(manager: Manager) -> None:
    """Messages of a subject that the origin gave up stay there, and are copied."""
    manager.apply(STREAM, name="HERE", subjects=["elsewhere"])
    applied(manager, STREAM, name="COPY", mirror={"name": "HERE", "filter_subject": "here.a"}, wait_for_origins=True)
    info = streams.info(manager.session, "COPY")
    assert info is not None
    assert info["state"]["messages"] == 1000
    [warning] = manager.plan(CONSUMER, stream="HERE", name="C", filter_subject="here.*").warnings
    assert warning.endswith("which are elsewhere: it gets no new messages.")
    with pytest.raises(Refused, match=r"^filter_subject: 'there' of consumer C matches none of the subjects of stream"):
        manager.plan(CONSUMER, stream="HERE", name="C", filter_subject="there")
    with pytest.raises(Refused, match=r"^filter_subjects: 'there' of consumer C"):
        manager.plan(CONSUMER, stream="HERE", name="C", filter_subjects=["here.a", "there"])


def test_origins_of_the_same_document(manager: Manager) -> None:
    """An origin counts as it is going to be."""
    streams_wanted = [
        {"name": "HERE", "subjects": ["here.>", "new.>"]},
        {"name": "COPY", "mirror": {"name": "HERE", "filter_subject": "new.a"}},
        {"name": "FRESH", "subjects": ["fresh.>"]},
        {"name": "MORE", "sources": [{"name": "FRESH", "filter_subject": "fresh.a"}, {"name": "HERE"}]},
    ]
    document = {"servers": manager.session.settings.servers, "owner": "me", "streams": streams_wanted}
    assert "failure" not in run_module("choria_resources", document, check_mode=True)
    streams_wanted[2] = {"name": "FRESH", "subjects": ["other"]}
    streams_wanted[0] = {"name": "HERE", "subjects": ["here.>"]}
    result = run_module("choria_resources", document, check_mode=True)
    assert [problem["path"] for problem in result["failure"]["problems"]] == ["streams[1]", "streams[3]"], result
