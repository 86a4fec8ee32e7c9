# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The picture in docs/contributing.md is current: it shows which packages of plugins/ import which others."""

from __future__ import annotations

from collections import defaultdict
from graphlib import TopologicalSorter

import pytest

from support.imports import PLUGINS, files_of, imports_of

pytestmark = pytest.mark.once

PAGE = PLUGINS.parent / "docs" / "contributing.md"
BEGIN, END = "```mermaid\nflowchart TD\n", "```\n"
PLUGIN_KINDS = ("action", "callback", "filter", "lookup")


def package_of(path: str) -> str:
    """Return the name, in the picture, of a file's package."""
    kind, name, *inside = path.removesuffix(".py").split("/")
    if kind == "modules" or kind in PLUGIN_KINDS:
        return "modules" if kind == "modules" else "plugins"
    if name.startswith(("_module", "_archive")):
        return "edge for modules"
    if kind == "plugin_utils":
        return name if inside else "edge for plugins"
    return "_errors" if name == "_fsync" else name


def graph() -> dict[str, set[str]]:
    """Return the direct imports of each package, without those that it imports through another package."""
    packages: dict[str, set[str]] = defaultdict(set)
    paths = [str(path.relative_to(PLUGINS)) for path in PLUGINS.rglob("*.py") if path.parent.name != "doc_fragments"]
    for path in sorted(paths):
        name = package_of(path)
        packages[name] |= {package_of(file) for item in imports_of(path) for file in files_of(item)} - {name}
    reach: dict[str, set[str]] = {}
    for name in TopologicalSorter(packages).static_order():  # fails if there is a circle
        reach[name] = packages[name].union(*(reach[target] for target in packages[name]))
    return {name: targets - set().union(*(reach[target] for target in targets)) for name, targets in packages.items()}


def node(name: str) -> str:
    return f"{name.replace(' ', '_').strip('_')}[{name}]"


def test_the_picture_is_current() -> None:
    arrows = [(name, target) for name, targets in sorted(graph().items()) for target in sorted(targets)]
    picture = "".join(f"    {node(name)} --> {node(target)}\n" for name, target in arrows)
    before, rest = PAGE.read_text().split(BEGIN)
    old, after = rest.split(END, 1)
    if old != picture:
        PAGE.write_text(f"{before}{BEGIN}{picture}{END}{after}")
    assert old == picture, "the picture was not current, and is written anew"


def test_packages_have_no_circle() -> None:
    targets = graph()
    assert targets["_connection"] == {"_choria"}
    assert "_operations" in targets["modules"] | targets["edge for modules"]
