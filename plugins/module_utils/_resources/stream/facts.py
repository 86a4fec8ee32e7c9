# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The parts of results that are not a stream's configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..._api import streams
from ..._options import codecs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..._api import answers


_NO_STATE = {
    "messages": 0,
    "bytes": 0,
    "first_seq": 0,
    "first_time": None,
    "last_seq": 0,
    "last_time": None,
    "subjects": 0,
    "deleted": 0,
    "consumers": 0,
}


def facts(config: Mapping[str, Any], info: answers.StreamInfo | None) -> dict[str, Any]:
    """Return what results show of a stream beside its options. ``info`` is None for one that is planned.

    Times are RFC 3339 UTC, or None.
    """
    return {
        "created": info["created"] if info else None,
        "state": _state(info["state"]) if info else {**_NO_STATE},
        "cluster": cluster(streams.cluster_of(info)),
        "origins": [_origin(origin) for origin in streams.origins_of(info)] if info else [],
        "server": server(config),
    }


def _state(state: answers.StreamState) -> dict[str, Any]:
    return {
        "messages": state["messages"],
        "bytes": state["bytes"],
        "first_seq": state["first_seq"],
        "first_time": _moment(state["first_ts"]),
        "last_seq": state["last_seq"],
        "last_time": _moment(state["last_ts"]),
        "subjects": state.get("num_subjects", 0),
        "deleted": state.get("num_deleted", 0),
        "consumers": state["consumer_count"],
    }


def cluster(cluster: answers.Cluster) -> dict[str, Any]:
    """Return where a stream or consumer is, for results."""
    return {
        "name": cluster.get("name"),
        "leader": cluster.get("leader"),
        "replicas": [
            {
                "name": peer.get("name"),
                "current": bool(peer.get("current")),
                "lag": peer.get("lag", 0),
                "offline": bool(peer.get("offline")),
            }
            for peer in cluster.get("replicas") or []
        ],
    }


def server(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the server wrote into the metadata of a configuration, for results."""
    metadata = config.get("metadata") or {}
    return {
        "version": metadata.get("_nats.ver"),
        "level": _number(metadata.get("_nats.level")),
        "required_level": _number(metadata.get("_nats.req.level")),
    }


def _origin(origin: answers.SourceInfo) -> dict[str, Any]:
    active = origin["active"]
    return {
        "name": origin["name"],
        "api": (origin.get("external") or {}).get("api"),
        "lag": origin["lag"],
        "active": None if active < 0 else codecs.seconds(active),
        "error": streams.refusal_to_copy(origin) or None,
    }


def _moment(text: str) -> str | None:
    return None if text.startswith("0001-") else text


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdigit() else None
