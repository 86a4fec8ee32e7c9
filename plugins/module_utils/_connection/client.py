# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The only place that touches nats-py: one connection to the first server that takes us."""

from __future__ import annotations

import asyncio
import errno
import importlib
import logging
import socket
import ssl
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

from .._errors import LibraryMissing, OptionError, PermissionMissing, Unreachable

if TYPE_CHECKING:
    from .settings import Settings

# How headers begin that have no status before them
_PLAIN_HEADERS = b"NATS/1.0\r\n"

ErrorCallback = Callable[[Exception], Awaitable[None]]


class TlsNotOffered(Exception):
    """The user wants TLS and the server has none: nothing secret has been sent yet."""


@cache
def _client_class(websocket: bool) -> Any:
    """nats-py's client, made to insist on TLS where the user asked for it."""
    try:
        with _only_what_is_needed(websocket):
            from nats.aio.client import Client
    except ImportError as error:
        raise LibraryMissing("nats-py", "to talk to NATS servers and Choria Brokers", sys.executable) from error

    class TlsClient(Client):
        insist_on_tls = False

        async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
            # This runs before CONNECT, which holds the password: the last moment to refuse a plain connection.
            if initial_connection and self.insist_on_tls and not info.get("tls_required"):
                if not info.get("tls_available"):
                    raise TlsNotOffered
                info["tls_required"] = True
            await super()._process_info(info, initial_connection)

        async def _process_pong(self) -> None:
            # nats-py ends the connection over an answer to a ping that came too late
            if self._pongs and self._pongs[0].done():
                self._pongs.pop(0)
                self._pings_outstanding = 0
            else:
                await super()._process_pong()

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


@contextmanager
def _only_what_is_needed(websocket: bool) -> Iterator[None]:
    """Halves the time that importing nats-py takes, which each module's run has to wait for.

    It imports aiohttp wherever that is installed, and only websockets need it. It imports its own JetStream client, of
    which it uses the names of a few headers: that is imported when the first message with headers comes.
    """
    hide = not websocket and "aiohttp" not in sys.modules
    if hide:
        sys.modules["aiohttp"] = None  # type: ignore[assignment]
    later = None if "nats" in sys.modules else sys.modules.setdefault("nats.js", _JetStreamClient("nats.js"))
    try:
        yield
    finally:
        if hide:
            del sys.modules["aiohttp"]
        if later and "nats" in sys.modules:
            sys.modules["nats"].js = later  # type: ignore[attr-defined]
        elif later:
            del sys.modules["nats.js"]


class _JetStreamClient(ModuleType):
    """Stands for ``nats.js`` until one of its names is used. importlib's LazyLoader loads at the import statement."""

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get("nats.js") is self:
            del sys.modules["nats.js"]
        return getattr(importlib.import_module("nats.js"), name)


def preload(settings: Settings) -> None:
    """Imports all that a connection with these settings will need. Raises LibraryMissing.

    For a program that forks while one of its threads connects: a child that is made in the middle of an import waits
    for ever when it imports the same.
    """
    _client_class(settings.websocket)
    # What looking up a host's name needs, and reading a message with headers
    for name in ("concurrent.futures.thread", "encodings.idna", "nats.js.api"):
        importlib.import_module(name)
    credentials = _credentials(settings)
    if "signature_cb" in credentials:
        credentials["signature_cb"]("")


async def connect(settings: Settings, on_error: ErrorCallback, on_closed: Callable[[], Awaitable[None]]) -> Any:
    """A connected nats-py client. Tries the servers in order; raises the reason when none takes us."""
    problems: list[Exception] = []
    for server in settings.servers:
        client = _client_class(settings.websocket)()
        try:
            await _connect_one(client, settings, server, on_error, on_closed)
            return client
        except (OptionError, LibraryMissing):
            raise
        except Exception as error:  # nats-py passes on whatever sockets, TLS and parsers raise: each is explained
            problems.append(_explain(settings, server, error, client._server_info))
    if len(problems) == 1:
        raise problems[0]
    raise next((problem for problem in problems if isinstance(problem, PermissionMissing)), None) or Unreachable(
        "None of the servers could be used: " + " ".join(str(problem) for problem in problems),
        servers=list(settings.servers),
    )


async def _connect_one(
    client: Any, settings: Settings, server: str, on_error: ErrorCallback, on_closed: Callable[[], Awaitable[None]]
) -> None:
    client.insist_on_tls = settings.wants_tls and not settings.websocket
    connected = False

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
                tls=settings.tls_context() if settings.wants_tls or not settings.validate_certs else None,
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
        raise
    connected = True


async def close(client: Any) -> None:
    """Closes a connection in good order, or after a second by force. All that mattered was acknowledged before."""
    try:
        await asyncio.wait_for(client.close(), 1.0)
    except asyncio.TimeoutError:
        _abort(client)


def _abort(client: Any) -> None:
    """Drops the socket. nats-py can't: it waits for the end of a connection that was on its way to TLS for ever."""
    transport = client._transport
    for name in ("_io_writer", "_bare_io_writer"):
        writer = getattr(transport, name, None)
        if writer is not None:
            writer.transport.abort()


def _credentials(settings: Settings) -> dict[str, Any]:
    if settings.jwt:
        from .tokens import sign_nonce

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
            raise LibraryMissing("nkeys", f"to sign with {option}", sys.executable) from error
    given = {
        "user": settings.user,
        "password": settings.password,
        "token": settings.token,
        "user_credentials": settings.creds,
        "nkeys_seed_str": settings.nkey_seed,
    }
    return {name: value for name, value in given.items() if value}


def _explain(settings: Settings, server: str, error: Exception, info: dict[str, Any]) -> Exception:
    """Our error for what came out of nats-py while connecting to one server. ``info`` is what that said of itself."""
    text = str(error).lower()
    if isinstance(error, TlsNotOffered):
        return Unreachable(
            f"{server} offers no TLS, and the options ask for it, so nothing was sent: "
            "check servers, or leave out ca_path, client_cert, tls_first and tls:// for a server without TLS.",
            code="tls_not_offered",
        )
    if isinstance(error, ssl.SSLCertVerificationError):
        return _explain_certificate(settings, server, error)
    if "authorization violation" in text or "authentication" in text:
        return PermissionMissing(
            f"{server} refused the credentials ({_credential_names(settings)}).", code="authentication"
        )
    if (isinstance(error, ValueError) and (settings.creds or settings.nkey_seed)) or "nkeys" in type(error).__module__:
        option = "creds" if settings.creds else "nkey_seed"
        return OptionError(option, "does not hold a valid user JWT and seed, or seed: give what 'nsc' or 'nk' made.")
    # With TLS 1.3 a server that wants another certificate of ours hangs up when all seems well
    if info.get("tls_verify") and not isinstance(error, (ssl.SSLError, asyncio.TimeoutError)):
        return _client_certificate(settings, server)
    # As a Choria Broker does, which does not say that it verifies
    if settings.client_cert and info.get("tls_required") and isinstance(error, ConnectionError):
        return _client_certificate(settings, server)
    if isinstance(error, ssl.SSLError) or "certificate required" in text or "certificate_required" in text:
        return _explain_tls(settings, server, error)
    if isinstance(error, ImportError):
        return LibraryMissing("aiohttp", "for the websocket URLs in servers", sys.executable)
    return Unreachable(f"{server} can't be reached: {_reason(settings, error)}.", server=server)


def _credential_names(settings: Settings) -> str:
    if settings.jwt:
        return f"check that the seed belongs to the token of {settings.jwt.caller}, and that its issuer is known there"
    used = next((name for name in ("user", "token", "creds", "nkey_seed") if getattr(settings, name)), "")
    if used:
        return "check user and password" if used == "user" else f"check {used}"
    others = "user and password, token, creds, nkey_seed"
    return (
        f"check client_cert, or set {others}"
        if settings.client_cert
        else f"none were given: set {others} or client_cert"
    )


def _explain_certificate(settings: Settings, server: str, error: ssl.SSLCertVerificationError) -> Exception:
    reason = error.verify_message or str(error)
    if "mismatch" in reason.lower() or "doesn't match" in reason.lower() or "not valid for" in reason.lower():
        remedy = "name the server in servers as its certificate does"
    elif "expired" in reason.lower() or "not yet valid" in reason.lower():
        remedy = "renew it on the server, or set the clock of this host"
    elif settings.ca_path:
        remedy = f"check that ca_path {settings.ca_path} is the CA of this server"
    else:
        remedy = "set ca_path to the CA of this server"
    return Unreachable(
        f"The certificate of {server} is refused: {reason.rstrip('.')}: {remedy}.", code="tls_certificate"
    )


def _explain_tls(settings: Settings, server: str, error: Exception) -> Exception:
    reason = getattr(error, "reason", None) or str(error)
    if "alert" in reason.lower() or "certificate" in reason.lower():
        return _client_certificate(settings, server)
    remedy = "leave out tls_first, or check the port" if settings.tls_first else "check that the port speaks TLS"
    return Unreachable(f"TLS with {server} failed ({reason}): {remedy}.", code="tls")


def _client_certificate(settings: Settings, server: str) -> PermissionMissing:
    path = settings.client_cert
    if not path:
        problem = "wants a client certificate: set client_cert and client_key"
    elif _has_expired(path):
        problem = f"refused our TLS certificate {path}, which has expired: renew it, or give another client_cert"
    else:
        problem = f"refused our TLS certificate {path}: give a valid client_cert of a CA that it trusts"
    return PermissionMissing(f"{server} {problem}.", code="authentication")


def _has_expired(certificate: str) -> bool:
    """Whether a certificate's time is over, as far as the standard library can tell."""
    decode: Any = getattr(getattr(ssl, "_ssl", None), "_test_decode_cert", None)
    return bool(decode) and ssl.cert_time_to_seconds(decode(certificate)["notAfter"]) < time.time()


def _reason(settings: Settings, error: Exception) -> str:
    if isinstance(error, asyncio.TimeoutError):
        limit = f"connect_timeout ({settings.connect_timeout:g}s)"
        return f"no answer within {limit}, check host, port, firewall and tls_first"
    if isinstance(error, ConnectionRefusedError) or "connect call failed" in str(error).lower():
        return "the connection was refused, check that the server runs and listens there (option servers)"
    if isinstance(error, socket.gaierror):
        return "the host name is not known, check servers"
    if "empty response" in str(error):
        return "what listens there does not speak NATS, check the port in servers, and tls_first"
    if isinstance(error, (ConnectionResetError, BrokenPipeError)):
        return "the server hung up, check servers"  # in whichever way the network tells it
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}, check servers"
    return f"{str(error).removeprefix('nats: ') or type(error).__name__}, check servers"
