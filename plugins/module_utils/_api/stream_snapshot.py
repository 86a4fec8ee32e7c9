# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Transfer snapshots of streams from and to the server in chunks, with a bounded number on the way.

The protocol is nats-server's own (server/jetstream_api.go, streamSnapshot and processStreamRestore).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .. import _errors
from .._connection import flow, wire
from .._connection.errors import SUBSCRIBE, missing_permission
from . import answers, jetstream, streams

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping

    from .._connection import sessions

# The server sends chunks of at most 1 MiB, and at most 8 MiB without an acknowledgement
_CHUNK = 256 << 10
CHUNK_SENT = 128 << 10
# We give up after this many seconds without a chunk. The server gives up after five without an acknowledgement
_PATIENCE = 60.0
# The seconds in which the server begins, unless it first reads all messages (_LONG)
BEGINS = 20.0
# While no chunk arrives: the seconds between checks that the sender still leads the stream
_LOOK = 5.0
BROKEN_OFF = "snapshot"
# We give up after this many seconds without an answer. The server ends a restore if a chunk takes it five seconds, or
# does not arrive in that time
SILENT = 10.0
# The seconds in which a cluster builds the stream after the last chunk. Then the stream itself is read
_FINISHING = 30.0
# A limit in seconds for work that grows with the stream: to check all messages before, or to build the stream after
_LONG = 3600.0


def snapshot(
    session: sessions.Session, stream: str, *, consumers: bool = True, check_messages: bool = False
) -> tuple[answers.Snapshot, Generator[bytes, None, None]]:
    """Begin a snapshot. Return its head, and the chunks of the archive.

    The iterator raises StreamsError if the server aborts the snapshot. Closing it early ends the snapshot.
    """
    deliver = session.new_inbox()
    session.subscribe(deliver)
    if deliver in session.refused_subscriptions:
        raise missing_permission(SUBSCRIBE, deliver, session.settings.jwt)
    body = {
        "deliver_subject": deliver,
        "no_consumers": not consumers,
        "chunk_size": min(_CHUNK, session.connected.max_payload),
        "jsck": check_messages,
    }
    what = f"Taking a snapshot of stream {stream}"
    call = what, f"STREAM.SNAPSHOT.{stream}", answers.Snapshot, body
    timeout = _LONG if check_messages else max(BEGINS, session.settings.timeout)
    try:
        sender = _sender(session, stream)
        answer = session.request(session.api(call[1]), jetstream.encode(body), timeout=timeout)
        head = jetstream.decode_call(call, answer)
    except BaseException:
        session.unsubscribe_all()
        raise
    return {"config": head["config"], "state": head["state"]}, _chunks(session, what, stream, sender)


def _sender(session: sessions.Session, stream: str) -> tuple[str, str]:
    """Return when a stream was created, and the server that leads it, or an empty text if that is unknown."""
    info = streams.info(session, stream)
    return info["created"] if info else "", streams.cluster_of(info).get("leader", "")


def _received(
    session: sessions.Session, what: str, stream: str, sender: tuple[str, str], patience: float
) -> wire.Message | None:
    """Return the next message. Raises NoAnswer if another server now leads the stream, or the stream is gone."""
    deadline = time.monotonic() + patience
    while True:
        message = session.receive(max(0.0, min(_LOOK, deadline - time.monotonic())))
        if message or time.monotonic() >= deadline:
            return message
        now = _sender(session, stream)
        if now[0] != sender[0]:
            why = "the stream was deleted and created again" if now[0] else "the stream was deleted"
        elif sender[1] and now[1] != sender[1]:
            why = f"the server {sender[1]} sent it, and does not lead the stream any more"
        else:
            continue
        raise _errors.NoAnswer(f"{what}: {why}: try again.", code="stalled")


def _chunks(session: sessions.Session, what: str, stream: str, sender: tuple[str, str]) -> Generator[bytes, None, None]:
    acknowledged = False
    patience = max(_PATIENCE, session.settings.timeout)
    try:
        while True:
            message = _received(session, what, stream, sender, patience)
            if message is None:
                raise _errors.NoAnswer(
                    f"{what}: the server stopped sending, nothing came for {patience:g}s: try again, and check its "
                    "log if it happens again.",
                    code="stalled",
                )
            if message.reply:
                # Wait only for the first one, to report a missing permission
                session.publish(message.reply, wait=not acknowledged)
                acknowledged = True
            if not message.data:
                _check_end(what, message)
                return
            yield message.data
    finally:
        session.unsubscribe_all()


def _check_end(what: str, message: wire.Message) -> None:
    status = message.status
    if status in ("", "204"):
        return
    reason = message.headers.get(wire.DESCRIPTION) or "no reason given"
    if status == "408":
        raise _errors.NoAnswer(
            f"{what}: the server gave up ({reason}): chunks were not written or acknowledged in time, so check the "
            "disk, and that these credentials may publish to $JS.SNAPSHOT.ACK.>.",
            code="stalled",
        )
    raise _errors.StreamsError(
        f"{what}: the server stopped ({status} {reason}): check its log, and check the stream with "
        "check_messages: true.",
        code=BROKEN_OFF,
        status=status,
    )


@dataclass
class Receiver:
    """The server that receives the chunks of a restore.

    ``subject`` receives the chunks. It is empty if the server created the stream without them. ``heard`` is when it
    last answered, by time.monotonic(). ``ended`` is True after the last chunk was sent.
    """

    subject: str
    heard: float
    ended: bool = False


def begin_restore(
    session: sessions.Session, config: Mapping[str, Any], state: Mapping[str, Any], timeout: float
) -> Receiver:
    """Ask the server to restore a stream with this configuration from an archive. ``timeout`` is in seconds.

    Raises ApiError (``NAME_IN_USE_BY_RESTORE``) if the stream exists, or another restore of it is running.
    """
    name = config["name"]
    what, body = f"Restoring stream {name}", {"config": config, "state": state}
    call = what, f"STREAM.RESTORE.{name}", answers.RestoreBegun, body
    # Servers answer when the new stream has a leader
    answer = session.request(session.api(call[1]), jetstream.encode(body), timeout=timeout)
    begun = jetstream.decode_call(call, answer)
    if not ("deliver_subject" in begun or "created" in begun):
        raise _errors.WrongAnswer(what, "deliver_subject is missing", written=True)
    return Receiver(begun.get("deliver_subject", ""), time.monotonic())


def send_restore(
    session: sessions.Session, name: str, receiver: Receiver, chunks: Iterable[bytes]
) -> answers.StreamInfo:
    """Send the chunks of an archive, and return the restored stream's info.

    Raises Unreachable if the connection breaks, NoAnswer if the receiver stops answering, and other errors if the
    server refuses. It may have begun to restore the stream.
    """
    what = f"Restoring stream {name}"

    def take(answer: list[wire.Message] | _errors.StreamsError) -> None:
        if isinstance(answer, _errors.StreamsError):
            raise _lost(what, answer)
        if answer[0].data:
            _refusal(what, answer[0])
        receiver.heard = time.monotonic()

    if not receiver.subject:
        raise _lost(what, _errors.NoAnswer("Nobody takes chunks."))
    requests = (wire.Request(receiver.subject, chunk) for chunk in chunks)
    flow.send(session, requests, CHUNK_SENT, max(SILENT, session.settings.timeout), take)
    receiver.ended = True
    # In a cluster another server may lead the stream by now, which knows nothing of the chunks, and never answers
    patience = max(_FINISHING, session.settings.timeout) if session.connected.clustered else _LONG
    try:
        # An empty chunk ends it
        end = session.request(receiver.subject, timeout=patience)
    except (_errors.NoAnswer, _errors.Unreachable) as error:
        raise _lost(what, error) from error
    return jetstream.decode(what, end, answers.StreamInfo, written=True)


def _refusal(what: str, answer: wire.Message) -> None:
    """Raise the reason if the server refuses more chunks. It answers JSON, or text before 2.12.

    An empty answer accepts a chunk.
    """
    if not answer.data.startswith(b"{"):
        reason = answer.data.decode(errors="replace").removeprefix("-ERR ").strip("'")
        raise _errors.StreamsError(f"{what}: the server stopped ({reason}): check its log.", code="restore")
    jetstream.decode(what, answer, answers.Empty)


def _lost(what: str, error: _errors.StreamsError) -> _errors.StreamsError:
    """Return the error of a chunk without an answer."""
    if isinstance(error, _errors.OutcomeUnknown) and isinstance(error.reason, _errors.Unreachable):
        return error.reason
    if isinstance(error, _errors.NoAnswer):
        return _errors.NoAnswer(
            f"{what}: the server stopped without a reason: check its log, and check that it has the space.",
            code="stalled",
        )
    return error
