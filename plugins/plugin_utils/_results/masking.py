# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove secrets from events: known values, values of secret keys, and credentials in URLs."""

from __future__ import annotations

import base64
import html
import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus

from markupsafe import escape

from ...module_utils._options import mask
from ...module_utils._options.mask import HIDDEN, PATTERNS, SHORTEST, Mask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

# A shorter secret may be a part of any word, so it is masked only where it is a whole word
_SHORT = 8
# How far from a cut a part of a secret is searched, in characters beyond the length of the longest secret
_MARGIN = 256
# The text by which ansible-core 2.22 replaces secrets that it knows itself
_OF_ANSIBLE = "$REDACTED$"
_COMMON = frozenset(("true", "false", "null", "none", "omit", "default"))
# Characters that all forms of a secret have as they are
_UNCHANGED = re.compile(r"[A-Za-z0-9_.~-]+")
# A template in a secret file is rendered to a text that is not known, but the rest of its line is known
_PIECES = re.compile(r"\n|\r|\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}")
# Text in Base64, that of URLs or hexadecimal, perhaps in lines, which are in JSON or indented
_CODE = "[A-Za-z0-9+/_-]"
_LINE_ENDS = r"(?:\s|\\+[rn])+"
_BETWEEN = re.compile(_LINE_ENDS)
_LINE = 40
_IN_LINES = re.compile(rf"{_CODE}{{{_LINE}}}{_LINE_ENDS}")
_RUN = re.compile(rf"(?:{_CODE}{{{_LINE},}}{_LINE_ENDS})*{_CODE}{{2,}}={{0,2}}")
_OF_URLS = str.maketrans("+/", "-_")
_PERCENT = re.compile("%[0-9A-F]{2}")
# JSON of programs in Go
_OF_GO = str.maketrans({"&": r"\u0026", "<": r"\u003c", ">": r"\u003e"})
# A shorter one may be a part of any text
_SHORTEST_CODE = 6
# More parts of secrets than these are searched for at once
_MANY = 500
# Parts of many words of secret keys. A text without such a part is not searched for these words
_PARTS = ("pass", "key")


class Masking:
    """Knows secrets. ``keys`` are patterns beside the usual ones, ``expressions`` match further secrets.

    Most events have no secrets: ``suspects`` checks the whole text of an event, and ``text`` and ``hides`` are called
    only for those that it reports.
    """

    def __init__(self, keys: Iterable[str] = (), expressions: Iterable[str] = ()) -> None:
        """Compile the patterns. Raises ValueError for an invalid expression."""
        self._mask = Mask([*PATTERNS, *keys])
        self._signs = _by_part((*self._mask.words, "bearer ", "basic ", "sig=", "signature=", _OF_ANSIBLE.lower()))
        self._expressions = [_compiled(expression) for expression in expressions]
        # How secrets may be written, by a part that all forms of a secret have, or by "" without such a part
        self._forms: dict[str, list[str]] = {"": []}
        # These parts by their last four letters, or by none. A text is searched for the letters of many parts at once,
        # so that their number hardly matters. A search for each of a few parts takes less time
        self._parts: dict[tuple[str, ...], list[str]] = {(): [""]}
        # Where a form is a secret, if that is not everywhere; and the forms that are parts of encoded secrets
        self._known: dict[str, re.Pattern[str] | None] = {}
        self._codes: set[str] = set()
        self.longest = 0
        self.source: Callable[[], Iterable[str]] = tuple
        """Returns secrets that were found elsewhere since the last call."""

    def hides(self, key: str) -> bool:
        """Return True if the value of such a key is a secret."""
        return self._mask.hides(key)

    def add(self, secret: str) -> None:
        """Add a secret, in all the forms in which it may be written."""
        pieces = [piece.strip() for piece in _PIECES.split(secret)]
        for text in (secret.strip(), *(piece for piece in pieces if len(piece) >= _SHORT)):
            if len(text) >= SHORTEST and text.lower() not in _COMMON and text not in self._known:
                part = max(_UNCHANGED.findall(text), key=len, default="")
                forms, codes = _forms(text), _codes(text)
                self._known.update({form: _whole_word(form) if len(text) < _SHORT else None for form in forms})
                self._codes |= codes
                self.longest = max(self.longest, *map(len, forms | codes))
                # Last, since another thread may be searching
                for form, same in (*((form, part) for form in forms), *zip(codes, codes)):
                    new = same not in self._forms
                    self._forms.setdefault(same, []).append(form)
                    if new:
                        self._parts.setdefault(tuple(same[-4:]) if len(same) >= 4 else (), []).append(same)

    def update(self) -> None:
        """Add the secrets of the source."""
        for secret in self.source():
            self.add(secret)

    @property
    def reach(self) -> int:
        """The distance in characters from a cut in which a part of a secret may be."""
        return self.longest + _MARGIN

    def knows(self, text: str) -> bool:
        """Return True if the whole text is a known secret."""
        return text in self._known

    def suspects(self, payload: str) -> bool:
        """Return True if the JSON of an event may contain a secret."""
        if self._expressions or "@" in payload:
            return True
        lower = payload.lower()
        for part, words in self._signs.items():
            if part in lower and any(map(lower.__contains__, words)):
                return True
        return bool(self._forms_in(payload))

    def _forms_in(self, text: str) -> set[str]:
        """Return how known secrets are written in the text."""
        forms: set[str] = set()
        for view in (text, _in_one_line(text)) if self._codes and _has_long_lines(text) else (text,):
            if len(self._forms) > _MANY:
                letters = {(), *filter(self._parts.__contains__, zip(view, view[1:], view[2:], view[3:]))}
                parts = [part for four in letters for part in tuple(self._parts[four])]
            else:
                parts = list(self._forms)
            forms.update(form for part in parts if part in view for form in tuple(self._forms[part]) if form in view)
        return forms

    def text(self, text: str) -> str:
        """Return the text without secrets."""
        forms = self._forms_in(text)
        codes = forms & self._codes
        if codes:
            text = _RUN.sub(lambda run: HIDDEN if any(map(_in_one_line(run[0]).__contains__, codes)) else run[0], text)
        # The longest first, since one may be a part of another
        for secret in sorted(forms - codes, key=len, reverse=True):
            alone = self._known[secret]
            text = alone.sub(HIDDEN, text) if alone else text.replace(secret, HIDDEN)
        text = mask.text(text.replace(_OF_ANSIBLE, HIDDEN), self._mask)
        for expression in self._expressions:
            text = expression.sub(HIDDEN, text)
        return text

    def hides_next(self, item: Any) -> bool:
        """Return True if the item of a list is an option, such as ``--password``, and the next one is its value."""
        return isinstance(item, str) and item.startswith("-") and self.hides(item)

    def pair(self, mapping: Mapping[Any, Any]) -> bool:
        """Return True if ``value`` of a mapping is a secret according to its ``name`` or ``key``."""
        return self._mask.hides_value_of(mapping)


def _by_part(words: Iterable[str]) -> dict[str, list[str]]:
    """Return the words by the part that is searched first, which is the word itself for most."""
    grouped: dict[str, list[str]] = {}
    for word in words:
        grouped.setdefault(next((part for part in _PARTS if part in word), word), []).append(word)
    return grouped


def _compiled(expression: str) -> re.Pattern[str]:
    try:
        return re.compile(expression)
    except re.error as error:
        raise ValueError(f"'{expression}' is not a regular expression: {error}") from error


def _forms(text: str) -> set[str]:
    """Return how a secret may be written: in JSON, in JSON inside of JSON, in URLs, Python, shells and HTML."""
    in_json = {json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]}
    in_json |= {form.translate(_OF_GO) for form in in_json} | {form.replace("/", "\\/") for form in in_json}
    in_urls = {quote(text, ""), quote(text), quote_plus(text), quote_plus(text, "/")}
    in_urls |= {_PERCENT.sub(lambda code: code[0].lower(), form) for form in in_urls}
    in_html = {str(escape(text)), html.escape(text), html.escape(text, quote=False)}
    in_shells = {text.replace("'", quoted) for quoted in ("'\"'\"'", "'\\''")}
    twice = {json.dumps(form)[1:-1] for form in in_json}
    forms = {text, *in_json, *twice, *in_urls, *in_html, *in_shells, repr(text)[1:-1]}
    return forms | {json.dumps(form, ensure_ascii=False)[1:-1] for form in forms}


def _codes(text: str) -> set[str]:
    """Return those parts of encoded text that depend on the secret alone, wherever it begins in what is encoded."""
    data = text.encode(errors="replace")
    codes = {data.hex(), data.hex().upper()}
    for before in range(3):
        code = base64.b64encode(bytes(before) + data).decode()
        code = code[-(-before * 8 // 6) : (before + len(data)) * 8 // 6]
        codes |= {code, code.translate(_OF_URLS)}
    return {code for code in codes if len(code) >= _SHORTEST_CODE}


def _has_long_lines(text: str) -> bool:
    """Return True if the text may have code in several lines."""
    return max(map(len, text.split()), default=0) >= _LINE and bool(_IN_LINES.search(text))


def _in_one_line(text: str) -> str:
    return _BETWEEN.sub("", text)


def _whole_word(text: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(text)}(?!\w)")
