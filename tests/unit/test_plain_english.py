# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The guides, the documentation of plugins and of the role, and docstrings are written in short sentences."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
GUIDES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("**/*.md")), ROOT / "roles/choria/README.md"]
PLUGINS = sorted(path for path in (ROOT / "plugins").glob("[!_]*/*.py") if "_utils" not in path.parent.name)
ROLES = sorted((ROOT / "roles").glob("*/meta/argument_specs.yml"))
# What documentation has as text, and its markup, which is one word
TEXTS = ("description", "short_description", "notes", "requirements", "details")
MARKUP = re.compile(r"\b[A-Z]{1,2}\((?:[^()\\]|\\.)*\)")
SOURCES = sorted((ROOT / "plugins").rglob("*.py"))
LONGEST = 35  # words
RIDDLES = re.compile(r"\b(Whoever|[Tt]old|[Tt]ells|What is no)\b")
# Comments and boxes; where a paragraph, an item, a heading or a cell of a table ends; and where a sentence does
LEFT_OUT = re.compile(r"<!--.*?-->|^( *)```.*?^\1```$", re.DOTALL | re.MULTILINE)
PARTS = re.compile(r"\n\s*\n|\n(?=\s*(?:[-*] |\d+\. |#))|\|")
SENTENCES = re.compile(r"(?<=[.!?:])\s+")


def long_sentences(text: str) -> list[str]:
    """Sentences with more words than allowed. What is in backquotes is one word."""
    plain = re.sub(r"\]\([^)]*\)", "]", re.sub(r"`[^`]*`", "code", LEFT_OUT.sub("\n\n", text)))
    found = [sentence for part in PARTS.split(plain) for sentence in SENTENCES.split(" ".join(part.split()))]
    return [sentence for sentence in found if len(re.findall(r"\S*\w\S*", sentence)) > LONGEST]


def texts(value: Any, key: str = "") -> Iterator[str]:
    """The sentences for readers in the documentation of a plugin or a role."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from texts(item, name)
    elif isinstance(value, list):
        for item in value:
            yield from texts(item, key)
    elif isinstance(value, str) and key in TEXTS:
        yield MARKUP.sub("code", value)


def documents(path: Path) -> Iterator[Any]:
    """The documentation in a file: the constants of a plugin but its examples, or the arguments of a role."""
    if path.suffix == ".yml":
        yield yaml.safe_load(path.read_text())
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            name = ast.unparse(node.targets[0])
            if name.isupper() and name != "EXAMPLES":
                yield yaml.safe_load(node.value.value)


@pytest.mark.parametrize("path", [*PLUGINS, *ROLES], ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_sentences_of_documentation_are_short(path: Path) -> None:
    found = [text for document in documents(path) for text in texts(document)]
    assert [sentence for text in found for sentence in long_sentences(text)] == []


def test_documentation_is_found() -> None:
    modules = [path for path in PLUGINS if path.parent.name in ("modules", "lookup", "callback", "filter")]
    assert modules
    assert [path.name for path in [*modules, *ROLES] if not [*texts([*documents(path)])]] == []


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.stem)
def test_sentences_are_short(path: Path) -> None:
    assert long_sentences(path.read_text()) == []


def docstrings(path: Path) -> list[str]:
    nodes = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = [ast.get_docstring(node) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, nodes)]
    return [re.sub("``[^`]*``", "`code`", text) for text in found if text]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "plugins")))
def test_docstrings_are_plain(path: Path) -> None:
    texts = docstrings(path)
    assert [sentence for text in texts for sentence in long_sentences(text)] == []
    assert [text for text in texts if RIDDLES.search(text)] == []


def test_what_would_be_found() -> None:
    words = "word " * LONGEST
    assert (
        long_sentences(f"{words}.\n\n- {words}\n- {words}\n\n```text\n{words * 2}\n```\n`{words * 2}` {words[:-5]}")
        == []
    )
    assert len(long_sentences(f"{words}`one more`. {words}more\nand more.")) == 2
