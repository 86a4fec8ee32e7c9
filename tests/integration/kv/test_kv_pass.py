# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Many keys in one pass of a consumer: what it reads, which answers it rejects, and how the snapshot then continues."""

from __future__ import annotations

import socket
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.choria.streams.plugins.module_utils._api import consumers, messages, reading, streams
from ansible_collections.choria.streams.plugins.module_utils._api.kv import kv, kv_pass, kv_snapshot, kv_watch, kv_write
from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from ansible_collections.choria.streams.plugins.module_utils._errors import Refused, StreamsError
from support.cluster import nats_cluster
from support.connect import settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from conftest import MakeServer
    from support.server import NatsServer

pytestmark = pytest.mark.once

OLD = "2.10"
# More keys than a direct read may have
MANY = {f"a.{number:04}": b"value %d" % number for number in range(1200)}
_numbers = count()


@pytest.fixture
def session(server: NatsServer) -> Iterator[Session]:
    """A read-only session, as of lookups and check mode."""
    with Session(settings(servers=server.url), read_only=True) as session:
        yield session


def put(session: Session, bucket: kv.Bucket, values: dict[str, bytes], **given: Any) -> None:
    writes = [(bucket, key, {"operation": kv.PUT, "value": value, **given}) for key, value in values.items()]
    assert not [answer for answer in kv_write.write_many(session, writes) if isinstance(answer, StreamsError)]


def bucket_of(server: NatsServer, values: dict[str, bytes], history: int = 1, **config: Any) -> kv.Bucket:
    name = f"P{next(_numbers)}"
    kept = {"max_msgs_per_subject": history, "allow_direct": True, "allow_rollup_hdrs": True}
    with Session(settings(servers=server.url)) as session:
        streams.create(session, {"name": f"KV_{name}", "subjects": [f"$KV.{name}.>"], **kept, **config})
        put(session, kv.Bucket(name), values)
        return kv.open_bucket(session, name)[0]


def write(server: NatsServer, bucket: kv.Bucket, values: dict[str, bytes]) -> None:
    with Session(settings(servers=server.url)) as session:
        put(session, bucket, values)


def passed(session: Session, bucket: kv.Bucket, keys: str = ">", **given: Any) -> dict[str, kv.Entry]:
    return {entry.key: entry for entry in kv_pass.newest(session, bucket, keys, **given)}


def left_over(server: NatsServer, bucket: kv.Bucket) -> list[str]:
    with Session(settings(servers=server.url)) as session:
        return [info["name"] for info in consumers.list_all(session, bucket.stream)]


@pytest.mark.parametrize("history", [1, 5])
def test_a_pass_returns_what_single_reads_return(server: NatsServer, session: Session, history: int) -> None:
    """A pass returns the same revisions as single reads, and leaves nothing on the server."""
    bucket = bucket_of(server, {**MANY, "b": b"other"}, history)
    with Session(settings(servers=server.url)) as writing:
        kv_write.write(writing, bucket, "a.0003", kv.PUT, b"again")
        for key, operation in (("a.0005", kv.DELETED), ("a.0007", kv.PURGED)):
            kv_write.write(writing, bucket, key, operation)
        subject = bucket.subject("a.empty")
        messages.publish(writing, "Writing", subject, b"", {"Status": "404", "KV-Operation": "other"})
    entries = passed(session, bucket, "a.>")
    assert sorted(entries) == [*MANY, "a.empty"]
    for key in ("a.0001", "a.0003", "a.0005", "a.0007", "a.empty"):
        last = kv.last(session, bucket, key)
        assert last
        assert entries[key].created == last.created
        assert entries[key]._replace(time=last.time) == last
    assert passed(session, bucket, "c.>") == {}
    markers = kv_snapshot.markers(session, kv.open_bucket(session, bucket.name)[0])
    assert [(entry.key, entry.operation) for entry in markers] == [("a.0005", kv.DELETED), ("a.0007", kv.PURGED)]
    headers = passed(session, bucket, headers_only=True)
    assert set(headers) == {*entries, "b"}
    assert {entry.value for entry in headers.values()} == {b""}
    assert not left_over(server, bucket)


@pytest.mark.parametrize("status", ["100", "204", "404", "408", "503", "other"])
def test_a_stored_header_is_not_taken_for_a_status(server: NatsServer, session: Session, status: str) -> None:
    bucket = bucket_of(server, {f"k{number}": b"v" for number in range(6)}, 1)
    with Session(settings(servers=server.url)) as writing:
        messages.publish(writing, "Writing", bucket.subject("k3"), b"new", {"Status": status, "Description": "x"})
    keys = [f"k{number}" for number in range(6)]
    assert sorted(kv.last_many(session, bucket, keys)) == keys
    assert sorted(kv_snapshot.snapshot(session, bucket, "")) == keys
    assert len(list(reading.onward(session, bucket.stream))) == 6


def test_a_key_that_is_not_utf_8(server: NatsServer, session: Session) -> None:
    """Any client may write one. It hides no other key, in a pass or from a watch."""
    bucket = bucket_of(server, {"a": b"1", "c": b"3"})
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(b'CONNECT {"verbose":false}\r\nPUB $KV.%s.\xff 1\r\n2\r\nPING\r\n' % bucket.name.encode())
        received = b""
        while b"PONG" not in received:
            received += client.recv(1 << 16)
    assert {key: entry.value for key, entry in passed(session, bucket).items()} == {
        "a": b"1",
        "\ufffd": b"2",
        "c": b"3",
    }
    watch = kv_watch.Watch(session, bucket, [">"])
    assert [entry.key for entry in (watch.next(5.0) for _number in range(3)) if entry] == ["a", "c", "\ufffd"]
    watch.close()


@pytest.mark.parametrize("history", [1, 2, 5])
def test_several_pulls(server: NatsServer, session: Session, history: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kv_pass, "_BYTES", 50_000)
    bucket = bucket_of(server, MANY, history)
    assert {key: entry.value for key, entry in passed(session, bucket).items()} == MANY
    assert len(passed(session, bucket, headers_only=True)) == len(MANY)
    assert not left_over(server, bucket)


def test_values_that_are_larger_than_a_pull(
    server: NatsServer, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kv_pass, "_BYTES", 1000)
    bucket = bucket_of(server, {**MANY, "a.0600": b"x" * 2000})
    with pytest.raises(kv_pass.NotRead):
        passed(session, bucket)
    assert len(kv_snapshot.snapshot(session, bucket, "")) == len(MANY)
    assert not left_over(server, bucket)


class Meanwhile:
    """Calls a function when a pass pulls for the first time, when its consumer exists."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, call: Any) -> None:
        publish, self.calls = Session.publish, 0

        def called(session: Session, *arguments: Any, **options: Any) -> None:
            if options.get("reply"):
                self.calls += 1
                if self.calls == 1:
                    call()
            publish(session, *arguments, **options)

        monkeypatch.setattr(Session, "publish", called)


@pytest.mark.parametrize("history", [1, 5])
def test_writes_meanwhile(server: NatsServer, session: Session, history: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pass includes writes to existing keys and new keys."""
    bucket = bucket_of(server, MANY, history)
    written = {"a.0001": b"new", "a.1199": b"new", "a.new": b"new"}
    Meanwhile(monkeypatch, lambda: write(server, bucket, written))
    assert {key: entry.value for key, entry in passed(session, bucket).items()} == {**MANY, **written}


def test_a_message_that_is_replaced_before_its_turn(
    server: NatsServer, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server sends nothing for the key. The pass detects this, and the snapshot reads the keys in another way."""
    bucket = bucket_of(server, MANY, history=2)

    def write_often() -> None:
        for turn in range(3):
            write(server, bucket, {"a.0600": b"%d" % turn})

    replaced = Meanwhile(monkeypatch, write_often)
    with pytest.raises(kv_pass.NotRead):
        passed(session, bucket)
    replaced.calls = 0
    entries = kv_snapshot.snapshot(session, bucket, "a.")
    assert list(entries) == list(MANY)
    assert entries["a.0600"].value == b"2"
    assert not left_over(server, bucket)


def test_keys_that_are_removed_meanwhile(server: NatsServer, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = bucket_of(server, MANY)

    def remove() -> None:
        with Session(settings(servers=server.url)) as removing:
            streams.purge(removing, bucket.stream, {"filter": bucket.subject("a.0600")})

    Meanwhile(monkeypatch, remove)
    with pytest.raises(kv_pass.NotRead):
        passed(session, bucket)


def test_the_bucket_is_deleted_meanwhile(server: NatsServer, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kv_pass, "_SILENCE", 0.5)
    bucket = bucket_of(server, MANY)

    def delete() -> None:
        with Session(settings(servers=server.url)) as deleting:
            streams.delete(deleting, bucket.stream)

    Meanwhile(monkeypatch, delete)
    with pytest.raises(StreamsError, match=f"^bucket: there is no bucket {bucket.name}"):
        kv_snapshot.snapshot(session, bucket, "")


def test_the_connection_breaks_meanwhile(make_server: MakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server = make_server()
    bucket = bucket_of(server, MANY)
    with Session(settings(servers=server.url)) as session:
        Meanwhile(monkeypatch, server.restart)
        entries = kv_snapshot.snapshot(session, bucket, "")
    assert {key: entry.value for key, entry in entries.items()} == MANY


def test_a_server_that_hangs_is_waited_for_once(make_server: MakeServer) -> None:
    server = make_server()
    bucket = bucket_of(server, MANY)
    with Session(settings(servers=server.url, timeout="500ms", connect_timeout="500ms"), read_only=True) as session:
        session.connect()
        with server.frozen(), pytest.raises(StreamsError, match="stopped answering: nothing came for "):
            kv_snapshot.snapshot(session, bucket, "")


READS = ["$JS.API.STREAM.INFO.*", "$JS.API.DIRECT.GET.>"]
CONSUMERS = ["$JS.API.CONSUMER.CREATE.>", "$JS.API.CONSUMER.MSG.NEXT.*.*", "$JS.API.CONSUMER.DELETE.*.*"]


@pytest.mark.parametrize(
    ("rights", "by_pass"),
    [
        (READS, False),
        ([*READS, CONSUMERS[0]], False),
        ([*READS, *CONSUMERS[:2]], True),
        ([READS[0], *CONSUMERS], True),
    ],
)
def test_rights(make_server: MakeServer, rights: list[str], by_pass: bool) -> None:
    """Without permissions for a consumer, the keys are listed and read."""
    publish = {"publish": rights, "subscribe": ["_INBOX.>"]}
    users = [{"user": "root", "password": "x"}, {"user": "ann", "password": "x", "permissions": publish}]
    server = make_server({"authorization": {"users": users}})
    with Session(settings(servers=server.url, user="root", password="x")) as session:
        streams.create(session, {"name": "KV_P", "subjects": ["$KV.P.>"], "allow_direct": True})
        put(session, kv.Bucket("P"), MANY)
    with Session(settings(servers=server.url, user="ann", password="x"), read_only=True) as ann:
        bucket = kv.open_bucket(ann, "P")[0]
        assert len(kv_snapshot.snapshot(ann, bucket, "")) == len(MANY)
        if by_pass:
            assert len(passed(ann, bucket)) == len(MANY)
        else:
            with pytest.raises(kv_pass.NotRead):
                passed(ann, bucket)


def test_a_stream_that_takes_no_consumer(server: NatsServer, session: Session) -> None:
    bucket = bucket_of(server, MANY, max_consumers=1)
    with Session(settings(servers=server.url)) as other:
        consumers.create(other, bucket.stream, {"durable_name": "C", "ack_policy": "explicit"})
    with pytest.raises(kv_pass.NotRead):
        passed(session, bucket)
    assert len(kv_snapshot.snapshot(session, bucket, "")) == len(MANY)
    assert left_over(server, bucket) == ["C"]


def test_messages_that_got_lost(server: NatsServer, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = bucket_of(server, MANY)
    receive = Session.receive

    def lossy(each: Session, timeout: float) -> Any:
        message = receive(each, timeout)
        return receive(each, timeout) if message and message.subject.endswith(".0500") else message

    monkeypatch.setattr(Session, "receive", lossy)
    with pytest.raises(kv_pass.NotRead):
        passed(session, bucket)


class Failing(kv_snapshot.Entries):
    """Fails with the tenth key."""

    def add(self, entries: Iterable[kv.Entry]) -> None:
        super().add(entry for number, entry in enumerate(entries) if number < 10 or self.fail())

    def fail(self) -> bool:
        raise Refused("A file is gone.")


def test_a_collector_that_fails(server: NatsServer, session: Session) -> None:
    """Its error ends the pass, which leaves nothing behind."""
    bucket = bucket_of(server, MANY)
    with pytest.raises(Refused, match=r"^A file is gone\.$") as refused:
        kv_snapshot.collect(session, bucket, "a.", Failing())
    assert not left_over(server, bucket)
    assert refused.value.__traceback__
    assert len(kv_snapshot.snapshot(session, bucket, "a.")) == len(MANY)


def test_replicas(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass is used only if the consumer's server has the whole bucket."""
    with nats_cluster() as servers, Session(settings(servers=[each.url for each in servers])) as session:
        bucket = bucket_of(servers[0], MANY, num_replicas=3)
        behind: set[str] = set()
        info = streams.info

        def with_replicas_behind(session: Session, name: str) -> Any:
            found = info(session, name)
            for peer in streams.cluster_of(found).get("replicas") or ():
                peer["current"] = peer["current"] and peer["name"] not in behind
            return found

        monkeypatch.setattr(streams, "info", with_replicas_behind)
        for _turn in range(4):
            assert {key: entry.value for key, entry in kv_snapshot.snapshot(session, bucket, "").items()} == MANY
        behind.update(("n1", "n2", "n3"))
        outcomes = set()
        for _turn in range(20):
            try:
                outcomes.add(len(passed(session, bucket)))
            except kv_pass.NotRead:
                outcomes.add(0)
        assert 0 in outcomes
        assert outcomes <= {0, len(MANY)}


def test_another_api_prefix(server: NatsServer) -> None:
    """Messages of consumers behind another prefix may not arrive here."""
    bucket = bucket_of(server, MANY)
    with Session(settings(servers=server.url, api_prefix="OTHER.API")) as session, pytest.raises(kv_pass.NotRead):
        passed(session, bucket)
