# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""A backup and a restore compared with a script that uses the same protocol with bare nats-py, in turns within one
run.

backup.py [--short]

The script acknowledges and sends chunks as the nats CLI does, and writes them to the disk. It hashes and verifies
nothing. The floor is the same script with the SHA-256 of the chunks. Each backup is forced, with three earlier ones in
its folder.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / ".build"), str(ROOT / "tests")]

import nats
from _table import ratios, record

from ansible_collections.choria.streams.plugins.module_utils._api import streams
from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from ansible_collections.choria.streams.plugins.module_utils._connection.wire import Request
from support.backups import backup, restore
from support.connect import settings
from support.server import NatsServer

if TYPE_CHECKING:
    from collections.abc import Callable

MIB = 1 << 20
GOALS = {"backup": 1.2, "restore": 2.0}
KEEP = 3
MEMORY = 128 * MIB
STREAM = "LARGE"
CHUNK = 64 << 10


def fill(session: Session, size: int) -> None:
    streams.create(session, {"name": STREAM, "subjects": ["large"]})
    for _batch in range(size // (4 * MIB)):
        session.request_many([Request("large", os.urandom(CHUNK)) for _number in range(64)])


async def raw_backup(url: str, target: Path, hashed: Callable[[bytes], object] = len) -> None:
    client = await nats.connect(url)
    inbox, ended = client.new_inbox(), asyncio.Event()
    new = target.with_name("new")  # as ours: the kernel takes long for pages that were not just freed
    with new.open("wb") as file:

        async def receive(message: nats.aio.msg.Msg) -> None:
            if message.reply:
                await client.publish(message.reply, b"")
            hashed(message.data)
            file.write(message.data)
            if not message.data:
                ended.set()

        await client.subscribe(inbox, cb=receive)
        await client.request(f"$JS.API.STREAM.SNAPSHOT.{STREAM}", json.dumps({"deliver_subject": inbox}).encode())
        await ended.wait()
        file.flush()
        os.fsync(file.fileno())
    new.replace(target)
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
    """Return the most memory of this process. ru_maxrss would begin with that of the process it was forked from."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024


def main() -> int:
    short = "--short" in sys.argv
    size, rounds = (16 * MIB, 1) if short else (256 * MIB, 12)
    names = ("raw backup", "hashed backup", "backup", "raw restore", "restore")
    taken: dict[str, list[float]] = {name: [] for name in names}
    with (
        NatsServer() as server,
        Session(settings(servers=server.url)) as session,
        tempfile.TemporaryDirectory() as temp,
    ):
        fill(session, size)
        folder = Path(temp)
        for _earlier in range(KEEP):
            backup(session, folder, stream=STREAM, force=True)
        for turn in range(rounds):
            works = [
                ("raw backup", lambda: asyncio.run(raw_backup(server.url, folder / "raw"))),
                ("hashed backup", lambda: asyncio.run(raw_backup(server.url, folder / "raw", hashlib.sha256().update))),
                ("backup", lambda: backup(session, folder, stream=STREAM, force=True, keep=KEEP)),
            ]
            for name, work in works if turn % 2 else reversed(works):
                taken[name].append(timed(work))
            path = max(folder.glob(f"{STREAM}-*"))
            streams.delete(session, STREAM)
            taken["raw restore"].append(timed(partial(asyncio.run, raw_restore(server.url, path))))
            streams.delete(session, STREAM)
            taken["restore"].append(timed(partial(restore, session, path)))
    memory = peak()
    print(f"{size // MIB} MiB, {rounds} times each, in turns; the process had at most {memory // MIB} MiB")
    met = memory <= MEMORY
    for name, goal in GOALS.items():
        met &= record(name, "nats-py, the same protocol", ratios(taken[name], taken[f"raw {name}"]), goal)
    record("backup", "floor: the same, and SHA-256", ratios(taken["backup"], taken["hashed backup"]))
    return 0 if short or met else 1


if __name__ == "__main__":
    sys.exit(main())
