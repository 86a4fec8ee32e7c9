# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The guides are written in short sentences."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GUIDES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LONGEST = 35  # words
# Comments and boxes; where a paragraph, an item, a heading or a cell of a table ends; and where a sentence does
LEFT_OUT = re.compile(r"<!--.*?-->|^( *)```.*?^\1```$", re.DOTALL | re.MULTILINE)
PARTS = re.compile(r"\n\s*\n|\n(?=\s*(?:[-*] |\d+\. |#))|\|")
SENTENCES = re.compile(r"(?<=[.!?:])\s+")


def long_sentences(text: str) -> list[str]:
    """Sentences with more words than allowed. What is in backquotes is one word."""
    plain = re.sub(r"\]\([^)]*\)", "]", re.sub(r"`[^`]*`", "code", LEFT_OUT.sub("\n\n", text)))
    found = [sentence for part in PARTS.split(plain) for sentence in SENTENCES.split(" ".join(part.split()))]
    return [sentence for sentence in found if len(re.findall(r"\S*\w\S*", sentence)) > LONGEST]


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.stem)
def test_sentences_are_short(path: Path) -> None:
    assert long_sentences(path.read_text()) == []


def test_what_would_be_found() -> None:
    words = "word " * LONGEST
    assert (
        long_sentences(f"{words}.\n\n- {words}\n- {words}\n\n```text\n{words * 2}\n```\n`{words * 2}` {words[:-5]}")
        == []
    )
    assert len(long_sentences(f"{words}`one more`. {words}more\nand more.")) == 2
