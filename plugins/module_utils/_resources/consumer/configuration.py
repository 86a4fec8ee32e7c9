# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration of a consumer that follows from what is wanted and what is there. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import facts, table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..._connection import wire
    from .current import Current


def unmanaged(desired: Mapping[str, Any], stream: Mapping[str, Any], server: wire.Server) -> dict[str, Any]:
    """Return the values in exact mode of fields that are not given: those of a new consumer."""
    from ..exact import defaults

    return {
        **defaults(table.ROWS.values(), server),
        **facts.filled({"ack_policy": "explicit", **desired}, stream),
    }


def completed(desired: dict[str, Any], present: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields with those that they imply, and without those that they exclude."""
    if not present:
        desired = {"ack_policy": "explicit", **desired}  # as NATS clients do: the server's own default is none
    for one, other, none in (("filter_subject", "filter_subjects", []), ("filter_subjects", "filter_subject", "")):
        if desired.get(one) and present.get(other):
            desired = {other: none, **desired}
    if desired.get("backoff"):
        desired = {"ack_wait": desired["backoff"][0], **desired}
    dropped: list[str] = []
    if desired.get("priority_policy") == "none":
        dropped += ("priority_groups", "priority_timeout")
    if desired.get("ack_policy") == "none" != present.get("ack_policy"):
        dropped += table.ACKED_ONLY
    if desired.get("deliver_policy") not in (None, present.get("deliver_policy")):
        dropped += table.START
    if desired.get("deliver_subject") and not present.get("deliver_subject"):
        dropped += table.PULL_ONLY
    if desired.get("deliver_subject") == "":
        dropped += table.PUSH_ONLY
    zeros = {path: table.ROWS[path].read({}) for path in dropped if present.get(path) and path not in desired}
    return {**desired, **zeros}


def settled(desired: dict[str, Any], present: Mapping[str, Any], current: Current) -> dict[str, Any]:
    """Return the fields with 0 replaced by the server's default."""
    whole = facts.filled({**present, **desired}, current.stream_config, current.ackable)
    return {
        path: value if value or isinstance(value, (bool, list, dict)) else whole.get(path, value)
        for path, value in desired.items()
    }


def merged(config: Mapping[str, Any], desired: Mapping[str, Any]) -> dict[str, Any]:
    """Return the present fields with the desired ones. Metadata of the server stays."""
    whole = {**config, **desired}
    if "metadata" in desired:
        labels = config.get("metadata") or {}
        own = {key: text for key, text in labels.items() if key.startswith("_nats.") or key == facts.START_MARK}
        whole["metadata"] = {**own, **desired["metadata"]}
    return whole


def sent(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields without empty ones, for which the server uses its defaults."""
    return {path: value for path, value in config.items() if value}
