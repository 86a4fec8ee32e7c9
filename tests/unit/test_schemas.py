# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The JSON schemas for editors are current, match the argument tables, and accept the examples of the guides."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema
import pytest
import yaml

import schemas
from ansible_collections.choria.streams.plugins.module_utils._resources.document.model import KINDS

pytestmark = pytest.mark.once

FENCE = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)
DOCUMENT = json.loads(schemas.RESOURCES.read_text())
ROLE = json.loads(schemas.ROLE.read_text())


class _Loader(yaml.SafeLoader):
    """Loads YAML with the tags of Ansible."""


_Loader.add_constructor("!unsafe", lambda _loader, node: str(node.value))


def without_words(schema: Any) -> Any:
    """Return the schema without descriptions. The session `schemas` compares these."""
    if isinstance(schema, list):
        return [without_words(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: without_words(value)
        for name, value in schema.items()
        if name != "description" or isinstance(value, dict)  # an option of that name
    }


def test_schemas_are_current() -> None:
    wanted = schemas.schemas()
    stale = [
        path.name
        for path in wanted
        if without_words(json.loads(path.read_text())) != without_words(json.loads(wanted[path]))
    ]
    assert stale == [], "run: tests/tools/nox.sh -s run -- python tests/tools/schemas.py"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.option)
def test_document_has_the_options_of_the_tables(kind: Any) -> None:
    [array, _template] = DOCUMENT["properties"][kind.option]["anyOf"]
    [item, _template] = array["items"]["anyOf"]
    assert set(item["properties"]) == set(kind.arguments)


def found(content: Any, name: str) -> list[Any]:
    """Yield the values of a key anywhere in a playbook."""
    if isinstance(content, list):
        return [value for item in content for value in found(item, name)]
    if not isinstance(content, dict):
        return []
    return [*([content[name]] if name in content else []), *(v for item in content.values() for v in found(item, name))]


def test_documents_of_guides_fit_the_schema() -> None:
    tasks = []
    for path in sorted((schemas.ROOT / "docs").glob("*.md")):
        for text in FENCE.findall(path.read_text()):
            tasks += found(yaml.load(text, _Loader), "choria.streams.choria_resources")
    assert tasks
    for task in tasks:
        document = {name: task[name] for name in DOCUMENT["properties"] if name in task}
        jsonschema.validate(document, DOCUMENT)


@pytest.mark.parametrize(
    "document",
    [
        {"streams": [{"name": "ORDERS", "subject": ["orders.>"]}]},
        {"streams": [{"name": "ORDERS", "storage": "tape"}]},
        {"governors": [{"name": "ONE", "capacity": "many"}]},
        {"stream": []},
    ],
)
def test_mistakes_are_found(document: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, DOCUMENT)


@pytest.mark.parametrize("document", [{"streams": "{{ all }}"}, {"streams": [{"name": "A", "max_age": "{{ age }}"}]}])
def test_templates_are_allowed(document: dict[str, Any]) -> None:
    jsonschema.validate(document, DOCUMENT)


def test_role_variables() -> None:
    jsonschema.validate({"choria_state": "present", "others": 1}, ROLE)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"choria_state": "gone"}, ROLE)
