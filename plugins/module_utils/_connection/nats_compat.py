# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""All use of private parts of nats-py, and the import of only those of its modules that are needed.

tests/unit/test_compat.py fails if a release of nats-py changes one of these parts.
"""

from __future__ import annotations

import errno
import importlib
import logging
import re
import sys
import time
from contextlib import contextmanager, suppress
from functools import cache, partial
from types import ModuleType
from typing import TYPE_CHECKING, Any

from .. import _errors
from .._options import connection
from . import wire

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator, Sequence

    from .settings import Settings

# A state of nats-py's parser: the payload of a message is not complete
_IN_PAYLOAD = 2
# How messages begin: with this, subject, subscription, perhaps the subject of the answer, and the size
_MESSAGES, _WORDS = (b"MSG", b"HMSG"), (4, 5)
# The bytes of commands that are sent as one
_BLOCK = 1 << 16


@cache
def client_class(websocket: bool) -> Any:
    """Return nats-py's client, made to insist on TLS where the user asked for it. Raises LibraryMissing."""
    missing = partial(_errors.LibraryMissing, "nats-py", "to talk to NATS servers and Choria Brokers", sys.executable)
    try:
        with _without_unused_imports():
            from nats.aio.client import Client, __version__
    except ImportError as error:
        raise missing() from error
    version = re.match(r"(\d+)\.(\d+)", __version__)
    # Older releases never call some of the methods below, such as the one that insists on TLS
    if version and (0, 0) < (int(version[1]), int(version[2])) < (2, 10):
        raise missing(f"has version {__version__}, and 2.10 or newer is needed")
    if websocket:
        _import_for_websockets()
    # Both would show tracebacks to the user. Our errors report what nats-py logs, where it matters.
    logging.getLogger("nats").addHandler(logging.NullHandler())
    # asyncio logs this once for each TLS connection that a server closes; it means nothing (bpo-39951).
    logging.getLogger("asyncio").addFilter(lambda record: "eof_received" not in record.getMessage())
    return type("TlsClient", (_Overrides, Client), {})


class _Overrides:
    """The methods that replace those of nats-py's client."""

    settings: Settings
    _ps: Any
    _subs: dict[int, Any]
    _pongs: list[Any]
    _pings_outstanding: int
    _server_info: Any
    _transport: Any
    _closed_cb: Any
    is_closed: bool
    _flush_queue: asyncio.Queue[asyncio.Future[None]] | None
    read_at = 0.0
    """When data came last, by time.monotonic()."""

    def __init__(self) -> None:
        from nats.errors import ProtocolError

        super().__init__()
        self._parse = self._ps.parse

        async def parsed(data: bytes = b"") -> None:
            try:
                if not data:  # the end, after which nats-py 2.10 reads on for ever if it was still connecting
                    raise ConnectionResetError(errno.ECONNRESET, "the server hung up")
                await self._read(data)
            except (OSError, ProtocolError):
                raise
            except Exception as error:  # nats-py would stop reading for good, and say so to nobody
                raise ProtocolError from error

        self._ps.parse = parsed

    @property
    def ssl_context(self) -> Any:
        """The TLS context of the settings."""
        # nats-py would have its own, with the system's authorities
        return self.settings.tls_context()

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        if initial_connection:
            wire.check_greeting(info)
            if not self.settings.websocket:
                # This runs before CONNECT, which holds the password: the last moment to refuse a plain connection
                info["tls_required"] = _chosen_tls(self.settings.tls, info)
        # Connect to no other servers of the cluster, and do not check their addresses
        await super()._process_info({**info, "connect_urls": []}, initial_connection)  # type: ignore[misc]

    async def _process_connect_init(self) -> None:
        from nats.errors import Error

        try:
            await super()._process_connect_init()  # type: ignore[misc]
        except (AttributeError, TypeError, LookupError) as error:
            # nats-py uses a greeting as an object of texts before this class can check it
            raise wire.BrokenGreeting("it is not an object") from error
        except ValueError as error:
            if self._server_info or isinstance(error, OSError):
                raise
            raise wire.BrokenGreeting("it has no end") from error
        except Error as error:
            if "json parse" not in str(error):
                raise
            raise wire.BrokenGreeting("it is not JSON") from error

    async def _process_pong(self) -> None:
        # nats-py ends the connection over an answer to a ping that came too late
        if self._pongs and self._pongs[0].done():
            self._pongs.pop(0)
            self._pings_outstanding = 0
        else:
            await super()._process_pong()  # type: ignore[misc]

    async def _close(self, status: int, do_cbs: bool = True) -> None:
        # nats-py calls no callback if it can't send its buffer over the broken connection, nor does nats-py 2.10 if its
        # reading task, which it cancels, found the end
        closed = self.is_closed
        try:
            with suppress(OSError, AttributeError, RuntimeError):  # asyncio's error depends on the version of Python
                await super()._close(status, do_cbs=False)  # type: ignore[misc]
        finally:
            if self._transport:
                self._transport.close()
            # A request that waits for room in the buffer would wait for ever: nats-py ends the task that makes room
            while self._flush_queue and not self._flush_queue.empty():
                flushed = self._flush_queue.get_nowait()
                if not flushed.done():
                    flushed.set_result(None)
            if do_cbs and not closed and self._closed_cb:
                await self._closed_cb()

    async def _read(self, data: bytes) -> None:
        """Deliver the messages in ``data``. nats-py parses all else, and messages of which a part is missing."""
        parser, self.read_at = self._ps, time.monotonic()
        if parser.state == _IN_PAYLOAD:
            missing = parser.needed + 2 - len(parser.buf)
            await self._parse(data[:missing])
            data = data[missing:]
        elif parser.buf:
            data = bytes(parser.buf) + data
            parser.buf.clear()
        place, total = 0, len(data)
        while (line := data.find(b"\r\n", place)) >= 0:
            words = data[place:line].split()
            headers = int(words.pop(-2)) if words and words[0] == b"HMSG" else 0
            if len(words) not in _WORDS or words[0] not in _MESSAGES or not words[-1].isdigit():
                break
            start = line + 2
            end = start + int(words[-1])
            if end + 2 > total:
                break
            place, body = end + 2, start + headers
            reply = words[3] if len(words) == _WORDS[-1] else b""
            self._deliver(int(words[2]), words[1], reply, data[body:end], data[start:body] if headers else b"")
        if place < total:
            await self._parse(data[place:])

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
        self._deliver(sid, subject, reply, data, headers)

    def _deliver(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
        # nats-py passes each message to a task by a queue, which is half of the time that reading many messages takes
        subscription = self._subs.get(sid)
        if subscription:
            pairs = _pairs_of(headers) if headers else {}
            # Servers store messages on subjects that are not UTF-8, and one of these must not end the connection
            names = subject.decode(errors="replace"), reply.decode(errors="replace")
            subscription._cb.take(wire.Message(names[0], data, pairs, names[1]))


def _pairs_of(headers: bytes) -> dict[str, str]:
    """Return headers by their names. The first line has the status, if there is one (ADR-4)."""
    first, *lines = headers.decode(errors="replace").split("\r\n")
    parts = [line.partition(":") for line in lines]
    pairs = {name.strip(): value.strip() for name, colon, value in parts if colon}
    status, _blank, description = first[len("NATS/1.0") :].strip().partition(" ")
    if status.isdigit():
        pairs[wire.STATUS] = status
        if description:
            pairs[wire.DESCRIPTION] = description
    return pairs


def _chosen_tls(choice: str, info: dict[str, Any]) -> bool:
    """Return True if this connection uses TLS, by the user's choice and the server's INFO."""
    offered = bool(info.get("tls_required") or info.get("tls_available"))
    if choice == connection.REQUIRED and not offered:
        raise wire.TlsNotOffered
    if choice == connection.OFF and info.get("tls_required"):
        raise wire.TlsNotWanted
    return offered and choice != connection.OFF


@contextmanager
def _without_unused_imports() -> Iterator[None]:
    """Reduce the time to import nats-py by two thirds, since each module waits for it.

    Three imports of nats-py are left out. aiohttp is needed by websockets alone, which import it later. The modules
    that read packages' metadata and e-mail are needed only to send nats-py's version to servers, which is now sent as
    0.0.0. nats-py's JetStream client is imported when it is used, which this collection never does.
    """
    hidden = {"importlib.metadata", "aiohttp"} - sys.modules.keys()
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    later = None if "nats" in sys.modules else sys.modules.setdefault("nats.js", _JetStreamClient("nats.js"))
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
        if later and "nats" in sys.modules:
            sys.modules["nats"].js = later  # type: ignore[attr-defined]
        elif later:
            del sys.modules["nats.js"]


def _import_for_websockets() -> None:
    """Import for nats-py what this connection, or an earlier one of the process, left out."""
    from nats.aio import transport

    if transport.aiohttp is None:
        try:
            import aiohttp
            import multidict
        except ImportError as error:
            raise _errors.LibraryMissing("aiohttp", "for the websocket URLs in servers", sys.executable) from error
        transport.aiohttp, transport.multidict = aiohttp, multidict


class _JetStreamClient(ModuleType):
    """Replaces ``nats.js`` until one of its names is used. importlib's LazyLoader would load it at once."""

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get("nats.js") is self:
            del sys.modules["nats.js"]
        return getattr(importlib.import_module("nats.js"), name)


def server_info(client: Any) -> dict[str, Any]:
    """Return the INFO that the server sent, which was checked, or an empty dict before it arrives."""
    info = client._server_info
    return info if isinstance(info, dict) else {}


def wants_credentials(client: Any) -> bool:
    """Return True if the client sends a password or a token."""
    return bool(client._auth_configured)


def subscriptions(client: Any) -> list[Any]:
    """Return the subscriptions of the client."""
    return list(client._subs.values())


def callback(take: Callable[[wire.Message], None]) -> Any:
    """Return the callback for a subscription of nats-py, which calls ``take`` with each message."""

    async def called(message: Any) -> None:
        """nats-py insists on a coroutine, which is never run."""

    called.take = take  # type: ignore[attr-defined]
    return called


async def send(client: Any, commands: Sequence[bytes]) -> None:
    """Send commands of the protocol. nats-py's own way takes several times as long for each."""
    begin = size = 0
    for end, command in enumerate(commands, start=1):
        size += len(command)
        if size > _BLOCK or end == len(commands):
            await client._send_command(b"".join(commands[begin:end]))
            begin, size = end, 0
    if client._flush_queue.empty():
        await client._flush_pending()


async def send_unsubscribe(client: Any, subscription: Any) -> None:
    """Ask the server to send no more. Unlike with ``unsubscribe()``, messages on their way are still delivered."""
    await client._send_unsubscribe(subscription._id)


def abort(client: Any) -> None:
    """Close the socket at once. nats-py would wait for ever if the connection was just starting TLS."""
    transport = client._transport
    for name in ("_io_writer", "_bare_io_writer"):
        writer = getattr(transport, name, None)
        if writer is not None:
            writer.transport.abort()
