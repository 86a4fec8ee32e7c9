# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""List the servers that may hold streams, as far as an ordinary account can see them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypedDict

from .. import _errors
from .._connection import wire
from .._options import connection, shapes, untrusted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .._connection import sessions

# How many seconds to wait for further answers. Servers answer within milliseconds
_PATIENCE = 2.0


class _ServerNeeds(TypedDict):
    name: str


class _Server(_ServerNeeds, total=False):
    cluster: str
    domain: str
    jetstream: bool
    tags: list[str]


class _Answer(TypedDict):
    """The keys of an answer to PING.STATZ that are used here (nats-server server/events.go, ServerInfo)."""

    server: _Server


class Peer(NamedTuple):
    """A server with JetStream. ``cluster`` is empty if it is in none."""

    name: str
    cluster: str
    domain: str
    tags: tuple[str, ...]


class Peers:
    """The servers of one session. They are asked when first needed, and again only if more of them may answer."""

    def __init__(self, session: sessions.Session) -> None:
        self._session = session
        self._found: list[Peer] | None = None
        self._all = False

    def until(self, enough: Callable[[Sequence[Peer]], bool]) -> list[Peer] | None:
        """Return the servers that answered until ``enough`` is true of them, or None if they can't be known.

        Another domain or prefix may be another cluster, which the connected server does not report.
        """
        if not self._all and not enough(self._found or ()):
            self._found, self._all = self._asked(enough), True
            if self._found is not None and enough(self._found):
                self._all = False
        return self._found

    def _asked(self, enough: Callable[[Sequence[Peer]], bool]) -> list[Peer] | None:
        session = self._session
        if session.settings.api != connection.DEFAULT_API:
            return None
        body = b'{"include_unused": true}'
        try:
            answers = session.gather(wire.PEERS, body, _PATIENCE, lambda listed: enough(_peers(listed) or ()))
        except _errors.StreamsError:
            return None
        listed = _peers(answers)
        own = next((peer for peer in listed or () if peer.name == session.connected.name), None)
        return [peer for peer in listed or () if peer.domain == own.domain] if own else None


def _peers(answers: Sequence[wire.Message]) -> list[Peer] | None:
    """Return the servers, or None if an answer is invalid."""
    listed = []
    for message in answers:
        try:
            answer = untrusted.load_object(message.data)
        except ValueError:
            return None
        if shapes.problem(answer, _Answer):
            return None
        server = answer["server"]
        if server.get("jetstream"):
            tags = tuple(server.get("tags") or ())
            listed.append(Peer(server["name"], server.get("cluster", ""), server.get("domain", ""), tags))
    return listed
