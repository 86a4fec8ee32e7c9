# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The process that sends the callback's events keeps all events of a run, whether the process or the run is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.choria.streams.plugins.module_utils._api import reading
from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from ansible_collections.choria.streams.plugins.module_utils._errors import Refused
from ansible_collections.choria.streams.plugins.plugin_utils._delivery import sender_process as _sender_process
from ansible_collections.choria.streams.plugins.plugin_utils._delivery.sender_process import Job, SenderProcess
from support import ROOT
from support.sending import STREAM, declare, events, journals, numbers, settings, stored
from support.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import MakeServer
    from support.server import NatsServer

pytestmark = pytest.mark.once


def job(url: str, folder: Path, **more: Any) -> Job:
    usual: dict[str, Any] = {
        "run_id": "run",
        "connection": {"servers": [url], "validate_certs": True, "connect_timeout": "500ms", "timeout": "10s"},
        "transport": "direct",
        "server_config": None,
        "stream": STREAM,
        "prefix": "ansible.runs",
        "spool": str(folder / "spool"),
        "spool_size": 1 << 28,
        "flush_timeout": 20.0,
        "max_size": 65536,
        "started": time.time() - 5,
    }
    return Job(**{**usual, **more})


def start(job: Job, warnings: list[str] | None = None) -> SenderProcess:
    return SenderProcess(job, ([] if warnings is None else warnings).append)


def test_all_events_arrive_in_order(make_server: MakeServer, tmp_path: Path) -> None:
    server = make_server()
    declare(server)
    subject = start(job(server.url, tmp_path))
    for event in events(3000):
        subject.put(*event)
    assert subject.finish() == (3000, 0, 0, "3000 events in stream ANSIBLE_RUNS, 0 spooled, 0 dropped", True)
    assert stored(server) == {"run": numbers(3000)}


def test_impossible_settings_are_refused_at_the_start(tmp_path: Path) -> None:
    config = tmp_path / "server.conf"
    config.write_text("plugin.choria.middleware_hosts = broker.example.net:4222\n")
    subject = start(job("nats://127.0.0.1:1", tmp_path, transport="spool", server_config=str(config)))

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
    subject = start(job(server.url, tmp_path))
    subject.put(*next(events(1)))
    assert subject.finish().stored == 1


def test_a_process_that_does_not_read_never_holds_the_run(
    make_server: MakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_sender_process, "MOST_BYTES", 1 << 20)
    server = make_server()
    declare(server)
    subject = start(job(server.url, tmp_path))
    os.kill(subject.pid, signal.SIGSTOP)
    began = time.monotonic()
    for event in events(60, size=60_000):
        subject.put(*event)
    assert time.monotonic() - began < 5
    os.kill(subject.pid, signal.SIGCONT)
    report = subject.finish()
    assert 16 <= report.stored < 60  # as many as fit into the pipe and into memory
    assert (report.spooled, report.dropped, report.fine) == (0, 60 - report.stored, False)
    assert report.text.endswith("dropped: memory was full.")
    assert stored(server) == {"run": numbers(report.stored)}


def kill(subject: SenderProcess) -> None:
    """Kill the process as the kernel does when memory is short. It is dead when this returns."""
    os.kill(subject.pid, signal.SIGKILL)
    os.waitid(os.P_PID, subject.pid, os.WEXITED | os.WNOWAIT)


@pytest.mark.parametrize("moment", ["at the start", "in the middle", "before the end", "twice"])
def test_a_process_that_is_killed_is_replaced(make_server: MakeServer, tmp_path: Path, moment: str) -> None:
    server = make_server()
    declare(server)
    warnings: list[str] = []
    subject = start(job(server.url, tmp_path), warnings)
    if moment == "at the start":
        kill(subject)
    for number, event in enumerate(events(3000)):
        subject.put(*event)
        if (moment, number) in (("in the middle", 1500), ("twice", 1000), ("twice", 2000)):
            wait_until(lambda: stored(server))
            if number == 2000:  # wait until the second process has delivered events
                while not subject._here_settled:
                    subject.put(*event)
                    time.sleep(0.05)
            kill(subject)
    if moment == "before the end":
        kill(subject)
    report = subject.finish()
    count = subject._count
    assert report == (count, 0, 0, f"{count} events in stream ANSIBLE_RUNS, 0 spooled, 0 dropped", True)
    assert stored(server) == {"run": numbers(3000)}
    assert warnings == []


def test_a_process_that_is_killed_while_servers_are_away(make_server: MakeServer, tmp_path: Path) -> None:
    """The next process continues the journal on disk, in order, and stores no event twice."""
    server = make_server()
    declare(server)
    server.shutdown()
    subject = start(job(server.url, tmp_path, flush_timeout=1.0))
    made = list(events(900))
    for event in made[:300]:
        subject.put(*event)
    wait_until(lambda: journals(tmp_path))
    wait_until(lambda: b" run.300 " in journals(tmp_path)[0].read_bytes())
    kill(subject)
    with journals(tmp_path)[0].open("ab") as file:
        file.write(b"0123 half a li")
    for event in made[300:]:
        subject.put(*event)
    report = subject.finish()
    assert (report.stored, report.spooled, report.dropped) == (0, 900, 0)
    [journal] = journals(tmp_path)
    assert journal.read_bytes().count(b"\n") == 902
    server.start()
    assert start(job(server.url, tmp_path, run_id="later")).finish().fine
    assert stored(server) == {"run": numbers(900)}


def test_the_run_writes_to_disk_when_no_process_lives(make_server: MakeServer, tmp_path: Path) -> None:
    server = make_server()
    declare(server)
    warnings: list[str] = []
    subject = start(job(server.url, tmp_path), warnings)
    made = list(events(200))
    for event in made[:100]:
        subject.put(*event)
    kill(subject)
    subject.put(*made[100])
    kill(subject)
    for event in made[101:]:
        subject.put(*event)
    assert warnings == ["The process that sends died twice. Events of this run are only written to disk from now on."]
    report = subject.finish()
    assert (report.stored + report.spooled, report.dropped, report.fine) == (200, 0, False)
    assert report.text.endswith("the process that sends them died. A later run delivers what is spooled.")
    assert start(job(server.url, tmp_path, run_id="later")).finish().fine
    assert stored(server) == {"run": numbers(200)}


def test_a_process_that_does_not_answer_keeps_the_events(make_server: MakeServer, tmp_path: Path) -> None:
    server = make_server()
    declare(server)
    subject = start(job(server.url, tmp_path, flush_timeout=0.1))
    os.kill(subject.pid, signal.SIGSTOP)
    for event in events(3):
        subject.put(*event)
    began = time.monotonic()
    report = subject.finish()
    assert time.monotonic() - began < 6
    assert not report.fine
    assert "the process that sends them does not answer." in report.text
    os.kill(subject.pid, signal.SIGCONT)
    os.waitpid(subject.pid, 0)
    later = start(job(server.url, tmp_path, run_id="later"))
    assert later.finish().fine
    assert stored(server) == {"run": numbers(3)}


def test_a_bug_of_the_process_is_reported_and_the_events_go_to_disk(make_server: MakeServer, tmp_path: Path) -> None:
    server = make_server()
    subject = start(job(server.url, tmp_path))
    for event in events(3):
        subject.put(*event)
    assert subject._pipe
    subject._pipe.write(b"no event\n")
    with pytest.raises(
        Refused, match=r"JSONDecodeError at plugin_utils/_delivery/sender_main\.py:\d+ is a bug of choria\.streams"
    ):
        subject.finish()
    declare(server)
    assert start(job(server.url, tmp_path, run_id="later")).finish().fine
    assert stored(server) == {"run": numbers(3)}


RUN = """
import os, sys, time
from pathlib import Path
sys.path[:0] = {path!r}
from integration.results.test_callback_process import events, job, start
subject = start(job({url!r}, Path({folder!r})))
for event in events(300):
    subject.put(*event)
if not os.fork():
    time.sleep(60)
    os._exit(0)
print(subject.pid, flush=True)
time.sleep(60)
"""


def test_the_end_of_the_run_ends_it_and_nothing_else_does(make_server: MakeServer, tmp_path: Path) -> None:
    """Neither a forked worker that still runs, nor signals that a terminal or service manager sends to all, end it."""
    server = make_server()
    declare(server)
    path = [*sys.path, str(ROOT / "tests")]
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
            os.killpg(run.pid, signal.SIGKILL)  # the forked worker
    assert stored(server) == {"run": numbers(301)}
    assert last_event(server)["data"] == {
        "run_id": "run",
        "sequence": 301,
        "outcome": "interrupted",
        "events": 301,
        "duration": pytest.approx(5, abs=30),
        "hosts": None,
    }


def last_event(server: NatsServer) -> dict[str, Any]:
    with Session(settings(server.url)) as session:
        found: dict[str, Any] = json.loads([message.data for message in reading.onward(session, STREAM)][-1])
        return found


def test_a_run_that_has_ended_is_not_interrupted_afterwards(make_server: MakeServer, tmp_path: Path) -> None:
    """No event is added to a run that sent its last event, gave up reporting, or had nothing to report."""
    server = make_server()
    declare(server)
    nothing, given_up, ended = (start(job(server.url, tmp_path, run_id=run_id)) for run_id in ("0", "1", "2"))
    for event in events(3, "1"):
        given_up.put(*event)
    ended.put("ansible.runs.run_finished", "2.1", b"{}")
    wait_until(lambda: stored(server) == {"1": numbers(3), "2": [1]})
    given_up.abandon()
    for subject in (nothing, ended):
        assert subject._pipe
        subject._pipe.close()  # the pipe closes as if the run were killed
    for subject in (nothing, given_up, ended):
        assert subject._pipe
        subject._pipe._process.wait(20)
    assert stored(server) == {"1": numbers(3), "2": [1]}


def _is_zombie(pid: int) -> bool:
    """Return True if the process ended, and its new parent did not read its status yet."""
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] == "Z"
