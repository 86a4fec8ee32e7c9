# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""A session that counts its requests and exchanges, for tests and benchmarks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ansible_collections.choria.streams.plugins.module_utils._connection.wire import Request


class CountedSession(Session):
    """Counts ``requests``, and ``exchanges``, which are groups of requests that are sent together."""

    exchanges = requests = 0

    def request_many(self, requests: Iterable[Request], *arguments: Any, **options: Any) -> Any:
        wanted = list(requests)
        self.exchanges += bool(wanted)
        self.requests += len(wanted)
        return super().request_many(wanted, *arguments, **options)

    def publish(self, *arguments: Any, reply: str = "", **options: Any) -> None:
        self.exchanges += bool(reply)
        self.requests += bool(reply)
        super().publish(*arguments, reply=reply, **options)

    def restart(self) -> None:
        """Count from 0 again."""
        self.exchanges = self.requests = 0
