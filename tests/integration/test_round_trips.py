# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""How many exchanges with the server work needs: far from a server each takes its time, however little it asks."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.choria.streams.plugins.module_utils import _errors
from ansible_collections.choria.streams.plugins.module_utils._api import jetstream, messages, reading, streams
from ansible_collections.choria.streams.plugins.module_utils._api.kv import kv, kv_write
from ansible_collections.choria.streams.plugins.module_utils._api.kv.kv_snapshot import snapshot
from ansible_collections.choria.streams.plugins.module_utils._connection.together import read_together
from ansible_collections.choria.streams.plugins.module_utils._connection.wire import Request
from ansible_collections.choria.streams.plugins.module_utils._operations.kv import past
from ansible_collections.choria.streams.plugins.module_utils._operations.runs import info as run_info
from ansible_collections.choria.streams.plugins.module_utils._resources.kv.compactable import COMPACTABLE
from ansible_collections.choria.streams.plugins.module_utils._resources.kv.compaction import COMPACTING
from support import runs
from support.connect import options, settings
from support.counted import CountedSession
from support.manage import declared

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
    from conftest import MakeServer

pytestmark = pytest.mark.once


@pytest.fixture
def session(make_server: MakeServer) -> Iterator[CountedSession]:
    with CountedSession(settings(servers=make_server().url, timeout="60s")) as session:
        yield session


def brought_about(session: CountedSession, document: dict[str, Any]) -> int:
    """Bring about a document. Return how many exchanges that took."""
    session.restart()
    declared(session, **document)
    return session.exchanges


def mixed(size: int, version: int = 0) -> dict[str, Any]:
    """About so many resources of all kinds. Those of another version differ in everything that can be updated."""
    part = max(1, size // 10)
    age = "24h" if not version else "12h"  # may delete messages, so that it is counted how many
    streams_ = [
        {"name": f"S{number}", "subjects": [f"s{number}.>"], "storage": "memory", "max_age": age}
        for number in range(part)
    ]
    wanted = [
        {"stream": f"S{number % part}", "name": f"C{number}", "description": f"version {version}"}
        for number in range(4 * part)
    ]
    buckets = [{"name": f"B{number}", "history": 5 + version, "storage": "memory"} for number in range(2 * part)]
    governors = [{"name": f"G{number}", "capacity": 5 + version, "expire": "20m"} for number in range(part)]
    keys = [{"bucket": f"B{number}", "key": "key", "value": f"{version}"} for number in range(2 * part)]
    return {"streams": streams_, "consumers": wanted, "kv_buckets": buckets, "governors": governors, "keys": keys}


@pytest.mark.parametrize("size", [10, 100, 1000])
def test_a_larger_document_takes_no_more_exchanges(session: CountedSession, size: int) -> None:
    """Pages of lists and parts of groups are all that comes with its size: 2 lists, and 3 groups of more than 256."""
    more = 7 if size == 1000 else 0
    assert brought_about(session, mixed(size)) <= 9 + more
    assert brought_about(session, mixed(size)) <= 3 + more
    assert brought_about(session, mixed(size, version=1)) <= 10 + more
    assert session.requests <= 2.5 * size + 20


def test_one_key_of_each_bucket(session: CountedSession) -> None:
    count = 100
    buckets = [{"name": f"B{number}", "history": 5, "storage": "memory"} for number in range(count)]
    keys = [{"bucket": f"B{number}", "key": "key", "value": "1"} for number in range(count)]
    brought_about(session, {"kv_buckets": buckets, "keys": keys})
    assert brought_about(session, {"keys": keys}) <= 3
    changed = [{**key, "value": "2"} for key in keys]
    assert brought_about(session, {"keys": changed}) <= 5


def test_filters_that_get_narrower(session: CountedSession) -> None:
    """What the other consumers of a stream by interest wait for is read of all streams at once."""
    count = 20
    wide = [
        {"name": f"I{number}", "subjects": [f"i{number}.>"], "retention": "interest", "storage": "memory"}
        for number in range(count)
    ]
    consumers = [{"stream": f"I{number}", "name": "C", "filter_subject": f"i{number}.>"} for number in range(count)]
    brought_about(session, {"streams": wide, "consumers": consumers})
    narrower = [{**each, "filter_subject": f"i{number}.a"} for number, each in enumerate(consumers)]
    assert brought_about(session, {"consumers": narrower}) <= 6


# Keys


def put(session: Session, bucket: kv.Bucket, values: dict[str, bytes]) -> None:
    writes = [(bucket, key, {"operation": kv.PUT, "value": value}) for key, value in values.items()]
    assert not [answer for answer in kv_write.write_many(session, writes) if isinstance(answer, _errors.StreamsError)]


def bucket_of(session: Session, values: dict[str, bytes]) -> kv.Bucket:
    """A bucket that keeps five revisions of each key."""
    config = {"name": "KV_B", "subjects": ["$KV.B.>"], "allow_direct": True, "max_msgs_per_subject": 5}
    streams.create(session, {**config, "allow_rollup_hdrs": True, "storage": "memory"})
    put(session, kv.Bucket("B"), values)
    return kv.open_bucket(session, "B")[0]


def test_many_keys(session: CountedSession) -> None:
    """A list of them, then batches of 1,024 that are under way together."""
    values = {f"a.{number}": b"%d" % number for number in range(5000)}
    bucket = bucket_of(session, values)
    session.restart()
    found = snapshot(session, bucket, "a.")
    assert {key: entry.value for key, entry in found.items()} == values
    assert session.exchanges <= 3


def test_values_that_are_large_together(session: CountedSession) -> None:
    """What is under way stays below what a server keeps for a client."""
    values = {f"a.{number}": b"x" * 60_000 for number in range(1100)}
    bucket = bucket_of(session, values)
    session.restart()
    assert {key: entry.value for key, entry in kv.last_many(session, bucket, list(values)).items()} == values
    assert session.exchanges <= 8


def test_a_prefix_as_it_was(session: CountedSession) -> None:
    """Keys that were written since are read together, however many they are."""
    bucket = bucket_of(session, {f"a.{number}": b"old" for number in range(500)})
    then = bucket.last_sequence
    put(session, bucket, {f"a.{number}": b"new" for number in range(400, 1000)})
    session.restart()
    found = past.below_as_of(session, bucket, "a.", then)
    assert {key: entry.value for key, entry in found.items()} == {f"a.{number}": b"old" for number in range(500)}
    assert session.exchanges <= 4


def test_marks_of_deleted_keys(session: CountedSession) -> None:
    """All keys are listed once to find them. Only of those that are deleted it is counted how many values there are."""
    bucket = bucket_of(session, {f"a.{number}": b"x" for number in range(2000)})
    writes = [(bucket, f"a.{number}", {"operation": kv.DELETED}) for number in range(10)]
    assert not [answer for answer in kv_write.write_many(session, writes) if isinstance(answer, _errors.StreamsError)]
    session.restart()
    found = COMPACTING.read(session, options(COMPACTABLE, name="B", compact="0"))
    assert (len(found.marks), found.values) == (10, 10)
    assert session.exchanges <= 7
    assert session.requests <= 17


# Messages and runs


def test_the_last_messages_of_a_stream_with_gaps(session: CountedSession) -> None:
    """Where half of the messages are gone, about twice as far back: pages of 512, and few that are not needed."""
    fill(session, 6000)
    purged = [("Purging", "STREAM.PURGE.S", {"filter": f"s.{number}"}) for number in range(0, 6000, 2)]
    assert not [answer for answer in jetstream.call_many(session, purged) if isinstance(answer, _errors.StreamsError)]
    session.restart()
    found = reading.newest(session, "S", count=2500)
    assert [message.sequence for message in found] == list(range(1002, 6001, 2))
    assert session.exchanges <= 2 + 2500 // 512 + 3


def test_a_run_that_is_not_there(session: CountedSession) -> None:
    """Its absence is told without reading all events of the stream."""
    runs.declare(session, allow_direct=True, storage="memory")
    results = [(f"web{number}", "ok") for number in range(500)]
    for number in range(20):
        runs.store(session, runs.whole_run(f"run-{number}", results))
    # Neither start nor end: it runs since before the oldest event
    runs.store(session, runs.whole_run("running", results)[1:-1])
    given = {row.option: row.argument_extra.get("default") for row in run_info.SPEC}
    session.restart()
    assert run_info.read(session, {**given, "run_id": "nothing"})["runs"] == []
    assert session.exchanges <= 10
    [running] = run_info.read(session, {**given, "run_id": "running"})["runs"]
    assert running["start_missing"]


# Reads together


def fill(session: Session, count: int) -> None:
    streams.create(session, {"name": "S", "subjects": ["s.*"], "storage": "memory", "allow_direct": True})
    for answer in messages.publish_many(session, "Filling", (Request(f"s.{number}", b"x") for number in range(count))):
        assert isinstance(answer, dict)


def test_reads_of_different_lengths(session: CountedSession) -> None:
    """As many exchanges as the longest of 600 reads waits for, twice, since 512 run at a time."""
    fill(session, 5)

    def read(number: int, each: Session) -> list[int]:
        found = [messages.get(each, "S", sequence=1 + step) for step in range(number % 3)]
        return [message.sequence for message in found if message]

    session.restart()
    results = read_together(session, [partial(read, number) for number in range(600)])
    assert results == [list(range(1, 1 + number % 3)) for number in range(600)]
    assert session.exchanges <= 4
    assert session.requests == 600


def test_the_error_of_a_read_is_its_own(session: CountedSession) -> None:
    fill(session, 1)

    def read(stream: str, each: Session) -> object:
        return messages.get(each, stream, sequence=1)

    found = read_together(session, [partial(read, name) for name in ("S", "NONE", "S")])
    assert [isinstance(result, _errors.ApiError) for result in found] == [False, True, False]


def test_a_bug_in_a_read_is_raised(session: CountedSession) -> None:
    def wrong(each: Session) -> list[str]:
        streams.names(each)
        raise IndexError("of a read")

    with pytest.raises(IndexError, match="of a read"):
        read_together(session, [wrong, wrong])


def test_a_signal_ends_all_reads(session: CountedSession, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_arguments: object, **_options: object) -> None:
        raise KeyboardInterrupt

    session.connect()
    ended: list[str] = []

    def read(each: Session) -> None:
        try:
            streams.names(each)
        finally:
            ended.append("read")

    with monkeypatch.context() as patched:
        patched.setattr(session, "request_many", interrupted)
        with pytest.raises(KeyboardInterrupt):
            read_together(session, [read, read])
    assert streams.names(session) == []


def test_a_read_does_not_write(session: CountedSession) -> None:
    def write(each: Session) -> list[str]:
        return [streams.create(each, {"name": "S"})["type"]]

    reads: list[Callable[[Session], list[str]]] = [write, streams.names]
    found = read_together(session, reads)
    assert isinstance(found[0], _errors.Refused)
    assert found[1] == []


def test_nobody_answers(session: CountedSession, make_server: MakeServer) -> None:
    server = make_server()
    with CountedSession(settings(servers=server.url, timeout="1s")) as other:
        other.connect()
        server.stop()
        found = read_together(other, [streams.names, streams.names])
    assert all(isinstance(error, _errors.Unreachable) for error in found)
