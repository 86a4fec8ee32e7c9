# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the _info modules return."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..._api import streams
from ..._options import codecs, fields
from ..governor.governor import GOVERNOR
from ..governor.seats import seats_of
from ..kv.bucket import BUCKET
from .stream import STREAM

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..._connection import sessions
    from . import base

NAMES = fields.Spec((fields.Field("names", codecs.names(), argument_extra={"aliases": ["name"]}),))


def streams_of(session: sessions.Session, options: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [STREAM.result(info) for info in _read(session, STREAM, options)]


def buckets_of(session: sessions.Session, options: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [BUCKET.result(info) for info in _read(session, BUCKET, options)]


def governors_of(session: sessions.Session, options: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{**GOVERNOR.result(info), "seats": seats_of(session, info)} for info in _read(session, GOVERNOR, options)]


def _read(session: sessions.Session, kind: base.StreamBacked, options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The infos of the named streams of a kind, or of all, in the order of their names."""
    if options["names"] is not None:
        found = streams.info_many(session, [f"{kind.prefix}{kind.checked_name(name)}" for name in options["names"]])
        return [info for info in found if info]
    everything = [info for info in streams.list_all(session) if info["config"]["name"].startswith(kind.prefix)]
    return sorted(everything, key=lambda info: str(info["config"]["name"]))
