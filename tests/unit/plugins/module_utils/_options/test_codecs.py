# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Codecs: options to wire values, wire values to results, equality, and the texts of refusals."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.choria.streams.plugins.module_utils._options import codecs, composite, quantities
from ansible_collections.choria.streams.plugins.module_utils._options.fields import Field

SECOND = quantities.NANOSECOND
NAME = codecs.text(r"[a-z]+", "a name is made of small letters")
INNER = composite.obj(
    Field("name", NAME),
    Field("wait", codecs.duration(), wire="pause"),
    Field("where", codecs.text(), default="here"),
    needs=("name",),
)
COMPRESSION = codecs.Mapped(
    {"type": "bool"}, "none", forward=lambda on: "s2" if on else "none", back=lambda wire: wire == "s2"
)
PATH = codecs.Codec({"type": "path"})
LARGEST = (1 << 63) - 1
NANOS = "2026-03-01T12:00:00.123456789Z"

# codec, option, wire, result
BOTH_WAYS: list[tuple[codecs.Codec, Any, Any, Any]] = [
    (codecs.text(), "a b", "a b", "a b"),
    (codecs.text(), 5, "5", "5"),
    (NAME, "abc", "abc", "abc"),
    (codecs.boolean(), True, True, True),
    (codecs.choice("limits", "interest"), "interest", "interest", "interest"),
    (codecs.whole(1, 5), 5, 5, 5),
    (codecs.whole(1, extra=(-1,)), -1, -1, -1),
    (codecs.duration(), "90", 90 * SECOND, 90),
    (codecs.duration(), 1.5, SECOND * 3 // 2, 1.5),
    (codecs.duration(), "100ms", SECOND // 10, 0.1),
    (codecs.duration(), "250us", 250_000, 0.00025),
    (codecs.duration(), "3µs", 3_000, 3e-06),
    (codecs.duration(), "7ns", 7, 7e-09),
    (codecs.duration(), "1h30m", 5400 * SECOND, 5400),
    (codecs.duration(), "1.5h", 5400 * SECOND, 5400),
    (codecs.duration(), " 7d ", 604800 * SECOND, 604800),
    (codecs.duration(), "2w", 1209600 * SECOND, 1209600),
    (codecs.duration(), "1M", 2592000 * SECOND, 2592000),
    (codecs.duration(), "1y", 31536000 * SECOND, 31536000),
    (codecs.duration(), "29359387571ms", 29_359_387_571_000_000, 29359387.571),
    (codecs.duration(), "0.1h", 360 * SECOND, 360),
    (codecs.duration(), "8000000000.000000001s", 8_000_000_000_000_000_001, 8000000000.0),
    (codecs.duration(), 1e-07, 100, 1e-07),
    (codecs.size(), "0.3GB", 300_000_000, 300_000_000),
    (codecs.size(), "8.999PB", 8_999_000_000_000_000, 8_999_000_000_000_000),
    (codecs.duration(), "1Y1d", 31622400 * SECOND, 31622400),
    (codecs.duration(0.1), 0, 0, 0),
    (codecs.size(), 1024, 1024, 1024),
    (codecs.size(), "-1", -1, -1),
    (codecs.size(), "0", -1, -1),
    (codecs.size(), "10B", 10, 10),
    (codecs.size(), "64KiB", 65536, 65536),
    (codecs.size(), "64 KB", 64000, 64000),
    (codecs.size(), "1.5MiB", 1572864, 1572864),
    (codecs.size(), "2GiB", 2147483648, 2147483648),
    (codecs.size(), "1TB", 10**12, 10**12),
    (codecs.timestamp(), "2026-03-01T12:00:00Z", "2026-03-01T12:00:00Z", "2026-03-01T12:00:00Z"),
    (codecs.timestamp(), "2026-03-01 13:30:00+01:30", "2026-03-01T12:00:00Z", "2026-03-01T12:00:00Z"),
    (codecs.timestamp(), "2026-03-01t12:00:00.120z", "2026-03-01T12:00:00.12Z", "2026-03-01T12:00:00.12Z"),
    (codecs.timestamp(), NANOS, NANOS, NANOS),
    (codecs.names(), ["b", "a"], ["b", "a"], ["b", "a"]),
    (
        codecs.labels(),
        {"a": 1, 2: "x", "on": True},
        {"a": "1", "2": "x", "on": "true"},
        {"a": "1", "2": "x", "on": "true"},
    ),
    (COMPRESSION, True, "s2", True),
    (COMPRESSION, False, "none", False),
    (
        INNER,
        {"name": "a", "wait": "1m", "where": None},
        {"name": "a", "pause": 60 * SECOND},
        {"name": "a", "wait": 60, "where": "here"},
    ),
    (INNER, {"name": None}, {}, None),
    (composite.objects(INNER), [{"name": "a"}], [{"name": "a"}], [{"name": "a", "where": "here"}]),
    (composite.objects(INNER), [], [], []),
]

DURATION_HELP = "is not a duration: write seconds, or text such as 90s, 20m, 1h30m or 7d"
SIZE_HELP = (
    "is not a size: write bytes, or text such as 64KiB, 10MiB or 1GiB (KB, MB and GB count in thousands), "
    "or -1 for no limit"
)
TIME_HELP = "is not a time: write RFC 3339 such as 2026-03-01T12:00:00Z"
REFUSED: list[tuple[codecs.Codec, Any, str]] = [
    (NAME, "a b", "'a b' is not allowed: a name is made of small letters"),
    (NAME, "a\n", "'a\n' is not allowed: a name is made of small letters"),
    (codecs.text(max_bytes=4), "äää", "has 6 bytes, the server takes at most 4"),
    (codecs.whole(1, 64), 65, "65 is out of range: give between 1 and 64"),
    (codecs.whole(1), 0, "0 is out of range: give 1 or more"),
    (
        codecs.whole(1, extra=(-1,), why="-1 means no limit"),
        0,
        "0 is out of range: give 1 or more, or -1 (-1 means no limit)",
    ),
    *((codecs.duration(), text, f"'{text}' {DURATION_HELP}") for text in ("soon", "", "5 m", "5x", "-1", "m5", "1h30")),
    (codecs.duration(0.1), "50ms", "'50ms' is too short: give at least 0.1s (0 turns it off)"),
    (codecs.duration(1, zero_allowed=False), 0, "'0' is too short: give at least 1s"),
    (codecs.duration(), "300y", "'300y' is too long: give at most 292y"),
    (codecs.duration(), 1e22, "'1e+22' is too long: give at most 292y"),
    (codecs.duration(), "9" * 400 + "s", f"'{'9' * 80}… (401 characters)' {DURATION_HELP}"),
    (codecs.duration(), "9" * 5000, f"'{'9' * 80}… (5000 characters)' is too long: give at most 292y"),
    *((codecs.duration(), number, f"'{number}' {DURATION_HELP}") for number in (float("nan"), float("inf"), "1e400")),
    (
        codecs.size(),
        "9" * 400 + "KB",
        f"{'9' * 80}… (402 characters) is too large: the server takes at most {LARGEST} bytes",
    ),
    (codecs.size(), "٣", f"'٣' {SIZE_HELP}"),
    (codecs.text(), "\ud800", "has a character that UTF-8 does not know"),
    (PATH, "a\0b", "holds a NUL character, which no path may"),
    (PATH, "a" * 300, "is too long: a path has at most 4095 bytes, and each name in it at most 255"),
    (PATH, "a/" * 2048, "is too long: a path has at most 4095 bytes, and each name in it at most 255"),
    (codecs.Codec({"type": "raw"}), {"a": [float("inf")]}, "has a number that is not finite"),
    (codecs.Codec({"type": "int"}), 1 << 63, f"{1 << 63} is out of range: give at most {LARGEST}"),
    *(
        (codecs.timestamp(), time, f"'{time}' is not a valid time: write RFC 3339 such as 2026-03-01T12:00:00Z")
        for time in (
            "0001-01-01T00:00:00+23:59",
            "9999-12-31T23:59:59-00:01",
            "2026-02-30T00:00:00Z",
            "2026-01-01T25:00:00Z",
        )
    ),
    *((codecs.size(), text, f"'{text}' {SIZE_HELP}") for text in ("big", "-2", "1K", "1kib", "1.5", "²", "MiB")),
    (codecs.size(100), "1KB", "1KB is too large: the server takes at most 100 bytes"),
    (codecs.size(), f"{1 << 63}", f"{1 << 63} is too large: the server takes at most {(1 << 63) - 1} bytes"),
    (codecs.whole(0), 1 << 63, f"{1 << 63} is too large: the server takes at most {(1 << 63) - 1}"),
    (codecs.labels(), {"a": "Ä" * 65536}, "has 131073 bytes, the server takes at most 131072"),
    (codecs.duration(1, nothing="is the default"), "1ms", "'1ms' is too short: give at least 1s (0 is the default)"),
    *((codecs.timestamp(), text, f"'{text}' {TIME_HELP}") for text in ("now", "2026-03-01", "2026-03-01T12:00:00")),
    (codecs.names(NAME), ["a", "B"], "'B' is not allowed: a name is made of small letters"),
    (codecs.labels(), {"_nats.ver": "1"}, "'_nats.ver' is reserved: keys that begin with _nats. are the server's own"),
    (codecs.labels(), {"a": {}}, "'a' must be text"),
    (codecs.labels(), {"a": None}, "'a' must be text"),
    (INNER, {"wait": 5}, "needs name too"),
    (INNER, {"name": "A"}, "name: 'A' is not allowed: a name is made of small letters"),
    (composite.objects(INNER), [{"name": "a"}, {}], "has an empty entry"),
    (composite.objects(INNER), [{"name": "a", "wait": "soon"}], f"wait: 'soon' {DURATION_HELP}"),
]

# codec, wire values that mean the same, one that does not
SAME: list[tuple[codecs.Codec, list[Any], Any]] = [
    (codecs.text(), [None, ""], "a"),
    (codecs.boolean(), [None, False], True),
    (codecs.choice("default", "async"), [None, "", "default"], "async"),
    (codecs.whole(1, zero=-1), [None, 0, -1], 1),
    (codecs.duration(), [None, 0], 1),
    (codecs.size(), [None, 0, -1], 1),
    (codecs.timestamp(), [None, ""], "2026-03-01T12:00:00Z"),
    (codecs.timestamp(), ["2026-03-01T12:00:00.5Z", "2026-03-01T14:00:00.500+02:00"], "2026-03-01T12:00:00Z"),
    (codecs.names(), [None, []], ["a"]),
    (codecs.names(), [["a", "b"], ["b", "a"]], ["a", "a"]),
    (codecs.labels(), [None, {}, {"_nats.ver": "2.15"}], {"a": "1"}),
    (COMPRESSION, [None, "", "none"], "s2"),
    (INNER, [None, {}, {"pause": 0}, {"where": "here"}], {"name": "a"}),
    (INNER, [None, {}], {"where": "there"}),
    (INNER, [{"name": "a"}, {"name": "a", "where": "here", "pause": 0, "new": 1}], {"name": "a", "where": "there"}),
    (composite.objects(INNER), [None, []], [{"name": "a"}]),
    (
        composite.objects(INNER),
        [[{"name": "a"}, {"name": "b"}], [{"name": "b"}, {"name": "a", "where": "here"}]],
        [{"name": "a"}, {"name": "a"}],
    ),
]


@pytest.mark.parametrize(("codec", "option", "wire", "result"), BOTH_WAYS)
def test_both_ways(codec: codecs.Codec, option: Any, wire: Any, result: Any) -> None:
    assert codec.to_wire(option) == wire
    assert codec.to_result(wire) == result
    assert codec.equal(wire, wire)


@pytest.mark.parametrize(("codec", "option", "sentence"), REFUSED)
def test_refused(codec: codecs.Codec, option: Any, sentence: str) -> None:
    with pytest.raises(ValueError) as error:
        codec.to_wire(option)
    assert str(error.value) == sentence


@pytest.mark.parametrize(("codec", "same", "other"), SAME)
def test_equal(codec: codecs.Codec, same: list[Any], other: Any) -> None:
    for one in same:
        assert not codec.equal(one, other)
        assert not codec.equal(other, one)
        for another in same:
            assert codec.equal(one, another)


def test_a_result_is_an_option_again() -> None:
    """A value of a result can be given as an option, with the same meaning."""
    for codec, _option, wire, result in BOTH_WAYS:
        if result is not None:
            assert codec.equal(codec.to_wire(result), wire)


def test_moments_are_compared_beyond_microseconds() -> None:
    one, other = "2026-03-01T12:00:00.000000001Z", "2026-03-01T12:00:00.000000002Z"
    assert not codecs.timestamp().equal(one, other)
    assert quantities.parse_timestamp(one) == quantities.parse_timestamp(other)


@pytest.mark.parametrize(
    "codec", [codecs.duration(), codecs.size(), codecs.timestamp()], ids=["duration", "size", "time"]
)
def test_a_number_that_python_does_not_write(codec: codecs.Codec) -> None:
    with pytest.raises(ValueError, match="has too many digits"):
        codec.to_wire(10**5000)


def test_durations_are_exact() -> None:
    """Each number of nanoseconds is sent as it was given, whatever its unit."""
    for number in (1, 29_359_387_571, 9_007_199_254_740_993, 123_456_789_012_345_678):
        for unit, length in {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9}.items():
            whole, rest = divmod(number, length)
            text = f"{whole}.{rest:0{len(str(length)) - 1}d}{unit}" if length > 1 else f"{number}ns"
            assert codecs.duration().to_wire(text) == number
