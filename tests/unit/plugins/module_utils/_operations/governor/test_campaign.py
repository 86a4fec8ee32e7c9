# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""How often a waiter asks for a seat, and which waiters it wakes. A fake session answers."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.choria.streams.plugins.module_utils._connection.wire import Message, Request
from ansible_collections.choria.streams.plugins.module_utils._errors import ApiError, NoAnswer, StreamsError
from ansible_collections.choria.streams.plugins.module_utils._operations.governor import campaign as campaigns
from ansible_collections.choria.streams.plugins.module_utils._operations.governor.campaign import Wait, campaign
from ansible_collections.choria.streams.plugins.module_utils._operations.governor.governor import Governor
from ansible_collections.choria.streams.plugins.module_utils._resources.governor import events

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractContextManager

GOVERNOR = Governor("X", "GOVERNOR_X", "mcollective.governor.X", 2, 60.0, 60.0, 1, 50.0)
FULL = {"error": {"code": 503, "err_code": 10077, "description": "maximum messages exceeded"}}
SEAT = {"stream": "GOVERNOR_X", "seq": 7}
AGAIN = {**SEAT, "duplicate": True}
LOST = NoAnswer("lost")


def message(governor: str = "X", kind: str = "exit") -> bytes:
    return json.dumps({"governor": governor, "event_type": kind}).encode()


class FakeSession:
    """Answers the requests in order. `arrivals` has the messages of each wait, and `late` those at the end."""

    def __init__(
        self, answers: Iterable[Any], arrivals: Iterable[list[bytes]] = (), late: Iterable[bytes] = ()
    ) -> None:
        self.answers = list(answers)
        self.arrivals = list(arrivals)
        self.late = list(late)
        self.queue: list[bytes] = []
        self.refused_subscriptions: set[str] = set()
        self.wrote, self.writes_done = False, 0
        self.subscribed: list[tuple[str, str]] = []
        self.asked: list[str] = []
        self.published: list[dict[str, Any]] = []

    def connect(self) -> None:
        pass

    def within(self, seconds: float) -> AbstractContextManager[None]:
        return nullcontext()

    def request_many(self, requests: list[Request], window: int = 1) -> list[list[Message] | StreamsError]:
        [request] = requests
        if request.subject == "STREAM.MSG.GET.GOVERNOR_X":  # no request whose answer was lost took a seat
            return [[Message(request.subject, json.dumps({"error": {"code": 404, "err_code": 10037}}).encode())]]
        if request.subject == "STREAM.INFO.GOVERNOR_X":
            return [LOST]
        self.asked.append((request.headers or {})["Nats-Msg-Id"])
        answer = self.answers.pop(0)
        if isinstance(answer, StreamsError):
            return [answer]
        return [[Message(request.subject, json.dumps(answer).encode())]]

    def api(self, call: str) -> str:
        return call

    def publish(self, subject: str, payload: bytes = b"", headers: Any = None, *, wait: bool = True) -> None:
        self.published.append({"subject": subject, **json.loads(payload)})

    def subscribe(self, subject: str, queue: str = "", *, wait: bool = True) -> None:
        self.subscribed.append((subject, queue))

    def unsubscribe_all(self) -> None:
        self.queue += self.late

    def receive(self, timeout: float, wake: int = -1) -> Message | None:
        if timeout and not self.queue and self.arrivals:
            self.queue += self.arrivals.pop(0)
        return Message("event", self.queue.pop(0)) if self.queue else None

    @property
    def passed_on(self) -> int:
        return sum(event["protocol"] == "io.choria.streams.v1.governor_free" for event in self.published)

    def run(self, max_wait: float = 60, governor: Governor = GOVERNOR) -> Any:
        return campaign(self, governor, "me", Wait(max_wait))  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def no_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaigns.time, "sleep", lambda seconds: None)


def test_free_seat_needs_no_listening() -> None:
    session = FakeSession([SEAT])
    assert session.run().sequence == 7
    assert (len(session.asked), session.subscribed) == (1, [])
    assert [event["event_type"] for event in session.published] == ["enter"]


def test_asks_once_more_after_it_listens() -> None:
    session = FakeSession([FULL, SEAT])
    assert session.run().sequence == 7
    assert session.subscribed[0] == ("choria.lifecycle.event.governor.*", "choria_streams.governor.X")
    assert session.asked[0] != session.asked[1], "a new request has a new id"


def test_a_full_governor_is_asked_when_its_events_are_heard() -> None:
    session = FakeSession([SEAT])
    assert session.run(governor=replace(GOVERNOR, taken=2)).sequence == 7
    assert (len(session.asked), len(session.subscribed)) == (1, 2)


@pytest.mark.parametrize(
    ("arrivals", "late", "asked", "passed_on"),
    [
        pytest.param([[message()]], [], 3, 0, id="woken once"),
        pytest.param([[message("Y"), message(kind="enter"), b"no JSON", b"[]"], [message()]], [], 3, 0, id="of others"),
        pytest.param([[message(), message(), message()]], [], 3, 2, id="woken three times"),
        pytest.param([[message()]], [message(), message("Y")], 3, 1, id="woken too late"),
    ],
)
def test_events_of_seats(arrivals: list[list[bytes]], late: list[bytes], asked: int, passed_on: int) -> None:
    session = FakeSession([FULL, FULL, SEAT], arrivals, late)
    assert session.run().sequence == 7
    assert (len(session.asked), session.passed_on) == (asked, passed_on)


def test_a_seat_that_is_announced_before_the_request_is_taken() -> None:
    session = FakeSession([FULL, FULL, FULL, SEAT], [[message(), message()], [message()]])
    assert session.run().sequence == 7
    assert session.passed_on == 0


def test_passes_on_when_the_time_is_over() -> None:
    session = FakeSession([FULL, FULL], late=[message(), message()])
    assert session.run(max_wait=0.5) is None
    assert session.passed_on == 2
    assert not [event for event in session.published if event.get("event_type")], "callers tell of it"


def test_asks_once_without_time() -> None:
    session = FakeSession([FULL])
    assert session.run(max_wait=0) is None
    assert session.subscribed == []


def test_lost_answer_is_asked_for_again() -> None:
    session = FakeSession([LOST, LOST, AGAIN])
    assert session.run().sequence == 7
    assert len(set(session.asked)) == 1


def test_errors_that_waiting_does_not_end() -> None:
    session = FakeSession([{"error": {"code": 400, "err_code": 10054, "description": "too large"}}])
    with pytest.raises(ApiError, match="Asking for a seat in governor X: too large"):
        session.run()


def test_election_of_a_leader_is_waited_for() -> None:
    away = {"error": {"code": 503, "err_code": 10008, "description": "JetStream system temporarily unavailable"}}
    session = FakeSession([away, away, SEAT])
    assert session.run().sequence == 7


@pytest.mark.parametrize(
    ("text", "frees"),
    [
        ('{"governor": "X", "event_type": "exit"}', True),
        ('{"governor": "X", "event_type": "eviction"}', True),
        ('{"governor": "X", "event_type": "enter"}', False),
        ('{"governor": "X", "event_type": "timeouts"}', False),
        ('{"governor": "Y", "event_type": "exit"}', False),
        ('{"type": "io.choria.lifecycle.v1.governor", "data": {"governor": "X", "event_type": "exit"}}', True),
        ('{"protocol": "io.choria.streams.v1.governor_free", "governor": "X"}', True),
        ("[1]", False),
        ("", False),
    ],
)
def test_events_that_free_a_seat(text: str, frees: bool) -> None:
    assert events.frees_seat(text.encode(), "X") is frees


@pytest.mark.parametrize(
    ("again", "seconds"),
    [
        ("5", 5.0),
        ("-1", None),
        ("1" * 400, None),
        ("1e400", None),
        ('"x"', None),
        ("[" * 100_000, None),
        ("null", None),
    ],
)
def test_checks_of_others(again: str, seconds: float | None) -> None:
    """Any client may publish any message there."""
    protocol = events._CHECKED_PROTOCOL
    assert events.next_expiry(f'{{"protocol": "{protocol}", "again": {again}}}'.encode()) == seconds
