# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Transfer snapshots of streams from and to the server in chunks, with a bounded number on the way.

The protocol is nats-server's own (server/jetstream_api.go, streamSnapshot and processStreamRestore).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from .. import _errors
from .._connection import wire
from .._connection.errors import SUBSCRIBE, missing_permission
from . import answers, jetstream, streams

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from .._connection import sessions

# The server sends chunks of at most 1 MiB, and 8 MiB of them before it awaits that some are acknowledged
_CHUNK = 256 << 10
# What goes to the server before its acknowledgements are awaited. It lets a connection wait while it writes.
_BATCH = 32
CHUNK_SENT = 128 << 10
# The server gives up when nothing comes for five seconds, we when it is silent for longer than it takes to look
_PATIENCE = 60.0
# Without reading messages before, it begins soon
_BEGINS = 20.0
# How often to look whether the stream is still there, with the leader that sends the snapshot, while nothing comes
_LOOK = 5.0
BROKEN_OFF = "snapshot"
# The server takes no more chunks when it was busy with one for five seconds, or none came
SILENT = 10.0
# Building the stream when all is there. In a cluster the stream is read after that time.
_FINISHING = 30.0
# Reading every message before it begins, or building the stream when all is there, takes as long as it takes
_LONG = 3600.0


def snapshot(
    session: sessions.Session, stream: str, *, consumers: bool = True, check_messages: bool = False
) -> tuple[dict[str, Any], Generator[bytes, None, None]]:
    """Begin a snapshot. Return ``config`` and ``state`` of the stream, and the chunks of its archive.

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
    timeout = _LONG if check_messages else max(_BEGINS, session.settings.timeout)
    try:
        sender = _sender(session, stream)
        answer = session.request(session.api(f"STREAM.SNAPSHOT.{stream}"), jetstream.encode(body), timeout=timeout)
        head = jetstream.decode_call(what, f"STREAM.SNAPSHOT.{stream}", body, answer)
    except BaseException:
        session.unsubscribe_all()
        raise
    return {"config": head["config"], "state": head["state"]}, _chunks(session, what, stream, sender)


def _sender(session: sessions.Session, stream: str) -> tuple[str, str]:
    """Return when a stream was created, and the server that leads it, or an empty text if that is unknown."""
    info = streams.info(session, stream) or {}
    return str(info.get("created") or ""), str((info.get("cluster") or {}).get("leader") or "")


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
                    f"{what}: the server stopped sending, nothing came for {patience:g}s: try again, and look at its "
                    "log if that helps nothing.",
                    code="stalled",
                )
            if message.reply:
                # Waits for the first one, so that a missing permission is told, and never for the others
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
    reason = message.headers.get("Description", "") or "no reason given"
    if status == "408":
        raise _errors.NoAnswer(
            f"{what}: the server gave up ({reason}): chunks were not written or acknowledged in time, so check the "
            "disk, and that these credentials may publish to $JS.SNAPSHOT.ACK.>.",
            code="stalled",
        )
    raise _errors.StreamsError(
        f"{what}: the server broke it off ({status} {reason}): look at its log, and check the stream with "
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


def begin_restore(session: sessions.Session, config: dict[str, Any], state: dict[str, Any]) -> Receiver:
    """Ask the server to restore a stream with this configuration from an archive.

    Raises ApiError (``NAME_IN_USE_BY_RESTORE``) if the stream exists, or another restore of it is running.
    """
    name = config["name"]
    what, body = f"Restoring stream {name}", {"config": config, "state": state}
    call = f"STREAM.RESTORE.{name}"
    # Servers answer when the new stream has a leader
    answer = session.request(session.api(call), jetstream.encode(body), timeout=max(_BEGINS, session.settings.timeout))
    begun = jetstream.decode_call(what, call, body, answer)
    if not ("deliver_subject" in begun or "created" in begun):
        raise _errors.WrongAnswer(what, "deliver_subject is missing", written=True)
    return Receiver(begun.get("deliver_subject", ""), time.monotonic())


def send_restore(session: sessions.Session, name: str, receiver: Receiver, chunks: Iterable[bytes]) -> dict[str, Any]:
    """Send the chunks of an archive, and return the restored stream's info.

    Raises Unreachable if the connection breaks, NoAnswer if the receiver stops answering, and other errors if the
    server refuses. It may have begun to restore the stream.
    """
    what, rest = f"Restoring stream {name}", iter(chunks)
    if not receiver.subject:
        raise _lost(what, _errors.NoAnswer("Nobody takes chunks."))
    while batch := [wire.Request(receiver.subject, chunk) for chunk in islice(rest, _BATCH)]:
        for answer in session.request_many(batch, timeout=max(SILENT, session.settings.timeout)):
            if isinstance(answer, _errors.StreamsError):
                raise _lost(what, answer)
            if answer[0].data:
                _refusal(what, answer[0])
            receiver.heard = time.monotonic()
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
        raise _errors.StreamsError(f"{what}: the server broke it off ({reason}): look at its log.", code="restore")
    jetstream.decode(what, answer)


def _lost(what: str, error: _errors.StreamsError) -> _errors.StreamsError:
    """Return the error of a chunk without an answer."""
    if isinstance(error, _errors.OutcomeUnknown) and isinstance(error.reason, _errors.Unreachable):
        return error.reason
    if isinstance(error, _errors.NoAnswer):
        return _errors.NoAnswer(
            f"{what}: the server broke it off without telling why: look at its log, and check that it has the space.",
            code="stalled",
        )
    return error
