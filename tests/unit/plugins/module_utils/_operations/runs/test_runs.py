# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Numbers of events, ranges of a stream, and invalid times."""

from __future__ import annotations

import json
import random
import time
import uuid

import pytest

from ansible_collections.choria.streams.plugins.module_utils._api.messages import Stored
from ansible_collections.choria.streams.plugins.module_utils._operations.runs.events import (
    TYPE,
    event_of,
    length_of,
    moment_of,
    new_run_id,
    seconds_of,
)
from ansible_collections.choria.streams.plugins.module_utils._operations.runs.reading import joined, without
from ansible_collections.choria.streams.plugins.module_utils._operations.runs.summary import Numbers


def pairs(ranges: list[dict[str, int]]) -> list[tuple[int, int]]:
    return [(each["first"], each["last"]) for each in ranges]


@pytest.mark.parametrize(
    ("given", "there", "missing"),
    [
        ([], [], [(1, 9)]),
        ([1, 2, 3], [(1, 3)], [(4, 9)]),
        ([3, 2, 1], [(1, 3)], [(4, 9)]),
        ([1, 3, 2], [(1, 3)], [(4, 9)]),
        ([2, 5, 9, 7], [(2, 2), (5, 5), (7, 7), (9, 9)], [(1, 1), (3, 4), (6, 6), (8, 8)]),
        ([9, 8, 1], [(1, 1), (8, 9)], [(2, 7)]),
        ([12, 1], [(1, 1), (12, 12)], [(2, 9)]),
    ],
)
def test_numbers(given: list[int], there: list[tuple[int, int]], missing: list[tuple[int, int]]) -> None:
    numbers = Numbers()
    assert all(numbers.add(number) for number in given)
    assert not any(numbers.add(number) for number in given)
    assert pairs(numbers.ranges()) == there
    assert pairs(numbers.missing(9)) == missing
    assert numbers.count == len(given)
    assert numbers.highest == max(given, default=0)


def test_numbers_in_any_order() -> None:
    chance = random.Random(5)
    for _round in range(200):
        numbers, expected = Numbers(), set()
        for _step in range(60):
            number = chance.randint(1, 40)
            assert numbers.add(number) is (number not in expected)
            expected.add(number)
        there = {number for first, last in pairs(numbers.ranges()) for number in range(first, last + 1)}
        gone = {number for first, last in pairs(numbers.missing(40)) for number in range(first, last + 1)}
        assert there == expected
        assert gone == set(range(1, 41)) - expected


def test_ranges() -> None:
    assert joined([(5, 9), (1, 2), (3, 3), (8, 12), (20, 21)]) == [(1, 3), (5, 12), (20, 21)]
    assert without(1, 30, [(3, 5), (10, 12)]) == [(1, 2), (6, 9), (13, 30)]
    assert without(4, 11, [(3, 5), (10, 12)]) == [(6, 9)]
    assert without(20, 30, [(3, 5)]) == [(20, 30)]
    assert without(1, 2, [(5, 9)]) == [(1, 2)]
    assert without(7, 6, []) == []


def test_values_that_are_neither_times_nor_durations() -> None:
    assert seconds_of("2026-03-01T12:00:00.5Z") == seconds_of("2026-03-01T12:00:00.500000+00:00") == 1772366400.5
    wrong: list[object] = [None, 7, "", "soon", "2026-99-01T12:00:00Z", []]
    assert [seconds_of(value) for value in wrong] == [None] * 6
    assert [length_of(value) for value in (1, 0.5, -1, True, "1", None, float("nan"), 1e300)] == [
        1,
        0.5,
        0,
        0,
        0,
        0,
        0,
        0,
    ]


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        ("2026-03-01T12:00:00Z", 1772366400),
        ("9998-12-31T23:59:59Z", 253370764799),
        ("9999-12-31T23:59:59-12:00", 1),
        ("9999-12-31T23:59:59+12:00", 1),
        ("0001-01-01T00:00:00+12:00", 1),
        ("1969-12-31T23:59:59Z", 1),
        (None, 1),
    ],
)
def test_times_of_events_are_such_as_can_be_shown(time: str | None, expected: float) -> None:
    envelope = {"type": f"{TYPE}run_started", "time": time, "data": {"run_id": "r", "sequence": 1}}
    event = event_of(Stored("a", 1, "1970-01-01T00:00:01Z", json.dumps(envelope).encode()))
    assert event is not None
    assert event.moment == expected


def test_run_ids_begin_with_their_time() -> None:
    before = time.time()
    ids = [new_run_id() for _number in range(100)]
    assert len(set(ids)) == 100
    for run_id in ids:
        parsed = uuid.UUID(run_id)
        assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
        assert before - 0.001 <= (moment_of(run_id) or 0.0) <= time.time()


@pytest.mark.parametrize(
    "run_id",
    ["", "nightly", "5b1fd2ea-5c3b-4f0a-9f0e-1d2c3b4a5968", "ffffffff-ffff-7fff-8000-000000000000", "0" * 32, "\ud800"],
)
def test_ids_without_a_time(run_id: str) -> None:
    assert moment_of(run_id) is None
