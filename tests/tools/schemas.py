# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Write the JSON schemas that editors use: of the document of choria_resources, and of the role's variables.

They follow from the documentation of the options, which other tests compare with the argument tables. Run it in an
environment with Ansible: `nox.sh -s run -- python tests/tools/schemas.py`.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RESOURCES = ROOT / "docs" / "resources.schema.json"
ROLE = ROOT / "docs" / "role.schema.json"
# Ansible converts numbers and booleans to text, and text to numbers
TYPES: dict[str, dict[str, Any]] = {
    "bool": {"type": "boolean"},
    "dict": {"type": "object"},
    "float": {"type": "number"},
    "int": {"type": "integer"},
    "list": {"type": "array"},
    "path": {"type": "string"},
    "raw": {},
    "str": {"type": ["string", "number", "boolean"]},
}
TEMPLATE = {"type": "string", "pattern": r"\{[{%]"}
MARKUP = re.compile(r"\b[BCEIMOPV]\(((?:[^()\\]|\\.)*)\)|\bRV\(((?:[^()\\]|\\.)*)\)")


def plain(description: Any) -> str:
    """The text of a description without Ansible's markup."""
    text = description if isinstance(description, str) else " ".join(map(str, description))
    text = MARKUP.sub(lambda match: re.sub(r"\\(.)", r"\1", match[1] or match[2] or ""), text)
    # Options of another module
    return re.sub(r"[\w.]+#\w+:", "", text).strip()


def value(option: dict[str, Any]) -> dict[str, Any]:
    """The schema of an option's value. A template stands for any value."""
    inner = option.get("options") or option.get("suboptions")
    schema = dict(TYPES[option.get("type", "str")])
    if "choices" in option:
        schema = {"enum": list(option["choices"])}
    if option.get("type") == "list":
        element = {"type": option.get("elements", "raw"), "suboptions": inner}
        # A list of texts may be one text with commas
        schema = {"type": "array", "items": value(element)}
        if option.get("elements") == "str":
            return {"anyOf": [schema, {"type": "string"}]}
    elif inner:
        schema = mapping(inner)
    return (
        {"anyOf": [schema, TEMPLATE]}
        if schema and schema.get("type") not in ("string", TYPES["str"]["type"])
        else schema
    )


def mapping(options: dict[str, Any]) -> dict[str, Any]:
    """The schema of a dict with these options and no others."""
    properties = {}
    for name, option in sorted(options.items()):
        properties[name] = {"description": plain(option["description"]), **value(option)}
        if option.get("default") is not None:
            properties[name]["default"] = option["default"]
    schema: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
    required = sorted(name for name, option in options.items() if option.get("required"))
    return {**schema, "required": required} if required else schema


def documentation(kind: str, name: str) -> dict[str, Any]:
    output = subprocess.run(
        [str(Path(sys.executable).parent / "ansible-doc"), "--type", kind, "--json", name],
        check=True,
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".build")},
        stdout=subprocess.PIPE,
    ).stdout
    return dict(json.loads(output)[name])


def schemas() -> dict[Path, str]:
    """The content of each file."""
    options = documentation("module", "choria.streams.choria_resources")["doc"]["options"]
    variables = documentation("role", "choria.streams.choria")["entry_points"]["main"]["options"]
    document = mapping({name: option for name, option in options.items() if "suboptions" in option})
    # A file of variables may have others
    role = {**mapping(variables), "additionalProperties": True}
    head = {"$schema": "http://json-schema.org/draft-07/schema#"}
    found = {
        RESOURCES: {**head, "title": "The document of choria.streams.choria_resources", **document},
        ROLE: {**head, "title": "The variables of the role choria.streams.choria", **role},
    }
    return {path: json.dumps(schema, indent=2, ensure_ascii=False) + "\n" for path, schema in found.items()}


def main() -> int:
    """Write the files, or with --check say which are not current."""
    stale = {path: content for path, content in schemas().items() if path.read_text() != content}
    for path, content in stale.items():
        print(f"{path.relative_to(ROOT)} {'is not current: run schemas.py' if '--check' in sys.argv else 'is written'}")
        if "--check" not in sys.argv:
            path.write_text(content)
    return int(bool(stale) and "--check" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
