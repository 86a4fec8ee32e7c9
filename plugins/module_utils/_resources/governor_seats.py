# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The seats of a governor that are taken."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from .._api import messages
from .._options import codecs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .._connection import sessions


def seats_of(session: sessions.Session, info: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Who holds a seat, the longest first: ``sequence``, ``name``, ``since`` and ``expires`` (RFC 3339 UTC or None)."""
    config = info["config"]
    age = int(config.get("max_age") or 0)
    subjects = config.get("subjects") or []  # none where somebody gave a mirror the name of a governor
    return [
        {
            "sequence": seat.sequence,
            "name": seat.data.decode(errors="replace"),
            "since": seat.time,
            "expires": _later(seat.time, age) if age else None,
        }
        for subject in subjects[:1]
        for seat in messages.on_subject(session, config["name"], subject)
    ]


def _later(moment: str, nanoseconds: int) -> str:
    later = codecs.parse_timestamp(moment) + timedelta(microseconds=nanoseconds / 1000)
    return later.isoformat().replace("+00:00", "Z")
