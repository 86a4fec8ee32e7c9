# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The input of a plan for a stream, and the proof of its result, since an answer that says ok is none."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from ... import _errors
from ..._api import lists, peers, reading, streams
from ..._options import connection, quantities
from .. import losses, origin_filters, resource
from ..proof import check_applied, missing
from .recreation import recreate

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping, Sequence

    from ..._api import answers
    from ..._connection import sessions
    from ..._options import fields


class Current(NamedTuple):
    """The state of a stream, and what a plan needs beside it.

    ``measured`` is the effect of changed limits, and ``taken`` names the streams that have desired subjects.
    ``collective`` is where a governor is created without an option, ``copying`` the progress of a copy. ``desired`` is
    the configuration that the options ask for, if it is known already. ``account`` has the limits of the account and
    their use, if a plan may exceed them. ``servers`` are those that may hold the stream, if a plan needs others and
    they are known. ``unmatched`` refuses a filter of an origin. ``renamed_from`` is the old name of a stream to rename.
    """

    info: answers.StreamInfo | None = None
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
        """The configuration of the stream, empty if it is missing."""
        return dict(self.info["config"]) if self.info else {}

    @property
    def state(self) -> Mapping[str, Any]:
        """The ``state`` of its info, empty if it is missing."""
        return self.info["state"] if self.info else {}


class Needs(NamedTuple):
    """The further reads that a plan needs besides the stream's info.

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
            owners = [owner for owner in lists.stream_names(session, subject) if owner not in own]
        except _errors.PermissionMissing:
            return {}
        if owners:
            owned[subject] = owners[0]
    return owned


def promise(current: Current, request: Mapping[str, Any]) -> int | None:
    """Return the required number of messages afterwards; None if others may delete some meanwhile."""
    config, loss = current.config, current.measured.loss
    busy = config.get("retention") != "limits" or request.get("max_age") or config.get("allow_msg_ttl")
    return None if busy or loss.at_least else int(current.state["messages"]) - loss.messages


def check_stored(
    plan: resource.Plan, info: answers.StreamInfo | None, rows: Iterable[fields.Field]
) -> answers.StreamInfo:
    """Compare the plan with the stream, and return its info. Raises StreamsError if they differ, or it is missing."""
    if info is None:
        raise missing(plan)
    check_applied(plan, rows, info["config"], plan.request)
    messages = info["state"]["messages"]
    if plan.promise is not None and messages < plan.promise:
        raise _errors.StreamsError(
            f"{plan.noun} {plan.name}: after the change {plan.promise} messages should have been left, but it has "
            f"{messages}: unless somebody else deleted some at that moment, check the server's log.",
            code="not_applied",
            promised=plan.promise,
            messages=messages,
        )
    return info


def without_old(session: sessions.Session, plan: resource.Plan, info: answers.StreamInfo) -> answers.StreamInfo:
    """Return the info of a new stream, after messages of a deleted one of its name are purged.

    If a stream is deleted while a single nats-server still removes the files of another one of its name, its files
    stay, and the next stream of that name loads them (fileStore.Delete in server/filestore.go). One clock gives the
    times of both. Raises StreamsError if they can't be purged.
    """
    state, config = info["state"], info["config"]
    copies = config.get("mirror") or config.get("sources")
    if (
        plan.action not in (resource.CREATE, resource.RECREATE)
        or not state["messages"]
        or session.server.clustered
        or copies
    ):
        return info
    created = quantities.parse_timestamp(info["created"])
    if quantities.parse_timestamp(state["first_ts"]) >= created:
        return info
    try:
        newer = quantities.parse_timestamp(state["last_ts"]) >= created
        since = reading.first_since(session, config["name"], reading.ALL, created) if newer else None
        streams.purge(session, config["name"], {"seq": since or state["last_seq"] + 1})
        return streams.info_after_write(session, config["name"]) or info
    except _errors.StreamsError as error:
        raise _errors.StreamsError(
            f"{plan.noun} {plan.name} was created, and the server has put messages of a deleted stream of that name "
            f"into it, since it was still removing them ({error.message.rstrip('.')}): delete it, and create it again.",
            code="not_applied",
        ) from error
