# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Commands as they are sent, messages as they are read, and usual answers that need no check part by part."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from nats.errors import ProtocolError

from ansible_collections.choria.streams.plugins.module_utils._api import answers, messages
from ansible_collections.choria.streams.plugins.module_utils._connection import nats_compat, wire
from ansible_collections.choria.streams.plugins.module_utils._errors import StreamsError
from ansible_collections.choria.streams.plugins.module_utils._operations.messages import batch
from ansible_collections.choria.streams.plugins.module_utils._options import shapes

if TYPE_CHECKING:
    from collections.abc import Mapping


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (None, b"PUB a.b _I.1 4\r\n1\r\n2\r\n"),
        ({}, b"PUB a.b _I.1 4\r\n1\r\n2\r\n"),
        ({"A": "1"}, b"HPUB a.b _I.1 18 22\r\nNATS/1.0\r\nA: 1\r\n\r\n1\r\n2\r\n"),
        ({"A": " ü ", "B": ""}, "HPUB a.b _I.1 24 28\r\nNATS/1.0\r\nA: ü\r\nB: \r\n\r\n1\r\n2\r\n".encode()),
    ],
)
def test_commands(headers: Mapping[str, str] | None, expected: bytes) -> None:
    request = wire.Request("a.b", b"1\r\n2", headers)
    assert request.encoded("_I.1") == expected
    if headers != {"A": " ü ", "B": ""}:  # blanks around a value are not sent
        assert request.size == int(expected.split(b"\r\n")[0].split()[-1])


@pytest.mark.parametrize("subject", ["", "a b", "a\tb", "a\r\nPUB b 0\r\n", "a\n", "a\r"])
@pytest.mark.parametrize("headers", [None, {"A": "1"}])
def test_subjects_that_would_end_a_command(subject: str, headers: Mapping[str, str] | None) -> None:
    with pytest.raises(ValueError, match="a subject has no blanks"):
        wire.Request(subject, b"", headers).encoded("")


@pytest.mark.parametrize("headers", [{"A": "1\r\nB: 2"}, {"A": "1\n2"}, {"A": "1\r2"}, {"A\r\nB": "1"}, {"A\n": "1"}])
def test_headers_that_would_end_a_line(headers: Mapping[str, str]) -> None:
    with pytest.raises(ValueError, match="a header is one line"):
        wire.Request("a", b"", headers).encoded("")


class Reader:
    """A client that is fed with what a server could send, and keeps the messages of subscription 7."""

    def __init__(self) -> None:
        self.client = nats_compat.client_class(False)()
        self.messages: list[wire.Message] = []
        self.errors: list[str] = []
        subscription: Any = type("Subscription", (), {"_cb": nats_compat.callback(self.messages.append)})()
        self.client._subs = {7: subscription}
        self.client._process_err = self._failed

    async def _failed(self, error: str) -> None:
        self.errors.append(error)

    def read(self, *parts: bytes) -> list[wire.Message]:
        async def feed() -> None:
            for part in parts:
                await self.client._ps.parse(part)

        asyncio.run(feed())
        return self.messages


def with_headers(words: str, headers: bytes, payload: bytes) -> bytes:
    return b"HMSG %s %d %d\r\n%s%s\r\n" % (words.encode(), len(headers), len(headers + payload), headers, payload)


SENT = (
    b"MSG a.1 7 5\r\n1\r\n23\r\n"
    b"MSG other 8 1\r\nx\r\n"
    b"+OK\r\n"
    b"MSG a.2 7 answer.1 0\r\n\r\n"
    + with_headers("a.3 7", b"NATS/1.0\r\nA: 1:2 \r\n\r\n", b"ok")
    + b"-ERR 'Permissions Violation for Publish to \"x\"'\r\n"
    + with_headers("a.4 7 answer.2", b"NATS/1.0 503 No answer\r\n\r\n", b"")
    + with_headers("a.5 7", b"NATS/1.0 404\r\nNats-Seq: 12\r\n\r\n", b"123")
    + b"MSG a.6 7 1\r\n6\r\n"
)
READ = [
    wire.Message("a.1", b"1\r\n23", {}, ""),
    wire.Message("a.2", b"", {}, "answer.1"),
    wire.Message("a.3", b"ok", {"A": "1:2"}, ""),
    wire.Message("a.4", b"", {wire.STATUS: "503", wire.DESCRIPTION: "No answer"}, "answer.2"),
    wire.Message("a.5", b"123", {wire.STATUS: "404", "Nats-Seq": "12"}, ""),
    wire.Message("a.6", b"6", {}, ""),
]


@pytest.mark.parametrize("place", range(1, len(SENT)))
def test_messages_in_parts(place: int) -> None:
    """The messages are the same, however their bytes are split."""
    reader = Reader()
    assert reader.read(SENT[:place], SENT[place:]) == READ
    assert len(reader.errors) == 1


def test_a_stored_header_is_no_status() -> None:
    stored = with_headers("a 7", b"NATS/1.0\r\nStatus: 503\r\n:status: 503\r\nDescription: x\r\n\r\n", b"1")
    [message] = Reader().read(stored)
    assert (message.status, message.headers["Status"]) == ("", "503")


@pytest.mark.parametrize("place", [4090, 4096, 5000, 5022, 5023, 5024])
def test_a_long_line_of_the_server_in_parts(place: int) -> None:
    """Its end is found, and what follows is read."""
    reader = Reader()
    reader.client._process_info = reader._failed
    line = b'INFO {"server_id": "%s"}\r\n' % (b"x" * 5000)
    assert len(line) == 5024
    assert reader.read(line[:place], line[place:] + b"MSG a.6 7 1\r\n6\r\n+OK\r\n") == READ[-1:]
    assert not reader.client._ps.buf


@pytest.mark.parametrize("size", [1, 2, 3, 7, 40])
def test_messages_in_many_parts(size: int) -> None:
    assert Reader().read(*(SENT[place : place + size] for place in range(0, len(SENT), size))) == READ


@pytest.mark.parametrize(
    "line",
    [
        b"MSG a 7 -1",
        b"MSG a 7 x",
        b"MSG a seven 0",
        b"MSG 7 0",
        b"MSG a b c d 0",
        b"MSG",
        b"HMSG a 7 5",
        b"HMSG",
        b"HMSG a 7 x 5",
        b"MSG a 7 " + b"9" * 5000,
        b"WRONG",
        b"",
    ],
)
def test_lines_that_are_none(line: bytes) -> None:
    """They end the connection, and are never waited for without an end."""
    with pytest.raises(ProtocolError):
        Reader().read(b"MSG a.1 7 1\r\n1\r\n" + line + b"\r\n\r\n\r\n")


ACKS = [
    b'{"stream":"O", "seq":1}',
    b'{"stream":"O","seq":9999999999999999999}',
    b'{"stream":"A-\xc3\xbc", "seq":1}',
    b'{"stream":"O", "seq":0}',
    b'{"stream":"O", "seq":01}',
    b'{"stream":"O", "seq":18446744073709551615}',
    b'{"stream":"O", "seq":18446744073709551616}',
    b'{"stream":"", "seq":1}',
    b'{"stream":"O O", "seq":1}',
    b'{"stream":"O\\u0020", "seq":1}',
    b'{"stream":"O\x7f", "seq":1}',
    b'{"stream":"O", "seq":1.0}',
    b'{"stream":"O", "seq":-1}',
    b'{"stream":"O", "seq":1}x',
    b'{"stream":"O", "seq":1}\n',
    b'{"stream":"O", "seq":1, "duplicate": true}',
    b'{"stream":"O","domain":"hub","seq":1}',
    b'{"seq":1,"stream":"O"}',
    b'{"error":{"code":503,"err_code":10077},"stream":"O", "seq":1}',
]


@pytest.mark.parametrize("data", ACKS)
def test_a_usual_acknowledgement_is_checked_like_all_others(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def checked() -> Any:
        try:
            return messages.acknowledgement("Storing", None, wire.Message("", data))
        except StreamsError as error:
            return error.message

    shortly = checked()
    monkeypatch.setattr(messages, "_USUAL", re.compile(b"(?!)()()"))
    assert shortly == checked()


def test_usual_answers_have_the_shapes_of_answers() -> None:
    assert messages._USUAL.fullmatch(ACKS[0]) and not messages._USUAL.fullmatch(ACKS[-1])
    assert shapes.problem(json.loads(ACKS[0]), answers.PubAck) == ""
    assert shapes.problem(json.loads(batch._DELETED), answers.Done) == ""
