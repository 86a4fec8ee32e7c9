# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the limits of the account, and what it uses of them (INFO of the JetStream API).

The shape of this answer is here and not in answers.py, which each module is sent, also those that need no account.
"""

# ruff: noqa: UP045  # Python 3.9 evaluates the annotations
from __future__ import annotations

from typing import TYPE_CHECKING, Optional, TypedDict

from .. import _errors
from .._options import shapes  # noqa: TC001  # Python evaluates the annotations
from . import jetstream

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from .._connection import sessions


class Limits(TypedDict):
    """Limits of an account or a tier, -1 for none (``JetStreamAccountLimits`` of nats-server)."""

    max_memory: int
    max_storage: int
    max_streams: int
    max_consumers: int
    max_ack_pending: int
    memory_max_stream_bytes: int
    storage_max_stream_bytes: int
    max_bytes_required: bool


class Tier(TypedDict):
    """The limits for streams with one number of copies, and their use."""

    limits: Limits
    streams: int
    consumers: int
    memory: shapes.Count
    storage: shapes.Count
    reserved_memory: shapes.Count
    reserved_storage: shapes.Count


class Account(Tier, total=False):
    """The answer. An account with ``tiers``, such as ``R3``, has its limits there."""

    tiers: Optional[dict[str, Tier]]


def info(session: sessions.Session) -> Mapping[str, Any]:
    """Return the account, or an empty one if reading it is not allowed. Raises StreamsError."""
    try:
        return jetstream.call(session, "Reading the account", "INFO", Account)
    except (_errors.PermissionMissing, _errors.ApiError):
        return {}
