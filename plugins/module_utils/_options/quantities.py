# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parse durations, sizes and times as people write them, with whole numbers alone, so that nothing is rounded twice.

Each function raises ValueError with the reason.
"""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import Any

NANOSECOND = 1_000_000_000

LARGEST = (1 << 63) - 1  # an int64
LONGEST = 292 * 365 * 86400 * NANOSECOND  # the whole years whose nanoseconds fit into an int64
# Enough digits for an int64 with a fraction, and few enough for quick arithmetic
_MOST_DIGITS = 40
_SHOWN = 80

# Go's duration units, and the longer ones that Choria adds. A month has 30 days and a year 365, as in Choria.
_NANOSECONDS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "ms": 1_000_000,
    "s": NANOSECOND,
    "m": 60 * NANOSECOND,
    "h": 3600 * NANOSECOND,
    "d": 86400 * NANOSECOND,
    "w": 7 * 86400 * NANOSECOND,
    "M": 30 * 86400 * NANOSECOND,
    "y": 365 * 86400 * NANOSECOND,
    "Y": 365 * 86400 * NANOSECOND,
}
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ns|us|µs|ms|s|m|h|d|w|M|y|Y)")
_NUMBER = re.compile(r"([0-9]+(?:\.[0-9]+)?)(?:e([+-]?[0-9]{1,2}))?")

_BYTES = {"B": 1}
for _power, _letter in enumerate("KMGTP", start=1):
    _BYTES[f"{_letter}B"] = 1000**_power
    _BYTES[f"{_letter}iB"] = 1024**_power
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]+)")
_MOMENT = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]+))?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)


def shortened(value: Any) -> str:
    """Return the value as text for an error, cut after some dozens of characters."""
    text = str(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({len(text)} characters)"


def parse_nanoseconds(text: str | int | float) -> int:
    """Return the nanoseconds in ``90`` (seconds), ``90s``, ``1h30m``, ``20m``, ``7d``. At most 292 years."""
    text = _text(text)
    number = _NUMBER.fullmatch(text)
    if number:
        length = _times(number.group(1), NANOSECOND, int(number.group(2) or 0))
    else:
        parts = list(_DURATION_PART.finditer(text)) if len(text) <= 2 * _MOST_DIGITS else []
        if not parts or "".join(part.group(0) for part in parts) != text:
            raise ValueError(
                f"'{shortened(text)}' is not a duration: write seconds, or text such as 90s, 20m, 1h30m or 7d"
            )
        length = sum(_times(part.group(1), _NANOSECONDS[part.group(2)]) for part in parts)
    if length > LONGEST:
        raise ValueError(f"'{shortened(text)}' is too long: give at most 292y")
    return length


def parse_duration(text: str | int | float) -> float:
    """Return the seconds in a duration, see ``parse_nanoseconds``."""
    return parse_nanoseconds(text) / NANOSECOND


def parse_size(text: str | int) -> int:
    """Return the bytes in ``1048576``, ``1MiB``, ``10KB``; -1 means no limit."""
    text = _text(text)
    if text == "-1":
        return -1
    if re.fullmatch("[0-9]+", text):
        return _bounded(text, _times(text, 1))
    match = _SIZE.fullmatch(text)
    if not match or match.group(2) not in _BYTES:
        raise ValueError(
            f"'{shortened(text)}' is not a size: write bytes, or text such as 64KiB, 10MiB or 1GiB "
            "(KB, MB and GB count in thousands), or -1 for no limit"
        )
    return _bounded(text, _times(match.group(1), _BYTES[match.group(2)]))


def parse_timestamp(text: str) -> datetime:
    """Return the moment in RFC 3339 text with at most nanoseconds, as servers write it."""
    text = _text(text)
    match = _MOMENT.fullmatch(text)
    if not match:
        raise ValueError(f"'{shortened(text)}' is not a time: write RFC 3339 such as 2026-03-01T12:00:00Z")
    fraction = (match.group(2) or "")[:6].ljust(6, "0")
    zone = "+00:00" if match.group(3) in "Zz" else match.group(3)
    try:
        moment = datetime.fromisoformat(f"{match.group(1).upper().replace(' ', 'T')}.{fraction}{zone}")
        moment.astimezone(timezone.utc)  # which has years from 1 to 9999
    except (ValueError, OverflowError):
        raise ValueError(
            f"'{shortened(text)}' is not a valid time: write RFC 3339 such as 2026-03-01T12:00:00Z"
        ) from None
    return moment


def _text(value: Any) -> str:
    """Return the value as text. Python raises ValueError for a number of thousands of digits."""
    try:
        return str(value).strip()
    except ValueError:
        raise ValueError("has too many digits") from None


def _times(number: str, unit: int, exponent: int = 0) -> int:
    """Multiply a decimal number with a unit, and round it to a whole number."""
    whole, _dot, fraction = number.partition(".")
    if len(whole.lstrip("0")) > _MOST_DIGITS:
        return LARGEST + LONGEST  # above all limits
    fraction = fraction[:_MOST_DIGITS]
    product, scale = int(whole + fraction) * unit, exponent - len(fraction)
    if scale >= 0:
        return product * int(10**scale)
    divisor = int(10**-scale)
    return (2 * product + divisor) // (2 * divisor)


def _bounded(text: str, number: int) -> int:
    if number > LARGEST:
        raise ValueError(f"{shortened(text)} is too large: the server takes at most {LARGEST} bytes")
    return number
