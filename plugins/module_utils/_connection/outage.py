# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find out why a request got no answer from a server that is up: no leader, a busy one, or a lost answer.

It asks what the permissions allow: the stream, whose servers report its leader and when they last heard of each other;
the names of streams, which the leader of the cluster's JetStream reports; and JetStream as a whole.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from contextlib import suppress
from datetime import datetime, timezone
from functools import partial
from typing import TYPE_CHECKING, Any, Optional, TypedDict

from .. import _errors
from .._options import shapes, untrusted
from . import errors, wire
from .requests import Pending

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .requests import Link, Problem

# How long to wait for each answer, in seconds
_PATIENCE = 2.0
# Servers of a cluster hear of each other about every second. One that was not heard of for longer is away.
_AWAY = 4_000_000_000
_NANOSECOND = 1_000_000_000
_STREAM = re.compile(
    r"(?:STREAM\.(?:MSG\.|LEADER\.|PEER\.)?[A-Z]+|CONSUMER\.(?:DURABLE\.|MSG\.)?[A-Z]+|DIRECT\.GET)\.([^.]+)"
)


# ruff: noqa: UP045  # Python 3.9 evaluates the annotations
class _Failure(TypedDict, total=False):
    err_code: shapes.Count


class _Peer(TypedDict, total=False):
    name: str
    offline: bool
    active: int


class _Cluster(TypedDict, total=False):
    leader: str
    raft_group: str
    replicas: Optional[list[_Peer]]


class _Answer(TypedDict, total=False):
    """The keys of answers that are used here."""

    error: Optional[_Failure]
    streams: Optional[list[str]]
    cluster: Optional[_Cluster]


async def explained(session: Link, subject: str, timeout: float, stream: str = "") -> Problem:
    """Return a function that makes the error of each request without an answer.

    ``subject`` is that of the first such request, ``stream`` the stream of the subject, if it is known. ``timeout`` is
    in seconds, for the questions.
    """
    patience, api = min(_PATIENCE, timeout), session.settings.api
    plain = partial(errors.no_answer, session.settings)
    if subject.startswith(f"{api}."):
        match = _STREAM.match(subject[len(api) + 1 :])
        stream = match.group(1) if match else ""
    elif not stream:
        stream = await _stream_of(session, subject, patience)
    info = await _ask(session, f"STREAM.INFO.{stream}", None, patience) if stream else None
    cluster = (info or {}).get("cluster") or {}
    if cluster.get("replicas") or (cluster and not cluster.get("leader")):
        return _of_cluster(stream, cluster, session._server.name if session._server else "", timeout)
    if info and "config" in info:
        return _busy(f"stream {stream} is there", timeout)
    names = await _ask(session, "STREAM.NAMES", None, patience)
    if names is None or _code(names) == _NO_LEADER:
        whole = await _ask(session, "INFO", None, patience) if names is None else names
        if whole is None or _code(whole) == _NO_LEADER:
            clustered = session._server is not None and session._server.clustered
            return _no_leader("JetStream of this cluster", "", timeout) if clustered else plain
        return plain
    if stream in (names.get("streams") or ()) and (info is None or _code(info) == _NO_LEADER):
        return _no_leader(f"stream {stream}", "", timeout)
    return plain


# Nobody leads the stream, or the JetStream of the cluster (nats-server server/errors.json)
_NO_LEADER = 10008


def _code(answer: Mapping[str, Any]) -> int:
    return int((answer.get("error") or {}).get("err_code") or 0)


async def _stream_of(session: Link, subject: str, patience: float) -> str:
    if subject.startswith("$KV."):
        return f"KV_{subject.split('.')[1]}"
    answer = await _ask(session, "STREAM.NAMES", {"subject": subject}, patience)
    streams = (answer or {}).get("streams") or [""]
    return str(streams[0])


async def _ask(session: Link, call: str, body: Any, patience: float) -> dict[str, Any] | None:
    """Return the answer of one API call, or None if there is none."""
    answered = asyncio.Event()
    request = wire.Request(f"{session.settings.api}.{call}", b"" if body is None else json.dumps(body).encode())
    pending = Pending(request, False, lambda _ended: answered.set())
    pending.token = next(session._tokens)
    session._pending[pending.token] = pending
    try:
        await session._send(session._command(request, f"{session._inbox}.{pending.token}"))
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(answered.wait(), patience)
        answer = untrusted.load_object(pending.messages[0].data) if pending.messages else None
    except (_errors.StreamsError, ValueError):
        return None
    finally:
        del session._pending[pending.token]
    return None if answer is None or shapes.problem(answer, _Answer) else answer


def _of_cluster(stream: str, cluster: Mapping[str, Any], connected: str, timeout: float) -> Problem:
    peers = [peer for peer in cluster.get("replicas") or [] if isinstance(peer, dict)]
    leader = str(cluster.get("leader") or "")
    away = [peer for peer in peers if peer.get("offline") or int(peer.get("active") or 0) > _AWAY]
    size = len(peers) + bool(leader)
    if leader and len(away) <= (size - 1) // 2:
        return _busy(f"stream {stream} has the leader {leader}", timeout)
    if not leader:
        # A server that follows knows little of the others. The one that we are connected to is not away
        away += [peer for peer in peers if not peer.get("current") and peer not in away]
        away = [peer for peer in away if peer.get("name") != connected]
    # The one that was lost last is what the majority lacks. Nobody led for as long as we waited, in any case
    silent = max(timeout, min((int(peer.get("active") or 0) for peer in away), default=0) / _NANOSECOND)
    since = datetime.fromtimestamp(time.time() - silent, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    names = sorted(str(peer.get("name", "")) for peer in away)
    return _no_leader(f"stream {stream}", f"group {cluster.get('raft_group', '')}, since {since}", timeout, names)


def _no_leader(what: str, group: str, timeout: float, away: list[str] | None = None) -> Problem:
    detail = f" ({group})" if group else ""
    missing = f"not heard of: {', '.join(away)}" if away else "too few of its servers answer"
    remedy = "check that its servers run and reach each other, and raise timeout where an election takes longer"

    def problem(subject: str) -> _errors.StreamsError:
        return _errors.NoAnswer(
            f"No answer on {subject} within timeout ({timeout:g}s): {what} has no leader{detail}, {missing}: {remedy}.",
            code="no_leader",
            offline=away or [],
        )

    return problem


def _busy(there: str, timeout: float) -> Problem:
    def problem(subject: str) -> _errors.StreamsError:
        return _errors.NoAnswer(
            f"No answer on {subject} within timeout ({timeout:g}s), though {there} and answers: it is busy, or the "
            "answer got lost: raise timeout, or check the load of the server.",
            code="busy",
        )

    return problem
