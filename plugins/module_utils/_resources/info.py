# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the _info modules of streams, buckets and governors share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._api import streams
from .._options import codecs, fields

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .._connection import sessions

NAMES = fields.Spec((fields.Field("names", codecs.names(), argument_extra={"aliases": ["name"]}),))


def read(session: sessions.Session, spec: fields.Spec, prefix: str, options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the named streams of a kind, or all with the prefix, sorted by name, for results."""
    if options["names"] is not None:
        found = streams.info_many(session, [f"{prefix}{spec.checked_name(name)}" for name in options["names"]])
        return [info for info in found if info]
    everything = [info for info in streams.list_all(session) if info["config"]["name"].startswith(prefix)]
    return sorted(everything, key=lambda info: str(info["config"]["name"]))
