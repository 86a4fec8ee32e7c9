# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the limits and the use of the account."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import _errors
from . import jetstream

if TYPE_CHECKING:
    from .._connection import sessions


def info(session: sessions.Session) -> dict[str, Any]:
    """Return the answer of INFO (``limits``, ``tiers``, ``streams`` …), or an empty dict if it is not allowed."""
    try:
        return jetstream.call(session, "Reading the account", "INFO")
    except (_errors.PermissionMissing, _errors.ApiError):
        return {}
