# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""A JetStream cluster of nats-servers, and changes of the leader of a stream."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

from ansible_collections.choria.streams.plugins.module_utils._api import answers, jetstream
from support.ports import free_ports
from support.server import NatsServer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session

START_TIMEOUT = 30.0


@contextlib.contextmanager
def nats_cluster(
    size: int = 3, version: str | Sequence[str | None] | None = None, config: Mapping[str, Any] | None = None
) -> Iterator[list[NatsServer]]:
    """Start servers n1, n2, … of the cluster C1, with the tags n:1, n:2, … and wait until they have a leader.

    ``version`` is that of all servers, or a list with one for each. ``config`` is further configuration, the same for
    each, and its ``cluster`` is added to that section.
    """
    ports = free_ports(size)
    versions = [version] * size if version is None or isinstance(version, str) else version
    routes = [f"nats://127.0.0.1:{port}" for port in ports]
    more = dict(config or {})
    cluster = more.pop("cluster", {})
    with contextlib.ExitStack() as stack:
        servers = [
            stack.enter_context(
                NatsServer(
                    {
                        "server_name": f"n{number}",
                        "server_tags": [f"n:{number}"],
                        "cluster": {"name": "C1", "listen": f"127.0.0.1:{port}", "routes": routes, **cluster},
                        **more,
                    },
                    version=own,
                )
            )
            for number, (port, own) in enumerate(zip(ports, versions), start=1)
        ]
        deadline = time.monotonic() + START_TIMEOUT
        while not _formed(servers):
            if time.monotonic() > deadline:
                raise RuntimeError(f"the cluster had no leader after {START_TIMEOUT:.0f} s:\n{servers[0].log()}")
            time.sleep(0.05)
        yield servers


def step_down(session: Session, stream: str, preferred: str = "") -> None:
    """Make another server the leader of the stream, ``preferred`` if that is given (nats-server 2.11)."""
    body = {"placement": {"preferred": preferred}} if preferred else None
    jetstream.call(
        session, f"Changing the leader of stream {stream}", f"STREAM.LEADER.STEPDOWN.{stream}", answers.Done, body
    )


def _formed(servers: list[NatsServer]) -> bool:
    views = [server.monitor("jsz").get("meta_cluster", {}) for server in servers]
    current = max(sum(bool(peer.get("current")) for peer in view.get("replicas", [])) for view in views)
    return current == len(servers) - 1 and all(view.get("leader") for view in views)
