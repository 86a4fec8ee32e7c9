# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Connection options, checked without a socket: every rule and its error. Choria's files are in
../_choria/test_config.py.
"""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.choria.streams.plugins.module_utils._connection.servers import secrets_of
from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from ansible_collections.choria.streams.plugins.module_utils._connection.settings import Settings
from ansible_collections.choria.streams.plugins.module_utils._errors import OptionError
from ansible_collections.choria.streams.plugins.module_utils._options.connection import CONNECTION, environment
from support.connect import settings
from support.tls import Authority

if TYPE_CHECKING:
    from pathlib import Path

SERVER = "nats://n1.example.net:4222"
SEED = "SU" + "A" * 56


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_more: object) -> None:
        raise AssertionError("settings opened a socket")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


NOT_VALIDATED = (
    "validate_certs: false means that nobody knows which server gets the credentials and the data: "
    "give ca_path, the CA of the server, instead."
)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"validate_certs": True, "tls_first": False, "connect_timeout": 5.0, "timeout": 10.0, "api": "$JS.API"}),
        (
            {},
            {"inbox_prefix": "_INBOX", "collective": "mcollective", "identity": "", "tls": "preferred", "warnings": ()},
        ),
        ({"servers": "n1"}, {"servers": ("nats://n1:4222",), "websocket": False}),
        ({"servers": "nats://a, b:5000 ,"}, {"servers": ("nats://a:4222", "nats://b:5000")}),
        ({"servers": ["nats://a", "tls://b:7"]}, {"servers": ("nats://a:4222", "tls://b:7"), "tls": "required"}),
        ({"servers": "nats://[::1]:4223"}, {"servers": ("nats://[::1]:4223",)}),
        ({"servers": ["ws://a"]}, {"servers": ("ws://a:80",), "websocket": True, "tls": "preferred"}),
        ({"servers": ["wss://b"]}, {"servers": ("wss://b:443",), "websocket": True, "tls": "required"}),
        ({"servers": "nats:4222"}, {"servers": ("nats://nats:4222",)}),
        ({"servers": "nats://größe.example.net"}, {"servers": ("nats://größe.example.net:4222",)}),
        ({"servers": "nats://[fe80::1%eth0]"}, {"servers": ("nats://[fe80::1%eth0]:4222",)}),
        ({"servers": "nats://u:p@ss@a"}, {"servers": ("nats://a:4222",), "user": "u", "password": "p@ss"}),
        ({"servers": "nats://ann:p%40ss@a"}, {"servers": ("nats://a:4222",), "user": "ann", "password": "p@ss"}),
        ({"servers": "nats://t%2Fk@a"}, {"servers": ("nats://a:4222",), "user": "", "token": "t/k"}),
        ({"servers": ["nats://u:1@a", "nats://v:2@b"]}, {"user": "u", "password": "1"}),
        ({"servers": "nats://u:1@a", "user": "v", "password": "2"}, {"user": "v", "password": "2"}),
        ({"servers": "nats://u:1@a", "token": "t"}, {"user": "", "password": "", "token": "t"}),
        ({"tls_first": True}, {"tls": "required"}),
        ({}, {"tls": "preferred"}),
        ({"tls": "required"}, {"tls": "required"}),
        ({"tls": "off"}, {"tls": "off"}),
        ({"tls": "off", "validate_certs": False}, {"warnings": ()}),
        ({"validate_certs": False}, {"tls": "preferred", "warnings": (NOT_VALIDATED,)}),
        ({"connect_timeout": "1500ms", "timeout": 3}, {"connect_timeout": 1.5, "timeout": 3.0}),
        ({"domain": "hub"}, {"api": "$JS.hub.API"}),
        ({"api_prefix": "hub.api."}, {"api": "hub.api"}),
        ({"inbox_prefix": "_INBOX.mine."}, {"inbox_prefix": "_INBOX.mine"}),
        ({"collective": "prod", "identity": "n1.example.net"}, {"collective": "prod", "identity": "n1.example.net"}),
        ({"nkey_seed": f" {SEED}\n"}, {"nkey_seed": SEED}),
        ({"user": "", "token": "t"}, {"user": "", "token": "t"}),
    ],
)
def test_settings(given: dict[str, Any], expected: dict[str, Any]) -> None:
    made = settings(**{"servers": SERVER, **given})
    assert {name: getattr(made, name) for name in expected} == expected


URLS = (
    "write nats://host:4222 (or tls://, ws:// and wss://), and percent-encode : / ? # @ and , in a user and a password."
)
NO_DURATION = "is not a duration: write seconds, or text such as 90s, 20m, 1h30m or 7d."
NO_SUBJECT = "is not a subject: write words joined by dots, without spaces, * and >."
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"servers": [" ", ","]}, "servers: is empty: give at least one URL such as nats://host:4222."),
    *(
        ({"servers": url}, f"servers: entry {number} {problem}: {URLS}")
        for url, number, problem in (
            ("http://a", 1, "has none of these schemes"),
            ("http://ann:s3cret@a:1", 1, "has none of these schemes"),
            ("s3cret://a", 1, "has none of these schemes"),
            ("nats://", 1, "has no valid host"),
            ("nats://s3cret;1", 1, "has no valid host"),
            ("nats://ann:s3cret@", 1, "has no valid host"),
            ("nats://:s3cret@a", 1, "has no user before its @"),
            ("nats://a b", 1, "has blanks or control characters"),
            ("nats://ann:s3\ncret@a", 1, "has blanks or control characters"),
            ("nats://a:port", 1, "is not a valid URL"),
            ("nats://a:70000", 1, "is not a valid URL"),
            ("nats://a:0", 1, "has the port 0, on which no server listens"),
            ("nats://[::1", 1, "is not a valid URL"),
            ("nats://ann:s3cret/1@a:4222", 1, "is not a valid URL"),
            # The part before the / # or ? would be read as the host
            ("nats://hunter2/s3cret@127.0.0.1:4222", 1, "has a path, a query or a fragment"),
            ("nats://hunter2#s3cret@127.0.0.1:4222", 1, "has a path, a query or a fragment"),
            ("nats://hunter2?s3cret@127.0.0.1:4222", 1, "has a path, a query or a fragment"),
            ("nats://hunter2?", 1, "has a path, a query or a fragment"),
            ("hunter2/s3cret@127.0.0.1:4222", 1, "has a path, a query or a fragment"),
            ("nats:/ann:s3cret@a", 1, "has no whole scheme"),
            ("NATS:ann:s3cret@a", 1, "has no whole scheme"),
            ("nats://a:4222/", 1, "has a path, a query or a fragment"),
            ("nats://a,nats://b/s3cret", 2, "has a path, a query or a fragment"),
            (["nats://a", "nats://b?x=s3cret"], 2, "has a path, a query or a fragment"),
            # A password of 12,s3cret
            ("nats://ann:12,s3cret@a", 2, "has no whole scheme"),
        )
    ),
    ({"tls": "off", "ca_path": __file__}, "tls: off can't be given together with ca_path: leave out one of them."),
    ({"tls": "off", "tls_first": True}, "tls: off can't be given together with tls_first: leave out one of them."),
    (
        {"tls": "off", "servers": "tls://a"},
        "tls: off can't be given together with tls:// in servers: leave out one of them.",
    ),
    (
        {"tls": "preferred", "servers": "wss://a"},
        "tls: preferred can't be given together with wss:// in servers: leave it out.",
    ),
    (
        {"tls": "required", "servers": "ws://a"},
        "servers: ws:// goes without TLS, which tls: required asks for: write wss://.",
    ),
    (
        {"ca_path": __file__, "servers": "ws://a"},
        "servers: ws:// goes without TLS, which ca_path asks for: write wss://.",
    ),
    (
        {"servers": ["ws://a", "wss://b"]},
        "servers: ws:// goes without TLS, which wss:// in servers asks for: write wss://.",
    ),
    ({"servers": ["ws://a", "nats://b"]}, "servers: mixes websocket URLs with others: give one kind."),
    ({"user": "ann"}, "user: needs password too."),
    ({"password": "s3cret"}, "password: needs user too."),
    ({"client_cert": "/a"}, "client_cert: needs client_key too."),
    ({"jwt": "/a"}, "jwt: needs seed too."),
    (
        {"user": "ann", "password": "s3cret", "token": "t"},
        "user: can't be given together with token: give one of them.",
    ),
    (
        {"token": "s3cret", "creds": "/a", "nkey_seed": SEED},
        "token: can't be given together with creds and nkey_seed: give one of them.",
    ),
    ({"domain": "a", "api_prefix": "b"}, "domain: can't be given together with api_prefix: give one of them."),
    (
        {"nkey_seed": "SUs3cret"},
        "nkey_seed: is not the seed of a user: it has 58 characters and begins with SU.",
    ),
    (
        {"nkey_seed": SEED.replace("SU", "SA")},
        "nkey_seed: is not the seed of a user: it has 58 characters and begins with SU.",
    ),
    ({"timeout": "soon"}, f"timeout: 'soon' {NO_DURATION}"),
    ({"timeout": 0}, "timeout: '0' must be longer than 0."),
    ({"connect_timeout": "0s"}, "connect_timeout: '0s' must be longer than 0."),
    ({"domain": "a.b"}, "domain: 'a.b' must be one word without dots."),
    ({"domain": "a b"}, f"domain: 'a b' {NO_SUBJECT}"),
    ({"api_prefix": "$JS.*.API"}, f"api_prefix: '$JS.*.API' {NO_SUBJECT}"),
    ({"inbox_prefix": "_INBOX.>"}, f"inbox_prefix: '_INBOX.>' {NO_SUBJECT}"),
    ({"inbox_prefix": "a..b"}, f"inbox_prefix: 'a..b' {NO_SUBJECT}"),
    ({"collective": "a.b"}, "collective: 'a.b' must be one word without dots."),
    *(
        (
            {option: "/no/such/file", **more},
            f"{option}: /no/such/file can't be read (No such file or directory): check the path and its permissions.",
        )
        for option, more in {"creds": {}, "ca_path": {}, "client_cert": {"client_key": "/no/such/key"}}.items()
    ),
]


@pytest.mark.parametrize(("given", "sentence"), REFUSED)
def test_refused(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(OptionError) as error:
        settings(**{"servers": SERVER, **given})
    assert error.value.message == sentence
    assert error.value.failure == {"code": "option", "option": sentence.partition(":")[0]}
    # Neither the message nor a traceback may show it
    assert "s3cret" not in repr(error.value)
    assert error.value.__cause__ is None or "s3cret" not in repr(error.value.__cause__)


def test_files(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    one, other = authority.issue("one"), authority.issue("other")
    junk = tmp_path / "junk"
    junk.write_text("s3cret")

    def refusal(**given: object) -> str:
        with pytest.raises(OptionError) as error:
            settings(servers=SERVER, **{name: str(value) for name, value in given.items()})
        assert "s3cret" not in repr(error.value)
        return error.value.message.replace(str(tmp_path), "")

    pair = {"client_cert": str(one.certificate), "client_key": str(one.key)}
    assert settings(servers=SERVER, ca_path=str(authority.path), **pair).tls == "required"
    assert refusal(ca_path=junk) == "ca_path: /junk does not hold PEM certificates: give the CA's PEM file."
    assert refusal(client_cert=one.certificate, client_key=other.key) == (
        "client_cert: /one.crt and client_key /other.key do not belong together: give its own key."
    )
    assert refusal(client_cert=one.certificate, client_key=junk) == (
        "client_cert: /one.crt must hold a certificate and client_key /junk its private key, as PEM."
    )
    assert refusal(client_cert=one.certificate, client_key=tmp_path) == (
        "client_key:  can't be read (Is a directory): check the path and its permissions."
    )
    assert refusal(creds=junk) == ("creds: /junk does not hold a user's JWT and seed: give the file that nsc made.")


def test_key_with_a_passphrase(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization

    pair = Authority(tmp_path).issue("one")
    key = serialization.load_pem_private_key(pair.key.read_bytes(), None)
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    pair.key.write_bytes(key.private_bytes(*form, serialization.BestAvailableEncryption(b"s3cret")))
    with pytest.raises(OptionError, match=r"client_key .*one.key is protected by a passphrase: give a key without one"):
        settings(servers=SERVER, client_cert=str(pair.certificate), client_key=str(pair.key))


def test_a_key_that_others_can_read(tmp_path: Path) -> None:
    pair = Authority(tmp_path).issue("one")
    given = {"servers": SERVER, "client_cert": str(pair.certificate), "client_key": str(pair.key)}
    assert settings(**given).warnings == ()
    pair.key.chmod(0o640)
    assert settings(**given).warnings == (
        f"client_key: other users can read {pair.key}: allow its owner alone (chmod 600).",
    )


def test_secrets_stay_out_of_sight() -> None:
    made = settings(servers=SERVER, user="ann", password="s3cret")
    for text in (repr(made), str(made), repr(Session(made))):
        assert "s3cret" not in text
    assert "s3cret" not in repr(settings(servers=SERVER, token="s3cret"))
    assert SEED not in repr(settings(servers=SERVER, nkey_seed=SEED))
    assert "s3cret" not in repr(settings(servers="nats://ann:s3cret@a"))


def test_connections_are_shared_by_settings() -> None:
    one, same, other = (settings(servers=SERVER, user="ann", password=secret) for secret in ("a", "a", "b"))
    assert one == same
    assert hash(one) == hash(same)
    assert one != other


@pytest.mark.parametrize(
    ("urls", "secrets"),
    [
        (["nats://a", "b"], set()),
        (["nats://ann:p%40ss@a"], {"p%40ss", "p@ss"}),
        (["nats://ann:one@a,nats://bob:two@b", "nats://tok@c"], {"one", "two", "tok"}),
        (["nats://ann:not/valid@a"], {"not/valid"}),
    ],
)
def test_secrets_of_urls(urls: list[str], secrets: set[str]) -> None:
    assert secrets_of(urls) == secrets


def test_environment() -> None:
    assert environment("servers") == ["CHORIA_STREAMS_SERVERS", "NATS_URL"]
    assert environment("ca_path") == ["CHORIA_STREAMS_CA_PATH"]


def test_secret_options_are_not_logged() -> None:
    hidden = {row.option for row in CONNECTION if row.argument().get("no_log")}
    assert hidden == {"password", "token", "nkey_seed"}


def test_settings_of_a_plugin_are_those_of_a_module() -> None:
    given = {"servers": [SERVER], "validate_certs": True, "connect_timeout": "5s", "timeout": "10s"}
    assert Settings.from_options(given.get) == settings(servers=SERVER)


def test_tls_files_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process reads the files and the system's authorities once, for any number of settings and connections."""
    read: list[str] = []
    load_authorities, load_own = ssl.SSLContext.load_verify_locations, ssl.SSLContext.load_cert_chain

    def of_file(context: ssl.SSLContext, *arguments: Any, **options: Any) -> None:
        read.append("ca_path")
        load_authorities(context, *arguments, **options)

    def of_system(context: ssl.SSLContext, *_purpose: Any) -> None:
        read.append("system")  # the system's authorities depend on the machine
        load_authorities(context, str(authority.path))

    def own(context: ssl.SSLContext, *arguments: Any, **options: Any) -> None:
        read.append("client_cert")
        load_own(context, *arguments, **options)

    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", of_file)
    monkeypatch.setattr(ssl.SSLContext, "load_default_certs", of_system)
    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", own)
    authority = Authority(tmp_path)
    client = authority.issue("client")
    files = {"client_cert": str(client.certificate), "client_key": str(client.key), "servers": ["tls://localhost"]}
    contexts = [settings(**files, ca_path=str(authority.path)).tls_context() for _time in range(3)]
    assert read == ["ca_path", "client_cert"]
    assert contexts[0] is contexts[2]
    del read[:]
    for _time in range(3):
        settings(**files).tls_context()
    assert read == ["client_cert", "system"]
    del read[:]
    renewed = authority.issue("client")
    assert renewed.certificate == client.certificate
    settings(**files).tls_context()
    assert read == ["client_cert", "system"]
    assert settings(**files, validate_certs=False).tls_context().verify_mode == ssl.CERT_NONE
    assert settings(**files).tls_context().verify_mode == ssl.CERT_REQUIRED
