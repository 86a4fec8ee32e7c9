# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of concurrency governors over the stream ``GOVERNOR_<name>``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..._options import codecs, fields, names
from .. import shared_fields

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..._api import answers

SPEC = fields.Spec(
    (
        fields.Field("name", names.GOVERNOR_NAME, argument_extra={"required": True}),
        fields.Field("capacity", codecs.whole(1), wire="max_msgs"),
        fields.Field("expire", codecs.duration(0.1, nothing="lets seats stay taken for ever"), wire="max_age"),
        fields.Field("max_bytes", codecs.size()),
        shared_fields.REPLICAS,
    )
)


def result(config: Mapping[str, Any], info: answers.StreamInfo | None) -> dict[str, Any]:
    """Return a governor for results, from its stream. ``info`` is None for one that is planned."""
    taken = info["state"]["messages"] if info else 0
    subject = (config.get("subjects") or [""])[0]
    return {
        "name": config["name"].removeprefix(names.GOVERNOR_PREFIX),
        "stream": config["name"],
        "subject": subject,
        "collective": subject.split(".", 1)[0],
        **SPEC.results_of(config),
        "seats_taken": taken,
        "seats_free": max(0, int(config.get("max_msgs") or 0) - taken),
        "created": info["created"] if info else None,
    }
