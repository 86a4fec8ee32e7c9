# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Events that wait in memory, on disk or in both, also with a disk that fails."""

from __future__ import annotations

import errno
import os
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.choria.streams.plugins.module_utils._operations.runs import journal as _journal
from ansible_collections.choria.streams.plugins.module_utils._operations.runs.journal import Outgoing, number_of
from ansible_collections.choria.streams.plugins.module_utils._operations.runs.spool import Spool
from ansible_collections.choria.streams.plugins.plugin_utils._delivery.outbox import Earlier, Outbox
from ansible_collections.choria.streams.plugins.plugin_utils._delivery.sender_main import Sender
from ansible_collections.choria.streams.plugins.plugin_utils._delivery.transport import Sent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

TARGET = {"transport": "direct", "stream": "S", "servers": ["a"]}


def event(number: int) -> Outgoing:
    return Outgoing("a.b", f"run.{number}", b"x" * 200)


def ids(found: Sequence[Outgoing]) -> list[int]:
    return [int(each.id.rpartition(".")[2]) for each in found]


def outbox(spool: Spool, count: int) -> Outbox:
    found = Outbox(spool, lambda: spool.create("run", TARGET))
    for number in range(count):
        found.put(event(number))
    return found


def broken(*_arguments: Any) -> Any:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


class Servers:
    """A transport that keeps the events that it gets. ``gone`` is the reason for refusing all events."""

    window = 10
    warning = ""
    target = TARGET
    place = "here"

    def __init__(self, gone: str = "") -> None:
        self.got: list[Outgoing] = []
        self.gone = gone
        self.meet: Callable[[], None] = lambda: None

    def meanwhile(self, seconds: float, call: Callable[[], None]) -> None:
        pass

    def send(self, events: Sequence[Outgoing]) -> Sent:
        assert events
        if self.gone:
            return Sent(problem=self.gone)
        self.got += events
        self.meet()
        return Sent(settled=len(events))

    def close(self) -> None:
        pass


@pytest.mark.parametrize("settled", [10, 12])
def test_a_window_of_which_a_part_went_to_disk(tmp_path: Path, settled: int) -> None:
    found = outbox(Spool(tmp_path / "spool", 1500), 12)
    assert ids(found.window(10)) == list(range(10))
    found.spill()
    assert 0 < found.on_disk < 10
    found.advance(settled, 1)
    assert (found.delivered, found.lost, found.on_disk) == (settled - 1, 1, 0)
    assert list((tmp_path / "spool").iterdir()) == []
    assert ids(found.window(10)) == list(range(settled, 12))
    assert found.empty is (settled == 12)


def test_a_journal_that_ends_too_early(tmp_path: Path) -> None:
    found = outbox(Spool(tmp_path / "spool", 1 << 20), 3)
    found.spill()
    assert found.journal is not None
    with pytest.raises(OSError, match="fewer events"):
        found.journal.advance(4)
    [path] = (tmp_path / "spool").iterdir()
    os.truncate(path, 0)
    found = outbox(Spool(tmp_path / "spool", 1 << 20), 3)
    found.spill()
    os.truncate(sorted((tmp_path / "spool").iterdir())[-1], 200)
    found.put(event(3))
    assert ids(found.window(10)) == [3]


def test_a_position_that_can_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = outbox(Spool(tmp_path / "spool", 1 << 20), 3)
    found.spill()
    monkeypatch.setattr(_journal.os, "pwrite", broken)
    found.advance(1, 0)
    assert ids(found.window(10)) == [1, 2]


@pytest.mark.parametrize("where", ["window", "advance"])
def test_a_journal_of_an_earlier_run_that_can_not_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    spool = Spool(tmp_path / "spool", 1 << 20)
    for count in (2, 1):
        outbox(spool, count).finish()
        time.sleep(0.001)
    earlier = Earlier(spool, TARGET)
    assert not earlier.empty
    with monkeypatch.context() as patched:
        patched.setattr(_journal.Journal, where, broken)
        assert earlier.window(1) == [] or where == "advance"
        earlier.advance(1, 0)
    assert "Input/output error" in earlier.problem
    assert not earlier.empty
    assert ids(earlier.window(9)) == [0]
    earlier.advance(1, 0)
    assert earlier.empty
    assert len(list((tmp_path / "spool").iterdir())) == 1


def spilled(folder: Path) -> tuple[Servers, Sender]:
    """Return a sender without reachable servers, once its first event is on disk."""
    servers = Servers(gone="away")
    sender = Sender(servers, Spool(folder / "spool", 1 << 20), "run")
    sender.put(*event(0))
    while not sender._outbox.on_disk:
        time.sleep(0.01)
    return servers, sender


def test_after_what_ends_the_delivery_all_goes_to_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _servers, sender = spilled(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(_journal.Journal, "window", broken)
        while "Input" not in sender._problem:
            time.sleep(0.01)
    for number in range(1, 20):
        sender.put(*event(number))
    report = sender.finish(1)
    assert (report.stored, report.spooled, report.dropped) == (0, 20, 0)
    assert "Input/output error" in report.text
    left = next(Spool(tmp_path / "spool", 1 << 20).left(TARGET))
    assert ids(left.window(99)) == list(range(20))
    left.close()


def test_a_sender_goes_on_after_a_journal_that_is_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    servers, sender = spilled(tmp_path)
    monkeypatch.setattr(_journal.Journal, "window", lambda *_arguments: [])
    servers.gone = ""
    sender.put(*event(1))
    report = sender.finish(3)
    assert (report.stored, report.spooled, report.dropped) == (1, 0, 1)
    assert ids(servers.got) == [1]


def test_a_sender_of_which_a_part_went_to_disk_goes_on(tmp_path: Path) -> None:
    servers, full = Servers(), threading.Event()
    spool = Spool(tmp_path / "spool", 1500)
    sender = Sender(servers, spool, "run")

    def spill_once() -> None:
        if not full.is_set():
            full.set()
            sender._outbox.spill()
            assert 0 < sender._outbox.on_disk < 10

    servers.meet = spill_once
    for number in range(200):
        sender.put(*event(number))
    report = sender.finish(5)
    assert full.is_set()
    assert (report.stored, report.spooled, report.dropped) == (200, 0, 0)
    assert ids(servers.got) == list(range(200))


@pytest.mark.parametrize("number", ["²", "9" * 5000, "-1", "", "x"])
def test_an_event_without_a_number(number: str) -> None:
    assert number_of(f"run.{number}") == 0


def test_a_mark_that_can_not_be_read_is_no_mark(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", 1 << 20)
    os.close(spool.make())
    (spool.path / "others.warned").symlink_to("others.warned")
    assert spool.may_warn()
