# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Masks secrets in texts by what stands around them: URLs, PEM, bearer tokens, and what follows a telling key."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .mask import HIDDEN

if TYPE_CHECKING:
    from .mask import Mask

# Words are taken whole (by looking ahead, since Python 3.9 has no ++), and looks ahead are bounded: the time must not
# grow with the square of a long word
_URL = re.compile(r"://(?:[^\s/?#]{0,999}@|[^\s/@:]{0,99}:(?!\d+[/?#])[^\s@]{0,999}@)")
# A server's address with credentials before it, and no scheme: an image's digest (@sha256:…) is no port
_NO_SCHEME = re.compile(
    r"""(?<![^\s,;"'(\[{=])[^\s:@/,;"'(\[{=]{1,99}:[^\s@"']{1,255}(?=@[\w.-]{1,255}:\d{1,5}(?!\w))"""
)
_ASSIGNED = re.compile(
    r"""(?<![\w.-])(?=(?P<key>[\w.-]+))(?P=key)\\*["']?\s*(?:=>|[:=])\s*(?:(?:bearer|basic|digest|token)\s+)?""",
    re.IGNORECASE,
)
_VALUE = re.compile(r"""(?P<quote>\\*["']).*?(?P=quote)|[^\s&"'<>\\]+""")
_OPTION = re.compile(r"""(?<![\w-])(?=(?P<key>--?\w[\w-]*))(?P=key)["']?(?:,\s*|\s+)["']?""")
_WORD = re.compile(r"""(?P<quote>)[^\s"',]+""")
_BEARER = re.compile(r"\b(bearer|basic) +[\w.~+/=-]{8,}", re.IGNORECASE)
_PEM = re.compile(r"-----BEGIN ([A-Z ]*PRIVATE KEY)-----.*?(?:-----END \1-----|\Z)", re.DOTALL)


def masked(text: str, mask: Mask) -> str:
    """Return the text without secrets. The mask tells the keys whose values they are."""
    if "@" in text:
        text = _URL.sub("://", text) if "://" in text else text
        text = _NO_SCHEME.sub(HIDDEN, text)
    if "PRIVATE KEY" in text:
        text = _PEM.sub(HIDDEN, text)
    text = _BEARER.sub(rf"\1 {HIDDEN}", text)
    lower = text.lower()
    if any(word in lower for word in mask.words):
        text = _without_values(_ASSIGNED, _VALUE, text, mask)
        text = _without_values(_OPTION, _WORD, text, mask)
    return text


def _without_values(keys: re.Pattern[str], values: re.Pattern[str], text: str, mask: Mask) -> str:
    """Return the text with marks in the places of the values that follow telling keys."""
    parts, end = [], 0
    for key in keys.finditer(text):
        value = values.match(text, key.end()) if key.end() > end and mask.hides(key["key"]) else None
        if value:
            mark = value["quote"] or ""
            parts.append(f"{text[end : key.end()]}{mark}{HIDDEN}{mark}")
            end = value.end()
    return "".join([*parts, text[end:]])
