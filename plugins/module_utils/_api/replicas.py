# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Move the replicas of a stream or its leader, and wait until replicas are current."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from .. import _errors
from . import streams

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .._connection import sessions

_SHORTEST, _LONGEST, _STEADY = 0.05, 1.0, 0.25
# JetStream has no leader at the moment, or the stream is not served yet
_NOT_NOW = (10008, 10009, 10118)


def moving(info: Mapping[str, Any]) -> bool:
    """Return True if the stream moves to other servers, or has no leader."""
    cluster = info.get("cluster")
    if not cluster:
        return False
    copies = 1 + len(cluster.get("replicas") or [])
    return bool(cluster.get("desired") or not cluster.get("leader") or copies > _wanted(info))


def current(info: Mapping[str, Any]) -> bool:
    """Return True if the stream has all of its replicas, and all are current. True for a server outside a cluster."""
    cluster = info.get("cluster")
    if not cluster:
        return True
    others = cluster.get("replicas") or []
    complete = 1 + len(others) == _wanted(info)
    return not moving(info) and complete and all(peer.get("current") and not peer.get("offline") for peer in others)


def safe(info: Mapping[str, Any]) -> bool:
    """Return True if most replicas are current, so that the messages survive the leader."""
    cluster = info.get("cluster")
    if not cluster:
        return True
    others = cluster.get("replicas") or []
    good = sum(bool(peer.get("current") and not peer.get("offline")) for peer in others)
    return bool(cluster.get("leader")) and 1 + good > _wanted(info) // 2


def wait_until_current(session: sessions.Session, name: str, seconds: float) -> dict[str, Any]:
    """Return the stream's info as soon as all replicas are current, and stay so for a moment.

    Raises StreamsError (``not_current``) after ``seconds``.
    """
    return _wait_until(session, name, current, seconds, looks=2)


def wait_until_safe(session: sessions.Session, name: str, seconds: float) -> dict[str, Any]:
    """Return the stream's info as soon as most replicas are current, see ``wait_until_current``."""
    return _wait_until(session, name, safe, seconds, looks=2)


def wait_until_at_rest(session: sessions.Session, name: str, seconds: float) -> dict[str, Any]:
    """Return the stream's info as soon as a move has ended, although some replica may not be current."""
    return _wait_until(session, name, lambda info: not moving(info), seconds, looks=1)


def _wait_until(
    session: sessions.Session, name: str, reached: Callable[[Mapping[str, Any]], bool], seconds: float, looks: int
) -> dict[str, Any]:
    # Servers tell nobody when copies are current, so they are asked, less often the longer it takes. A copy that has
    # just joined is current, not current, and current again within milliseconds.
    deadline, pause, good = time.monotonic() + seconds, _SHORTEST, 0
    last: dict[str, Any] | None = None
    while True:
        found = _look(session, name)
        good = good + 1 if found and reached(found) else 0
        if found and good and (good >= looks or not found.get("cluster")):
            return found
        last, left = found or last, deadline - time.monotonic()
        if left <= 0:
            raise _errors.StreamsError(
                f"The copies of stream {name} were not all current after {seconds:g} s ({_told(last)}): look at the "
                "servers' logs, or wait longer with wait_timeout.",
                code="not_current",
                option="wait_timeout",
            )
        time.sleep(min(_STEADY if good else pause, left))
        pause = min(_LONGEST, pause * 1.5)


def _wanted(info: Mapping[str, Any]) -> int:
    return int(info["config"].get("num_replicas") or 1)


def _look(session: sessions.Session, name: str) -> dict[str, Any] | None:
    """Return the stream's info, or None if nothing answers."""
    try:
        return streams.info(session, name)
    except _errors.NoAnswer:
        return None
    except _errors.ApiError as error:
        if error.err_code in _NOT_NOW:
            return None
        raise


def _told(info: Mapping[str, Any] | None) -> str:
    cluster = (info or {}).get("cluster") or {}
    behind = [peer["name"] for peer in cluster.get("replicas") or [] if not peer.get("current") or peer.get("offline")]
    if behind:
        return f"not {', '.join(behind)}"
    status = ((cluster.get("desired") or {}).get("status") or {}).get("description")
    return status or ("it moves" if cluster.get("leader") else "it has no leader")
