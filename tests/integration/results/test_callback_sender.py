# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The callback's sender with real servers: it stores all events once and in order, or reports why it could not."""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.choria.streams.plugins.plugin_utils._delivery import outbox as _outbox
from support.sending import SUBJECTS, declare, events, numbers, sender, stored

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import MakeServer

pytestmark = pytest.mark.once


def test_all_events_arrive_in_order(make_server: MakeServer, tmp_path: Path) -> None:
    server = make_server()
    declare(server)
    subject = sender(server.url, tmp_path)
    for event in events(3000):
        subject.put(*event)
    assert subject.finish(20) == (3000, 0, 0, "3000 events in stream ANSIBLE_RUNS, 0 spooled, 0 dropped", True)
    assert stored(server) == {"run": numbers(3000)}
    assert (
        server.monitor("varz")["total_connections"] == 3
    )  # the connections of declare(), of the sender and of stored()


def test_killed_servers_lose_nothing(make_server: MakeServer, tmp_path: Path) -> None:
    server = make_server()
    declare(server)
    subject = sender(server.url, tmp_path)
    for number, event in enumerate(events(2000), start=1):
        subject.put(*event)
        if number % 700 == 300:
            time.sleep(0.1)  # so that some are not acknowledged yet
            server.kill()
        if number % 700 == 600:
            server.start()
        time.sleep(0.0002)
    assert subject.finish(20).stored == 2000
    assert stored(server) == {"run": numbers(2000)}


def test_a_stream_that_comes_late_gets_all(make_server: MakeServer, tmp_path: Path) -> None:
    server = make_server()
    subject = sender(server.url, tmp_path)
    for event in events(500):
        subject.put(*event)
    time.sleep(0.3)
    declare(server)
    assert subject.finish(20).stored == 500
    assert stored(server) == {"run": numbers(500)}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (None, "no stream takes ansible.runs.>: create it with choria.streams.choria_stream (name: ANSIBLE_RUNS, "),
        ({"name": "OTHER"}, "another stream than ANSIBLE_RUNS takes ansible.runs.>: give its name in stream"),
        ({"max_msg_size": 100}, "3 dropped: 3 are larger than the stream takes: lower max_size."),
        ({"max_msgs": 1, "discard": "new"}, "maximum messages exceeded"),
    ],
    ids=["no stream", "another stream", "too large", "full"],
)
def test_the_report_says_why_events_are_not_stored(
    make_server: MakeServer, tmp_path: Path, config: dict[str, Any] | None, expected: str
) -> None:
    server = make_server()
    if config is not None:
        declare(server, **config)
    subject = sender(server.url, tmp_path)
    for event in events(3):
        subject.put(*event)
    report = subject.finish(0.6)
    assert report.stored < 3
    assert report.stored + report.spooled + report.dropped == 3
    assert expected in report.text


def test_refused_credentials_are_not_tried_again(make_server: MakeServer, tmp_path: Path) -> None:
    server = make_server({"authorization": {"user": "u", "password": "right"}})
    subject = sender(server.url, tmp_path, user="u", password="SECRET")
    for event in events(2):
        subject.put(*event)
    report = subject.finish(10)
    assert (report.stored, report.spooled, report.dropped) == (0, 2, 0)
    assert "refused the credentials" in report.text
    assert "SECRET" not in report.text
    assert server.log().count("authentication error") == 1


def test_missing_permission_is_named(make_server: MakeServer, tmp_path: Path) -> None:
    user = {"user": "u", "password": "p", "permissions": {"publish": {"deny": SUBJECTS}}}
    server = make_server({"authorization": {"users": [user]}})
    subject = sender(server.url, tmp_path, user="u", password="p")
    for event in events(2):
        subject.put(*event)
    report = subject.finish(10)
    assert report.spooled == 2
    assert "may not publish to ansible.runs.task_result.ok.web1" in report.text


def test_a_server_that_never_answers_costs_no_more_than_the_timeout(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=listener.accept, daemon=True).start()
        subject = sender(f"nats://127.0.0.1:{listener.getsockname()[1]}", tmp_path)
        for event in events(2):
            subject.put(*event)
        start = time.monotonic()
        report = subject.finish(0.2)
        assert time.monotonic() - start < 2
        assert (report.stored, report.spooled, report.dropped) == (0, 2, 0)
        assert "2 spooled in " in report.text


def test_events_that_do_not_fit_into_memory_are_dropped(
    make_server: MakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_outbox, "MOST_BYTES", 10_000)
    server = make_server()
    declare(server)
    server.shutdown()
    (tmp_path / "spool").write_text("No folder can be made here")
    subject = sender(server.url, tmp_path)
    for event in events(400):
        subject.put(*event)
    server.start()
    report = subject.finish(20)
    assert 0 < report.stored < 400
    assert (report.spooled, report.dropped) == (0, 400 - report.stored)
    assert "memory was full" in report.text
    assert stored(server) == {"run": numbers(report.stored)}
