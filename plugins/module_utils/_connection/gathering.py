# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One request that many servers answer. It is a file of its own since few modules need it."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from .requests import Pending

if TYPE_CHECKING:
    from collections.abc import Callable

    from . import wire
    from .requests import Link


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
