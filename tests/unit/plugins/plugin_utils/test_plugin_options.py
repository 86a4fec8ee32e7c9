# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Connection options that plugins read in the environment and in ansible.cfg."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible import constants

from ansible_collections.choria.streams.plugins.module_utils._errors import OptionError
from ansible_collections.choria.streams.plugins.module_utils._options.connection import CONNECTION, NAMES, environment
from ansible_collections.choria.streams.plugins.plugin_utils._plugin import checked, counting, with_origins


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        for variable in environment(name):
            monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    def read(config: str = "", **variables: str) -> dict[str, Any]:
        path = tmp_path / "ansible.cfg"
        path.write_text(f"[choria_streams]\n{config}\n")
        monkeypatch.setattr(constants, "CONFIG_FILE", str(path))
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return counting(with_origins("lookup", "none", NAMES, {}, {}))

    return read


def test_without_any_the_defaults_count(read: Any) -> None:
    assert read() == {row.option: row.argument().get("default") for row in CONNECTION}


@pytest.mark.parametrize(
    ("config", "variables", "servers"),
    [
        ("", {"NATS_URL": "nats://c"}, ["nats://c"]),
        ("servers = nats://b, nats://d", {"NATS_URL": "nats://c"}, ["nats://b", "nats://d"]),
        ("servers = nats://b", {"NATS_URL": "nats://c", "CHORIA_STREAMS_SERVERS": "nats://a"}, ["nats://a"]),
        ("", {"NATS_URL": "nats://c", "CHORIA_STREAMS_SERVERS": "nats://a"}, ["nats://a"]),
        ("servers =", {"NATS_URL": "nats://c", "CHORIA_STREAMS_SERVERS": ""}, ["nats://c"]),
        ("context = site", {"NATS_URL": "nats://c"}, None),
    ],
)
def test_nats_url_counts_last(read: Any, config: str, variables: dict[str, str], servers: list[str] | None) -> None:
    assert read(config, **variables)["servers"] == servers


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_option_is_not_set(read: Any, name: str) -> None:
    unset = read()
    assert read(f"{name} =") == unset
    assert read(**{environment(name)[0]: ""}) == unset


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("validate_certs", "no", False),
        ("validate_certs", "1", True),
        ("tls_first", "True", True),
        ("tls", "off", "off"),
        ("timeout", "30", "30"),
        ("ca_path", "/etc/ca.pem", "/etc/ca.pem"),
    ],
)
def test_values_are_converted(read: Any, name: str, text: str, value: Any) -> None:
    assert read(f"{name} = {text} ; a comment")[name] == value
    assert read(**{f"CHORIA_STREAMS_{name.upper()}": text})[name] == value


def test_paths_of_the_file_are_relative_to_its_folder(read: Any, tmp_path: Path) -> None:
    assert read("ca_path = certs/ca.pem\ncreds = ~/a.creds\nseed = {{CWD}}/x") == {
        **read(),
        "ca_path": f"{tmp_path}/certs/ca.pem",
        "creds": str(Path.home() / "a.creds"),
        "seed": f"{Path.cwd()}/x",
    }


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("validate_certs", "ture", "'ture' is not a boolean: give true or false"),
        ("tls_first", "2", "'2' is not a boolean"),
        ("tls", "require", "'require' is not one of required, preferred, off: give one of these"),
    ],
)
def test_other_words_are_refused(read: Any, name: str, text: str, problem: str) -> None:
    with pytest.raises(OptionError, match=problem):
        read(f"{name} = {text}")
    with pytest.raises(OptionError, match=problem):
        read(**{f"CHORIA_STREAMS_{name.upper()}": text})
    with pytest.raises(OptionError, match=problem):
        checked(CONNECTION.argument_spec(), {name: text})


@pytest.mark.parametrize("value", [[1], {"a": 1}, ["true"], 2])
def test_data_is_not_a_boolean(value: Any) -> None:
    with pytest.raises(OptionError, match="validate_certs"):
        checked(CONNECTION.argument_spec(), {"validate_certs": value})


def test_servers_of_a_wrong_type_are_not_shown() -> None:
    definitions = {"servers": {"type": "list", "name": "servers"}}
    constants.config.initialize_plugin_configuration_definitions("lookup", "a_lookup", definitions)
    with pytest.raises(OptionError) as refused:
        with_origins("lookup", "a_lookup", ["servers"], {}, {"servers": {"nats://u:SECRET@h": 1}})
    assert refused.value.message == "servers: has a value of a wrong type: give a list of texts"
