# Copyright (c) 2026 The choria.streams developers
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
    *("*passw*", "*passphrase*", "*_pass", "*.pass", "*-pass", "*secret*", "*token*", "*credential*", "*apikey*"),
    *("*api_key*", "*api-key*", "*access_key*", "*private*key*", "*encryption*key*", "*.key", "*seed"),
    *("*authorization*", "*cookie*"),
)
# A shorter value may be a part of any word, so it is not searched in texts
SHORTEST = 4
HIDDEN = "(masked)"
CHANGED = "(masked, another value)"
MASK = fields.Field("mask", codecs.names(), argument_extra={"default": list(PATTERNS)})

# Hidden whatever their keys are: the content of files and messages, and the values of variables and headers
_HIDDEN_WHOLE = frozenset(("content", "payload"))
_VALUES = frozenset(("environment", "headers"))
_WILD = re.compile(r"\*|\?|\[.*?\]")
_SCHEME = re.compile(r"\s*(?:\w+:/+)?")
_HOST = re.compile(r"(?:[\w.-]+|\[[\w:.%]+\])(?::\d{1,5})?/?\s*")
# In a text. Strings, which re compiles where they are used: most modules need none. Words are taken whole (by looking
# ahead, since Python 3.9 has no ++), and looks ahead are bounded: time must not grow with the square of a word.
_URL = r"://(?:[^\s/?#]{0,999}@|[^\s/@:]{0,99}:(?!\d+[/?#])[^\s@]{0,999}@)"
# A server's address with credentials before it, and no scheme: an image's digest (@sha256:…) is not a port
_NO_SCHEME = r"""(?<![^\s,;"'(\[{=])[^\s:@/,;"'(\[{=]{1,99}:[^\s@"']{1,255}(?=@[\w.-]{1,255}:\d{1,5}(?!\w))"""
_KEY = r"(?=(?P<key>[\w.-]+))(?P=key)"
_IS = r"""\\*["']?\s*[:=]>?[ \t]*"""
_ASSIGNED = rf"(?i)(?<![\w.-]){_KEY}{_IS}(?:(?:bearer|basic|digest|token)\s+)?"
_QUOTED = r"""(?P<quote>\\*["'])(?:(?s:.{0,9999}?)(?P=quote)|.*)"""
_BLOCK = r"(?:[|>][-+\d]*)?\n[-+]?(?P<indent>[ \t]+|- ).*(?:\n[-+]?(?:(?P=indent).*|(?=\n)))*"
_NEST = r"[\[{](?:[^\[\]{}]|[\[{](?:[^\[\]{}]|[\[{][^\[\]{}]*[\]}])*[\]}])*[\]}]?"
_VALUE = rf"""{_BLOCK}|\s*(?:{_QUOTED}|{_NEST}|[^\s&"'<>\\]+)"""
_HEADER = rf"""\s*(?:{_QUOTED}|[^\n"'<>\\]+)"""
# Followed by the end of its key, and perhaps by an assignment: text without any takes a tenth of the time
_ENDS = r"[^\s:=]*\s*([:=])?"
# It begins with a literal, which re finds many times faster than a class of characters
_OPTION = r"""(?P<key>-(?<![\w-]-)-?\w[\w-]*)(?![\w-])["']?(?:,\s*|\s+)"""
_WORD = rf"""{_QUOTED}|[^\s"',]+"""
_NAMED = rf"""(?:name|key){_IS}\\*["']"""  # such as name: DB_PASSWORD, value: …
_PAIR = rf"""(?i)(?<![\w.-]){_NAMED}?{_KEY}\\*["']?(?:[\s,;+-]|\\+[nrt])+\\*["']?value{_IS}"""
_TAG = rf"""(?i)<(?:[\w-]+:|[\w.:-]+\s[^<>]{{0,999}}?{_NAMED})?{_KEY}[^<>]{{0,999}}(?<!/)>"""
_ELEMENT = r"(?P<quote>)[^<]+(?=</|\Z)"
# Further patterns, each with a sign without which no text matches it
_MORE = (("value", _PAIR, _VALUE), (">", _TAG, _ELEMENT), ("-", _OPTION, _WORD))
_SIGNED = r"""(?i)([?&](?:[\w-]*signature|sig)=)[^\s&"'<>\\]+"""
_BEARER = r"(?i)\b(bearer|basic) +[\w.~+/=-]{8,}"
_PEM = r"(?s)-----BEGIN ([A-Z ]*PRIVATE KEY)-----.*?(?:-----END \1-----|\Z)"


class Mask:
    """Recognizes keys whose values must not be shown. Upper and lower case are the same.

    Each key that it hides has one of its ``words``.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        lower = [str(pattern).lower() for pattern in patterns]
        self._pattern = re.compile("|".join(map(fnmatch.translate, lower)) or "(?!)")
        self._known: dict[str, bool] = {}
        self.words = sorted({max(_WILD.split(pattern), key=len) for pattern in lower})

    def hides(self, key: str) -> bool:
        """Return True if the value of this key is a secret."""
        hidden = self._known.get(key)
        if hidden is None:
            hidden = self._known[key] = bool(self._pattern.match(key.lower()))
        return hidden

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
    # Published messages
    whole = {*_HIDDEN_WHOLE, "data"} if "subject" in options else _HIDDEN_WHOLE
    masked = {}
    for name, value in options.items():
        secret = arguments[name].get("no_log") if name in arguments else mask.hides(name)
        if is_nothing(value):
            masked[name] = value
        elif name in whole or secret or (name == "value" and mask.hides_value_of(options)):
            masked[name] = HIDDEN
        elif name == "servers":
            urls = value if isinstance(value, (list, tuple)) else [value]
            masked[name] = [without_credentials(str(url)) for url in urls]
        elif name in _VALUES:
            masked[name] = _without_values(value)
        else:
            masked[name] = nested(value, mask)
    return masked


def nested(value: Any, mask: Mask) -> Any:
    """Return data without the values of keys that the mask hides."""
    if isinstance(value, (list, tuple)):
        return [nested(item, mask) for item in value]
    if isinstance(value, str):
        return text(value, mask)
    if not isinstance(value, Mapping):
        return value
    paired, masked = mask.hides_value_of(value), {}
    for key, item in value.items():
        if is_nothing(item):
            masked[key] = item
        elif key in _VALUES:
            masked[key] = _without_values(item)
        elif key in _HIDDEN_WHOLE or mask.hides(str(key)) or (key == "value" and paired):
            masked[key] = HIDDEN
        else:
            masked[key] = nested(item, mask)
    return masked


def text(value: str, mask: Mask) -> str:
    """Return the text without secrets: parts of URLs, PEM, bearer tokens, and the values of secret keys."""
    lower = value.lower()
    if "@" in value:
        value = re.sub(_URL, "://", value) if "://" in value else value
        value = re.sub(_NO_SCHEME, HIDDEN, value) if re.search(r"@[\w.-]+:\d", value) else value
    value = re.sub(_SIGNED, rf"\1{HIDDEN}", value) if "sig" in lower else value
    if "PRIVATE KEY" in value:
        value = re.sub(_PEM, HIDDEN, value)
    if "bearer" in lower or "basic" in lower:
        value = re.sub(_BEARER, rf"\1 {HIDDEN}", value)
    words = [word for word in mask.words if word in lower]
    if any(end[1] for word in words for end in re.finditer(re.escape(word) + _ENDS, lower)):
        value = _without_assigned(_ASSIGNED, _VALUE, value, mask)
    for sign, keys, values in _MORE if words else ():
        value = _without_assigned(keys, values, value, mask) if sign in lower else value
    return value


def _without_assigned(keys: str, values: str, text: str, mask: Mask) -> str:
    """Return the text with the values masked that follow keys which the mask hides."""
    parts, end = [], 0
    for key in re.finditer(keys, text):
        header = values == _VALUE and key["key"].lower().endswith(("authorization", "cookie"))
        pattern = re.compile(_HEADER if header else values)
        value = pattern.match(text, key.end()) if key.end() > end and mask.hides(key["key"]) else None
        if value:
            parts += [text[end : key.end()], HIDDEN.join([value["quote"] or ""] * 2)]
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
