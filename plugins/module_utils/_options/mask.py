# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Recognize keys that hold secrets, and mask options and texts."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from . import codecs, fields

if TYPE_CHECKING:
    from collections.abc import Iterable

# Also the default of the option `mask`, documented in plugins/doc_fragments/mask.py
PATTERNS = (
    "*passw*",
    "*passphrase*",
    "*_pass",
    "*.pass",
    "*-pass",
    "*secret*",
    "*token*",
    "*credential*",
    "*apikey*",
    "*api_key*",
    "*api-key*",
    "*access_key*",
    "*private*key*",
    "*encryption*key*",
    "*.key",
    "*seed",
    "*authorization*",
    "*cookie*",
)
# What is shorter may be a part of any word, and is no secret that is looked for in texts
SHORTEST = 4
HIDDEN = "(masked)"
CHANGED = "(masked, another value)"
MASK = fields.Field("mask", codecs.names(), argument_extra={"default": list(PATTERNS)})

# What users write for others is not shown, whatever its key: the content of files and messages, which has no key, and
# the values of variables and headers
_WHOLE = frozenset(("content", "payload"))
_VALUES = frozenset(("environment", "headers"))
_WILD = re.compile(r"\*|\?|\[.*?\]")
_SCHEME = re.compile(r"\s*(?:\w+:/+)?")
_HOST = re.compile(r"(?:[\w.-]+|\[[\w:.%]+\])(?::\d{1,5})?/?\s*")
# In a text. They are strings, which re compiles where they are used and keeps: most modules need none of them.
# Words are taken whole (by looking ahead, since Python 3.9 has no ++), and looks ahead are bounded: the time must not
# grow with the square of a long word.
_URL = r"://(?:[^\s/?#]{0,999}@|[^\s/@:]{0,99}:(?!\d+[/?#])[^\s@]{0,999}@)"
# A server's address with credentials before it, and no scheme: an image's digest (@sha256:…) is no port
_NO_SCHEME = r"""(?<![^\s,;"'(\[{=])[^\s:@/,;"'(\[{=]{1,99}:[^\s@"']{1,255}(?=@[\w.-]{1,255}:\d{1,5}(?!\w))"""
_ASSIGNED = (
    r"""(?i)(?<![\w.-])(?=(?P<key>[\w.-]+))(?P=key)\\*["']?\s*(?:=>|[:=])\s*(?:(?:bearer|basic|digest|token)\s+)?"""
)
_VALUE = r"""(?P<quote>\\*["']).*?(?P=quote)|[^\s&"'<>\\]+"""
_OPTION = r"""(?<![\w-])(?=(?P<key>--?\w[\w-]*))(?P=key)["']?(?:,\s*|\s+)["']?"""
_WORD = r"""(?P<quote>)[^\s"',]+"""
_BEARER = r"(?i)\b(bearer|basic) +[\w.~+/=-]{8,}"
_PEM = r"(?s)-----BEGIN ([A-Z ]*PRIVATE KEY)-----.*?(?:-----END \1-----|\Z)"


class Mask:
    """Recognizes keys whose values must not be shown. Upper and lower case are the same.

    Each key that it hides has one of its ``words``.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        lower = [str(pattern).lower() for pattern in patterns]
        anyone = "|".join(map(fnmatch.translate, lower))
        self._pattern = re.compile(anyone) if anyone else None
        self._known: dict[str, bool] = {}
        self.words = sorted({max(_WILD.split(pattern), key=len) for pattern in lower})

    def hides(self, key: str) -> bool:
        """Return True if the value of this key is a secret."""
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = bool(self._pattern and self._pattern.match(key.lower()))
        return found

    def hides_value_of(self, mapping: Mapping[Any, Any]) -> bool:
        """Return True if ``value`` of a mapping is a secret according to its ``name`` or ``key``."""
        name = mapping.get("name", mapping.get("key"))
        return isinstance(name, str) and "value" in mapping and self.hides(name)


USUAL = Mask(PATTERNS)


def shown(options: Mapping[str, Any], arguments: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
    """Return the options of a module as results and logs may show them.

    ``arguments`` is the argument specification, which marks secrets with ``no_log``. Other names may be secrets.
    Credentials in URLs are masked, and values by their keys at any depth. The option ``mask`` replaces the usual
    patterns.
    """
    given = options.get("mask")
    mask = Mask(given) if isinstance(given, list) else USUAL
    # What is published on a subject
    whole = {*_WHOLE, "data"} if "subject" in options else _WHOLE
    found = {}
    for name, value in options.items():
        if is_nothing(value):
            found[name] = value
        elif name in whole or _is_secret(name, arguments, mask) or (name == "value" and mask.hides_value_of(options)):
            found[name] = HIDDEN
        elif name == "servers":
            urls = value if isinstance(value, (list, tuple)) else [value]
            found[name] = [without_credentials(str(url)) for url in urls]
        elif name in _VALUES:
            found[name] = _without_values(value)
        else:
            found[name] = nested(value, mask)
    return found


def _is_secret(name: str, arguments: Mapping[str, Any], mask: Mask) -> bool:
    return bool(arguments[name].get("no_log")) if name in arguments else mask.hides(name)


def nested(value: Any, mask: Mask) -> Any:
    """Return data without the values of keys that the mask hides."""
    if isinstance(value, (list, tuple)):
        return [nested(item, mask) for item in value]
    if isinstance(value, str):
        return text(value, mask)
    if not isinstance(value, Mapping):
        return value
    paired, found = mask.hides_value_of(value), {}
    for key, item in value.items():
        if is_nothing(item):
            found[key] = item
        elif key in _VALUES:
            found[key] = _without_values(item)
        elif key in _WHOLE or mask.hides(str(key)) or (key == "value" and paired):
            found[key] = HIDDEN
        else:
            found[key] = nested(item, mask)
    return found


def text(value: str, mask: Mask) -> str:
    """Return the text without secrets: credentials in URLs, PEM, bearer tokens, and the values of secret keys."""
    lower = value.lower()
    if "@" in value:
        value = re.sub(_URL, "://", value) if "://" in value else value
        value = re.sub(_NO_SCHEME, HIDDEN, value)
    if "PRIVATE KEY" in value:
        value = re.sub(_PEM, HIDDEN, value)
    if "bearer" in lower or "basic" in lower:
        value = re.sub(_BEARER, rf"\1 {HIDDEN}", value)
    if any(word in lower for word in mask.words):
        value = _without_assigned(_ASSIGNED, _VALUE, value, mask)
        value = _without_assigned(_OPTION, _WORD, value, mask)
    return value


def _without_assigned(keys: str, values: str, text: str, mask: Mask) -> str:
    """Return the text with the values masked that follow keys which the mask hides."""
    parts, end, pattern = [], 0, re.compile(values)
    for key in re.finditer(keys, text):
        value = pattern.match(text, key.end()) if key.end() > end and mask.hides(key["key"]) else None
        if value:
            mark = value["quote"] or ""
            parts.append(f"{text[end : key.end()]}{mark}{HIDDEN}{mark}")
            end = value.end()
    return "".join([*parts, text[end:]])


def is_nothing(value: Any) -> bool:
    """Return True if the value can't be a secret: a boolean or an empty value."""
    return value is None or isinstance(value, bool) or (isinstance(value, str) and not value)


def without_credentials(urls: str) -> str:
    """Return comma-separated URLs of servers without the part before an @. Anything else is masked."""
    return ",".join(_without_credentials(url) for url in urls.split(","))


def _without_credentials(url: str) -> str:
    _before, at, host = url.rpartition("@")
    scheme = _SCHEME.match(url)
    start = scheme.group() if scheme else ""
    if at:
        start += f"{HIDDEN}@"
    else:
        host = url[len(start) :]
    return start + (host if _HOST.fullmatch(host) else HIDDEN)


def _without_values(value: Any) -> Any:
    """Return names without their values, of a dict or a list such as ``[NAME=value]``."""
    if isinstance(value, Mapping):
        return {name: item if is_nothing(item) else HIDDEN for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [f"{item.partition('=')[0]}={HIDDEN}" if "=" in str(item) else HIDDEN for item in map(str, value)]
    return HIDDEN
