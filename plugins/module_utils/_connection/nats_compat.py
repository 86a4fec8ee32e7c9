# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All use of private parts of nats-py, and the import of only those of its modules that are needed.

tests/unit/test_compat.py fails if a release of nats-py changes one of these parts.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
from contextlib import contextmanager
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

from .. import _errors
from .._options import connection
from . import wire

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator

    from .settings import Settings

# How headers begin that have no status before them
_PLAIN_HEADERS = b"NATS/1.0\r\n"


@cache
def client_class(websocket: bool) -> Any:
    """Return nats-py's client, made to insist on TLS where the user asked for it. Raises LibraryMissing."""
    try:
        with _only_what_is_needed():
            from nats.aio.client import Client
    except ImportError as error:
        raise _errors.LibraryMissing("nats-py", "to talk to NATS servers and Choria Brokers", sys.executable) from error
    if websocket:
        _add_what_websockets_need()
    # Both would show tracebacks to the user. What nats-py logs is told by our errors, where it matters.
    logging.getLogger("nats").addHandler(logging.NullHandler())
    # asyncio logs this once for each TLS connection that a server closes; it means nothing (bpo-39951).
    logging.getLogger("asyncio").addFilter(lambda record: "eof_received" not in record.getMessage())
    return type("TlsClient", (_Changed, Client), {})


class _Changed:
    """The methods that replace those of nats-py's client."""

    settings: Settings
    _ps: Any
    _pongs: list[Any]
    _pings_outstanding: int
    _server_info: Any
    _transport: Any
    _closed_cb: Any
    _flush_queue: asyncio.Queue[asyncio.Future[None]] | None

    def __init__(self) -> None:
        from nats.errors import ProtocolError

        super().__init__()
        parse = self._ps.parse

        async def parsed(data: bytes = b"") -> None:
            try:
                await parse(data)
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
        # Other servers of the cluster are not connected to, and what is said of them not looked at
        await super()._process_info({**info, "connect_urls": []}, initial_connection)  # type: ignore[misc]

    async def _process_connect_init(self) -> None:
        from nats.errors import Error

        try:
            await super()._process_connect_init()  # type: ignore[misc]
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
            await super()._process_pong()  # type: ignore[misc]

    async def _close(self, status: int, do_cbs: bool = True) -> None:
        try:
            await super()._close(status, do_cbs)  # type: ignore[misc]
        except OSError:
            # nats-py first sends what still waits to be, and tells nobody of the end where it can't
            if self._transport:
                self._transport.close()
            if do_cbs and self._closed_cb:
                await self._closed_cb()
        finally:
            # A request that waits for room in the buffer would wait for ever: nats-py ends the task that makes room
            while self._flush_queue and not self._flush_queue.empty():
                flushed = self._flush_queue.get_nowait()
                if not flushed.done():
                    flushed.set_result(None)

    async def _process_headers(self, headers: bytes) -> dict[str, str] | None:
        # nats-py looks at each character of each name, which is half of the time that reading many messages takes
        if headers and headers.startswith(_PLAIN_HEADERS):
            lines = headers[len(_PLAIN_HEADERS) :].decode(errors="replace").split("\r\n")
            pairs = (line.partition(":") for line in lines)
            return {name.strip(): value.strip() for name, colon, value in pairs if colon}
        found: dict[str, str] | None = await super()._process_headers(headers)  # type: ignore[misc]
        return found


def _chosen_tls(wanted: str, info: dict[str, Any]) -> bool:
    """Return True if this connection uses TLS, by the user's choice and the server's INFO."""
    offered = bool(info.get("tls_required") or info.get("tls_available"))
    if wanted == connection.REQUIRED and not offered:
        raise wire.TlsNotOffered
    if wanted == connection.OFF and info.get("tls_required"):
        raise wire.TlsNotWanted
    return offered and wanted != connection.OFF


@contextmanager
def _only_what_is_needed() -> Iterator[None]:
    """Reduce the time to import nats-py by two thirds, since each module waits for it.

    Three imports of nats-py are left out. aiohttp is needed by websockets alone, which import it later. The modules
    that read packages' metadata and e-mail are needed only to send nats-py's version to servers, which is now sent as
    0.0.0. nats-py's JetStream client is needed for the names of a few headers. They are imported with the first message
    that has headers.
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
    """Replaces ``nats.js`` until one of its names is used. importlib's LazyLoader would load it at once.

    ``nats.js.api``, which has the names of the headers, is imported alone.
    """

    def __getattr__(self, name: str) -> Any:
        if name == "__path__":
            return [os.path.join(folder, "js") for folder in sys.modules["nats"].__path__]
        if name == "api":
            return importlib.import_module("nats.js.api")
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


async def send_unsubscribe(client: Any, subscription: Any) -> None:
    """Ask the server to send no more. Unlike with ``unsubscribe()``, messages on their way are still delivered."""
    await client._send_unsubscribe(subscription._id)


async def handed_on(subscription: Any) -> None:
    """Wait until all messages that arrived are delivered."""
    await subscription._pending_queue.join()


def abort(client: Any) -> None:
    """Close the socket at once. nats-py would wait for ever if the connection was just starting TLS."""
    transport = client._transport
    for name in ("_io_writer", "_bare_io_writer"):
        writer = getattr(transport, name, None)
        if writer is not None:
            writer.transport.abort()
