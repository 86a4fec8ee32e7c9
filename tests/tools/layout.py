# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Draw which packages of plugins/ import which others, as the Mermaid picture in docs/contributing.md.

layout.py writes it there. tests/unit/test_layout.py fails where the picture is not current. An arrow that follows
from others is left out.
"""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
PLUGINS = ROOT / "plugins"
PAGE = ROOT / "docs" / "contributing.md"
BEGIN, END = "```mermaid\n", "```\n"
PACKAGE = ("ansible_collections", "choria", "streams", "plugins")
PLUGIN_KINDS = ("action", "callback", "filter", "lookup")


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


def imports(path: Path) -> Iterator[tuple[str, ...]]:
    """The modules of ours that a file imports, as parts that count from plugins/."""
    package = (*PACKAGE, *path.relative_to(PLUGINS).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = (*above, *(node.module or "").split(".")) if node.module else above
            for alias in node.names:
                for name in ((*base, alias.name), base):
                    if (
                        name[: len(PACKAGE)] == PACKAGE
                        and PLUGINS.joinpath(*name[len(PACKAGE) :]).with_suffix(".py").is_file()
                    ):
                        yield name[len(PACKAGE) :]
                        break


def graph() -> dict[str, set[str]]:
    """The packages that each package imports, those apart that it imports through another of them."""
    found: dict[str, set[str]] = {}
    for path in sorted(PLUGINS.rglob("*.py")):
        own = path.relative_to(PLUGINS).with_suffix("").parts
        if own[0] == "doc_fragments":
            continue
        name = package_of(own)
        found.setdefault(name, set()).update(package_of(target) for target in imports(path))
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
