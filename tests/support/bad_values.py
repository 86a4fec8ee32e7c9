# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Bad values for each type of option. Each of them caused a bug once, or might."""

from __future__ import annotations

from typing import Any


def _nested(depth: int) -> Any:
    value: Any = []
    for _level in range(depth):
        value = [value]
    return value


NOTHING: list[Any] = [None, "", " ", [], {}]
TEXTS = [
    "a\0b",
    "\0",
    "x" * 4000,
    "\ud800",
    "\n",
    "a\r\nb",
    "*",
    ">",
    "a..b",
    ".a",
    "a.>",
    "ä",
    "💥",
    "$JS.API.>",
    "_nats.x",
]
TEMPLATES = ["{{ x }}", "'", '"', "\\", "[" * 3000, "{" * 3000, "!unsafe"]
NUMBERS = [
    *(float("nan"), float("inf"), -float("inf"), 1e300, -0.0, 0.5, 0, -1, -(2**63), 2**63, 2**64, 10**400),
    *("9" * 4999, "1e400", "1e99999999", "NaN", "-1", "0", "²", "٣", "0x10"),
    *(True, False),
]
DURATIONS = ["-5s", "5x", "1.5", "9" * 400 + "s", "1e400", "300y", "1h30", "∞"]
SIZES = ["9" * 400 + "KB", "1KiB ", "1.5", "-2", "1e99PB"]
TIMES = [
    "0001-01-01T00:00:00+23:59",
    "9999-12-31T23:59:59-01:00",
    "2026-13-01T00:00:00Z",
    "2026-01-01T25:00:00Z",
    "2026-01-01",
]
PATHS = ["a\0b", "x/" * 2100, "x" * 300, "../../etc", "/dev/zero", "/dev/null", "/proc/self/mem", "/nonexistent/x/y"]
LISTS = [[None], [""], [[]], [{}], ["a", "a"], ["a", "b", None], [float("inf")], [True], _nested(300)]
DICTS = [{"a": None}, {"": ""}, {"a": {"b": [1]}}, {"a": float("inf")}, {"a": "\ud800"}, {"a": _nested(300)}]
MODES = ["9999", "u+x,", "rwx", -1, 1 << 20, True]

BAD: list[Any] = [
    *NOTHING,
    *TEXTS,
    *TEMPLATES,
    *NUMBERS,
    *DURATIONS,
    *SIZES,
    *TIMES,
    *PATHS,
    *LISTS,
    *DICTS,
    *MODES,
]
# The values that are tried first for options of these types
BAD_BY_KIND: dict[str, list[Any]] = {
    "str": [*NOTHING, *TEXTS, *DURATIONS, *SIZES, *TIMES, *LISTS],
    "path": [*NOTHING, *PATHS, *LISTS],
    "int": [*NOTHING, *NUMBERS, *LISTS],
    "bool": [*NOTHING, "maybe", 2, -1, *LISTS],
    "list": [*NOTHING, *LISTS, *DICTS, *TEMPLATES, *TEXTS],
    "dict": [*NOTHING, *DICTS, *LISTS, *TEMPLATES],
    "raw": [*NOTHING, *NUMBERS, *LISTS, *DICTS, *MODES],
}
