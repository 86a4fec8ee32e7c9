# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""A TCP proxy for a nats-server that parses the NATS protocol. It delays, drops, repeats and forges messages."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# Verbs of the protocol that have a payload. Its length is the last word of the line
_WITH_PAYLOAD = re.compile(rb"(PUB|HPUB|MSG|HMSG) ", re.IGNORECASE)


class Frame(NamedTuple):
    """One protocol message. ``up`` is from the client to the server. ``raw`` is all of it, with line ends."""

    up: bool
    raw: bytes
    connection: int = 0
    """The number of the client's connection, from 1 on."""

    @property
    def words(self) -> list[str]:
        """Return the words of its first line: the verb, the subject and so on."""
        return self.raw.partition(b"\r\n")[0].decode(errors="replace").split()

    @property
    def subject(self) -> str:
        """Return the subject of a published or delivered message, or an empty text for other frames such as PING."""
        return self.words[1] if _WITH_PAYLOAD.match(self.raw) else ""

    @property
    def reply(self) -> str:
        """Return the reply subject, or an empty text."""
        words, sizes = self.words, 2 if self.raw[:1].upper() == b"H" else 1
        start = 2 if self.up else 3
        return words[start] if self.subject and len(words) - sizes > start else ""


class Proxy:
    """Listens on a free loopback port, and forwards messages to ``port`` and back.

    ``rule(frame)`` returns the bytes to forward instead, in parts: ``[frame.raw]`` changes nothing, ``[]`` drops
    it. Change ``rule`` and ``delay`` (seconds, for each frame in both directions) at any time. ``silent = True``
    drops everything, ``cut()`` closes all connections, ``refusing = True`` closes new ones.
    """

    def __init__(self, port: int, rule: Callable[[Frame], Iterable[bytes]] | None = None) -> None:
        self.target = port
        self.rule = rule or (lambda frame: [frame.raw])
        self.delay = 0.0
        self.silent = False
        self.refusing = False
        self.connections = 0
        self.refused = 0
        self._sockets: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Close all connections on both sides, like a broken network."""
        with self._lock:
            sockets, self._sockets = self._sockets, set()
        for each in sockets:
            # A thread that reads from the socket would keep it open
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def stop(self) -> None:
        self.refusing = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    def _accept(self) -> None:
        while True:
            try:
                client, _address = self._listener.accept()
            except OSError:
                return
            try:
                server = None if self.refusing else socket.create_connection(("127.0.0.1", self.target), 5)
            except OSError:
                server = None
            if server is None:
                self.refused += 1
                client.close()
                continue
            server.settimeout(None)
            with self._lock:
                self._sockets |= {client, server}
                self.connections += 1
                number = self.connections
            for source, sink, up in ((client, server, True), (server, client, False)):
                threading.Thread(target=self._pump, args=(source, sink, up, number), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, up: bool, number: int) -> None:
        rest = b""
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                frames, rest = _frames(rest + data)
                out = b"".join(part for raw in frames for part in self._passed(Frame(up, raw, number)))
                if out:
                    sink.sendall(out)
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        with self._lock:
            self._sockets -= {source, sink}

    def _passed(self, frame: Frame) -> Iterable[bytes]:
        if self.delay:
            time.sleep(self.delay)
        return [] if self.silent else self.rule(frame)


def _frames(data: bytes) -> tuple[list[bytes], bytes]:
    """Return the complete protocol messages at the beginning of the data, and the rest."""
    found, start = [], 0
    while (end := data.find(b"\r\n", start)) >= 0:
        line, end = data[start:end], end + 2
        if _WITH_PAYLOAD.match(line):
            end += int(line.split()[-1]) + 2
            if end > len(data):
                break
        found.append(data[start:end])
        start = end
    return found, data[start:]


def message(subject: str, sid: str, payload: bytes) -> bytes:
    """Return a message in the form that servers send, for rules that forge one. ``sid`` is the third word of a real
    one.
    """
    return f"MSG {subject} {sid} {len(payload)}\r\n".encode() + payload + b"\r\n"
