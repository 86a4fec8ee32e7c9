# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Seats in governors, without Ansible: requests, waits, wake-ups, returns, and failures in between."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.choria.streams.plugins.module_utils._api import lists, messages, streams
from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from ansible_collections.choria.streams.plugins.module_utils._errors import (
    NoAnswer,
    PermissionMissing,
    Refused,
    StreamsError,
    Unreachable,
)
from ansible_collections.choria.streams.plugins.module_utils._operations.governor import campaign as campaigns
from ansible_collections.choria.streams.plugins.module_utils._operations.governor import governor as governors
from ansible_collections.choria.streams.plugins.module_utils._operations.governor.campaign import Wait, campaign
from ansible_collections.choria.streams.plugins.module_utils._operations.governor.lease import LEASE, act
from ansible_collections.choria.streams.plugins.module_utils._options import quantities
from ansible_collections.choria.streams.plugins.module_utils._resources.governor.governor import GOVERNOR
from support.connect import settings
from support.manage import Manager
from support.proxy import Proxy
from support.server import freeze

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ansible_collections.choria.streams.plugins.module_utils._operations.governor.governor import Governor, Seat
    from conftest import MakeServer
    from support.proxy import Frame
    from support.server import NatsServer

# The test runner has threads, which do not matter in the children
pytestmark = [pytest.mark.once, pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")]

EVENTS = "choria.lifecycle.event.governor.*"


def make(session: Session, name: str, capacity: int = 1, expire: float = 60, window: float = 0) -> Governor:
    streams.create(
        session,
        {
            "name": f"GOVERNOR_{name}",
            "subjects": [f"mcollective.governor.{name}"],
            "max_msgs": capacity,
            "max_age": int(expire * 1e9),
            "duplicate_window": int(window * 1e9),
            "discard": "new",
        },
    )
    return governors.read(session, name)


def taken(session: Session, governor: Governor, identity: str = "me", wait: float = 0) -> Seat:
    seat = campaign(session, governors.read(session, governor.name), identity, Wait(wait))
    assert seat
    return seat


@pytest.fixture
def session(nats_server: NatsServer) -> Iterator[Session]:
    with Session(settings(servers=[nats_server.url])) as found:
        yield found


@contextmanager
def beside(server: NatsServer, act: Callable[[Session], None], after: float) -> Iterator[None]:
    """Run ``act`` in a thread with its own connection, a while after the block began."""

    def run() -> None:
        time.sleep(after)
        with Session(settings(servers=[server.url])) as own:
            act(own)

    thread = threading.Thread(target=run)
    thread.start()
    yield
    thread.join()


def event(governor: str, kind: str = "exit", **more: Any) -> bytes:
    return json.dumps(
        {"protocol": "io.choria.lifecycle.v1.governor", "governor": governor, "event_type": kind}
    ).encode()


def heard(session: Session, timeout: float = 0.1) -> list[dict[str, Any]]:
    found = []
    while message := session.receive(timeout):
        found.append(json.loads(message.data))
    return found


# Recognizing governors


def test_missing_governor(session: Session) -> None:
    with pytest.raises(Refused, match=r"The governor NONE does not exist: create it with .*choria_governor"):
        governors.read(session, "NONE")


def test_stream_that_is_no_governor(session: Session) -> None:
    streams.create(session, {"name": "GOVERNOR_ODD", "subjects": ["odd"], "max_msgs": 1, "discard": "old"})
    with pytest.raises(Refused, match="is not a governor"):
        governors.read(session, "ODD")


@pytest.mark.parametrize("given", [{"retention": "interest"}, {"max_msgs_per_subject": 1}], ids=str)
def test_stream_that_keeps_no_seats(session: Session, given: dict[str, Any]) -> None:
    """Everybody would get a seat."""
    name = f"LOOSE{len(lists.stream_names(session))}"
    config = {"name": f"GOVERNOR_{name}", "subjects": [f"mcollective.governor.{name}"], "max_msgs": 2, "discard": "new"}
    streams.create(session, {**config, **given})
    with pytest.raises(Refused, match="is not a governor"):
        campaign(session, governors.read(session, name), "me", Wait(0))


# Seats


def test_seats_are_taken_and_given_back(session: Session) -> None:
    governor = make(session, "LIFE", capacity=2)
    first, second = taken(session, governor, "a"), taken(session, governor, "b")
    assert campaign(session, governor, "c", Wait(0)) is None
    assert [(seat["sequence"], seat["name"]) for seat in governors.list_seats(session, "LIFE")] == [(1, "a"), (2, "b")]
    assert governors.leave(session, first, 0) == ""
    assert taken(session, governor, "c").sequence == 3
    assert governors.leave(session, second, 0) == ""
    assert governors.leave(session, second, 0) == "it was evicted, or the governor was reset"


def test_events_are_those_of_choria(session: Session, nats_server: NatsServer) -> None:
    governor = make(session, "TOLD")
    with Session(settings(servers=[nats_server.url])) as listener:
        listener.subscribe(EVENTS)
        seat = taken(session, governor, "web1")
        governors.leave(session, seat, 0)
        seat = taken(session, governor, "web1")
        governors.evict(session, governor, governors.list_seats(session, "TOLD")[0])
        events = heard(listener)
    assert [(event["event_type"], event["sequence"]) for event in events] == [
        ("enter", 1),
        ("exit", 1),
        ("enter", 2),
        ("eviction", 2),
    ]
    assert list(events[0]) == [
        "protocol",
        "id",
        "identity",
        "component",
        "timestamp",
        "governor",
        "sequence",
        "event_type",
    ]
    assert events[0]["protocol"] == "io.choria.lifecycle.v1.governor"
    assert (events[0]["identity"], events[0]["component"], events[0]["governor"]) == ("web1", "ansible", "TOLD")
    assert abs(events[0]["timestamp"] - time.time()) < 10


def test_the_reason_for_a_lost_seat_is_reported(session: Session) -> None:
    governor = make(session, "GONE", capacity=3, expire=2)
    expired = taken(session, governor)
    while governors.list_seats(session, "GONE"):
        time.sleep(0.05)
    assert governors.leave(session, expired, 0) == "it expired after 2s"
    evicted, other = taken(session, governor, "x"), taken(session, governor, "y")
    assert governors.locate(session, governor, evicted.id) == (evicted.id, "x")
    seen = governors.list_seats(session, "GONE")[0]
    assert seen["lease_id"] == str(evicted.id)
    assert governors.evict(session, governor, seen)
    assert not governors.evict(session, governor, seen)
    assert governors.locate(session, governor, evicted.id) is None
    assert [seat["name"] for seat in governors.reset(session, governor)] == ["y"]
    assert governors.leave(session, other, 0) == "it was evicted, or the governor was reset"
    seat = taken(session, governor)
    streams.delete(session, "GOVERNOR_GONE")
    assert governors.leave(session, seat, 0) == "the governor GONE was deleted"


def test_seats_that_last_less_long_than_when_they_were_taken(session: Session) -> None:
    governor = make(session, "SHORTER")
    seat, info = taken(session, governor), streams.info(session, "GOVERNOR_SHORTER")
    assert info
    streams.update(session, {**info["config"], "max_age": 10**9, "duplicate_window": 10**9})
    while governors.list_seats(session, "SHORTER"):
        time.sleep(0.05)
    assert governors.leave(session, seat, 0) == "it expired after 1s"


def test_a_suspended_machine(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a machine is suspended, its monotonic clock stops, and seats expire. The test stops that clock."""
    governor = make(session, "ASLEEP", expire=1, window=0.2)
    seat, stopped = taken(session, governor), time.monotonic()
    while governors.list_seats(session, "ASLEEP"):
        time.sleep(0.05)
    monkeypatch.setattr(time, "monotonic", lambda: stopped)
    assert Wait(60).late(seat)
    assert governors.leave(session, seat, 0) == "it expired after 1s"


# A governor that is deleted and created again uses the same sequence numbers again


def again(session: Session, governor: Governor, **more: Any) -> Governor:
    streams.delete(session, governor.stream)
    return make(session, governor.name, **more)


def test_seat_of_a_governor_that_was_created_again_is_not_given_back(session: Session) -> None:
    governor = make(session, "ANEW", expire=0)
    first = taken(session, governor, "me")
    second = taken(session, again(session, governor, expire=0), "me")
    assert first.sequence == second.sequence
    assert governors.leave(session, first, 0) == "the governor was deleted and created again"
    assert [seat["lease_id"] for seat in governors.list_seats(session, "ANEW")] == [str(second.id)]
    assert governors.leave(session, second, 0) == ""
    # The reason is the same if nobody has a seat with that number now
    assert governors.leave(session, first, 0) == "the governor was deleted and created again"


def test_reason_of_a_seat_lost_with_its_governor(session: Session, nats_server: NatsServer) -> None:
    """The governor was created again while its waiter waited. The delay of the servers' answers does not matter."""
    governor = make(session, "BEFORE")
    taken(session, governor, "holder")

    def anew(own: Session) -> None:
        again(own, governor)
        own.publish("choria.lifecycle.event.governor.CLI", event("BEFORE"))

    def rule(frame: Frame) -> list[bytes]:
        if not frame.up and b"stream_info_response" in frame.raw:
            time.sleep(0.3)
        return [frame.raw]

    with Proxy(nats_server.port, rule) as proxy, Session(settings(servers=[proxy.url])) as slow:
        with beside(nats_server, anew, after=1):
            seat = taken(slow, governor, wait=20)
        governors.reset(session, governor)
        assert governors.leave(slow, seat, 0) in (
            "it was evicted, or the governor was reset",
            "the governor was deleted and created again, or the seat was evicted",
        )


def lease(session: Session, governor: str, state: str, **more: Any) -> dict[str, Any]:
    options = {**dict.fromkeys(LEASE.argument_spec()), "name": governor, "state": state, "max_wait": 0, **more}
    return act(session, {"identity": None, **options}, False)


@pytest.fixture
def named(nats_server: NatsServer) -> Iterator[Session]:
    with Session(settings(servers=[nats_server.url], identity="me")) as found:
        yield found


def test_lease_of_a_governor_that_was_created_again(named: Session) -> None:
    """Two plays have the same identity. The ids of their seats differ, though the numbers are equal."""
    governor = make(named, "PLAYS")
    first = lease(named, "PLAYS", "acquired")
    again(named, governor)
    second = lease(named, "PLAYS", "acquired")
    assert first["governor"]["seat"] == second["governor"]["seat"]
    assert first["lease_id"] != second["lease_id"]
    for state in ("released", "evicted"):
        result = lease(named, "PLAYS", state, lease_id=first["lease_id"])
        assert not result["changed"]
        reason = "Seat 1 of governor PLAYS is not taken any more: the governor was deleted and created again."
        assert result.get("msg", reason) == reason
    assert lease(named, "PLAYS", "released", lease_id=second["lease_id"])["changed"]
    result = lease(named, "PLAYS", "released", lease_id=second["lease_id"])
    assert result["msg"] == "Seat 1 of governor PLAYS is not taken any more: it was given back, evicted, or expired."


def test_number_of_a_seat_alone(named: Session) -> None:
    """Earlier lease ids were numbers, and other programs show seats by number."""
    make(named, "NUMBER", capacity=2)
    lease(named, "NUMBER", "acquired")
    assert lease(named, "NUMBER", "released", lease_id="1")["changed"]
    lease(named, "NUMBER", "acquired")
    assert lease(named, "NUMBER", "evicted", lease_id=2)["changed"]


def test_seat_of_another_program_has_an_id(named: Session) -> None:
    governor = make(named, "OTHERS")
    named.request(governor.subject, b"program")
    [seat] = governors.list_seats(named, "OTHERS")
    again(named, governor)
    named.request(governor.subject, b"program")
    assert not lease(named, "OTHERS", "evicted", lease_id=seat["lease_id"])["changed"]
    [seat] = governors.list_seats(named, "OTHERS")
    assert lease(named, "OTHERS", "evicted", lease_id=seat["lease_id"])["changed"]


def test_evicting_looks_whether_it_is_the_seat(session: Session) -> None:
    """The governor is created again between the list and the eviction."""
    governor = make(session, "LISTED")
    taken(session, governor)
    [listed] = governors.list_seats(session, "LISTED")
    seat = taken(session, again(session, governor))
    assert not governors.evict(session, governor, listed)
    assert [found["lease_id"] for found in governors.list_seats(session, "LISTED")] == [str(seat.id)]


def test_seats_expire_by_the_servers_clock(named: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    make(named, "CLOCK", expire=60)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() - 3600)
    expires = lease(named, "CLOCK", "acquired")["governor"]["expires"]
    [seat] = governors.list_seats(named, "CLOCK")
    difference = quantities.parse_timestamp(expires) - quantities.parse_timestamp(seat["expires"])
    assert abs(difference.total_seconds()) <= 1


# Waiting


def test_woken_by_a_foreign_exit(session: Session, nats_server: NatsServer) -> None:
    governor = make(session, "FOREIGN")
    seat = taken(session, governor)

    def leave_as_choria_does(own: Session) -> None:
        own.publish("choria.lifecycle.event.governor.CLI", event("OTHER"))
        messages.delete(own, governor.stream, seat.sequence)
        own.publish("choria.lifecycle.event.governor.CLI", json.dumps({"data": json.loads(event("FOREIGN"))}).encode())

    with beside(nats_server, leave_as_choria_does, after=0.2):
        assert 0.2 <= taken(session, governor, wait=20).waited < 2


@pytest.mark.parametrize("seconds", [0.0, 0.4, 1.2])
def test_woken_by_an_exit_that_comes_before_the_seat_is_free(
    session: Session, nats_server: NatsServer, seconds: float
) -> None:
    """Autonomous agents publish the event first. On a slow machine they leave some time later."""
    governor = make(session, f"BEFORE_{seconds * 10:.0f}")
    seat = taken(session, governor)

    def leave_late(own: Session) -> None:
        own.publish("choria.lifecycle.event.governor.CLI", event(governor.name))
        time.sleep(seconds)
        messages.delete(own, governor.stream, seat.sequence)

    with beside(nats_server, leave_late, after=0.3):
        assert taken(session, governor, wait=20).waited < 3.5


def test_woken_when_the_oldest_seat_expires(session: Session) -> None:
    governor = make(session, "EXPIRE", capacity=2, expire=1.5)
    taken(session, governor, "old")
    time.sleep(1.2)
    taken(session, governor, "young")
    assert 0.2 < taken(session, governor, "me", wait=20).waited < 1.4
    assert [seat["name"] for seat in governors.list_seats(session, "EXPIRE")] == ["young", "me"]


def test_time_is_over(session: Session) -> None:
    governor = make(session, "LATE")
    taken(session, governor)
    began = time.monotonic()
    assert campaign(session, governor, "me", Wait(0.4)) is None
    assert 0.4 <= time.monotonic() - began < 1


def test_stopped_while_waiting(session: Session) -> None:
    governor = make(session, "STOP")
    taken(session, governor)
    began = time.monotonic()
    assert campaign(session, governor, "me", Wait(30, lambda: time.monotonic() > began + 0.2)) is None
    assert time.monotonic() - began < 1.5


def test_each_free_seat_wakes_one(nats_server: NatsServer) -> None:
    """Also if one waiter got both events and passed one on."""
    with Session(settings(servers=[nats_server.url])) as holder:
        governor = make(holder, "PASS", capacity=2)
        seats = [taken(holder, governor, "a"), taken(holder, governor, "b")]
        results: list[Seat | None] = []

        def wait() -> None:
            with Session(settings(servers=[nats_server.url])) as own:
                results.append(campaign(own, governors.read(own, "PASS"), "waiter", Wait(4)))

        threads = [threading.Thread(target=wait) for _waiter in range(2)]
        for thread in threads:
            thread.start()
        time.sleep(0.4)
        for seat in seats:
            governors.leave(holder, seat, 0)
        for thread in threads:
            thread.join()
    assert all(seat and seat.waited < 3 for seat in results), results


def test_killed_waiter_costs_one_look(
    session: Session, nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(campaigns, "_FIRST_CHECK", 0.5)
    monkeypatch.setattr(campaigns, "_WIDE_SPREAD", 0.5)
    governor = make(session, "KILLED")
    seat = taken(session, governor)
    child = os.fork()
    if not child:
        with Session(settings(servers=[nats_server.url])) as own:
            campaign(own, governors.read(own, "KILLED"), "doomed", Wait(30))
        os._exit(0)
    time.sleep(0.3)
    os.kill(child, signal.SIGSTOP)  # so that it receives the event and does nothing
    time.sleep(0.1)

    def leave(own: Session) -> None:
        messages.delete(own, governor.stream, seat.sequence)
        own.publish("choria.lifecycle.event.governor.CLI", event("KILLED"))
        os.kill(child, signal.SIGKILL)

    with beside(nats_server, leave, after=0.2):
        assert taken(session, governor, wait=20).waited < 2
    os.waitpid(child, 0)


def test_a_seat_is_returned_if_nobody_reads_the_result(session: Session, nats_server: NatsServer) -> None:
    """The timeout of the task is over, and nobody reads the module's output any more."""
    make(session, "UNHEARD")
    options = {**dict.fromkeys(LEASE.argument_spec()), "name": "UNHEARD", "state": "acquired", "max_wait": 20}
    for heard_of, left in ((False, []), (True, ["me"]), (False, ["me"])):
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            os.close(reader)
            os.dup2(writer, 1)
            time.sleep(0.2)
            with Session(settings(servers=[nats_server.url], identity="me")) as own:
                act(own, options, False)
            os._exit(0)
        os.close(writer)
        if not heard_of:
            os.close(reader)
        began = time.monotonic()
        os.waitpid(child, 0)
        assert time.monotonic() - began < 10  # the module does not wait either
        assert [seat["name"] for seat in governors.list_seats(session, "UNHEARD")] == left
    assert governors.list_seats(session, "UNHEARD")[0]["sequence"] == 2


# Lost answers


class Forgetful(Session):
    """Loses the answers to the first requests for seats."""

    lost = 0

    def request_many(self, requests: Any, *more: Any, **options: Any) -> Any:
        wanted = list(requests)
        answers = super().request_many(wanted, *more, **options)
        if self.lost and "Nats-Msg-Id" in (wanted[0].headers or {}):
            self.lost -= 1
            return [NoAnswer("lost", code="timeout")]
        return answers


@pytest.mark.parametrize("window", [60, 0.2])
def test_lost_answer_takes_no_second_seat(nats_server: NatsServer, window: float) -> None:
    session = Forgetful(settings(servers=[nats_server.url]))
    with session:
        governor = make(session, f"LOST{window:g}".replace(".", "_"), capacity=3, window=window)
        session.lost = 2
        seat = taken(session, governor, wait=20)
        assert [found["sequence"] for found in governors.list_seats(session, governor.name)] == [seat.sequence]


def test_lost_answer_that_said_full(nats_server: NatsServer) -> None:
    session = Forgetful(settings(servers=[nats_server.url]))
    with session:
        governor = make(session, "LOSTFULL", window=0.2)
        holder = taken(session, governor)
        session.lost = 1
        assert campaign(session, governor, "me", Wait(0.5)) is None
        governors.leave(session, holder, 0)
        assert governors.list_seats(session, "LOSTFULL") == []


def test_unknown_at_the_end(nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaigns, "_SETTLE", 0.3)
    session = Forgetful(settings(servers=[nats_server.url]))
    with session:
        governor = make(session, "UNKNOWN")
        session.lost = 99
        with pytest.raises(Unreachable, match=r"not known whether 'me' took a seat in governor UNKNOWN; if so.* 60s"):
            campaign(session, governor, "me", Wait(0))


def test_further_seats_of_repeated_requests_are_given_back(nats_server: NatsServer) -> None:
    """A server that was stopped stores a request late: when the seat is already won, or while it is held."""
    session = Forgetful(settings(servers=[nats_server.url]))
    with session:
        governor = make(session, "GHOST", capacity=4, window=0.2)
        session.lost = 1
        seat = taken(session, governor, wait=20)
        assert seat.doubtful == {seat.id.mark}
        time.sleep(0.3)
        session.request(governor.subject, b"me", {"Nats-Msg-Id": seat.id.mark})
        session.request(governor.subject, b"other", {"Nats-Msg-Id": "of-another"})
        assert len(governors.list_seats(session, "GHOST")) == 3
        assert governors.leave(session, seat, 0) == ""
        assert [found["name"] for found in governors.list_seats(session, "GHOST")] == ["other"]


def test_unknown_lease_can_be_given_back(nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaigns, "_SETTLE", 0.3)
    session = Forgetful(settings(servers=[nats_server.url], identity="me"))
    with session:
        make(session, "RESCUE", capacity=2)
        session.lost = 99
        with pytest.raises(Unreachable) as caught:
            lease(session, "RESCUE", "acquired")
        session.lost = 0
        assert caught.value.failure["code"] == "outcome_unknown"
        assert caught.value.result["changed"]
        assert len(governors.list_seats(session, "RESCUE")) == 1
        given = caught.value.result["lease_id"]
        assert lease(session, "RESCUE", "released", lease_id=given)["changed"]
        assert governors.list_seats(session, "RESCUE") == []
        assert not lease(session, "RESCUE", "released", lease_id=given)["changed"]


def test_acquire_that_fails_has_a_lease_id(session: Session) -> None:
    with pytest.raises(Refused) as caught:
        lease(session, "NOWHERE", "acquired")
    assert caught.value.result["lease_id"] is None


# Servers that are down at first


def test_server_is_away_at_first(make_server: MakeServer) -> None:
    """max_wait includes all of the wait, from the first connection on."""
    server = make_server()
    with Session(settings(servers=[server.url])) as admin:
        make(admin, "X")
    server.kill()
    threading.Timer(1.0, server.start).start()
    with Session(settings(servers=[server.url], identity="me")) as session:
        result = lease(session, "X", "acquired", max_wait=20)
    assert result["changed"]
    assert result["governor"]["waited"] >= 0.5


def test_server_restarts_while_a_seat_is_held(make_server: MakeServer) -> None:
    server = make_server()
    with Session(settings(servers=[server.url])) as session:
        seat = taken(session, make(session, "X"))
        server.restart()
        assert governors.leave(session, seat, 10) == ""
        assert governors.list_seats(session, "X") == []
        seat = taken(session, governors.read(session, "X"))
        server.kill()
        with Session(settings(servers=[server.url])) as own, pytest.raises(Unreachable) as caught:
            governors.leave(own, seat, 0.3)
        sentence = governors.not_given_back(seat, caught.value)
        assert "Seat 2 of governor X could not be given back, it is taken until 20" in sentence
        threading.Timer(0.5, server.start).start()
        assert governors.leave(session, seat, 10) == ""


def test_server_restarts_while_waiting(make_server: MakeServer) -> None:
    server = make_server()
    with Session(settings(servers=[server.url])) as session:
        governor = make(session, "X")
        seat = taken(session, governor)

        def restart() -> None:
            time.sleep(0.3)
            server.restart()
            with Session(settings(servers=[server.url])) as own:
                governors.leave(own, seat, 10)

        thread = threading.Thread(target=restart)
        thread.start()
        assert taken(session, governor, wait=20).waited < 5
        thread.join()


def test_server_stays_away(make_server: MakeServer) -> None:
    server = make_server()
    with Session(settings(servers=[server.url])) as session:
        governor = make(session, "X")
        taken(session, governor)
        threading.Timer(0.2, server.kill).start()
        with pytest.raises(StreamsError, match=r"^nats://\S+ can't be reached"):
            campaign(session, governor, "me", Wait(1))


# Servers that are down between the seat and the work


def stopped_when_won(server: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop the server as soon as a waiter has won its seat."""
    real = campaigns._Waiter.run

    def run(self: Any) -> Seat | None:
        seat = real(self)
        if seat:
            freeze(server.pid)
        return seat

    monkeypatch.setattr(campaigns._Waiter, "run", run)


@pytest.mark.parametrize("waits", [False, True])
def test_nothing_holds_the_work_up(make_server: MakeServer, monkeypatch: pytest.MonkeyPatch, waits: bool) -> None:
    """Neither publishing the event, nor returning further seats, nor unsubscribing delays the work."""
    server = make_server()
    session = Forgetful(settings(servers=[server.url]))
    with session:
        governor = make(session, "X", window=0.2)
        if waits:
            held = taken(session, governor, "holder")
            threading.Timer(0.5, give_back, (server, held)).start()
        session.lost = 1
        stopped_when_won(server, monkeypatch)
        began = time.monotonic()
        seat = campaign(session, governor, "me", Wait(20))
        try:
            assert seat
            assert seat.doubtful
            assert time.monotonic() - began - seat.waited < 3
        finally:
            os.kill(server.pid, signal.SIGCONT)
        assert governors.leave(session, seat, 10) == ""
        assert governors.list_seats(session, "X") == []


def give_back(server: NatsServer, seat: Seat) -> None:
    with Session(settings(servers=[server.url])) as own:
        governors.leave(own, seat, 10)


@contextmanager
def late_answers(server: NatsServer, seconds: float, count: int) -> Iterator[Session]:
    """Return a session that gets the answers to its first requests for seats late."""
    late = [seconds] * count

    def rule(frame: Frame) -> list[bytes]:
        if late and not frame.up and b'"seq":' in frame.raw and b"GOVERNOR_" in frame.raw:
            time.sleep(late.pop())
        return [frame.raw]

    with Proxy(server.port, rule) as proxy, Session(settings(servers=[proxy.url], identity="me")) as found:
        yield found


def test_seat_that_is_too_old_is_given_back_and_the_wait_goes_on(nats_server: NatsServer, session: Session) -> None:
    governor = make(session, "OLD", expire=3)
    with late_answers(nats_server, 1.8, 1) as own:
        seat = taken(own, governor, wait=20)
    assert seat.sequence == 2
    assert seat.held < 1.5
    assert [found["sequence"] for found in governors.list_seats(session, "OLD")] == [2]


def test_time_is_over_when_the_seat_is_too_old(nats_server: NatsServer, session: Session) -> None:
    make(session, "OLDER", expire=3)
    with late_answers(nats_server, 1.8, 1) as own:
        result = lease(own, "OLDER", "acquired", max_wait=1)
    assert re.fullmatch(
        r"No seat in governor OLDER could be used within max_wait \(1s\): seat 1 was won, but could be used only when "
        r"1\.\ds of the 3s that it lasts had passed, and was given back\. Raise max_wait, or set on_timeout: skip\.",
        result["msg"],
    )
    assert (result["lease_id"], result["failure"]["code"]) == (None, "governor_timeout")
    assert governors.list_seats(session, "OLDER") == []


@pytest.mark.parametrize(("max_wait", "won"), [(0.5, False), (0, False), (5, True)])
def test_seat_that_comes_too_late(
    nats_server: NatsServer, session: Session, monkeypatch: pytest.MonkeyPatch, max_wait: float, won: bool
) -> None:
    monkeypatch.setattr(campaigns, "_TOO_LATE", 0.3)
    name = f"LATE_{max_wait * 10:.0f}"
    make(session, name, expire=0)
    with late_answers(nats_server, 1.2, 1) as own:
        result = lease(own, name, "acquired", max_wait=max_wait)
    assert result["changed"] == won
    assert len(governors.list_seats(session, name)) == won
    if not won:
        assert re.search(r"seat 1 was won, but could be used only \d\.\ds later, and was given back\.", result["msg"])


def test_seat_that_comes_too_late_and_can_not_be_given_back(
    make_server: MakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(campaigns, "_TOO_LATE", -1.0)
    monkeypatch.setattr(campaigns, "_SETTLE", 0.3)
    server = make_server()
    with Session(settings(servers=[server.url], identity="me", timeout=1, connect_timeout=1)) as session:
        make(session, "EVER", expire=0)
        make(session, "SOON", expire=60)
        stopped_when_won(server, monkeypatch)
        try:
            with pytest.raises(Unreachable, match="Seat 1 of governor EVER could not be given back") as caught:
                lease(session, "EVER", "acquired")
            os.kill(server.pid, signal.SIGCONT)
            result = lease(session, "SOON", "acquired")
            assert re.search(r"seat 1 was won, but .* later, and is taken until 20\S+Z at most\.", result["msg"])
        finally:
            os.kill(server.pid, signal.SIGCONT)
        assert lease(session, "EVER", "released", lease_id=caught.value.result["lease_id"])["changed"]


# Permissions

USER = {"user": "me", "password": "secret"}


def restricted(make_server: MakeServer, publish: list[str], subscribe: list[str]) -> NatsServer:
    """Return a server with a user who has only these permissions. `admin` has all of them."""
    permissions = {"publish": publish, "subscribe": ["_INBOX.>", *subscribe]}
    users = [{**USER, "permissions": permissions}, {"user": "admin", "password": "secret"}]
    return make_server({"authorization": {"users": users}})


def test_least_permissions(make_server: MakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Choria's brokers allow servers no more than this. Without events, a waiter has to check regularly."""
    monkeypatch.setattr(campaigns, "_FIRST_CHECK", 0.3)
    calls = ("STREAM.INFO.*", "STREAM.MSG.GET.*", "STREAM.MSG.DELETE.*")
    allowed = [*(f"$JS.API.{call}" for call in calls), "*.governor.*", "choria.lifecycle.>"]
    server = restricted(make_server, allowed, [])
    with Session(settings(servers=[server.url], user="admin", password="secret")) as admin:
        governor = make(admin, "X")
        seat = taken(admin, governor)
        with Session(settings(servers=[server.url], **USER)) as session:
            threading.Timer(0.2, messages.delete, (admin, governor.stream, seat.sequence)).start()
            ours = taken(session, governor, wait=10)
            assert EVENTS in session.refused_subscriptions
            assert ours.waited < 2
            assert governors.leave(session, ours, 0) == ""


def test_missing_permission_is_reported_at_once(make_server: MakeServer) -> None:
    server = restricted(make_server, ["$JS.API.STREAM.INFO.*"], [])
    with Session(settings(servers=[server.url], user="admin", password="secret")) as admin:
        make(admin, "X")
    with Session(settings(servers=[server.url], **USER)) as session:
        governor = governors.read(session, "X")
        with pytest.raises(PermissionMissing, match=r"may not publish to mcollective\.governor\.X.*--governor"):
            campaign(session, governor, "me", Wait(30))


# Many waiters


class Waiters:
    """Waiters in separate processes, each with its own connection."""

    def __init__(self, server: NatsServer, governor: str, count: int, max_wait: float) -> None:
        self.readers = [self._fork(server, governor, max_wait) for _number in range(count)]

    def _fork(self, server: NatsServer, governor: str, max_wait: float) -> int:
        reader, writer = os.pipe()
        if os.fork():
            os.close(writer)
            return reader
        sent = [0]
        with Session(settings(servers=[server.url])) as own:
            real = own.request_many

            def counted(requests: Any, *more: Any, **options: Any) -> Any:
                sent[0] += 1
                return real(requests, *more, **options)

            own.request_many = counted  # type: ignore[method-assign]
            wait = Wait(max_wait)
            seat = campaign(own, campaigns.find(own, governor, wait), "waiter", wait)
            os.write(writer, json.dumps([seat.waited if seat else None, sent[0]]).encode())
        os._exit(0)

    def results(self) -> list[tuple[float | None, int]]:
        found: list[Any] = [tuple(json.loads(os.fdopen(reader, "rb").read())) for reader in self.readers]
        for _reader in self.readers:
            os.wait()
        return found


def test_one_looks_for_all(session: Session, nats_server: NatsServer) -> None:
    """Seats expire one after the other. Not all waiters check each time."""
    governor = make(session, "LOOKS", capacity=4, expire=2)
    for _seat in range(4):
        taken(session, governor, "holder")
        time.sleep(0.5)
    results = Waiters(nats_server, "LOOKS", 20, 60).results()
    assert all(waited is not None for waited, _sent in results)
    # Each has read the governor once and requested a seat twice before it waited
    assert sum(sent - 3 for _waited, sent in results) <= 4 * len(results)


def test_more_seats_wake_as_many(session: Session, nats_server: NatsServer) -> None:
    governor = make(session, "RAISED", capacity=1)
    taken(session, governor, "holder")
    waiters = Waiters(nats_server, "RAISED", 4, 4.5)
    time.sleep(2)
    with Manager(servers=[nats_server.url]) as manager:
        manager.apply(GOVERNOR, name="RAISED", capacity=4)
    waited = [waited for waited, _sent in waiters.results() if waited is not None]
    assert len(waited) == 3
    assert max(waited) < 4
