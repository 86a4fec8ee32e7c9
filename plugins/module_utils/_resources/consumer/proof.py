# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read consumers back after a write, since an acknowledgement is not a proof, and check their streams before it."""

from __future__ import annotations

import time
from collections import Counter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ... import _errors
from ..._api import consumers, streams
from ..proof import check_applied, missing
from . import facts, table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..._api import answers
    from ..._connection import sessions
    from .. import resource

# Seconds until a change is known to all servers of a cluster, and between two checks
_TAKES_EFFECT, _LOOK = 5.0, 0.1
# The consumers in a page of a list, and how many of a long list a request for one is worth
_PAGE, _WORTH = 256, 4


def check_same_stream(session: sessions.Session, plan: resource.Plan) -> None:
    """Raise Overtaken if the stream was created again since it was read, since positions belong to the old stream.

    After a restore, servers of a cluster report different times of creation. If another one leads meanwhile, the plan
    is made once more for nothing.
    """
    stream = plan.request["stream_name"]
    info = streams.info(session, stream)
    if info is None:
        raise streams.missing(stream)
    if info["created"] != plan.request["created"]:
        raise _errors.Overtaken(
            f"Stream {stream} was deleted and created again meanwhile, and consumer {plan.name} was not changed: try "
            "again."
        )


def is_listed(number: int, total: int) -> bool:
    """Return whether to list the consumers of a stream instead of reading each wanted one.

    A list comes in pages of 256, one after the other.
    """
    return number > 1 and total <= max(_PAGE, number * _WORTH)


def read_back(
    session: sessions.Session,
    written: Sequence[tuple[resource.Plan, str, str]],
    before: Mapping[str, int] = MappingProxyType({}),
) -> list[dict[str, Any] | _errors.StreamsError]:
    """Return each consumer as results show it, or the error if it differs from its plan.

    ``written`` are plans with the names of stream and consumer, ``before`` the number of consumers that a stream had
    before. All consumers of a stream are listed if that takes fewer requests. In a cluster, a consumer whose replicas
    change has no leader for a moment, and the server that answers then may not know of the change (seen with
    nats-server 2.14). So a consumer that differs is read again for a while.
    """
    proofs: list[dict[str, Any] | _errors.StreamsError] = [{} for _each in written]
    left, deadline = list(range(len(written))), time.monotonic() + _TAKES_EFFECT
    while left:
        infos = _read(session, [written[index][1:] for index in left], before)
        for index, info in zip(left, infos):
            try:
                proofs[index] = _proven(written[index][0], info)
            except _errors.StreamsError as error:
                proofs[index] = error
        left = [index for index in left if isinstance(proofs[index], _errors.StreamsError)]
        if not session.server.clustered or time.monotonic() > deadline:
            break
        time.sleep(_LOOK if left else 0)
    return proofs


def _read(
    session: sessions.Session, pairs: list[tuple[str, str]], before: Mapping[str, int]
) -> list[answers.ConsumerInfo | None]:
    """Return the info of each stream's consumer, None where it does not exist."""
    numbers = Counter(stream for stream, _name in pairs)
    whole = [name for name, number in numbers.items() if is_listed(number, before.get(name, 0) + number)]
    try:
        listed = consumers.list_many(session, whole)
    except _errors.PermissionMissing:
        listed = {}
    by_pair: dict[tuple[str, str], answers.ConsumerInfo] = {
        (stream, info["name"]): info for stream, infos in listed.items() for info in infos
    }
    rest = [each for each in pairs if each[0] not in listed]
    by_pair.update((each, info) for each, info in zip(rest, consumers.info_each(session, rest)) if info)
    return [by_pair.get(each) for each in pairs]


def _proven(plan: resource.Plan, info: answers.ConsumerInfo | None) -> dict[str, Any]:
    """Return the consumer for results. Raises StreamsError if it differs from the plan."""
    if info is None:
        raise missing(plan)
    check_applied(plan, table.ROWS.values(), facts.declared(info), facts.as_asked(plan.request["config"]))
    return facts.result_of(info)
