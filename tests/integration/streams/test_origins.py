# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The facts about mirrors and sources: how many messages they lag behind, and whether they ever reached their
origin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.choria.streams.plugins.module_utils._api import streams
from ansible_collections.choria.streams.plugins.module_utils._connection.wire import Request
from ansible_collections.choria.streams.plugins.module_utils._errors import Refused, StreamsError
from ansible_collections.choria.streams.plugins.module_utils._resources import info, resource
from ansible_collections.choria.streams.plugins.module_utils._resources.consumer.consumer import CONSUMER
from ansible_collections.choria.streams.plugins.module_utils._resources.kv.bucket import BUCKET
from ansible_collections.choria.streams.plugins.module_utils._resources.stream import table
from ansible_collections.choria.streams.plugins.module_utils._resources.stream.stream import STREAM
from support.cluster import nats_cluster
from support.filling import delete_streams, publish_many
from support.in_process import result_of
from support.manage import Manager, declared
from support.playbook import run_playbook

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.server import NatsServer

pytestmark = pytest.mark.once


@pytest.fixture
def manager(server: NatsServer) -> Iterator[Manager]:
    """A manager for a server with one stream of a thousand messages. Other streams are deleted after the test."""
    with Manager(servers=server.url) as there:
        there.apply(STREAM, name="HERE", subjects=["here.>"])
        wanted = [Request("here.a", b"x")] * 1000
        assert all(isinstance(answer, dict) for answer in publish_many(there.session, "Filling", wanted))
        yield there
        delete_streams(there.session)


def applied(manager: Manager, resource: Any, **given: Any) -> dict[str, Any]:
    """Apply options. Return the result, also if nothing changes."""
    plan = manager.plan(resource, **given)
    return dict(resource.apply(manager.session, plan)) if plan.changed or plan.follow else plan.result


def test_one_that_is_not_there(manager: Manager) -> None:
    result = applied(manager, STREAM, name="COPY", sources=[{"name": "NOWHERE"}, {"name": "HERE"}])
    found = {origin["name"]: origin for origin in result["stream"]["origins"]}
    assert found["NOWHERE"]["active"] is None
    assert found["HERE"]["active"] >= 0
    assert found["HERE"]["error"] is None
    (warning,) = resource.origin_warnings(result)
    assert warning.startswith("COPY has heard nothing of its origin NOWHERE (")
    # Later runs, check mode and info modules return them too
    again = manager.plan(STREAM, name="COPY", sources=[{"name": "NOWHERE"}, {"name": "HERE"}])
    assert not again.changed
    assert len(resource.origin_warnings(again.result)) == 1
    (shown,) = info.shown(table.SPEC, "", table.result, manager.session, {"names": ["COPY"]})
    assert [origin["active"] is None for origin in shown["origins"]].count(True) == 1
    with pytest.raises(StreamsError, match=r"^Stream COPY does not have all .*NOWHERE: stream not found") as error:
        applied(manager, STREAM, name="COPY", wait_for_origins=True, wait_timeout="1s")
    assert error.value.failure["code"] == "not_followed"


def test_a_domain_that_is_not_there(manager: Manager) -> None:
    mirror = {"name": "HERE", "external": {"api": "$JS.nowhere.API"}}
    result = applied(manager, STREAM, name="COPY", mirror=mirror)
    (origin,) = result["stream"]["origins"]
    assert (origin["active"], origin["api"]) == (None, "$JS.nowhere.API")
    assert len(resource.origin_warnings(result)) == 1


def test_all_that_the_origin_has(manager: Manager) -> None:
    """Waits for a mirror and for a bucket's source, when they are created and again later."""
    manager.apply(BUCKET, name="ORIGIN")
    wanted = [Request(f"$KV.ORIGIN.{number}", b"x") for number in range(500)]
    assert all(isinstance(answer, dict) for answer in publish_many(manager.session, "Filling", wanted))
    for _run in range(2):
        result = applied(manager, STREAM, name="COPY", mirror={"name": "HERE"}, wait_for_origins=True)
        assert result["stream"]["state"]["messages"] == 1000
        assert [(origin["name"], origin["lag"]) for origin in result["stream"]["origins"]] == [("HERE", 0)]
        assert not resource.origin_warnings(result)
    result = applied(manager, BUCKET, name="ALL", sources=[{"name": "ORIGIN"}], wait_for_origins=True)
    assert result["bucket"]["value_count"] == 500


def test_refusals_of_the_server_are_reported(manager: Manager) -> None:
    """Limits for consumers apply to the consumer of a mirror."""
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
    # A mistake that the server already has is not an error of this task. Origins elsewhere are unknown.
    streams.create(manager.session, {"name": "COPY", **given})
    assert not manager.plan(STREAM, name="COPY", **given).changed
    manager.plan(STREAM, name="FAR", mirror={"name": "HERE", "external": {"api": "$JS.far.API"}, "filter_subject": "x"})


def test_a_filter_of_what_an_origin_still_holds(manager: Manager) -> None:
    """Messages of a subject that the origin no longer has stay there, and are copied."""
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
    """Filters are checked against the origin's new subjects."""
    streams_wanted = [
        {"name": "HERE", "subjects": ["here.>", "new.>"]},
        {"name": "COPY", "mirror": {"name": "HERE", "filter_subject": "new.a"}},
        {"name": "FRESH", "subjects": ["fresh.>"]},
        {"name": "MORE", "sources": [{"name": "FRESH", "filter_subject": "fresh.a"}, {"name": "HERE"}]},
    ]
    document = {"servers": manager.session.settings.servers, "owner": "me", "streams": streams_wanted}
    assert "failure" not in result_of("choria_resources", document, check_mode=True)
    streams_wanted[2] = {"name": "FRESH", "subjects": ["other"]}
    streams_wanted[0] = {"name": "HERE", "subjects": ["here.>"]}
    result = result_of("choria_resources", document, check_mode=True)
    assert [problem["path"] for problem in result["failure"]["problems"]] == ["streams[1]", "streams[3]"], result


IN_A_CIRCLE = (
    "The server refuses the mirror or sources of stream {}, since one of these origins copies from it or from another "
    "of them, itself or through others (JetStream error 10052): remove one of the mirrors or sources, or filter a "
    "source by subjects that the stream with this source does not have."
)
EXCHANGED = [
    {"name": "A", "subjects": ["a.>"], "sources": [{"name": "B", "filter_subject": "b.>"}]},
    {"name": "B", "subjects": ["b.>"], "sources": [{"name": "A", "filter_subject": "a.>"}]},
]


def test_copies_in_a_circle(manager: Manager) -> None:
    """The server refuses them, and the error says what to do."""
    manager.apply(STREAM, name="ONE", sources=[{"name": "HERE"}])
    manager.apply(STREAM, name="TWO", sources=[{"name": "ONE", "filter_subject": "here.a"}, {"name": "NEW"}])
    for stream, option, origin in (
        ("HERE", "sources", [{"name": "TWO"}]),
        ("NEW", "mirror", {"name": "TWO"}),
        ("TWICE", "sources", [{"name": "HERE"}, {"name": "ONE"}]),
    ):
        with pytest.raises(Refused) as refused:
            manager.apply(STREAM, name=stream, **{option: origin})
        assert refused.value.message == IN_A_CIRCLE.format(stream)
        assert (refused.value.failure["code"], refused.value.failure["err_code"]) == ("circle", 10052)


def test_copies_in_a_circle_of_the_same_document(manager: Manager) -> None:
    given = {"servers": manager.session.settings.servers, "owner": "me"}
    circle = [{"name": "A", "sources": [{"name": "B"}]}, {"name": "B", "mirror": {"name": "A"}}]
    result = result_of("choria_resources", {**given, "streams": circle})
    # The first to be written is accepted, as its origin is not there yet
    [failed] = [each["failure"] for each in result["resources"] if "failure" in each]
    assert failed["code"] == "circle", result


@pytest.mark.parametrize("by_document", [False, True])
def test_streams_that_exchange_their_own_subjects(manager: Manager, by_document: bool) -> None:
    """This is no circle, as no message comes back."""
    if by_document:
        declared(manager.session, streams=EXCHANGED)
    else:
        manager.apply(STREAM, name="A", subjects=["a.>"])
        for given in reversed(EXCHANGED):
            manager.apply(STREAM, **given)
    publish_many(manager.session, "Filling", [Request("a.1", b"x"), Request("b.1", b"x")])
    for given in EXCHANGED:
        result = applied(manager, STREAM, **given, wait_for_origins=True)
        assert result["stream"]["state"]["messages"] == 2


def test_origins_that_exchange_their_roles(manager: Manager) -> None:
    forth = [
        {"name": "A", "subjects": ["a"], "sources": []},
        {"name": "B", "subjects": ["b"], "sources": [{"name": "A"}]},
    ]
    back = [
        {"name": "A", "subjects": ["a"], "sources": [{"name": "B"}]},
        {"name": "B", "subjects": ["b"], "sources": []},
    ]
    for wanted in (forth, back, forth):
        assert declared(manager.session, streams=wanted)["changed"]


def test_an_origin_without_a_leader() -> None:
    """Nothing is known of its subjects, and the copies are made, with a filter too."""
    with nats_cluster() as servers, Manager(servers=[servers[0].url], timeout="3s") as manager:
        # The cluster keeps its own leader
        stopped = 2 if servers[0].monitor("jsz")["meta_cluster"]["leader"] == "n3" else 3
        manager.apply(STREAM, name="ORIGIN", subjects=["o.>"], placement={"tags": [f"n:{stopped}"]})
        servers[stopped - 1].stop()
        streams_wanted = [
            {
                "name": f"COPY{number}",
                "mirror": {"name": "ORIGIN", "filter_subject": "o.a"},
                "placement": {"tags": ["n:1"]},
            }
            for number in range(3)
        ]
        assert manager.plan(STREAM, **streams_wanted[0]).changed
        assert declared(manager.session, streams=streams_wanted)["changed"]
