# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read what a document needs from the server, in as few requests as possible."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ... import _errors
from ..._api import jetstream, peers, streams
from ..ownership import is_system, owner_of
from . import model

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..._connection import sessions

# A page of a LIST call has 256 infos: for fewer than this it is cheaper to ask for each
FEW = 64


@dataclass
class Known:
    """The state of the server, as far as a document needs it.

    ``infos`` are the streams of the document, and those from which something may be pruned. ``subjects`` are those of
    all streams of the account by their names, None if only some are known. ``consumers`` are infos by stream and name.
    ``holders`` has, by the names of streams whose copy was interrupted, the stream with all of their messages.
    ``account`` has its limits, and their future use. ``servers`` asks for those that may hold streams.
    """

    infos: dict[str, dict[str, Any]] = field(default_factory=dict)
    subjects: dict[str, list[str]] | None = None
    consumers: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    holders: dict[str, str] = field(default_factory=dict)
    account: Mapping[str, Any] | None = None
    servers: peers.Peers | None = None


def read(session: sessions.Session, document: model.Document) -> Known:
    """Return the state. Raises PermissionMissing if pruning needs the list of all streams, and it may not be read."""
    wanted = {item.stream for item in document.items}
    if len(wanted) > FEW or document.prune:
        try:
            return _listed(session, wanted, document.owner if document.prune else "")
        except _errors.PermissionMissing:
            if document.prune:
                raise
    return Known(infos_of(session, wanted))


def account_of(session: sessions.Session, known: Known) -> Mapping[str, Any]:
    """Return the limits of the account, which are read once."""
    if known.account is None:
        known.account = jetstream.account_info(session)
    return known.account


def servers_of(session: sessions.Session, known: Known) -> peers.Peers:
    """Return the servers that may hold streams, which are asked as rarely as possible."""
    if known.servers is None:
        known.servers = peers.Peers(session)
    return known.servers


def infos_of(session: sessions.Session, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return the infos of the existing streams."""
    wanted = sorted(names)
    return {name: info for name, info in zip(wanted, streams.info_many(session, wanted)) if info}


def infos_again(session: sessions.Session, names: set[str]) -> dict[str, dict[str, Any]]:
    """Return the infos after a write, with as few requests as possible."""
    if len(names) > FEW:
        try:
            return _listed(session, names, "").infos
        except _errors.PermissionMissing:
            pass
    return infos_of(session, names)


def _listed(session: sessions.Session, wanted: set[str], owner: str) -> Known:
    known = Known(subjects={})
    for info in streams.list_all(session):
        config = info["config"]
        name = config["name"]
        known.subjects[name] = config.get("subjects") or []  # type: ignore[index]
        if name in wanted or (owner and (owner_of(config) == owner or info["state"].get("consumer_count"))):
            known.infos[name] = info
    return known


def add_pruned(document: model.Document, known: Known) -> None:
    """Add the removal of resources with the owner's mark that are not in the document."""
    for name in sorted(known.infos.keys() - document.renamed.keys()):
        if name in document.streams or owner_of(known.infos[name]["config"]) != document.owner or is_system(name):
            continue
        kind = next(
            (kind for kind in (model.BUCKETS, model.GOVERNORS) if name.startswith(kind.prefix)),
            model.STREAMS,
        )
        options = {
            "name": name.removeprefix(kind.prefix),
            "state": "absent",
            "allow_data_loss": document.allow_data_loss,
            "owner": document.owner,
        }
        document.add(model.Item(kind, None, options))
