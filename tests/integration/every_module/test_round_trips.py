# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The number of exchanges with the server that each operation needs, which determine its duration with distant
servers.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.choria.streams.plugins.module_utils import _errors
from ansible_collections.choria.streams.plugins.module_utils._api import (
    answers,
    jetstream,
    lists,
    messages,
    reading,
    stream_snapshot,
    streams,
)
from ansible_collections.choria.streams.plugins.module_utils._api.kv import kv, kv_write
from ansible_collections.choria.streams.plugins.module_utils._api.kv.kv_snapshot import snapshot
from ansible_collections.choria.streams.plugins.module_utils._connection import flow
from ansible_collections.choria.streams.plugins.module_utils._connection.together import read_together
from ansible_collections.choria.streams.plugins.module_utils._connection.wire import Request
from ansible_collections.choria.streams.plugins.module_utils._operations.kv import past
from ansible_collections.choria.streams.plugins.module_utils._operations.kv.reader import KvReader
from ansible_collections.choria.streams.plugins.module_utils._operations.runs import info as run_info
from ansible_collections.choria.streams.plugins.module_utils._resources.kv.compaction import KV_BUCKET
from support import runs
from support.backups import backup, restore
from support.backups import fill as fill_stream
from support.connect import options, settings
from support.counted import CountedSession
from support.distance import Distance
from support.filling import publish_many
from support.manage import declared

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
    from conftest import MakeServer

pytestmark = pytest.mark.once


@pytest.fixture
def session(make_server: MakeServer) -> Iterator[CountedSession]:
    with CountedSession(settings(servers=make_server().url, timeout="60s")) as session:
        yield session


def brought_about(session: CountedSession, document: dict[str, Any]) -> int:
    """Apply a document. Return the number of exchanges."""
    session.restart()
    declared(session, **document)
    return session.exchanges


def mixed(size: int, version: int = 0) -> dict[str, Any]:
    """Return a document with about this many resources of all kinds. Versions differ in every updatable field."""
    part = max(1, size // 10)
    age = "24h" if not version else "12h"  # a lower age may delete messages, so the plan counts them
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
    """Its size adds only pages of lists and groups of requests: 2 lists, and 3 groups of more than 256."""
    more = 7 if size == 1000 else 0
    assert brought_about(session, mixed(size)) <= 9 + more
    assert brought_about(session, mixed(size)) <= 3 + more
    assert brought_about(session, mixed(size, version=1)) <= 10 + more
    assert session.requests <= 2.5 * size + 20


def test_more_copies_of_one_origin(session: CountedSession) -> None:
    """The origin is read once for all filters."""
    streams.create(session, {"name": "ORIGIN", "subjects": ["o.>"], "storage": "memory"})
    taken = []
    for size in (1, 50):
        mirrors = [{"name": "ORIGIN", "filter_subject": f"o.{number}"} for number in range(size)]
        session.restart()
        declared(
            session,
            check=True,
            streams=[{"name": f"C{index}", "mirror": mirror} for index, mirror in enumerate(mirrors)],
        )
        taken.append(session.exchanges)
    assert taken == [taken[0]] * 2


def test_one_key_of_each_bucket(session: CountedSession) -> None:
    count = 100
    buckets = [{"name": f"B{number}", "history": 5, "storage": "memory"} for number in range(count)]
    keys = [{"bucket": f"B{number}", "key": "key", "value": "1"} for number in range(count)]
    brought_about(session, {"kv_buckets": buckets, "keys": keys})
    assert brought_about(session, {"keys": keys}) <= 3
    changed = [{**key, "value": "2"} for key in keys]
    assert brought_about(session, {"keys": changed}) <= 5


def test_filters_that_get_narrower(session: CountedSession) -> None:
    """The messages that other consumers of interest streams wait for are read for all streams together."""
    count = 20
    wide = [
        {"name": f"I{number}", "subjects": [f"i{number}.>"], "retention": "interest", "storage": "memory"}
        for number in range(count)
    ]
    consumers = [{"stream": f"I{number}", "name": "C", "filter_subject": f"i{number}.>"} for number in range(count)]
    brought_about(session, {"streams": wide, "consumers": consumers})
    narrower = [{**each, "filter_subject": f"i{number}.a"} for number, each in enumerate(consumers)]
    assert brought_about(session, {"consumers": narrower}) <= 6


# Restores


def test_a_restore(session: CountedSession, tmp_path: Path) -> None:
    """A restore needs the checks before and after, and one request to begin and to end. Its chunks are sent
    together.
    """
    fill_stream(session, count=5)
    path = backup(session, tmp_path, stream="ORDERS")["backup"]["path"]
    streams.delete(session, "ORDERS")
    session.restart()
    restore(session, path)
    assert session.exchanges <= 7
    session.restart()
    assert not restore(session, path)["changed"]
    assert session.exchanges <= 2


def test_the_chunks_of_a_restore(session: CountedSession) -> None:
    """With a distant server more chunks are on their way. A wait after each 4 MiB would stop ten times."""
    round_trip, stops, last = 0.5, 0, 0.0

    def chunks() -> Iterator[Request]:
        nonlocal stops, last
        for number in range(320):
            stops += number > 0 and time.monotonic() - last > 0.8 * round_trip
            last = time.monotonic()
            yield Request(receiver.subject, bytes(128 << 10))

    fill_stream(session, count=5)
    info = streams.info(session, "ORDERS")
    assert info
    streams.delete(session, "ORDERS")
    receiver = stream_snapshot.begin_restore(session, info["config"], info["state"], 20.0)
    answers: list[Any] = []
    port = int(session.settings.servers[0].rpartition(":")[2])
    with (
        Distance(port, round_trip / 2) as far,
        CountedSession(settings(servers=far.url, timeout="60s")) as away,
    ):
        away.connect()
        flow.send(away, chunks(), 128 << 10, 60, answers.append)
    assert len(answers) == 320 and not [answer for answer in answers if isinstance(answer, _errors.StreamsError)]
    assert stops <= 5


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
    """One request with room for 1,024 keys, then one pass: create a consumer, pull, and delete it."""
    values = {f"a.{number}": b"%d" % number for number in range(5000)}
    bucket = bucket_of(session, values)
    session.restart()
    found = snapshot(session, bucket, "a.")
    assert {key: entry.value for key, entry in found.items()} == values
    assert session.exchanges == session.requests == 4


def test_values_that_are_large_together(session: CountedSession) -> None:
    """Requests on their way stay below the server's limit for a client."""
    values = {f"a.{number}": b"x" * 60_000 for number in range(1100)}
    bucket = bucket_of(session, values)
    session.restart()
    assert {key: entry.value for key, entry in kv.last_many(session, bucket, list(values)).items()} == values
    assert session.exchanges <= 8


def test_lookups_of_single_keys(session: CountedSession) -> None:
    """A bucket is opened while its key is read, and all buckets of a call are read together."""
    names = [f"B{number}" for number in range(20)]
    keys = [{"bucket": name, "key": "key", "value": "x"} for name in names]
    brought_about(session, {"kv_buckets": [{"name": name} for name in names], "keys": keys})
    reader = KvReader(session)
    for selection in ({"B0": ["key"]}, {"B0": ["key"]}, {name: ["key"] for name in names}):
        session.restart()
        found = reader.last(selection)
        assert [entries["key"].value for entries in found.values()] == [b"x"] * len(selection)
        assert session.exchanges == 1


def test_a_prefix_as_it_was(session: CountedSession) -> None:
    """All keys that changed since then are read together."""
    bucket = bucket_of(session, {f"a.{number}": b"old" for number in range(500)})
    then = bucket.last_sequence
    put(session, bucket, {f"a.{number}": b"new" for number in range(400, 1000)})
    session.restart()
    found = past.below_as_of(session, bucket, "a.", then)
    assert {key: entry.value for key, entry in found.items()} == {f"a.{number}": b"old" for number in range(500)}
    assert session.exchanges <= 4


def test_marks_of_deleted_keys(session: CountedSession) -> None:
    """One pass finds the markers. Only the values of deleted keys are counted."""
    bucket = bucket_of(session, {f"a.{number}": b"x" for number in range(2000)})
    writes = [(bucket, f"a.{number}", {"operation": kv.DELETED}) for number in range(10)]
    assert not [answer for answer in kv_write.write_many(session, writes) if isinstance(answer, _errors.StreamsError)]
    session.restart()
    _state, marks, values = KV_BUCKET.read(session, options(KV_BUCKET, name="B", compact="0"))
    assert (len(marks), values) == (10, 10)
    assert session.exchanges <= 6
    assert session.requests <= 15


# Messages and runs


def test_the_last_messages_of_a_stream_with_gaps(session: CountedSession) -> None:
    """Half of the messages are gone, so the read begins about twice as far back. It needs pages of 512, and few
    more.
    """
    fill(session, 6000)
    purged = [("Purging", "STREAM.PURGE.S", answers.Purged, {"filter": f"s.{number}"}) for number in range(0, 6000, 2)]
    assert not [answer for answer in jetstream.call_many(session, purged) if isinstance(answer, _errors.StreamsError)]
    session.restart()
    found = reading.newest(session, "S", count=2500)
    assert [message.sequence for message in found] == list(range(1002, 6001, 2))
    assert session.exchanges <= 2 + 2500 // 512 + 3


def test_a_run_that_is_not_there(session: CountedSession) -> None:
    """The result does not need all events of the stream."""
    runs.declare(session, allow_direct=True, storage="memory")
    results = [(f"web{number}", "ok") for number in range(500)]
    for number in range(20):
        runs.store(session, runs.whole_run(f"run-{number}", results))
    # A run without start and end, which began before the oldest event
    runs.store(session, runs.whole_run("running", results)[1:-1])
    given = {row.option: row.argument_extra.get("default") for row in run_info.SPEC}
    session.restart()
    assert run_info.read(session, {**given, "run_id": "nothing"})["runs"] == []
    assert session.exchanges <= 10
    [running] = run_info.read(session, {**given, "run_id": "running"})["runs"]
    assert running["start_missing"]


# Parallel reads


def fill(session: Session, count: int) -> None:
    streams.create(session, {"name": "S", "subjects": ["s.*"], "storage": "memory", "allow_direct": True})
    for answer in publish_many(session, "Filling", (Request(f"s.{number}", b"x") for number in range(count))):
        assert isinstance(answer, dict)


def test_reads_of_different_lengths(session: CountedSession) -> None:
    """Twice as many exchanges as the longest of 600 reads, since 512 reads run at a time."""
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
        lists.stream_names(each)
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
            lists.stream_names(each)
        finally:
            ended.append("read")

    with monkeypatch.context() as patched:
        patched.setattr(session, "request_many", interrupted)
        with pytest.raises(KeyboardInterrupt):
            read_together(session, [read, read])
    assert lists.stream_names(session) == []


def test_a_read_does_not_write(session: CountedSession) -> None:
    def write(each: Session) -> list[str]:
        return [streams.create(each, {"name": "S"})["config"]["name"]]

    reads: list[Callable[[Session], list[str]]] = [write, lists.stream_names]
    found = read_together(session, reads)
    assert isinstance(found[0], _errors.Refused)
    assert found[1] == []


def test_each_read_gets_the_error_of_the_connection(session: CountedSession, make_server: MakeServer) -> None:
    server = make_server()
    with CountedSession(settings(servers=server.url, timeout="1s")) as other:
        other.connect()
        server.stop()
        found = read_together(other, [lists.stream_names, lists.stream_names])
    assert all(isinstance(error, _errors.Unreachable) for error in found)
