# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a coroutine with a periodic call or with a time limit."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from .. import _errors

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")


async def accompanied(work: Coroutine[Any, Any, T], seconds: float, call: Callable[[], None]) -> T:
    """Run ``work``, and call ``call`` every ``seconds`` seconds meanwhile. Its exceptions abort the work."""
    task = asyncio.ensure_future(work)
    try:
        while not (await asyncio.wait({task}, timeout=seconds))[0]:
            call()
        return task.result()
    finally:
        if not task.done():
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def limited(work: Coroutine[Any, Any, T], seconds: float) -> T:
    """Run ``work`` for at most ``seconds`` seconds. Raises NoAnswer after that."""
    try:
        return await asyncio.wait_for(work, max(0.0, seconds))
    except asyncio.TimeoutError:
        raise _errors.NoAnswer("The servers did not answer in the time that there was.", code="timeout") from None
