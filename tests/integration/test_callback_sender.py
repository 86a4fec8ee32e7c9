# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The callback's sender against real servers: all events, once and in order, or a sentence that says why not."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.choria.streams.plugins.module_utils._api import messages, streams
from ansible_collections.choria.streams.plugins.module_utils._connection.session import Session
from ansible_collections.choria.streams.plugins.module_utils._connection.settings import Settings
from ansible_collections.choria.streams.plugins.plugin_utils import _events, _sender

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import MakeServer
    from support.server import NatsServer

STREAM = "ANSIBLE_RUNS"
SUBJECTS = ["ansible.runs.>"]


def settings(url: str, **more: Any) -> Settings:
    return Settings(servers=(url,), **more)


def declare(server: NatsServer, name: str = STREAM, **config: Any) -> None:
    with Session(settings(server.url)) as session:
        streams.create(session, {"name": name, "subjects": SUBJECTS, **config})


def stored(server: NatsServer) -> list[int]:
    """The events' numbers in the order of the stream."""
    with Session(settings(server.url)) as session:
        info = streams.info(session, STREAM) or {"state": {"messages": 0}}
        found = [messages.get(session, STREAM, sequence=number + 1) for number in range(info["state"]["messages"])]
        return [json.loads(message.data)["data"]["sequence"] for message in found if message]


def sender(url: str, **more: Any) -> _sender.Sender:
    return _sender.Sender(settings(url, connect_timeout=0.5, **more), "ansible.runs", STREAM)


def events(count: int) -> Iterator[tuple[str, str, bytes]]:
    run = _events.Run("run")
    for _number in range(count):
        event = run.event(_events.TASK_RESULT, time.time(), {"msg": "x" * 200}, "web1")
        yield _events.subject("ansible.runs", event), event.id, _events.encode(event, 65536)


def test_all_events_arrive_in_order(make_server: MakeServer) -> None:
    server = make_server()
    declare(server)
    subject = sender(server.url)
    for event in events(3000):
        subject.put(*event)
    subject.finish(20)
    assert (subject.stored, subject.problem) == (3000, "")
    assert stored(server) == list(range(1, 3001))
    assert server.monitor("varz")["total_connections"] == 3  # declare, the sender, stored


def test_killed_servers_lose_nothing(make_server: MakeServer) -> None:
    server = make_server()
    declare(server)
    subject = sender(server.url)
    for number, event in enumerate(events(2000), start=1):
        subject.put(*event)
        if number % 700 == 300:
            time.sleep(0.1)  # so that some are on their way
            server.kill()
        if number % 700 == 600:
            server.start()
        time.sleep(0.0002)
    subject.finish(20)
    assert (subject.stored, subject.problem) == (2000, "")
    assert stored(server) == list(range(1, 2001))


def test_a_stream_that_comes_late_gets_all(make_server: MakeServer) -> None:
    server = make_server()
    subject = sender(server.url)
    for event in events(500):
        subject.put(*event)
    time.sleep(0.3)
    declare(server)
    subject.finish(20)
    assert subject.stored == 500
    assert stored(server) == list(range(1, 501))


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (None, "no stream takes ansible.runs.>: create it with choria.streams.choria_stream (name: ANSIBLE_RUNS, "),
        ({"name": "OTHER"}, "another stream than ANSIBLE_RUNS takes ansible.runs.>: give its name in stream"),
        ({"max_msg_size": 100}, "some are larger than max_msg_size of ANSIBLE_RUNS: lower max_size."),
        ({"max_msgs": 1, "discard": "new"}, "maximum messages exceeded"),
    ],
    ids=["no stream", "another stream", "too large", "full"],
)
def test_why_events_are_not_stored(make_server: MakeServer, config: dict[str, Any] | None, expected: str) -> None:
    server = make_server()
    if config is not None:
        declare(server, **config)
    subject = sender(server.url)
    for event in events(3):
        subject.put(*event)
    subject.finish(0.6)
    assert subject.stored < 3
    assert expected in subject.problem


def test_refused_credentials_are_not_tried_again(make_server: MakeServer) -> None:
    server = make_server({"authorization": {"user": "u", "password": "right"}})
    subject = sender(server.url, user="u", password="SECRET")
    for event in events(2):
        subject.put(*event)
    subject.finish(10)
    assert "refused the credentials" in subject.problem
    assert "SECRET" not in subject.problem
    assert server.log().count("authentication error") == 1


def test_missing_permission_is_named(make_server: MakeServer) -> None:
    user = {"user": "u", "password": "p", "permissions": {"publish": {"deny": SUBJECTS}}}
    server = make_server({"authorization": {"users": [user]}})
    subject = sender(server.url, user="u", password="p")
    for event in events(2):
        subject.put(*event)
    subject.finish(10)
    assert "may not publish to ansible.runs.task_result.web1" in subject.problem


def test_a_server_that_never_answers_costs_no_more_than_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=listener.accept, daemon=True).start()
        subject = sender(f"nats://127.0.0.1:{listener.getsockname()[1]}")
        for event in events(2):
            subject.put(*event)
        start = time.monotonic()
        subject.finish(0.2)
        assert time.monotonic() - start < 2
        assert subject.stored == 0
        assert subject.problem


def test_too_many_waiting_are_dropped(make_server: MakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_sender, "CAPACITY", 10)
    server = make_server()
    declare(server)
    server.shutdown()
    subject = sender(server.url)
    for event in events(400):
        subject.put(*event)
    server.start()
    subject.finish(20)
    assert 0 < subject.stored < 400
    assert "were dropped while 10 others waited for the servers" in subject.problem
    assert stored(server) == list(range(1, subject.stored + 1))


def test_nothing_is_imported_while_the_thread_works(make_server: MakeServer) -> None:
    """A worker that is forked in the middle of an import waits for ever for its end."""
    server = make_server()
    declare(server)
    url = server.url.replace("127.0.0.1", "localhost")
    code = f"""
import sys
from test_callback_sender import sender, events
subject = sender({url!r})
before = set(sys.modules)
for event in events(300):
    subject.put(*event)
subject.finish(20)
assert subject.stored == 300, subject.problem
assert set(sys.modules) == before, set(sys.modules) - before
"""
    path = ":".join([*sys.path, str(__file__).rpartition("/")[0]])
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": path}, timeout=60)
