# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Comparing many subjects, or long ones: the same answers as by comparing each with each."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.choria.streams.plugins.module_utils._resources import subjects

_WORDS = st.lists(st.sampled_from(["a", "b", "*"]), min_size=1, max_size=4)
_SUBJECTS = st.builds(lambda words, end: ".".join([*words, *end]), _WORDS, st.sampled_from([[], [">"]])) | st.just(">")


@given(one=_SUBJECTS, others=st.lists(_SUBJECTS, max_size=5))
def test_the_index_finds_what_meets(one: str, others: list[str]) -> None:
    index = subjects.SubjectIndex()
    for other in others:
        index.add([other], other)
    assert index.overlapping(one) == sorted({other for other in others if subjects.meet(one, other)})


@given(taken=st.lists(_SUBJECTS, max_size=5))
def test_a_clash_is_found(taken: list[str]) -> None:
    pair = subjects.clashing(taken, subjects.meet)
    assert bool(pair) == any(subjects.meet(*each) for each in combinations(taken, 2))
    assert not pair or subjects.meet(*pair)
    covering = subjects.clashing(taken, subjects.covers)
    either_way = [(one, other) for pair in combinations(taken, 2) for one, other in (pair, pair[::-1])]
    assert bool(covering) == any(subjects.covers(*each) for each in either_way)
    assert not covering or subjects.covers(*covering)


def test_many_subjects_are_not_compared_each_with_each() -> None:
    compared = []

    def clash(one: str, other: str) -> bool:
        compared.append((one, other))
        return subjects.meet(one, other)

    assert subjects.clashing([*(f"a.{number}" for number in range(5000)), "b.*", "*.7"], clash) == ("a.7", "*.7")
    assert len(compared) < 5


@pytest.mark.parametrize("end", ["z", ">", "*"])
def test_long_subjects(end: str) -> None:
    words = "a." * 3000
    index = subjects.SubjectIndex()
    index.add([f"{words}z"], "LONG")
    assert index.overlapping(words + end) == ["LONG"]
    assert index.overlapping(f"a.{end}") == (["LONG"] if end == ">" else [])
