# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""A TCP proxy before a server that delays, holds back, loses or cuts what goes through it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_BYTES = 65536
# Which part of messages is dropped, and how late one may come again, in seconds
_DROPPED, _LATE = 0.3, 4.0


class Proxy:
    """Listens on a free port of 127.0.0.1, and has a thread of its own. Its modes hold for all its connections.

    ``pass`` hands all on. ``silent`` holds back what the server says until the mode changes. ``lose`` drops what the
    server says, and cuts the connections that lost some when the mode changes. ``drop`` drops some messages, and the
    connection goes on, as when a route between servers loses them. ``twice`` sends each message at once a second time,
    and a third time when other answers are waited for.
    """

    def __init__(self, port: int, seed: int = 0) -> None:
        self._target = port
        self._mode = "pass"
        self._delay = 0.0
        self._random = Random(seed)
        self._open: set[asyncio.StreamWriter] = set()
        self._dirty: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._changed = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.port: int = self._wait(self._listen())

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def change(self, mode: str = "pass", delay: float = 0.0) -> None:
        self._call(lambda: self._set(mode, delay))

    def cut(self) -> None:
        """End all connections, in the middle of whatever goes through them."""
        self._call(lambda: self._cut(self._open))

    def stop(self) -> None:
        if self._thread.is_alive():
            self.cut()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(5)

    def _call(self, act: Callable[[], None]) -> None:
        async def called() -> None:
            act()

        self._wait(called())

    def _wait(self, awaited: object) -> int:
        return asyncio.run_coroutine_threadsafe(awaited, self._loop).result(10)  # type: ignore[arg-type]

    async def _listen(self) -> int:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return int(server.sockets[0].getsockname()[1])

    def _set(self, mode: str, delay: float) -> None:
        self._mode, self._delay = mode, delay
        self._cut(self._dirty)
        self._changed.set()
        self._changed = asyncio.Event()

    def _cut(self, writers: set[asyncio.StreamWriter]) -> None:
        for writer in list(writers):
            writer.transport.abort()
        writers.clear()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            from_server, to_server = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer, to_server}
        ways = [self._up(reader, to_server), self._down(from_server, writer)]
        tasks = [asyncio.ensure_future(way) for way in ways]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        for end in (writer, to_server):
            self._open.discard(end)
            self._dirty.discard(end)
            end.transport.abort()

    async def _up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_BYTES):
                await asyncio.sleep(self._delay)
                writer.write(data)
                await writer.drain()

    async def _down(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while frame := await _frame(reader):
                while self._mode == "silent":
                    await self._changed.wait()
                if self._mode == "lose":
                    self._dirty.add(writer)
                    continue
                answer = frame.startswith((b"MSG ", b"HMSG "))
                if self._mode == "drop" and answer and self._random.random() < _DROPPED:
                    continue
                if self._delay:
                    await asyncio.sleep(self._delay)
                writer.write(frame)
                if self._mode == "twice" and answer:
                    writer.write(frame)
                    self._loop.call_later(self._random.uniform(0, _LATE), _write, writer, frame)
                await writer.drain()


async def _frame(reader: asyncio.StreamReader) -> bytes:
    """A whole line of the protocol with the payload that belongs to it; nothing at the end."""
    line = await reader.readline()
    if line.startswith((b"MSG ", b"HMSG ")):
        line += await reader.readexactly(int(line.split()[-1]) + 2)
    return line


def _write(writer: asyncio.StreamWriter, frame: bytes) -> None:
    if not writer.is_closing():
        writer.write(frame)
