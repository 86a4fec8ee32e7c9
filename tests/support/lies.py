# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Wrong answers, in place of a whole answer or of a part of a right one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

DEEP = b"[" * 100_000
DIGITS = "9" * 5000

# In place of a whole answer
WRONG_ANSWERS: dict[str, bytes] = {
    "nothing": b"",
    "null": b"null",
    "object": b"{}",
    "list": b"[]",
    "list of objects": b"[{}]",
    "text": b'"x"',
    "number": b"5",
    "true": b"true",
    "NaN": b"NaN",
    "infinite": b"1e400",
    "digits": DIGITS.encode(),
    "no JSON": b"+OK",
    "half": b'{"config": {"name": "A',
    "no UTF-8": b"\xff\xfe\x00",
    "deep": DEEP,
    "deep object": b'{"a":' * 100_000,
    "deep inside": b'{"config": ' + DEEP + b"}",
    "error: text": b'{"error": "x"}',
    "error: object": b'{"error": {}}',
    "error: list": b'{"error": []}',
    "error: number": b'{"error": 404}',
    "error: true": b'{"error": true}',
    "error: code is text": b'{"error": {"code": "404", "err_code": "10059"}}',
    "error: code is null": b'{"error": {"code": null, "err_code": null}}',
    "error: number is text": b'{"error": {"code": 404, "err_code": "x"}}',
    "error: digits": b'{"error": {"code": 404, "err_code": ' + DIGITS.encode() + b"}}",
    "error: description is a list": b'{"error": {"code": 404, "err_code": 1, "description": []}}',
    "wrong type": b'{"type": 5}',
    "success is text": b'{"success": "yes"}',
    "success is false": b'{"success": false}',
    "list: no number": b'{"total": "x", "streams": null, "consumers": null}',
    "list: without its number": b'{"streams": [], "consumers": []}',
    "list: nothing of much": b'{"total": 7, "offset": 0, "limit": 1024, "streams": [], "consumers": []}',
    "list: of nulls": b'{"total": 1, "streams": [null], "consumers": [null]}',
    "list: of numbers": b'{"total": 1, "streams": [5], "consumers": [5]}',
    "list: of objects": b'{"total": 1, "streams": [{}], "consumers": [{}]}',
    "info: empty parts": b'{"config": {}, "state": {}, "created": "", "delivered": {}, "ack_floor": {}}',
    "info: parts are null": b'{"config": null, "state": null, "created": null, "cluster": null}',
    "info: parts are lists": b'{"config": [], "state": [], "created": [], "cluster": []}',
    "message: null": b'{"message": null}',
    "message: empty": b'{"message": {}}',
    "message: wrong types": b'{"message": {"subject": 5, "seq": "x", "time": 7, "data": []}}',
    "message: no base64": b'{"message": {"subject": "a", "seq": 1, "time": "2026-01-01T00:00:00Z", "data": "?"}}',
    "message: no time": b'{"message": {"subject": "a", "seq": 1, "time": "yesterday", "data": ""}}',
    "message: year 1": b'{"message": {"subject": "a", "seq": 1, "time": "0001-01-01T00:00:00+23:59", "data": ""}}',
    "message: digits": b'{"message": {"subject": "a", "seq": ' + DIGITS.encode() + b', "time": "", "data": ""}}',
    "ack: without a sequence": b'{"stream": "A"}',
    "ack: sequence 0": b'{"stream": "A", "seq": 0}',
    "ack: sequence is text": b'{"stream": "A", "seq": "1"}',
    "ack: sequence is negative": b'{"stream": "A", "seq": -1}',
    "ack: sequence is a fraction": b'{"stream": "A", "seq": 1.5}',
    "ack: sequence is true": b'{"stream": "A", "seq": true}',
    "ack: no stream": b'{"stream": "", "seq": 1}',
    "ack: stream is null": b'{"stream": null, "seq": 1}',
    "surrogate": b'{"config": {"name": "\\ud800"}, "stream": "\\ud800", "seq": 1}',
}

# In place of one value of a right answer
PARTS: tuple[Any, ...] = (
    None,
    {},
    [],
    [None],
    {"a": 1},
    "x",
    "",
    "\ud800",
    "0001-01-01T00:00:00+23:59",
    -1,
    0,
    1.5,
    10**30,
    True,
    False,
)
MISSING = object()


def kind(value: Any) -> str:
    """Return the name of the value's JSON type."""
    if value is None or isinstance(value, (bool, str)):
        return type(value).__name__
    return "number" if isinstance(value, int) else type(value).__name__


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Return the paths of all values in JSON data."""
    if path:
        yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from places(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value[:2]):
            yield from places(inner, (*path, index))


def with_part(value: Any, path: tuple[Any, ...], part: Any) -> Any:
    """Return a copy of the data with another value in one place, or without a value there."""
    copy = json.loads(json.dumps(value))
    inner = copy
    for step in path[:-1]:
        inner = inner[step]
    if part is MISSING:
        del inner[path[-1]]
    else:
        inner[path[-1]] = part
    return copy


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        value = value[step]
    return value
