# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What results tell of a stream beside its configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..._api import origins
from ..._options import codecs

if TYPE_CHECKING:
    from collections.abc import Mapping


def facts(info: Mapping[str, Any]) -> dict[str, Any]:
    """Return the server's information on a stream beside its configuration. Times are RFC 3339 UTC, or None."""
    state = info.get("state") or {}
    cluster = info.get("cluster") or {}
    metadata = info["config"].get("metadata") or {}
    return {
        "created": info.get("created"),
        "state": {
            "messages": state.get("messages", 0),
            "bytes": state.get("bytes", 0),
            "first_seq": state.get("first_seq", 0),
            "first_time": _moment(state.get("first_ts")),
            "last_seq": state.get("last_seq", 0),
            "last_time": _moment(state.get("last_ts")),
            "subjects": state.get("num_subjects", 0),
            "deleted": state.get("num_deleted", 0),
            "consumers": state.get("consumer_count", 0),
        },
        "cluster": {
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
        },
        "origins": [_origin(origin) for origin in origins.of(info)],
        "server": {
            "version": metadata.get("_nats.ver"),
            "level": _number(metadata.get("_nats.level")),
            "required_level": _number(metadata.get("_nats.req.level")),
        },
    }


def _origin(origin: Mapping[str, Any]) -> dict[str, Any]:
    active = int(origin.get("active", -1))
    return {
        "name": origin["name"],
        "api": (origin.get("external") or {}).get("api"),
        "lag": origin.get("lag", 0),
        "active": None if active < 0 else codecs.seconds(active),
        "error": origins.refusal(origin) or None,
    }


def _moment(text: str | None) -> str | None:
    return None if not text or text.startswith("0001-") else text


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdigit() else None
