# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""A snapshot contains all keys below a prefix at one moment, while another client writes."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING

import pytest

from ansible_collections.choria.streams.plugins.module_utils._api import streams
from ansible_collections.choria.streams.plugins.module_utils._api.kv import kv, kv_write
from ansible_collections.choria.streams.plugins.module_utils._api.kv.kv_snapshot import normal_prefix, snapshot
from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from ansible_collections.choria.streams.plugins.module_utils._connection.wire import Request
from ansible_collections.choria.streams.plugins.module_utils._errors import OptionError, StreamsError
from support.connect import settings
from support.filling import publish_many
from support.infos import stream_info
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import MakeServer
    from support.server import NatsServer

pytestmark = pytest.mark.once

FEW = [f"some.k{number}" for number in range(10)]
MANY = [f"some.k{number:04}" for number in range(1500)]


def make_bucket(session: Session, history: int, keys: list[str]) -> kv.Bucket:
    streams.create(
        session,
        {"name": "KV_CFG", "subjects": ["$KV.CFG.>"], "max_msgs_per_subject": history, "allow_direct": True},
    )
    bucket = kv.open_bucket(session, "CFG")[0]
    publish_many(session, "Writing", [Request(bucket.subject(key), b"0") for key in [*keys, "other"]])
    return bucket


@contextmanager
def writer(server: NatsServer, bucket: kv.Bucket, keys: list[str], pause: float | None) -> Iterator[threading.Event]:
    """Write the next number to one key after the other, until the end of the block.

    It pauses for seconds between writes. If a reader needs a pause to succeed, it pauses until the yielded event
    is set.
    """
    end, read = threading.Event(), threading.Event()

    def write() -> None:
        with Session(settings(servers=server.url)) as session:
            for number in count(1):
                for key in keys:
                    kv_write.write(session, bucket, key, kv.PUT, str(number).encode())
                (end if pause is not None else read).wait(pause)
                read.clear()
                if end.is_set():
                    return

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield read
    finally:
        end.set()
        read.set()
        thread.join()


def check(found: dict[str, kv.Entry], keys: list[str], written: list[str]) -> int:
    """Check the snapshot: each key has the number of the key before it, or the previous number. Return the first
    one's.
    """
    assert list(found) == keys
    numbers = [int(found[key].value) for key in written]
    assert numbers == sorted(numbers, reverse=True)
    assert numbers[0] - numbers[-1] <= 1
    return numbers[0]


@pytest.mark.parametrize(
    ("version", "history", "keys", "pause"),
    [
        (None, 1, FEW, 0),  # one request
        (None, 64, MANY, 0.02),  # several requests, and older revisions during writes
        (None, 1, MANY, None),  # several requests, repeated after writes
        ("2.10", 1, FEW, None),  # one request for each key, repeated after writes
    ],
)
def test_one_moment(
    make_server: MakeServer, version: str | None, history: int, keys: list[str], pause: float | None
) -> None:
    server = make_server(version=version)
    with Session(settings(servers=server.url)) as session:
        bucket = make_bucket(session, history, keys)
        written = keys[:: len(keys) // 10]
        with writer(server, bucket, written, pause) as read:
            seen: set[int] = set()
            while len(seen) < 4:
                seen.add(check(snapshot(session, bucket, "some."), keys, written))
                read.set()


@pytest.mark.parametrize("version", [None, "2.10"])
def test_writes_that_are_too_fast(
    make_server: MakeServer, version: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Session(settings(servers=make_server(version=version).url)) as session:
        bucket = make_bucket(session, 1, MANY)
        listed = kv.open_bucket

        def list_and_write(*args: str) -> object:
            answer = listed(session, *args[1:])
            kv_write.write(session, bucket, MANY[0], kv.PUT, b"1")
            return answer

        monkeypatch.setattr(kv, "open_bucket", list_and_write)
        with pytest.raises(StreamsError) as refused:
            snapshot(session, bucket, "some.")
        assert refused.value.message == (
            "The keys below 'some.' of bucket CFG changed each of 5 times while they were read: try again, read fewer "
            "keys at once, or give the bucket a history of 2 or more (and nats-server 2.11)."
        )


def test_a_mirror_that_lacks_keys(make_server: MakeServer) -> None:
    """Before 2.11 the mirror answers direct reads as if the keys did not exist. The leader has them."""
    with Session(settings(servers=make_server(version="2.10").url)) as session:
        bucket = make_bucket(session, 1, FEW)
        mirror = {"name": "KV_CFG", "filter_subject": "$KV.CFG.other"}
        streams.create(session, {"name": "COPY", "mirror": mirror, "mirror_direct": True, "allow_direct": True})
        wait_until(lambda: stream_info(session, "COPY")["state"]["messages"] == 1)
        for _time in range(20):
            assert list(snapshot(session, bucket, "some.")) == FEW


@pytest.mark.parametrize("version", [None, "2.10"])
@pytest.mark.parametrize("prefix", ["", "some.", "some.k1", "other/"])
def test_selection(make_server: MakeServer, version: str | None, prefix: str) -> None:
    keys = ["some.k1", "some.k10", "some.k2", "some", "other/x", "other.x", "a"]
    with Session(settings(servers=make_server(version=version).url)) as session:
        bucket = make_bucket(session, 1, keys)
        assert list(snapshot(session, bucket, prefix)) == sorted(
            key for key in {*keys, "other"} if key.startswith(prefix)
        )


def test_more_than_a_page_of_data(make_server: MakeServer) -> None:
    """The server ends a page after 64 MiB."""
    with Session(settings(servers=make_server().url)) as session:
        bucket = make_bucket(session, 1, [])
        value = b"x" * 1_000_000
        keys = [f"large.k{number:02}" for number in range(75)]
        publish_many(session, "Writing", [Request(bucket.subject(key), value) for key in keys])
        for found in (snapshot(session, bucket, "large."), kv.last_many(session, bucket, keys)):
            assert sorted(found) == keys
            assert all(entry.value == value for entry in found.values())


def test_normal_prefix() -> None:
    assert [normal_prefix(prefix) for prefix in ("", "a", "a.", "a/", "a.b")] == ["", "a.", "a.", "a/", "a.b."]
    for prefix in (".", "a..b", "a b", "a.*", "a.>"):
        with pytest.raises(OptionError, match="is not the beginning of a key"):
            normal_prefix(prefix)
