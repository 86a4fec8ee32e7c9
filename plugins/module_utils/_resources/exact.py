# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Exact mode: fields that are not given are reset to their defaults."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import _errors
from .._options import fields

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .._connection import wire


def defaults(rows: Iterable[fields.Field], server: wire.Server) -> dict[str, Any]:
    """Return the defaults of the fields that this server knows, as wire values.

    Fields that only have an effect at creation are left out.
    """
    supported = (row for row in rows if row.option != "name" and row.since <= server.version)
    return {row.path: row.unset for row in supported if row.update.effect != fields.NO_EFFECT}


def hidden_defaults(rows: Iterable[fields.Field], current: Mapping[str, Any], server: wire.Server) -> dict[str, Any]:
    """Return the defaults of fields for which the kind has no option, if the server can change them in place."""
    values = defaults(rows, server)
    return {
        row.path: values[row.path]
        for row in rows
        if row.path in values
        and row.update.effect_of(row.read(current), values[row.path], server.version) == fields.IN_PLACE
    }


def keep_mirror(what: str, desired: Mapping[str, Any], current: Mapping[str, Any]) -> None:
    """Raise Refused if exact mode would end a mirror, since that can't be undone."""
    if current.get("mirror") and "mirror" not in desired:
        raise _errors.Refused(
            f"mirror: {what} is a mirror, and exact mode does not end a mirror: give mirror as it is, or "
            "mirror: {} to end it.",
            code="update_refused",
            option="mirror",
        )
