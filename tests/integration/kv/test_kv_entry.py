# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of choria_kv with real servers, by the steps of the module: read, plan, apply."""

from __future__ import annotations

import threading
import time
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from ansible_collections.choria.streams.plugins.module_utils._api import streams
from ansible_collections.choria.streams.plugins.module_utils._api.kv import kv, kv_write
from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from ansible_collections.choria.streams.plugins.module_utils._errors import StreamsError
from ansible_collections.choria.streams.plugins.module_utils._module_resource import _ensure
from ansible_collections.choria.streams.plugins.module_utils._resources.kv.bucket import BUCKET
from ansible_collections.choria.streams.plugins.module_utils._resources.kv.entry import ENTRY, KV_ENTRY, EntryPlan
from support.connect import options, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import MakeServer
    from support.server import NatsServer

pytestmark = pytest.mark.once

SECRET = "planted-secret"
_numbers = count()


class Done(NamedTuple):
    """The result of the module."""

    changed: bool
    entry: Any
    plan: EntryPlan


def make_bucket(session: Session, **given: Any) -> str:
    given = {"name": f"BUCKET{next(_numbers)}", "history": 5, **given}
    _ensure(BUCKET, session, options(BUCKET, **given), False)
    return str(given["name"])


def ensure(session: Session, bucket: str, key: str = "key", check: bool = False, **given: Any) -> Done:
    plan, result = _ensure(ENTRY, session, options(ENTRY, bucket=bucket, key=key, **given), check)
    assert isinstance(plan, EntryPlan)
    return Done(plan.changed, result["entry"], plan)


@pytest.fixture
def session(nats_server: NatsServer) -> Iterator[Session]:
    with Session(settings(servers=nats_server.url)) as session:
        yield session


@pytest.fixture
def bucket(session: Session) -> str:
    return make_bucket(session)


def stored(session: Session, bucket: str, key: str = "key") -> bytes:
    entry = kv.last(session, kv.open_bucket(session, bucket)[0], key)
    assert entry is not None
    return entry.value


@pytest.mark.parametrize(
    ("value", "encoding", "expected"),
    [
        ("plain", "text", b"plain"),
        ("", "text", b""),
        (" a \n", "text", b" a \n"),
        ("grüße ☃ 🂡", "text", "grüße ☃ 🂡".encode()),
        ("{{ 1 + 1 }}", "text", b"{{ 1 + 1 }}"),
        ("1.10", "text", b"1.10"),
        (80, "text", b"80"),
        (2.5, "text", b"2.5"),
        (True, "text", b"true"),
        ('{"a": 1}', "text", b'{"a": 1}'),
        ({"b": [1, 2.5, True, None], "a": "ü"}, "json", '{"b": [1, 2.5, true, null], "a": "ü"}'.encode()),
        (["x"], "json", b'["x"]'),
        ("x", "json", b'"x"'),
        (False, "json", b"false"),
        ("aGVs\nbG8=\n", "base64", b"hello"),
        ("AP/+/Q==", "base64", b"\x00\xff\xfe\xfd"),
        ("", "base64", b""),
        ("x" * (1024 * 1024 - 4096), "text", b"x" * (1024 * 1024 - 4096)),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_values(session: Session, bucket: str, value: Any, encoding: str, expected: bytes) -> None:
    checked = ensure(session, bucket, value=value, encoding=encoding, check=True)
    written = ensure(session, bucket, value=value, encoding=encoding)
    again = ensure(session, bucket, value=value, encoding=encoding)
    assert (checked.changed, written.changed, again.changed) == (True, True, False)
    assert stored(session, bucket) == expected
    assert written.entry == again.entry
    assert checked.entry == {**written.entry, "revision": None, "created": None}
    assert checked.plan.diff == written.plan.diff
    assert checked.plan.change_list == written.plan.change_list


def test_meaning_of_json_is_compared(session: Session, bucket: str) -> None:
    ensure(session, bucket, value='{ "b": [1, true],\n"a": "\\u00fc" }')
    assert not ensure(session, bucket, value={"a": "ü", "b": [1, True]}, encoding="json").changed
    assert ensure(session, bucket, value={"a": "ü", "b": [1, 1]}, encoding="json").changed
    assert ensure(session, bucket, value='{"a":"ü","b":[1,1]}').changed


def test_bytes_of_others_are_shown_as_base64(session: Session, bucket: str) -> None:
    written = ensure(session, bucket, value="/w==", encoding="base64")
    kept = ensure(session, bucket, value="x", create_only=True)
    assert not kept.changed
    assert kept.entry == written.entry
    assert kept.entry["encoding"] == "base64"
    replaced = ensure(session, bucket, value="x")
    assert replaced.plan.change_list == [{"field": "value", "before": "/w==", "after": "x", "effect": "in place"}]
    assert replaced.plan.diff["before"].startswith("1 bytes, SHA-256 a8100ae6aa1940d0b663bb31cd466142ebbdbd51")


def test_states(session: Session, bucket: str) -> None:
    for state in ("absent", "purged"):
        assert ensure(session, bucket, state=state)[:2] == (False, None)
    ensure(session, bucket, value="one")
    ensure(session, bucket, value="two")
    deleted = ensure(session, bucket, state="absent")
    assert deleted.changed
    assert deleted.entry == {
        "bucket": bucket,
        "key": "key",
        "operation": "delete",
        "value": None,
        "encoding": "text",
        "revision": 3,
        "created": deleted.entry["created"],
        "ttl": None,
    }
    assert ensure(session, bucket, state="absent").entry == deleted.entry
    assert ensure(session, bucket, value="two").plan.action == "create"
    purged = ensure(session, bucket, state="purged")
    assert (purged.changed, purged.plan.consequences) == (True, {"revisions_lost": 4})
    assert not ensure(session, bucket, state="purged").changed
    assert not ensure(session, bucket, state="absent").changed


def test_purge_after_delete(session: Session, bucket: str) -> None:
    ensure(session, bucket, value="one")
    ensure(session, bucket, state="absent")
    purged = ensure(session, bucket, state="purged")
    assert purged.plan.change_list == [{"field": "operation", "before": "delete", "after": "purge", "effect": "delete"}]
    assert purged.plan.diff["after"] == "operation: purge\nttl: None\n"


def test_revisions_beyond_the_history_are_reported(session: Session) -> None:
    bucket = make_bucket(session, history=2)
    lost = [ensure(session, bucket, value=value).plan.consequences["revisions_lost"] for value in ("a", "b", "c")]
    assert lost == [0, 0, 1]
    assert ensure(session, bucket, state="absent").plan.consequences == {"revisions_lost": 1}


def test_create_only(session: Session, bucket: str) -> None:
    first = ensure(session, bucket, value="one", create_only=True)
    assert first.changed
    for value in ("one", "two"):
        assert ensure(session, bucket, value=value, create_only=True)[:2] == (False, first.entry)
    ensure(session, bucket, state="absent")
    assert ensure(session, bucket, value="two", create_only=True).changed


def test_one_of_many_creates(nats_server: NatsServer, session: Session, bucket: str) -> None:
    results: list[Done] = []
    together = threading.Barrier(8)

    def create(number: int) -> None:
        with Session(settings(servers=nats_server.url)) as own:
            together.wait()
            results.append(ensure(own, bucket, value=str(number), create_only=True))

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [result.changed for result in results].count(True) == 1
    assert len({str(result.entry) for result in results}) == 1


def test_compare_and_set(session: Session, bucket: str) -> None:
    assert ensure(session, bucket, value="one", revision=0).entry["revision"] == 1
    assert ensure(session, bucket, value="two", revision=1).entry["revision"] == 2
    assert not ensure(session, bucket, value="two", revision=1).changed
    for check in (True, False):
        with pytest.raises(StreamsError) as refused:
            ensure(session, bucket, value="three", revision=1, check=check)
        assert refused.value.message == (
            f"revision: key key of bucket {bucket} is at revision 2, and 1 was expected: somebody else changed it, so "
            "read it again before you decide."
        )
        assert refused.value.failure == {"code": "wrong_revision", "option": "revision", "revision": 2}
    with pytest.raises(StreamsError, match="is at revision 2, and 0 was expected"):
        ensure(session, bucket, value="three", revision=0)
    with pytest.raises(StreamsError, match="is at revision 2, and 1 was expected"):
        ensure(session, bucket, state="absent", revision=1)
    assert ensure(session, bucket, state="absent", revision=2).changed
    with pytest.raises(StreamsError, match="is deleted, by revision 3, and 2 was expected"):
        ensure(session, bucket, value="three", revision=2)
    assert ensure(session, bucket, value="three", revision=0).changed
    with pytest.raises(StreamsError, match=r"key other of bucket .* is not there, and 7 was expected"):
        ensure(session, bucket, "other", value="x", revision=7)


def test_a_write_in_between_is_noticed(session: Session, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write = kv_write.write

    def late(*args: Any, **more: Any) -> int:
        monkeypatch.setattr(kv_write, "write", write)
        write(session, kv.Bucket(bucket), "key", kv.PUT, b"theirs")
        return write(*args, **more)

    ensure(session, bucket, value="one")
    monkeypatch.setattr(kv_write, "write", late)
    with pytest.raises(StreamsError, match="is at revision 2, and 1 was expected"):
        ensure(session, bucket, value="ours", revision=1)


def test_lifetimes(session: Session) -> None:
    bucket = make_bucket(session, limit_marker_ttl="1s")
    results = [ensure(session, bucket, value="x", ttl=ttl) for ttl in ("1h", "60m", None, "2h", "0", "0s")]
    assert [result.changed for result in results] == [True, False, False, True, True, False]
    assert [result.entry["ttl"] for result in results] == [3600, 3600, 3600, 7200, None, None]
    assert results[3].plan.change_list == [{"field": "ttl", "before": 3600, "after": 7200, "effect": "in place"}]
    assert results[3].plan.diff["after"] == "operation: put\nttl: 7200\n"
    assert ensure(session, bucket, value="y", ttl="1h").plan.diff["after_header"] == f"{bucket}/key, ttl 3600s"


def renewed(session: Session, bucket: str, check: bool = False, **given: Any) -> Done:
    plan, result = _ensure(KV_ENTRY, session, options(KV_ENTRY, bucket=bucket, key="key", **given), check)
    assert isinstance(plan, EntryPlan)
    return Done(plan.changed, result["entry"], plan)


def test_renewed_lifetimes(session: Session) -> None:
    bucket = make_bucket(session, limit_marker_ttl="1s")
    first = renewed(session, bucket, value="x", ttl="1h", renew=True)
    assert first.plan.action == "create"
    planned = renewed(session, bucket, renew=True, check=True)
    again = renewed(session, bucket, renew=True)
    assert planned.plan.change_list[0]["field"] == again.plan.change_list[0]["field"] == "created"
    assert (again.entry["value"], again.entry["ttl"]) == ("x", 3600)
    assert again.entry["revision"] == first.entry["revision"] + 1
    assert not renewed(session, bucket, value="x", ttl="1h").changed
    assert renewed(session, bucket, value="y", ttl="2h", renew=True).entry["ttl"] == 7200
    assert renewed(session, bucket, state="absent").changed
    with pytest.raises(StreamsError, match=r"renew: key key of bucket .* does not exist"):
        renewed(session, bucket, renew=True)
    with pytest.raises(StreamsError, match="renew: does not go with"):
        renewed(session, bucket, state="absent", renew=True)


@pytest.mark.parametrize("history", [1, 5])
def test_end_of_a_lifetime(session: Session, history: int) -> None:
    bucket = make_bucket(session, limit_marker_ttl="1s", history=history)
    ensure(session, bucket, value="x", ttl="1s")
    deadline = time.monotonic() + 10
    while (done := ensure(session, bucket, state="absent", check=True)).changed:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    # While the server's own marker exists, it counts as the marker of a deleted key
    assert done.entry is None or done.entry["operation"] == "purge"
    assert ensure(session, bucket, value="x", revision=0).plan.action == "create"


REFUSED: list[tuple[dict[str, Any], str]] = [
    (
        {"bucket": "NONE"},
        "bucket: there is no bucket NONE: create it with choria_kv_bucket, or check its name and the",
    ),
    ({"bucket": "NONE", "state": "absent"}, "bucket: there is no bucket NONE: create it"),
    ({"bucket": "a.b"}, "bucket: 'a.b' is not allowed: a bucket's name is made of letters, digits, _ and -."),
    (
        {"key": "a b"},
        "key: 'a b' is not allowed: a key is made of letters, digits, -, _, /, = and dots, with no dot at its ends nor "
        "two in a row.",
    ),
    ({"key": ".a"}, "key: '.a' is not allowed"),
    ({"key": "a."}, "key: 'a.' is not allowed"),
    ({"key": "a..b"}, "key: 'a..b' is not allowed"),
    ({"key": "a.*"}, "key: 'a.*' is not allowed"),
    ({"key": "a\n"}, "key: 'a ' is not allowed"),
    ({"key": ""}, "key: '' is not allowed"),
    ({"value": None}, "value: is needed with state: present; an empty text is written as ''."),
    ({"value": {"a": SECRET}}, "value: is a dict, which text can't hold: set encoding to json."),
    ({"value": [SECRET], "encoding": "base64"}, "value: is a list, which base64 can't hold: set encoding to json."),
    ({"encoding": "base64"}, "value: is not base64: use the filter b64encode, or set encoding to text."),
    (
        {"value": [float("nan"), SECRET], "encoding": "json"},
        "value: has a number that is not finite.",
    ),
    ({"create_only": True, "revision": 1}, "create_only: can't be given together with revision: give one of them."),
    ({"revision": -1}, "revision: -1 is out of range: give 0 or more."),
    ({"ttl": "soon"}, "ttl: 'soon' is not a duration: write seconds, or text such as 90s, 20m, 1h30m or 7d."),
    ({"ttl": "1.5s"}, "ttl: '1.5s' is not in whole seconds, in which servers count the lifetimes of keys."),
    ({"ttl": "500ms"}, "ttl: '500ms' is too short: give at least 1s (0 turns it off)."),
    (
        {"ttl": "1m"},
        "ttl: bucket REFUSED does not let keys carry lifetimes: set its limit_marker_ttl with choria_kv_bucket, or "
        "leave ttl out.",
    ),
    (
        {"bucket": "MARKED", "ttl": "30s"},
        "ttl: 30s is shorter than limit_marker_ttl of bucket MARKED, and the server would make it 60s: give that or "
        "more, or lower limit_marker_ttl with choria_kv_bucket.",
    ),
    (
        {"value": SECRET * 5},
        "value: has 70 bytes, and max_value_size of the bucket allows 64: store less, or raise the limit.",
    ),
    (
        {"bucket": "MARKED", "value": SECRET * 80000},
        "value: has 1120000 bytes, and max_payload of the server allows 1048576: store less, or raise the limit.",
    ),
    (
        {"bucket": "MARKED", "value": SECRET * 80},
        "Writing key key of bucket MARKED: maximum bytes exceeded (JetStream error 10077). The bucket is full: delete "
        "keys, or raise max_bucket_size of the bucket.",
    ),
]


@pytest.mark.parametrize(("given", "sentence"), REFUSED, ids=[sentence[:40] for _given, sentence in REFUSED])
def test_wrong_options_are_refused(session: Session, given: dict[str, Any], sentence: str) -> None:
    make_bucket(session, name="REFUSED", max_value_size=64)
    make_bucket(session, name="MARKED", limit_marker_ttl="1m", max_bucket_size=1000)
    with pytest.raises(StreamsError) as refused:
        ensure(session, **{"bucket": "REFUSED", "value": SECRET, **given})
    assert refused.value.message.startswith(sentence)
    assert SECRET not in str(refused.value.failure) + refused.value.message
    for bucket in ("REFUSED", "MARKED"):
        assert kv.open_bucket(session, bucket, ">")[1] == {}


def test_wrong_options_need_no_connection() -> None:
    nowhere = settings(servers="nats://127.0.0.1:1")
    with Session(nowhere) as session, pytest.raises(StreamsError, match=r"^value: is not base64"):
        ensure(session, "CFG", value=SECRET, encoding="base64")


def test_old_server(make_server: MakeServer) -> None:
    with Session(settings(servers=make_server(version="2.10").url)) as session:
        bucket = make_bucket(session)
        with pytest.raises(StreamsError) as refused:
            ensure(session, bucket, value="x", ttl="1m")
        assert refused.value.message.startswith(
            "ttl needs nats-server 2.11.0 (API level 1), and this server runs 2.10."
        )
        assert refused.value.failure["code"] == "server_too_old"
        assert ensure(session, bucket, value="x", ttl="0").changed
        assert ensure(session, bucket, value="y", revision=1).changed
        assert ensure(session, bucket, state="purged").changed


def test_permission_to_write(make_server: MakeServer) -> None:
    server = make_server(
        {
            "accounts": {
                "A": {
                    "jetstream": "enabled",
                    "users": [
                        {"user": "admin", "password": "p"},
                        {"user": "reader", "password": "p", "permissions": {"publish": "$JS.API.>"}},
                    ],
                }
            }
        }
    )
    with Session(settings(servers=server.url, user="admin", password="p")) as admin:
        bucket = make_bucket(admin)
    with Session(settings(servers=server.url, user="reader", password="p")) as reader:
        with pytest.raises(StreamsError, match=rf"\$KV\.{bucket}\.key") as refused:
            ensure(reader, bucket, value=SECRET)
        assert refused.value.failure["code"] == "permission"
        assert SECRET not in refused.value.message


@pytest.mark.parametrize("info", [[], ["$JS.API.STREAM.INFO.KV_CFG"]])
@pytest.mark.parametrize("version", ["2.10", None])
def test_least_rights(make_server: MakeServer, version: str | None, info: list[str]) -> None:
    """Publishing below a prefix and direct reads of it are enough."""
    rights = {"publish": ["$KV.CFG.app.>", "$JS.API.DIRECT.GET.KV_CFG.$KV.CFG.app.>", *info], "subscribe": "_INBOX.>"}
    users = [
        {"user": "admin", "password": "p"},
        {"user": "app", "password": "p", "permissions": rights},
    ]
    server = make_server({"accounts": {"A": {"jetstream": "enabled", "users": users}}}, version=version)
    with Session(settings(servers=server.url, user="admin", password="p")) as admin:
        make_bucket(admin, name="CFG")
    with Session(settings(servers=server.url, user="app", password="p")) as session:
        for value in ("one", "two"):
            assert ensure(session, "CFG", key="app.name", value=value, check=True).changed
            assert ensure(session, "CFG", key="app.name", value=value).entry["value"] == value
            assert not ensure(session, "CFG", key="app.name", value=value).changed
        assert ensure(session, "CFG", key="app.name", state="absent").changed
        assert not ensure(session, "CFG", key="app.name", state="absent").changed
        with pytest.raises(StreamsError) as refused:
            ensure(session, "CFG", key="other.name", value="one")
        assert refused.value.failure["code"] == "permission"


def test_keys_of_a_mirror_are_those_of_its_origin(session: Session, bucket: str) -> None:
    mirror = make_bucket(session, mirror={"name": bucket})
    assert ensure(session, mirror, value="x").changed
    assert stored(session, bucket) == b"x"
    deadline = time.monotonic() + 5
    while ensure(session, mirror, value="x", check=True).changed:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert ensure(session, mirror, value="x").entry["bucket"] == mirror


def test_domain(make_server: MakeServer) -> None:
    server = make_server({"jetstream": {"domain": "hub"}})
    with Session(settings(servers=server.url, domain="hub")) as session:
        bucket = make_bucket(session)
        assert ensure(session, bucket, value="x").changed
        assert not ensure(session, bucket, value="x").changed


def test_bucket_without_direct_reads(session: Session, bucket: str) -> None:
    info = streams.info(session, f"KV_{bucket}")
    assert info is not None
    streams.update(session, {**info["config"], "allow_direct": False})
    assert ensure(session, bucket, value="x").changed
    assert not ensure(session, bucket, value="x").changed


# Counters


def counted(session: Session, bucket: str, number: int = 1, check: bool = False, **given: Any) -> Done:
    wanted = options(KV_ENTRY, bucket=bucket, key="key", increment=number, **given)
    plan, result = _ensure(KV_ENTRY, session, wanted, check)
    assert isinstance(plan, EntryPlan)
    return Done(plan.changed, result["entry"], plan)


def test_counting(session: Session, bucket: str) -> None:
    foreseen = counted(session, bucket, 5, check=True)
    assert (foreseen.changed, foreseen.entry["value"]) == (True, 5)
    assert [counted(session, bucket, number).entry["value"] for number in (5, 1, -7)] == [5, 6, -1]
    assert stored(session, bucket) == b"-1"
    ensure(session, bucket, state="absent")
    assert counted(session, bucket).entry["value"] == 1
    ensure(session, bucket, value=" 41 \n")
    assert counted(session, bucket).entry["value"] == 42


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"increment": 0}, "option"),
        ({"value": "1"}, "option"),
        ({"revision": 1}, "option"),
        ({"create_only": True}, "option"),
        ({"state": "absent"}, "option"),
        ({}, "not_a_number"),
    ],
)
def test_increments_that_are_refused(session: Session, bucket: str, given: dict[str, Any], code: str) -> None:
    ensure(session, bucket, value=SECRET)
    with pytest.raises(StreamsError) as refused:
        counted(session, bucket, given.pop("increment", 1), **given)
    assert refused.value.failure["code"] == code
    assert refused.value.message.startswith("increment: ")
    assert SECRET not in refused.value.message


def test_many_count_at_once(nats_server: NatsServer, session: Session, bucket: str) -> None:
    """Each number is returned once."""
    made: list[int] = []

    def count_on() -> None:
        with Session(settings(servers=nats_server.url)) as own:
            for _time in range(10):
                made.append(counted(own, bucket).entry["value"])

    threads = [threading.Thread(target=count_on) for _thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == list(range(1, 81))
