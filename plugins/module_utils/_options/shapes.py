# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check data from outside against a shape: a TypedDict, a list or dict of shapes, or a plain type.

Python 3.9 evaluates the annotations, so TypedDicts write ``Optional[X]``, and have keys that may be absent in a class
with ``total=False``.
"""

from __future__ import annotations

import base64
import binascii
import re
import typing
from datetime import timezone
from functools import cache
from typing import TYPE_CHECKING, Any, NewType

from . import quantities

if TYPE_CHECKING:
    from collections.abc import Callable

    # The fault of a value, beginning with its path in the value; an empty text without a fault
    Check = Callable[[Any], str]

_NAME, _DIGITS = re.compile(r"[^\s\0]+"), re.compile(r"[+-]?[0-9]{1,4000}")

Count = NewType("Count", int)
"""A number of 0 to 2^64 - 1, which ``int`` in a shape is not: that is one of -2^63 to 2^63 - 1."""
Positive = NewType("Positive", int)
"""A number of 1 to 2^64 - 1."""
Yes = NewType("Yes", bool)
"""True, and never false."""
Name = NewType("Name", str)
"""Text without blanks and NUL that is not empty, as names and subjects are."""
Time = NewType("Time", str)
"""RFC 3339 text."""
Base64 = NewType("Base64", str)
Number = NewType("Number", str)
"""Digits with or without a sign, as counters are sent."""


def problem(value: Any, shape: Any) -> str:
    """Return the first mismatch, such as ``config.max_age is not a whole number``, or an empty text if the value fits.

    Keys that the shape does not name are ignored. The text contains no value, since it may be a secret.
    """
    return _check_of(shape)(value).lstrip(".")


@cache
def _check_of(shape: Any) -> Check:
    if shape in _PLAIN:
        return _PLAIN[shape]
    origin, inner = typing.get_origin(shape), typing.get_args(shape)
    if origin is list:
        return _list_of(_check_of(inner[0]))
    if origin is dict:
        return _dict_of(_check_of(inner[1]))
    if origin is typing.Union:  # with None
        check = _check_of(inner[0])
        return lambda value: "" if value is None else check(value)
    checks = {key: _check_of(kind) for key, kind in typing.get_type_hints(shape).items()}
    return _object_of(checks, tuple(sorted(shape.__required_keys__)))


def _object_of(checks: dict[str, Check], required: tuple[str, ...]) -> Check:
    def check(value: Any) -> str:
        if not isinstance(value, dict):
            return " is not an object"
        for key, inner in value.items():
            if key in checks:
                fault = checks[key](inner)
                if fault:
                    return f".{key}{fault}"
        missing = next((key for key in required if key not in value), "")
        return f".{missing} is missing" if missing else ""

    return check


def _list_of(item: Check) -> Check:
    def check(value: Any) -> str:
        if not isinstance(value, list):
            return " is not a list"
        return next((f"[{index}]{fault}" for index, each in enumerate(value) if (fault := item(each))), "")

    return check


def _dict_of(item: Check) -> Check:
    def check(value: Any) -> str:
        if not isinstance(value, dict):
            return " is not an object"
        return next((f" has a value that{fault}" for each in value.values() if (fault := item(each))), "")

    return check


def _whole(lowest: int, highest: int) -> Check:
    def check(value: Any) -> str:
        if not isinstance(value, int) or isinstance(value, bool):
            return " is not a whole number"
        return "" if lowest <= value <= highest else " is out of range"

    return check


def _time(value: Any) -> str:
    try:
        if isinstance(value, str) and quantities.parse_timestamp(value).astimezone(timezone.utc):
            return ""
    except (ValueError, OverflowError):
        pass
    return " is not a time"


def _base64(value: Any) -> str:
    try:
        if isinstance(value, str) and base64.b64decode(value, validate=True) is not None:
            return ""
    except (binascii.Error, ValueError):
        pass
    return " is not base64"


_PLAIN: dict[Any, Check] = {
    Any: lambda value: "",
    bool: lambda value: "" if isinstance(value, bool) else " is neither true nor false",
    str: lambda value: "" if isinstance(value, str) else " is not text",
    int: _whole(-(1 << 63), (1 << 63) - 1),
    Count: _whole(0, (1 << 64) - 1),
    Positive: _whole(1, (1 << 64) - 1),
    Yes: lambda value: "" if value is True else " is not true",
    Name: lambda value: "" if isinstance(value, str) and _NAME.fullmatch(value) else " is not a name",
    Time: _time,
    Base64: _base64,
    Number: lambda value: "" if isinstance(value, str) and _DIGITS.fullmatch(value) else " is not a number",
}
