# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes that copy data to other servers: their order, and how long a task waits for them. Pure functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ... import _errors
from ..._options import codecs, fields, quantities
from .. import resource

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


_LONG_ENOUGH = "5m"
WAIT: dict[str, Any] = {
    "wait": {"type": "bool", "default": True},
    "wait_timeout": {"type": "str", "default": _LONG_ENOUGH},
}

# The codec of wait_timeout, for an early check
CHECKS = fields.Spec((fields.Field("wait_timeout", codecs.duration()),))


def patience(options: Mapping[str, Any]) -> float:
    """Return how many seconds to wait until all replicas are current, 0 for not at all."""
    seconds = quantities.parse_duration(options.get("wait_timeout") or _LONG_ENOUGH)
    return seconds if options.get("wait", True) else 0


def moved(changes: Iterable[resource.Change]) -> bool:
    """Return True if replicas of the stream are added, removed or moved."""
    return bool({change.field for change in changes} & {"placement", "replicas"})


def first_step(
    config: Mapping[str, Any], request: Mapping[str, Any], changes: Iterable[resource.Change], wait: float
) -> dict[str, Any]:
    """Return the fields to send before the request, since servers refuse placement together with other moves.

    Few replicas are moved rather than many: placement comes before more replicas, and after fewer. Raises Refused if
    the task does not wait for the first step.
    """
    together = {change.field for change in changes} & {"placement", "replicas", "retention"}
    if "placement" not in together or len(together) == 1:
        return {}
    if not wait:
        other = sorted(together - {"placement"})[0]
        raise _errors.Refused(
            f"placement can't change together with {other} (JetStream error 10123): change one, wait until all "
            "replicas are current, then the other, or let wait: true do so.",
            code="update_refused",
            option="placement",
            err_code=10123,
        )
    if int(request["num_replicas"]) > int(config["num_replicas"]):
        return resource.merged(config, {"placement": request.get("placement") or {}})
    return resource.merged(request, {"placement": config.get("placement") or {}})
