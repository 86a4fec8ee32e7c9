# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show consumers in results, and fill in the server's defaults."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from ..._options import codecs, quantities, untrusted
from ..stream import facts as stream_facts
from . import table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..._api import answers

# In the metadata of a consumer that was created again at its position: where it was to begin
START_MARK = "choria.streams.start"
_ACK_WAIT = 30 * quantities.NANOSECOND
_PINNED = 120 * quantities.NANOSECOND
_ACK_PENDING = 1000
_WAITING = 512


def filled(config: Mapping[str, Any], stream: Mapping[str, Any], ackable: int = 0) -> dict[str, Any]:
    """Return a configuration with the server's defaults, which depend on that of the stream.

    ``ackable`` is how many unacknowledged messages the account allows, 0 for any number.
    """
    limits = stream.get("consumer_limits") or {}
    backoff = config.get("backoff")
    defaults: dict[str, Any] = {"max_deliver": -1, "inactive_threshold": limits.get("inactive_threshold", 0)}
    if config.get("ack_policy") in ("explicit", "all"):
        defaults["ack_wait"] = backoff[0] if backoff else _ACK_WAIT
    if limits.get("max_ack_pending"):
        defaults["max_ack_pending"] = limits["max_ack_pending"]
    elif config.get("ack_policy") != "none":
        defaults["max_ack_pending"] = min(_ACK_PENDING, ackable or _ACK_PENDING)
    if config.get("ack_policy") == "flow_control":
        defaults.update(flow_control=True, idle_heartbeat=quantities.NANOSECOND)
    if not config.get("deliver_subject"):
        defaults["max_waiting"] = _WAITING
    if config.get("priority_policy") == "pinned_client":
        defaults["priority_timeout"] = _PINNED
    return {**defaults, **{path: value for path, value in config.items() if value}}


def result_of(info: Mapping[str, Any]) -> dict[str, Any]:
    """Return the consumer for results: its options by their names, and its state."""
    config = declared(info)
    cluster: answers.Cluster | None = info.get("cluster")
    return {
        "name": info["config"]["durable_name"] if "durable_name" in info["config"] else info["name"],
        "stream": info["stream_name"],
        **{row.option: row.codec.to_result(row.read(config)) for row in table.ROWS.values()},
        "created": info.get("created"),
        "cluster": stream_facts.cluster(cluster or {}),
        "server": stream_facts.server(info["config"]),
        "state": _state(info),
    }


def declared(info: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration as declared, with its original start if it was created again at its position."""
    return as_asked(current(info))


def current(info: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration on the server, without a pause that is over."""
    config = dict(info["config"])
    if config.get("pause_until") and not is_future(config["pause_until"], info):
        del config["pause_until"]
    return config


def as_asked(config: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration with the start in its metadata, and without that mark."""
    labels = config.get("metadata") or {}
    try:
        begin = untrusted.load_object(labels[START_MARK])
    except (KeyError, ValueError):  # no mark, or not ours
        return config
    rest = {path: value for path, value in config.items() if path not in table.START}
    own = {key: text for key, text in labels.items() if key != START_MARK}
    return {**rest, **begin, "metadata": own}


def is_future(moment: str, info: Mapping[str, Any] | None) -> bool:
    """Return True if a time is in the future, by the server's clock if it has answered."""
    now = quantities.parse_timestamp(info["ts"]) if info and info.get("ts") else datetime.now(timezone.utc)
    return quantities.parse_timestamp(moment) > now


def unprocessed(info: Mapping[str, Any]) -> int:
    """Return how many messages the consumer still has to deliver, or that are not acknowledged yet."""
    return int(info.get("num_pending", 0)) + int(info.get("num_ack_pending", 0))


def position(info: Mapping[str, Any], which: str) -> tuple[int, int]:
    """Return the stream sequence and the number of deliveries of ``delivered`` or ``ack_floor``."""
    sequences = info.get(which) or {}
    return int(sequences.get("stream_seq", 0)), int(sequences.get("consumer_seq", 0))


def _state(info: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "lag": unprocessed(info),
        "pending": info.get("num_pending", 0),
        "ack_pending": info.get("num_ack_pending", 0),
        "redelivered": info.get("num_redelivered", 0),
        "waiting": info.get("num_waiting", 0),
        "delivered": _position(info.get("delivered")),
        "ack_floor": _position(info.get("ack_floor")),
        "paused": bool(info.get("paused")),
        "pause_remaining": codecs.seconds(info.get("pause_remaining", 0)),
        "push_bound": bool(info.get("push_bound")),
        "pinned": [
            {"group": group["group"], "client": group["pinned_client_id"], "since": group.get("pinned_ts")}
            for group in info.get("priority_groups") or []
            if group.get("pinned_client_id")
        ],
    }


def _position(sequences: Mapping[str, Any] | None) -> dict[str, Any]:
    there = sequences or {}
    return {
        "consumer_seq": there.get("consumer_seq", 0),
        "stream_seq": there.get("stream_seq", 0),
        "last_time": there.get("last_active"),
    }
