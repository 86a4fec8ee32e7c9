# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The list of configuration keys matches that of the real program."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ansible_collections.choria.streams.plugins.module_utils._choria.keys import LISTED
from support.choria import ChoriaClient

if TYPE_CHECKING:
    from pathlib import Path


def test_the_program_lists_the_same_keys(tmp_path: Path) -> None:
    listing = ChoriaClient("x", tmp_path).output("tool", "config", "--list").split()
    assert sorted(LISTED) == sorted(listing)
