# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What servers take as a transform of subjects (server/subject_transform.go). Pure."""

from __future__ import annotations

import re

_FUNCTION = re.compile(r"\{\{\s*(\w+)\s*\((.*)\)\s*\}\}")
# By function: how many arguments it takes, at least and at most
_FUNCTIONS: dict[str, tuple[int, int]] = {
    "wildcard": (1, 1),
    "partition": (1, 99),
    "splitfromleft": (2, 2),
    "splitfromright": (2, 2),
    "slicefromleft": (2, 2),
    "slicefromright": (2, 2),
    "split": (2, 2),
    "left": (2, 2),
    "right": (2, 2),
    "random": (1, 1),
}
_WITHOUT_WORDS = ("partition", "random")


def problem(src: str, dest: str) -> str:
    """Return why the server would refuse a transform, or an empty text."""
    if not dest:
        return ""
    words, tokens = (src or ">").split("."), dest.split(".")
    if "*" in tokens:
        return f"'{dest}' can't hold *: {{{{wildcard(1)}}}} is the first * of src"
    if (words[-1] == ">") != (tokens[-1] == ">"):
        return f"'{src or '>'}' and '{dest}' both have to end with >, or none of them"
    open_words = words.count("*")
    found = (_of_token(token, open_words, bool(open_words) or words[-1] == ">") for token in tokens)
    return next((reason for reason in found if reason), "")


def _of_token(token: str, stars: int, has_wildcards: bool) -> str:
    if token[0] == "$" and token[1:].isdecimal():
        return _out_of_range(token, [int(token[1:])], stars)
    if not (len(token) > 4 and token.startswith("{{") and token.endswith("}}")):
        return ""
    match = _FUNCTION.fullmatch(token)
    name, given = (match[1].lower(), [text.strip() for text in match[2].split(",")]) if match else ("", [])
    if name not in _FUNCTIONS:
        return f"'{token}' is no function of the server, such as {{{{wildcard(1)}}}}"
    least, most = _FUNCTIONS[name]
    if not least <= len(given) <= most or not all(given):
        return f"'{token}' has too few or too many arguments"
    numbers = given[:1] if name == "split" else given
    if not all(re.fullmatch(r"[+-]?\d+", text) for text in numbers):
        return f"'{token}' needs whole numbers"
    if name in _WITHOUT_WORDS:
        return _out_of_range(token, [int(text) for text in given[1:]] if has_wildcards else [], stars)
    return _out_of_range(token, [int(given[0])], stars)


def _out_of_range(token: str, places: list[int], stars: int) -> str:
    wrong = next((place for place in places if place > stars), 0)
    return f"'{token}' means * number {wrong} of src, which has {stars or 'none'}" if wrong else ""
