# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Guides, documentation, docstrings, comments and errors are written in plain and short sentences."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from support import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.once

GUIDES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("**/*.md")), ROOT / "roles/choria/README.md"]
PLUGINS = sorted(path for path in (ROOT / "plugins").glob("[!_]*/*.py") if "_utils" not in path.parent.name)
ROLES = sorted((ROOT / "roles").glob("*/meta/argument_specs.yml"))
# Keys of documentation with sentences, and markup, which counts as one word
TEXTS = ("description", "short_description", "notes", "requirements", "details")
MARKUP = re.compile(r"\b[A-Z]{1,2}\((?:[^()\\]|\\.)*\)")
SOURCES = sorted((ROOT / "plugins").rglob("*.py"))
TESTS = sorted(
    path
    for folder in ("tests", "benchmarks", "extensions")
    for path in (ROOT / folder).rglob("*.py")
    if "output" not in path.relative_to(ROOT).parts
)
TASKS = sorted(
    path
    for folder in ("roles", "playbooks", "tests/integration/targets", "extensions/molecule")
    for path in (ROOT / folder).rglob("*.yml")
)
# Names that say nothing of what a variable holds
VAGUE = {"told", "found", "seen", "had", "wanted", "known"}
LONGEST = 35  # words
# Words that make readers stop, and sentences whose subject is a relative clause
RIDDLES = re.compile(
    r"\b([Ww]ho(so|m|se)?ever|[Tt]old|[Tt]ells?|[Aa]new|[Ii]n vain|[Tt]here(of|in|upon)|[Uu]nasked|nothing but"
    r"|[Ww]hat (is|are|was|were) no|one of both|[Ff]ore(tells?|told|sees?|seen|saw)|[Ll]ook(s|ed|ing)? at"
    r"|([Tt]ak(e|es|en|ing)|took) (it |that |them |this )?away)\b"
)
CLAUSES = re.compile(r"(?:^|[.:;] )(What|Who|Whose|Whatever|Whichever|Nor|Neither(?! .* nor ))\b(?![^.?]*\?)")
# Comments and boxes; where a paragraph, an item, a heading or a cell of a table ends; and where a sentence does
LEFT_OUT = re.compile(r"<!--.*?-->|^( *)```.*?^\1```$", re.DOTALL | re.MULTILINE)
PARTS = re.compile(r"\n\s*\n|\n(?=\s*(?:[-*] |\d+\. |#))|\|")
SENTENCES = re.compile(r"(?<=[.!?:])\s+")


def long_sentences(text: str) -> list[str]:
    """Return the sentences with more words than allowed. Text in backquotes is one word."""
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


def riddles(texts: Iterable[str], *patterns: re.Pattern[str]) -> list[str]:
    """Return the texts with one of the riddles. A name in backquotes is none."""
    plain = [re.sub(r"`+[^`]*`+", "`code`", text) for text in texts]
    return [text for text in plain if any(pattern.search(text) for pattern in (RIDDLES, *patterns))]


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.stem)
def test_guides_have_no_riddles(path: Path) -> None:
    assert riddles(path.read_text().split("\n")) == []


@pytest.mark.parametrize("path", [*PLUGINS, *ROLES], ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_documentation_has_no_riddles(path: Path) -> None:
    assert riddles(text for document in documents(path) for text in texts(document)) == []


def test_tasks_have_no_riddles() -> None:
    names = [name for path in TASKS for name in re.findall(r"^ *- name: (.*)$", path.read_text(), re.MULTILINE)]
    assert names
    assert riddles(names) == []


def docstrings(path: Path) -> list[str]:
    nodes = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = [ast.get_docstring(node) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, nodes)]
    return [re.sub("``[^`]*``", "`code`", text) for text in found if text]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "plugins")))
def test_docstrings_are_plain(path: Path) -> None:
    texts = docstrings(path)
    assert [sentence for text in texts for sentence in long_sentences(text)] == []


def comments(path: Path) -> list[str]:
    tokens = tokenize.generate_tokens(io.StringIO(path.read_text()).readline)
    return [token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT]


@pytest.mark.parametrize("path", [*SOURCES, *TESTS], ids=lambda path: str(path.relative_to(ROOT)))
def test_docstrings_and_comments_have_no_riddles(path: Path) -> None:
    sentences = [" ".join(text.split()) for text in docstrings(path)]
    assert riddles(sentences + comments(path), CLAUSES) == []


def errors(path: Path) -> list[str]:
    """Return the texts of a file that are no documentation, with ``…`` for each value in them."""
    tree = ast.parse(path.read_text())
    documentation = [
        node
        for node in ast.walk(tree)
        if (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        or (isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in ("DOCUMENTATION", "EXAMPLES", "RETURN"))
    ]
    left_out = {id(part) for node in documentation for part in ast.walk(node.value)}
    return [
        "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in getattr(node, "values", [node]))
        for node in ast.walk(tree)
        if id(node) not in left_out
        and (isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str)))
    ]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "plugins")))
def test_errors_have_no_riddles(path: Path) -> None:
    assert riddles(text for text in errors(path) if text.count(" ") > 1) == []


def test_riddles_are_found() -> None:
    plain = ["The server tells apart `told` and ``anew``.", "Neither a key nor a bucket.", "What is this? It is plain."]
    assert riddles(plain[1:], CLAUSES) == []
    assert riddles(plain) == ["The server tells apart `code` and `code`."]
    puzzling = ["Whoever waits.", "It is made anew.", "Nobody was told.", "Take it away.", "Look at it."]
    assert riddles(puzzling) == puzzling
    clauses = [
        "What is stored.",
        "Yes: who reads.",
        "All: Who reads.",
        "Neither now, or later.",
        "Read it. Whose it is.",
    ]
    assert riddles(clauses, CLAUSES) == [clauses[0], *clauses[2:]]


def vague_names(source: str) -> list[str]:
    """Variables and parameters whose names say nothing of what they hold."""
    stored = [
        node.id
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    ]
    parameters = [node.arg for node in ast.walk(ast.parse(source)) if isinstance(node, ast.arg)]
    return sorted(VAGUE.intersection(stored + parameters))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "plugins")))
def test_variables_are_named_by_the_noun_that_they_hold(path: Path) -> None:
    assert vague_names(path.read_text()) == []


def test_tests_have_no_variable_that_was_told() -> None:
    assert [path for path in TESTS if "told" in vague_names(path.read_text())] == []


def test_vague_names_are_found() -> None:
    assert vague_names("def f(told, *, known=1):\n    (found, row), names = wanted, [seen for seen in told]") == [
        "found",
        "known",
        "seen",
        "told",
    ]


# Methods that Ansible calls, and documents
OF_ANSIBLE = re.compile(r"run|filters|v2_\w+|get_option_and_origin")


def classes(source: str) -> list[ast.ClassDef]:
    return [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ClassDef)]


def bases(node: ast.ClassDef) -> list[str]:
    return [ast.unparse(base).rpartition(".")[2] for base in node.bases]


def documented(node: ast.ClassDef) -> dict[str, bool]:
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {item.name: bool(ast.get_docstring(item)) for item in node.body if isinstance(item, functions)}


ALL_CLASSES = {node.name: node for path in SOURCES for node in classes(path.read_text())}
OF_PROTOCOLS = {
    name
    for node in ALL_CLASSES.values()
    if "Protocol" in bases(node)
    for name, has_docstring in documented(node).items()
    if has_docstring
}


def inherited(node: ast.ClassDef) -> Iterator[str]:
    """The methods of the classes that a class inherits from."""
    for base in bases(node):
        if base in ALL_CLASSES:
            yield from documented(ALL_CLASSES[base])
            yield from inherited(ALL_CLASSES[base])


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "plugins")))
def test_methods_are_documented(path: Path) -> None:
    """In their class, in one that it inherits from, or in the protocol that it implements, which ruff does not know."""
    assert [
        f"{node.name}.{name}"
        for node in classes(path.read_text())
        if not node.name.startswith("_")
        for name, has_docstring in documented(node).items()
        if not (has_docstring or name.startswith("_") or OF_ANSIBLE.fullmatch(name))
        and name not in OF_PROTOCOLS.union(inherited(node))
    ] == []


def test_long_sentences_are_found() -> None:
    words = "word " * LONGEST
    assert (
        long_sentences(f"{words}.\n\n- {words}\n- {words}\n\n```text\n{words * 2}\n```\n`{words * 2}` {words[:-5]}")
        == []
    )
    assert len(long_sentences(f"{words}`one more`. {words}more\nand more.")) == 2
