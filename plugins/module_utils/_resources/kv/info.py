# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the _info module of buckets returns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..._options import names
from ..info import read
from . import table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..._connection import sessions


def buckets_of(session: sessions.Session, options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the buckets in the option ``names``, or all. Raises OptionError for an invalid name."""
    return [table.result(info) for info in read(session, table.SPEC, names.BUCKET_PREFIX, options)]
