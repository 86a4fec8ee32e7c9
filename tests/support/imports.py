# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The imports of the files in plugins/, read from their sources."""

from __future__ import annotations

import ast
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from support import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

PLUGINS = ROOT / "plugins"
PACKAGE = ("ansible_collections", "choria", "streams", "plugins")


class Import(NamedTuple):
    line: int
    name: tuple[str, ...]
    """The dotted name; of `from a import b` both a and b."""
    deferred: bool
    """Not run when the file is imported: inside a function, or for type checkers only."""
    types: bool = False
    """For type checkers only."""


def imports(path: str, source: str) -> list[Import]:
    package = (*PACKAGE, *path.split("/")[:-1])

    def names(node: ast.AST) -> Iterator[str]:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("__import__", "importlib.import_module"):
            yield from (str(arg.value) for arg in node.args[:1] if isinstance(arg, ast.Constant))

    def walk(node: ast.AST, deferred: bool, types: bool) -> Iterator[Import]:
        line = getattr(node, "lineno", 0)
        yield from (Import(line, tuple(name.split(".")), deferred or types, types) for name in names(node))
        inside = deferred or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        typing = node.body if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING") else []
        for child in ast.iter_child_nodes(node):
            yield from walk(child, inside, types or child in typing)

    return list(walk(ast.parse(source), False, False))


@cache
def imports_of(path: str) -> list[Import]:
    return imports(path, (PLUGINS / path).read_text())


def files_of(item: Import) -> set[str]:
    """Return the file of ours that an import loads, or loads a name from."""
    if item.name[: len(PACKAGE)] != PACKAGE:
        return set()
    target = item.name[len(PACKAGE) :]
    files = (f"{'/'.join(name)}.py" for name in (target, target[:-1]))
    return {file for file in files if (PLUGINS / file).is_file()}
