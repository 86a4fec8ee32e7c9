# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whatever the page of run_report shows is escaped: Ansible's templates do not do that by themselves."""

from __future__ import annotations

from pathlib import Path

import pytest
from jinja2 import Environment, nodes

FOLDER = Path(__file__).resolve().parents[2] / "playbooks" / "templates" / "run_report"


def _harmless(node: nodes.Node, macros: set[str]) -> bool:
    """Text of the template itself, the output of its macros, or what was escaped."""
    if isinstance(node, (nodes.TemplateData, nodes.Const)):
        return True
    if isinstance(node, nodes.CondExpr):
        return _harmless(node.expr1, macros) and (node.expr2 is None or _harmless(node.expr2, macros))
    if isinstance(node, nodes.Call):
        return isinstance(node.node, nodes.Name) and node.node.name in macros
    return isinstance(node, nodes.Filter) and (node.name == "e" or _is_data(node))


def _is_data(node: nodes.Filter) -> bool:
    """JSON that can't end the element that it is in."""
    made = isinstance(node.node, nodes.Filter) and node.node.name == "to_json"
    escapes = [argument.value for argument in node.args if isinstance(argument, nodes.Const)]
    return made and node.name == "replace" and escapes == ["<", "\\u003c"]


def unescaped(source: str) -> list[int]:
    """The lines of what is shown as it is."""
    tree = Environment(extensions=["jinja2.ext.do"]).parse(source)
    macros = {macro.name for macro in tree.find_all(nodes.Macro)}
    shown = [node for output in tree.find_all(nodes.Output) for node in output.nodes]
    return [node.lineno for node in shown if not _harmless(node, macros)]


def test_everything_is_escaped() -> None:
    assert unescaped((FOLDER / "report.html.j2").read_text()) == []


@pytest.mark.parametrize(
    "source",
    ["{{ x }}", "{{ x | e | upper }}", "{{ x or 0 | e }}", "{{ f(x) }}", "{{ 'a' if b else x }}", "{{ x | e ~ y }}"],
)
def test_what_would_be_found(source: str) -> None:
    assert unescaped("{% macro m() %}{% endmacro %}{{ m() }}{{ x | e }}{{ ' open' if y }}\n" + source) == [2]


@pytest.mark.parametrize("name", ["style.css", "report.js"])
def test_what_is_included_is_no_template(name: str) -> None:
    text = (FOLDER / name).read_text()
    assert not any(mark in text for mark in ("{{", "{%", "{#", "</"))
    assert "//" not in text.replace("// ", "")  # no address of something to be fetched
