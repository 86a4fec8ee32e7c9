# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Conversion of values to bytes and back, and equality. No error contains a value."""

from __future__ import annotations

import re
import sys
from typing import Any

import pytest

from ansible_collections.choria.streams.plugins.module_utils._errors import LibraryMissing, OptionError
from ansible_collections.choria.streams.plugins.module_utils._options import values
from ansible_collections.choria.streams.plugins.module_utils._options.formats import Query, decode

SECRET = "planted-secret"
# A few lines that expand to 10^9 values
BOMB = b"a0: &a0 [0]\n" + b"".join(
    b"a%d: &a%d [%s]\n" % (n, n, b",".join([b"*a%d" % (n - 1)] * 10)) for n in range(1, 10)
)


@pytest.mark.parametrize(
    ("encoding", "value"),
    [
        ("text", ""),
        ("text", "grüße\n☃"),
        ("json", {"b": [1, 2.5, True, None, "x"], "a": {}}),
        ("json", "text"),
        ("json", None),
        ("base64", "AP/+/Q=="),
    ],
)
def test_there_and_back(encoding: str, value: Any) -> None:
    assert values.from_bytes(values.to_bytes(value, encoding), encoding) == value


@pytest.mark.parametrize(
    ("value", "expected"), [(True, b"true"), (False, b"false"), (7, b"7"), (-1.5, b"-1.5"), (10**20, b"1" + b"0" * 20)]
)
def test_numbers_and_booleans_as_text(value: Any, expected: bytes) -> None:
    assert values.to_bytes(value, "text") == expected


def test_base64_may_be_wrapped() -> None:
    assert values.to_bytes("aGVs\r\n bG8=\n", "base64") == b"hello"


@pytest.mark.parametrize(
    ("value", "encoding", "reason"),
    [
        ({"a": SECRET}, "text", "is a dict, which text can't hold: set encoding to json"),
        ([SECRET], "base64", "is a list, which base64 can't hold: set encoding to json"),
        (SECRET, "base64", "is not base64: use the filter b64encode, or set encoding to text"),
        ([SECRET, float("inf")], "json", "holds something that JSON does not know, such as NaN: give it as text"),
        ([SECRET, object()], "json", "holds something that JSON does not know, such as NaN: give it as text"),
    ],
)
def test_values_that_can_not_be_encoded(value: Any, encoding: str, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)) as refused:
        values.to_bytes(value, encoding)
    assert refused.value.__suppress_context__ or refused.value.__context__ is None


@pytest.mark.parametrize(
    ("data", "format", "reason"),
    [
        (b"abc\xff" + SECRET.encode(), "text", "is not UTF-8 text (at byte 3)"),
        (b"\xff" + SECRET.encode(), "json", "is not UTF-8 text (at byte 0)"),
        (b"\xff" + SECRET.encode(), "yaml", "is not UTF-8 text (at byte 0)"),
        (b'{\n "a": ' + SECRET.encode(), "json", "is not JSON (at line 2, column 7)"),
        (b"[" * 100_000, "json", "is not JSON that can be read: it is nested too deeply"),
        (b"a: *" + SECRET.encode(), "yaml", "is not YAML (at line 1, column 4)"),
        (b"a: !" + SECRET.encode() + b" x", "yaml", "is not YAML (at line 1, column 4)"),
        (b"[" + b"1" * 5000 + b"]", "json", "is not JSON that can be read: it has a number of too many digits"),
        (b"a: 2001-99-99", "yaml", "is not YAML"),
        (b"a: \x01" + SECRET.encode(), "yaml", "is not YAML"),
        (b"- " * 300 + b"1", "yaml", "is not YAML that can be read: it is nested too deeply"),
        (b"[" * 300 + b"]" * 300, "json", "is not JSON that can be read: it is nested too deeply"),
        (b'"\\ud800"', "json", "is not JSON that can be read: it has a character that UTF-8 does not know"),
        (b"[1e400]", "json", "is not JSON that can be read: it has a number that is not finite"),
        (b"[NaN]", "json", "is not JSON (it has a number that is not finite)"),
        (b"!!timestamp x", "yaml", "is not YAML"),
        (b'!!int ""', "yaml", "is not YAML"),
        (b"!!bool x", "yaml", "is not YAML"),
        (b"&a [*a]", "yaml", "is not YAML that can be read: it is nested too deeply"),
        (b"a: [!!binary QUJD]", "yaml", "is not YAML that can be read: it has binary data (!!binary)"),
        (b"a: {2026-01-01: x}", "yaml", "is not YAML that can be read: it has a key that is neither text nor a number"),
        (BOMB, "yaml", "is not YAML that can be read: it has more than 1000000 parts"),
    ],
)
def test_values_that_can_not_be_decoded(data: bytes, format: str, reason: str) -> None:
    with pytest.raises(ValueError, match="is not") as refused:
        decode(data, format)
    assert str(refused.value) == reason
    assert refused.value.__suppress_context__ or refused.value.__context__ is None


@pytest.mark.parametrize(
    ("one", "other", "encoding", "expected"),
    [
        (b'{"a":1,"b":2}', b'{"b": 2, "a": 1}', "json", True),
        (b'{"a":1,"b":2}', b'{"b": 2, "a": 1}', "text", False),
        (b'"\\u00fc"', '"ü"'.encode(), "json", True),
        (b"1", b"true", "json", False),
        (b"[1, 2]", b"[2, 1]", "json", False),
        (b"no JSON", b'"no JSON"', "json", False),
        (b"\xff", b'"x"', "json", False),
        (b"x", b"x", "base64", True),
    ],
)
def test_equal(one: bytes, other: bytes, encoding: str, expected: bool) -> None:
    assert values.equal(one, other, encoding) is expected


def test_query() -> None:
    assert Query("a[0]").search({"a": [1]}, "x") == 1
    assert Query("b").search({"a": [1]}, "x") is None
    with pytest.raises(OptionError, match=r"^query: 'a\[' is not a JMESPath expression"):
        Query("a[")
    with pytest.raises(OptionError, match=r"^query: 'abs\(@\)' can't be applied to key k") as refused:
        Query("abs(@)").search(SECRET, "key k")
    assert SECRET not in refused.value.message
    assert refused.value.__suppress_context__


def test_query_without_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jmespath", None)
    with pytest.raises(LibraryMissing) as missing:
        Query("a")
    assert missing.value.message.startswith("The Python library jmespath is needed for the option query, but ")
    assert "-m pip install jmespath" in missing.value.message
