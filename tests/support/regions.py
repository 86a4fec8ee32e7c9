# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Two servers, each with a JetStream domain of its own, joined by a leafnode."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from support.ports import free_port
from support.server import NatsServer

if TYPE_CHECKING:
    from collections.abc import Iterator

START_TIMEOUT = 30.0


@contextlib.contextmanager
def two_regions(version: str | None = None) -> Iterator[dict[str, NatsServer]]:
    """The servers of the domains london and paris, which know of each other."""
    port = free_port()
    london = {"server_name": "london", "leafnodes": {"listen": f"127.0.0.1:{port}"}, "jetstream": {"domain": "london"}}
    remotes = [{"urls": [f"nats-leaf://127.0.0.1:{port}"]}]
    paris = {"server_name": "paris", "leafnodes": {"remotes": remotes}, "jetstream": {"domain": "paris"}}
    with NatsServer(london, version=version) as hub, NatsServer(paris, version=version) as leaf:
        deadline = time.monotonic() + START_TIMEOUT
        while not hub.monitor("leafz")["leafnodes"]:
            if time.monotonic() > deadline:
                raise RuntimeError(f"the leafnode was not there after {START_TIMEOUT:.0f} s:\n{leaf.log()}")
            time.sleep(0.02)
        yield {"london": hub, "paris": leaf}
