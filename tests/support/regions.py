# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Servers with their own JetStream domains, joined by a leafnode."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

from support.server import NatsServer

if TYPE_CHECKING:
    from collections.abc import Iterator

START_TIMEOUT = 30.0
# The configuration of the domain london, for a server or each of a cluster, with a port for leafnodes
HUB: dict[str, Any] = {"leafnodes": {"listen": "127.0.0.1:-1"}, "jetstream": {"domain": "london"}}


@contextlib.contextmanager
def leaf_of(
    hub: NatsServer, version: str | None = None, config: dict[str, Any] | None = None, *, jetstream: bool = True
) -> Iterator[NatsServer]:
    """Start a server of the domain paris that is connected to the hub. ``config`` is further configuration."""
    remotes = [{"urls": [f"nats-leaf://127.0.0.1:{hub.monitor('varz')['leaf']['port']}"]}]
    paris = {"server_name": "paris", "leafnodes": {"remotes": remotes}, **(config or {})}
    if jetstream:
        paris["jetstream"] = {"domain": "paris"}
    with NatsServer(paris, version=version, jetstream=jetstream) as leaf:
        deadline = time.monotonic() + START_TIMEOUT
        while not hub.monitor("leafz")["leafnodes"]:
            if time.monotonic() > deadline:
                raise RuntimeError(f"the leafnode was not there after {START_TIMEOUT:.0f} s:\n{leaf.log()}")
            time.sleep(0.02)
        yield leaf


@contextlib.contextmanager
def two_regions(version: str | None = None, leaf_version: str | None = None) -> Iterator[dict[str, NatsServer]]:
    """Start connected servers of the domains london and paris. Both have one version unless the second is given."""
    london = {"server_name": "london", **HUB}
    with NatsServer(london, version=version) as hub, leaf_of(hub, leaf_version or version) as leaf:
        yield {"london": hub, "paris": leaf}
