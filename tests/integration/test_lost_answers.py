# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Answers that get lost, come twice, late, or for another request: nothing is doubled, and nothing is claimed."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.choria.streams.plugins.module_utils._api import consumers, jetstream, messages, streams
from ansible_collections.choria.streams.plugins.module_utils._api.kv import kv, kv_write
from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from ansible_collections.choria.streams.plugins.module_utils._connection.wire import Request
from ansible_collections.choria.streams.plugins.module_utils._errors import (
    ApiError,
    NoAnswer,
    OutcomeUnknown,
    StreamsError,
    WrongAnswer,
)
from ansible_collections.choria.streams.plugins.module_utils._resources.kv.compactable import COMPACTABLE
from ansible_collections.choria.streams.plugins.module_utils._resources.stream.stream import STREAM
from support.connect import settings
from support.manage import Manager, declared
from support.proxy import Frame, Proxy, message
from support.server import NatsServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


pytestmark = pytest.mark.once

BUCKET = {"name": "KV_B", "subjects": ["$KV.B.>"], "max_msgs_per_subject": 10, "allow_direct": True}


@pytest.fixture(scope="module")
def server() -> Iterator[NatsServer]:
    with NatsServer() as running:
        yield running


@pytest.fixture
def proxy(server: NatsServer) -> Iterator[Proxy]:
    """A proxy before a server that has the stream O and the bucket B."""
    with Session(settings(servers=server.url)) as session:
        server.wait_removed()
        for name in streams.names(session):
            streams.delete(session, name)
        streams.create(session, {"name": "O", "subjects": ["o.>"]})
        streams.create(session, BUCKET)
    with Proxy(server.port) as running:
        yield running


class Lossy:
    """A rule that drops the answers to the first requests on a subject: ``times`` of them, after they were executed.

    ``cut`` ends the connection instead of staying silent.
    """

    def __init__(self, proxy: Proxy, subject: str, times: int = 1, *, cut: bool = False) -> None:
        self._proxy, self._subject, self._cut = proxy, re.compile(subject), cut
        self.left = times
        self.seen = 0
        self._inboxes: set[str] = set()
        proxy.rule = self

    def __call__(self, frame: Frame) -> list[bytes]:
        if frame.up and self._subject.fullmatch(frame.subject):
            self.seen += 1
            if self.left:
                self.left -= 1
                self._inboxes.add(frame.reply)
        elif not frame.up and frame.subject in self._inboxes:
            self._inboxes.discard(frame.subject)
            if self._cut:
                self._proxy.cut()
            return []
        return [frame.raw]


def through(proxy: Proxy, **given: Any) -> Session:
    return Session(settings(servers=proxy.url, **given))


def stored(server: NatsServer, name: str) -> dict[str, Any]:
    with Session(settings(servers=server.url)) as session:
        info = streams.info(session, name)
        assert info
        return dict(info["state"])


class Refusing(Lossy):
    """Loses the answer to the first request, and lets the server refuse the second one because of the first.

    A server does that after some elections, and never when it is asked to.
    """

    def __init__(self, proxy: Proxy, subject: str) -> None:
        super().__init__(proxy, subject)
        self._second = ""

    def __call__(self, frame: Frame) -> list[bytes]:
        if frame.up and self._subject.fullmatch(frame.subject) and self.seen == 1:
            self._second = frame.reply
        if not frame.up and self._second and frame.subject == self._second:
            error = {"code": 400, "err_code": 10058, "description": "stream name already in use"}
            answer = {"type": "io.nats.jetstream.api.v1.stream_create_response", "error": error}
            return [message(frame.subject, frame.words[2], json.dumps(answer).encode())]
        return super().__call__(frame)


CUT = pytest.mark.parametrize("cut", [False, True], ids=["silent", "cut"])


# What can be repeated is repeated


@CUT
def test_a_read(proxy: Proxy, cut: bool) -> None:
    lossy = Lossy(proxy, r"\$JS\.API\.STREAM\.INFO\.O", cut=cut)
    with through(proxy) as session:
        assert (streams.info(session, "O") or {})["config"]["name"] == "O"
    assert lossy.seen == 2


@pytest.mark.parametrize("several", [False, True], ids=["one", "document"])
def test_a_stream_whose_second_request_is_refused(proxy: Proxy, several: bool) -> None:
    refusing = Refusing(proxy, r"\$JS\.API\.STREAM\.CREATE\.N")
    with Manager(servers=proxy.url) as manager:
        if several:
            given: dict[str, Any] = {"streams": [{"name": "N", "subjects": ["n"]}, {"name": "M", "subjects": ["m"]}]}
            assert declared(manager.session, **given)["changed"]
        else:
            assert manager.apply(STREAM, name="N", subjects=["n"]).changed
        assert manager.config("N")["subjects"] == ["n"]
    assert refusing.seen == 2


def test_a_stream_that_somebody_else_made_is_not_taken(proxy: Proxy, server: NatsServer) -> None:
    Refusing(proxy, r"\$JS\.API\.STREAM\.CREATE\.N")
    with through(proxy) as session:
        with Session(settings(servers=server.url)) as other:
            streams.create(other, {"name": "N", "subjects": ["other"]})
        with pytest.raises(ApiError, match="already in use"):
            streams.create(session, {"name": "N", "subjects": ["n"]})


@CUT
@pytest.mark.parametrize(
    ("subject", "act", "holds"),
    [
        pytest.param(
            "STREAM.CREATE.N",
            lambda session: streams.create(session, {"name": "N", "subjects": ["n"]}),
            lambda session: "N" in streams.names(session),
            id="create",
        ),
        pytest.param(
            "STREAM.UPDATE.O",
            lambda session: streams.update(session, {"name": "O", "subjects": ["o.>"], "description": "new"}),
            lambda session: (streams.info(session, "O") or {})["config"]["description"] == "new",
            id="update",
        ),
        pytest.param(
            "STREAM.DELETE.O",
            lambda session: streams.delete(session, "O"),
            lambda session: "O" not in streams.names(session),
            id="delete",
        ),
    ],
)
def test_a_change_of_a_stream(
    proxy: Proxy, subject: str, act: Callable[[Session], object], holds: Callable[[Session], bool], cut: bool
) -> None:
    lossy = Lossy(proxy, re.escape(f"$JS.API.{subject}"), cut=cut)
    with through(proxy) as session:
        act(session)
        assert holds(session)
    assert lossy.seen == 2


@CUT
def test_deleting_a_message(proxy: Proxy, cut: bool) -> None:
    with through(proxy) as session:
        messages.publish(session, "Filling", "o.1", b"")
        Lossy(proxy, r"\$JS\.API\.STREAM\.MSG\.DELETE\.O", cut=cut)
        assert messages.delete(session, "O", 1), "it was there, and we deleted it"
        assert not messages.delete(session, "O", 1)


@CUT
def test_writes_of_keys(proxy: Proxy, server: NatsServer, cut: bool) -> None:
    """Each is stored once: plain ones, those of a key that must not be there, and those on a revision."""
    with through(proxy) as session:
        bucket = kv.open_bucket(session, "B")[0]
        for number, given in enumerate(({}, {"expected": 1}, {"expected": 2}), start=1):
            lossy = Lossy(proxy, r"\$KV\.B\.k", cut=cut)
            assert kv_write.write(session, bucket, "k", kv.PUT, b"same", **given) == number
            assert lossy.seen == 2
        Lossy(proxy, r"\$KV\.B\.other", cut=cut)
        assert kv_write.write(session, bucket, "other", kv.PUT, b"1", expected=0) == 4
        with pytest.raises(StreamsError) as late:
            kv_write.write(session, bucket, "other", kv.PUT, b"1", expected=0)
        assert kv_write.overtaken(late.value)
    assert stored(server, "KV_B")["last_seq"] == 4


@pytest.mark.parametrize("history", [1, 5])
def test_without_room_for_an_id(proxy: Proxy, history: int) -> None:
    """A conditional write can be repeated all the same, any other one ends as unknown."""
    with through(proxy, timeout="4s") as session:
        streams.create(
            session,
            {"name": "KV_S", "subjects": ["$KV.S.>"], "max_msg_size": 70, "max_msgs_per_subject": history},
        )
        bucket = kv.open_bucket(session, "S")[0]
        value = b"v" * 20
        Lossy(proxy, r"\$KV\.S\.k", times=9)
        with pytest.raises(OutcomeUnknown) as lost:
            kv_write.write(session, bucket, "k", kv.PUT, value + b"v" * 40)
        assert lost.value.message.startswith(
            "Writing key k of bucket S: the answer got lost, so it is not known whether that was done: look at the key"
        )
        proxy.rule = lambda frame: [frame.raw]
        assert (kv.last(session, bucket, "k") or kv.Entry("", 0, "", "", b"")).revision == 1


def test_many_keys(proxy: Proxy, server: NatsServer) -> None:
    """Thirty-five answers of many get lost, as in an election."""
    wanted = {f"k{number}": str(number).encode() for number in range(3000)}
    with through(proxy) as session:
        bucket = kv.open_bucket(session, "B")[0]
        lossy = Lossy(proxy, r"\$KV\.B\.k1\d\d\d", times=35)
        writes = [(bucket, key, {"operation": kv.PUT, "value": value, "expected": 0}) for key, value in wanted.items()]
        answers = kv_write.write_many(session, writes)
        assert not [answer for answer in answers if isinstance(answer, StreamsError)]
        assert sorted(answers) == list(range(1, 3001))  # type: ignore[type-var]
    assert lossy.seen > 1000
    assert stored(server, "KV_B")["messages"] == 3000


# What cannot be repeated, or is lost for good


def test_answers_that_never_come_are_settled_by_looking(proxy: Proxy) -> None:
    Lossy(proxy, r"\$KV\.B\.k", times=99)
    with through(proxy, timeout="3s") as session:
        bucket = kv.open_bucket(session, "B")[0]
        assert kv_write.write(session, bucket, "k", kv.PUT, b"1") == 1


def test_a_purge_is_not_repeated(proxy: Proxy, server: NatsServer) -> None:
    lossy = Lossy(proxy, r"\$JS\.API\.STREAM\.PURGE\.O")
    with through(proxy, timeout="4s") as session:
        messages.publish(session, "Filling", "o.1", b"")
        with pytest.raises(OutcomeUnknown, match="Purging stream O: the answer got lost") as lost:
            streams.purge(session, "O")
    assert (lost.value.failure["code"], lost.value.failure["reason"], lossy.seen) == ("outcome_unknown", "busy", 1)


@CUT
def test_compaction(proxy: Proxy, server: NatsServer, cut: bool) -> None:
    """To remove what there is up to a revision does no harm when it is done twice."""
    with Manager(servers=server.url) as manager:
        bucket = kv.open_bucket(manager.session, "B")[0]
        for key in ("gone", "kept"):
            kv_write.write(manager.session, bucket, key, kv.PUT, b"1")
        kv_write.write(manager.session, bucket, "gone", kv.DELETED)
    lossy = Lossy(proxy, r"\$JS\.API\.STREAM\.PURGE\.KV_B", cut=cut)
    with Manager(servers=proxy.url) as manager:
        manager.apply(COMPACTABLE, name="B", compact="0", allow_data_loss=True)
        assert list(kv.open_bucket(manager.session, "B", ">")[1]) == ["kept"]
    assert lossy.seen == 2


def test_reads_that_are_never_answered(proxy: Proxy) -> None:
    """A read has no outcome. The reason says that the stream is there."""
    Lossy(proxy, r"\$JS\.API\.STREAM\.MSG\.GET\.O", times=99)
    with through(proxy, timeout="3s") as session, pytest.raises(NoAnswer) as lost:
        messages.get(session, "O", sequence=1)
    assert not isinstance(lost.value, OutcomeUnknown)
    assert lost.value.message == (
        "No answer on $JS.API.STREAM.MSG.GET.O within timeout (3s), though stream O is there and answers: it is busy, "
        "or the answer got lost: raise timeout, or look at the load of the server."
    )


# Answers that are none


def test_an_answer_that_comes_twice(proxy: Proxy) -> None:
    proxy.rule = lambda frame: [frame.raw, frame.raw] if not frame.up and frame.subject else [frame.raw]
    with through(proxy) as session:
        for number in range(1, 4):
            assert messages.publish(session, "Filling", "o.1", b"")["seq"] == number
            assert (streams.info(session, "O") or {})["state"]["last_seq"] == number
        assert session._pending == {}


def test_an_answer_after_the_timeout(proxy: Proxy) -> None:
    """It is nobody's: what is asked for then gets its own."""
    late: list[bytes] = []
    over = False

    def rule(frame: Frame) -> list[bytes]:
        if not frame.up and b"stream_info_response" in frame.raw and b'"name":"O"' in frame.raw:
            late.append(frame.raw)
            return []
        return [*late, frame.raw] if over and not frame.up and frame.subject else [frame.raw]

    proxy.rule = rule
    with through(proxy, timeout="1s") as session:
        with pytest.raises(NoAnswer):
            streams.info(session, "O")
        over = True
        assert (streams.info(session, "KV_B") or {})["config"]["name"] == "KV_B"
        assert session._pending == {}
    assert late


def test_answers_to_other_requests(proxy: Proxy) -> None:
    """A subject below our inbox that no request has is nobody's, whatever is in its message."""

    def rule(frame: Frame) -> list[bytes]:
        if frame.up or not frame.subject:
            return [frame.raw]
        inbox, _dot, token = frame.subject.rpartition(".")
        forged = [message(f"{inbox}.{other}", frame.words[2], b"{}") for other in (int(token) + 1, 999, "x", "")]
        return [*forged, frame.raw, *forged]

    proxy.rule = rule
    with through(proxy) as session:
        answers = session.request_many([Request("$JS.API.STREAM.INFO.O") for _time in range(3)], window=1)
    assert all(json.loads(answer[0].data)["config"]["name"] == "O" for answer in answers if isinstance(answer, list))


class Swapping:
    """A rule that gives each of two requests the real answer of the other one."""

    def __init__(self) -> None:
        self._held: Frame | None = None
        self.swapped = 0

    def __call__(self, frame: Frame) -> list[bytes]:
        if frame.up or not frame.subject.startswith("_INBOX."):
            return [frame.raw]
        if self._held is None:
            self._held = frame
            return []
        first, self._held = self._held, None
        self.swapped += 1
        return [
            message(one.subject, one.words[2], other.raw.partition(b"\r\n")[2][:-2])
            for one, other in ((first, frame), (frame, first))
        ]


O_INFO = ("STREAM.INFO.O", None)
SWAPPED: dict[str, list[tuple[str, Any]]] = {
    "two streams": [O_INFO, ("STREAM.INFO.KV_B", None)],
    "two consumers": [("CONSUMER.INFO.O.one", None), ("CONSUMER.INFO.O.two", None)],
    "the consumers of two streams": [("CONSUMER.LIST.O", {}), ("CONSUMER.LIST.KV_B", {})],
    "two messages by number": [("STREAM.MSG.GET.O", {"seq": 1}), ("STREAM.MSG.GET.O", {"seq": 2})],
    "two messages by subject": [("STREAM.MSG.GET.O", {"last_by_subj": f"o.{number}"}) for number in (1, 2)],
    "not there, and deleted": [("STREAM.INFO.NONE", None), ("STREAM.DELETE.KV_B", None)],
    "a message and a stream that are deleted": [("STREAM.MSG.DELETE.O", {"seq": 1}), ("STREAM.DELETE.KV_B", None)],
    "names and consumers": [("STREAM.NAMES", {}), ("CONSUMER.LIST.O", {})],
    "a purge and an info": [("STREAM.PURGE.KV_B", None), O_INFO],
    "two that are not there": [("STREAM.INFO.NONE", None), ("CONSUMER.INFO.O.none", None)],
}


@pytest.mark.parametrize("calls", SWAPPED.values(), ids=list(SWAPPED))
def test_a_real_answer_to_another_request(proxy: Proxy, server: NatsServer, calls: list[tuple[str, Any]]) -> None:
    """Is no answer, whether it is a success or an error. That of a write leaves its outcome unknown."""
    with Session(settings(servers=server.url)) as session:
        for number in (1, 2):
            messages.publish(session, "Filling", f"o.{number}", b"")
        for stream, name in (("O", "one"), ("O", "two"), ("KV_B", "three")):
            consumers.create(session, stream, {"durable_name": name, "ack_policy": "explicit"})
    with through(proxy) as session:
        session.connect()
        rule = proxy.rule = Swapping()
        found = jetstream.call_many(session, [("Asking", *call) for call in calls])
    assert rule.swapped == 1
    for (call, _body), answer in zip(calls, found):
        assert isinstance(answer, WrongAnswer), (call, answer)
        write = ".DELETE." in call or ".PURGE." in call
        assert answer.failure["code"] == ("outcome_unknown" if write else "wrong_answer")


def test_acknowledgements_of_two_streams(proxy: Proxy) -> None:
    """They name the stream, and not the message: of one stream nobody can tell them apart."""
    requests = [
        Request(subject, b"", {"Nats-Expected-Stream": stream})
        for subject, stream in (("o.1", "O"), ("$KV.B.k", "KV_B"))
    ]
    with through(proxy) as session:
        session.connect()
        proxy.rule = Swapping()
        found = messages.publish_many(session, "Storing", requests)
    assert [answer.failure["code"] for answer in found if isinstance(answer, WrongAnswer)] == ["outcome_unknown"] * 2
