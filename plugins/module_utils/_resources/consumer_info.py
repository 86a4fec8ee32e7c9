# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What choria_consumer_info returns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._api import consumers, streams
from .._options import codecs
from .._options.fields import Field, Spec, checked
from .._options.names import STREAM_NAME
from .consumer_facts import result_of
from .consumer_table import NAME

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .._connection.session import Session

CONSUMERS = Spec(
    (Field("stream", STREAM_NAME), Field("names", codecs.names(NAME))), {"required_by": {"names": ["stream"]}}
)


def consumers_of(session: Session, options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The named consumers of a stream, or all, or those of all streams, in the order of streams and names."""
    checked(CONSUMERS, options.get)
    stream, names = options["stream"], options["names"]
    if names is not None:
        return [result_of(info) for info in consumers.info_many(session, stream, names) if info]
    found = []
    for each in [stream] if stream else sorted(streams.names(session)):
        found += sorted(consumers.list_all(session, each), key=lambda info: str(info["name"]))
    return [result_of(info) for info in found]
