# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation and code name the same options.

ansible-test compares a module's documentation with its argument spec. This file does so for lookups, actions and
callbacks, and for the shared connection options.
"""

from __future__ import annotations

import ast
import functools
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from ansible.plugins.doc_fragments.files import ModuleDocFragment as FilesDocumentation

from ansible_collections.choria.streams.plugins.module_utils._options.connection import CONNECTION
from ansible_collections.choria.streams.plugins.module_utils._options.mask import PATTERNS
from support import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

PLUGINS = ROOT / "plugins"
# The documentation of actions is in modules/
KINDS = {"action": "module", "callback": "callback", "filter": "filter", "lookup": "lookup", "modules": "module"}
FOUND = sorted(
    (kind, path.stem) for kind in KINDS for path in (PLUGINS / kind).glob("*.py") if not path.name.startswith("_")
)
# Plugins without a connection: modules of this action group, and a callback that only imports
_WITHOUT = [
    *yaml.safe_load((PLUGINS.parent / "meta" / "runtime.yml").read_text())["action_groups"]["config"],
    "choria_preload",
]
CONNECTED = [(kind, name) for kind, name in FOUND if kind != "filter" and name not in _WITHOUT]
# The files with `get_option`
CONFIGURED = [(kind, name) for kind, name in FOUND if kind not in ("modules", "filter")]


@functools.cache
def documentation(kind: str) -> dict[str, Any]:
    """Return the documentation of our plugins of a kind, as ansible-doc shows it."""
    wanted = [f"choria.streams.{name}" for folder, name in FOUND if KINDS[folder] == kind]
    output = subprocess.run(
        [str(Path(sys.executable).parent / "ansible-doc"), "--type", kind, "--json", *wanted],
        check=True,
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".build")},
        stdout=subprocess.PIPE,
    ).stdout
    return {name.rpartition(".")[2]: found for name, found in json.loads(output).items()}


def options(kind: str, name: str) -> dict[str, Any]:
    return dict(documentation(KINDS[kind])[name]["doc"].get("options", {}))


def constants(source: str) -> set[str]:
    nodes = ast.walk(ast.parse(source))
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def asked_for(source: str) -> set[str]:
    """Return the options that a plugin reads with `get_option("…")`."""
    return {
        str(node.args[0].value)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).rpartition(".")[2] == "get_option"
        and node.args
        and isinstance(node.args[0], ast.Constant)
    }


@pytest.mark.parametrize(("kind", "name"), FOUND)
def test_every_option_has_type_and_description(kind: str, name: str) -> None:
    def incomplete(found: dict[str, Any], above: str = "") -> list[str]:
        mine = [above + option for option, entry in found.items() if not (entry.get("type") and entry["description"])]
        below = [incomplete(entry.get("suboptions") or {}, f"{above}{option}.") for option, entry in found.items()]
        return sum(below, mine)

    assert incomplete(options(kind, name)) == []


# Words with which a description says what happens without the option
_NOT_GIVEN = re.compile(
    r"\b(default|left out|not set|unspecified|needed|without (it|this|a filter)"
    r"|new (stream|bucket|consumer|governor|mirror|one))\b",
    re.IGNORECASE,
)


def whole(description: str | list[str]) -> str:
    return " ".join([description] if isinstance(description, str) else description)


# Ansible itself describes the options of files
_OF_ANSIBLE = {
    whole(entry["description"]) for entry in yaml.safe_load(FilesDocumentation.DOCUMENTATION)["options"].values()
}


def unexplained(found: dict[str, Any], above: str = "") -> Iterator[str]:
    """The options without a default whose descriptions do not say what happens without them."""
    for option, entry in found.items():
        text = whole(entry["description"])
        optional = entry.get("default") is None and not entry.get("required")
        if optional and text not in _OF_ANSIBLE and not _NOT_GIVEN.search(text):
            yield above + option
        yield from unexplained(entry.get("suboptions") or {}, f"{above}{option}.")


@pytest.mark.parametrize(("kind", "name"), [each for each in FOUND if each[0] != "filter"])
def test_every_optional_option_says_what_happens_without_it(kind: str, name: str) -> None:
    assert list(unexplained(options(kind, name))) == []


def test_options_that_say_nothing_are_found() -> None:
    said = {"description": ["Some text.", "All runs if not set."], "type": "str"}
    silent = {"description": "Some text.", "type": "str"}
    found = {
        "said": said,
        "silent": silent,
        "required": {**silent, "required": True},
        "filled": {**silent, "default": "x"},
        "nested": {**said, "suboptions": {"inner": silent}},
    }
    assert list(unexplained(found)) == ["silent", "nested.inner"]


@pytest.mark.parametrize(("kind", "name"), FOUND)
def test_examples_are_yaml(kind: str, name: str) -> None:
    examples = documentation(KINDS[kind])[name]["examples"]
    assert yaml.compose(examples)  # Ansible has its own YAML tags


@pytest.mark.parametrize(("kind", "name"), CONFIGURED)
def test_every_option_that_is_asked_for_is_documented(kind: str, name: str) -> None:
    assert asked_for((PLUGINS / kind / f"{name}.py").read_text()) - set(options(kind, name)) == set()


@pytest.mark.parametrize(("kind", "name"), CONFIGURED)
def test_every_documented_option_is_used(kind: str, name: str) -> None:
    sources = [
        PLUGINS / kind / f"{name}.py",
        *PLUGINS.glob("plugin_utils/**/*.py"),
        *PLUGINS.glob("module_utils/_*/**/*.py"),
    ]
    used: set[str] = set().union(*(constants(path.read_text()) for path in sources))
    # A lookup's terms are arguments of its method
    assert set(options(kind, name)) - used - {"_terms"} == set()


@pytest.mark.parametrize(("kind", "name"), CONNECTED)
def test_connection_options_equal_their_table(kind: str, name: str) -> None:
    documented = options(kind, name)
    compared = ("type", "elements", "default", "choices")
    for option, spec in CONNECTION.argument_spec().items():
        expected = {key: spec.get(key, "str" if key == "type" else None) for key in compared}
        assert {key: documented[option].get(key) for key in compared} == expected, option


@pytest.mark.parametrize(("kind", "name"), [found for found in CONNECTED if found[0] in ("callback", "lookup")])
def test_connection_options_come_from_environment_and_configuration(kind: str, name: str) -> None:
    documented = options(kind, name)
    for option in CONNECTION.argument_spec():
        entry = documented[option]
        variables = [f"CHORIA_STREAMS_{option.upper()}", *(["NATS_URL"] if option == "servers" else [])]
        assert [item["name"] for item in entry["env"]] == variables
        assert [(item["section"], item["key"]) for item in entry["ini"]] == [("choria_streams", option)]
        # A callback does not belong to a play, so it has no variables
        if kind == "lookup":
            assert [item["name"] for item in entry["vars"]] == [f"choria_streams_{option}"]


def test_patterns_of_secrets_are_listed() -> None:
    [listed] = [text for text in (ROOT / "docs" / "results.md").read_text().split("```") if text.startswith("text\n*")]
    assert tuple(listed.split()[1:]) == PATTERNS


@pytest.mark.parametrize("name", [name for kind, name in FOUND if kind == "modules" and name.endswith("_info")])
def test_names_may_be_one_name(name: str) -> None:
    names = options("modules", name).get("names")
    assert names is None or names["aliases"] == ["name"]


def test_uses_of_options_are_found() -> None:
    source = 'self.get_option("a"); plugin.get_option("b", hostvars); get_option("c"); get_option(name); other("d")'
    assert asked_for(source) == {"a", "b", "c"}


# The Python type of a sample of each type. "raw" is any type
SAMPLES: dict[str, tuple[type, ...]] = {
    "bool": (bool,),
    "dict": (dict,),
    "float": (int, float),
    "int": (int,),
    "list": (list,),
    "path": (str,),
    "raw": (object,),
    "str": (str,),
}
# A module with this many options of its own needs three examples
MANY_OPTIONS = 10


def leaves(values: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the return values without nested ones, by their paths."""
    for name, value in (values or {}).items():
        if value.get("contains"):
            yield from leaves(value["contains"], f"{path}{name}.")
        else:
            yield f"{path}{name}", value


@pytest.mark.parametrize(("kind", "name"), [each for each in FOUND if each[0] not in ("action", "callback")])
def test_each_return_value_has_a_sample_of_its_type(kind: str, name: str) -> None:
    found = list(leaves(documentation(KINDS[kind])[name]["return"]))
    assert found
    assert [path for path, value in found if "sample" not in value] == []
    wrong = [path for path, value in found if not isinstance(value["sample"], SAMPLES[value["type"]])]
    assert wrong == []


@pytest.mark.parametrize("name", [name for kind, name in FOUND if kind == "modules"])
def test_modules_with_many_options_have_three_examples(name: str) -> None:
    own = set(options("modules", name)) - {row.option for row in CONNECTION.fields}
    examples = re.findall(r"(?m)^- name: ", documentation("module")[name]["examples"])
    assert len(examples) >= (3 if len(own) > MANY_OPTIONS else 1)


@pytest.mark.parametrize("name", [name for kind, name in FOUND if kind == "modules"])
def test_modules_point_to_their_siblings(name: str) -> None:
    seen = {each.get("module", "").rpartition(".")[2] for each in documentation("module")[name]["doc"]["seealso"]}
    others = {other for kind, other in FOUND if kind == "modules"}
    sibling = name.removesuffix("_info") if name.endswith("_info") else f"{name}_info"
    assert sibling not in others or sibling in seen
    assert name not in seen


@pytest.mark.parametrize("name", [name for kind, name in FOUND if kind == "modules"])
def test_errors_are_documented_alike(name: str) -> None:
    """Each module documents the keys of its failures, and links the page that explains all codes."""
    failure = documentation("module")[name]["return"]["failure"]
    assert failure["returned"] == "failure"
    [code] = [text for text in failure["description"] if "C(code) is its kind" in text]
    assert code.endswith("The guide Troubleshooting in C(docs/troubleshooting.md) lists all codes.")
    explained = (ROOT / "docs" / "troubleshooting.md").read_text()
    kinds = [*re.findall(r"\bV\((\w+)\)", code), failure["sample"]["code"]]
    assert [kind for kind in kinds if f"| `{kind}` |" not in explained] == []
    described = whole(failure["description"])
    assert [key for key in failure["sample"] if f"C({key})" not in described] == []
