# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Await what few sessions need: many answers to one request, a periodic call meanwhile, or a time limit."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from .. import _errors
from .requests import Pending

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from . import wire
    from .requests import Link

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


async def gathered(
    session: Link, request: wire.Request, seconds: float, enough: Callable[[list[wire.Message]], bool]
) -> list[wire.Message]:
    """Return the answers until ``enough`` is true of them or ``seconds`` have passed. The list may be empty.

    Raises the error of a request that the server refuses.
    """
    await session._ready()
    arrived = asyncio.Event()
    pending = Pending(request._replace(many=True), False, lambda _ended: arrived.set())
    pending.token, end = session._new_token(), time.monotonic() + seconds
    session._pending[pending.token] = pending
    try:
        await session._send(request, f"{session._inbox}.{pending.token}")
        while not pending.done and session._alive and not enough(pending.messages):
            left = end - time.monotonic()
            if left <= 0:
                break
            arrived.clear()
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(arrived.wait(), left)
    finally:
        del session._pending[pending.token]
    if pending.error:
        raise pending.error
    return [message for message in pending.messages if not message.status]
