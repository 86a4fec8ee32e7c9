# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Events that servers don't accept are written to disk in time, in order, readable by their owner only, and delivered
later.
"""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.choria.streams.plugins.module_utils import _errors
from ansible_collections.choria.streams.plugins.module_utils._api import streams
from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from ansible_collections.choria.streams.plugins.module_utils._operations.runs import journal as journal_file
from ansible_collections.choria.streams.plugins.module_utils._operations.runs.spool import spool_path
from support.sending import (
    STREAM,
    SUBJECTS,
    declare,
    events,
    journals,
    numbers,
    sender,
    settings,
    small_disk,
    stored,
)
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ansible_collections.choria.streams.plugins.plugin_utils._delivery.sender_pipe import Report
    from conftest import MakeServer

pytestmark = pytest.mark.once

DOWN = "nats://127.0.0.1:1"
# A process that sends the events of a run, and never ends the run
SENDING = """
import sys, time
from pathlib import Path
from support.sending import events, sender
url, folder, run_id, count = sys.argv[1:]
subject = sender(url, Path(folder), run_id)
for event in events(int(count), run_id):
    subject.put(*event)
print("put", flush=True)
time.sleep(600)
"""


def run(url: str, folder: Path, run_id: str, count: int, *, timeout: float = 20.0, **more: Any) -> Report:
    """Send all events of a run. Return the report."""
    subject = sender(url, folder, run_id, **more)
    for event in events(count, run_id):
        subject.put(*event)
    return subject.finish(timeout)


@pytest.fixture
def start_sending(tmp_path: Path) -> Iterator[Any]:
    """Start a process that has handed over the events of a run."""
    started = []

    def start(url: str, run_id: str, count: int) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", SENDING, url, str(tmp_path), run_id, str(count)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "put\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


# The server is away at the start, in the middle and at the end


def test_later_runs_deliver_what_is_left(make_server: MakeServer, tmp_path: Path) -> None:
    server = make_server()
    declare(server)
    server.shutdown()
    for run_id in ("one", "two"):
        report = run(server.url, tmp_path, run_id, 30, timeout=0.4)
        assert (report.stored, report.spooled, report.dropped, report.fine) == (0, 30, 0, False)
        assert (
            f"0 events in stream {STREAM}, 30 spooled in {tmp_path}/spool, 0 dropped: {server.url} can't" in report.text
        )
        assert report.text.endswith("A later run delivers what is spooled.")
    assert len(journals(tmp_path)) == 2
    assert [stat.S_IMODE(path.stat().st_mode) for path in [tmp_path / "spool", *journals(tmp_path)]] == [
        0o700,
        0o600,
        0o600,
    ]
    server.start()
    report = run(server.url, tmp_path, "three", 30)
    assert report.fine
    assert report.text.endswith(
        "30 events in stream ANSIBLE_RUNS, 0 spooled, 0 dropped, and 60 of earlier runs delivered"
    )
    assert stored(server) == {run_id: numbers(30) for run_id in ("three", "one", "two")}
    assert journals(tmp_path) == []


def test_the_same_run_goes_on_where_it_was(make_server: MakeServer, tmp_path: Path) -> None:
    server = make_server()
    declare(server)
    subject = sender(server.url, tmp_path)
    made = list(events(600))
    for event in made[:100]:
        subject.put(*event)
    wait_until(lambda: subject.stored == 100)
    assert journals(tmp_path) == []
    server.kill()
    for event in made[100:400]:
        subject.put(*event)
    wait_until(lambda: journals(tmp_path))
    for event in made[400:]:
        subject.put(*event)
    server.start()
    report = subject.finish(20)
    assert (report.stored, report.fine) == (600, True)
    assert stored(server) == {"run": numbers(600)}
    assert journals(tmp_path) == []


def test_away_at_the_end(make_server: MakeServer, tmp_path: Path) -> None:
    server = make_server()
    declare(server)
    subject = sender(server.url, tmp_path)
    made = list(events(40))
    for event in made[:20]:
        subject.put(*event)
    wait_until(lambda: subject.stored == 20)
    server.shutdown()
    for event in made[20:]:
        subject.put(*event)
    report = subject.finish(0.5)
    assert (report.stored, report.spooled, report.dropped) == (20, 20, 0)
    server.start()
    run(server.url, tmp_path, "next", 1)
    assert stored(server) == {"run": numbers(40), "next": [1]}


def test_a_slow_server_gets_each_event_once(make_server: MakeServer, tmp_path: Path) -> None:
    """Unacknowledged events go to disk. They are not sent again when the server acknowledges them later."""
    server = make_server()
    declare(server, duplicate_window=100_000_000)
    subject = sender(server.url, tmp_path)
    made = list(events(400))
    for event in made[:200]:
        subject.put(*event)
    wait_until(lambda: subject.stored == 200)
    with server.frozen():
        for event in made[200:]:
            subject.put(*event)
        wait_until(lambda: journals(tmp_path))
        time.sleep(0.2)
    report = subject.finish(20)
    assert (report.stored, report.fine) == (400, True)
    assert stored(server) == {"run": numbers(400)}
    assert journals(tmp_path) == []


# Events that the server refuses


def test_a_full_stream_takes_the_rest_when_it_has_room(make_server: MakeServer, tmp_path: Path) -> None:
    server = make_server()
    declare(server, max_msgs=10, discard="new")
    report = run(server.url, tmp_path, "run", 30, timeout=0.5)
    assert (report.stored, report.spooled, report.dropped) == (10, 20, 0)
    assert "maximum messages exceeded" in report.text
    with Session(settings(server.url)) as session:
        streams.update(session, {"name": STREAM, "subjects": SUBJECTS, "max_msgs": 100, "discard": "new"})
    run(server.url, tmp_path, "next", 1)
    assert stored(server) == {"run": numbers(30), "next": [1]}


def test_a_permission_that_comes_later(make_server: MakeServer, tmp_path: Path) -> None:
    users = [
        {"user": "no", "password": "p", "permissions": {"publish": {"deny": SUBJECTS}}},
        {"user": "yes", "password": "p"},
    ]
    server = make_server({"authorization": {"users": users}})
    with Session(settings(server.url, user="yes", password="p")) as session:
        streams.create(session, {"name": STREAM, "subjects": SUBJECTS})
    report = run(server.url, tmp_path, "run", 30, user="no", password="p")
    assert (report.stored, report.spooled, report.dropped) == (0, 30, 0)
    assert "may not publish to ansible.runs.task_result.ok.web1" in report.text
    report = run(server.url, tmp_path, "next", 1, user="yes", password="p")
    assert "and 30 of earlier runs delivered" in report.text


def test_others_events_are_left_alone(make_server: MakeServer, tmp_path: Path) -> None:
    server, other = make_server(), make_server()
    declare(server)
    declare(other, "OTHER")
    run(DOWN, tmp_path, "lost", 5, timeout=0.4)
    report = run(server.url, tmp_path, "lost", 5, timeout=0.4, stream="OTHER")
    assert f"In {tmp_path}/spool are events of 1 run for other servers or streams: " in report.text
    report = run(server.url, tmp_path, "run", 5)
    assert (report.stored, report.fine) == (5, True)  # the warning about others comes once a day
    assert stored(server) == {"run": numbers(5)}
    assert [path.suffix for path in journals(tmp_path)] == [".journal", ".journal", ".warned"]


# Killed runs


@pytest.mark.parametrize("hangs", [True, False], ids=["acknowledgements are missing", "no server"])
def test_a_killed_run_leaves_its_events(
    make_server: MakeServer, tmp_path: Path, start_sending: Any, hangs: bool
) -> None:
    server = make_server()
    declare(server)
    if not hangs:
        server.shutdown()
    with server.frozen() if hangs else contextlib.nullcontext():
        process = start_sending(server.url, "killed", 50)
        # Events reach the disk whether the server does not answer or is not there. benchmarks/results.py measures how
        # soon.
        wait_until(lambda: sum(path.read_bytes().count(b" killed.") for path in journals(tmp_path)) == 50)
        process.kill()
        process.wait()
    if not hangs:
        server.start()
    report = run(server.url, tmp_path, "next", 3)
    assert "and 50 of earlier runs delivered" in report.text
    found = stored(server)
    assert found == {"killed": numbers(50), "next": numbers(3)}


@pytest.mark.parametrize(
    ("damage", "left"),
    [
        (lambda content: content[:-20], numbers(9)),
        (lambda content: content.replace(b"run.4 ", b"run.X ", 1), [1, 2, 3, 5, 6, 7, 8, 9, 10]),
    ],
    ids=["torn", "changed"],
)
def test_damaged_events_are_left_out_and_reported(
    make_server: MakeServer, tmp_path: Path, damage: Any, left: list[int]
) -> None:
    server = make_server()
    declare(server)
    server.shutdown()
    run(server.url, tmp_path, "run", 10, timeout=0.4)
    [path] = journals(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    server.start()
    report = run(server.url, tmp_path, "next", 1)
    assert "1 damaged event of earlier runs was dropped." in report.text
    assert stored(server) == {"next": [1], "run": left}
    assert journals(tmp_path) == []


@pytest.mark.parametrize(
    "position", [b"9" * 20, b"0" * 21, b"\0" * 21, b"", b"%011d" % 10**9], ids=["nines", "zeros", "NUL", "none", "far"]
)
def test_a_damaged_position_loses_nothing(make_server: MakeServer, tmp_path: Path, position: bytes) -> None:
    """All events of the journal are sent again."""
    server = make_server()
    declare(server)
    server.shutdown()
    run(server.url, tmp_path, "run", 5, timeout=0.4)
    [path] = journals(tmp_path)
    content = path.read_bytes()
    if len(position) == 11:
        position = journal_file.line_of(position)
    path.write_bytes(position + content[len(position) or 22 :])
    server.start()
    report = run(server.url, tmp_path, "next", 1)
    assert "and 5 of earlier runs delivered" in report.text or not position
    assert stored(server) == {"next": [1], **({"run": numbers(5)} if position else {})}


def test_a_broken_journal_hides_no_other(make_server: MakeServer, tmp_path: Path) -> None:
    server = make_server()
    declare(server)
    server.shutdown()
    run(server.url, tmp_path, "run", 5, timeout=0.4)
    server.start()
    spool = tmp_path / "spool"
    os.mkfifo(spool / "0-fifo.journal")
    (spool / "0-folder.journal").mkdir()
    (spool / "0-link.journal").symlink_to("/dev/zero")
    (spool / "0-empty.journal").write_bytes(b"")
    targets = [b"{}", b"[" * 100_000, b"5", b"null", b'{"servers": 5}', b'{"servers": [[]]}', b"\xff"]
    for number, target in enumerate(targets):
        head = journal_file.progress_line(journal_file.HEAD) + journal_file.line_of(target)
        (spool / f"0-broken-{number}.journal").write_bytes(head + journal_file.line_of(b"a b c"))
    for number, line in enumerate((b"one", b"\xff \xff x", b"")):
        content = journals(tmp_path)[-1].read_bytes().split(b"\n")
        lines = [*content[:2], journal_file.line_of(line).rstrip(b"\n"), *content[2:]]
        (spool / f"0-line-{number}.journal").write_bytes(b"\n".join(lines))
    report = run(server.url, tmp_path, "next", 1)
    assert stored(server) == {"next": [1], "run": numbers(5)}
    assert "3 damaged events of earlier runs were dropped." in report.text


def test_a_journal_without_events_is_removed(make_server: MakeServer, tmp_path: Path) -> None:
    server = make_server()
    declare(server)
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool" / "1-killed.journal").write_bytes(b"0000")
    assert run(server.url, tmp_path, "run", 1).fine
    assert journals(tmp_path) == []


# Runs at the same time


def test_runs_at_once_share_the_folder(make_server: MakeServer, tmp_path: Path, start_sending: Any) -> None:
    """They do not wait for each other, and no run sends the events that another one still holds."""
    server = make_server()
    declare(server)
    server.shutdown()
    process = start_sending(server.url, "first", 50)
    wait_until(lambda: journals(tmp_path))
    report = run(server.url, tmp_path, "second", 50, timeout=0.5)
    assert report.spooled == 50
    assert len(journals(tmp_path)) == 2
    server.start()
    report = run(server.url, tmp_path, "third", 50)
    assert "and 50 of earlier runs delivered" in report.text
    wait_until(lambda: not journals(tmp_path))
    assert process.poll() is None
    assert stored(server) == {run_id: numbers(50) for run_id in ("first", "second", "third")}


def test_only_one_delivers_what_is_left(make_server: MakeServer, tmp_path: Path) -> None:
    server = make_server()
    declare(server, duplicate_window=100_000_000)
    server.shutdown()
    for number in range(6):
        run(server.url, tmp_path, f"left{number}", 200, timeout=0.4)
    server.start()
    reports: dict[str, Report] = {}
    runs = ("a", "b", "c")

    def deliver(run_id: str) -> None:
        reports[run_id] = run(server.url, tmp_path, run_id, 200)

    threads = [threading.Thread(target=deliver, args=(run_id,)) for run_id in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(report.fine for report in reports.values())
    assert stored(server) == {run_id: numbers(200) for run_id in (*runs, *(f"left{number}" for number in range(6)))}
    assert journals(tmp_path) == []


# The spool's folder


def test_folders_that_can_t_be_trusted_are_not_used(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "spool").symlink_to(tmp_path / "elsewhere")
    report = run(DOWN, tmp_path, "run", 5, timeout=0.4)
    assert (report.spooled, report.dropped) == (0, 5)
    assert f"spool {tmp_path}/spool is a symbolic link: name a folder of your own in spool." in report.text
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_folders_of_others_are_not_used(tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir()
    os.chown(tmp_path / "spool", 1, 1)
    report = run(DOWN, tmp_path, "run", 5, timeout=0.4)
    assert report.dropped == 5
    assert f"spool {tmp_path}/spool belongs to user 1, this run is one of user 0" in report.text
    assert journals(tmp_path) == []


def test_files_that_are_links_are_not_followed(make_server: MakeServer, tmp_path: Path) -> None:
    server = make_server()
    declare(server)
    server.shutdown()
    run(server.url, tmp_path, "run", 5, timeout=0.4)
    [path] = journals(tmp_path)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    server.start()
    run(server.url, tmp_path, "next", 1)
    assert stored(server) == {"next": [1]}
    assert path.is_symlink()


def test_own_folders_are_closed_to_others(tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir()
    for before, after in ((0o755, 0o755), (0o775, 0o700), (0o1777, 0o700)):
        (tmp_path / "spool").chmod(before)
        assert run(DOWN, tmp_path, f"run{before:o}", 5, timeout=0.4).spooled == 5
        assert stat.S_IMODE((tmp_path / "spool").stat().st_mode) == after
    assert {stat.S_IMODE(path.stat().st_mode) for path in journals(tmp_path)} == {0o600}


@pytest.mark.parametrize("mode", [0o1777, 0o777, 0o775])
def test_folders_that_others_use_are_not_changed(mode: int, tmp_path: Path) -> None:
    """Such as /tmp."""
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool" / "theirs").touch()
    (tmp_path / "spool").chmod(mode)
    report = run(DOWN, tmp_path, "run", 5, timeout=0.4)
    assert report.dropped == 5
    assert "is shared, others may change it: name a folder of your own in spool." in report.text
    assert stat.S_IMODE((tmp_path / "spool").stat().st_mode) == mode
    assert [path.name for path in (tmp_path / "spool").iterdir()] == ["theirs"]


def test_the_default_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    assert spool_path(None) == tmp_path / ".local/state/choria_streams/results"
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert str(spool_path(None)) == "/state/choria_streams/results"
    monkeypatch.delenv("XDG_STATE_HOME")
    # A container's user that the system does not know
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    with pytest.raises(_errors.OptionError, match=r"^spool: is not given, and this user has no home"):
        spool_path(None)
    assert str(spool_path("/other")) == "/other"


# Limits of size and age


def test_the_folder_grows_to_its_limit(make_server: MakeServer, tmp_path: Path) -> None:
    server = make_server()
    declare(server)
    server.shutdown()
    report = run(server.url, tmp_path, "first", 100, timeout=0.6, limit=30_000)
    assert 0 < report.spooled < 100
    assert report.dropped == 100 - report.spooled
    assert "spool_size (" in report.text
    assert sum(path.stat().st_size for path in journals(tmp_path)) <= 30_000
    assert run(server.url, tmp_path, "second", 100, timeout=0.6, limit=30_000).spooled < 5
    server.start()
    run(server.url, tmp_path, "next", 1)
    assert stored(server)["first"] == numbers(report.spooled)


def test_a_full_disk_keeps_whole_events(make_server: MakeServer, tmp_path: Path) -> None:
    server = make_server()
    declare(server)
    server.shutdown()
    with small_disk(tmp_path / "spool", 64 << 10) as disk:
        report = run(server.url, tmp_path, "run", 500, timeout=1)
        assert 0 < report.spooled < 500
        assert report.stored + report.spooled + report.dropped == 500
        assert f"{disk} could not store them: No space left on device." in report.text
        server.start()
        run(server.url, tmp_path, "next", 1)
    assert stored(server) == {"next": [1], "run": numbers(report.spooled)}


def test_a_full_disk_is_no_matter_when_the_servers_come_back(make_server: MakeServer, tmp_path: Path) -> None:
    server = make_server()
    declare(server)
    server.shutdown()
    with small_disk(tmp_path / "spool", 64 << 10):
        subject = sender(server.url, tmp_path)
        for event in events(500):
            subject.put(*event)
        wait_until(lambda: journals(tmp_path))
        server.start()
        report = subject.finish(20)
    assert (report.stored, report.fine) == (500, True)
    assert stored(server) == {"run": numbers(500)}
