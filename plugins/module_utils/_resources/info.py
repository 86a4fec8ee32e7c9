# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Functions shared by the _info modules of streams, buckets and governors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._api import lists, streams
from .._options import codecs, fields

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .._api import answers
    from .._connection import sessions

NAMES = fields.Spec((fields.Field("names", codecs.names(), argument_extra={"aliases": ["name"]}),))


def read(
    session: sessions.Session, spec: fields.Spec, prefix: str, options: Mapping[str, Any]
) -> list[answers.StreamInfo]:
    """Return the named streams of a kind, or all with the prefix, sorted by name, for results."""
    if options["names"] is not None:
        infos = streams.info_many(session, [f"{prefix}{spec.checked_name(name)}" for name in options["names"]])
        return [info for info in infos if info]
    matching = [info for info in lists.streams(session) if info["config"]["name"].startswith(prefix)]
    return sorted(matching, key=lambda info: info["config"]["name"])


def shown(
    spec: fields.Spec,
    prefix: str,
    result: Callable[[Mapping[str, Any], answers.StreamInfo | None], dict[str, Any]],
    session: sessions.Session,
    options: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """Return the same resources as ``result`` shows them. Raises OptionError for an invalid name."""
    return [result(info["config"], info) for info in read(session, spec, prefix, options)]
