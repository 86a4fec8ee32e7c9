# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""How often a waiter asks, and whom it tells, by a session that is none."""

from __future__ import annotations

import json
from contextlib import nullcontext
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

GOVERNOR = Governor("X", "GOVERNOR_X", "mcollective.governor.X", 2, 60.0, 60.0, 2, 50.0)
FULL = {"error": {"code": 503, "err_code": 10077, "description": "maximum messages exceeded"}}
SEAT = {"stream": "GOVERNOR_X", "seq": 7}
AGAIN = {**SEAT, "duplicate": True}
LOST = NoAnswer("lost")


def message(governor: str = "X", kind: str = "exit") -> bytes:
    return json.dumps({"governor": governor, "event_type": kind}).encode()


class FakeSession:
    """Answers the requests in their order. `arrivals` has what comes at each time of waiting, `late` at the end."""

    def __init__(
        self, answers: Iterable[Any], arrivals: Iterable[list[bytes]] = (), late: Iterable[bytes] = ()
    ) -> None:
        self.answers = list(answers)
        self.arrivals = list(arrivals)
        self.late = list(late)
        self.queue: list[bytes] = []
        self.refused_subscriptions: set[str] = set()
        self.subscribed: list[tuple[str, str]] = []
        self.asked: list[str] = []
        self.published: list[dict[str, Any]] = []

    def connect(self) -> None:
        pass

    def within(self, seconds: float) -> AbstractContextManager[None]:
        return nullcontext()

    def request_many(self, requests: list[Request], window: int = 1) -> list[list[Message] | StreamsError]:
        [request] = requests
        if request.subject == "STREAM.MSG.GET.GOVERNOR_X":  # nobody took a seat by a request whose answer was lost
            return [[Message(request.subject, json.dumps({"error": {"code": 404, "err_code": 10037}}).encode())]]
        self.asked.append((request.headers or {})["Nats-Msg-Id"])
        answer = self.answers.pop(0)
        if isinstance(answer, StreamsError):
            return [answer]
        return [[Message(request.subject, json.dumps(answer).encode())]]

    def api(self, call: str) -> str:
        return call

    def publish(self, subject: str, payload: bytes = b"", headers: Any = None, *, wait: bool = True) -> None:
        self.published.append({"subject": subject, **json.loads(payload)})

    def subscribe(self, subject: str, queue: str = "") -> None:
        self.subscribed.append((subject, queue))

    def unsubscribe_all(self) -> None:
        self.queue += self.late

    def receive(self, timeout: float, wake: int = -1) -> Message | None:
        if timeout and not self.queue and self.arrivals:
            self.queue += self.arrivals.pop(0)
        return Message("event", self.queue.pop(0)) if self.queue else None

    @property
    def passed_on(self) -> int:
        return sum(told["protocol"] == "io.choria.streams.v1.governor_free" for told in self.published)

    def run(self, max_wait: float = 60) -> Any:
        return campaign(self, GOVERNOR, "me", Wait(max_wait))  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def no_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaigns.time, "sleep", lambda seconds: None)


def test_free_seat_needs_no_listening() -> None:
    session = FakeSession([SEAT])
    assert session.run().sequence == 7
    assert (len(session.asked), session.subscribed) == (1, [])
    assert [told["event_type"] for told in session.published] == ["enter"]


def test_asks_once_more_after_it_listens() -> None:
    session = FakeSession([FULL, SEAT])
    assert session.run().sequence == 7
    assert session.subscribed[0] == ("choria.lifecycle.event.governor.*", "choria_streams.governor.X")
    assert session.asked[0] != session.asked[1], "a new request has a new id"


@pytest.mark.parametrize(
    ("arrivals", "late", "asked", "passed_on"),
    [
        pytest.param([[message()]], [], 3, 0, id="told once"),
        pytest.param([[message("Y"), message(kind="enter"), b"no JSON", b"[]"], [message()]], [], 3, 0, id="of others"),
        pytest.param([[message(), message(), message()]], [], 3, 2, id="told three times"),
        pytest.param([[message()]], [message(), message("Y")], 3, 1, id="told too late"),
    ],
)
def test_told_of_seats(arrivals: list[list[bytes]], late: list[bytes], asked: int, passed_on: int) -> None:
    session = FakeSession([FULL, FULL, SEAT], arrivals, late)
    assert session.run().sequence == 7
    assert (len(session.asked), session.passed_on) == (asked, passed_on)


def test_what_it_was_told_of_before_it_asked_is_taken() -> None:
    session = FakeSession([FULL, FULL, FULL, SEAT], [[message(), message()], [message()]])
    assert session.run().sequence == 7
    assert session.passed_on == 0


def test_passes_on_when_the_time_is_over() -> None:
    session = FakeSession([FULL, FULL], late=[message(), message()])
    assert session.run(max_wait=0.5) is None
    assert session.passed_on == 2
    assert not [told for told in session.published if told.get("event_type")], "callers tell of it"


def test_asks_once_without_time() -> None:
    session = FakeSession([FULL])
    assert session.run(max_wait=0) is None
    assert session.subscribed == []


def test_lost_answer_is_asked_for_again() -> None:
    session = FakeSession([LOST, LOST, AGAIN])
    assert session.run().sequence == 7
    assert len(set(session.asked)) == 1


def test_what_waiting_does_not_help_against() -> None:
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
