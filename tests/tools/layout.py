# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Draw which packages of plugins/ import which others, as the Mermaid picture in docs/contributing.md.

layout.py writes it there. tests/unit/test_layout.py fails where the picture is not current. An arrow that follows
from others is left out.
"""

from __future__ import annotations

import ast
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
PLUGINS = ROOT / "plugins"
PAGE = ROOT / "docs" / "contributing.md"
BEGIN, END = "```mermaid\n", "```\n"
PACKAGE = ("ansible_collections", "choria", "streams", "plugins")
PLUGIN_KINDS = ("action", "callback", "filter", "lookup")


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
    """The file of ours that an import takes, or that it takes a name from."""
    if item.name[: len(PACKAGE)] != PACKAGE:
        return set()
    target = item.name[len(PACKAGE) :]
    files = (f"{'/'.join(name)}.py" for name in (target, target[:-1]))
    return {file for file in files if (PLUGINS / file).is_file()}


def package_of(parts: tuple[str, ...]) -> str:
    """The name in the picture of the package that a module of ours is in; its parts count from plugins/."""
    if parts[0] == "modules" or parts[0] in PLUGIN_KINDS:
        return "modules" if parts[0] == "modules" else "plugins"
    if parts[1].startswith(("_module", "_archive")):
        return "edge for modules"
    if parts[0] == "plugin_utils":
        return parts[1] if len(parts) > 2 else "edge for plugins"
    if parts[1] in ("_errors", "_fsync"):
        return "_errors"
    return parts[1]


def graph() -> dict[str, set[str]]:
    """The packages that each package imports, those apart that it imports through another of them."""
    found: dict[str, set[str]] = {}
    for path in sorted(PLUGINS.rglob("*.py")):
        own = path.relative_to(PLUGINS).with_suffix("").parts
        if own[0] == "doc_fragments":
            continue
        name = package_of(own)
        files = set().union(*map(files_of, imports_of(str(path.relative_to(PLUGINS)))))
        found.setdefault(name, set()).update(package_of(Path(file).with_suffix("").parts) for file in files)
        found[name].discard(name)
    reach: dict[str, set[str]] = {}
    for name in TopologicalSorter(found).static_order():
        reach[name] = found[name].union(*(reach[target] for target in found[name]))
    return {
        name: {target for target in targets if not any(target in reach[other] for other in targets - {target})}
        for name, targets in found.items()
    }


def picture() -> str:
    lines = ["flowchart TD"]
    for name, targets in sorted(graph().items()):
        lines += [f"    {_node(name)} --> {_node(target)}" for target in sorted(targets)]
    return "\n".join(lines) + "\n"


def _node(name: str) -> str:
    return f"{name.replace(' ', '_').strip('_')}[{name}]"


def page(text: str) -> str:
    """The text of the page with the current picture."""
    begin = text.index(BEGIN) + len(BEGIN)
    return text[:begin] + picture() + text[text.index(END, begin) :]


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
