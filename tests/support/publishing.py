# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""A publisher in its own thread that never gives up."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING

import nats
from nats.errors import Error

if TYPE_CHECKING:
    from types import TracebackType


class Publisher:
    """Publishes 0, 1, 2 … one after the other. Each is repeated with the same id until it is acknowledged."""

    def __init__(self, url: str, subject: str) -> None:
        self.acknowledged = 0
        self.tries = 0
        self.refusal = ""  # the last error
        self._url = url
        self._subject = subject
        self._ended = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._publish()), daemon=True)

    async def _publish(self) -> None:
        client = await nats.connect(self._url)
        stream = client.jetstream()
        while not self._ended.is_set():
            number = str(self.acknowledged)
            self.tries += 1
            try:
                headers = {"Nats-Msg-Id": f"{self._subject} {number}"}
                await stream.publish(self._subject, number.encode(), headers=headers, timeout=2)
                self.acknowledged += 1
            except (Error, asyncio.TimeoutError) as error:
                self.refusal = repr(error)
            await asyncio.sleep(0.001)  # some tests read the whole stream
        await client.close()

    def wait_for(self, number: int, timeout: float = 60.0) -> None:
        """Wait until this many more messages are acknowledged."""
        wanted = self.acknowledged + number
        deadline = time.monotonic() + timeout
        while self.acknowledged < wanted:
            assert self._thread.is_alive()
            assert time.monotonic() < deadline, f"{wanted - self.acknowledged} of {number} are left: {self.refusal}"
            self._ended.wait(0.005)

    def __enter__(self) -> Publisher:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join(20)
