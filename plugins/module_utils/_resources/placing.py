# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether there are servers for the copies of a stream. Pure.

After selectPeerGroup in nats-server's server/jetstream_cluster.go. Servers that are down may count too, and an ordinary
account can't know them: then a plan warns instead of refusing.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from .. import _errors
from .._api import streams

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .._api import answers, peers
    from .._connection import wire

NO_PEERS, NO_CLUSTER = 10005, 10074
# The tag of servers that take no streams
_EXCLUDED = "!jetstream"
# Since this release a quorum of the servers has to be up, before that each of them
_QUORUM = (2, 11, 0)
_MOST_NAMED = 5


def needs_check(config: Mapping[str, Any], present: Mapping[str, Any], server: wire.Server) -> bool:
    """Return True if a configuration may need other servers than the present one."""
    placed = config.get("placement") or {}
    moved = placed != (present.get("placement") or {}) and bool(placed)
    return server.clustered and (moved or _copies(config) > max(1, _copies(present) if present else 1))


def enough(config: Mapping[str, Any], info: answers.StreamInfo | None) -> Callable[[Sequence[peers.Peer]], bool]:
    """Return a function that returns True if such servers can hold this stream."""
    return lambda servers: _most(servers, config, info) >= _copies(config)


def check(
    servers: Sequence[peers.Peer] | None,
    config: Mapping[str, Any],
    info: answers.StreamInfo | None,
    server: wire.Server,
    options: Mapping[str, str],
) -> str:
    """Raise Refused if the answering servers can't hold this stream. Return a warning if others may be down.

    ``servers`` are the servers, None if unknown. ``info`` is that of the present stream, if there is one. ``options``
    has the name of the option for each field of the server.
    """
    copies = _copies(config)
    if servers is None:
        return ""
    names = {peer.name for peer in servers}
    count = _most(servers, config, info) + sum(name not in names for name in _holders(info))
    if count >= copies:
        return ""
    alone = _most(servers, {**config, "placement": {}}, None)
    option = options.get("placement" if alone >= copies else "num_replicas", "placement")
    reason = (
        f"{option}: {copies} {'copy needs' if copies == 1 else 'copies need'} as many servers, and {_number(count)}"
        f"{_where(config, info)}: there {'is' if len(servers) == 1 else 'are'} {_named(servers)}"
    )
    if count < (copies // 2 + 1 if server.version >= _QUORUM else copies):
        remedy = "Choose another placement" if option == options.get("placement") else "Give fewer"
        raise _errors.Refused(
            f"{reason} (JetStream error {NO_PEERS}). {remedy}, or add servers to the cluster.",
            code="no_servers",
            option=option,
            err_code=NO_PEERS,
        )
    return f"{reason}. The server refuses that unless others are down now (JetStream error {NO_PEERS})."


def check_cluster(config: Mapping[str, Any], info: answers.StreamInfo | None, server: wire.Server) -> None:
    """Raise Refused if a single server is to hold several replicas.

    Some releases up to 2.14 accept such an update, echo it, and do nothing. The stream's info describes a server that
    is reached through another.
    """
    cluster = streams.cluster_of(info)
    alone = not server.clustered or bool(cluster.get("leader") and not cluster.get("name"))
    if alone and _copies(config) > 1:
        name = cluster.get("leader") or server.name
        raise _errors.Refused(
            f"replicas: {config['num_replicas']} copies are not possible, {name} is a single server and no "
            f"cluster (JetStream error {NO_CLUSTER}): give replicas: 1, or use a cluster.",
            code="option",
            option="replicas",
            err_code=NO_CLUSTER,
        )


def _copies(config: Mapping[str, Any]) -> int:
    return int(config.get("num_replicas") or 1)


def _most(servers: Sequence[peers.Peer], config: Mapping[str, Any], info: answers.StreamInfo | None) -> int:
    """Return the highest number of fitting servers in a cluster, since a stream is in one cluster."""
    tags, cluster = [tag.lower() for tag in (config.get("placement") or {}).get("tags") or ()], _cluster(config, info)
    fitting = (peer for peer in servers if cluster in ("", peer.cluster) and _fits(peer, tags))
    return max(Counter(peer.cluster for peer in fitting).values(), default=0)


def _fits(peer: peers.Peer, tags: Sequence[str]) -> bool:
    own = {tag.lower() for tag in peer.tags}
    return _EXCLUDED not in own and all((tag[1:] not in own) if tag.startswith("!") else tag in own for tag in tags)


def _cluster(config: Mapping[str, Any], info: answers.StreamInfo | None) -> str:
    """Return the cluster that the stream has to be in, or an empty text for any."""
    placed = config.get("placement") or {}
    moved = placed != ((info["config"].get("placement") if info else None) or {})
    return str(placed.get("cluster") or ("" if moved else streams.cluster_of(info).get("name", "")))


def _holders(info: answers.StreamInfo | None) -> set[str]:
    cluster = streams.cluster_of(info)
    holders = {str(peer.get("name")) for peer in cluster.get("replicas") or ()}
    return holders | ({str(cluster["leader"])} if cluster.get("leader") else set())


def _number(count: int) -> str:
    return {0: "no server", 1: "1 server"}.get(count, f"{count} servers")


def _where(config: Mapping[str, Any], info: answers.StreamInfo | None) -> str:
    tags, cluster = (config.get("placement") or {}).get("tags") or (), _cluster(config, info)
    of_cluster = f" of cluster {cluster}" if cluster else ""
    with_tags = f" with {'tag' if len(tags) == 1 else 'tags'} {', '.join(tags)}" if tags else ""
    return f"{of_cluster}{with_tags} answered"


def _named(servers: Sequence[peers.Peer]) -> str:
    names = [
        f"{peer.name} ({', '.join(filter(None, (peer.cluster and f'cluster {peer.cluster}', *peer.tags)))})"
        for peer in sorted(servers)[:_MOST_NAMED]
    ]
    return ", ".join([*names, *([f"{len(servers) - _MOST_NAMED} more"] if len(servers) > _MOST_NAMED else [])])
