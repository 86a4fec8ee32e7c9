# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""A malicious server: it forwards to a real one, and changes its answers."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    # Its arguments are the subject of a request (empty if there was none), its number since the last change, and the
    # headers
    # and data of the answer as they are sent. It returns the headers and data for the client.
    Forge = Callable[[str, int, bytes, bytes], tuple[bytes, bytes]]


def honest(subject: str, number: int, headers: bytes, data: bytes) -> tuple[bytes, bytes]:
    return headers, data


class ForgingServer:
    """Listens on a free port of 127.0.0.1 in its own thread. ``lie`` changes the answers."""

    def __init__(self, port: int) -> None:
        self._target = port
        self.forge: Forge = honest
        self.asked: list[str] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.port = self._wait(self._listen())

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def lie(self, forge: Forge) -> None:
        """Change answers with this function from now on."""
        self.forge, self.asked = forge, []

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    def _wait(self, work: Coroutine[object, object, int]) -> int:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _listen(self) -> int:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return int(server.sockets[0].getsockname()[1])

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection("127.0.0.1", self._target, limit=1 << 26)
        waiting: dict[str, tuple[str, int]] = {}
        ways = [self._up(reader, to_server, waiting), self._down(from_server, writer, waiting)]
        tasks = [asyncio.ensure_future(way) for way in ways]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        for end in (writer, to_server):
            end.transport.abort()

    async def _up(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, waiting: dict[str, tuple[str, int]]
    ) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while line := await reader.readline():
                words = line.split()
                body = b""
                if words and words[0].upper() in (b"PUB", b"HPUB"):
                    body = await reader.readexactly(int(words[-1]) + 2)
                    numbers = 1 if words[0].upper() == b"PUB" else 2
                    subject = words[1].decode()
                    self.asked.append(subject)
                    if len(words) == 3 + numbers:
                        waiting[words[2].decode()] = (subject, len(self.asked))
                writer.write(line + body)
                await writer.drain()

    async def _down(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, waiting: dict[str, tuple[str, int]]
    ) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while line := await reader.readline():
                words = line.split()
                if words and words[0] in (b"MSG", b"HMSG"):
                    content = await reader.readexactly(int(words[-1]) + 2)
                    size = int(words[-2]) if words[0] == b"HMSG" else 0
                    subject, number = waiting.get(words[1].decode(), ("", 0))
                    headers, data = self.forge(subject, number, content[:size], content[size:-2])
                    place = words[1 : -2 if words[0] == b"HMSG" else -1]
                    lengths = [b"%d" % len(headers)] if headers else []
                    kind = b"HMSG" if headers else b"MSG"
                    line = b" ".join([kind, *place, *lengths, b"%d" % len(headers + data)]) + b"\r\n"
                    writer.write(line + headers + data + b"\r\n")
                else:
                    writer.write(line)
                await writer.drain()
