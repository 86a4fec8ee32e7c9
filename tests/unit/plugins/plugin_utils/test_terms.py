# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The terms of lookups."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.choria.streams.plugins.module_utils._errors import OptionError
from ansible_collections.choria.streams.plugins.plugin_utils._plugin import texts_of


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        (["a", ["b", 5], 1.5, ""], ["a", "b", "5", "1.5", ""]),
        ([[]], []),
    ],
)
def test_terms_are_texts(terms: list[Any], expected: list[str]) -> None:
    assert texts_of(terms, "key", "write one") == expected


class _Lazy(dict[str, Any]):
    """Ansible uses subclasses of Python's types."""


@pytest.mark.parametrize(
    ("terms", "sentence"),
    [
        ([], "key: is not given"),
        ([None], "a key is text"),
        ([True], "is a bool:"),
        ([{}], "is a dict:"),
        ([_Lazy()], "is a dict:"),
    ],
)
def test_terms_that_are_refused(terms: list[Any], sentence: str) -> None:
    with pytest.raises(OptionError, match=sentence):
        texts_of(terms, "key", "write one")
