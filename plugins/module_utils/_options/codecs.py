# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Codecs: how the value of one option is checked, sent, compared and shown."""

from __future__ import annotations

import re
from datetime import timezone
from functools import cached_property
from typing import TYPE_CHECKING, Any

from . import untrusted
from .quantities import LARGEST, NANOSECOND, parse_nanoseconds, parse_size, parse_timestamp, shortened

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST_METADATA = 128 << 10


def seconds(nanoseconds: int) -> int | float:
    """Convert nanoseconds of the wire to the seconds that results show."""
    whole, rest = divmod(nanoseconds, NANOSECOND)
    return whole if not rest else nanoseconds / NANOSECOND


class Codec:
    """The base class: a value that is the same in option, wire and result.

    ``spec`` is the type's part of Ansible's argument specification. ``zero`` is the value on the wire that means "not
    set".
    """

    inner: tuple[Any, ...] = ()
    """The fields of the objects that it holds."""

    # No dataclass: modules start again for each task, and would wait for the code that dataclasses generate
    def __init__(self, spec: dict[str, Any], zero: Any = None) -> None:
        self.spec, self.zero = spec, zero

    def to_wire(self, value: Any) -> Any:
        """Return the value to send. Raises ValueError with the reason if it is not allowed."""
        untrusted.check_data(value)
        if self.spec["type"] == "path":
            untrusted.check_path(str(value))
        if self.spec["type"] == "int" and not -LARGEST <= value <= LARGEST:
            raise ValueError(f"{shortened(value)} is out of range: give at most {LARGEST}")
        return value

    def to_result(self, wire: Any) -> Any:
        """Return the value that results show for a value on the wire."""
        return wire

    def equal(self, one: Any, other: Any) -> bool:
        """Return True if two wire values mean the same. An absent value means the same as ``zero``."""
        return bool(self._filled(one) == self._filled(other))

    def _filled(self, wire: Any) -> Any:
        # Servers leave empty values out, send them, or send what they stand for: 0 and -1 both mean "no limit".
        return wire or self.zero


class Text(Codec):
    """Text that matches ``pattern``, of at most ``max_bytes`` (0: any). ``shape`` describes the pattern in errors."""

    def __init__(
        self, spec: dict[str, Any], zero: Any = None, *, pattern: str = "", shape: str = "", max_bytes: int = 0
    ) -> None:
        super().__init__(spec, zero)
        self.pattern, self.shape, self.max_bytes = pattern, shape, max_bytes

    def to_wire(self, value: Any) -> str:
        if not isinstance(value, str) and (value is None or isinstance(value, (dict, list))):
            kind = "null" if value is None else "a dict" if isinstance(value, dict) else "a list"
            raise ValueError(f"is {kind}: give text")
        text = str(value)
        if not text.isascii():
            untrusted.check_scalar(text)
        if self.max_bytes and len(text.encode()) > self.max_bytes:
            raise ValueError(f"has {len(text.encode())} bytes, the server takes at most {self.max_bytes}")
        if self.pattern and not self._pattern.fullmatch(text):
            raise ValueError(f"'{shortened(text)}' is not allowed: {self.shape}")
        return text

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        # Compiled when it is needed: most options are not given
        return re.compile(self.pattern)


class Whole(Codec):
    """A whole number from ``low`` to ``high``, or one of ``extra``. ``why`` is the reason for the bounds."""

    def __init__(
        self,
        spec: dict[str, Any],
        zero: Any = None,
        *,
        low: int | None = None,
        high: int | None = None,
        extra: tuple[int, ...] = (),
        why: str = "",
    ) -> None:
        super().__init__(spec, zero)
        self.low, self.high, self.extra, self.why = low, high, extra, why

    def to_wire(self, value: Any) -> int:
        number = int(value)
        if number > LARGEST:
            raise ValueError(f"{shortened(number)} is too large: the server takes at most {LARGEST}")
        too_low = self.low is not None and number < self.low
        too_high = self.high is not None and number > self.high
        if (too_low or too_high) and number not in self.extra:
            bounds = f"{self.low} or more" if self.high is None else f"between {self.low} and {self.high}"
            also = "".join(f", or {extra}" for extra in self.extra)
            raise ValueError(f"{number} is out of range: give {bounds}{also}{self.why and ' (' + self.why + ')'}")
        return number


class Duration(Codec):
    """A duration: text or seconds in tasks, nanoseconds on the wire, seconds in results.

    It has at least ``low`` seconds. With ``zero_allowed`` it may be 0, and ``nothing`` describes the effect of 0.
    """

    def __init__(
        self,
        spec: dict[str, Any],
        zero: Any = None,
        *,
        low: float = 0,
        zero_allowed: bool = True,
        nothing: str = "turns it off",
    ) -> None:
        super().__init__(spec, zero)
        self.low, self.zero_allowed, self.nothing = low, zero_allowed, nothing

    def to_wire(self, value: Any) -> int:
        length = parse_nanoseconds(value)
        if length < self.low * NANOSECOND and not (length == 0 and self.zero_allowed):
            off = f" (0 {self.nothing})" if self.zero_allowed else ""
            raise ValueError(f"'{value}' is too short: give at least {self.low:g}s{off}")
        return length

    def to_result(self, wire: Any) -> Any:
        return None if wire is None else seconds(wire)

    def equal(self, one: Any, other: Any) -> bool:
        # Values that look alike are equal: a length of months has more nanoseconds than a result's number can hold
        one, other = self._filled(one), self._filled(other)
        return bool(one == other or (one and other and seconds(one) == seconds(other)))


class Size(Codec):
    """A size: text or bytes in tasks, bytes on the wire and in results. Servers read both 0 and -1 as "no limit"."""

    def __init__(self, spec: dict[str, Any], zero: Any = None, *, high: int | None = None) -> None:
        super().__init__(spec, zero)
        self.high = high

    def to_wire(self, value: Any) -> int:
        number = parse_size(value)
        high = LARGEST if self.high is None else self.high
        if number > high:
            raise ValueError(f"{shortened(value)} is too large: the server takes at most {high} bytes")
        return -1 if number == 0 else number


class Timestamp(Codec):
    """A time: RFC 3339 in any zone in tasks, UTC on the wire and in results, without trailing zeros."""

    def to_wire(self, value: Any) -> str:
        whole = parse_timestamp(value).astimezone(timezone.utc).isoformat(timespec="seconds")
        fraction = re.search(r"\.\d+", str(value))
        digits = fraction.group(0)[:10].rstrip("0").rstrip(".") if fraction else ""
        return whole.replace("+00:00", f"{digits}Z")

    def to_result(self, wire: Any) -> Any:
        return self.to_wire(wire) if wire else None

    def equal(self, one: Any, other: Any) -> bool:
        return bool(self.to_result(one) == self.to_result(other))


class Names(Codec):
    """A list of texts whose order does not matter. ``item`` checks each of them."""

    def __init__(self, spec: dict[str, Any], zero: Any = None, *, item: Text | None = None) -> None:
        super().__init__(spec, zero)
        self.item = item

    def to_wire(self, value: Any) -> list[str]:
        untrusted.check_data(value)
        return [self.item.to_wire(text) if self.item else str(text) for text in value]

    def to_result(self, wire: Any) -> list[str]:
        return list(wire or [])

    def equal(self, one: Any, other: Any) -> bool:
        return sorted(one or []) == sorted(other or [])


class Durations(Codec):
    """A list of durations whose order matters."""

    def to_wire(self, value: Any) -> list[int]:
        return [_DURATION.to_wire(length) for length in value]

    def to_result(self, wire: Any) -> list[int | float]:
        return [seconds(length) for length in wire or []]

    def equal(self, one: Any, other: Any) -> bool:
        return list(one or []) == list(other or [])


class Labels(Codec):
    """Metadata, text to text. Servers add keys below ``_nats.``, which are ignored in comparisons."""

    def to_wire(self, value: Any) -> dict[str, str]:
        untrusted.check_data(value)
        for key, text in value.items():
            if str(key).startswith("_nats."):
                raise ValueError(f"'{key}' is reserved: keys that begin with _nats. are the server's own")
            if text is None or isinstance(text, (dict, list)):
                raise ValueError(f"'{key}' must be text")
        wire = {str(key): str(text).lower() if isinstance(text, bool) else str(text) for key, text in value.items()}
        size = sum(len(key.encode()) + len(text.encode()) for key, text in wire.items())
        if size > _MOST_METADATA:
            raise ValueError(f"has {size} bytes, the server takes at most {_MOST_METADATA}")
        return wire

    def to_result(self, wire: Any) -> dict[str, str]:
        return {key: text for key, text in (wire or {}).items() if not key.startswith("_nats.")}

    def equal(self, one: Any, other: Any) -> bool:
        return self.to_result(one) == self.to_result(other)


class Mapped(Codec):
    """An option whose values have other names on the wire, such as ``compression: true`` of a bucket for ``s2``.

    It sends ``forward(value)`` and shows ``back(wire)``.
    """

    def __init__(
        self, spec: dict[str, Any], zero: Any, *, forward: Callable[[Any], Any], back: Callable[[Any], Any]
    ) -> None:
        super().__init__(spec, zero)
        self.forward, self.back = forward, back

    def to_wire(self, value: Any) -> Any:
        return self.forward(value)

    def to_result(self, wire: Any) -> Any:
        return self.back(self._filled(wire))


def text(pattern: str = "", shape: str = "", max_bytes: int = 0) -> Text:
    """Return a codec of text, see ``Text``."""
    return Text({"type": "str"}, "", pattern=pattern, shape=shape, max_bytes=max_bytes)


def boolean(zero: bool = False) -> Codec:
    """Return a codec of a boolean. ``zero`` is the server's default."""
    return Codec({"type": "bool"}, zero)


def choice(*choices: str, zero: str | None = None) -> Codec:
    """Return a codec of one of several texts. ``zero`` is the server's default, by default the first choice."""
    return Codec({"type": "str", "choices": list(choices)}, choices[0] if zero is None else zero)


def whole(
    low: int | None = None, high: int | None = None, *, extra: tuple[int, ...] = (), zero: int = 0, why: str = ""
) -> Whole:
    """Return a codec of a whole number, see ``Whole``."""
    return Whole({"type": "int"}, zero, low=low, high=high, extra=extra, why=why)


def duration(low: float = 0, *, zero_allowed: bool = True, nothing: str = "turns it off") -> Duration:
    """Return a codec of a duration, see ``Duration``. ``low`` is in seconds."""
    return Duration({"type": "str"}, 0, low=low, zero_allowed=zero_allowed, nothing=nothing)


_DURATION = duration()


def durations() -> Durations:
    """Return a codec of a list of durations."""
    return Durations({"type": "list", "elements": "str"}, ())


def size(high: int | None = None) -> Size:
    """Return a codec of a size, at most ``high`` bytes."""
    return Size({"type": "str"}, -1, high=high)


def timestamp() -> Timestamp:
    """Return a codec of an RFC 3339 time."""
    return Timestamp({"type": "str"})


def names(item: Text | None = None) -> Names:
    """Return a codec of a list of texts in any order."""
    return Names({"type": "list", "elements": "str"}, (), item=item)


def labels() -> Labels:
    """Return a codec of metadata."""
    return Labels({"type": "dict"}, None)
