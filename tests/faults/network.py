# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""A network in front of a server that delays, holds back, drops, repeats or cuts the server's messages."""

from __future__ import annotations

import threading
from collections import deque
from random import Random
from typing import TYPE_CHECKING

from support.proxy import Proxy

if TYPE_CHECKING:
    from support.proxy import Frame

# The part of the messages that is dropped, and the part of old ones that is repeated
_DROPPED, _REPEATED = 0.3, 0.5
_REMEMBERED = 50


class Network(Proxy):
    """The mode applies to all connections.

    ``pass`` forwards everything. ``silent`` holds back the server's messages until the mode changes. ``lose``
    drops the server's messages, and closes the connections when the mode changes. ``drop`` drops some messages
    and keeps the connection, as when a route between servers loses them. ``twice`` sends each message twice, and
    repeats old ones while others are awaited.
    """

    def __init__(self, port: int, seed: int = 0) -> None:
        self._mode = "pass"
        self._random = Random(seed)
        self._goes_on = threading.Event()
        self._goes_on.set()
        self._old: dict[int, deque[bytes]] = {}
        super().__init__(port, self._passed_on)

    def change(self, mode: str = "pass", delay: float = 0.0) -> None:
        before, self._mode, self.delay = self._mode, mode, delay
        if mode == "silent":
            self._goes_on.clear()
        else:
            self._goes_on.set()
        if before == "lose":
            self.cut()

    def stop(self) -> None:
        self._goes_on.set()
        super().stop()

    def _passed_on(self, frame: Frame) -> list[bytes]:
        if frame.up:
            return [frame.raw]
        self._goes_on.wait()
        if self._mode == "lose":
            return []
        if not frame.subject:
            return [frame.raw]
        if self._mode == "drop" and self._random.random() < _DROPPED:
            return []
        if self._mode == "twice":
            old = self._old.setdefault(frame.connection, deque(maxlen=_REMEMBERED))
            again = [self._random.choice(old)] if old and self._random.random() < _REPEATED else []
            old.append(frame.raw)
            return [*again, frame.raw, frame.raw]
        return [frame.raw]
