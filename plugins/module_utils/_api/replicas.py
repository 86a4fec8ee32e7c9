# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Move the replicas of a stream or its leader, and wait until replicas are current, or origins are followed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from .. import _errors
from . import streams

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .._connection import sessions
    from . import answers

_SHORTEST, _LONGEST, _STEADY = 0.05, 1.0, 0.25
# JetStream has no leader at the moment, or the stream is not served yet
_NOT_NOW = (10008, 10009, 10118)


def moving(info: answers.StreamInfo) -> bool:
    """Return True if the stream moves to other servers, or has no leader."""
    cluster = info.get("cluster")
    if not cluster:
        return False
    copies = 1 + len(cluster.get("replicas") or [])
    return bool(cluster.get("desired") or not cluster.get("leader") or copies > _wanted(info))


def current(info: answers.StreamInfo) -> bool:
    """Return True if the stream has all of its replicas, and all are current. True for a server outside a cluster."""
    cluster = info.get("cluster")
    if not cluster:
        return True
    others = cluster.get("replicas") or []
    complete = 1 + len(others) == _wanted(info)
    return not moving(info) and complete and all(peer.get("current") and not peer.get("offline") for peer in others)


def safe(info: answers.StreamInfo) -> bool:
    """Return True if most replicas are current, so that the messages survive the leader."""
    cluster = info.get("cluster")
    if not cluster:
        return True
    others = cluster.get("replicas") or []
    good = sum(bool(peer.get("current") and not peer.get("offline")) for peer in others)
    return bool(cluster.get("leader")) and 1 + good > _wanted(info) // 2


def wait_until_current(session: sessions.Session, name: str, seconds: float) -> answers.StreamInfo:
    """Return the stream's info as soon as all replicas are current, and stay so for a moment.

    Raises StreamsError (``not_current``) after ``seconds``.
    """
    return _wait_until(session, name, current, seconds, looks=2)


def wait_until_safe(session: sessions.Session, name: str, seconds: float) -> answers.StreamInfo:
    """Return the stream's info as soon as most replicas are current, see ``wait_until_current``."""
    return _wait_until(session, name, safe, seconds, looks=2)


def wait_until_at_rest(session: sessions.Session, name: str, seconds: float) -> answers.StreamInfo:
    """Return the stream's info as soon as a move has ended, even if a replica is not current."""
    return _wait_until(session, name, lambda info: not moving(info), seconds, looks=1)


def _wait_until(
    session: sessions.Session, name: str, reached: Callable[[answers.StreamInfo], bool], seconds: float, looks: int
) -> answers.StreamInfo:
    # Servers do not publish when copies are current, so this asks, less often the longer it takes. A copy that has just
    # joined is current, not current, and current again within milliseconds.
    deadline, pause, good = time.monotonic() + seconds, _SHORTEST, 0
    last: answers.StreamInfo | None = None
    while True:
        info = _info_or_none(session, name)
        good = good + 1 if info and reached(info) else 0
        if info and good and (good >= looks or not info.get("cluster")):
            return info
        last, left = info or last, deadline - time.monotonic()
        if left <= 0:
            raise _errors.StreamsError(
                f"The copies of stream {name} were not all current after {seconds:g} s ({_described(last)}): check the "
                "servers' logs, or wait longer with wait_timeout.",
                code="not_current",
                option="wait_timeout",
            )
        time.sleep(min(_STEADY if good else pause, left))
        pause = min(_LONGEST, pause * 1.5)


def _wanted(info: answers.StreamInfo) -> int:
    return info["config"]["num_replicas"] or 1


def _info_or_none(session: sessions.Session, name: str) -> answers.StreamInfo | None:
    """Return the stream's info, or None if the server does not answer or has no leader."""
    try:
        return streams.info(session, name)
    except _errors.NoAnswer:
        return None
    except _errors.ApiError as error:
        if error.err_code in _NOT_NOW:
            return None
        raise


def _described(info: answers.StreamInfo | None) -> str:
    cluster = streams.cluster_of(info)
    behind = [
        str(peer.get("name"))
        for peer in cluster.get("replicas") or []
        if not peer.get("current") or peer.get("offline")
    ]
    if behind:
        return f"not {', '.join(behind)}"
    status = ((cluster.get("desired") or {}).get("status") or {}).get("description")
    return status or ("it moves" if cluster.get("leader") else "it has no leader")


# The first pause between two reads of the state of origins, in seconds
_FIRST_PAUSE = 0.02
# For how many seconds origins may be silent before that is worth a word
_MOMENT = 2.0
# For how many seconds a stream without a lag has to stay as it is
_SETTLED = 0.5
# For how long a refusal of the server may be one of the first moment
_PASSING = 5.0


def wait_until_heard(session: sessions.Session, infos: Iterable[answers.StreamInfo]) -> dict[str, answers.StreamInfo]:
    """Return the infos of these streams by name, as soon as all origins were found, or after a moment."""
    by_name: dict[str, answers.StreamInfo] = {info["config"]["name"]: info for info in infos}
    deadline, pause = time.monotonic() + _MOMENT, _FIRST_PAUSE
    while True:
        waiting = [name for name, info in by_name.items() if streams.never_heard(info)]
        left = deadline - time.monotonic()
        if not waiting or left <= 0:
            return by_name
        time.sleep(min(pause, left))
        pause = min(_LONGEST, pause * 1.5)
        by_name.update({name: info for name, info in zip(waiting, streams.info_many(session, waiting)) if info})


def wait_until_followed(session: sessions.Session, name: str, seconds: float) -> answers.StreamInfo:
    """Return the stream's info as soon as it has all messages of its origins.

    Raises StreamsError (``not_followed``) after ``seconds``, or if the server refuses to copy. A lag of 0 counts after
    the stream did not change for a moment, since servers report 0 also before the first message.
    """
    began, pause = time.monotonic(), _FIRST_PAUSE
    reached, since = -1, began
    while True:
        info = streams.info(session, name)
        if info is None:
            raise _errors.StreamsError(f"Stream {name} is gone: somebody else deleted it.", code="gone")
        behind = [origin for origin in streams.origins_of(info) if origin["active"] < 0 or origin["lag"] > 0]
        if info["state"]["last_seq"] != reached or behind:
            reached, since = info["state"]["last_seq"], time.monotonic()
        if not behind and not moving(info) and time.monotonic() - since >= _SETTLED:
            return info
        waited = time.monotonic() - began
        refused = any(streams.refusal_to_copy(origin) for origin in behind)
        if waited > seconds or (refused and waited > _PASSING):
            lags = ", ".join(_origin_in_words(origin) for origin in behind)
            raise _errors.StreamsError(
                f"Stream {name} does not have all that its origins have after {waited:.0f} s ({lags}): check the "
                "names, and external where they are elsewhere, or wait longer with wait_timeout.",
                code="not_followed",
                option="wait_timeout",
            )
        time.sleep(min(pause, max(0.0, seconds - waited) + _FIRST_PAUSE))
        pause = min(_LONGEST, pause * 1.5)


def _origin_in_words(origin: answers.SourceInfo) -> str:
    if streams.refusal_to_copy(origin):
        return f"{origin['name']}: {streams.refusal_to_copy(origin)}"
    if origin["active"] < 0:
        return f"{origin['name']} was never heard of"
    return f"{origin['name']} is {origin['lag']} messages ahead"
