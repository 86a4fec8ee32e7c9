# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role's documentation names its variables, with their defaults."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.choria.streams.plugins.doc_fragments.document import ModuleDocFragment
from ansible_collections.choria.streams.plugins.module_utils._options import mask
from support import ROOT

ROLE = ROOT / "roles" / "choria"
SPECS = yaml.safe_load((ROLE / "meta" / "argument_specs.yml").read_text())["argument_specs"]
OPTIONS = {name: option for spec in SPECS.values() for name, option in spec["options"].items()}
DEFAULTS = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text())
BLOCKS = re.findall(r"^```yaml\n(.*?)^```$", (ROLE / "README.md").read_text(), re.MULTILINE | re.DOTALL)
# Options of the document's lists, which the role has as its own variables
LISTS = {f"choria_{name}": known for name, known in yaml.safe_load(ModuleDocFragment.ITEMS)["options"].items()}


def test_every_variable_is_documented() -> None:
    assert set(OPTIONS) == set(DEFAULTS)
    assert all(option["description"] and option["type"] for option in OPTIONS.values())


def test_documented_defaults_are_the_role_s() -> None:
    fixed = {name: value for name, value in DEFAULTS.items() if "{{" not in str(value)}
    assert {name: OPTIONS[name].get("default") for name in fixed} == fixed


def test_secrets_are_known_by_the_same_patterns() -> None:
    assert DEFAULTS["choria_keys_mask"] == list(mask.PATTERNS)


def test_variables_begin_with_the_name_of_the_role() -> None:
    internal = yaml.safe_load((ROLE / "vars" / "main.yml").read_text())
    assert all(name.startswith("choria_") for name in DEFAULTS)
    assert all(name.startswith("_choria_") for name in internal)


def test_ansible_doc_shows_it() -> None:
    shown = subprocess.run(
        [str(Path(sys.executable).parent / "ansible-doc"), "--type", "role", "--json", "choria.streams.choria"],
        check=True,
        capture_output=True,
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".build")},
    ).stdout
    entries = json.loads(shown)["choria.streams.choria"]["entry_points"]
    assert {name: set(entry["options"]) for name, entry in entries.items()} == {
        name: set(spec["options"]) for name, spec in SPECS.items()
    }


def variables(block: Any) -> dict[str, Any]:
    """Yield the role's variables that an example sets, in a play or by themselves."""
    if isinstance(block, dict):
        return block
    return {name: value for play in block for role in play.get("roles", []) for name, value in role["vars"].items()}


def unknown(name: str, value: Any) -> list[str]:
    """Return the variables of an example, and the options of items in lists, that the documentation lacks."""
    if name not in OPTIONS:
        return [name]
    known = OPTIONS[name].get("options") or LISTS.get(name, {}).get("suboptions")
    items = value if known and isinstance(value, list) else []
    return [f"{name}[].{option}" for item in items for option in item if option not in known]


@pytest.mark.parametrize("block", BLOCKS)
def test_examples_of_the_guide_have_variables_of_the_role(block: str) -> None:
    given = variables(yaml.safe_load(block))
    mentioned = re.findall(r"\bchoria_\w+", re.sub(r"choria\.streams\.choria|builtin: \w+", "", block))
    assert set(given) <= set(mentioned)
    assert [name for name in mentioned if name not in OPTIONS] == []
    assert [each for name, value in given.items() for each in unknown(name, value)] == []


def test_unknown_variables_in_examples_are_found() -> None:
    assert BLOCKS
    assert unknown("choria_nothing", 1) == ["choria_nothing"]
    assert unknown("choria_client_users", [{"name": "bob", "nothing": 1}]) == ["choria_client_users[].nothing"]
    assert unknown("choria_governors", [{"name": "PUPPET", "nothing": 1}]) == ["choria_governors[].nothing"]
