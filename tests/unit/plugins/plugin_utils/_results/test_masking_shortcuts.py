# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Shortcuts of masking change no result: they skip parts and patterns that can't contain a secret."""

from __future__ import annotations

import datetime
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.choria.streams.plugins.module_utils._options import mask
from ansible_collections.choria.streams.plugins.plugin_utils._results import events as _events
from ansible_collections.choria.streams.plugins.plugin_utils._results.masking import Masking

SECRETS = ("PLANTED-in-letters", 'PLANTED"quoted\\', "7654321", "pin4")
WORDS = [
    *SECRETS,
    "password",
    "token",
    "x",
    "name",
    "value",
    "key",
    "a.key",
    "my_pass",
    "seed",
    "PASSWORD",
    "İ",
    "Σ",
    "é",
]
SIGNS = [
    " ",
    "\n",
    ":",
    "=",
    "=>",
    "'",
    '"',
    "\\",
    "-",
    "--",
    ",",
    "&",
    "<",
    ">",
    "_",
    "@",
    "://",
    "db1:4222",
    "user:pw",
]
PHRASES = [
    "?sig=a",
    "&x-signature=a",
    "bearer ",
    "Basic ",
    "token ",
    "authorization: ",
    "--api-key ",
    "cookie: a; ",
    ": |\n  x",
    "-----BEGIN PRIVATE KEY-----",
    "$REDACTED$",
    "<my_pass>",
    "</",
    "<a name='token' ",
    "name: token, value: ",
]
TEXTS = st.lists(st.sampled_from([*WORDS, *SIGNS, *PHRASES]), max_size=12).map("".join)
KEYS = st.sampled_from([*WORDS, "msg", "items", "task", "attempts", 7654321, b"token"])
SCALARS = st.one_of(
    TEXTS,
    st.sampled_from(
        [7654321, 1, True, None, 0.5, float("nan"), b"token=PLANTED-in-letters", datetime.date(2026, 1, 2)]
    ),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)
OPTION = r"""(?<![\w-])(?=(?P<key>--?\w[\w-]*))(?P=key)["']?(?:,\s*|\s+)"""


def encoded(data: dict[str, Any], limit: int) -> bytes:
    masking = Masking()
    for secret in SECRETS:
        masking.add(secret)
    return _events.encode(_events.Event(_events.TASK_RESULT, "r", 1, 0.0, data, "web1"), limit, masking)


@settings(deadline=None, max_examples=600)
@given(
    st.dictionaries(st.sampled_from(["msg", "items", "facts", "output", "attempts"]), VALUES, max_size=4),
    st.sampled_from([300, 450, 700, 2000, 1 << 20]),
)
def test_parts_without_a_sign_of_a_secret(data: dict[str, Any], limit: int) -> None:
    payload = encoded(data, limit)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_events, "_suspicious", lambda _value, _masking: True)
        patch.setattr(Masking, "suspects", lambda _self, _payload: True)
        assert payload == encoded(data, limit)


@settings(deadline=None, max_examples=1000)
@given(TEXTS)
def test_patterns_without_a_sign_of_a_secret(text: str) -> None:
    whole = re.sub(mask._NO_SCHEME, mask.HIDDEN, re.sub(mask._URL, "://", text))
    whole = re.sub(mask._SIGNED, rf"\1{mask.HIDDEN}", whole)
    whole = re.sub(mask._BEARER, rf"\1 {mask.HIDDEN}", re.sub(mask._PEM, mask.HIDDEN, whole))
    whole = mask._without_assigned(mask._ASSIGNED, mask._VALUE, whole, mask.USUAL)
    for keys, values in ((mask._PAIR, mask._VALUE), (mask._TAG, mask._ELEMENT), (OPTION, mask._WORD)):
        whole = mask._without_assigned(keys, values, whole, mask.USUAL)
    assert mask.text(text, mask.USUAL) == whole


@pytest.mark.parametrize(
    "part",
    [
        {f"{'x' * 2000}password": "PLANTED"},
        {"name": f"{'x' * 2000}password", "value": "PLANTED"},
        {"key": f"{'x' * 2000}password", "value": "PLANTED"},
    ],
)
def test_the_whole_of_a_long_key_counts(part: dict[str, str]) -> None:
    payload = encoded({"msg": part, "attempts": 1}, 1200)
    assert b"attempts" in payload
    assert b"PLANTED" not in payload


def test_the_name_of_a_value_counts_behind_a_cut() -> None:
    parts = [
        {"value": f"PLANTED{number}", **{f"k{other}": "x" * 20 for other in range(40)}, "name": "db_password"}
        for number in range(400)
    ]
    assert b"PLANTED" not in encoded({"msg": parts}, 64 << 10)


@settings(deadline=None, max_examples=300)
@given(
    st.lists(st.sampled_from([*SECRETS, "password=", "x" * 50, " ", "\n"]), max_size=40).map("".join),
    st.integers(0, 700),
    st.booleans(),
)
def test_ends_of_long_texts_need_not_be_searched(text: str, before: int, secret_first: bool) -> None:
    """A secret may begin before a cut, and masks are shorter than secrets."""
    data = {"msg": f"{'PLANTED-in-letters ' * 9 if secret_first else ''}{'y' * before}{text}{'z' * 4000}{text}"}
    payload = encoded(data, 400)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_events, "_beginnings", lambda data, _length: data)
        assert payload == encoded(data, 400)
    assert b"PLANTED" not in payload
