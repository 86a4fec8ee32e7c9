# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The work of choria_consumer_info."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..._api import consumers, lists
from ..._options import codecs, fields, names
from . import facts, table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..._connection import sessions

CONSUMERS = fields.Spec(
    (
        fields.Field("stream", names.STREAM_NAME),
        fields.Field("names", codecs.names(table.NAME), argument_extra={"aliases": ["name"]}),
    ),
    {"required_by": {"names": ["stream"]}},
)


def consumers_of(session: sessions.Session, options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the named consumers of a stream, or all, or those of all streams, sorted by stream and name."""
    fields.checked(CONSUMERS, options.get)
    stream, chosen = options["stream"], options["names"]
    if chosen is not None:
        return [facts.result_of(info) for info in consumers.info_many(session, stream, chosen) if info]
    infos = []
    for each in [stream] if stream else sorted(lists.stream_names(session)):
        infos += sorted(consumers.list_all(session, each), key=lambda info: str(info["name"]))
    return [facts.result_of(info) for info in infos]
