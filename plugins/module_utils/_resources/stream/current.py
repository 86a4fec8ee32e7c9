# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a plan for a stream is made from: its info, and what else has to be read for it."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from ... import _errors
from ..._api import peers, streams
from ..._options import connection
from .. import losses, origin_filters
from .recreation import recreate

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping, Sequence

    from ..._connection import sessions


class Current(NamedTuple):
    """The state of a stream, and what a plan needs beside it.

    ``measured`` is the effect of changed limits, and ``taken`` names the streams that have desired subjects.
    ``collective`` is where a governor is created without an option, ``copying`` the progress of a copy. ``desired`` is
    the configuration that the options ask for, if it is known already. ``account`` has the limits of the account and
    their use, if a plan may exceed them. ``servers`` are those that may hold the stream, if a plan needs others and
    they are known. ``unmatched`` refuses a filter of an origin. ``renamed_from`` is the old name of a stream to rename.
    """

    info: dict[str, Any] | None = None
    measured: losses.Measured = losses.NOT_MEASURED
    taken: Mapping[str, str] | None = None
    collective: str = connection.DEFAULT_COLLECTIVE
    copying: recreate.Copying = recreate.NOT_COPYING
    desired: dict[str, Any] | None = None
    account: Mapping[str, Any] | None = None
    servers: Sequence[peers.Peer] | None = None
    unmatched: _errors.Refused | None = None
    renamed_from: str = ""

    @property
    def config(self) -> dict[str, Any]:
        return dict(self.info["config"]) if self.info else {}

    @property
    def state(self) -> dict[str, Any]:
        return dict(self.info["state"]) if self.info else {}


class Needs(NamedTuple):
    """What has to be read for a plan beside the stream's info.

    ``subjects`` are new ones, which other streams may have. ``measured`` requires the result of ``measure``, ``copied``
    the input of a copy, ``limited`` the account's limits, ``placed`` the servers for this configuration, and
    ``filters`` the messages of origins. ``desired`` is the configuration from which it follows, None to delete.
    """

    desired: dict[str, Any] | None = None
    subjects: Sequence[str] = ()
    measured: bool = False
    copied: bool = False
    limited: bool = False
    placed: Mapping[str, Any] = MappingProxyType({})
    filters: tuple[origin_filters.Filter, ...] = ()


def taken(session: sessions.Session, own: Container[str], subjects: Iterable[str]) -> dict[str, str]:
    """Return the other streams that have desired subjects. Without the permission to ask, the server has to refuse."""
    owned = {}
    for subject in subjects:
        try:
            owners = [owner for owner in streams.names(session, subject) if owner not in own]
        except _errors.PermissionMissing:
            return {}
        if owners:
            owned[subject] = owners[0]
    return owned
