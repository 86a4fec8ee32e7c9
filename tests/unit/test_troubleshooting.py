# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""docs/troubleshooting.md lists each code that a failure can have exactly once, and no other code."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

import pytest

from support import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.once

TREES = {path: ast.parse(path.read_text()) for path in sorted((ROOT / "plugins").rglob("*.py"))}
# Functions, and the position of the argument with the code
POSITIONS = {"missing": 3, "refused": 2}
ROW = re.compile(r"^\| `(\w+)` \| (.+) \| (.+) \|$", re.MULTILINE)


def constants() -> dict[str, str]:
    """Return the text constants of a module by their names."""
    found = {}
    for tree in TREES.values():
        for node in tree.body:
            if isinstance(node, ast.Assign):
                targets, value = node.targets[0], node.value
                pairs = (
                    zip(targets.elts, value.elts)
                    if isinstance(targets, ast.Tuple) and isinstance(value, ast.Tuple)
                    else [(targets, value)]
                )
                for target, text in pairs:
                    if isinstance(text, ast.Constant) and isinstance(text.value, str):
                        found[ast.unparse(target)] = text.value
    return found


def expressions(tree: ast.AST) -> Iterator[ast.expr]:
    """Return the codes of failures in a source file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield from (keyword.value for keyword in node.keywords if keyword.arg == "code")
            name = node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
            position = POSITIONS.get(name, len(node.args))
            # Another function of that name has a condition at this position
            yield from (value for value in node.args[position : position + 1] if not isinstance(value, ast.Lambda))
        if isinstance(node, ast.Dict):
            keys = (key.value if isinstance(key, ast.Constant) else None for key in node.keys)
            yield from (value for key, value in zip(keys, node.values) if key == "code")


def codes() -> set[str]:
    known, found = constants(), set()
    for tree in TREES.values():
        for expression in expressions(tree):
            branches = [expression.body, expression.orelse] if isinstance(expression, ast.IfExp) else [expression]
            for node in (node for branch in branches for node in ast.walk(branch)):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.add(node.value)
                elif isinstance(node, (ast.Name, ast.Attribute)):
                    found.add(known.get(ast.unparse(node).rpartition(".")[2], ""))
    return found - {""}


def rows() -> list[tuple[str, str, str]]:
    return ROW.findall((ROOT / "docs" / "troubleshooting.md").read_text())


def test_each_code_is_listed_once() -> None:
    listed = [code for code, _cause, _remedy in rows()]
    assert codes() - set(listed) == set()
    assert set(listed) - codes() == set()
    assert len(listed) == len(set(listed))


@pytest.mark.parametrize("code", ["bug", "data_loss", "dependency", "no_bucket", "option", "snapshot", "unreachable"])
def test_codes_are_found(code: str) -> None:
    assert code in codes()


def test_each_code_has_a_cause_and_a_remedy() -> None:
    assert [code for code, cause, remedy in rows() if not cause.endswith(".") or not remedy.endswith(".")] == []
