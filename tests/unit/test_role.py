# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role's documentation names its variables, with the defaults that it has."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import yaml

from ansible_collections.choria.streams.plugins.module_utils._options import mask

ROLE = Path(__file__).resolve().parents[2] / "roles" / "choria"
SPECS = yaml.safe_load((ROLE / "meta" / "argument_specs.yml").read_text())["argument_specs"]
OPTIONS = {name: option for spec in SPECS.values() for name, option in spec["options"].items()}
DEFAULTS = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text())


def test_every_variable_is_documented() -> None:
    assert set(OPTIONS) == set(DEFAULTS)
    assert all(option["description"] and option["type"] for option in OPTIONS.values())


def test_documented_defaults_are_the_role_s() -> None:
    fixed = {name: value for name, value in DEFAULTS.items() if "{{" not in str(value)}
    assert {name: OPTIONS[name].get("default") for name in fixed} == fixed


def test_secrets_are_known_by_the_same_patterns() -> None:
    assert DEFAULTS["choria_keys_mask"] == list(mask.DEFAULT)


def test_variables_begin_with_the_name_of_the_role() -> None:
    internal = yaml.safe_load((ROLE / "vars" / "main.yml").read_text())
    assert all(name.startswith("choria_") for name in DEFAULTS)
    assert all(name.startswith("_choria_") for name in internal)


def test_ansible_doc_shows_it() -> None:
    shown = subprocess.run(
        [str(Path(sys.executable).parent / "ansible-doc"), "--type", "role", "--json", "choria.streams.choria"],
        check=True,
        capture_output=True,
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROLE.parents[1] / ".build")},
    ).stdout
    entries = json.loads(shown)["choria.streams.choria"]["entry_points"]
    assert {name: set(entry["options"]) for name, entry in entries.items()} == {
        name: set(spec["options"]) for name, spec in SPECS.items()
    }
