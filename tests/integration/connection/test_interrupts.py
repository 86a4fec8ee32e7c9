# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""A signal's handler may raise an exception at any time, as that of Ctrl-C does. The session then ends at once."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from ansible_collections.choria.streams.plugins.module_utils._connection.wire import Request
from support.connect import settings
from support.server import freeze

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from conftest import MakeServer

pytestmark = pytest.mark.timeout(60)


class Interrupt(BaseException):
    """The exception of the handler."""


@contextmanager
def interrupted(after: float) -> Iterator[None]:
    """Interrupt what is done here after so many seconds. It must then end soon, with the exception of the handler."""

    def handle(_number: int, _frame: FrameType | None) -> None:
        raise Interrupt

    timer = threading.Timer(after, os.kill, (os.getpid(), signal.SIGUSR1))
    before = signal.signal(signal.SIGUSR1, handle)
    began = time.monotonic()
    try:
        timer.start()
        with pytest.raises(Interrupt):
            yield
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, before)
    assert time.monotonic() - began < after + 5


LONG = {"timeout": "40s", "connect_timeout": "40s"}


def test_while_it_connects() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"nats://127.0.0.1:{silent.getsockname()[1]}"
        with interrupted(after=0.5), Session(settings(servers=url, **LONG)) as session:
            session.connect()


# One request waits for its answer, and many also for room in the buffers of the connection
@pytest.mark.parametrize("requests", [[Request("$JS.API.INFO")], [Request("chunks", bytes(128 << 10))] * 300])
def test_while_it_waits_for_answers(make_server: MakeServer, requests: list[Any]) -> None:
    server = make_server()
    with interrupted(after=1.0), Session(settings(servers=server.url, **LONG)) as session:
        session.connect()
        freeze(server.pid)
        session.request_many(requests)


def test_a_session_goes_on_after_an_interrupt(make_server: MakeServer) -> None:
    server = make_server()
    with Session(settings(servers=server.url, **LONG)) as session:
        session.connect()
        with interrupted(after=0.5), server.frozen():
            session.request_many([Request("$JS.API.INFO")])
        [answer] = session.request_many([Request("$JS.API.INFO")])
        assert not isinstance(answer, Exception)
