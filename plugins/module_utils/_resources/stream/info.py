# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the _info module of streams returns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..info import read
from . import table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..._connection import sessions


def streams_of(session: sessions.Session, options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The streams that the option ``names`` asks for, or all. Raises OptionError for a name that is not allowed."""
    return [table.result(info) for info in read(session, table.SPEC, "", options)]
