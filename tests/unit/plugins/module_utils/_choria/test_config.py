# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Choria's configuration files and the nats CLI's contexts, turned into connection settings."""

from __future__ import annotations

import base64
import json
import os
import socket
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import dns.message
import dns.resolver
import dns.rrset
import pytest

from ansible_collections.choria.streams.plugins.module_utils._choria import config as choria_config
from ansible_collections.choria.streams.plugins.module_utils._choria.tokens import read_seed, read_token
from ansible_collections.choria.streams.plugins.module_utils._connection import sources
from ansible_collections.choria.streams.plugins.module_utils._connection.settings import Settings
from ansible_collections.choria.streams.plugins.module_utils._errors import OptionError
from ansible_collections.choria.streams.plugins.module_utils._operations import config_file
from ansible_collections.choria.streams.plugins.module_utils._options.connection import CONNECTION
from support.in_process import run_module
from support.tls import Authority

if TYPE_CHECKING:
    from pathlib import Path

DEFAULTS = {row.option: row.argument().get("default") for row in CONNECTION}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder without any configuration."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.delenv("MCOLLECTIVE_CERTNAME", raising=False)
    monkeypatch.setenv("USER", "joe")
    return folder


def settings(**given: Any) -> Settings:
    return Settings.from_options({**DEFAULTS, **given}.get)


def write(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def refusal(**given: Any) -> str:
    with pytest.raises(OptionError) as caught:
        settings(**given)
    return caught.value.message


def token(folder: Path, **claims: Any) -> str:
    """Write a token into a file. Only the broker checks the signature, so it need not be valid."""

    def part(content: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()

    base = {"purpose": "choria_client_id", "callerid": "up=joe", "ou": "choria", "exp": time.time() + 3600}
    return write(folder / "token.jwt", f"{part({'alg': 'EdDSA'})}.{part({**base, **claims})}.c2ln\n")


# Files


def test_values_lists_and_comments(tmp_path: Path) -> None:
    path = write(
        tmp_path / "client.conf",
        "# a comment\n\n  identity=one.example.net \ncollectives = a , b,c\nplugin.choria.middleware_hosts = x:1, y:2\n"
        "plugin.nats.pass = a = b # kept\nloglevel =\nplugin.some.ttl = 1h30m\n",
    )
    config = choria_config.read_config(path)
    assert config.identity == "one.example.net"
    assert config.collectives == ["a", "b", "c"]
    assert config.main_collective == "a"
    assert config.get("plugin.nats.pass") == "a = b # kept"
    assert config.get("loglevel", "info") == "info"
    assert config.duration("plugin.some.ttl", "1s") == 5400
    assert "a = b" not in repr(config)


@pytest.mark.parametrize("sign", ["\v", "\f", "\x1c", "\x85", "\u2028"])
def test_only_line_feeds_end_lines(tmp_path: Path, sign: str) -> None:
    """As in Choria. The rest of a password after such a character would not be masked."""
    path, password = tmp_path / "client.conf", f"first{sign}second"
    settings = {"loglevel": "info", "plugin.nats.pass": password}
    options: dict[str, Any] = {
        "path": str(path),
        "settings": settings,
        "other_keys": [],
        "program": None,
        "state": "present",
    }
    file = config_file.prepare(options)
    path.write_text(file.after or "")
    assert choria_config.read_config(str(path)).get("plugin.nats.pass") == password
    for shown in (file, config_file.prepare({**options, "settings": {"loglevel": "warn"}})):
        assert "second" not in str(shown.diff(str(path)))


def test_a_file_of_any_bytes_can_be_removed(tmp_path: Path) -> None:
    """It is not replaced, since it is hardly a configuration, and the diff shows its bytes."""
    path = tmp_path / "client.conf"
    path.write_bytes(b"loglevel = \xff\n")
    task: dict[str, Any] = {"path": str(path), "settings": {"loglevel": "info"}}
    assert "it is not UTF-8 text (at byte 11)" in run_module("choria_config", task).message
    for check_mode in (True, False):
        removed = run_module("choria_config", {**task, "state": "absent"}, check_mode=check_mode).result
        assert removed["changed"]
        assert removed["diff"]["before"] == "loglevel = \\xff\n"
        assert path.exists() == check_mode
    assert not run_module("choria_config", {**task, "state": "absent"}).result["changed"]


def test_a_path_that_ends_like_one_of_a_folder(tmp_path: Path) -> None:
    task: dict[str, Any] = {"path": f"{tmp_path}/client.conf/", "settings": {"loglevel": "info"}}
    for changed in (True, False):
        made = run_module("choria_config", task).result
        assert (made["changed"], made["path"]) == (changed, f"{tmp_path}/client.conf")
    assert "loglevel = info" in (tmp_path / "client.conf").read_text()
    refused = run_module("choria_config", {**task, "path": f"{tmp_path}/"})
    assert refused.message == f"path: {tmp_path} can't be read (Is a directory): check path and permissions."


def test_plugin_d_is_read_beside_a_system_file_alone(tmp_path: Path, home: Path) -> None:
    for folder in (tmp_path / "etc", home):
        write(folder / "client.conf", "identity = x\n")
        write(folder / "plugin.d" / "choria.cfg", "middleware_hosts = b:4222\n")
    system = choria_config.read_config(str(tmp_path / "etc" / "client.conf"))
    assert system.parts("plugin.choria.middleware_hosts") == ["b:4222"]
    assert len(system.files) == 2
    assert choria_config.read_config(str(home / "client.conf")).parts("plugin.choria.middleware_hosts") == []


@pytest.mark.parametrize(
    ("provider", "collective"), [("choria", "choria"), ("puppet", "mcollective"), ("file", "mcollective")]
)
def test_default_collective_follows_the_provider(tmp_path: Path, provider: str, collective: str) -> None:
    path = write(tmp_path / "c.conf", f"plugin.security.provider = {provider}\n")
    assert choria_config.read_config(path).main_collective == collective


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("identity = x\nno equals sign\n", "line 2 is not 'key = value'"),
        ("worker_processes = 4\n", "is not a Choria configuration file"),
        ("identity = x\nplugin.security.provider = pkcs11\n", "security provider 'pkcs11', which is not supported"),
        ("collectives = a\nmain_collective = b\n", "main_collective 'b'"),
        ("plugin.security.provider = choria\nplugin.choria.use_srv = 0\n", "sets no plugin.security.choria.token_file"),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, content: str, says: str) -> None:
    assert says in refusal(choria_config=write(tmp_path / "c.conf", content))


def test_missing_file() -> None:
    assert "can't be read (No such file or directory)" in refusal(choria_config="/nowhere/client.conf")


def test_the_users_own_file_counts_when_nothing_is_given(home: Path) -> None:
    write(home / ".choriarc", "plugin.choria.middleware_hosts = own:4333\nplugin.choria.ssldir = /nowhere\n")
    assert "/nowhere/certs/ca.pem" in refusal()
    assert settings(servers=["nats://given:1"]).servers == ("nats://given:1",)


def test_the_systems_file_counts_after_the_users(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system = write(tmp_path / "etc" / "client.conf", "plugin.choria.middleware_hosts = site:1\n")
    assert choria_config.SYSTEM_FILES[0] == "/etc/choria/client.conf"
    monkeypatch.setattr(choria_config, "SYSTEM_FILES", (system,))
    assert choria_config.find_config() == system
    own = write(home / ".choriarc", "plugin.choria.middleware_hosts = own:1\n")
    assert choria_config.find_config() == own


# Security providers


def test_file_provider(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue("client")
    path = write(
        tmp_path / "client.conf",
        f"plugin.choria.middleware_hosts = b1:1, tls://b2:2\nplugin.security.provider = file\n"
        f"plugin.security.file.ca = {authority.path}\nplugin.security.file.certificate = {pair.certificate}\n"
        f"plugin.security.file.key = {pair.key}\nidentity = one\nplugin.nats.user = u\nplugin.nats.pass = p\n",
    )
    found = settings(choria_config=path)
    assert found.servers == ("nats://b1:1", "tls://b2:2")
    assert (found.ca_path, found.client_cert, found.client_key) == (
        str(authority.path),
        str(pair.certificate),
        str(pair.key),
    )
    assert (found.user, found.password, found.identity, found.tls) == ("u", "p", "one", "required")
    # Options of the task override the file, and other credentials replace all credentials of the file
    other = settings(choria_config=path, servers=["nats://mine:9"], token="t", identity="two")
    assert (other.servers, other.user, other.password, other.token, other.identity) == (
        ("nats://mine:9",),
        "",
        "",
        "t",
        "two",
    )


@pytest.mark.parametrize(("name", "certificate"), [("client.conf", "joe.mcollective"), ("server.conf", "node1")])
def test_puppet_provider(tmp_path: Path, name: str, certificate: str) -> None:
    authority = Authority(tmp_path)
    write(tmp_path / "ssl" / "certs" / "ca.pem", authority.path.read_text())
    for owner in ("joe.mcollective", "node1"):
        pair = authority.issue(owner)
        write(tmp_path / "ssl" / "certs" / f"{owner}.pem", pair.certificate.read_text())
        write(tmp_path / "ssl" / "private_keys" / f"{owner}.pem", pair.key.read_text())
    path = write(
        tmp_path / name, f"identity = node1\nplugin.choria.ssldir = {tmp_path}/ssl\nplugin.choria.use_srv = false\n"
    )
    found = settings(choria_config=path)
    assert found.client_cert == f"{tmp_path}/ssl/certs/{certificate}.pem"
    assert found.servers == ("nats://puppet:4222",)


def test_choria_provider(tmp_path: Path) -> None:
    jwt = token(tmp_path)
    write(tmp_path / "token.key", "ab" * 32 + "\n")
    path = write(
        tmp_path / "client.conf",
        f"plugin.security.provider = choria\nplugin.choria.middleware_hosts = b\n"
        f"plugin.security.choria.token_file = {jwt}\n",
    )
    found = settings(choria_config=path)
    assert found.jwt is not None
    assert (found.jwt.caller, found.seed, found.collective) == ("up=joe", "ab" * 32, "choria")
    # md5 of the caller id, the only prefix on which the broker lets it listen
    assert found.inbox_prefix == "choria.reply.9dd47a24fde9e85df3977fcfe317c837"
    assert found.tls == "required"
    assert "ab" * 32 not in repr(found)
    assert found.jwt.text not in repr(found)
    assert any("other users can read" in warning for warning in found.warnings)


def test_a_source_is_named_where_its_value_is_wrong(tmp_path: Path) -> None:
    path = write(
        tmp_path / "client.conf",
        "plugin.choria.middleware_hosts = b\nplugin.security.provider = file\n"
        "plugin.security.file.ca = /nowhere/ca.pem\n",
    )
    assert f"(It comes from choria_config {path}.)" in refusal(choria_config=path)


def test_collective_that_the_file_does_not_have(tmp_path: Path) -> None:
    path = write(tmp_path / "c.conf", "collectives = a, b\nplugin.choria.middleware_hosts = x\n")
    assert "'other' is not one of the collectives" in refusal(choria_config=path, collective="other")


# Tokens


@pytest.mark.parametrize(
    ("claims", "says"),
    [
        ({"exp": 1}, "expired at 1970-01-01T00:00:01Z"),
        ({"nbf": 99999999999}, "is not valid before"),
        ({"purpose": "choria_provisioning"}, "is for 'choria_provisioning'"),
        ({"callerid": ""}, "does not say whose it is"),
    ],
)
def test_tokens_that_cannot_be_used(tmp_path: Path, claims: dict[str, Any], says: str) -> None:
    with pytest.raises(OptionError, match=says):
        read_token(token(tmp_path, **claims))


@pytest.mark.parametrize("content", ["", "not a token", "a.b", "a.b\n.c", "a.!!.c"])
def test_files_without_a_token(tmp_path: Path, content: str) -> None:
    with pytest.raises(OptionError, match="does not hold a token"):
        read_token(write(tmp_path / "x.jwt", content))


@pytest.mark.parametrize("content", ["", "ab" * 31, "ab" * 33, "zz" * 32])
def test_files_without_a_seed(tmp_path: Path, content: str) -> None:
    with pytest.raises(OptionError, match="64 hexadecimal digits"):
        read_seed(write(tmp_path / "x.seed", content))


@pytest.mark.parametrize(
    ("claims", "prefix"),
    [
        ({}, "$JS.API"),
        ({"purpose": "choria_server", "identity": "n", "ou": "choria"}, "$JS.API"),
        ({"purpose": "choria_server", "identity": "n", "ou": "acme"}, "choria.streams"),
    ],
)
def test_api_prefix_follows_the_tokens_organization(tmp_path: Path, claims: dict[str, Any], prefix: str) -> None:
    assert read_token(token(tmp_path, **claims)).api == prefix


# Contexts


def test_context(home: Path) -> None:
    nkey = write(home / "user.nk", "SU" + "A" * 56 + "\n")
    content = {"url": "nats://a:1,nats://b:2", "nkey": nkey, "jetstream_domain": "hub", "inbox_prefix": "_MINE"}
    write(home / ".config" / "nats" / "context" / "site.json", json.dumps(content))
    found = settings(context="site")
    assert found.servers == ("nats://a:1", "nats://b:2")
    assert (found.nkey_seed, found.api, found.inbox_prefix) == ("SU" + "A" * 56, "$JS.hub.API", "_MINE")
    assert settings(context="site", servers=["nats://mine:3"]).servers == ("nats://mine:3",)


def test_context_of_a_user_without_a_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    assert "'site' is not known, ~/.config/nats/context/site.json can't be read" in refusal(context="site")


def test_contexts_that_cannot_be_used(home: Path) -> None:
    folder = home / ".config" / "nats" / "context"
    assert "'none' is not known" in refusal(context="none")
    write(folder / "broken.json", "{")
    assert "broken.json is not a context of the nats CLI: it is not JSON" in refusal(context="broken")
    for content in ("[]", "5", "null", '"a"', "[" * 100_000, '{"url": 1e400}', ""):
        write(folder / "broken.json", content)
        assert "broken.json is not a context of the nats CLI: it is not" in refusal(context="broken"), content
    for field in ("url", "user", "creds", "nkey", "nsc"):
        for value in (["nats://127.0.0.1"], 5, {"a": 1}, True):
            write(folder / "broken.json", json.dumps({field: value}))
            assert f"has something else than text for {field}: correct it" in refusal(context="broken")
    write(folder / "broken.json", json.dumps({"tls_first": "no"}))
    assert "has something else than true or false for tls_first" in refusal(context="broken")
    write(folder / "nsc.json", json.dumps({"nsc": "nsc://a/b/c"}))
    assert "uses nsc, which is not supported" in refusal(context="nsc")


# SRV records, answered by the test's own name server


class NameServer(threading.Thread):
    """Answers each query from ``records`` on a free loopback port, until it is stopped."""

    def __init__(self, records: dict[str, list[str]]) -> None:
        super().__init__(daemon=True)
        self.records = records
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))

    def run(self) -> None:
        while True:
            try:
                wire, address = self.socket.recvfrom(4096)
            except OSError:
                return
            if not wire:
                return
            query = dns.message.from_wire(wire)
            answer = dns.message.make_response(query)
            name = query.question[0].name
            lines = self.records.get(str(name).rstrip("."), [])
            if lines:
                answer.answer.append(dns.rrset.from_text(name, 60, "IN", "SRV", *lines))
            self.socket.sendto(answer.to_wire(), address)

    def stop(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"", self.socket.getsockname())
        self.join()
        self.socket.close()


def test_brokers_by_srv_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = NameServer(
        {"_mcollective-server._tcp.example.net": ["20 1 4223 late.example.net.", "10 1 4222 first.example.net."]}
    )
    server.start()
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers, resolver.port = ["127.0.0.1"], server.socket.getsockname()[1]
    monkeypatch.setattr(dns.resolver, "default_resolver", resolver)
    try:
        config = choria_config.read_config(write(tmp_path / "c.conf", "identity = one.example.net\n"))
        with pytest.raises(OptionError):
            settings(choria_config=config.path)  # Puppet's certificates are missing, but the brokers are found
        assert sources._servers(config) == ["nats://first.example.net:4222", "nats://late.example.net:4223"]
        other = choria_config.read_config(write(tmp_path / "d.conf", "identity = one.other.net\n"))
        assert sources._servers(other) == ["nats://puppet:4222"]
    finally:
        server.stop()


def test_srv_records_without_their_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dns.resolver", None)
    path = write(tmp_path / "c.conf", "identity = one.example.net\n")
    assert refusal(choria_config=path) == (
        f"choria_config: {path} names no plugin.choria.middleware_hosts, and to look for SRV records in example.net "
        "the Python library dnspython is needed: install it, name the brokers, or set plugin.choria.use_srv = false."
    )
