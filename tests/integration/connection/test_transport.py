# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""TLS and websockets with real servers: trusted authorities, data sent without TLS, and the texts of refusals."""

from __future__ import annotations

import importlib
import json
import socket
import ssl
import threading
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.choria.streams.plugins.module_utils._api import lists
from ansible_collections.choria.streams.plugins.module_utils._connection import nats_compat
from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from ansible_collections.choria.streams.plugins.module_utils._errors import StreamsError
from support.connect import settings
from support.ports import free_port
from support.server import NatsServer
from support.tls import Authority, Pair

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECRET = "s3cret-of-the-tests"


class World:
    """Authorities, and servers with TLS, websockets or neither."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder, self._stack = folder, stack
        self.ca, self.other_ca = Authority(folder), Authority(folder, "other")
        self.user = {"authorization": {"user": "ann", "password": SECRET}}
        pair = self.ca.issue("server")
        self.plain = self._server(self.user)
        self.tls = self._server({**self.user, **pair.server_config()})
        self.both = self._server({**self.user, **pair.server_config(), "allow_non_tls": True})
        self.ws, self.wss = free_port(), free_port()
        self._server({**self.user, "websocket": {"port": self.ws, "no_tls": True}})
        self._server({**self.user, "websocket": self._wss(self.wss, pair)})

    def _server(self, config: dict[str, Any]) -> NatsServer:
        return self._stack.enter_context(NatsServer(config))

    def _wss(self, port: int, pair: Pair) -> dict[str, Any]:
        return {"port": port, "host": "127.0.0.1", **pair.server_config()}

    def wss_with(self, pair: Pair) -> int:
        port = free_port()
        self._server({**self.user, "websocket": self._wss(port, pair)})
        return port


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with ExitStack() as stack:
        yield World(tmp_path_factory.mktemp("world"), stack)


def connect(servers: str, **given: Any) -> tuple[list[str], bool]:
    """Connect and list streams. Return the warnings, and whether the connection is encrypted."""
    warnings: list[str] = []
    chosen = {name: value for name, value in given.items() if value is not None}
    made = settings(servers=servers, user="ann", password=SECRET, **{"connect_timeout": "5s", **chosen})
    with Session(made, warn=warnings.append) as session:
        assert lists.stream_names(session) == []
        session.connect()
        writer = getattr(session._client._transport, "_io_writer", None)
        encrypted = servers.startswith("wss") or bool(writer and writer.get_extra_info("ssl_object"))
    assert SECRET not in repr(warnings)
    return [*made.warnings, *warnings], encrypted


def refusal(servers: str, **given: Any) -> StreamsError:
    with pytest.raises(StreamsError) as caught:
        connect(servers, **given)
    assert SECRET not in repr(caught.value) + repr(caught.value.failure)
    return caught.value


def test_ca_path_is_the_only_authority(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's authorities, from SSL_CERT_FILE, count only without it."""
    monkeypatch.setenv("SSL_CERT_FILE", str(world.ca.path))
    monkeypatch.setenv("SSL_CERT_DIR", str(world.folder / "none"))
    assert connect(world.tls.url) == ([], True)
    assert connect(world.tls.url, ca_path=str(world.ca.path)) == ([], True)
    error = refusal(world.tls.url, ca_path=str(world.other_ca.path))
    assert error.failure["code"] == "tls_certificate"
    assert f"check that ca_path {world.other_ca.path} is the CA of this server" in error.message


def test_the_systems_authorities_are_loaded_when_tls_needs_them(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading them takes 30 ms, so neither the check of the options nor a connection without TLS does it."""
    loaded: list[int] = []
    load = ssl.SSLContext.load_default_certs

    def counted(context: ssl.SSLContext) -> None:
        loaded.append(1)
        load(context)

    monkeypatch.setattr(ssl.SSLContext, "load_default_certs", counted)
    monkeypatch.setenv("SSL_CERT_FILE", str(world.ca.path))
    connect(world.plain.url)
    connect(world.tls.url, ca_path=str(world.ca.path))
    connect(world.tls.url, validate_certs=False)
    assert loaded == []
    connect(world.tls.url)
    assert loaded == [1]


@pytest.mark.parametrize(
    ("server", "tls", "encrypted"),
    [
        ("plain", "off", False),
        ("plain", "preferred", False),
        ("plain", None, False),
        ("both", "off", False),
        ("both", "preferred", True),
        ("both", None, True),
        ("both", "required", True),
        ("tls", "preferred", True),
        ("tls", None, True),
        ("tls", "required", True),
    ],
)
def test_tls_is_used_as_wanted(
    world: World, monkeypatch: pytest.MonkeyPatch, server: str, tls: str | None, encrypted: bool
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(world.ca.path))
    assert connect(getattr(world, server).url, tls=tls) == ([], encrypted)


def test_tls_that_is_not_to_be_had(world: World) -> None:
    missing = refusal(world.plain.url, tls="required")
    assert missing.message == (
        f"{world.plain.url} offers no TLS, and the options ask for it, so nothing was sent: check servers, or set "
        "tls: off for a server without TLS."
    )
    unwanted = refusal(world.tls.url, tls="off")
    assert unwanted.message == (
        f"{world.tls.url} takes no connection without TLS, and tls is off, so nothing was sent: leave out tls: off."
    )
    assert [missing.failure["code"], unwanted.failure["code"]] == ["tls_not_offered", "tls_required"]


@pytest.fixture
def far_away(monkeypatch: pytest.MonkeyPatch) -> str:
    """A name of this host outside of the loopback, for tests of connections over the network."""
    resolve = socket.getaddrinfo

    def resolved(host: Any, *rest: Any, **more: Any) -> Any:
        return resolve("127.0.0.1" if host == "broker.example.net" else host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    return "broker.example.net"


def test_a_password_in_clear_is_warned_of(world: World, far_away: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(world.ca.path))
    url = f"nats://{far_away}:{world.plain.port}"
    sentence = (
        f"servers: a password or token went to {url} without TLS, where others may read it: use tls:// or "
        "tls: required, or say by tls: off that it is meant."
    )
    assert connect(url) == ([sentence], False)
    assert connect(url, tls="preferred") == ([sentence], False)
    assert connect(url, tls="off") == ([], False)
    assert connect(f"ws://{far_away}:{world.ws}")[0] == [sentence.replace(url, f"ws://{far_away}:{world.ws}")]
    assert connect(f"nats://localhost:{world.plain.port}") == ([], False)
    # An encrypted connection is used, with any certificate
    warnings, encrypted = connect(f"nats://{far_away}:{world.tls.port}", validate_certs=False)
    assert encrypted
    assert warnings == [
        "validate_certs: false means that nobody knows which server gets the credentials and the data: give ca_path, "
        "the CA of the server, instead."
    ]


@contextmanager
def answering(greeting: bytes, context: ssl.SSLContext | None = None) -> Iterator[str]:
    """Yield the URL of a server that sends a greeting, and may start TLS with its own context."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    connection, _peer = listening.accept()
                except OSError:
                    return
                with connection:
                    try:
                        connection.sendall(greeting)
                        if context:
                            context.wrap_socket(connection, server_side=True).close()
                        else:
                            connection.recv(4096)
                    except OSError:
                        pass

        threading.Thread(target=serve, daemon=True).start()
        yield f"nats://127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)


def test_a_man_in_the_middle_who_strips_tls(world: World) -> None:
    greeting = {"version": "2.12.0", "max_payload": 1 << 20, "headers": True, "auth_required": True}
    with answering(f"INFO {json.dumps(greeting)}\r\n".encode()) as url:
        for given in ({"tls": "required"}, {"ca_path": str(world.ca.path)}):
            assert refusal(url, **given).failure["code"] == "tls_not_offered"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_a_server_with_old_tls_alone(world: World, version: ssl.TLSVersion) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    context.load_cert_chain(world.folder / "server.crt", world.folder / "server.key")
    greeting = b'INFO {"version": "2.12.0", "max_payload": 1048576, "headers": true, "tls_required": true}\r\n'
    with answering(greeting, context) as url:
        error = refusal(url, ca_path=str(world.ca.path))
    assert error.failure["code"] == "tls_version"
    assert "it has no TLS 1.2 or newer" in error.message


BROKEN = [
    b"[]",
    b"null",
    b"5",
    b'"x"',
    b"{}",
    b"{",
    b"[" * 50_000,
    b'{"version": 2, "max_payload": 1}',
    b'{"version": "2.12.0"}',
    b'{"version": "2.12.0", "max_payload": "x"}',
    b'{"version": "2.12.0", "max_payload": -1}',
    b'{"version": "2.12.0", "max_payload": 1048576, "server_name": []}',
    b'{"version": "2.12.0", "max_payload": 1048576, "tls_required": "no"}',
    b'{"version": "2.12.0", "max_payload": 1048576, "connect_urls": 7, "version": []}',
    b'{"version": "' + b"9" * 5000 + b'", "max_payload": 1048576}',
    b'{"version": "2.' + b"9" * 5000 + b'", "max_payload": 1048576}',
    b'{"version": "2.12.0", "max_payload": ' + b"9" * 5000 + b"}",
    b"\xff\xfe",
    b'{"version": "2.12.0", "max_payload": 1048576, "nonce": 5, "auth_required": true}',
    b"x" * 70_000,
]


@pytest.mark.parametrize("info", BROKEN, ids=range(len(BROKEN)))
def test_a_broken_greeting(info: bytes) -> None:
    with answering(b"INFO " + info + b"\r\n") as url:
        error = refusal(url)
    assert error.failure["code"] in ("greeting", "unreachable")
    assert error.message.startswith(f"{url} ")
    for words in ("Error", "object has no", "Expecting", "object is not", "99999"):
        assert words not in error.message


# Websockets with the real aiohttp


def test_websockets(world: World) -> None:
    assert connect(f"ws://127.0.0.1:{world.ws}") == ([], False)
    assert connect(f"wss://127.0.0.1:{world.wss}", ca_path=str(world.ca.path)) == ([], True)


def test_websockets_after_other_connections(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """nats-py was already imported without aiohttp."""
    connect(world.plain.url)
    transport = importlib.import_module("nats.aio.transport")
    nats_compat.client_class.cache_clear()
    for name in ("aiohttp", "multidict"):
        monkeypatch.setattr(transport, name, None, raising=False)  # the oldest nats-py needs one of them
    assert connect(f"ws://127.0.0.1:{world.ws}") == ([], False)


def test_certificates_of_websockets(world: World, tmp_path: Path) -> None:
    expired = world.wss_with(world.ca.issue("expired", days=-1, folder=tmp_path))
    elsewhere = world.wss_with(world.ca.issue("elsewhere", ["elsewhere.example.net"], folder=tmp_path))
    ca = str(world.ca.path)
    cases = {
        f"wss://127.0.0.1:{world.wss}": (
            str(world.other_ca.path),
            "unable to get local issuer certificate: check that",
        ),
        f"wss://127.0.0.1:{expired}": (ca, "certificate has expired: renew it on the server"),
        f"wss://127.0.0.1:{elsewhere}": (ca, "IP address mismatch, certificate is not valid for '127.0.0.1': name the"),
    }
    for url, (authority, sentence) in cases.items():
        error = refusal(url, ca_path=authority)
        assert error.failure["code"] == "tls_certificate"
        assert error.message.startswith(f"The certificate of {url} is refused: ")
        assert sentence in error.message


def test_ports_that_speak_no_websockets(world: World) -> None:
    for url in (f"ws://127.0.0.1:{world.plain.port}", f"wss://127.0.0.1:{world.plain.port}"):
        error = refusal(url)
        assert error.message.startswith(f"{url} can't be reached: ") or error.failure["code"] == "tls"
        assert "INFO" not in error.message
        assert "server_id" not in error.message
    assert refusal(f"ws://127.0.0.1:{free_port()}").message.endswith(
        "the connection was refused, check that the server runs and listens there (option servers)."
    )
    assert refusal(f"nats://127.0.0.1:{world.ws}", connect_timeout="1s").failure["code"] == "unreachable"
