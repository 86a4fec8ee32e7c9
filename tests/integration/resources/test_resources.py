# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""choria_resources in cases that playbooks can't test: order of writes, failures, thousands of objects, permissions."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.choria.streams.plugins.module_utils._api import consumers, lists, message_count, streams
from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import WINDOW, Session
from ansible_collections.choria.streams.plugins.module_utils._connection.wire import Request
from ansible_collections.choria.streams.plugins.module_utils._errors import PermissionMissing, StreamsError
from ansible_collections.choria.streams.plugins.module_utils._resources.document.model import (
    Problems,
)
from ansible_collections.choria.streams.plugins.module_utils._resources.document.report import Unfinished
from ansible_collections.choria.streams.plugins.module_utils._resources.ownership import OWNER
from support.backups import consume
from support.connect import settings
from support.filling import delete_streams, publish_many
from support.infos import stream_info
from support.killing import killed
from support.manage import declared
from support.playbook import RunningPlaybook, run_playbook
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import MakeServer

pytestmark = pytest.mark.once

TIMEOUT = 60.0


@pytest.fixture
def session(make_server: MakeServer) -> Iterator[Session]:
    with Session(settings(servers=make_server().url)) as session:
        yield session


def outcome(result: dict[str, Any]) -> dict[str, str]:
    """Return the action for each resource, or the code of its failure."""
    return {
        f"{entry['kind']} {entry['name']}": entry.get("failure", {}).get("code", entry["action"])
        for entry in result["resources"]
    }


def publish(session: Session, *subjects: str) -> None:
    for answer in publish_many(session, "Filling", (Request(subject, b"x") for subject in subjects)):
        assert isinstance(answer, dict)


def names(session: Session, stream: str) -> list[str]:
    return sorted(info["name"] for info in consumers.list_all(session, stream))


# Order of writes


def test_dependencies_are_written_first(session: Session) -> None:
    document: dict[str, Any] = {
        "keys": [{"bucket": "SHOP", "key": "a", "value": "1"}],
        "consumers": [
            {"stream": "KV_SHOP", "name": "WATCHER", "filter_subject": "$KV.SHOP.a"},
            {"stream": "COPY", "name": "READER"},
        ],
        "streams": [
            {"name": "COPY", "mirror": {"name": "ALL"}},
            {"name": "ALL", "sources": [{"name": "ORDERS"}, {"name": "KV_SHOP"}]},
            {"name": "ORDERS", "subjects": ["orders.>"]},
        ],
        "kv_buckets": [{"name": "SHOP"}],
    }
    planned = declared(session, check=True, **document)
    assert lists.stream_names(session) == []
    made = declared(session, **document)
    assert made == planned
    assert set(outcome(made).values()) == {"create"}
    assert names(session, "KV_SHOP") == ["WATCHER"]
    again = declared(session, **document)
    assert not again["changed"]
    assert set(outcome(again).values()) == {"none"}


def test_subjects_change_hands(session: Session) -> None:
    """Two streams exchange subjects, and a third gets one. The server accepts only one owner at a time."""
    declared(session, streams=[{"name": "A", "subjects": ["a", "b"]}, {"name": "OLD", "subjects": ["c"]}])
    publish(session, "a")
    wanted: dict[str, Any] = {
        "streams": [
            {"name": "NEW", "subjects": ["b", "c"]},
            {"name": "A", "subjects": ["a"]},
            {"name": "OLD", "state": "absent"},
        ]
    }
    result = declared(session, **wanted)
    assert outcome(result) == {"stream NEW": "create", "stream A": "update", "stream OLD": "delete"}
    assert streams.info(session, "A")["state"]["messages"] == 1  # type: ignore[index]


def test_a_removed_stream_takes_its_consumers_with_it(session: Session) -> None:
    streams_and_readers: dict[str, Any] = {
        "owner": "shop",
        "streams": [{"name": "A", "subjects": ["a"]}, {"name": "B", "subjects": ["b"]}],
        "consumers": [{"stream": stream, "name": name} for stream in "AB" for name in ("ONE", "TWO")],
    }
    declared(session, **streams_and_readers)
    publish(session, "a")
    with pytest.raises(Problems) as refused:
        declared(
            session,
            streams=[{"name": "A", "state": "absent", "allow_data_loss": True}],
            consumers=[{"stream": "A", "name": "ONE"}],
        )
    assert "consumers[0]: stream A is to be deleted: leave out its consumers, or keep it." in refused.value.message
    result = declared(
        session,
        owner="shop",
        prune=True,
        streams=[{"name": "A", "state": "absent", "allow_data_loss": True}, {"name": "B"}],
        consumers=[{"stream": "A", "name": "ONE", "state": "absent"}],
    )
    assert outcome(result) == {
        "stream A": "delete",
        "stream B": "none",
        "consumer A/ONE": "delete",
        "consumer B/ONE": "delete",
        "consumer B/TWO": "delete",
    }
    # Two are lost with their stream and two by themselves. The one that is named twice counts once
    assert result["consequences"]["consumers_lost"] == 4
    assert result["consequences"]["messages_lost"] == 1
    assert names(session, "B") == []


def test_consumers_replace_each_other(session: Session) -> None:
    """At no time does an interest stream have no consumer, or a work queue two."""
    kept: dict[str, Any] = {
        "streams": [
            {"name": "NEWS", "subjects": ["news"], "retention": "interest"},
            {"name": "JOBS", "subjects": ["jobs"], "retention": "workqueue"},
        ]
    }
    declared(session, **kept, consumers=[{"stream": "NEWS", "name": "OLD"}, {"stream": "JOBS", "name": "OLD"}])
    publish(session, "news", "jobs")
    changed = [
        {"stream": stream, "name": name, "state": state, "allow_data_loss": True}
        for stream in ("NEWS", "JOBS")
        for name, state in (("OLD", "absent"), ("NEW", "present"))
    ]
    result = declared(session, **kept, consumers=changed)
    assert result["summary"]["failed"] == 0
    for stream in ("NEWS", "JOBS"):
        assert names(session, stream) == ["NEW"]
        assert streams.info(session, stream)["state"]["messages"] == 1  # type: ignore[index]


def test_a_narrower_filter_loses_messages(session: Session) -> None:
    """On an interest stream, messages are lost that only this consumer waited for. Other consumers are read, though
    not named.
    """
    news = {"name": "NEWS", "subjects": ["news.>"], "retention": "interest"}
    readers = [{"stream": "NEWS", "name": "A"}, {"stream": "NEWS", "name": "B", "filter_subject": "news.b"}]
    declared(session, streams=[news], consumers=readers)
    publish(session, "news.a", "news.b", "news.c")
    narrower = {"stream": "NEWS", "name": "A", "filter_subject": "news.a"}
    with pytest.raises(Problems, match=r"consumers\[0\]: consumer A: its new filter would lose 1 message: set"):
        declared(session, consumers=[narrower])
    result = declared(session, consumers=[{**narrower, "allow_data_loss": True}])
    assert result["consequences"]["messages_lost"] == 1
    assert stream_info(session, "NEWS")["state"]["messages"] == 2
    assert not declared(session, streams=[news], consumers=[narrower])["changed"]


def test_consumers_are_created_again_at_their_positions(session: Session) -> None:
    """With recreate: true, consumers are created again for a field that can't be updated."""
    declared(
        session,
        streams=[{"name": "A", "subjects": ["a"]}],
        consumers=[{"stream": "A", "name": name} for name in ("DONE", "NEW")],
    )
    publish(session, *"aaaaa")
    consume(session, "A", "DONE", 3)
    wanted = [{"stream": "A", "name": name, "replay_policy": "original"} for name in ("DONE", "NEW")]
    with pytest.raises(Problems, match=r"consumers\[1\]: replay_policy of consumer NEW can't be changed"):
        declared(session, consumers=[{**wanted[0], "recreate": True}, wanted[1]])
    again = [{**one, "recreate": True} for one in wanted]
    foreseen, done = declared(session, check=True, consumers=again), declared(session, consumers=again)
    assert outcome(foreseen) == outcome(done) == {"consumer A/DONE": "update", "consumer A/NEW": "update"}
    assert foreseen["consequences"] == done["consequences"]
    for name, floor in (("DONE", 3), ("NEW", 0)):
        info = consumers.info(session, "A", name)
        assert info
        assert (info["config"]["replay_policy"], info["ack_floor"]["stream_seq"]) == ("original", floor)
        assert info["num_pending"] == 5 - floor
    assert not declared(session, consumers=again)["changed"]


# Creating again and copying


@pytest.fixture
def shop(session: Session) -> dict[str, Any]:
    return make_shop(session)


def make_shop(session: Session) -> dict[str, Any]:
    """Apply a document. Then another client adds a consumer and publishes messages."""
    document: dict[str, Any] = {
        "owner": "shop",
        "streams": [{"name": "A", "subjects": ["a", "x.b"]}],
        "consumers": [{"stream": "A", "name": "READER"}, {"stream": "KV_SHOP", "name": "WATCHER"}],
        "kv_buckets": [{"name": "SHOP", "history": 3}],
        "keys": [{"bucket": "SHOP", "key": key, "value": "1"} for key in ("a", "b")],
    }
    pruned = [{"stream": "A", "name": name} for name in ("DROPPED", "PRUNED")]
    declared(session, **{**document, "consumers": [*document["consumers"], *pruned]})
    consumers.create(session, "A", {"durable_name": "THEIRS", "ack_policy": "explicit"})
    publish(session, "a", "a", "a", "$KV.SHOP.gone")
    consume(session, "A", "READER", 2)
    declared(session, **document)
    return document


def stored_in_memory(document: dict[str, Any], recreate: str) -> dict[str, Any]:
    """Return the document with another storage for stream and bucket, which can't be changed in place."""
    other = {"storage": "memory", "recreate": recreate}
    return {
        **document,
        "streams": [{**item, **other} for item in document["streams"]],
        "kv_buckets": [{**item, **other} for item in document["kv_buckets"]],
        "allow_data_loss": True,
    }


def test_contents_of_a_stream_that_is_created_again(session: Session, shop: dict[str, Any]) -> None:
    wanted = stored_in_memory(shop, "true")
    wanted["consumers"] = [*shop["consumers"], {"stream": "A", "name": "DROPPED", "state": "absent"}]
    wanted["keys"] = [*shop["keys"], {"bucket": "SHOP", "key": "gone", "state": "absent"}]
    foreseen, done = (declared(session, check=check, **wanted, prune=True) for check in (True, False))
    assert outcome(foreseen) == outcome(done)
    assert outcome(done) == {
        "stream A": "recreate",
        "consumer A/READER": "create",
        "consumer A/DROPPED": "delete",
        "consumer A/PRUNED": "delete",
        "kv_bucket SHOP": "recreate",
        "consumer KV_SHOP/WATCHER": "create",
        "key SHOP/a": "create",
        "key SHOP/b": "create",
        "key SHOP/gone": "none",
    }
    assert foreseen["consequences"] == done["consequences"]
    # Messages and consumers are counted with their streams: three messages and three keys, four consumers and one
    assert (done["consequences"]["messages_lost"], done["consequences"]["consumers_lost"]) == (6, 5)
    assert (names(session, "A"), names(session, "KV_SHOP")) == (["READER"], ["WATCHER"])
    assert message_count.subject_counts(session, "KV_SHOP") == {"$KV.SHOP.a": 1, "$KV.SHOP.b": 1}
    assert not declared(session, **wanted, prune=True)["changed"]


def test_contents_of_a_stream_that_is_copied(session: Session, shop: dict[str, Any]) -> None:
    wanted = stored_in_memory(shop, "copy")
    result = declared(session, **wanted)
    assert {name: action for name, action in outcome(result).items() if action != "none"} == {
        "stream A": "copy",
        "kv_bucket SHOP": "copy",
    }
    info = consumers.info(session, "A", "READER")
    assert info
    assert info["ack_floor"]["stream_seq"] == 2
    assert stream_info(session, "KV_SHOP")["state"]["messages"] == 3
    assert not declared(session, **wanted)["changed"]


def test_an_interrupted_copy_is_finished(make_server: MakeServer) -> None:
    """Wherever it was killed, one more run completes it. Objects in the streams are planned as they will be after
    the copy.
    """
    server = make_server()

    def ensure(wanted: dict[str, Any]) -> None:
        with Session(settings(servers=server.url)) as session:
            declared(session, **wanted)

    with Session(settings(servers=server.url)) as session:
        for writes in range(1, 100, 3):
            wanted = stored_in_memory(make_shop(session), "copy")
            # One subject gets wider, another one moves to a new stream
            wanted["streams"][0]["subjects"] = ["*"]
            wanted["streams"].append({"name": "B", "subjects": ["x.b"]})
            if not killed(partial(ensure, wanted), writes):
                break
            foreseen, done = (declared(session, check=check, **wanted) for check in (True, False))
            assert outcome(foreseen) == outcome(done)
            contained = {name: action for name, action in outcome(done).items() if "/" in name}
            assert set(contained.values()) == {"none"}, writes
            info, bucket = consumers.info(session, "A", "READER"), streams.info(session, "KV_SHOP")
            assert info
            assert bucket
            assert (info["ack_floor"]["stream_seq"], info["num_pending"]) == (2, 1)
            assert bucket["state"]["last_seq"] == 3
            assert not declared(session, **wanted)["changed"]
            assert sorted(lists.stream_names(session)) == ["A", "B", "KV_SHOP"]
            server.wait_removed()
            delete_streams(session)
    assert writes > 30


def test_a_copied_stream_takes_over_a_subject(session: Session) -> None:
    declared(session, streams=[{"name": "A", "subjects": ["a", "b"]}, {"name": "B", "subjects": ["c"]}])
    publish(session, "c")
    copied = {"name": "B", "subjects": ["b", "c"], "storage": "memory", "recreate": "copy"}
    result = declared(session, streams=[copied, {"name": "A", "subjects": ["a"]}])
    assert outcome(result) == {"stream B": "copy", "stream A": "update"}
    assert stream_info(session, "B")["state"]["messages"] == 1
    with pytest.raises(Problems, match=r"streams\[0\]\.subjects: 'a' overlaps with the subjects of stream A: a mess"):
        declared(session, streams=[{**copied, "subjects": ["a"], "storage": "file"}])


# Checks of the whole document


def test_nothing_is_written_where_anything_is_wrong(session: Session) -> None:
    with pytest.raises(Problems) as refused:
        declared(
            session,
            streams=[{"name": "A", "subjects": ["a"]}, {"name": "B", "subjects": ["a.b c"]}],
            consumers=[
                {"stream": "A", "name": "bad name"},
                {"stream": "A", "name": "C", "backoff": ["1s", "2s"], "max_deliver": 1},
                {"stream": "A", "name": "D", "sizes": 1},
                {"name": "E"},
            ],
        )
    assert [problem["path"] for problem in refused.value.failure["problems"]] == [
        "streams[1]",
        *(f"consumers[{index}]" for index in range(4)),
    ]
    with pytest.raises(Problems) as refused:
        declared(
            session,
            streams=[{"name": "A", "subjects": ["a"]}],
            consumers=[
                {"stream": "NONE", "name": "C"},
                {"stream": "A", "name": "C", "replicas": 3},
                {"stream": "A", "name": "C"},
            ],
        )
    assert "consumers[2]: consumer A/C is in the document twice, see consumers[1]: keep one." in refused.value.message
    with pytest.raises(Problems) as refused:
        declared(
            session,
            streams=[{"name": "A", "subjects": ["a"]}],
            consumers=[{"stream": "NONE", "name": "C"}, {"stream": "A", "name": "C", "replicas": 3}],
        )
    assert "consumers[0].stream: there is no stream NONE" in refused.value.message
    assert "consumers[1].replicas: 3 copies are more than the stream has" in refused.value.message
    assert lists.stream_names(session) == []


def test_a_key_is_declared_once_also_through_a_mirror(session: Session) -> None:
    """The keys of a mirror are written to its origin."""
    document: dict[str, Any] = {"kv_buckets": [{"name": "FIRST"}, {"name": "COPY", "mirror": {"name": "FIRST"}}]}
    keys = [{"bucket": bucket, "key": "a", "value": bucket} for bucket in ("FIRST", "COPY")]
    with pytest.raises(Problems) as refused:
        declared(session, **document, keys=keys)
    (problem,) = refused.value.failure["problems"]
    assert (problem["path"], problem["code"]) == ("keys[1]", "duplicate")
    assert "this is key FIRST/a of keys[0]: keep one" in problem["message"]
    for changed in (True, False):
        assert declared(session, **document, keys=keys[1:])["changed"] is changed


def test_a_key_of_a_mirror_without_its_origin(session: Session) -> None:
    buckets = [{"name": "GONE", "state": "absent"}, {"name": "MIRROR", "mirror": {"name": "GONE"}}]
    for check in (True, False):
        with pytest.raises(Problems) as refused:
            declared(session, check, kv_buckets=buckets, keys=[{"bucket": "MIRROR", "key": "a", "value": "x"}])
        (problem,) = refused.value.failure["problems"]
        assert (problem["path"], problem["code"]) == ("keys[0]", "no_bucket")
        assert "bucket MIRROR mirrors kv_buckets[0], which the document deletes" in problem["message"]
    assert declared(session, kv_buckets=buckets)["changed"]


def test_irreversible_changes_are_counted_and_reported(session: Session) -> None:
    declared(session, streams=[{"name": "A", "subjects": ["a"]}])
    publish(session, *["a"] * 5)
    result = declared(
        session, streams=[{"name": "A", "max_msgs": 2, "deny_delete": True}], allow_data_loss=True, check=True
    )
    assert result["consequences"]["messages_lost"] == 3
    assert result["resources"][0]["consequences"]["irreversible"] == ["deny_delete"]


def test_new_consumers_wait_for_what_others_leave(session: Session) -> None:
    """The filter is narrowed after the new consumer exists, so no message is lost, and no permission for losses is
    needed.
    """
    queue = {"name": "JOBS", "subjects": ["j.>"], "retention": "workqueue"}
    heard = {"name": "HEARD", "subjects": ["h.>"], "retention": "interest"}
    old = [{"stream": "JOBS", "name": "ALL"}, {"stream": "HEARD", "name": "ALL"}]
    declared(session, streams=[queue, heard], consumers=old)
    publish(session, "j.a", "j.b", "h.a", "h.b", "h.b")
    narrowed = [{**each, "filter_subject": f"{each['stream'][0].lower()}.a"} for each in old]
    with pytest.raises(Problems, match=r"would lose 2 messages"):
        declared(session, consumers=narrowed[1:])
    new = [
        {"stream": each["stream"], "name": "REST", "filter_subject": f"{each['stream'][0].lower()}.b"} for each in old
    ]
    for check in (True, False):
        result = declared(session, consumers=[*new[:1], *narrowed, *new[1:]], check=check)
        assert result["consequences"]["messages_lost"] == 0
    kept = {info["config"]["name"]: info["state"]["messages"] for info in lists.streams(session)}
    assert kept == {"JOBS": 2, "HEARD": 3}
    with pytest.raises(Problems, match=r"stream JOBS is a work queue, in which each message has one consumer"):
        declared(session, consumers=[{"stream": "JOBS", "name": "MORE", "filter_subject": "j.>"}])
    with pytest.raises(Problems, match=r"consumers\[1\]: filter_subject of consumer TWO: stream JOBS is a work queue"):
        declared(
            session,
            consumers=[{"stream": "JOBS", "name": name, "filter_subject": "j.c"} for name in ("ONE", "TWO")],
        )


def test_warnings_are_reported(session: Session) -> None:
    result = declared(
        session,
        streams=[{"name": "A", "mirror": {"name": "NOWHERE", "external": {"api": "$JS.far.API"}}}],
    )
    assert [warning.partition(" has heard")[0] for warning in result["warnings"]] == ["A"]


# Failures after some writes

LIMITED = {"jetstream": {"max_file_store": 10 << 20}}


@pytest.mark.parametrize("on_error", ["stop", "continue"])
def test_the_server_refuses_some(make_server: MakeServer, on_error: str) -> None:
    """The plan does not know what a server will refuse. Then either everything that does not depend on it is done,
    or nothing more.
    """
    document: dict[str, Any] = {
        "streams": [{"name": name, "subjects": [name.lower()], "max_bytes": "1MiB"} for name in "ABC"],
        "consumers": [{"stream": stream, "name": "READER"} for stream in "AC"],
    }
    document["streams"][2]["max_bytes"] = "20MiB"
    with Session(settings(servers=make_server(LIMITED).url)) as session:
        with pytest.raises(Unfinished) as raised:
            declared(session, **document, on_error=on_error)
        result = raised.value.result
        done = outcome(result)
        assert done == {
            "stream A": "create",
            "stream B": "create",
            "stream C": "no_storage",
            "consumer A/READER": "create" if on_error == "continue" else "stopped",
            "consumer C/READER": "dependency",
        }
        assert result["changed"] is True
        assert result["summary"]["failed"] == len([code for code in done.values() if code != "create"])
        assert "that is the limit of the server, and not of the account" in raised.value.message
        # When the cause is removed, another run completes it
        document["streams"][2]["max_bytes"] = "1MiB"
        assert declared(session, **document)["summary"]["failed"] == 0
        assert not declared(session, **document)["changed"]


COUNT = 600


def test_killed_in_the_middle_and_run_again(make_server: MakeServer) -> None:
    server = make_server()
    wanted = [f"S{number}" for number in range(COUNT)]
    document = {
        "owner": "shop",
        "streams": [{"name": name, "storage": "memory", "subjects": [name.lower()]} for name in wanted],
        "consumers": [{"stream": name, "name": "READER"} for name in wanted[:100]],
    }
    tasks = [{"name": "Declare", "choria.streams.choria_resources": document}]
    play = [{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]
    env = {"CHORIA_STREAMS_SERVERS": server.url}
    first = RunningPlaybook(play, env=env)
    try:
        deadline = time.monotonic() + TIMEOUT
        while not server.monitor("jsz")["streams"]:
            assert first.process.poll() is None, first.output()
            assert time.monotonic() < deadline, first.output()
            time.sleep(0.005)
        with server.frozen():
            first.crash()
    finally:
        first.close()
    with Session(settings(servers=server.url)) as session:
        assert 0 < len(lists.stream_names(session)) < COUNT
    again = run_playbook(play * 2, env=env).check()
    finished, idle = [task.result for task in again.tasks]
    assert finished["changed"] is True
    assert 0 < finished["summary"]["unchanged"] < COUNT
    assert finished["summary"]["created"] == COUNT + 100 - finished["summary"]["unchanged"]
    assert idle["changed"] is False
    assert idle["summary"]["unchanged"] == COUNT + 100


# Thousands of objects


def test_few_requests_however_long_the_document_is(make_server: MakeServer) -> None:
    server = make_server()
    document: dict[str, Any] = {
        "streams": [{"name": f"S{number}", "subjects": [f"s{number}"], "storage": "memory"} for number in range(600)],
        "consumers": [{"stream": "S0", "name": f"C{number}"} for number in range(600)],
        "keys": [{"bucket": "SHOP", "key": f"k{number}", "value": "v"} for number in range(600)],
        "kv_buckets": [{"name": "SHOP"}],
    }
    with Session(settings(servers=server.url)) as session:
        session.connect()
        before = server.monitor("varz")["in_msgs"]
        assert declared(session, **document)["summary"]["created"] == 1801
        made = server.monitor("varz")["in_msgs"]
        assert declared(session, owner="nobody", prune=True, check=True)["summary"]["deleted"] == 0
        listed = server.monitor("varz")["in_msgs"]
        document.pop("kv_buckets")
        assert not declared(session, **document)["changed"]
        idle = server.monitor("varz")["in_msgs"]
        assert server.monitor("varz")["total_connections"] == 1
    # Each is written once. Lists have pages of 256
    assert made - before < 1801 + 30
    assert listed - made < 10
    assert idle - listed < 10


# Owners


def test_prune_leaves_others_alone(session: Session) -> None:
    mark = {OWNER: "shop"}
    declared(session, owner="wiki", streams=[{"name": "WIKI", "subjects": ["w"]}])
    declared(
        session,
        streams=[{"name": "KV_CHORIA_X", "metadata": mark}, {"name": "CHORIA_EVENTS", "metadata": mark}],
        governors=[{"name": "NOBODYS", "capacity": 1, "expire": "1m"}],
    )
    theirs = [("WIKI", "wiki"), ("CHORIA_EVENTS", "wiki"), ("CHORIA_EVENTS", None), ("CHORIA_EVENTS", "shop")]
    for stream, owner in theirs:
        declared(session, owner=owner, consumers=[{"stream": stream, "name": f"OF_{owner}"}])
    result = declared(session, owner="shop", prune=True, allow_data_loss=True)
    # A consumer with the owner's mark is pruned, even if its stream has another owner
    assert outcome(result) == {"consumer CHORIA_EVENTS/OF_shop": "delete"}
    assert lists.stream_names(session) == ["CHORIA_EVENTS", "GOVERNOR_NOBODYS", "KV_CHORIA_X", "WIKI"]
    assert names(session, "CHORIA_EVENTS") == ["OF_None", "OF_wiki"]
    assert not declared(session, owner="shop", prune=True)["changed"]


def test_prune_asks_before_messages_go_with_a_consumer(session: Session) -> None:
    declared(session, streams=[{"name": "NEWS", "subjects": ["news"], "retention": "interest"}])
    declared(session, owner="shop", consumers=[{"stream": "NEWS", "name": "READER"}])
    publish(session, "news", "news")
    wait_until(lambda: [one["num_pending"] for one in consumers.list_all(session, "NEWS")] == [2])
    with pytest.raises(Problems) as refused:
        declared(session, owner="shop", prune=True)
    assert "consumer NEWS/READER: consumer READER: deleting it would lose 2 messages" in refused.value.message
    result = declared(session, owner="shop", prune=True, allow_data_loss=True)
    assert result["consequences"]["messages_lost"] == 2


def test_a_consumer_of_another_owner(session: Session) -> None:
    reader = {"stream": "A", "name": "READER"}
    declared(session, owner="wiki", streams=[{"name": "A", "subjects": ["a"]}], consumers=[reader])
    for wanted in (reader, {**reader, "state": "absent"}):
        with pytest.raises(Problems) as refused:
            declared(session, owner="shop", consumers=[wanted])
        assert refused.value.message.endswith(
            "consumers[0]: consumer A/READER belongs to the owner 'wiki': leave it out of this document, or set "
            "take_over: true if it is to be yours."
        )
    taken = declared(session, owner="shop", take_over=True, consumers=[reader])
    assert taken["resources"][0]["changes"][0]["after"] == {OWNER: "shop"}


def test_exact_mode_keeps_the_owner(session: Session) -> None:
    """The mark is set in one run and kept in the next, also without an owner, while other labels are removed."""
    kept = {"exact": True}
    document: dict[str, Any] = {
        "streams": [{"name": "A", "subjects": ["a"], **kept}],
        "consumers": [{"stream": "A", "name": "READER", **kept}],
        "kv_buckets": [{"name": "SHOP", **kept}],
        "governors": [{"name": "JOBS", "capacity": 1, "expire": "1m", **kept}],
    }
    declared(session, **document)
    for name in ("A", "KV_SHOP", "GOVERNOR_JOBS"):
        config = stream_info(session, name)["config"]
        streams.update(session, {**config, "metadata": {"a": "b"}})
    declared(session, consumers=[{"stream": "A", "name": "READER", "metadata": {"a": "b"}}])
    marked = declared(session, owner="shop", **document)
    for entry in marked["resources"]:
        (change,) = entry["changes"]
        assert (change["field"], change["after"]) == ("metadata", {OWNER: "shop"})
    for owner in ("shop", None):
        assert not declared(session, owner=owner, **document)["changed"]
    pruned = declared(session, owner="shop", prune=True)
    assert sorted(outcome(pruned)) == ["governor JOBS", "kv_bucket SHOP", "stream A"]
    assert lists.stream_names(session) == []


def test_pedantic_items(session: Session) -> None:
    """Streams and consumers of a document are validated as strictly as those of the separate modules."""
    stream = {"name": "STRICT", "subjects": ["strict"], "max_age": "30s", "pedantic": True}
    with pytest.raises(Unfinished, match=r"^One item .* streams\[0\] \(STRICT\): .*pedantic mode: duplicate window"):
        declared(session, streams=[stream])
    stream.update(duplicate_window="30s", consumer_limits={"max_ack_pending": 50, "inactive_threshold": "1h"})
    consumer = {"stream": "STRICT", "name": "c", "pedantic": True}
    with pytest.raises(Unfinished, match=r"^One item .* consumers\[0\] \(STRICT/c\): .*pedantic mode: "):
        declared(session, streams=[stream], consumers=[consumer])


# Secrets

SECRET = "S3cret-planted"


def test_values_of_secrets_are_in_no_output(session: Session) -> None:
    """Values are masked if the key's name looks like a secret in any notation, unless the document sets its own
    patterns.
    """
    bucket = {"name": "SHOP", "history": 2, "limit_marker_ttl": "1h"}
    entry = {"bucket": "SHOP", "key": "db.PassWord"}
    steps: list[tuple[dict[str, Any], str, str]] = [
        ({"value": SECRET}, "", "(masked)"),
        ({"value": f"{SECRET}2"}, "(masked)", "(masked, another value)"),
        ({"value": f"{SECRET}2", "ttl": "2h"}, "operation: put\nttl: None\n", "operation: put\nttl: 7200\n"),
        ({"state": "absent"}, "(masked)", ""),
    ]
    for given, before, after in steps:
        for check in (True, False):
            result = declared(session, check, kv_buckets=[bucket], keys=[{**entry, **given}])
            assert (result["diff"][-1]["before"], result["diff"][-1]["after"]) == (before, after)
            assert SECRET not in str(result)
    shown = declared(session, keys=[{**entry, "value": "x"}], mask=["*.pin"])
    assert shown["diff"][0]["after"] == "x"
    assert shown["resources"][0]["changes"][0]["after"] == "x"
    hidden = declared(session, keys=[{"bucket": "SHOP", "key": "card.PIN", "value": SECRET}], mask=["*.pin"])
    assert SECRET not in str(hidden)


def test_values_are_nowhere(make_server: MakeServer) -> None:
    """No output contains them, with full verbosity, and whether or not the task succeeds."""
    key = {"bucket": "SHOP", "key": "db.Password", "value": SECRET}
    document = {"kv_buckets": [{"name": "SHOP"}], "keys": [key]}
    tasks: list[dict[str, Any]] = [
        {"name": "made", "choria.streams.choria_resources": document},
        {"choria.streams.choria_resources": {"keys": [{**key, "bucket": "NONE"}]}, "ignore_errors": True},
        {"choria.streams.choria_resources": {"keys": [{**key, "ttl": "soon"}]}, "ignore_errors": True},
        {"name": "no list", "choria.streams.choria_resources": {"keys": key}, "ignore_errors": True},
        {"choria.streams.choria_resources": {"keys": [str(key)], "prune": "maybe"}, "ignore_errors": True},
    ]
    result = run_playbook(
        [{"hosts": "localhost", "gather_facts": False, "tasks": tasks}],
        env={"CHORIA_STREAMS_SERVERS": make_server().url, "ANSIBLE_INJECT_INVOCATION": "true"},
        diff=True,
        args=["-vvv"],
    ).check()
    assert result.task("made").result["diff"][-1]["after"] == "(masked)"
    assert result.task("made").result["invocation"]["module_args"]["keys"] == "1 items"
    assert result.task("no list").result["invocation"]["module_args"]["keys"] == "(masked)"
    assert SECRET not in result.output


# Permissions

ALLOWED = ["$JS.API.STREAM.INFO.>", "$JS.API.STREAM.CREATE.>", "$JS.API.STREAM.NAMES", "$JS.API.CONSUMER.INFO.>"]
NARROW = {
    "authorization": {
        "users": [{"user": "a", "password": "a", "permissions": {"publish": [*ALLOWED, "$JS.API.CONSUMER.CREATE.>"]}}]
    },
    "no_auth_user": "a",
}


def test_without_the_permission_to_list(make_server: MakeServer) -> None:
    document: dict[str, Any] = {
        "streams": [{"name": f"S{number}", "subjects": [f"s{number}"], "storage": "memory"} for number in range(100)],
        "consumers": [{"stream": "S0", "name": f"C{number}"} for number in range(100)],
    }
    with Session(settings(servers=make_server(NARROW).url)) as session:
        assert declared(session, **document)["summary"]["created"] == 200
        assert not declared(session, **document)["changed"]
        with pytest.raises(PermissionMissing) as refused:
            declared(session, owner="shop", prune=True)
        assert "$JS.API.STREAM.LIST" in refused.value.message


def test_the_connection_breaks(make_server: MakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server goes away during the writes. The error lists what was written, and a later run completes the rest."""
    server = make_server()
    document: dict[str, Any] = {
        "streams": [{"name": f"S{number}", "subjects": [f"s{number}"]} for number in range(WINDOW + 20)]
    }
    with Session(settings(servers=server.url)) as session:
        exchange, writes = session.request_many, []

        def breaking(requests: Any, **given: Any) -> Any:
            if any(".CREATE." in request.subject for request in requests):
                writes.append(requests)
            if len(writes) == 2:
                server.kill()
            return exchange(requests, **given)

        monkeypatch.setattr(session, "request_many", breaking)
        with pytest.raises(StreamsError) as raised:
            declared(session, **document)
        assert raised.value.failure["code"] == "unfinished"
        assert raised.value.result["summary"]["created"] + raised.value.result["summary"]["failed"] == WINDOW + 20
        assert raised.value.result["summary"]["failed"] >= 20
        server.start()
        monkeypatch.setattr(session, "request_many", exchange)
        assert declared(session, **document)["summary"]["failed"] == 0
        assert not declared(session, **document)["changed"]


def test_a_consumer_that_is_deleted_and_refused(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else takes its place. The error is that of the server, and what was deleted is a change."""
    declared(session, streams=[{"name": "S", "subjects": ["s"], "max_consumers": 2}])
    given: dict[str, Any] = {"consumers": [{"stream": "S", "name": "ours", "max_waiting": 5, "recreate": True}]}
    declared(session, **given)
    exchange = session.request_many

    def slow(requests: Any, *more: Any, **options: Any) -> Any:
        answers = exchange(requests, *more, **options)
        if any(request.subject.endswith("CONSUMER.DELETE.S.ours") for request in requests):
            consumers.create(session, "S", {"durable_name": "theirs", "ack_policy": "explicit"})
        return answers

    monkeypatch.setattr(session, "request_many", slow)
    given["consumers"][0]["max_waiting"] = 6
    with pytest.raises(Unfinished, match="maximum consumers limit reached") as raised:
        declared(session, **given)
    assert raised.value.result["changed"]
    assert outcome(raised.value.result) == {"consumer S/ours": "api"}


def test_one_problem_is_reported_once(session: Session) -> None:
    """A new stream takes over the subjects of another. If that may not be deleted, the subjects are no second
    problem.
    """
    declared(session, owner="me", streams=[{"name": "OLD", "subjects": ["a.>"]}])
    session.request("a.b", b"x")
    wanted: dict[str, Any] = {"owner": "me", "streams": [{"name": "NEW", "subjects": ["a.>"]}]}
    gone = [{"name": "OLD", "state": "absent"}, *wanted["streams"]]
    for given in ({**wanted, "streams": gone}, {**wanted, "prune": True}):
        with pytest.raises(Problems) as raised:
            declared(session, **given)
        assert [problem["code"] for problem in raised.value.failure["problems"]] == ["data_loss"]
        assert declared(session, True, **given, allow_data_loss=True)["summary"]["deleted"] == 1
    # The document's subjects of the old stream count
    wrong = [{"name": "OLD", "storage": "memory", "subjects": ["b.>"]}, {"name": "NEW", "subjects": ["a.>"]}]
    with pytest.raises(Problems) as raised:
        declared(session, owner="me", streams=wrong)
    assert [problem["code"] for problem in raised.value.failure["problems"]] == ["update_refused"]
    with pytest.raises(Problems) as raised:
        declared(session, owner="me", streams=[{"name": "OLD", "storage": "memory"}, wrong[1]])
    assert [problem["code"] for problem in raised.value.failure["problems"]] == ["update_refused", "subjects_overlap"]
