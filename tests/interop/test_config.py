# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The settings of a configuration file, according to `choria tool config` and to this collection."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ansible_collections.choria.streams.plugins.module_utils._choria.config import read_config
from ansible_collections.choria.streams.plugins.module_utils._connection.sources import choria_options
from support.choria import ChoriaClient

if TYPE_CHECKING:
    from pathlib import Path

BASE = "identity = one.example.net\nplugin.choria.use_srv = false\nplugin.security.provider = file\n"
FILES = {
    "plain": "",
    "brokers": "plugin.choria.middleware_hosts = b1:4222, nats://b2:4223 ,tls://b3:4224\n",
    "comments and spaces": "# one\n   # two\n\n  indented=yes  \nkey with spaces   =  x y \n",
    "equals signs": "plugin.nats.pass = a = b # kept\nplugin.x.y==z\n",
    "no value": "plugin.x.y =\n",
    "twice": "identity = two.example.net\nplugin.choria.middleware_hosts = a:1\nplugin.choria.middleware_hosts = b:2\n",
    "lists": "collectives = a , b,c\nmain_collective = b\n",
    "collectives alone": "collectives = prod, test\n",
    "main collective alone": "main_collective = prod\n",
    "tokens": "plugin.security.provider = choria\nplugin.security.choria.token_file = /x.jwt\n",
    "tokens and a collective": (
        "plugin.security.provider = choria\nplugin.security.choria.token_file = /x.jwt\ncollectives = mcollective\n"
    ),
    "certificates": "".join(f"plugin.security.file.{name} = /{name}.pem\n" for name in ("certificate", "key", "ca")),
}
PLUGINS = {
    "choria.cfg": "middleware_hosts = d:4222\n",
    "security.cfg": "provider = choria\n",
    "other.conf": "key = value\n",
    "choria.cfg.bak": "middleware_hosts = e:4222\n",
}


@pytest.fixture
def program(tmp_path: Path) -> ChoriaClient:
    home = tmp_path / "home"
    home.mkdir()
    return ChoriaClient("x", home)


def shown(program: ChoriaClient, config: Path) -> dict[str, str]:
    """Return the lines `name: value` of `choria tool config`, with the following lines of a value."""
    found: dict[str, str] = {}
    for line in program.output("tool", "config", "--config", config).splitlines():
        name, separator, value = line.partition(": ")
        if separator:
            found[name.strip()] = value.strip()
        elif found and line.startswith(" " * 24):
            found[list(found)[-1]] += f"\n{line.strip()}"
    return found


def as_url(host: str) -> str:
    return host if "://" in host else f"nats://{host}"


@pytest.mark.parametrize("plugins", [{}, PLUGINS], ids=["alone", "with plugin.d"])
@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
def test_files(program: ChoriaClient, tmp_path: Path, text: str, plugins: dict[str, str]) -> None:
    for name, content in plugins.items():
        (tmp_path / "plugin.d").mkdir(exist_ok=True)
        (tmp_path / "plugin.d" / name).write_text(content)
    path = tmp_path / "client.conf"
    path.write_text(f"{BASE}loglevel = error\n{text}")
    theirs, ours = shown(program, path), read_config(str(path))
    options = choria_options(ours)
    assert theirs["Loaded Files"].split("\n") == list(ours.files)
    assert theirs["Security Provider"].lower() == ours.provider
    assert theirs["Main Collective"] == ours.main_collective
    if "collectives" in ours.values:
        assert theirs["Collectives"].split(", ") == ours.collectives
    assert theirs["Choria Brokers"].split(", ") == [as_url(host) for host in options["servers"]]
    if ours.provider == "file":
        assert theirs["Certname"] == ours.identity
    for name, option in (("Certificate", "client_cert"), ("Key", "client_key"), ("CA", "ca_path")):
        assert theirs.get(name, " (absent)") == f"{options.get(option, '')} (absent)"
    for key, value in ours.values.items():
        # The program loads the settings of plugin.d/security.cfg, but does not use them
        if not (plugins and key == "plugin.security.provider"):
            assert theirs[key] == value


@pytest.mark.parametrize("variable", ["", "third.example.net"])
@pytest.mark.parametrize("user", ["joe", "root"])
def test_names_of_puppets_certificates(
    program: ChoriaClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: str, variable: str
) -> None:
    monkeypatch.setenv("USER", user)
    monkeypatch.delenv("MCOLLECTIVE_CERTNAME", raising=False)
    if variable:
        monkeypatch.setenv("MCOLLECTIVE_CERTNAME", variable)
    path = tmp_path / "client.conf"
    path.write_text(
        f"{BASE}plugin.security.provider = puppet\nplugin.choria.ssldir = {tmp_path}/ssl\nloglevel = error\n"
    )
    certificate = choria_options(read_config(str(path)))["client_cert"]
    assert certificate == f"{tmp_path}/ssl/certs/{shown(program, path)['Certname']}.pem"
