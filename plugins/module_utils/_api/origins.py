# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the state of a mirror or of sources: whether the server found them, and their lag."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from .. import _errors
from . import replicas, streams

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .._connection import sessions

_SHORTEST, _LONGEST = 0.02, 1.0
# For how many seconds origins may be silent before that is worth a word
_MOMENT = 2.0
# For how many seconds a stream without a lag has to stay as it is
_SETTLED = 0.5
# For how long a refusal of the server may be one of the first moment
_PASSING = 5.0


def of(info: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the state of each origin: ``name``, ``lag``, ``active`` and ``error``.

    ``active`` is nanoseconds since the last contact, below 0 for never.
    """
    return [*([info["mirror"]] if info.get("mirror") else []), *(info.get("sources") or [])]


def never_heard(info: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the origins that the server has not found yet."""
    return [origin for origin in of(info) if int(origin.get("active", -1)) < 0]


def refusal(origin: Mapping[str, Any]) -> str:
    """Return why the server copies nothing from an origin, or an empty text."""
    error = origin.get("error") or {}
    return f"{error.get('description', '')}, JetStream error {error.get('err_code', 0)}" if error else ""


def wait_until_heard(session: sessions.Session, infos: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the infos of these streams by name, as soon as all origins were found, or after a moment."""
    found = {info["config"]["name"]: dict(info) for info in infos}
    deadline, pause = time.monotonic() + _MOMENT, _SHORTEST
    while True:
        waiting = [name for name, info in found.items() if never_heard(info)]
        left = deadline - time.monotonic()
        if not waiting or left <= 0:
            return found
        time.sleep(min(pause, left))
        pause = min(_LONGEST, pause * 1.5)
        found.update({name: info for name, info in zip(waiting, streams.info_many(session, waiting)) if info})


def wait_until_followed(session: sessions.Session, name: str, seconds: float) -> dict[str, Any]:
    """Return the stream's info as soon as it has all messages of its origins.

    Raises StreamsError (``not_followed``) after ``seconds``, or if the server refuses to copy. A lag of 0 counts after
    the stream did not change for a moment, since servers report 0 also before the first message.
    """
    began, pause = time.monotonic(), _SHORTEST
    reached, since = None, began
    while True:
        info = streams.info(session, name)
        if info is None:
            raise _errors.StreamsError(f"Stream {name} is gone: somebody else deleted it.", code="gone")
        behind = [origin for origin in of(info) if int(origin.get("active", -1)) < 0 or int(origin.get("lag", 0)) > 0]
        if info["state"].get("last_seq") != reached or behind:
            reached, since = info["state"].get("last_seq"), time.monotonic()
        if not behind and not replicas.moving(info) and time.monotonic() - since >= _SETTLED:
            return info
        waited = time.monotonic() - began
        refused = any(refusal(origin) for origin in behind)
        if waited > seconds or (refused and waited > _PASSING):
            told = ", ".join(_told(origin) for origin in behind)
            raise _errors.StreamsError(
                f"Stream {name} does not have all that its origins have after {waited:.0f} s ({told}): check the "
                "names, and external where they are elsewhere, or wait longer with wait_timeout.",
                code="not_followed",
                option="wait_timeout",
            )
        time.sleep(min(pause, max(0.0, seconds - waited) + _SHORTEST))
        pause = min(_LONGEST, pause * 1.5)


def _told(origin: Mapping[str, Any]) -> str:
    if refusal(origin):
        return f"{origin['name']}: {refusal(origin)}"
    if int(origin.get("active", -1)) < 0:
        return f"{origin['name']} was never heard of"
    return f"{origin['name']} is {origin.get('lag', 0)} messages ahead"
