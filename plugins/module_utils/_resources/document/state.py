# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read what a document needs from the server, in as few requests as possible."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ... import _errors
from ..._api import accounts, answers, jetstream, lists, peers, streams
from ..ownership import is_system, owner_of
from . import model

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..._connection import sessions

# A page of a LIST call has 256 infos: for fewer than this it is cheaper to ask for each
FEW = 64


@dataclass
class Snapshot:
    """The state of the server, as far as a document needs it.

    ``infos`` are the streams of the document, and those from which something may be pruned. ``subjects`` are those of
    all streams of the account by their names, None if only some are known. ``consumers`` are infos by stream and name.
    ``holders`` has, by the names of streams whose copy was interrupted, the stream with all of their messages.
    ``account`` has its limits, and their future use. ``servers`` asks for those that may hold streams.
    """

    infos: dict[str, answers.StreamInfo] = field(default_factory=dict)
    subjects: dict[str, list[str]] | None = None
    consumers: dict[str, dict[str, Mapping[str, Any]]] = field(default_factory=dict)
    holders: dict[str, str] = field(default_factory=dict)
    account: Mapping[str, Any] | None = None
    servers: peers.Peers | None = None


def read(session: sessions.Session, document: model.Document) -> Snapshot:
    """Return the state. Raises PermissionMissing if pruning needs the list of all streams, and it may not be read."""
    names = {item.stream for item in document.items}
    if len(names) > FEW or document.prune:
        try:
            return _listed(session, names, document.owner if document.prune else "")
        except _errors.PermissionMissing:
            if document.prune:
                raise
    return Snapshot(infos_of(session, names))


def streams_with(session: sessions.Session, subjects: Iterable[str]) -> list[list[str]]:
    """Return for each subject the names of streams that have it, pipelined; at most a page of each."""
    what = "Listing streams"
    calls = ((what, "STREAM.NAMES", answers.Names, {"subject": subject}) for subject in subjects)
    by_subject = []
    for page in map(jetstream.value_of, jetstream.call_many(session, calls)):
        by_subject.append(lists.Pages(str))
        by_subject[-1].take(what, page, page.get("streams"))
    return [[*pages.items] for pages in by_subject]


def account_of(session: sessions.Session, snapshot: Snapshot) -> Mapping[str, Any]:
    """Return the limits of the account, which are read once."""
    if snapshot.account is None:
        snapshot.account = accounts.info(session)
    return snapshot.account


def servers_of(session: sessions.Session, snapshot: Snapshot) -> peers.Peers:
    """Return the servers that may hold streams, which are asked as rarely as possible."""
    if snapshot.servers is None:
        snapshot.servers = peers.Peers(session)
    return snapshot.servers


def infos_of(session: sessions.Session, names: Iterable[str]) -> dict[str, answers.StreamInfo]:
    """Return the infos of the existing streams."""
    ordered = sorted(names)
    return {name: info for name, info in zip(ordered, streams.info_many(session, ordered)) if info}


def infos_again(session: sessions.Session, names: set[str]) -> dict[str, answers.StreamInfo]:
    """Return the infos after a write, with as few requests as possible."""
    if len(names) > FEW:
        try:
            return _listed(session, names, "").infos
        except _errors.PermissionMissing:
            pass
    return infos_of(session, names)


def _listed(session: sessions.Session, names: set[str], owner: str) -> Snapshot:
    listed: dict[str, list[str]] = {}
    snapshot = Snapshot(subjects=listed)
    for info in lists.streams(session):
        config = info["config"]
        name = config["name"]
        listed[name] = config.get("subjects") or []
        if name in names or (owner and (owner_of(config) == owner or info["state"]["consumer_count"])):
            snapshot.infos[name] = info
    return snapshot


def add_pruned(document: model.Document, snapshot: Snapshot) -> None:
    """Add the removal of resources with the owner's mark that are not in the document."""
    for name in sorted(snapshot.infos.keys() - document.renamed.keys()):
        if name in document.streams or owner_of(snapshot.infos[name]["config"]) != document.owner or is_system(name):
            continue
        kind = max((kind for kind in model.STREAM_KINDS if name.startswith(kind.prefix)), key=lambda kind: kind.prefix)
        options = {
            "name": name.removeprefix(kind.prefix),
            "state": "absent",
            "allow_data_loss": document.allow_data_loss,
            "owner": document.owner,
        }
        document.add(model.Item(kind, None, options))
