# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The result of the _info module of governors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..._options import names
from ..info import read
from . import table
from .seats import seats_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..._connection import sessions


def governors_of(session: sessions.Session, options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the governors in the option ``names``, or all. Raises OptionError for an invalid name."""
    return [
        {**table.result(info["config"], info), "seats": seats_of(session, info)}
        for info in read(session, table.SPEC, names.GOVERNOR_PREFIX, options)
    ]
