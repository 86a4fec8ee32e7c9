# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Wait for the effects of other processes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def wait_until(
    holds: Callable[[], object], timeout: float = 30.0, what: Callable[[], str] | str = "what was waited for"
) -> None:
    """Call ``check`` until it returns a true value, and fail after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while not holds():
        assert time.monotonic() < deadline, f"not in {timeout:g} s: {what() if callable(what) else what}"
        time.sleep(0.02)
