# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Modules mask their options, which Ansible writes into the system's log and into results."""

from __future__ import annotations

import importlib
import json
import syslog
from typing import TYPE_CHECKING, Any

import pytest
from ansible.module_utils import basic
from ansible.module_utils.common.parameters import PASS_VARS
from ansible.module_utils.testing import patch_module_args

from ansible_collections.choria.streams.plugins.module_utils._options import mask

if TYPE_CHECKING:
    from pathlib import Path

S = "planted"
ODD = f"{S} \"quoted\"\\ back\tslash 'x' ü"
NOWHERE = {"servers": ["nats://127.0.0.1:1"], "connect_timeout": "1s"}
URLS = [
    [f"nats://app:{S}@127.0.0.1:1"],
    [f"nats://{S}@127.0.0.1:1"],
    f"u:{S}@127.0.0.1:1",
    f"127.0.0.1:1,u:{S}@127.0.0.1:1",
    ["nats://127.0.0.1:1", f"nats://u:{S}@127.0.0.1:1"],
    [f"nats:/u:{S}@127.0.0.1:1"],
    [f"nats://hunter2/{S}@127.0.0.1:1"],
    [f"nats://hunter2#{S}@127.0.0.1:1"],
    [f"nats://u:hunter2?{S}@127.0.0.1:1"],
    [f"nats://{S}/x@127.0.0.1:1"],
    [f"nats://u:{S}"],
    [f"nats://u:x,{S}@127.0.0.1:1"],
    {S: S},
]
CONFIG = {
    "plugin.choria.network.system.password": f"{S}-1",
    "plugin.choria.network.provisioning": {"client_password": f"{S}-2"},
    "plugin.choria.network.leafnode_remote.hub.url": f"leafnode://app:{S}-3@hub:7422",
    "plugin.choria.network.peers": ["nats://b1:5222", f"nats://app:{S}%2d4@b2:5222"],
    "plugin.choria.middleware_hosts": [f"app:{S}@b1:4222"],
    "plugin.nats.pass": ODD,
    "plugin.my.password": ODD,
    "plugin.my": {"private.key": f"{S}-5", "deep": {"api_token": ODD}},
}
OTHERS = {"settings": CONFIG, "other_keys": ["plugin.my.password", "plugin.my.private.key", "plugin.my.deep.api_token"]}
ENVIRONMENT = [f"A={S}", f"B={ODD}"]
WATCHER = {
    "name": "watch",
    "type": "exec",
    "state_match": ["ON"],
    "properties": {"command": f"run --password {S}", "environment": ENVIRONMENT},
}
MACHINE = {
    "name": "machine",
    "definition": {
        "version": "0.0.1",
        "initial_state": "ON",
        "transitions": [{"name": "off", "from": ["ON"], "destination": "OFF"}],
        "watchers": [WATCHER],
    },
    "files": [{"path": "a", "content": ODD}, {"path": "b", "content": {"x": S}, "encoding": "json"}],
}
SENT = {"headers": {"X-App": ODD, "Authorization": S}}
CASES: list[tuple[str, dict[str, Any]]] = [
    *(("choria_stream_info", {"servers": urls, "connect_timeout": "1s"}) for urls in URLS),
    *(("choria_stream_info", {**NOWHERE, **given}) for given in ({"token": ODD}, {"user": "u", "password": ODD})),
    ("choria_stream_info", {**NOWHERE, "nkey_seed": S}),
    ("choria_stream_info", {**NOWHERE, "db_password": ODD, "names": {"secret": S}}),
    ("choria_config", OTHERS),
    ("choria_config", {"settings": {**CONFIG, "plugin.choria.no_such_key": 1}}),
    ("choria_config", {"settings": f"plugin.nats.pass={S}"}),
    ("choria_config", {"settings": [S]}),
    ("choria_machine", MACHINE),
    ("choria_machine", {**MACHINE, "files": [{"content": S}]}),
    ("choria_submit", {**NOWHERE, **SENT, "subject": "a", "payload": ODD, "transport": "direct"}),
    ("choria_submit", {**NOWHERE, **SENT, "subject": "a", "payload": {"x": [S]}, "encoding": "json", "spool": "/no"}),
    ("choria_stream_message", {**NOWHERE, **SENT, "subject": "a", "data": ODD}),
    ("choria_stream_message", {**NOWHERE, **SENT, "subject": "a", "data": {"x": S}, "encoding": "json"}),
    ("choria_stream_message", {**NOWHERE, "subject": "a", "data": S, "headers": S}),
    ("choria_kv", {**NOWHERE, "bucket": "B", "key": "app.password", "value": ODD}),
    ("choria_kv", {**NOWHERE, "bucket": "B", "key": "app", "value": {"db": {"password": ODD}}, "encoding": "json"}),
    ("choria_kv", {**NOWHERE, "bucket": "B", "key": "app", "value": json.dumps({"password": ODD})}),
    ("choria_kv_sync", {**NOWHERE, "bucket": "B", "data": {"a.password": ODD, "b": {"c": [{"api_key": ODD}]}}}),
    ("choria_kv_sync", {**NOWHERE, "bucket": "B", "data": {"app": f"user=x password={S}"}}),
    ("choria_resources", {**NOWHERE, "keys": [{"bucket": "B", "key": "password", "value": ODD}]}),
]


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the lines that a module writes into the system's log, after Ansible's own masking."""
    texts: list[str] = []
    monkeypatch.setattr(syslog, "syslog", lambda *arguments: texts.append(str(arguments[-1])))
    monkeypatch.setattr(basic, "has_journal", False)
    logging = getattr(basic, "_logging", None)  # since ansible-core 2.22
    if logging:
        monkeypatch.setattr(logging, "has_journal", False)
        # Values that other tests of this process have registered, such as single letters
        internal = importlib.import_module("ansible.module_utils._internal._secrets")
        for name, value in vars(internal.SecretMasker()).items():
            if name not in ("_lock", "_new_secret_trackers"):
                monkeypatch.setattr(internal._secret_masker, name, value)
    return texts


def run(name: str, options: dict[str, Any], capsys: pytest.CaptureFixture[str], *, check_mode: bool) -> dict[str, Any]:
    """Return the result of a module, with its options as with -vvv."""
    module = importlib.import_module(f"ansible_collections.choria.streams.plugins.modules.{name}")
    asked = {"_ansible_check_mode": check_mode, "_ansible_diff": True}
    if "inject_invocation" in PASS_VARS:  # older releases add the invocation to all results
        asked["_ansible_inject_invocation"] = True
    with patch_module_args({**options, **asked}), pytest.raises(SystemExit):
        module.main()
    result = dict(json.loads(capsys.readouterr().out))
    # ansible-core 2.22 sends the controller the values to mask
    result.pop("_ansible_new_secrets", None)
    return result


@pytest.mark.parametrize("check_mode", [False, True])
@pytest.mark.parametrize(("name", "options"), CASES)
def test_no_secret_is_shown(
    name: str,
    options: dict[str, Any],
    check_mode: bool,
    tmp_path: Path,
    logged: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    places = {"choria_config": {"path": str(tmp_path / "broker.conf")}, "choria_machine": {"store": str(tmp_path)}}
    options = {**options, **places.get(name, {})}
    result = run(name, options, capsys, check_mode=check_mode)
    assert S not in json.dumps(result)
    assert S not in "".join(logged)
    shown = result["invocation"]["module_args"]
    assert set(options) <= set(shown)
    assert "hunter2" not in json.dumps(result)


def test_text_with_nul(
    tmp_path: Path, logged: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any) -> None:
        if "\0" in str(arguments[-1]):
            raise ValueError("embedded null character")

    monkeypatch.setattr(syslog, "syslog", refuse)
    sent = {"description": "a\0b"}
    result = run("choria_config", {"path": str(tmp_path / "client.conf"), "settings": sent}, capsys, check_mode=True)
    assert "syslog" not in result.get("msg", "")


def test_masked_options_stay_readable(tmp_path: Path, logged: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    result = run("choria_config", {"path": str(tmp_path / "broker.conf"), **OTHERS}, capsys, check_mode=False)
    lines = result["diff"]["after"].splitlines()
    assert "plugin.choria.network.provisioning.client_password = (masked)" in lines
    assert "plugin.choria.network.leafnode_remote.hub.url = leafnode://(masked)@hub:7422" in lines
    assert "plugin.choria.network.peers = nats://b1:5222, nats://(masked)@b2:5222" in lines
    assert "plugin.my.password = (masked)" in lines
    settings = result["invocation"]["module_args"]["settings"]
    assert settings["plugin.my"] == {"private.key": "(masked)", "deep": {"api_token": "(masked)"}}
    assert settings["plugin.choria.middleware_hosts"] == ["(masked)@b1:4222"]
    assert [text for text in logged if "Invoked with" in text and "b1:4222" in text]

    store = {"store": str(tmp_path / "machines")}
    (tmp_path / "machines").mkdir()
    result = run("choria_machine", {**MACHINE, **store}, capsys, check_mode=False)
    assert result["changed"], result
    [manifest, files] = result["diff"]
    assert '- "A=(masked)' in manifest["after"]
    assert "run --password (masked)" in manifest["after"]
    assert "a: 0644" in files["after"]
    ENVIRONMENT.append(f"C={S}")
    result = run("choria_machine", {**MACHINE, **store}, capsys, check_mode=True)
    assert S not in json.dumps(result)
    assert result["diff"][0]["before"] != result["diff"][0]["after"]


@pytest.mark.parametrize(
    ("urls", "expected"),
    [
        ("nats://a:4222,nats://b", "nats://a:4222,nats://b"),
        ("u:p@a:4222", "(masked)@a:4222"),
        ("nats:/u:p@a", "nats:/(masked)@a"),
        ("tls://u:p@[::1]:4222/", "tls://(masked)@[::1]:4222/"),
        ("nats://u:p@x@a", "nats://(masked)@a"),
        ("nats://u:secret", "nats://(masked)"),
    ],
)
def test_urls_of_servers(urls: str, expected: str) -> None:
    assert mask.without_credentials(urls) == expected


def test_a_mask_of_ones_own_takes_the_place_of_the_usual_one() -> None:
    shown = mask.shown({"mask": ["pin"], "data": {"pin": 1, "password": "x"}})
    assert shown["data"] == {"pin": "(masked)", "password": "x"}
