# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Connections to real servers that refuse, break or stay silent. Each failure has its own message."""

from __future__ import annotations

import importlib
import socket
import sys
import threading
import time
from contextlib import ExitStack, contextmanager
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from nats.errors import FlushTimeoutError

from ansible_collections.choria.streams.plugins.module_utils._api import lists, reading, streams
from ansible_collections.choria.streams.plugins.module_utils._connection import driver, nats_compat
from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from ansible_collections.choria.streams.plugins.module_utils._connection.wire import Request
from ansible_collections.choria.streams.plugins.module_utils._errors import (
    ApiError,
    LibraryMissing,
    NoAnswer,
    OptionError,
    OutcomeUnknown,
    PermissionMissing,
    Refused,
    StreamsError,
    Unreachable,
)
from support.connect import settings
from support.credentials import NKey, Operator, write_creds
from support.filling import publish_many
from support.playbook import run_playbook
from support.ports import free_port
from support.proxy import Proxy
from support.server import NatsServer, freeze
from support.tls import Authority
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import MakeServer

# No output may contain these
SECRET = "s3cret-of-the-tests"
JUNK_SECRET = "wr0ng-s3cret"


class World:
    """Keys, certificates and servers of these tests. A server starts when a test first needs it."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self._stack = stack
        self._running: dict[str, NatsServer] = {}
        self.ca, self.other_ca = Authority(folder), Authority(folder, "other")
        self.server, self.expired = self.ca.issue("server"), self.ca.issue("expired", days=-1)
        self.elsewhere = self.ca.issue("elsewhere", ["elsewhere.example.net"])
        self.client, self.foreign = self.ca.issue("client"), self.other_ca.issue("foreign")
        self.ca.issue("old", days=-1)
        self.nkey, self.other_nkey = NKey(), NKey()
        self.operator = Operator.make(folder)
        (folder / "other").mkdir()
        self.other_operator = Operator.make(folder / "other")
        self.junk = folder / "junk"
        self.junk.write_text(f"{JUNK_SECRET}\n")
        self.junk.chmod(0o600)
        write_creds(folder / "mixed.creds", self.operator.creds.read_text().splitlines()[1], self.other_nkey)

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def running(self, name: str) -> NatsServer:
        if name not in self._running:
            config, more = self._configurations()[name]
            self._running[name] = self._stack.enter_context(NatsServer(config, **more))
        return self._running[name]

    def _configurations(self) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
        def user(name: str, **permissions: Any) -> dict[str, Any]:
            return {"user": name, "password": SECRET, "permissions": permissions}

        limited = [
            user("inbox", subscribe=["_INBOX.mine.>"]),
            user("no_reads", publish={"deny": ["$JS.API.STREAM.INFO.>"]}),
            user("no_writes", publish={"deny": ["$JS.API.STREAM.CREATE.>"]}),
            user("no_orders", publish={"deny": ["orders.>"]}),
        ]
        accounts = {"OFF": {"users": [user("off")]}, "ON": {"jetstream": "enabled", "users": [user("on")]}}
        return {
            "plain": ({}, {}),
            "password": ({"authorization": user("ann")}, {}),
            "token": ({"authorization": {"token": SECRET}}, {}),
            "nkey": ({"authorization": {"users": [{"nkey": self.nkey.public}]}}, {}),
            "operator": (self.operator.server_config, {}),
            "tls": (self.server.server_config(), {}),
            "tls or not": ({**self.server.server_config(), "allow_non_tls": True}, {}),
            "expired": (self.expired.server_config(), {}),
            "elsewhere": (self.elsewhere.server_config(), {}),
            "mutual": (self.server.server_config(verify_with=self.ca), {}),
            "tls first": (self.server.server_config(handshake_first=True), {}),
            "mutual first": (self.server.server_config(verify_with=self.ca, handshake_first=True), {}),
            "no jetstream": ({"server_name": "lonely"}, {"jetstream": False}),
            "accounts": ({"accounts": accounts}, {}),
            "permissions": ({"authorization": {"users": limited}}, {}),
        }


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with ExitStack() as stack:
        yield World(tmp_path_factory.mktemp("world"), stack)


@contextmanager
def listener(banner: bytes = b"", *, hang_up: bool = False, heard: SimpleQueue[bytes] | None = None) -> Iterator[str]:
    """Yield the URL of a port where something other than a NATS server listens. `heard` collects what is sent to it."""
    kept = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    connection, _peer = listening.accept()
                except OSError:
                    return
                connection.sendall(banner)
                kept.append(connection)
                data = b""
                while heard is not None and b"PING" not in data and (chunk := connection.recv(4096)):
                    data += chunk
                if heard is not None:
                    heard.put(data)
                if hang_up:
                    connection.close()

        threading.Thread(target=serve, daemon=True).start()
        yield f"nats://127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)
    for connection in kept:
        connection.close()


def failure(act: Callable[[Session], object] = lambda session: session.server, **given: Any) -> StreamsError:
    """Return the error of connecting, or of ``act`` on the connection."""
    with pytest.raises(StreamsError) as caught, Session(settings(**{"connect_timeout": "5s", **given})) as session:
        act(session)
    assert SECRET not in repr(caught.value) + repr(caught.value.failure)
    assert JUNK_SECRET not in repr(caught.value) + repr(caught.value.failure)
    return caught.value


class Case(NamedTuple):
    """A connection that a server refuses: the `error`, its `code` and its text. {url} and {folder} are filled in."""

    server: str
    error: type[StreamsError]
    code: str
    sentence: str
    given: Callable[[World], dict[str, Any]] = lambda world: {}
    act: Callable[[Session], object] = lambda session: session.server


def password(user: str, secret: str = SECRET) -> Callable[[World], dict[str, Any]]:
    return lambda world: {"user": user, "password": secret}


def files(**names: str) -> Callable[[World], dict[str, Any]]:
    return lambda world: {option: world.path(name) for option, name in names.items()}


def with_client(name: str, key: str = "") -> Callable[[World], dict[str, Any]]:
    return files(ca_path="ca.crt", client_cert=f"{name}.crt", client_key=key or f"{name}.key")


CUT_OFF = (
    "Nobody answers at the JetStream API prefix {}: check domain and api_prefix, and that the server behind it is "
    "connected (a leaf node may be cut off)."
)
NONE_GIVEN = (
    "{url} refused the credentials (none were given: set user and password, token, creds, nkey_seed or client_cert)."
)
NO_TLS = (
    "{url} offers no TLS, and the options ask for it, so nothing was sent: check servers, or set tls: off for a server "
    "without TLS."
)
WRONG_CA = "The certificate of {url} is refused: unable to get local issuer certificate: "
CHECK_CA = "check that ca_path {folder}/other.crt is the CA of this server."
FOREIGN = "{url} refused our TLS certificate {folder}/foreign.crt: give a valid client_cert of a CA that it trusts."
WANTED = "{url} wants a client certificate: set client_cert and client_key."
NOT_FIRST = "TLS with {url} failed (WRONG_VERSION_NUMBER): leave out tls_first, or check the port."
ACCOUNT_OFF = (
    "Reading stream ORDERS: JetStream not enabled for account (JetStream error 10039). "
    "Enable JetStream for this account on the server, or check user, domain and api_prefix."
)


def read(session: Session) -> object:
    return streams.info(session, "ORDERS")


def create(session: Session) -> object:
    return streams.create(session, {"name": "ORDERS"})


REFUSED: dict[str, Case] = {
    # Credentials
    "wrong password": Case(
        "password",
        PermissionMissing,
        "authentication",
        "{url} refused the credentials (check user and password).",
        password("ann", JUNK_SECRET),
    ),
    "no credentials": Case("password", PermissionMissing, "authentication", NONE_GIVEN),
    "wrong token": Case(
        "token",
        PermissionMissing,
        "authentication",
        "{url} refused the credentials (check token).",
        lambda world: {"token": JUNK_SECRET},
    ),
    "another's nkey": Case(
        "nkey",
        PermissionMissing,
        "authentication",
        "{url} refused the credentials (check nkey_seed).",
        lambda world: {"nkey_seed": world.other_nkey.seed},
    ),
    "no nkey": Case(
        "nkey",
        OptionError,
        "option",
        "nkey_seed: is not the seed of a user: it has 58 characters and begins with SU.",
        lambda world: {"nkey_seed": JUNK_SECRET},
    ),
    "creds of another operator": Case(
        "operator",
        PermissionMissing,
        "authentication",
        "{url} refused the credentials (check creds).",
        files(creds="other/user.creds"),
    ),
    "creds with another's seed": Case(
        "operator",
        PermissionMissing,
        "authentication",
        "{url} refused the credentials (check creds).",
        files(creds="mixed.creds"),
    ),
    "creds without credentials": Case(
        "operator",
        OptionError,
        "option",
        "creds: {folder}/junk does not hold a user's JWT and seed: give the file that nsc made.",
        files(creds="junk"),
    ),
    "missing creds": Case(
        "operator",
        OptionError,
        "option",
        "creds: {folder}/nowhere can't be read (No such file or directory): check the path and its permissions.",
        files(creds="nowhere"),
    ),
    # TLS
    "no CA": Case("tls", Unreachable, "tls_certificate", WRONG_CA + "set ca_path to the CA of this server."),
    "wrong CA": Case("tls", Unreachable, "tls_certificate", WRONG_CA + CHECK_CA, files(ca_path="other.crt")),
    "wrong CA, TLS first": Case(
        "tls first",
        Unreachable,
        "tls_certificate",
        WRONG_CA + CHECK_CA,
        lambda world: {"ca_path": world.path("other.crt"), "tls_first": True},
    ),
    "CA that is none": Case(
        "tls",
        OptionError,
        "option",
        "ca_path: {folder}/junk does not hold PEM certificates: give the CA's PEM file.",
        files(ca_path="junk"),
    ),
    "expired": Case(
        "expired",
        Unreachable,
        "tls_certificate",
        "The certificate of {url} is refused: certificate has expired: "
        "renew it on the server, or set the clock of this host.",
        files(ca_path="ca.crt"),
    ),
    "wrong host": Case(
        "elsewhere",
        Unreachable,
        "tls_certificate",
        "The certificate of {url} is refused: IP address mismatch, certificate is not valid for '127.0.0.1': "
        "name the server in servers as its certificate does.",
        files(ca_path="ca.crt"),
    ),
    "mutual TLS, no certificate": Case("mutual", PermissionMissing, "authentication", WANTED, files(ca_path="ca.crt")),
    "mutual TLS, foreign certificate": Case(
        "mutual", PermissionMissing, "authentication", FOREIGN, with_client("foreign")
    ),
    "mutual TLS, expired certificate": Case(
        "mutual",
        PermissionMissing,
        "authentication",
        "{url} refused our TLS certificate {folder}/old.crt, which has expired: renew it, or give another client_cert.",
        with_client("old"),
    ),
    "mutual TLS first, no certificate": Case(
        "mutual first",
        PermissionMissing,
        "authentication",
        WANTED,
        lambda world: {"ca_path": world.path("ca.crt"), "tls_first": True},
    ),
    "key of another certificate": Case(
        "mutual",
        OptionError,
        "option",
        "client_cert: {folder}/client.crt and client_key {folder}/foreign.key do not belong together: "
        "give its own key.",
        with_client("client", "foreign.key"),
    ),
    "missing key": Case(
        "mutual",
        OptionError,
        "option",
        "client_key: {folder}/nowhere can't be read (No such file or directory): check the path and its permissions.",
        with_client("client", "nowhere"),
    ),
    "key that is a folder": Case(
        "mutual",
        OptionError,
        "option",
        "client_key: {folder}/other can't be read (Is a directory): check the path and its permissions.",
        with_client("client", "other"),
    ),
    "key that is none": Case(
        "mutual",
        OptionError,
        "option",
        "client_cert: {folder}/client.crt must hold a certificate and client_key {folder}/junk its private key, "
        "as PEM.",
        with_client("client", "junk"),
    ),
    "TLS first, and no TLS": Case("plain", Unreachable, "tls", NOT_FIRST, lambda world: {"tls_first": True}),
    "TLS wanted by a CA": Case("plain", Unreachable, "tls_not_offered", NO_TLS, files(ca_path="ca.crt")),
    "TLS wanted by a certificate": Case(
        "plain", Unreachable, "tls_not_offered", NO_TLS, lambda world: with_client("client")(world) | {"ca_path": None}
    ),
    # JetStream
    "server without JetStream": Case(
        "no jetstream",
        NoAnswer,
        "jetstream_off",
        "JetStream is not enabled on the server lonely: enable it there, for a Choria Broker with "
        "plugin.choria.network.stream.store, or check servers ({url}).",
        act=read,
    ),
    "account without JetStream": Case("accounts", ApiError, "api", ACCOUNT_OFF, password("off"), read),
    "wrong domain": Case(
        "plain",
        NoAnswer,
        "no_api",
        CUT_OFF.format("$JS.mars.API"),
        lambda world: {"domain": "mars"},
        read,
    ),
    "wrong prefix": Case(
        "plain",
        NoAnswer,
        "no_api",
        CUT_OFF.format("mars.api"),
        lambda world: {"api_prefix": "mars.api."},
        read,
    ),
    "subject that nobody hears": Case(
        "plain",
        NoAnswer,
        "no_responders",
        "No stream and no service listens on the subject mars.moon: check that it exists.",
        act=lambda session: session.request("mars.moon"),
    ),
    # Permissions
    "inbox": Case(
        "permissions",
        PermissionMissing,
        "inbox_prefix",
        "These credentials may not subscribe to replies under '_INBOX': "
        "set inbox_prefix to what these credentials may subscribe to.",
        password("inbox"),
        read,
    ),
    "reading": Case(
        "permissions",
        PermissionMissing,
        "permission",
        "These credentials may not publish to $JS.API.STREAM.INFO.ORDERS: "
        "allow it for the user, or use a Choria token made with 'choria jwt client … --stream-user'.",
        password("no_reads"),
        read,
    ),
    "creating": Case(
        "permissions",
        PermissionMissing,
        "permission",
        "These credentials may not publish to $JS.API.STREAM.CREATE.ORDERS: "
        "allow it for the user, or use a Choria token made with 'choria jwt client … --stream-admin'.",
        password("no_writes"),
        create,
    ),
    "publishing": Case(
        "permissions",
        PermissionMissing,
        "permission",
        "These credentials may not publish to orders.new: "
        "allow it for the user, or use a Choria token made with 'choria jwt client … --publish orders.new'.",
        password("no_orders"),
        lambda session: session.publish("orders.new", b"1"),
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(world: World, name: str) -> None:
    case = REFUSED[name]
    url = world.running(case.server).url
    error = failure(case.act, servers=url, **case.given(world))
    assert error.message == case.sentence.format(url=url, folder=world.folder)
    assert error.__class__ is case.error
    assert error.failure["code"] == case.code


ACCEPTED: dict[str, tuple[str, Callable[[World], dict[str, Any]]]] = {
    "password": ("password", password("ann")),
    "token": ("token", lambda world: {"token": SECRET}),
    "nkey": ("nkey", lambda world: {"nkey_seed": world.nkey.seed}),
    "creds": ("operator", files(creds="user.creds")),
    "TLS": ("tls", files(ca_path="ca.crt")),
    "TLS not checked": ("tls", lambda world: {"validate_certs": False}),
    "expired, not checked": ("expired", lambda world: {"validate_certs": False}),
    "wrong host, not checked": ("elsewhere", lambda world: {"validate_certs": False, "ca_path": world.path("ca.crt")}),
    "no TLS, and none to check": ("plain", lambda world: {"validate_certs": False}),
    "TLS first": ("tls first", lambda world: {"ca_path": world.path("ca.crt"), "tls_first": True}),
    "mutual TLS": ("mutual", with_client("client")),
    "mutual TLS first": ("mutual first", lambda world: {**with_client("client")(world), "tls_first": True}),
    "certificate that nobody asked for": ("tls", with_client("client")),
    "account with JetStream": ("accounts", password("on")),
    "inbox": ("permissions", lambda world: {**password("inbox")(world), "inbox_prefix": "_INBOX.mine"}),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_accepted(world: World, name: str) -> None:
    server, given = ACCEPTED[name]
    with Session(settings(servers=world.running(server).url, **given(world))) as session:
        assert lists.stream_names(session) == []


def test_credentials_in_the_url(world: World) -> None:
    url = world.running("password").url
    with Session(settings(servers=url.replace("//", f"//ann:{SECRET}@"))) as session:
        assert lists.stream_names(session) == []
    error = failure(servers=url.replace("//", f"//ann:{JUNK_SECRET}@"))
    assert error.message == f"{url} refused the credentials (check user and password)."


@pytest.mark.parametrize(
    "given", [{}, {"ca_path": "ca.crt"}, {"client_cert": "client.crt", "client_key": "client.key"}]
)
def test_a_password_is_not_sent_where_tls_is_missing(world: World, given: dict[str, str]) -> None:
    """The client answers a server's greeting with CONNECT and the password. Without required TLS the test reads it."""
    heard: SimpleQueue[bytes] = SimpleQueue()
    greeting = b'INFO {"server_id":"A","version":"2.10.0","headers":true,"max_payload":1048576}\r\n'
    with listener(greeting, hang_up=True, heard=heard) as url:
        error = failure(servers=url, **password("ann")(world), **files(**given)(world))
    if given:
        assert error.failure["code"] == "tls_not_offered"
    else:
        assert error.message == f"{url} can't be reached: the server hung up, check servers."
    assert (SECRET.encode() in heard.get(timeout=30)) is not bool(given)
    assert heard.empty()


def test_tls_is_insisted_on_where_it_is_optional(world: World) -> None:
    server = world.running("tls or not")
    with Session(settings(servers=server.url, ca_path=world.path("ca.crt"))) as session:
        assert session.server.jetstream
        [connection] = server.monitor("connz")["connections"]
    assert connection["tls_version"]


# Servers that are down or are not NATS servers


def test_servers_that_cannot_be_reached(world: World) -> None:
    down = f"nats://127.0.0.1:{free_port()}"
    refused = f"{down} can't be reached: the connection was refused, check that the server runs and listens there"
    unknown = "nats://nowhere.invalid:4222 can't be reached: the host name is not known, check servers."
    assert failure(servers=down).message == f"{refused} (option servers)."
    assert failure(servers="nowhere.invalid").message == unknown
    both = failure(servers=[down, "nowhere.invalid"])
    assert both.message == f"None of the servers could be used: {refused} (option servers). {unknown}"
    assert both.failure == {"code": "unreachable", "servers": [down, "nats://nowhere.invalid:4222"]}
    with Session(settings(servers=[down, world.running("plain").url])) as session:
        assert session.server.jetstream
    # Wrong credentials are reported rather than a server that is down
    error = failure(servers=[down, world.running("password").url], **password("ann", JUNK_SECRET)(world))
    assert error.failure["code"] == "authentication"


@pytest.mark.parametrize(
    ("banner", "hang_up"),
    [(b"220 mail.example.net ESMTP\r\n", False), (b"", True), (b"HTTP/1.1 400 Bad\r\n\r\n", True)],
)
def test_port_that_speaks_something_else(banner: bytes, hang_up: bool) -> None:
    with listener(banner, hang_up=hang_up) as url:
        assert failure(servers=url).message == (
            f"{url} can't be reached: what listens there does not speak NATS, check the port in servers, and tls_first."
        )


@pytest.mark.parametrize("server", ["", "tls first"])
def test_port_that_never_answers(world: World, server: str) -> None:
    with listener() as silent:
        url = world.running(server).url if server else silent
        began = time.monotonic()
        error = failure(servers=url, connect_timeout="300ms")
        assert time.monotonic() - began < 3
    assert error.message == (
        f"{url} can't be reached: no answer within connect_timeout (0.3s), check host, port, firewall and tls_first."
    )


@pytest.mark.parametrize(
    ("module", "library", "purpose", "scheme", "with_seed"),
    [
        ("nats.aio.client", "nats-py", "to talk to NATS servers and Choria Brokers", "nats", False),
        ("nkeys", "nkeys", "to sign with nkey_seed", "nats", True),
        ("aiohttp", "aiohttp", "for the websocket URLs in servers", "ws", False),
    ],
)
def test_missing_libraries(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    module: str,
    library: str,
    purpose: str,
    scheme: str,
    with_seed: bool,
) -> None:
    nats_compat.client_class.cache_clear()
    monkeypatch.setattr(importlib.import_module("nats.aio.transport"), "aiohttp", None)
    monkeypatch.setitem(sys.modules, module, None)
    given: dict[str, Any] = {"nkey_seed": world.nkey.seed} if with_seed else {}
    error = failure(servers=world.running("plain").url.replace("nats", scheme), **given)
    assert isinstance(error, LibraryMissing)
    assert error.message == (
        f"The Python library {library} is needed {purpose}, but {sys.executable} does not have it: "
        f"install it there, for example with '{sys.executable} -m pip install {library}'."
    )


@pytest.mark.parametrize("version", ["2.9.1", "2.3.1", "1.9.9"])
def test_an_old_client_is_refused(world: World, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    """Releases before 2.10 would send the password to a server without TLS, also with tls: required."""
    nats_compat.client_class.cache_clear()
    monkeypatch.setattr(importlib.import_module("nats.aio.client"), "__version__", version)
    error = failure(servers=world.running("plain").url)
    assert isinstance(error, LibraryMissing)
    assert error.message == (
        f"The Python library nats-py is needed to talk to NATS servers and Choria Brokers, but {sys.executable} has "
        f"version {version}, and 2.10 or newer is needed: upgrade it there, for example with '{sys.executable} -m pip "
        "install --upgrade nats-py'."
    )


@pytest.mark.parametrize("version", ["0.0.0", "2.10.0", "2.100.0rc1", "unknown"])
def test_a_new_client_is_used(world: World, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    """A client that does not find its own package metadata has the version 0.0.0."""
    nats_compat.client_class.cache_clear()
    monkeypatch.setattr(importlib.import_module("nats.aio.client"), "__version__", version)
    with Session(settings(servers=world.running("plain").url)) as session:
        session.connect()


# Servers that change during a session


def test_server_that_hangs(make_server: MakeServer) -> None:
    server = make_server()
    with Session(settings(servers=server.url, timeout="500ms", connect_timeout="500ms")) as session:
        assert lists.stream_names(session) == []
        with server.frozen():
            began = time.monotonic()
            with pytest.raises(Unreachable) as reading:
                lists.stream_names(session)
            assert time.monotonic() - began < 5
        assert lists.stream_names(session) == []
        with server.frozen(), pytest.raises(OutcomeUnknown) as writing:
            streams.create(session, {"name": "A"})
        silent = f"{server.url} stopped answering: nothing came for "
        assert reading.value.message.startswith(silent)
        assert writing.value.message == (
            "Creating stream A: the answer got lost, so it is not known whether that was done: check what is there "
            f"before you run the task again. Reason: {silent}$JS.API.STREAM.CREATE.A within timeout (0.5s), check the "
            "server."
        )


def test_answer_to_a_ping_that_comes_too_late(make_server: MakeServer, capfd: pytest.CaptureFixture[str]) -> None:
    """nats-py would end the connection and show a traceback."""
    server = make_server()
    with Session(settings(servers=server.url, timeout="300ms")) as session:
        session.connect()
        client = session._client
        with server.frozen(), pytest.raises(FlushTimeoutError):
            session._drive(client.flush(timeout=0.1))
        assert lists.stream_names(session) == []
        session._drive(client.flush(timeout=5))
        assert session._client is client
        assert client.stats["reconnects"] == 0
    assert server.monitor("varz")["total_connections"] == 1
    assert capfd.readouterr().err == ""


def test_request_that_nobody_answers(make_server: MakeServer) -> None:
    server = make_server()
    with (
        Session(settings(servers=server.url, timeout="500ms")) as session,
        Session(settings(servers=server.url)) as other,
    ):
        other.subscribe("deaf")
        with pytest.raises(OutcomeUnknown) as error:
            session.request("deaf")
        assert error.value.reason.message == (
            "No answer on deaf within timeout (0.5s), though the server is there: it may be busy (raise timeout), "
            "or answers may not get through (check inbox_prefix and what these credentials may do)."
        )


def test_a_subject_that_is_longer_than_servers_read(make_server: MakeServer) -> None:
    server = make_server()
    with Session(settings(servers=server.url)) as session:
        streams.create(session, {"name": "A", "subjects": ["a.>"]})
        lengths = (1, 5000, 6000, 2, 5000)
        requests = [Request(f"a.{'x' * length}", b"", {"Nats-Msg-Id": str(length)}) for length in lengths]
        first, *longer, last, _again = publish_many(session, "Filling", requests)
        assert [answer.message for answer in longer if isinstance(answer, StreamsError)] == [
            f"The subject has {length + 2} bytes, more than the server reads: shorten the subject or the key, or raise "
            "max_control_line of the server."
            for length in (5000, 6000)
        ]
        assert not isinstance(first, StreamsError) and not isinstance(last, StreamsError)
        assert sorted(message.subject for message in reading.onward(session, "A")) == ["a.x", "a.xx"]
    # Before, the subjects were sent again on each new connection
    assert server.monitor("varz")["total_connections"] <= 4


def test_one_message_that_is_too_large_for_the_server(make_server: MakeServer) -> None:
    """The others are sent, and the result has what became of each."""
    with Session(settings(servers=make_server({"max_payload": 10_000}).url)) as session:
        streams.create(session, {"name": "A", "subjects": ["a"]})
        requests = [Request("a", bytes(20_000 if number == 550 else 1)) for number in range(600)]
        answers = publish_many(session, "Filling", requests)
        errors = [number for number, answer in enumerate(answers) if isinstance(answer, StreamsError)]
        assert errors == [550]
        assert "at most 10000: send less" in str(answers[550])
        assert len(list(reading.onward(session, "A"))) == 599


def test_restarted_server(make_server: MakeServer) -> None:
    server = make_server()
    with Session(settings(servers=server.url)) as session:
        session.subscribe("news")
        streams.create(session, {"name": "A", "subjects": ["a"]})
        server.restart()
        assert lists.stream_names(session) == ["A"]
        session.publish("news", b"1")
        message = session.receive(2.0)
        assert message
        assert message.data == b"1"
        server.kill()
        with pytest.raises(Unreachable, match="can't be reached: the connection was refused"):
            lists.stream_names(session)


def test_restart_amid_a_pipeline(make_server: MakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server = make_server()
    wanted = [str(number).encode() for number in range(2000)]
    with Session(settings(servers=server.url)) as session:
        streams.create(session, {"name": "A", "subjects": ["a"]})
        send, sent, restarts = session._send, 0, 0

        async def sending(*commands: bytes) -> None:
            nonlocal sent, restarts
            sent += len(commands)
            if sent >= 700 and not restarts:
                restarts = 1
                server.restart()
            await send(*commands)

        monkeypatch.setattr(session, "_send", sending)
        requests = [Request("a", data, {"Nats-Msg-Id": data.decode()}) for data in wanted]
        answers = publish_many(session, "Filling", requests)
        assert [answer for answer in answers if isinstance(answer, StreamsError)] == []
        assert restarts
        assert [message.data for message in reading.onward(session, "A", "a")] == wanted


def test_failover_while_connected(make_server: MakeServer) -> None:
    first, second = make_server({"server_name": "first"}), make_server({"server_name": "second"})
    with Session(settings(servers=[first.url, second.url])) as session:
        assert session.server.name == "first"
        first.shutdown()
        assert lists.stream_names(session) == []
        assert session.server.name == "second"


def hung_up(server: NatsServer, session: Session) -> None:
    """Let the server close the connection for missing pings. Sessions do not answer them between calls."""
    streams.create(session, {"name": "A", "subjects": ["a"]})
    wait_until(lambda: server.monitor("connz")["num_connections"] == 0)


IMPATIENT = {"ping_interval": "250ms", "ping_max": 1}
UPDATE = {"name": "A", "subjects": ["a"], "description": "after a pause"}


def test_long_pause(make_server: MakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server = make_server(IMPATIENT)
    monkeypatch.setattr(driver, "_IDLE", 0.0)
    with Session(settings(servers=server.url)) as session:
        hung_up(server, session)
        # A write is not repeated, so the broken connection must be replaced before it is sent
        streams.update(session, UPDATE)
    assert server.monitor("varz")["total_connections"] == 2


def test_a_write_on_a_broken_connection(make_server: MakeServer) -> None:
    """Repeatable requests are repeated. Others fail as soon as the connection breaks, and do not wait for their
    timeout.
    """
    server = make_server(IMPATIENT)
    with Session(settings(servers=server.url)) as session:
        hung_up(server, session)
        streams.update(session, UPDATE)
        wait_until(lambda: server.monitor("connz")["num_connections"] == 0)
        with pytest.raises(OutcomeUnknown, match="broke while waiting for an answer"):
            streams.purge(session, "A")


def test_a_server_that_comes_back_between_two_requests(make_server: MakeServer) -> None:
    """The second request waits for the server, as if the connection broke a moment later."""
    server = make_server()
    with Proxy(server.port) as proxy, Session(settings(servers=proxy.url)) as session:
        streams.create(session, {"name": "A", "subjects": ["a"]})
        proxy.refusing = True
        proxy.cut()

        def let_in() -> None:
            wait_until(lambda: proxy.refused >= 1)
            proxy.refusing = False

        thread = threading.Thread(target=let_in)
        thread.start()
        try:
            assert lists.stream_names(session) == ["A"]
        finally:
            thread.join()


def test_a_session_that_only_reads(world: World) -> None:
    """Check mode and lookups use a read-only session, so that no code above it can write by mistake."""
    given = settings(servers=world.running("plain").url)
    with Session(given) as session:
        streams.create(session, {"name": "KEPT", "subjects": ["kept"]})
    with Session(given, read_only=True) as session:
        writes: list[Callable[[], object]] = [
            lambda: streams.create(session, {"name": "NEW"}),
            lambda: streams.update(session, {"name": "KEPT", "subjects": ["new"]}),
            lambda: streams.purge(session, "KEPT"),
            lambda: streams.delete(session, "KEPT"),
            lambda: session.request("kept", b"1"),
            lambda: session.publish("kept", b"1"),
            lambda: session.request("$JS.API.STREAM.MSG.DELETE.KEPT"),
            lambda: session.request("$JS.API.STREAM.INFORM.KEPT"),
        ]
        for write in writes:
            with pytest.raises(Refused, match=r"^A write to .* was tried in check mode or by a lookup"):
                write()
        info = streams.info(session, "KEPT")
        assert info
        assert info["config"]["subjects"] == ["kept"]
        assert info["state"]["messages"] == 0
        assert lists.stream_names(session) == ["KEPT"]
        assert [each["config"]["name"] for each in lists.streams(session)] == ["KEPT"]
    with Session(given) as session:
        streams.delete(session, "KEPT")


# The output of a playbook


@pytest.mark.once
def test_failures_in_a_playbook(world: World) -> None:
    """It contains one sentence and `changed: false`, but no traceback and no secret, also with full verbosity."""
    closed = f"nats://127.0.0.1:{free_port()}"
    url = {name: world.running(name).url for name in ("password", "mutual", "no jetstream", "permissions")}
    secrets = {
        "secret": SECRET,
        "junk": JUNK_SECRET,
        "seed": world.nkey.seed,
        "in_url": f"{closed},{url['password'].replace('//', f'//ann:{JUNK_SECRET}@')}",
    }
    cases: dict[str, tuple[dict[str, Any], str]] = {
        "down": ({"servers": closed}, f"{closed} can't be reached: the connection was refused"),
        "password": (
            {"servers": url["password"], "user": "ann", "password": "{{ junk }}"},
            f"{url['password']} refused the credentials (check user and password).",
        ),
        "password in the URL": ({"servers": "{{ in_url }}"}, f"{url['password']} refused the credentials"),
        "NATS_URL": ({}, f"{url['password']} refused the credentials"),
        "token": ({"servers": url["password"], "token": "{{ junk }}"}, f"{url['password']} refused the credentials"),
        "seed": ({"servers": url["password"], "nkey_seed": "{{ seed }}"}, f"{url['password']} refused the creden"),
        "CA": (
            {"servers": url["mutual"], "ca_path": world.path("other.crt")},
            f"The certificate of {url['mutual']} is refused: ",
        ),
        "no JetStream": ({"servers": url["no jetstream"]}, "JetStream is not enabled on the server lonely: "),
        "permission": (
            {"servers": url["permissions"], "user": "no_writes", "password": "{{ secret }}"},
            "These credentials may not publish to $JS.API.STREAM.CREATE.ORDERS: ",
        ),
        "key": (
            {"servers": closed, **with_client("client", "nowhere")(world)},
            f"client_key: {world.path('nowhere')} can't be read (No such file or directory): ",
        ),
        "unknown option": (
            {"servers": "{{ in_url }}", "pasword": "x"},
            "Unsupported parameters for (choria.streams.choria_stream) module: pasword.",
        ),
        "wrong type": ({"validate_certs": "maybe"}, "argument 'validate_certs' is of type "),
        "no duration": ({"timeout": "soon"}, "timeout: 'soon' is not a duration: write seconds, or"),
    }
    tasks: list[dict[str, Any]] = [
        {"name": name, "choria.streams.choria_stream": {"name": "ORDERS", **given}, "ignore_errors": True}
        for name, (given, _sentence) in cases.items()
    ]
    result = run_playbook(
        [{"hosts": "localhost", "gather_facts": False, "tasks": tasks}],
        extra_vars=secrets,
        env={"ANSIBLE_INJECT_INVOCATION": "true", "NATS_URL": secrets["in_url"]},
        args=["-vvv"],
    ).check()
    for name, (_given, sentence) in cases.items():
        task = result.task(name)
        assert task.status == "failed"
        assert task.message.startswith(sentence)
        assert not task.changed
    assert "nats://(masked)@127.0.0.1" in result.output
    assert "Traceback" not in result.output
    for secret in (SECRET, JUNK_SECRET, world.nkey.seed):
        assert secret not in result.output


@pytest.mark.timeout(60)
def test_a_connection_that_breaks_while_its_buffers_are_full() -> None:
    """All requests end. With Python 3.11, nats-py never woke a request that waited for room in its buffer."""
    chunks = [Request("chunks", bytes(128 << 10)) for _number in range(300)]
    with NatsServer() as server, Session(settings(servers=server.url, timeout="3s")) as session:
        session.connect()
        freeze(server.pid)
        killer = threading.Timer(0.5, server.kill)
        killer.start()
        answers = session.request_many(chunks)
        killer.join()
    assert {type(answer) for answer in answers} <= {OutcomeUnknown, Unreachable}
    assert isinstance(answers[0], OutcomeUnknown)
