# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""File descriptors that wake a wait in an event loop. Each test runs its own process, or waits for one."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from typing import TYPE_CHECKING

from ansible_collections.choria.streams.plugins.module_utils._operations.signals import Signals
from ansible_collections.choria.streams.plugins.module_utils._operations.wake import Wake

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def is_readable(wake: Wake, seconds: float) -> bool:
    assert wake.fd >= 0
    return bool(select.select([wake.fd], [], [], seconds)[0])


def test_a_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGHUP, lambda _number, _frame: None)
    try:
        with Signals() as signals, Wake(signals) as wake:
            assert not is_readable(wake, 0)
            os.kill(os.getpid(), signal.SIGHUP)
            assert is_readable(wake, 5)
            with Wake(signals) as later:
                assert is_readable(later, 0)
            monkeypatch.setattr(signals, "_came", None)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_end_of_a_process() -> None:
    with (
        subprocess.Popen(["sleep", "60"]) as process,
        Signals() as signals,
        Wake(signals, parent=process.pid) as wake,
    ):
        assert not is_readable(wake, 0.2)
        process.kill()
        assert is_readable(wake, 5)


def test_the_end_of_the_reader_of_the_output() -> None:
    reader, writer = os.pipe()
    with Signals() as signals, Wake(signals, output=writer) as wake:
        assert not is_readable(wake, 0.2)
        os.close(reader)
        assert is_readable(wake, 5)
    os.close(writer)


def test_output_to_a_file(tmp_path: Path) -> None:
    with (
        (tmp_path / "output").open("wb") as output,
        Signals() as signals,
        Wake(signals, output=output.fileno()) as wake,
    ):
        assert not is_readable(wake, 0.2)
        assert signals.on_signal
        signals.on_signal()
        assert is_readable(wake, 5)


def test_a_process_that_is_gone_is_not_watched() -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    with Signals() as signals, Wake(signals, parent=process.pid) as wake:
        assert wake.fd == -1


def test_nothing_stays_open() -> None:
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    before = descriptors()
    with Signals() as signals, Wake(signals, parent=os.getppid()):
        pass
    assert descriptors() == before
    assert signals.on_signal is None


def test_a_system_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "pidfd_open")
    with Signals() as signals, Wake(signals, parent=os.getppid()) as wake:
        assert wake.fd == -1
