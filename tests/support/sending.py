# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The callback's sender without a run: events to send, and the contents of stream and disk afterwards."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.choria.streams.plugins.module_utils._api import reading, streams
from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from ansible_collections.choria.streams.plugins.module_utils._connection.settings import Settings
from ansible_collections.choria.streams.plugins.module_utils._operations.runs.spool import Spool
from ansible_collections.choria.streams.plugins.plugin_utils._delivery.sender_main import Sender
from ansible_collections.choria.streams.plugins.plugin_utils._delivery.transport import Direct
from ansible_collections.choria.streams.plugins.plugin_utils._results import events as _events

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.server import NatsServer

STREAM = "ANSIBLE_RUNS"
SUBJECTS = ["ansible.runs.>"]


def settings(url: str, **more: Any) -> Settings:
    return Settings(servers=(url,), **more)


def declare(server: NatsServer, name: str = STREAM, **config: Any) -> None:
    with Session(settings(server.url)) as session:
        streams.create(session, {"name": name, "subjects": SUBJECTS, **config})


def stored(server: NatsServer, stream: str = STREAM) -> dict[str, list[int]]:
    """Return the numbers of each run's events, in the order of the stream."""
    found: dict[str, list[int]] = {}
    with Session(settings(server.url)) as session:
        for message in reading.onward(session, stream):
            run_id, _dot, number = message.headers["Nats-Msg-Id"].rpartition(".")
            found.setdefault(run_id, []).append(int(number))
    return found


def numbers(count: int) -> list[int]:
    return list(range(1, count + 1))


def sender(
    url: str, folder: Path, run_id: str = "run", *, limit: int = 1 << 28, stream: str = STREAM, **more: Any
) -> Sender:
    """Return a sender whose journals are in the folder `spool` of a folder."""
    transport = Direct(settings(url, **{"connect_timeout": 0.5, **more}), "ansible.runs", stream)
    return Sender(transport, Spool(folder / "spool", limit), run_id)


def events(count: int, run_id: str = "run", size: int = 200) -> Iterator[tuple[str, str, bytes]]:
    """Return the arguments of `put` for a run's events."""
    run = _events.Run(run_id)
    for _number in range(count):
        event = run.event(_events.TASK_RESULT, time.time(), {"status": "ok", "msg": "x" * size}, "web1")
        yield _events.subject("ansible.runs", event), event.id, _events.encode(event, 65536)


def journals(folder: Path) -> list[Path]:
    """Return the journals on disk."""
    return sorted((folder / "spool").iterdir()) if (folder / "spool").is_dir() else []


@contextlib.contextmanager
def small_disk(path: Path, size: int) -> Iterator[Path]:
    """Mount a file system of this many bytes. Only root can do this."""
    if os.geteuid():
        pytest.skip("only root may mount a file system")
    path.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)
