# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Open and close one connection, to the first server that accepts it."""

from __future__ import annotations

import asyncio
import errno
import importlib
import ipaddress
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from .. import _errors
from .._options import connection
from . import nats_compat

if TYPE_CHECKING:
    from .settings import Settings

ErrorCallback = Callable[[Exception], Awaitable[None]]


def preload(settings: Settings) -> None:
    """Import all that a connection with these settings needs. Raises LibraryMissing.

    Call it before a program forks while another thread connects. A child process that is forked during an import hangs
    when it imports the same module.
    """
    nats_compat.client_class(settings.websocket)
    # Modules for looking up a host's name, and for reporting errors
    for name in ("concurrent.futures.thread", "encodings.idna"):
        importlib.import_module(name)
    for name in ("outage", "errors"):
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
    """Return a connected nats-py client. Tries the servers in order, from index ``first`` modulo their number.

    ``warn`` is called with a sentence if a password or token was sent in clear. Raises the reason if no server accepts
    the connection.
    """
    problems: list[Exception] = []
    begin = first % len(settings.servers)
    for server in (*settings.servers[begin:], *settings.servers[:begin]):
        client = nats_compat.client_class(settings.websocket)()
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
            from .errors import explain

            problems.append(explain(settings, server, error, nats_compat.server_info(client)))
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
    connected, others = False, asyncio.all_tasks()

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
        nats_compat.abort(client)
        await end_tasks(asyncio.all_tasks() - others)
        raise
    client.tasks = asyncio.all_tasks() - others
    connected = True


def _in_clear(client: Any, settings: Settings, server: str) -> bool:
    """Return True if a password or token went to another host without TLS, and the user did not allow that."""
    secret = settings.password or settings.token
    if not secret or settings.tls == connection.OFF or not nats_compat.wants_credentials(client):
        return False
    parts = urlsplit(server)
    encrypted = parts.scheme == "wss" or (parts.scheme != "ws" and nats_compat.server_info(client).get("tls_required"))
    return not encrypted and not _is_loopback(parts.hostname or "")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


async def close(client: Any) -> None:
    """Close a connection in good order, or by force after a second. All that mattered was acknowledged before.

    It also ends the tasks that nats-py leaves running, since asyncio warns of them at the end of the program.
    """
    closing = asyncio.create_task(client.close())
    _closed, late = await asyncio.wait({closing}, timeout=1.0)
    if late:
        nats_compat.abort(client)
    await end_tasks({*client.tasks, closing})


async def end_tasks(tasks: set[asyncio.Task[Any]]) -> None:
    """Cancel tasks, and wait until they have ended, but not for long: they may wait for each other."""
    rest = {task for task in tasks if not task.done()} - {asyncio.current_task()}
    # Before Python 3.12, wait_for of a task may ignore that it is cancelled
    for _try in range(2):
        for task in rest:
            task.cancel()
        if rest:
            _ended, rest = await asyncio.wait(rest, timeout=0.1)
    for task in tasks:
        if task.done() and not task.cancelled():
            task.exception()  # otherwise asyncio complains about it


def _credentials(settings: Settings) -> dict[str, Any]:
    if settings.jwt:
        from .._choria.tokens import renewed, sign_nonce

        text, seed = renewed(settings.jwt).text, settings.seed
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
