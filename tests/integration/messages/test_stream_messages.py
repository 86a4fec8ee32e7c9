# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Publishing, deleting and purging with real servers: check mode predicts the result, and each refusal."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import nats
import pytest

from ansible_collections.choria.streams.plugins.module_utils._api import messages, streams
from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from ansible_collections.choria.streams.plugins.module_utils._connection.wire import Request
from ansible_collections.choria.streams.plugins.module_utils._errors import NoAnswer, PermissionMissing, StreamsError
from ansible_collections.choria.streams.plugins.module_utils._operations.messages.messages import SPEC, act
from support.connect import options, settings
from support.filling import delete_streams
from support.infos import stream_info
from support.server import NatsServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import MakeServer

pytestmark = pytest.mark.once

OLD = "2.10"


@pytest.fixture(scope="module", params=[None, OLD], ids=["new", "old"])
def server(request: pytest.FixtureRequest) -> Iterator[NatsServer]:
    with NatsServer(version=request.param) as running:
        yield running


@pytest.fixture
def session(server: NatsServer) -> Iterator[Session]:
    """A session with a server that has no streams."""
    with Session(settings(servers=server.url)) as session:
        server.wait_removed()
        delete_streams(session)
        yield session


def run(session: Session, check: bool = False, **given: Any) -> dict[str, Any]:
    """Return the result of the module. In check mode the session refuses writes."""
    session.read_only = check
    try:
        return act(session, options(SimpleNamespace(spec=SPEC, states={}), **given), check)
    finally:
        session.read_only = False


def both(session: Session, **given: Any) -> dict[str, Any]:
    """Run check mode, then the real run. Check mode must return the same result, except for times."""
    foreseen, done = run(session, True, **given), run(session, **given)

    def timeless(result: dict[str, Any]) -> dict[str, Any]:
        diff = dict(result.get("diff") or {})
        for side in ("before", "after"):
            diff[side] = {name: value for name, value in (diff.get(side) or {}).items() if name != "time"}
        message = {name: value for name, value in (result.get("message") or {}).items() if name != "time"}
        return {**result, "message": message, "diff": diff}

    assert timeless(foreseen) == timeless(done)
    return done


@contextmanager
def refused(start: str, code: str = "") -> Iterator[None]:
    with pytest.raises(StreamsError) as raised:
        yield
    assert raised.value.message.startswith(start)
    if code:
        assert raised.value.failure["code"] == code


def both_refused(session: Session, start: str, code: str, **given: Any) -> None:
    for check in (True, False):
        with refused(start, code):
            run(session, check, **given)


def stream(session: Session, name: str = "O", **config: Any) -> None:
    streams.create(session, {"name": name, "subjects": [f"{name.lower()}.>"], **config})


def stored(session: Session, name: str = "O") -> int:
    info = streams.info(session, name)
    assert info is not None
    return int(info["state"]["messages"])


def fill(session: Session, *subjects: str) -> None:
    for number, subject in enumerate(subjects):
        messages.publish(session, "Filling", subject, str(number).encode())


# Publishing


def test_publish(session: Session) -> None:
    stream(session)
    done = both(session, subject="o.1", data={"a": "ü"}, encoding="json", headers={"B": "c"}, stream="O")
    message = done["message"]
    assert done["changed"]
    assert message.pop("time").startswith("20")
    assert message == {
        "stream": "O",
        "subject": "o.1",
        "sequence": 1,
        "headers": {"B": "c", "Nats-Expected-Stream": "O"},
        "data": {"a": "ü"},
        "encoding": "json",
        "duplicate": False,
    }
    assert done["changes"] == [{"field": "message", "before": None, "after": 1, "effect": "create"}]
    assert done["consequences"] == {"messages_lost": 0, "consumers_lost": 0}
    assert done["diff"]["before"] == {}
    assert done["diff"]["after"]["data"] == "(masked)"
    assert done["diff"]["after"]["headers"] == {"B": "(masked)", "Nats-Expected-Stream": "O"}
    found = messages.get(session, "O", sequence=1)
    assert found is not None
    assert found.data == '{"a": "ü"}'.encode()


def test_each_message_is_another_one(session: Session) -> None:
    stream(session)
    assert [both(session, subject="o.1", data="")["message"]["sequence"] for _time in range(3)] == [1, 2, 3]


def test_binary(session: Session) -> None:
    stream(session)
    assert both(session, subject="o.1", data="//79AAA=", encoding="base64")["message"]["data"] == "//79AAA="
    found = messages.get(session, "O", sequence=1)
    assert found is not None
    assert found.data == b"\xff\xfe\xfd\x00\x00"


def test_a_duplicate_is_no_change_and_shows_the_first(session: Session) -> None:
    stream(session, discard="new", max_msgs=2)
    fill(session, "o.1")
    assert both(session, subject="o.2", data="first", msg_id="a")["changed"]
    again = both(session, subject="o.3", data="second", msg_id="a")
    assert not again["changed"]
    assert "diff" not in again
    assert again["message"]["duplicate"]
    assert (again["message"]["sequence"], again["message"]["subject"], again["message"]["data"]) == (2, "o.2", "first")
    assert stored(session) == 2


def test_a_duplicate_that_is_gone(session: Session) -> None:
    stream(session)
    run(session, subject="o.1", data="a", msg_id="a")
    run(session, stream="O", state="absent", sequence=1)
    again = run(session, subject="o.1", data="a", msg_id="a")
    assert not again["changed"]
    assert again["message"]["time"] is None


def test_expected_sequences(session: Session) -> None:
    stream(session)
    both(session, subject="o.1", data="a", expected_last_sequence=0, expected_last_subject_sequence=0)
    both(session, subject="o.2", data="a", expected_last_sequence=1, expected_last_subject_sequence=0, msg_id="b")
    both(session, subject="o.1", data="a", expected_last_subject_sequence=1, expected_last_msg_id="b")
    for given, start in (
        ({"expected_last_sequence": 2}, "expected_last_sequence: the last message in the stream is 3, not 2, so it w"),
        ({"expected_last_subject_sequence": 1}, "expected_last_subject_sequence: the last message on o.1 is 3, not 1"),
        ({"expected_last_msg_id": "b"}, "expected_last_msg_id: the last message in the stream has the id '"),
        (
            {"expected_last_sequence": 3, "expected_last_subject_sequence": 1},
            "expected_last_subject_sequence: the last message on o.1 is 3, not 1",
        ),
    ):
        both_refused(session, start, "wrong_last", subject="o.1", data="a", **given)
    both_refused(
        session,
        "expected_last_subject_sequence: there is no message on o.9 yet, and 1 was expected",
        "wrong_last",
        subject="o.9",
        data="a",
        expected_last_subject_sequence=1,
    )
    assert stored(session) == 3


def test_lifetimes(session: Session, server: NatsServer) -> None:
    if session.server.version < (2, 11, 0):
        stream(session)
        start = f"ttl: needs nats-server 2.11, and this server runs {'.'.join(map(str, session.server.version))}"
        both_refused(session, start, "server_too_old", subject="o.1", data="a", ttl="1h")
        return
    stream(session, allow_msg_ttl=True)
    stream(session, "P")
    assert both(session, subject="o.1", data="a", ttl="1h")["message"]["headers"] == {"Nats-TTL": "3600s"}
    both_refused(session, "ttl: stream P takes no message with a lifetime", "refused", subject="p.1", data="a", ttl=60)


def test_subjects_without_a_stream_are_refused(session: Session) -> None:
    stream(session)
    start = "subject: no stream takes nowhere.1: create one with choria_stream that has it among its subjects, or check"
    both_refused(session, start, "no_stream", subject="nowhere.1", data="a")
    both_refused(session, start, "no_stream", subject="nowhere.1", data="a", stream="O")


@contextmanager
def subscriber(url: str, subject: str, answer: bytes) -> Iterator[None]:
    """Subscribe to a subject without a stream. Answer if an answer is given."""
    ready, end = threading.Event(), threading.Event()

    async def listen() -> None:
        client = await nats.connect(url)

        async def reply(message: Any) -> None:
            if answer:
                await message.respond(answer)

        await client.subscribe(subject, cb=reply)
        await client.flush()
        ready.set()
        while not end.is_set():
            await asyncio.sleep(0.01)
        await client.close()

    thread = threading.Thread(target=lambda: asyncio.run(listen()))
    thread.start()
    try:
        assert ready.wait(10)
        yield
    finally:
        end.set()
        thread.join()


@pytest.mark.parametrize("answer", [b"", b"hello", b'{"ok": true}', b"[]"])
def test_a_subscriber_that_is_no_stream(server: NatsServer, answer: bytes) -> None:
    with (
        subscriber(server.url, "plain.1", answer),
        Session(settings(servers=server.url, timeout="500ms")) as session,
        refused("subject: no stream takes plain.1: ", "no_stream"),
    ):
        run(session, subject="plain.1", data="a")


def test_the_stream_of_the_subject_is_another(session: Session) -> None:
    stream(session)
    stream(session, "P")
    start = "stream: p.1 belongs to stream P, and not to O: check the subject, or give the right stream, or none."
    both_refused(session, start, "wrong_stream", subject="p.1", data="a", stream="O")


@pytest.mark.parametrize(
    ("config", "given", "start", "code"),
    [
        ({"no_ack": True}, {}, "stream: stream O acknowledges nothing (no_ack), so nobody can say", "refused"),
        ({"max_msg_size": 3}, {"data": "four"}, "data: has 4 bytes with its headers, and 3 are allowed", "refused"),
        ({"max_msg_size": 30}, {"msg_id": "four"}, "data: has 32 bytes with its headers, and 30", "refused"),
        ({}, {"headers": {"a": "x" * 65535}}, "headers: they have 65552 bytes, and streams store 65535", "refused"),
        ({}, {"data": "x" * 1048577}, "data: has 1048577 bytes with its headers, and 1048576 are all", "refused"),
        (
            {"max_msgs": 1, "discard": "new"},
            {},
            "subject: nothing was published to o.1, the stream is full (",
            "full",
        ),
        (
            {"max_msgs_per_subject": 1, "discard": "new", "discard_new_per_subject": True},
            {},
            "subject: nothing was published to o.1, the stream is full (",
            "full",
        ),
        (
            {},
            {"headers": {"Nats-Rollup": "sub"}, "allow_data_loss": True},
            "headers: stream O allows no roll-up: set allow_rollup_hdrs: true with choria_stream",
            "refused",
        ),
    ],
)
def test_messages_that_a_stream_refuses(
    session: Session, config: dict[str, Any], given: dict[str, Any], start: str, code: str
) -> None:
    stream(session, **config)
    if code == "full":
        run(session, subject="o.1", data="x")
    both_refused(session, start, code, **{"subject": "o.1", "data": "x", **given})


def test_the_limit_of_a_size_is_the_servers(session: Session) -> None:
    stream(session, max_msg_size=32)
    both(session, subject="o.1", data="x", msg_id="four")


def test_a_sealed_stream(session: Session) -> None:
    stream(session)
    fill(session, "o.1")
    info = streams.info(session, "O")
    assert info is not None
    streams.update(session, {**info["config"], "sealed": True})
    both_refused(session, "stream: stream O is sealed, and never takes a", "refused", subject="o.1", data="a")
    both_refused(
        session,
        "sequence: message 1 can't be deleted, stream O is sealed.",
        "refused",
        stream="O",
        sequence=1,
        state="absent",
    )
    both_refused(
        session,
        "state: stream O can't be purged, it is sealed.",
        "refused",
        stream="O",
        state="purged",
        allow_data_loss=True,
    )


def test_a_roll_up(session: Session) -> None:
    stream(session, allow_rollup_hdrs=True)
    fill(session, "o.1", "o.1", "o.2")
    done = both(session, subject="o.1", data="a", headers={"Nats-Rollup": "sub"}, allow_data_loss=True)
    assert done["consequences"]["messages_lost"] is None
    assert stored(session) == 2


def test_a_stream_that_others_take_from(session: Session) -> None:
    """An interest stream without consumers deletes each message at once."""
    stream(session, retention="interest")
    message = run(session, subject="o.1", data="a")["message"]
    assert (message["sequence"], message["time"], message["data"]) == (1, None, "a")


# Deleting


@pytest.mark.parametrize("erase", [False, True])
def test_delete(session: Session, erase: bool) -> None:
    stream(session)
    fill(session, "o.1", "o.2")
    done = both(session, stream="O", sequence=1, state="absent", erase=erase)
    assert done["changed"]
    assert done["message"] is None
    assert done["changes"] == [{"field": "message", "before": 1, "after": None, "effect": "delete"}]
    assert done["consequences"]["messages_lost"] == 1
    assert done["diff"]["before"]["subject"] == "o.1"
    assert done["diff"]["after"] == {}
    assert messages.get(session, "O", sequence=1) is None
    assert stored(session) == 1
    for sequence in (1, 999):
        assert not both(session, stream="O", sequence=sequence, state="absent")["changed"]


def test_deletions_that_are_refused(session: Session) -> None:
    stream(session, deny_delete=True)
    fill(session, "o.1")
    start = "sequence: message 1 can't be deleted, stream O does not allow that (deny_delete)."
    both_refused(session, start, "refused", stream="O", sequence=1, state="absent")
    start = "stream: there is no stream NONE: create it with choria_stream, or check its name and the"
    both_refused(session, start, "no_stream", stream="NONE", sequence=1, state="absent")
    both_refused(session, start, "no_stream", stream="NONE", state="purged")
    both_refused(
        session, "sequence: 0 is out of range: give 1 or more.", "option", stream="O", sequence=0, state="absent"
    )


# Purging

SUBJECTS = ("o.a.1", "o.a.2", "o.b", "o.a.1", "o.b", "o.a.1", "o.a.2", "o.b", "o.b", "o.a.1")


@pytest.mark.parametrize("gap", [False, True])
@pytest.mark.parametrize(
    ("given", "purged"),
    [
        ({}, 10),
        ({"subject": ">"}, 10),
        ({"subject": "o.a.1"}, 4),
        ({"subject": "o.a.*"}, 6),
        ({"subject": "o.>", "keep": 3}, 7),
        ({"subject": "o.a.*", "keep": 2}, 4),
        ({"subject": "o.b", "keep": 9}, 0),
        ({"keep": 4}, 6),
        ({"sequence": 1}, 0),
        ({"sequence": 5}, 4),
        ({"sequence": 99}, 10),
        ({"subject": "o.b", "sequence": 1}, 0),
        ({"subject": "o.b", "sequence": 8}, 2),
        ({"subject": "o.a.*", "sequence": 7}, 4),
        ({"subject": "none"}, 0),
    ],
)
def test_purge(session: Session, given: dict[str, Any], purged: int, gap: bool) -> None:
    """The count of check mode is the server's, also with gaps between messages."""
    stream(session, allow_direct=gap)
    fill(session, *SUBJECTS)
    if gap:
        # The same number of messages again, all of them deleted
        fill(session, *SUBJECTS)
        for sequence in range(11, 21):
            messages.delete(session, "O", sequence)
    done = both(session, stream="O", state="purged", allow_data_loss=True, **given)
    assert (done["purged"], done["messages_before"], done["messages_after"]) == (purged, 10, 10 - purged)
    assert done["changed"] is (purged > 0)
    assert done["consequences"] == {"messages_lost": purged, "consumers_lost": 0}
    assert stored(session) == 10 - purged
    assert not both(session, stream="O", state="purged", **given)["changed"]


@pytest.mark.parametrize("given", [{"state": "purged", "allow_data_loss": True}, {"state": "absent", "sequence": 1}])
def test_others_are_faster(session: Session, monkeypatch: pytest.MonkeyPatch, given: dict[str, Any]) -> None:
    """Others delete the messages between the count and the purge, so that this task changes nothing."""
    stream(session)
    fill(session, "o.1")
    exchange = session.request_many

    def slow(requests: Any, *more: Any, **options: Any) -> Any:
        if any("PURGE" in request.subject or "DELETE" in request.subject for request in requests):
            monkeypatch.undo()
            streams.purge(session, "O")
        return exchange(requests, *more, **options)

    monkeypatch.setattr(session, "request_many", slow)
    assert not run(session, stream="O", **given)["changed"]


def test_a_purge_that_nobody_allowed(session: Session) -> None:
    stream(session)
    fill(session, *SUBJECTS)
    start = "stream O: purging it would lose 6 messages: set allow_data_loss: true if that is wanted."
    both_refused(session, start, "data_loss", stream="O", state="purged", subject="o.a.*")
    assert stored(session) == 10


def test_a_stream_that_denies_purges(session: Session) -> None:
    stream(session, deny_purge=True)
    assert not both(session, stream="O", state="purged")["changed"]
    fill(session, "o.1")
    start = "state: stream O can't be purged, it does not allow that (deny_purge)."
    both_refused(session, start, "refused", stream="O", state="purged", allow_data_loss=True)


# Permissions


@pytest.fixture
def restricted(make_server: MakeServer) -> Iterator[tuple[Session, NatsServer]]:
    """Return a session of a user with all permissions, and its server. The user `ann` may publish only to `o.>`."""
    inbox = {"subscribe": ["_INBOX.>"]}
    users = [
        {"user": "root", "password": "secret"},
        {"user": "ann", "password": "secret", "permissions": {"publish": ["o.>"], **inbox}},
        {"user": "bob", "password": "secret", "permissions": {"publish": ["$JS.API.STREAM.INFO.O", "o.>"], **inbox}},
    ]
    running = make_server({"authorization": {"users": users}})
    with Session(settings(servers=running.url, user="root", password="secret")) as session:
        stream(session)
        yield session, running


def test_a_user_who_may_only_publish(restricted: tuple[Session, NatsServer]) -> None:
    session, server = restricted
    with Session(settings(servers=server.url, user="ann", password="secret")) as ann:
        message = run(ann, subject="o.1", data="a")["message"]
        assert (message["stream"], message["sequence"], message["time"]) == ("O", 1, None)
        foreseen = run(ann, True, subject="o.1", data="a")
        assert foreseen["changed"]
        assert (foreseen["message"]["stream"], foreseen["message"]["sequence"]) == (None, None)
        assert run(ann, True, subject="o.1", data="a", stream="O")["message"]["stream"] == "O"
        with refused("stream: o.1 belongs to another stream, and not to P", "wrong_stream"):
            run(ann, subject="o.1", data="a", stream="P")
        with refused("expected_last_sequence: the last message in the stream is 1, not 7", "wrong_last"):
            run(ann, subject="o.1", data="a", expected_last_sequence=7)
        with pytest.raises(PermissionMissing, match=r"These credentials may not publish to p\.1"):
            run(ann, subject="p.1", data="a")
        with pytest.raises(PermissionMissing, match=r"may not publish to \$JS\.API\.STREAM\.INFO\.O"):
            run(ann, stream="O", state="purged")
    assert stored(session) == 1


def test_a_user_who_may_read_the_stream_but_not_search_for_it(restricted: tuple[Session, NatsServer]) -> None:
    _session, server = restricted
    with Session(settings(servers=server.url, user="bob", password="secret")) as bob:
        assert run(bob, True, subject="o.1", data="a", stream="O")["message"]["sequence"] == 1
        with refused("expected_last_sequence: there is no message in the stream yet, and 7 was expected", "wrong_last"):
            run(bob, True, subject="o.1", data="a", stream="O", expected_last_sequence=7)
        assert run(bob, subject="o.1", data="a", stream="O")["message"]["time"] is None


def test_no_jetstream(make_server: MakeServer) -> None:
    with Session(settings(servers=make_server(jetstream=False).url)) as session:
        with pytest.raises(NoAnswer, match="JetStream is not enabled on the server"):
            run(session, subject="o.1", data="a")
        with pytest.raises(NoAnswer, match="JetStream is not enabled on the server"):
            run(session, stream="O", state="purged")


def test_many_in_one_session(session: Session) -> None:
    stream(session)
    session.request_many([Request("o.1", b"x") for _number in range(5000)])
    assert both(session, stream="O", state="purged", keep=1, allow_data_loss=True)["purged"] == 4999


def test_servers_that_learn_of_a_stream_later(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a cluster right after the creation of a stream: unanswered messages are sent again, and stored once."""
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 2:
            streams.create(session, {"name": "LATE", "subjects": ["late.>"]})

    monkeypatch.setattr(messages, "time", SimpleNamespace(sleep=sleep))
    answers = messages.deliver(session, [Request("late.a"), Request("late.b")])
    assert not any(isinstance(answer, StreamsError) for answer in answers)
    assert (waited, stream_info(session, "LATE")["state"]["messages"]) == ([0.25, 0.25], 2)
    with refused("No stream and no service listens on the subject never", "no_responders"):
        messages.publish(session, "Publishing", "never", b"")
    assert len(waited) == 4
