# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lists of a document: each has the options that the module for one such resource documents, so read them there."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import yaml

PLUGINS = Path(__file__).resolve().parents[1]
LISTS = {
    "streams": "choria_stream",
    "consumers": "choria_consumer",
    "kv_buckets": "choria_kv_bucket",
    "governors": "choria_governor",
    "keys": "choria_kv",
}
# Actions, which are not states of an item
_ACTS = ("compact", "increment", "renew", "revert_to")
# Of the task and not of an item
_SHARED = ("connection", "attributes")
_OWN_OPTION = re.compile(r"\b(O|RV)\(([^#)]+)\)")


def _constants(path: Path) -> dict[str, str]:
    """Return the names of texts in a file, including those of its classes."""
    assignments = [
        node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Assign)
    ]
    return {
        ast.unparse(node.targets[0]): str(ast.literal_eval(node.value)) for node in assignments if _is_text(node.value)
    }


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _options(module: str) -> dict[str, Any]:
    """Return the options of a module, with those of the fragments that it extends."""
    document = yaml.safe_load(_constants(PLUGINS / "modules" / f"{module}.py")["DOCUMENTATION"])
    options = dict(document.get("options") or {})
    for name in document["extends_documentation_fragment"]:
        fragment, _dot, part = name.removeprefix("choria.streams.").partition(".")
        if fragment not in _SHARED:
            texts = _constants(PLUGINS / "doc_fragments" / f"{fragment}.py")
            more = yaml.safe_load(texts[(part or "documentation").upper()])["options"]
            options = {**more, **options}
    return options


def _with_module(value: Any, module: str) -> Any:
    """Return the same with the module's name at each mention of an option of its own."""
    if isinstance(value, dict):
        return {key: _with_module(inner, module) for key, inner in value.items()}
    if isinstance(value, list):
        return [_with_module(inner, module) for inner in value]
    return _OWN_OPTION.sub(rf"\1(choria.streams.{module}#module:\2)", value) if isinstance(value, str) else value


def _list(module: str) -> dict[str, Any]:
    return {
        "description": f"Each with the options of M(choria.streams.{module}).",
        "type": "list",
        "elements": "dict",
        "default": [],
        "suboptions": _with_module(
            {name: option for name, option in _options(module).items() if name not in _ACTS}, module
        ),
    }


class ModuleDocFragment:
    # With a type, since ansible-test's yamllint fails at an assignment of anything but a text
    ITEMS: str = yaml.safe_dump({"options": {option: _list(module) for option, module in LISTS.items()}})
