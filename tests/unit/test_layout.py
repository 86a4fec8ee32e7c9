# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The picture of the packages in docs/contributing.md is current."""

from __future__ import annotations

import layout


def test_the_picture_is_current() -> None:
    text = layout.PAGE.read_text()
    assert layout.page(text) == text, "run python3 tests/tools/layout.py"


def test_packages_have_no_circle() -> None:
    """TopologicalSorter raises CycleError where there is one."""
    found = layout.graph()
    assert found["_connection"] == {"_choria"}
    assert "_operations" in found["modules"] | found["edge for modules"]
