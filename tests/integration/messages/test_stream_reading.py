# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Many messages of a large stream, read in order: in batches, or with single requests on servers without batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.choria.streams.plugins.module_utils._api import messages, reading, streams
from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from ansible_collections.choria.streams.plugins.module_utils._connection.wire import Request
from ansible_collections.choria.streams.plugins.module_utils._errors import PermissionMissing, Refused
from ansible_collections.choria.streams.plugins.module_utils._operations.messages import selection as stream_selection
from ansible_collections.choria.streams.plugins.module_utils._operations.messages.selection import Selection
from ansible_collections.choria.streams.plugins.module_utils._options.quantities import parse_timestamp
from support.connect import settings
from support.server import NatsServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import MakeServer

pytestmark = pytest.mark.once

STREAM, MESSAGES, SUBJECTS = "LARGE", 5000, 50
GONE = range(100, 200)
THERE = [number for number in range(1, MESSAGES + 1) if number not in GONE]
ON_SEVEN = [number for number in THERE if number % SUBJECTS == 7]
# The newest server with batches, a stream without direct reads, and a server without batches
WAYS = {"batches": (None, True), "leader": (None, False), "old": ("2.10", True)}


@pytest.fixture(scope="module", params=WAYS)
def session(request: pytest.FixtureRequest) -> Iterator[Session]:
    """A read-only session with a server whose stream has gaps. Subject and payload follow from the sequence."""
    version, direct = WAYS[request.param]
    with NatsServer(version=version) as server:
        with Session(settings(servers=server.url)) as writing:
            streams.create(writing, {"name": STREAM, "subjects": ["large.*"], "allow_direct": direct})
            streams.create(writing, {"name": "EMPTY", "subjects": ["empty.*"], "allow_direct": direct})
            numbers = range(1, MESSAGES + 1)
            writing.request_many([Request(f"large.{number % SUBJECTS}", str(number).encode()) for number in numbers])
            for number in GONE:
                messages.delete(writing, STREAM, number)
        with Session(settings(servers=server.url), read_only=True) as reading_only:
            yield reading_only


def sequences(found: Any) -> list[int]:
    return [message.sequence for message in found]


def test_all(session: Session) -> None:
    found = list(reading.onward(session, STREAM))
    assert sequences(found) == THERE
    assert [message.data.decode() for message in found] == list(map(str, THERE))
    assert {message.subject for message in found} == {f"large.{number}" for number in range(SUBJECTS)}


def test_from_a_sequence(session: Session) -> None:
    assert sequences(reading.onward(session, STREAM, start=99, limit=3)) == [99, 200, 201]
    assert sequences(reading.onward(session, STREAM, start=150, limit=1)) == [200]
    assert sequences(reading.onward(session, STREAM, start=MESSAGES + 1)) == []


def test_on_a_subject(session: Session) -> None:
    assert sequences(reading.onward(session, STREAM, "large.7")) == ON_SEVEN
    assert sequences(reading.onward(session, STREAM, "large.7", start=4900)) == [4907, 4957]
    assert sequences(reading.onward(session, STREAM, "large.none")) == []


def test_since_a_moment(session: Session) -> None:
    middle = messages.get(session, STREAM, sequence=3000)
    assert middle is not None
    moment = parse_timestamp(middle.time)
    expected = [number for number in THERE if number >= 3000]
    # Times are cut to microseconds, and several messages may have the same one
    assert sequences(reading.onward(session, STREAM, start=moment))[-len(expected) :] == expected
    on_seven = sequences(reading.onward(session, STREAM, "large.7", start=moment))
    assert on_seven == [number for number in ON_SEVEN if number >= 3000]
    assert sequences(reading.onward(session, STREAM, start=parse_timestamp("2099-01-01T00:00:00Z"))) == []
    assert sequences(reading.onward(session, STREAM, start=parse_timestamp("1999-01-01T00:00:00Z"), limit=1)) == [1]


@pytest.mark.parametrize(("year", "first"), [("0500", 1), ("1000", 1), ("1600", 1), ("2263", None), ("9999", None)])
def test_since_a_moment_that_servers_can_not_count_to(session: Session, year: str, first: int | None) -> None:
    moment = parse_timestamp(f"{year}-01-01T00:00:00Z")
    assert reading.first_since(session, STREAM, ">", moment) == first
    assert sequences(reading.onward(session, STREAM, start=moment, limit=1)) == ([first] if first else [])


def test_the_newest(session: Session) -> None:
    assert sequences(reading.newest(session, STREAM)) == [MESSAGES]
    assert sequences(reading.newest(session, STREAM, count=5)) == THERE[-5:]
    assert sequences(reading.newest(session, STREAM, "large.7", count=3)) == ON_SEVEN[-3:]
    assert sequences(reading.newest(session, STREAM, "large.7", count=1000)) == ON_SEVEN
    assert sequences(reading.newest(session, STREAM, count=4850)) == THERE[-4850:]
    assert sequences(reading.newest(session, STREAM, "large.none", count=3)) == []


def test_an_empty_stream(session: Session) -> None:
    assert list(reading.onward(session, "EMPTY")) == []
    assert list(reading.onward(session, "EMPTY", start=parse_timestamp("1999-01-01T00:00:00Z"))) == []
    assert reading.newest(session, "EMPTY", count=3) == []


def test_counts(session: Session) -> None:
    assert reading.count_before(session, STREAM, ">", 250, len(THERE)) == 149
    assert reading.count_before(session, STREAM, "large.7", 250, len(ON_SEVEN)) == 3
    assert reading.count_before(session, STREAM, "large.7", MESSAGES + 1, len(ON_SEVEN)) == len(ON_SEVEN)


def test_no_consumer_is_made(session: Session) -> None:
    list(reading.onward(session, STREAM, limit=1000))
    info = streams.info(session, STREAM)
    assert info is not None
    assert info["state"]["consumer_count"] == 0


def test_more_than_anyone_wants(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_selection, "MOST", 4000)
    with pytest.raises(Refused, match=r"^Stream LARGE has more than 4000 such messages: select fewer with limit"):
        Selection(since=parse_timestamp("1999-01-01T00:00:00Z")).read(session, STREAM)
    assert len(Selection(since=parse_timestamp("1999-01-01T00:00:00Z"), limit=4500).read(session, STREAM)) == 4500


def test_direct_reads_end_on_the_way(make_server: MakeServer) -> None:
    with Session(settings(servers=make_server().url)) as session:
        streams.create(session, {"name": "A", "subjects": ["a"], "allow_direct": True})
        session.request_many([Request("a", str(number).encode()) for number in range(600)])
        found = reading.onward(session, "A")
        first = next(found)
        streams.update(session, {"name": "A", "subjects": ["a"], "allow_direct": False})
        assert sequences([first, *found]) == list(range(1, 601))


@pytest.mark.parametrize("denied", ["$JS.API.DIRECT.GET.>", "$JS.API.STREAM.MSG.GET.>"])
def test_one_of_the_ways_is_not_allowed(make_server: MakeServer, denied: str) -> None:
    users = [
        {"user": "root", "password": "secret"},
        {"user": "ann", "password": "secret", "permissions": {"publish": {"deny": [denied]}}},
    ]
    server = make_server({"authorization": {"users": users}})
    with Session(settings(servers=server.url, user="root", password="secret")) as session:
        streams.create(session, {"name": "A", "subjects": ["a"], "allow_direct": True})
        session.request_many([Request("a") for _number in range(10)])
    with Session(settings(servers=server.url, user="ann", password="secret"), read_only=True) as session:
        assert sequences(reading.onward(session, "A")) == list(range(1, 11))
        if "DIRECT" in denied:
            assert sequences(reading.newest(session, "A", count=2)) == [9, 10]
        else:
            with pytest.raises(PermissionMissing, match=r"may not publish to .*MSG\.GET\.A"):
                reading.newest(session, "A")
