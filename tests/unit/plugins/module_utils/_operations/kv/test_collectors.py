# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Collectors of keys keep only the needed parts, and the last revision of a key that is written again meanwhile."""

from __future__ import annotations

from functools import partial
from itertools import count
from typing import Any

import pytest

from ansible_collections.choria.streams.plugins.module_utils._api.kv import kv
from ansible_collections.choria.streams.plugins.module_utils._operations.kv.desired import SMALL, Desired, from_data
from ansible_collections.choria.streams.plugins.module_utils._operations.kv.push import Differences
from ansible_collections.choria.streams.plugins.module_utils._operations.kv.reader import Decoded, Undecodable, decoded
from ansible_collections.choria.streams.plugins.module_utils._options.formats import decode

_revisions = count(1)
TEXT = partial(decode, format="text")
JSON = partial(decode, format="json")
LARGE = b"x" * (SMALL + 1)


def put(key: str, value: bytes = b"", operation: str = kv.PUT, ttl: float | None = None) -> kv.Entry:
    return kv.Entry(key, next(_revisions), "1790000000000000000", operation, value, ttl)


# Decoded values


def test_values_by_the_rest_of_their_names() -> None:
    entries = [put("p.b", b"2"), put("p.c", b"3"), put("p.a", b"1"), put("p.d", operation=kv.PURGED)]
    assert list(decoded(entries, "p.", JSON).items()) == [("a", 1), ("b", 2), ("c", 3)]
    assert decoded(entries, "", JSON) == {"p.a": 1, "p.b": 2, "p.c": 3}


def test_the_last_revision_counts() -> None:
    values = Decoded("", TEXT)
    values.add([put("changed", b"1"), put("deleted", b"1"), put("back", operation=kv.DELETED), put("bad", b"\xff")])
    values.add([put("changed", b"2"), put("deleted", operation=kv.DELETED), put("back", b"1"), put("bad", b"good")])
    assert values.result() == {"back": "1", "bad": "good", "changed": "2"}


@pytest.mark.parametrize("entries", [[put("a", b"\xff"), put("a", operation=kv.DELETED)], []])
def test_a_deleted_key_needs_no_value(entries: list[kv.Entry]) -> None:
    assert decoded(entries, "", TEXT) == {}


def test_the_first_key_that_cannot_be_decoded() -> None:
    entries = [put("p.c", b"\xff"), put("p.b", b"good"), put("p.b", b"x\xff"), put("p.a", b"good")]
    with pytest.raises(Undecodable, match=r"^is not UTF-8 text \(at byte 1\)$") as error:
        decoded(entries, "p.", TEXT)
    assert error.value.key == "p.b"


def test_decoded_values_start_again_after_clear() -> None:
    values = Decoded("", TEXT)
    values.add([put("a", b"1"), put("b", b"\xff")])
    values.clear()
    values.add([put("c", b"3")])
    assert values.result() == {"c": "3"}


# Differences


def desired(encoding: str = "text", **data: Any) -> Desired:
    return from_data({"data": data, "encoding": encoding}, "p.")


def differences(goal: Desired, ttl: int | None = None, **given: Any) -> Differences:
    return Differences(goal, ttl, **{"prune": True, "with_diff": False, **given})


def test_only_differences_are_kept() -> None:
    compared = differences(desired(same="1", other="1", none="1"))
    compared.add([put("p.same", b"1"), put("p.other", b"2"), put("p.else", b"3")])
    assert set(compared.entries) == {"p.other", "p.else"}
    assert compared.unmatched == {"p.other", "p.none"}
    pruning = differences(desired(same="1"), prune=False)
    pruning.add([put("p.else", b"3")])
    assert not pruning.entries


def test_a_key_that_is_written_again() -> None:
    compared = differences(desired(a="1", b="1", c="1"))
    compared.add([put("p.a", b"1"), put("p.b", b"2"), put("p.c", b"1")])
    compared.add([put("p.a", b"2"), put("p.b", b"1"), put("p.c", operation=kv.DELETED)])
    assert {key: entry.operation for key, entry in compared.entries.items()} == {"p.a": kv.PUT, "p.c": kv.DELETED}
    assert compared.unmatched == {"p.a", "p.c"}


def test_lifetimes_that_differ() -> None:
    goal = desired(a="1", b="1", c="1")
    entries = [put("p.a", b"1", ttl=60.0), put("p.b", b"1"), put("p.c", b"2", ttl=60.0)]
    compared = differences(goal, 60)
    compared.add(entries)
    assert (set(compared.entries), compared.same) == ({"p.b", "p.c"}, {"p.b"})
    compared = differences(goal)
    compared.add(entries)
    assert set(compared.entries) == {"p.c"}
    compared = differences(goal, 0)
    compared.add([*entries, put("p.a", b"1")])
    assert (set(compared.entries), compared.same) == ({"p.c"}, set())


def test_comparison_starts_again_after_clear() -> None:
    compared = differences(desired(a="1", b="1"), 60)
    compared.add([put("p.a", b"1", ttl=60.0), put("p.b", b"1"), put("p.c", b"1")])
    compared.clear()
    assert (compared.entries, compared.unmatched, compared.same) == ({}, {"p.a", "p.b"}, set())


@pytest.mark.parametrize(("with_diff", "kept"), [(True, LARGE), (False, b"")])
def test_large_values_are_kept_only_for_differences(with_diff: bool, kept: bytes) -> None:
    compared = differences(desired(a="1"), with_diff=with_diff)
    compared.add([put("p.a", LARGE), put("p.b", b"small")])
    assert compared.entries["p.a"].value == kept
    assert compared.entries["p.b"].value == b"small"


@pytest.mark.parametrize(
    ("encoding", "value", "stored", "same"),
    [
        ("text", "1", b"1", True),
        ("text", 1, b"1", True),
        ("text", "", b"", True),
        ("text", {"a": 1, "b": 2}, b'{"b":2,"a":1}', True),
        ("text", '{"a": 1}', b'{"a":1}', False),
        ("json", {"a": 1, "b": 2}, b'{"b":2,"a":1}', True),
        ("json", {"a": 1}, b'{"a":', False),
        ("json", {"a": LARGE.decode()}, b'{"a":"' + LARGE + b'"}', True),
        ("json", {"a": LARGE.decode()}, b"{}", False),
        ("base64", "AP/+", b"\x00\xff\xfe", True),
        ("text", LARGE.decode(), LARGE, True),
        ("text", LARGE.decode(), LARGE[:-1] + b"y", False),
        ("text", LARGE.decode(), LARGE + b"x", False),
    ],
)
def test_equal_values(encoding: str, value: Any, stored: bytes, same: bool) -> None:
    goal = desired(encoding, a=value)
    assert goal.has(put("p.a", stored)) is same
    assert not goal.has(put("p.b", stored))
    assert not goal.has(put("p.a", stored, kv.DELETED))
