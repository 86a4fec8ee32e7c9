# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""A wait for keys ends in time, sends no requests meanwhile, and misses no change when connections break."""

from __future__ import annotations

import threading
import time
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.choria.streams.plugins.module_utils._api import consumers, streams
from ansible_collections.choria.streams.plugins.module_utils._api.kv import kv, kv_watch, kv_write
from ansible_collections.choria.streams.plugins.module_utils._api.kv.kv_watch import Watch
from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from ansible_collections.choria.streams.plugins.module_utils._errors import OptionError, PermissionMissing, StreamsError
from ansible_collections.choria.streams.plugins.module_utils._operations.kv.past import below_as_of, keys_as_of
from ansible_collections.choria.streams.plugins.module_utils._operations.kv.reader import KvReader
from ansible_collections.choria.streams.plugins.module_utils._operations.kv.watch import SPEC, watch
from support.connect import settings
from support.proxy import Frame, Proxy
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import MakeServer
    from support.server import NatsServer

OLD = "2.10"
_numbers = count()


@pytest.fixture
def session(server: NatsServer) -> Iterator[Session]:
    with Session(settings(servers=server.url)) as session:
        yield session


def make_bucket(session: Session, **config: Any) -> kv.Bucket:
    name = f"W{next(_numbers)}"
    whole = {"name": f"KV_{name}", "subjects": [f"$KV.{name}.>"], "allow_direct": True, "allow_rollup_hdrs": True}
    streams.create(session, {**whole, **config})
    return kv.open_bucket(session, name)[0]


def waited(session: Session, bucket: kv.Bucket, *keys: str, check: bool = False, **given: Any) -> dict[str, Any]:
    """Return the module's result. A read-only session, as of a lookup, is enough."""
    result = ArgumentSpecValidator(SPEC.argument_spec(), **SPEC.rules).validate(
        {"bucket": bucket.name, "keys": list(keys), "max_wait": "60s", **given}
    )
    assert not result.error_messages
    session.read_only = True
    try:
        return watch(session, result.validated_parameters, check)
    finally:
        session.read_only = False


class Later:
    """Work that another client does as soon as the server has a watch."""

    def __init__(
        self, server: NatsServer, bucket: kv.Bucket, work: Callable[[Session], None], watches: int = 1
    ) -> None:
        self._server, self._bucket, self._work, self._watches = server, bucket, work, watches
        self._thread = threading.Thread(target=self._run)
        self.error: Exception | None = None

    def __enter__(self) -> Later:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._thread.join()
        if self.error:
            raise self.error

    def _run(self) -> None:
        try:
            with Session(settings(servers=self._server.url)) as session:
                deadline = time.monotonic() + 30
                while len(consumers.list_all(session, self._bucket.stream)) < self._watches:
                    if time.monotonic() > deadline:
                        raise AssertionError("nobody watches")
                    time.sleep(0.01)
                self._work(session)
        except Exception as error:
            self.error = error


def put(session: Session, bucket: kv.Bucket, **values: str) -> None:
    for key, value in values.items():
        kv_write.write(session, bucket, key, kv.PUT, value.encode())


def test_a_present_value_ends_the_wait(session: Session) -> None:
    bucket = make_bucket(session)
    put(session, bucket, a="1", b="2")
    found = waited(session, bucket, "b")
    assert found["matched"] is True
    assert found["changed"] is False
    entry = found["entry"]
    assert (entry["bucket"], entry["key"], entry["value"], entry["revision"]) == (bucket.name, "b", "2", 2)
    last = kv.last(session, bucket, "b")
    assert last is not None
    assert entry["created"] == last.created
    assert waited(session, bucket, "nothing", "b", "a", values=[2])["entry"]["key"] == "b"
    assert consumers.list_all(session, bucket.stream) == []


@pytest.mark.parametrize("updates_only", [False, True])
def test_woken_by_the_write(server: NatsServer, session: Session, updates_only: bool) -> None:
    bucket = make_bucket(session)
    put(session, bucket, a="old")

    def work(other: Session) -> None:
        for value in ("not this", "nor this", "this"):
            kv_write.write(other, bucket, "a", kv.DELETED)
            put(other, bucket, a=value, unrelated="this")

    with Later(server, bucket, work):
        given: dict[str, Any] = {} if updates_only else {"values": ["this", "that"]}
        found = waited(session, bucket, "a", "b", updates_only=updates_only, **given)
    assert found["entry"]["value"] == ("not this" if updates_only else "this")


def test_a_condition(server: NatsServer, session: Session) -> None:
    bucket = make_bucket(session)
    put(session, bucket, a='{"status": "starting", "nodes": []}', b="no JSON", c='{"status": 5}')
    ready = '{"status": "ready", "nodes": ["web1"]}'
    with Later(server, bucket, lambda other: put(other, bucket, b="still none", a=ready)):
        found = waited(
            session, bucket, "a", "b", "c", format="json", condition="starts_with(status, 'rea') && nodes[0]"
        )
    assert found["entry"]["value"] == {"status": "ready", "nodes": ["web1"]}
    put(session, bucket, zero="a: 0")
    assert waited(session, bucket, "zero", format="yaml", condition="a")["entry"]["value"] == {"a": 0}


def test_a_wait_sends_no_requests(make_server: MakeServer) -> None:
    server = make_server()
    with Session(settings(servers=server.url)) as session, Session(settings(servers=server.url)) as other:
        bucket = make_bucket(session)
        counts: list[int] = []

        def work(_session: Session) -> None:
            time.sleep(0.5)  # the watch checks the bucket when it has begun
            for _turn in range(2):
                counts.append(server.monitor("varz")["in_msgs"])
                time.sleep(1.5)
            put(other, bucket, a="1")

        with Later(server, bucket, work):
            waited(session, bucket, "a")
    assert counts[0] == counts[1]


def test_errors_after_max_wait(session: Session) -> None:
    bucket = make_bucket(session, max_msgs_per_subject=5)
    put(session, bucket, a="secret value", b="x")
    kv_write.write(session, bucket, "b", kv.DELETED)
    where = f"of bucket {bucket.name}"
    for keys, given, says in (
        (
            ["c"],
            {},
            f"The key c {where} has no value, after 50ms (max_wait); no revision of it appeared.",
        ),
        (
            ["a", "c"],
            {"values": ["y"]},
            f"None of the keys a, c {where} has such a value, after 50ms (max_wait); the newest "
            "revision: revision 1 of key a does not match.",
        ),
        (
            [f"k{number}" for number in range(100)],
            {},
            f"None of the keys k0, k1, k2, k3, k4, k5, k6, k7, k8, k9 and 90 others {where} has a value, after 50ms "
            "(max_wait); no revision of them appeared.",
        ),
        (
            ["b"],
            {},
            f"The key b {where} has no value, after 50ms (max_wait); the newest revision: key b was "
            "deleted (revision 3).",
        ),
        (
            ["a"],
            {"format": "json"},
            f"The key a {where} has no value, after 50ms (max_wait); the newest revision: revision "
            "1 of key a is not JSON (at line 1, column 1).",
        ),
        (
            ["a"],
            {"updates_only": True},
            f"The key a {where} has no new value, after 50ms (max_wait); no revision of it appeared.",
        ),
    ):
        with pytest.raises(StreamsError) as late:
            waited(session, bucket, *keys, max_wait="50ms", **given)
        assert late.value.message == says
        assert late.value.failure["code"] == "timeout"
        assert late.value.result["elapsed"] >= 0.05
    assert consumers.list_all(session, bucket.stream) == []


def test_check_mode_looks_once(session: Session) -> None:
    bucket = make_bucket(session)
    put(session, bucket, a="1")
    assert waited(session, bucket, "b", "a", check=True)["entry"]["value"] == "1"
    for given in ({"values": ["2"]}, {"updates_only": True}):
        found = waited(session, bucket, "a", check=True, **given)
        assert (found["matched"], found["entry"]) == (False, None)


@pytest.mark.parametrize("updates_only", [False, True])
def test_the_server_restarts_meanwhile(make_server: MakeServer, updates_only: bool) -> None:
    """Keys that are written before the watch is created again are not missed."""
    server = make_server()
    with Session(settings(servers=server.url)) as session:
        bucket = make_bucket(session)
        put(session, bucket, other="1")

        def work(_other: Session) -> None:
            server.restart()
            with Session(settings(servers=server.url)) as writer:
                put(writer, bucket, a="late")

        with Later(server, bucket, work):
            assert waited(session, bucket, "a", updates_only=updates_only)["entry"]["value"] == "late"


@pytest.mark.parametrize("updates_only", [False, True])
def test_the_server_restarts_before_the_watch_is_confirmed(make_server: MakeServer, updates_only: bool) -> None:
    """If the server did not confirm the first watch, the next one begins where the first one should have begun."""
    server = make_server()
    lost: list[Frame] = []

    def rule(frame: Frame) -> list[bytes]:
        if b"consumer_create_response" in frame.raw and not lost:
            lost.append(frame)
            return []
        return [frame.raw]

    with Proxy(server.port, rule) as proxy, Session(settings(servers=server.url)) as direct:
        bucket = make_bucket(direct)
        put(direct, bucket, other="1")

        def work(_other: Session) -> None:
            wait_until(lambda: lost)
            proxy.refusing = True
            server.restart()
            with Session(settings(servers=server.url)) as writer:
                put(writer, bucket, a="late")
            proxy.refusing = False

        with Session(settings(servers=proxy.url)) as session, Later(server, bucket, work):
            found = waited(session, bucket, "a", updates_only=updates_only, max_wait="20s")
            assert found["entry"]["value"] == "late"


class Cut:
    """A connection that is closed while another client deletes the bucket and creates it again."""

    def __init__(self, server: NatsServer, bucket: kv.Bucket, after: Callable[[Session], None], **login: str) -> None:
        self.proxy = Proxy(server.port)
        self.session = Session(settings(servers=self.proxy.url, **login))
        self._bucket, self._after = bucket, after

    def __enter__(self) -> Cut:
        self.proxy.__enter__()
        self.session.__enter__()
        return self

    def __exit__(self, *exc: Any) -> None:
        self.session.__exit__(*exc)
        self.proxy.__exit__(*exc)

    def create_again(self, other: Session) -> None:
        self.proxy.refusing = True
        self.proxy.cut()
        streams.delete(other, self._bucket.stream)
        streams.create(other, dict(self._bucket.config))
        self._after(other)
        self.proxy.refusing = False


# Revisions below and beyond the sequence at which the watch would continue
@pytest.mark.parametrize("more", [0, 9])
@pytest.mark.parametrize("updates_only", [False, True])
def test_the_bucket_is_created_again_meanwhile(
    server: NatsServer, session: Session, updates_only: bool, more: int
) -> None:
    """The revisions start again. Keys that are written before the watch is created again are not missed."""
    bucket = make_bucket(session, max_msgs_per_subject=3)
    put(session, bucket, a="1", b="2", c="3")
    put(session, bucket, a="4")

    def after(other: Session) -> None:
        put(other, bucket, a="wanted")
        put(other, bucket, **{f"k{number}": "x" for number in range(more)})

    with Cut(server, bucket, after) as cut, Later(server, bucket, cut.create_again):
        found = waited(cut.session, bucket, "a", values=["wanted"], updates_only=updates_only, max_wait="20s")
    assert (found["entry"]["value"], found["entry"]["revision"]) == ("wanted", 1)


@pytest.mark.parametrize("more", [0, 9])
def test_lookup_waits_in_a_bucket_that_is_created_again(server: NatsServer, session: Session, more: int) -> None:
    """No value of the deleted bucket is returned, although its revisions were higher."""
    bucket = make_bucket(session)
    for value in ("1", "2", "3"):
        put(session, bucket, a=value)

    def after(other: Session) -> None:
        put(other, bucket, a="new", b="new", **{f"k{number}": "x" for number in range(more)})

    with Cut(server, bucket, after) as cut, Later(server, bucket, cut.create_again):
        found = KvReader(cut.session).last_within(bucket.name, ["a", "b"], time.monotonic() + 20)
    assert {key: (entry.value, entry.revision) for key, entry in found.items()} == {"a": (b"new", 1), "b": (b"new", 2)}


def test_lookup_waits_in_a_bucket_that_is_created_again_before(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bucket is created again between the first read and the start of the watch."""
    bucket = make_bucket(session)
    put(session, bucket, a="1")
    put(session, bucket, a="2")
    last_many = kv.last_many

    def created_again(own: Session, *arguments: Any) -> dict[str, kv.Entry]:
        entries = last_many(own, *arguments)
        config = streams.info(session, bucket.stream)["config"]  # type: ignore[index]
        streams.delete(session, bucket.stream)
        streams.create(session, config)
        put(session, bucket, a="new", b="new")
        return entries

    monkeypatch.setattr(kv, "last_many", created_again)
    monkeypatch.setattr(kv_watch, "_RETRY", -1.0)  # as if the start of the watch had taken long
    found = KvReader(session).last_within(bucket.name, ["a", "b"], time.monotonic() + 20)
    assert {key: (entry.value, entry.revision) for key, entry in found.items()} == {"a": (b"new", 1), "b": (b"new", 2)}


def test_a_user_of_keys_only_gets_the_present_values_again(make_server: MakeServer) -> None:
    publish = ["$JS.API.CONSUMER.>", "$JS.API.DIRECT.>", "$JS.API.STREAM.MSG.GET.>"]
    reader = {"user": "reader", "password": "b", "permissions": {"publish": publish, "subscribe": ["_INBOX.>"]}}
    users = [{"user": "a", "password": "a"}, reader]
    server = make_server({"authorization": {"users": users}, "no_auth_user": "a"})
    with Session(settings(servers=server.url)) as session:
        bucket = make_bucket(session)
        for value in ("1", "2", "3"):
            put(session, bucket, a=value)
        again = Cut(server, bucket, lambda other: put(other, bucket, b="new"), user="reader", password="b")
        with again as cut, Watch(cut.session, kv.Bucket(bucket.name), ["a", "b"]) as changes:
            entries = [changes.next(20)]
            cut.create_again(session)
            entries.append(changes.next(20))
    assert [(entry.key, entry.value, entry.revision) for entry in entries if entry] == [
        ("a", b"3", 3),
        ("b", b"new", 1),
    ]


def test_seen_values_are_not_changes_after_a_restart(make_server: MakeServer) -> None:
    """The time of creation shows that the bucket is the same after the restart, and was not created again."""
    server = make_server()
    with Session(settings(servers=server.url)) as session:
        bucket = make_bucket(session)
        put(session, bucket, a="1")
        with Watch(session, kv.open_bucket(session, bucket.name)[0], ["a"], updates_only=True) as changes:
            server.restart()
            assert changes.next(3) is None
            assert changes.lives == 1


NARROW = {
    "authorization": {
        "users": [
            {"user": "a", "password": "a"},
            {"user": "reader", "password": "b", "permissions": {"publish": ["$JS.API.>"], "subscribe": ["_INBOX.>"]}},
            {
                "user": "none",
                "password": "c",
                "permissions": {"publish": ["$JS.API.STREAM.>"], "subscribe": ["_INBOX.>"]},
            },
        ]
    },
    "no_auth_user": "a",
}


def test_a_user_who_may_read_keys_may_wait_for_them(make_server: MakeServer) -> None:
    server = make_server(NARROW)
    with Session(settings(servers=server.url)) as session:
        bucket = make_bucket(session)
    reader = Session(settings(servers=server.url, user="reader", password="b"))
    with reader, Later(server, bucket, lambda other: put(other, bucket, a="1")):
        assert waited(reader, bucket, "a")["entry"]["value"] == "1"
    none = Session(settings(servers=server.url, user="none", password="c"))
    with none, pytest.raises(PermissionMissing) as refused:
        waited(none, bucket, "a")
    assert "$JS.API.CONSUMER.CREATE." in refused.value.message


def test_bad_input(session: Session) -> None:
    bucket = make_bucket(session)
    for given, says in (
        ({"condition": "a"}, "condition: needs data to select from: set format to json or yaml."),
        (
            {"condition": "a[", "format": "json"},
            "condition: 'a[' is not a JMESPath expression, see https://jmespath.org.",
        ),
        ({"values": []}, "values: is empty, and no value can match: give some, or leave it out."),
        ({"max_wait": "soon"}, "max_wait: 'soon' is not a duration"),
    ):
        with pytest.raises(OptionError) as refused:
            waited(session, bucket, "a", **given)
        assert refused.value.message.startswith(says)
    with pytest.raises(OptionError, match=r"keys: is empty: give at least one key\."):
        waited(session, bucket)


# The options wait and as_of of the lookup


def test_lookup_waits_for_all(server: NatsServer, session: Session) -> None:
    bucket = make_bucket(session, max_msgs_per_subject=2)
    put(session, bucket, a="1", b="1", c="1")
    kv_write.write(session, bucket, "b", kv.DELETED)

    def work(other: Session) -> None:
        kv_write.write(other, bucket, "c", kv.DELETED)
        put(other, bucket, b="2", d="2", c="2")

    session.read_only = True
    with Later(server, bucket, work):
        found = KvReader(session).last_within(bucket.name, ["a", "b", "c", "d"], time.monotonic() + 60)
    session.read_only = False
    assert {key: found[key].value for key in "abd"} == {"a": b"1", "b": b"2", "d": b"2"}
    assert consumers.list_all(session, bucket.stream) == []


def test_past_values_are_returned_or_reported_as_lost(session: Session) -> None:
    short, long = make_bucket(session, max_msgs_per_subject=1), make_bucket(session, max_msgs_per_subject=3)
    for bucket in (short, long):
        put(session, bucket, a="1", b="1")
        revision = kv.open_bucket(session, bucket.name)[0].last_sequence
        put(session, bucket, a="2", new="1")
        if bucket is long:
            found = keys_as_of(session, bucket, ["a", "b", "new", "nothing"], revision)
            assert {key: entry.value for key, entry in found.items()} == {"a": b"1", "b": b"1"}
            assert keys_as_of(session, bucket, ["a"], 0) == {}
            put(session, bucket, a="3", b="1")
            put(session, bucket, a="4")
        with pytest.raises(StreamsError) as lost:
            keys_as_of(session, bucket, ["b", "a"], revision)
        assert lost.value.failure["code"] == "not_kept"
        assert lost.value.failure["key"] == "a"
        assert set(keys_as_of(session, bucket, ["b"], revision)) == {"b"}


def test_expired_keys_differ_from_keys_that_never_existed(session: Session) -> None:
    expiries: list[dict[str, Any]] = [{"max_age": 10**9}]
    if session.server.version >= kv.LIFETIMES_SINCE:
        expiries += [{"allow_msg_ttl": True, "subject_delete_marker_ttl": 10**9}, {"allow_msg_ttl": True}]
    for expiry in expiries:
        check_what_expired(session, expiry)


def is_gone(session: Session, bucket: kv.Bucket, key: str) -> bool:
    return kv.last(session, bucket, key) is None


def check_what_expired(session: Session, expiry: dict[str, Any]) -> None:
    bucket = make_bucket(session, max_msgs_per_subject=5, discard="new", **expiry)
    ttl = 1 if bucket.lifetimes else 0
    put(session, bucket, stays="1")
    for key in ("again", "traceless"):
        kv_write.write(session, bucket, key, kv.PUT, b"1", ttl=ttl)
    revision = kv.open_bucket(session, bucket.name)[0].last_sequence
    # No key has expired yet, so it is known that the others did not exist
    assert set(keys_as_of(session, bucket, ["stays", "never"], revision)) == {"stays"}
    assert set(below_as_of(session, bucket, "", revision)) == {"stays", "again", "traceless"}
    for key in ("again", "traceless"):
        # The marker of its expiry is gone too
        wait_until(partial(is_gone, session, bucket, key))
    put(session, bucket, again="2")
    for key in ("again", "traceless", "never"):
        with pytest.raises(StreamsError, match=rf"^as_of: whether key {key} was in bucket {bucket.name} at re") as lost:
            keys_as_of(session, bucket, [key], revision)
        assert lost.value.failure["code"] == "not_kept"
    with pytest.raises(StreamsError, match=r"^as_of: whether another key below '' was in bucket"):
        below_as_of(session, bucket, "", revision)
    assert keys_as_of(session, bucket, ["never"], 0) == {}
    if bucket.lifetimes:
        assert keys_as_of(session, bucket, ["stays"], revision)["stays"].value == b"1"
