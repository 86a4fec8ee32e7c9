# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Convert values of keys between their forms: text, JSON or base64 in tasks and templates, bytes in the bucket.

Errors contain no part of a value, which may be a secret.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from typing import Any

from . import untrusted

TEXT, JSON, BASE64 = "text", "json", "base64"
ENCODINGS = (TEXT, JSON, BASE64)


def to_bytes(value: Any, encoding: str) -> bytes:
    """Return the bytes to store for a value. Raises ValueError with the reason.

    As text, numbers and booleans are written as in JSON: ``true``, not ``True``.
    """
    if encoding == JSON:
        return _json(value).encode()
    if isinstance(value, (dict, list)):
        kind = "dict" if isinstance(value, dict) else "list"
        raise ValueError(f"is a {kind}, which {encoding} can't hold: set encoding to json")
    text = value if isinstance(value, str) else _json(value)
    if encoding == BASE64:
        try:
            return base64.b64decode("".join(text.split()), validate=True)
        except (binascii.Error, ValueError):
            raise ValueError("is not base64: use the filter b64encode, or set encoding to text") from None
    return text.encode()


def from_bytes(data: bytes, encoding: str) -> Any:
    """Return the stored value. Raises ValueError with the reason and the place, which begins with ``is not``."""
    if encoding == BASE64:
        return base64.b64encode(data).decode()
    if encoding == JSON:
        return untrusted.load_json(data)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8 text (at byte {error.start})") from None


def equal(one: bytes, other: bytes, encoding: str) -> bool:
    """Return True if two stored values mean the same. The order of a JSON object's members does not matter."""
    if one == other or encoding != JSON:
        return one == other
    try:
        return _canonical(one) == _canonical(other)
    except ValueError:
        return False


def lines(data: bytes, encoding: str) -> str:
    """Return the value as lines for a diff. For values that are not text: the size and a digest."""
    try:
        if encoding == JSON:
            return json.dumps(from_bytes(data, JSON), indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        return str(from_bytes(data, TEXT))
    except ValueError:
        return f"{len(data)} bytes, SHA-256 {hashlib.sha256(data).hexdigest()}\n"


def _json(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        raise ValueError("holds something that JSON does not know, such as NaN: give it as text") from None


def _canonical(data: bytes) -> str:
    return json.dumps(from_bytes(data, JSON), sort_keys=True)
