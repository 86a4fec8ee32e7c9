# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""A backup and a restore beside a script that speaks the same protocol with bare nats-py, in turns within one run.

backup.py [--short]

The script acknowledges and sends chunks as the nats CLI does, and brings them to the disk; it hashes and verifies
nothing.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / ".build"), str(ROOT / "tests")]

import nats

from ansible_collections.choria.streams.plugins.module_utils._api import streams
from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from ansible_collections.choria.streams.plugins.module_utils._connection.wire import Request
from support.backups import backup, restore
from support.connect import settings
from support.server import NatsServer

if TYPE_CHECKING:
    from collections.abc import Callable

MIB = 1 << 20
TARGET = 2.0
MEMORY = 128 * MIB
STREAM = "LARGE"
CHUNK = 64 << 10


def fill(session: Session, size: int) -> None:
    streams.create(session, {"name": STREAM, "subjects": ["large"]})
    for _batch in range(size // (4 * MIB)):
        session.request_many([Request("large", os.urandom(CHUNK)) for _number in range(64)])


async def raw_backup(url: str, target: Path) -> None:
    client = await nats.connect(url)
    inbox, ended = client.new_inbox(), asyncio.Event()
    with target.open("wb") as file:

        async def receive(message: nats.aio.msg.Msg) -> None:
            if message.reply:
                await client.publish(message.reply, b"")
            file.write(message.data)
            if not message.data:
                ended.set()

        await client.subscribe(inbox, cb=receive)
        await client.request(f"$JS.API.STREAM.SNAPSHOT.{STREAM}", json.dumps({"deliver_subject": inbox}).encode())
        await ended.wait()
        file.flush()
        os.fsync(file.fileno())
    await client.close()


async def raw_restore(url: str, folder: Path) -> None:
    client = await nats.connect(url)
    body = (folder / "backup.json").read_bytes()
    answer = await client.request(f"$JS.API.STREAM.RESTORE.{STREAM}", body, timeout=60)
    subject = json.loads(answer.data)["deliver_subject"]
    with (folder / "stream.tar.s2").open("rb") as file:
        while chunk := file.read(CHUNK):
            await client.request(subject, chunk, timeout=60)
    await client.request(subject, b"", timeout=600)
    await client.close()


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def peak() -> int:
    """The most memory that this process had. ru_maxrss would begin with that of the process it was forked from."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024


def main() -> int:
    short = "--short" in sys.argv
    size, rounds = (16 * MIB, 1) if short else (1024 * MIB, 3)
    taken: dict[str, list[float]] = {name: [] for name in ("raw backup", "backup", "raw restore", "restore")}
    with (
        NatsServer() as server,
        Session(settings(servers=server.url)) as session,
        tempfile.TemporaryDirectory() as temp,
    ):
        fill(session, size)
        folder = Path(temp)
        for _round in range(rounds):
            taken["raw backup"].append(timed(lambda: asyncio.run(raw_backup(server.url, folder / "raw"))))
            taken["backup"].append(timed(lambda: backup(session, folder, stream=STREAM, force=True, keep=1)))
            (path,) = folder.glob(f"{STREAM}-*")
            streams.delete(session, STREAM)
            taken["raw restore"].append(timed(partial(asyncio.run, raw_restore(server.url, path))))
            streams.delete(session, STREAM)
            taken["restore"].append(timed(partial(restore, session, path)))
    memory = peak()
    print(f"{size // MIB} MiB, {rounds} times each, in turns; the process had at most {memory // MIB} MiB")
    ratios = {}
    for name in ("backup", "restore"):
        mine, raw = median(taken[name]), median(taken[f"raw {name}"])
        ratios[name] = mine / raw
        print(f"{name:8} {mine:6.2f} s, raw {raw:6.2f} s: {ratios[name]:4.2f} times")
    return 0 if short or (max(ratios.values()) <= TARGET and memory <= MEMORY) else 1


if __name__ == "__main__":
    sys.exit(main())
