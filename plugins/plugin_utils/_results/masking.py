# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove secrets from events: known values, values of secret keys, and credentials in URLs."""

from __future__ import annotations

import bisect
import json
import re
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ...module_utils._options import mask
from ...module_utils._options.mask import HIDDEN, PATTERNS, SHORTEST, Mask

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# What is shorter than this may be a part of any word, and is taken for a secret only where it stands by itself
_SHORT = 8
# How much of a text is looked at beside a known secret, to tell that there is one
_MARGIN = 256
# What ansible-core 2.22 writes in the place of secrets that it knows itself
_OF_ANSIBLE = "$REDACTED$"
_COMMON = frozenset(("true", "false", "null", "none", "omit", "default"))


class Masking:
    """Knows secrets. ``keys`` are patterns beside the usual ones, ``expressions`` match further secrets.

    Most events have no secrets: ``suspects`` checks the whole text of an event, and ``text`` and ``hides`` are called
    only for those that it reports.
    """

    def __init__(self, keys: Iterable[str] = (), expressions: Iterable[str] = ()) -> None:
        """Compile the patterns. Raises ValueError for an invalid expression."""
        self._mask = Mask([*PATTERNS, *keys])
        self._looked_for = (*self._mask.words, "bearer ", "basic ", _OF_ANSIBLE.lower())
        self._expressions = [_compiled(expression) for expression in expressions]
        # How each secret may be written, the longest first, since one may be a part of another; where it is one, where
        # that is not everywhere; how it is in JSON; and how long they are
        self._order: list[tuple[int, str]] = []
        self._known: dict[str, re.Pattern[str] | None] = {}
        self._needles: dict[str, None] = {}
        self.longest = 0
        # Learned since
        self._news: dict[str, re.Pattern[str] | None] = {}
        self._lock = threading.Lock()

    def hides(self, key: str) -> bool:
        """Return True if the value of such a key is a secret."""
        return self._mask.hides(key)

    def add(self, secret: str) -> None:
        """Add a secret, in all the forms in which it may be written."""
        lines = [line.strip() for line in secret.splitlines()]
        for text in (secret.strip(), *(line for line in lines if len(line) >= _SHORT)):
            if len(text) >= SHORTEST and text.lower() not in _COMMON and text not in self._known:
                forms = (text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1], quote(text, ""))
                self.longest = max(self.longest, *map(len, forms))
                with self._lock:
                    self._news.update((form, _alone(form) if len(text) < _SHORT else None) for form in forms)

    @property
    def reach(self) -> int:
        """The distance in characters from a cut in which a part of a secret may be."""
        return self.longest + _MARGIN

    def knows(self, text: str) -> bool:
        """Return True if the whole text is a known secret."""
        self._prepare()
        return text in self._known

    def suspects(self, payload: str) -> bool:
        """Return True if the JSON of an event may contain a secret."""
        if self._expressions or "@" in payload:
            return True
        lower = payload.lower()
        for word in self._looked_for:
            if word in lower:
                return True
        self._prepare()
        # Another thread may make more of them known meanwhile
        return any(needle in payload for needle in tuple(self._needles))

    def text(self, text: str) -> str:
        """Return the text without secrets."""
        self._prepare()
        for _length, known in self._order:
            if known in text:
                alone = self._known[known]
                text = alone.sub(HIDDEN, text) if alone else text.replace(known, HIDDEN)
        text = mask.text(text.replace(_OF_ANSIBLE, HIDDEN), self._mask)
        for expression in self._expressions:
            text = expression.sub(HIDDEN, text)
        return text

    def pair(self, mapping: Mapping[Any, Any]) -> bool:
        """Return True if ``value`` of a mapping is a secret according to its ``name`` or ``key``."""
        return self._mask.hides_value_of(mapping)

    def _prepare(self) -> None:
        """Add new secrets to the known ones. Thousands of hosts may add some, so the known ones stay in place."""
        if not self._news:
            return
        with self._lock:
            for form, alone in self._news.items():
                new = form not in self._known
                self._known[form] = alone
                if new:
                    bisect.insort(self._order, (-len(form), form))
                    self._needles[json.dumps(form, ensure_ascii=False)[1:-1]] = None
            self._news = {}


def _compiled(expression: str) -> re.Pattern[str]:
    try:
        return re.compile(expression)
    except re.error as error:
        raise ValueError(f"'{expression}' is not a regular expression: {error}") from error


def _alone(text: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(text)}(?!\w)")
