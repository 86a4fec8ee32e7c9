# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The only place that touches nats-py: one connection to the first server that takes us."""

from __future__ import annotations

import asyncio
import errno
import importlib
import ipaddress
import logging
import os
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from .. import _errors
from .._options import connection
from . import wire

if TYPE_CHECKING:
    from .settings import Settings

# How headers begin that have no status before them
_PLAIN_HEADERS = b"NATS/1.0\r\n"

ErrorCallback = Callable[[Exception], Awaitable[None]]


@cache
def _client_class(websocket: bool) -> Any:
    """nats-py's client, made to insist on TLS where the user asked for it."""
    try:
        with _only_what_is_needed():
            from nats.aio.client import Client
            from nats.errors import Error, ProtocolError
    except ImportError as error:
        raise _errors.LibraryMissing("nats-py", "to talk to NATS servers and Choria Brokers", sys.executable) from error
    if websocket:
        _add_what_websockets_need()

    class TlsClient(Client):
        settings: Settings

        def __init__(self) -> None:
            super().__init__()
            parse = self._ps.parse

            async def parsed(data: bytes = b"") -> None:
                try:
                    await parse(data)
                except (OSError, ProtocolError):
                    raise
                except Exception as error:  # nats-py would stop reading for good, and say so to nobody
                    raise ProtocolError from error

            self._ps.parse = parsed  # type: ignore[method-assign]

        @property
        def ssl_context(self) -> Any:
            # nats-py would have its own, with the system's authorities
            return self.settings.tls_context()

        async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
            if initial_connection:
                wire.check_greeting(info)
                if not self.settings.websocket:
                    # This runs before CONNECT, which holds the password: the last moment to refuse a plain connection
                    info["tls_required"] = _chosen_tls(self.settings.tls, info)
            # Other servers of the cluster are not connected to, and what is said of them not looked at
            await super()._process_info({**info, "connect_urls": []}, initial_connection)

        async def _process_connect_init(self) -> None:
            try:
                await super()._process_connect_init()
            except (AttributeError, TypeError, LookupError) as error:
                # nats-py takes a greeting for an object of texts before we can look at it
                raise wire.BrokenGreeting("it is no object") from error
            except ValueError as error:
                if self._server_info or isinstance(error, OSError):
                    raise
                raise wire.BrokenGreeting("it has no end") from error
            except Error as error:
                if "json parse" not in str(error):
                    raise
                raise wire.BrokenGreeting("it is no JSON") from error

        async def _process_pong(self) -> None:
            # nats-py ends the connection over an answer to a ping that came too late
            if self._pongs and self._pongs[0].done():
                self._pongs.pop(0)
                self._pings_outstanding = 0
            else:
                await super()._process_pong()

        async def _close(self, status: int, do_cbs: bool = True) -> None:
            try:
                await super()._close(status, do_cbs)
            except OSError:
                # nats-py first sends what still waits to be, and tells nobody of the end where it can't
                if self._transport:
                    self._transport.close()
                if do_cbs and self._closed_cb:
                    await self._closed_cb()

        async def _process_headers(self, headers: bytes) -> dict[str, str] | None:
            # nats-py looks at each character of each name, which is half of the time that reading many messages takes
            if headers and headers.startswith(_PLAIN_HEADERS):
                lines = headers[len(_PLAIN_HEADERS) :].decode(errors="replace").split("\r\n")
                pairs = (line.partition(":") for line in lines)
                return {name.strip(): value.strip() for name, colon, value in pairs if colon}
            return await super()._process_headers(headers)

    # Both would show tracebacks to the user. What nats-py logs is told by our errors, where it matters.
    logging.getLogger("nats").addHandler(logging.NullHandler())
    # asyncio logs this once for each TLS connection that a server closes; it means nothing (bpo-39951).
    logging.getLogger("asyncio").addFilter(lambda record: "eof_received" not in record.getMessage())
    return TlsClient


def _chosen_tls(wanted: str, info: dict[str, Any]) -> bool:
    """Whether this connection goes on with TLS, by what the user wants and what the server says of itself."""
    offered = bool(info.get("tls_required") or info.get("tls_available"))
    if wanted == connection.REQUIRED and not offered:
        raise wire.TlsNotOffered
    if wanted == connection.OFF and info.get("tls_required"):
        raise wire.TlsNotWanted
    return offered and wanted != connection.OFF


@contextmanager
def _only_what_is_needed() -> Iterator[None]:
    """Takes two thirds off the time that importing nats-py needs, for which each module's run has to wait.

    It imports aiohttp wherever that is installed, and only websockets need it, which add it. It imports what reads
    packages' metadata and e-mail to tell servers its own version, which is then told as 0.0.0. It imports its own
    JetStream client, of which it uses the names of a few headers: these are imported when the first message with
    headers comes.
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


def _add_what_websockets_need() -> None:
    """Gives nats-py what it was imported without, by this connection or an earlier one of the process."""
    from nats.aio import transport

    if transport.aiohttp is None:
        try:
            import aiohttp
            import multidict
        except ImportError as error:
            raise _errors.LibraryMissing("aiohttp", "for the websocket URLs in servers", sys.executable) from error
        transport.aiohttp, transport.multidict = aiohttp, multidict


class _JetStreamClient(ModuleType):
    """Stands for ``nats.js`` until one of its names is used. importlib's LazyLoader loads at the import statement.

    ``nats.js.api``, which has the names of the headers, is imported without the rest.
    """

    def __getattr__(self, name: str) -> Any:
        if name == "__path__":
            return [os.path.join(folder, "js") for folder in sys.modules["nats"].__path__]
        if name == "api":
            return importlib.import_module("nats.js.api")
        if sys.modules.get("nats.js") is self:
            del sys.modules["nats.js"]
        return getattr(importlib.import_module("nats.js"), name)


def preload(settings: Settings) -> None:
    """Imports all that a connection with these settings will need. Raises LibraryMissing.

    For a program that forks while one of its threads connects: a child that is made in the middle of an import waits
    for ever when it imports the same.
    """
    _client_class(settings.websocket)
    # What looking up a host's name needs, reading a message with headers, and telling what went wrong
    for name in ("concurrent.futures.thread", "encodings.idna", "nats.js.api"):
        importlib.import_module(name)
    for name in ("outage", "permissions", "reasons", "refusals", "heartbeat"):
        importlib.import_module(f".{name}", __package__)
    credentials = _credentials(settings)
    if "signature_cb" in credentials:
        credentials["signature_cb"]("")


async def connect(
    settings: Settings,
    first: int,
    on_error: ErrorCallback,
    on_closed: Callable[[], Awaitable[None]],
    warn: Callable[[str], None] | None = None,
) -> Any:
    """A connected nats-py client. Tries the servers in order, from ``first`` on; raises the reason when none takes us.

    ``first`` counts beyond the last server, to begin again with the first one.
    ``warn`` is called with a sentence where a password or token went out in clear.
    """
    problems: list[Exception] = []
    begin = first % len(settings.servers)
    for server in (*settings.servers[begin:], *settings.servers[:begin]):
        client = _client_class(settings.websocket)()
        try:
            await _connect_one(client, settings, server, on_error, on_closed)
            if warn and _in_clear(client, settings, server):
                warn(
                    f"servers: a password or token went to {server} without TLS, where others may read it: use tls:// "
                    "or tls: required, or say by tls: off that it is meant."
                )
            return client
        except (_errors.OptionError, _errors.LibraryMissing):
            raise
        except Exception as error:  # nats-py passes on whatever sockets, TLS and parsers raise: each is explained
            from .refusals import explain

            problems.append(explain(settings, server, error, client._server_info))
    if len(problems) == 1:
        raise problems[0]
    refused = [problem for problem in problems if isinstance(problem, _errors.PermissionMissing)]
    if refused:
        raise refused[0]
    raise _errors.Unreachable(
        "None of the servers could be used: " + " ".join(str(problem) for problem in problems),
        servers=list(settings.servers),
    )


async def _connect_one(
    client: Any, settings: Settings, server: str, on_error: ErrorCallback, on_closed: Callable[[], Awaitable[None]]
) -> None:
    client.settings = settings
    connected = False
    others = asyncio.all_tasks()

    async def during_connect(error: Exception) -> None:
        if connected:
            await on_error(error)
        else:
            raise error  # nats-py would try the same server again and again

    try:
        await asyncio.wait_for(
            client.connect(
                servers=[server],
                name="choria.streams ansible",
                error_cb=during_connect,
                closed_cb=on_closed,
                allow_reconnect=False,
                max_reconnect_attempts=1,
                reconnect_time_wait=0,
                connect_timeout=settings.connect_timeout,
                tls_handshake_first=settings.tls_first,
                inbox_prefix=settings.inbox_prefix,
                **_credentials(settings),
            ),
            settings.connect_timeout,
        )
        if not client.is_connected:
            # nats-py takes the end of the connection, where an answer to our credentials is due, for one
            raise ConnectionResetError(errno.ECONNRESET, "the server hung up")
    except BaseException:
        _abort(client)
        await _end_tasks(asyncio.all_tasks() - others)
        raise
    client.tasks = asyncio.all_tasks() - others
    connected = True


def _in_clear(client: Any, settings: Settings, server: str) -> bool:
    """Whether a password or token was sent to another host without TLS, and the user did not say that it may be."""
    secret = settings.password or settings.token
    if not secret or settings.tls == connection.OFF or not client._auth_configured:
        return False
    parts = urlsplit(server)
    encrypted = parts.scheme == "wss" or (parts.scheme != "ws" and client._server_info.get("tls_required"))
    return not encrypted and not _is_loopback(parts.hostname or "")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


async def close(client: Any) -> None:
    """Closes a connection in good order, or after a second by force. All that mattered was acknowledged before.

    What nats-py leaves running ends too, or asyncio would complain of it at the end of the program.
    """
    try:
        await asyncio.wait_for(client.close(), 1.0)
    except asyncio.TimeoutError:
        _abort(client)
    await _end_tasks(client.tasks)


async def _end_tasks(tasks: set[asyncio.Task[Any]]) -> None:
    rest = {task for task in tasks if not task.done()} - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)


def _abort(client: Any) -> None:
    """Drops the socket. nats-py can't: it waits for the end of a connection that was on its way to TLS for ever."""
    transport = client._transport
    for name in ("_io_writer", "_bare_io_writer"):
        writer = getattr(transport, name, None)
        if writer is not None:
            writer.transport.abort()


def _credentials(settings: Settings) -> dict[str, Any]:
    if settings.jwt:
        from .._choria.tokens import sign_nonce

        text, seed = settings.jwt.text, settings.seed
        return {
            "token": text,
            "user_jwt_cb": lambda: bytearray(text.encode()),
            "signature_cb": lambda nonce: sign_nonce(seed, nonce),
        }
    if settings.creds or settings.nkey_seed:
        try:
            import nkeys  # noqa: F401 - nats-py needs it
        except ImportError as error:
            option = "creds" if settings.creds else "nkey_seed"
            raise _errors.LibraryMissing("nkeys", f"to sign with {option}", sys.executable) from error
    given = {
        "user": settings.user,
        "password": settings.password,
        "token": settings.token,
        "user_credentials": settings.creds,
        "nkeys_seed_str": settings.nkey_seed,
    }
    return {name: value for name, value in given.items() if value}
