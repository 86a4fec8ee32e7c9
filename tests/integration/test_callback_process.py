# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The process that sends the callback's events: it has all that a run wrote, however either of them ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.choria.streams.plugins.module_utils._errors import Refused
from ansible_collections.choria.streams.plugins.plugin_utils import _sender_process
from ansible_collections.choria.streams.plugins.plugin_utils._sender_process import Job, SenderProcess
from support.sending import STREAM, declare, events, numbers, stored
from support.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import MakeServer

pytestmark = pytest.mark.once


def job(url: str, folder: Path, **more: Any) -> Job:
    usual: dict[str, Any] = {
        "run_id": "run",
        "connection": {"servers": [url], "validate_certs": True, "connect_timeout": "500ms", "timeout": "10s"},
        "transport": "direct",
        "choria_config": None,
        "stream": STREAM,
        "prefix": "ansible.runs",
        "spool": str(folder / "spool"),
        "spool_size": 1 << 28,
        "flush_timeout": 20.0,
    }
    return Job(**{**usual, **more})


def test_all_events_arrive_in_order(make_server: MakeServer, tmp_path: Path) -> None:
    server = make_server()
    declare(server)
    subject = SenderProcess(job(server.url, tmp_path))
    for event in events(3000):
        subject.put(*event)
    assert subject.finish() == (3000, 0, 0, "3000 events in stream ANSIBLE_RUNS, 0 spooled, 0 dropped", True)
    assert stored(server) == {"run": numbers(3000)}


def test_what_can_not_be_done_is_refused_at_the_start(tmp_path: Path) -> None:
    config = tmp_path / "server.conf"
    config.write_text("plugin.choria.middleware_hosts = broker.example.net:4222\n")
    subject = SenderProcess(job("nats://127.0.0.1:1", tmp_path, transport="spool", choria_config=str(config)))

    def puts() -> None:
        while True:
            subject.put("ansible.runs.run_started", "run.1", b"{}")
            time.sleep(0.01)

    with pytest.raises(Refused, match=r"plugin\.choria\.submission\.spool"):
        puts()
    with pytest.raises(Refused, match=r"plugin\.choria\.submission\.spool"):
        subject.finish()


def test_nothing_is_imported_from_the_folder_of_the_run(
    make_server: MakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = make_server()
    declare(server)
    for name in ("json", "nats", "uuid"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit")
    monkeypatch.chdir(tmp_path)
    subject = SenderProcess(job(server.url, tmp_path))
    subject.put(*next(events(1)))
    assert subject.finish().stored == 1


def test_a_process_that_does_not_read_never_holds_the_run(
    make_server: MakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_sender_process, "MOST_BYTES", 1 << 20)
    server = make_server()
    declare(server)
    subject = SenderProcess(job(server.url, tmp_path))
    os.kill(subject.pid, signal.SIGSTOP)
    start = time.monotonic()
    for event in events(60, size=60_000):
        subject.put(*event)
    assert time.monotonic() - start < 5
    os.kill(subject.pid, signal.SIGCONT)
    report = subject.finish()
    assert 16 <= report.stored < 60  # as many as fit into the pipe and into memory
    assert (report.spooled, report.dropped, report.fine) == (0, 60 - report.stored, False)
    assert report.text.endswith("dropped: memory was full.")
    assert stored(server) == {"run": numbers(report.stored)}


def test_a_process_that_is_killed_is_told(make_server: MakeServer, tmp_path: Path) -> None:
    server = make_server()
    declare(server)
    subject = SenderProcess(job(server.url, tmp_path))
    os.kill(subject.pid, signal.SIGKILL)
    for event in events(3):
        subject.put(*event)
    report = subject.finish()
    assert not report.fine
    assert report.text.startswith("what became of 3 events is not known: the process that sends them was killed.")


def test_a_process_that_does_not_answer_keeps_the_events(make_server: MakeServer, tmp_path: Path) -> None:
    server = make_server()
    declare(server)
    subject = SenderProcess(job(server.url, tmp_path, flush_timeout=0.1))
    os.kill(subject.pid, signal.SIGSTOP)
    for event in events(3):
        subject.put(*event)
    start = time.monotonic()
    report = subject.finish()
    assert time.monotonic() - start < 6
    assert not report.fine
    assert "the process that sends them does not answer." in report.text
    os.kill(subject.pid, signal.SIGCONT)
    os.waitpid(subject.pid, 0)
    later = SenderProcess(job(server.url, tmp_path, run_id="later"))
    assert later.finish().fine
    assert stored(server) == {"run": numbers(3)}


def test_a_bug_of_the_process_is_told_and_the_events_go_to_disk(make_server: MakeServer, tmp_path: Path) -> None:
    server = make_server()
    subject = SenderProcess(job(server.url, tmp_path))
    for event in events(3):
        subject.put(*event)
    subject._write(b"no event\n")
    with pytest.raises(Refused, match=r"JSONDecodeError in the process that sends, which is a bug of choria\.streams"):
        subject.finish()
    declare(server)
    assert SenderProcess(job(server.url, tmp_path, run_id="later")).finish().fine
    assert stored(server) == {"run": numbers(3)}


RUN = """
import os, sys, time
from pathlib import Path
sys.path[:0] = {path!r}
from integration.test_callback_process import SenderProcess, events, job
subject = SenderProcess(job({url!r}, Path({folder!r})))
for event in events(300):
    subject.put(*event)
if not os.fork():
    time.sleep(60)
    os._exit(0)
print(subject.pid, flush=True)
time.sleep(60)
"""


def test_the_end_of_the_run_ends_it_and_nothing_else_does(make_server: MakeServer, tmp_path: Path) -> None:
    """Not even a worker that goes on, nor the signals that a terminal or a service manager sends to all."""
    server = make_server()
    declare(server)
    path = [*sys.path, os.path.dirname(os.path.dirname(__file__))]
    code = RUN.format(path=path, url=server.url, folder=str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True) as run:
        assert run.stdout
        pid = int(run.stdout.readline())
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(pid, number)
        wait_until(lambda: stored(server) == {"run": numbers(300)}, 20)
        os.kill(pid, 0)
        run.kill()
        try:
            wait_until(lambda: not os.path.exists(f"/proc/{pid}") or _is_zombie(pid), 20)
        finally:
            os.killpg(run.pid, signal.SIGKILL)  # the fork


def _is_zombie(pid: int) -> bool:
    """Ended, but whoever has taken it over from the run does not ask for its status."""
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] == "Z"
