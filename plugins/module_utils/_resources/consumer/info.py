# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The work of choria_consumer_info."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..._api import consumers, streams
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
    stream, wanted = options["stream"], options["names"]
    if wanted is not None:
        return [facts.result_of(info) for info in consumers.info_many(session, stream, wanted) if info]
    found = []
    for each in [stream] if stream else sorted(streams.names(session)):
        found += sorted(consumers.list_all(session, each), key=lambda info: str(info["name"]))
    return [facts.result_of(info) for info in found]
