# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Answers that are lost, repeated, late, or for another request. Nothing is done twice, and no result is invented."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.choria.streams.plugins.module_utils._api import (
    answers,
    consumers,
    jetstream,
    lists,
    messages,
    streams,
)
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
from ansible_collections.choria.streams.plugins.module_utils._resources.kv.compaction import KV_BUCKET
from ansible_collections.choria.streams.plugins.module_utils._resources.stream.stream import STREAM
from support.connect import settings
from support.filling import delete_streams, publish_many
from support.in_process import result_of
from support.infos import stream_info
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
    """A proxy for a server that has the stream O and the bucket B."""
    with Session(settings(servers=server.url)) as session:
        server.wait_removed()
        delete_streams(session)
        streams.create(session, {"name": "O", "subjects": ["o.>"]})
        streams.create(session, BUCKET)
    with Proxy(server.port) as running:
        yield running


class Lossy:
    """A rule that drops the answers to the first ``times`` requests on a subject, after the server executed them.

    ``cut`` closes the connection instead of staying silent.
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

    Servers do so after some elections. A test can't make them do it.
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


@pytest.mark.parametrize("given", [{"value": "v"}, {"increment": 5}, {"state": "absent"}], ids=str)
def test_a_key_that_is_written_and_not_read_back(proxy: Proxy, server: NatsServer, given: dict[str, Any]) -> None:
    """The connection is lost after the answer to the write, so that the task is done."""
    acknowledged: list[Frame] = []

    def rule(frame: Frame) -> list[bytes]:
        if not frame.up and b'"stream":"KV_B"' in frame.raw:
            acknowledged.append(frame)
            return [frame.raw]
        return [] if acknowledged else [frame.raw]

    with Session(settings(servers=server.url)) as session:
        kv_write.write(session, kv.open_bucket(session, "B")[0], "k", kv.PUT, b"1")
    proxy.rule = rule
    result = result_of("choria_kv", {"servers": [proxy.url], "bucket": "B", "key": "k", "timeout": "1s", **given})
    assert acknowledged and result["changed"] and not result.get("failed")
    assert result["entry"]["revision"] == stored(server, "KV_B")["last_seq"]


# Requests that can be repeated


def test_an_account_that_the_server_is_loading(proxy: Proxy) -> None:
    """The server says for a moment that the account has no JetStream. A test can't make it do so."""
    refused: list[bytes] = []

    def rule(frame: Frame) -> list[bytes]:
        if frame.up or refused or b"stream_info_response" not in frame.raw:
            return [frame.raw]
        refused.append(frame.raw)
        error = {"code": 503, "err_code": 10039, "description": "JetStream not enabled for account"}
        answer = {"type": "io.nats.jetstream.api.v1.stream_info_response", "error": error}
        return [message(frame.subject, frame.words[2], json.dumps(answer).encode())]

    proxy.rule = rule
    with through(proxy) as session:
        there, missing = streams.info_many(session, ["O", "MISSING"])
    assert refused and there and not missing


def test_a_server_that_its_cluster_lost(proxy: Proxy, server: NatsServer) -> None:
    """It still answers pings, but no request. The next attempts use another server of ``servers``."""
    lost = {"answers": ""}
    proxy.rule = lambda frame: [] if not frame.up and frame.subject.startswith(lost["answers"]) else [frame.raw]
    with Session(settings(servers=[proxy.url, server.url])) as session:
        lost["answers"] = "nothing"
        bucket = kv.open_bucket(session, "B")[0]
        lost["answers"] = "_INBOX."
        assert kv_write.write(session, bucket, "k", kv.PUT, b"1") == 1
        assert proxy.connections == 1


def test_the_request_after_one_without_an_answer(proxy: Proxy, server: NatsServer) -> None:
    """A request that can't be repeated waits to the end of its time. The next one uses another server."""
    proxy.rule = Lossy(proxy, "o[.]a", times=9)
    with Session(settings(servers=[proxy.url, server.url], timeout="1s")) as session:
        [answer] = session.request_many([Request("o.a", b"1")])
        assert isinstance(answer, OutcomeUnknown)
        lossy = Lossy(proxy, ".*", times=9)
        assert messages.get(session, "O", sequence=1)
        assert not lossy.seen


@CUT
def test_a_read(proxy: Proxy, cut: bool) -> None:
    lossy = Lossy(proxy, r"\$JS\.API\.STREAM\.INFO\.O", cut=cut)
    with through(proxy) as session:
        assert stream_info(session, "O")["config"]["name"] == "O"
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


def test_an_increment(proxy: Proxy) -> None:
    """It counts once. The second acknowledgement does not have the value of the counter."""
    with through(proxy) as session:
        streams.create(session, {"name": "C", "subjects": ["c"], "allow_msg_counter": True})
    Lossy(proxy, "c")
    result = result_of("choria_stream_message", {"servers": [proxy.url], "subject": "c", "increment": "5"})
    assert (result["changed"], result["message"]["value"], result["message"]["sequence"]) == (True, 5, 1)


def test_answers_to_a_document_that_never_come(proxy: Proxy) -> None:
    """Whether the stream and the key are written is not known, so that they count as changes."""
    for subject, given in (
        (r"\$JS\.API\.STREAM\.CREATE\.N", {"streams": [{"name": "N", "subjects": ["n"]}]}),
        (r"\$JS\.API\.CONSUMER\.CREATE\.O\.c", {"consumers": [{"stream": "O", "name": "c"}]}),
    ):
        Lossy(proxy, subject, times=9)
        with through(proxy, timeout="3s") as session, pytest.raises(StreamsError) as lost:
            declared(session, **given)
        assert lost.value.result["resources"][0]["failure"]["code"] == "outcome_unknown"
        assert lost.value.result["changed"]


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
            lambda session: "N" in lists.stream_names(session),
            id="create",
        ),
        pytest.param(
            "STREAM.UPDATE.O",
            lambda session: streams.update(session, {"name": "O", "subjects": ["o.>"], "description": "new"}),
            lambda session: stream_info(session, "O")["config"]["description"] == "new",
            id="update",
        ),
        pytest.param(
            "STREAM.DELETE.O",
            lambda session: streams.delete(session, "O"),
            lambda session: "O" not in lists.stream_names(session),
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
    """Each value is stored once: plain writes, writes to keys that must not exist, and writes on a revision."""
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
    """Conditional writes can be repeated without an id. The outcome of any other write is unknown."""
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
            "Writing key k of bucket S: the answer got lost, so it is not known whether that was done: check the key"
        )
        proxy.rule = lambda frame: [frame.raw]
        assert (kv.last(session, bucket, "k") or kv.Entry("", 0, "", "", b"")).revision == 1


def test_many_keys(proxy: Proxy, server: NatsServer) -> None:
    """Thirty-five of many answers are lost, as in an election."""
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


# Requests that can't be repeated, and servers that never answer


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
    """A purge up to a revision does no harm when it is repeated."""
    with Manager(servers=server.url) as manager:
        bucket = kv.open_bucket(manager.session, "B")[0]
        for key in ("gone", "kept"):
            kv_write.write(manager.session, bucket, key, kv.PUT, b"1")
        kv_write.write(manager.session, bucket, "gone", kv.DELETED)
    lossy = Lossy(proxy, r"\$JS\.API\.STREAM\.PURGE\.KV_B", cut=cut)
    with Manager(servers=proxy.url) as manager:
        manager.apply(KV_BUCKET, name="B", compact="0", allow_data_loss=True)
        assert list(kv.open_bucket(manager.session, "B", ">")[1]) == ["kept"]
    assert lossy.seen == 2


def test_reads_that_are_never_answered(proxy: Proxy) -> None:
    """The error of a read does not mention an outcome. Its reason says that the stream exists."""
    Lossy(proxy, r"\$JS\.API\.STREAM\.MSG\.GET\.O", times=99)
    with through(proxy, timeout="3s") as session, pytest.raises(NoAnswer) as lost:
        messages.get(session, "O", sequence=1)
    assert not isinstance(lost.value, OutcomeUnknown)
    assert lost.value.message == (
        "No answer on $JS.API.STREAM.MSG.GET.O within timeout (3s), though stream O is there and answers: it is busy, "
        "or the answer got lost: raise timeout, or check the load of the server."
    )


# Wrong answers


def test_an_answer_that_comes_twice(proxy: Proxy) -> None:
    proxy.rule = lambda frame: [frame.raw, frame.raw] if not frame.up and frame.subject else [frame.raw]
    with through(proxy) as session:
        for number in range(1, 4):
            assert messages.publish(session, "Filling", "o.1", b"")["seq"] == number
            assert stream_info(session, "O")["state"]["last_seq"] == number
        assert session._pending == {}


def test_an_answer_after_the_timeout(proxy: Proxy) -> None:
    """It is dropped. The next request gets its own answer."""
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
        assert stream_info(session, "KV_B")["config"]["name"] == "KV_B"
        assert session._pending == {}
    assert late


def test_answers_to_other_requests(proxy: Proxy) -> None:
    """Messages on inbox subjects without a request are dropped, whatever they contain."""

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
    """A rule that gives each of two requests the answer of the other one."""

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
SHAPES: dict[str, Any] = {
    "STREAM.INFO": answers.StreamInfo,
    "STREAM.DELETE": answers.Done,
    "STREAM.PURGE": answers.Purged,
    "STREAM.NAMES": answers.Names,
    "STREAM.MSG": answers.StoredMessage,
    "CONSUMER.INFO": answers.ConsumerInfo,
    "CONSUMER.LIST": answers.ConsumerList,
}
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


def asked(call: str, body: Any) -> jetstream.Call[Any]:
    shape = answers.Done if "MSG.DELETE" in call else SHAPES[".".join(call.split(".")[:2])]
    return "Asking", call, shape, body


@pytest.mark.parametrize("calls", SWAPPED.values(), ids=list(SWAPPED))
def test_a_real_answer_to_another_request(proxy: Proxy, server: NatsServer, calls: list[tuple[str, Any]]) -> None:
    """The answer is rejected, whether it is a success or an error. After a write, the outcome is unknown."""
    with Session(settings(servers=server.url)) as session:
        for number in (1, 2):
            messages.publish(session, "Filling", f"o.{number}", b"")
        for stream, name in (("O", "one"), ("O", "two"), ("KV_B", "three")):
            consumers.create(session, stream, {"durable_name": name, "ack_policy": "explicit"})
    with through(proxy) as session:
        session.connect()
        rule = proxy.rule = Swapping()
        found = jetstream.call_many(session, [asked(*call) for call in calls])
    assert rule.swapped == 1
    for (call, _body), answer in zip(calls, found):
        assert isinstance(answer, WrongAnswer), (call, answer)
        write = ".DELETE." in call or ".PURGE." in call
        assert answer.failure["code"] == ("outcome_unknown" if write else "wrong_answer")


def test_acknowledgements_of_two_streams(proxy: Proxy) -> None:
    """Acknowledgements contain the name of the stream. Within one stream they can't be distinguished."""
    requests = [
        Request(subject, b"", {"Nats-Expected-Stream": stream})
        for subject, stream in (("o.1", "O"), ("$KV.B.k", "KV_B"))
    ]
    with through(proxy) as session:
        session.connect()
        proxy.rule = Swapping()
        found = publish_many(session, "Storing", requests)
    assert [answer.failure["code"] for answer in found if isinstance(answer, WrongAnswer)] == ["outcome_unknown"] * 2
