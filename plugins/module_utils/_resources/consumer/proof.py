# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read consumers back after a write, since an acknowledgement is no proof, and check their streams before it."""

from __future__ import annotations

import time
from collections import Counter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ... import _errors
from ..._api import consumers, streams
from . import facts, table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..._connection import sessions
    from .. import resource

# How long a change may take in a cluster until all who answer know it, and how often it is looked at, in seconds
_TAKES_EFFECT, _LOOK = 5.0, 0.1
# The consumers in a page of a list, and how many of a long list a request for one is worth
_PAGE, _WORTH = 256, 4


def check_same_stream(session: sessions.Session, plan: resource.Plan) -> None:
    """Raise Overtaken if the stream was created again since it was read, since positions belong to the old stream."""
    stream = plan.request["stream_name"]
    info = streams.info(session, stream)
    if info is None:
        raise streams.missing(stream)
    if info["created"] != plan.request["created"]:
        raise _errors.Overtaken(
            f"Stream {stream} was deleted and created again meanwhile, and consumer {plan.name} was not changed: try "
            "again."
        )


def is_listed(wanted: int, there: int) -> bool:
    """Return whether to list the consumers of a stream, of which so many are there, rather than read those wanted.

    A list comes in pages of 256, one after the other.
    """
    return wanted > 1 and there <= max(_PAGE, wanted * _WORTH)


def read_back(
    session: sessions.Session,
    written: Sequence[tuple[resource.Plan, str, str]],
    before: Mapping[str, int] = MappingProxyType({}),
) -> list[dict[str, Any] | _errors.StreamsError]:
    """Return each consumer as results show it, or the error where it is not what was planned.

    ``written`` are plans with the names of stream and consumer, ``before`` how many consumers a stream had before. All
    of a stream are listed where that takes fewer requests. In a cluster a consumer whose copies change has no
    leader for a moment, and who answers then may not know of the change (seen with nats-server 2.14): what is not as
    planned is read again for a while.
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
    session: sessions.Session, wanted: list[tuple[str, str]], before: Mapping[str, int]
) -> list[dict[str, Any] | None]:
    """Return the info of each stream's consumer, None where it does not exist."""
    numbers = Counter(stream for stream, _name in wanted)
    whole = [name for name, number in numbers.items() if is_listed(number, before.get(name, 0) + number)]
    try:
        listed = consumers.list_many(session, whole)
    except _errors.PermissionMissing:
        listed = {}
    found = {(stream, info["name"]): info for stream, infos in listed.items() for info in infos}
    rest = [each for each in wanted if each[0] not in listed]
    found.update((each, info) for each, info in zip(rest, consumers.info_each(session, rest)) if info)
    return [found.get(each) for each in wanted]


def _proven(plan: resource.Plan, info: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the consumer for results. Raises StreamsError if it differs from the plan."""
    if info is None:
        raise _errors.StreamsError(
            f"The server confirmed consumer {plan.name}, but then did not have it: look at its log.",
            code="not_applied",
        )
    config, changed = facts.declared(info), {change.field for change in plan.changes}
    wanted = facts.as_asked(plan.request["config"])
    for row in table.ROWS.values():
        asked = wanted.get(row.path)
        if row.option in changed and not row.equal(config.get(row.path), asked):
            shown, now = row.codec.to_result(asked), row.codec.to_result(row.read(config))
            raise _errors.StreamsError(
                f"{row.option} of consumer {plan.name}: the server accepted {_errors.in_words(shown)} but did not "
                f"apply it, it is {_errors.in_words(now)}.",
                code="not_applied",
                option=row.option,
            )
    return facts.result_of(info)
