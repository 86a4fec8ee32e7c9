# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Send a backup to the server: as it is, or through another stream if that is impossible.

The server's archives contain the stream's name, and can be restored under that name only. Keys of a bucket contain the
bucket's name. For another name, the backup is restored to a temporary stream. The new stream mirrors it, and keeps
sequences and times when the mirror is promoted.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ... import _errors
from ..._api import jetstream, replicas, streams
from ..._api import stream_snapshot as snapshot
from ..._options import connection, names, quantities
from . import on_disk
from .backup import same_state, settings
from .on_disk import FILES

if TYPE_CHECKING:
    from ..._api import answers
    from ..._connection import sessions
    from .on_disk import Backup

# A mirror can be ended since nats-server 2.12
_PROMOTION_SINCE = (2, 12, 0)
_PAUSE = 0.05
_PATIENCE = 60.0
# How often a restore is begun, how long to wait for the end of one whose last chunk was sent, and between looks. While
# one of three servers is down, each attempt has a chance of two thirds (see _begin).
_TRIES, _FINISHING, _AGAIN = 10, 3600.0, 0.5
# By how many seconds the clocks of servers may differ
_SKEW = 1.0
# Fields of the configuration that distinguish a stream from another one of its name
_TELLING = ("subjects", "storage", "retention", "num_replicas", "max_age")
# Fields that a mirror can't have, that would change messages a second time, or that would hinder the mirror's consumer.
# The stream gets them in the end.
_NOT_MIRRORED = (*streams.NOT_MIRRORED, "republish", "subject_transform", "consumer_limits", "sealed")


@dataclass(frozen=True)
class Target:
    """The target of a backup. ``config`` is the final configuration of the stream."""

    backup: Backup
    config: dict[str, Any]
    consumers: bool

    @property
    def name(self) -> str:
        """The name that the stream gets."""
        return str(self.config["name"])

    @property
    def subjects(self) -> list[str]:
        """The subjects that the stream gets. A mirror has none."""
        if self.config.get("mirror"):
            return []
        return list(self.config.get("subjects") or ([] if self.config.get("sources") else [self.name]))

    @property
    def moves_keys(self) -> bool:
        """True if the keys of a bucket get another bucket's name."""
        return self.name != self.backup.stream and self.name.startswith(names.BUCKET_PREFIX)

    @property
    def copied(self) -> bool:
        """True if it has to go through another stream."""
        return self.name != self.backup.stream and (self.moves_keys or self.backup.format == FILES)

    @property
    def between(self) -> str:
        """The name of that temporary stream."""
        return self.backup.stream if self.backup.format == FILES else f"{self.name}_RESTORING"

    @property
    def may_expire(self) -> bool:
        """True if messages may be deleted at once, since they are too old, or consumers have taken them."""
        config = self.config
        return bool(config.get("max_age") or config.get("allow_msg_ttl")) or config.get("retention") != "limits"


def sent(session: sessions.Session, backup: Backup, config: dict[str, Any]) -> None:
    """Send a backup. Start again if the receiving server dies, or no longer leads the stream.

    If that fails in the end, the partial stream is removed.
    """
    attempt = _Attempt(session, backup, config)
    for left in reversed(range(_TRIES)):
        try:
            attempt.run()
            session.writes_done += 1
            return
        except (_errors.StreamsError, OSError) as error:
            problem = error
        if left and (attempt.is_lost(problem) or attempt.is_rid_of_old_files(problem)):
            continue
        if left == _TRIES - 1 and is_in_use(problem):  # the stream is that of another restore, which may not be done
            raise _created_meanwhile(attempt.name) from problem
        reason = on_disk.unusable(backup.path, problem) if isinstance(problem, OSError) else problem
        if not attempt.is_removed():
            reason.result["changed"] = True
        raise reason


class _Attempt:
    """The attempts to restore one stream that did not exist before the first one."""

    def __init__(self, session: sessions.Session, backup: Backup, config: dict[str, Any]) -> None:
        self.session, self.backup, self.config = session, backup, config
        self.name = str(config["name"])
        self.receiver: snapshot.Receiver | None = None
        self.failed = False
        self.is_unheard = False  # for too long
        self.empty_since = 0.0
        self.clustered = session.connected.clustered or session.settings.api != connection.DEFAULT_API

    def run(self) -> None:
        """Raise StreamsError or OSError if the restore fails."""
        session, again, self.failed = self.session, self.failed, True
        if again and not self._may_begin():
            return
        if not again:
            self._begin()
        data = on_disk.chunks(self.backup.data, min(snapshot.CHUNK_SENT, session.connected.max_payload))
        if self.receiver is not None:
            snapshot.send_restore(session, self.name, self.receiver, data)
        if self.clustered:  # only the leader has the messages yet
            replicas.wait_until_safe(session, self.name, _PATIENCE)

    def _begin(self) -> None:
        """Ask the server to begin. In a cluster, do not wait for long.

        A new stream may be given to a server that is down. It never gets a leader then (nats-server 2.15), or the
        restore fails as stalled or makes an empty stream (2.10 to 2.14). The next attempt may be given to another one.
        """
        timeout = snapshot.SILENT if self.clustered else max(snapshot.BEGINS, self.session.settings.timeout)
        try:
            self.receiver = snapshot.begin_restore(self.session, self.config, dict(self.backup.state), timeout)
        except _errors.StreamsError as error:
            if self.is_lost(error):
                self.receiver = snapshot.Receiver("", time.monotonic())
            raise

    def _may_begin(self) -> bool:
        """Wait until the server has given up. Return False if the stream turns out to be complete.

        A server that answers may take long to finish. For one that does not, the wait is shorter.
        """
        ended = self.receiver is not None and self.receiver.ended
        heard = time.monotonic()
        deadline = heard + (_FINISHING if ended else _PATIENCE)
        while True:
            try:
                info = streams.info(self.session, self.name)
                heard = time.monotonic()
                if info and same_state(info["state"], self.backup.state):
                    return False
                if not info:
                    self._begin()
                    return True
                if heard > deadline or not self._is_ours(info):
                    raise _created_meanwhile(self.name)
                if self._is_deserted():
                    streams.delete(self.session, self.name)
            except _errors.StreamsError as error:
                # The server knows of what we began for as long as it awaits chunks
                self.is_unheard = not is_in_use(error) and time.monotonic() > heard + _PATIENCE
                if time.monotonic() > deadline or not (self.is_lost(error) or is_in_use(error)):
                    raise
            time.sleep(_AGAIN)

    def is_lost(self, error: Exception) -> bool:
        """Return True if a restore can start again after this error.

        A single server that is up and refuses has a reason of its own, such as a full disk.
        """
        if self.is_unheard:
            return False
        stalled = isinstance(error, _errors.ApiError) and error.err_code == jetstream.RESTORE_STALLED
        if isinstance(error, _errors.NoAnswer) or stalled:
            return self.clustered
        return isinstance(error, _errors.Unreachable)

    def is_rid_of_old_files(self, error: Exception) -> bool:
        """Return True if the restore failed over files of a stream that was just deleted, and they are removed now.

        A single nats-server 2.15 may even make that stream again. Its messages are older than it, and not the backup's.
        """
        if self.clustered or not isinstance(error, _errors.ApiError) or "does not match store" not in error.description:
            return False
        time.sleep(_AGAIN)
        info = streams.info(self.session, self.name)
        if info and not same_state(info["state"], self.backup.state):
            state, created = info["state"], quantities.parse_timestamp(info["created"])
            is_ours = not state["messages"] or state["first_ts"] == self.backup.state["first_ts"]
            if is_ours or quantities.parse_timestamp(state["last_ts"]) >= created:
                return False
            streams.delete(self.session, self.name)
            time.sleep(_AGAIN)
            info = None
        self.failed = bool(info)  # then the stream is complete
        return True

    def is_removed(self) -> bool:
        """Delete the rest of a failed restore. Return False if there may be a rest."""
        try:
            info = streams.info(self.session, self.name)
            if info and not same_state(info["state"], self.backup.state) and self._is_ours(info):
                streams.delete(self.session, self.name)
                info = None
        except _errors.StreamsError:
            return False
        return not info

    def _is_deserted(self) -> bool:
        """Return True if nobody restores this stream of ours any more.

        If the answer to our request got lost, an empty stream may belong to somebody who is about to fill it. A stream
        without a leader looks empty as well.
        """
        if self.receiver is None or self.receiver.subject:
            return True
        self.empty_since = self.empty_since or time.monotonic()
        return time.monotonic() - self.empty_since > snapshot.SILENT

    def _is_ours(self, info: answers.StreamInfo) -> bool:
        """Return True if a stream was created before our receiver last answered, and has no more than the backup.

        It did not exist before, and while the server restores ours nobody else can create one of that name. A stream
        that is created while our request has no answer must be empty.
        """
        if self.receiver is None or not info.get("ts"):
            return False
        now, then = info["state"], self.backup.state
        same = all(info["config"].get(key) == self.config.get(key) for key in _TELLING if self.config.get(key))
        same &= settings(info["config"])["metadata"] == settings(self.config)["metadata"]
        same &= not now["messages"] or now["first_ts"] == then["first_ts"]
        age = quantities.parse_timestamp(info["ts"]) - quantities.parse_timestamp(info["created"])
        silent = time.monotonic() - self.receiver.heard
        answered = bool(self.receiver.subject)
        part = now["messages"] <= then["messages"] and now["last_seq"] <= then["last_seq"] * answered
        return same and part and age.total_seconds() >= silent - _SKEW


def _created_meanwhile(name: str) -> _errors.Refused:
    return _errors.Refused(
        f"stream: stream {name} was created by somebody else while it was restored, and it is not overwritten: delete "
        "it first, or restore under another name (stream or bucket).",
        code="exists",
        option="stream",
    )


def is_in_use(error: Exception) -> bool:
    """Return True if a stream of that name is being restored. Servers also report that with another error."""
    return isinstance(error, _errors.ApiError) and (
        error.err_code == jetstream.NAME_IN_USE_BY_RESTORE
        or f"({jetstream.NAME_IN_USE_BY_RESTORE})" in error.description
    )


def check_copied(session: sessions.Session, target: Target) -> None:
    """Raise Refused if a backup can't go through another stream."""
    backup, config = target.backup, target.config
    option = "bucket" if target.moves_keys else "stream"
    why = "keys hold the name of their bucket" if target.moves_keys else "servers before nats-server 2.15 made it"
    reason = f"{option}: restoring {backup.path} as {target.name} goes through a mirror ({why}), and "
    problem = ""
    if session.server.version < _PROMOTION_SINCE:
        problem = "the server is older than nats-server 2.12, which ends mirrors: restore it under its own name"
    elif config.get("mirror") or config.get("sources"):
        problem = "it has a mirror or sources of its own: restore it under its own name"
    elif config.get("retention", "limits") != "limits":
        problem = f"its retention is {config['retention']}, which mirrors don't keep: restore it under its own name"
    elif config.get("allow_msg_counter"):
        problem = "the server copies no counters to where they go on counting: restore it under its own name"
    elif config.get("allow_msg_schedules"):
        problem = "the server forgets the schedules of copied messages: restore it under its own name"
    elif target.consumers and backup.manifest.get("consumers") != []:
        problem = "its consumers would stay behind: leave them out with consumers: false"
    elif streams.info(session, target.between):
        problem = (
            f"for that the name {target.between} has to be free, but there is such a stream: restore it in another "
            "account or on another server, or delete that stream"
        )
    if problem:
        raise _errors.Refused(f"{reason}{problem}.", code="rename", option=option)


def copied(session: sessions.Session, target: Target) -> None:
    """Restore a backup under another name. If that fails, both streams are removed."""
    backup, between = target.backup, target.between
    through = {key: value for key, value in target.config.items() if key not in _NOT_MIRRORED}
    done = False
    sent(session, backup, {**through, "name": between, "subjects": [_private(between)], "max_consumers": -1})
    try:
        mirror: dict[str, Any] = {"name": between}
        if target.moves_keys:
            old, new = (f"$KV.{name[len(names.BUCKET_PREFIX) :]}.>" for name in (backup.stream, target.name))
            mirror["subject_transforms"] = [{"src": old, "dest": new}]
        streams.create(session, {**through, "subjects": [], "mirror": mirror})
        _await_copy(session, target.name, between)
        streams.update(session, target.config)
        done = True
    finally:
        with suppress(_errors.StreamsError):
            if not done:
                streams.delete(session, target.name)
        streams.delete(session, between)


def forget_between(session: sessions.Session, target: Target) -> None:
    """Delete the temporary stream of a restored one. A run that is killed at its end leaves it."""
    info = streams.info(session, target.between)
    if info and info["config"].get("subjects") == [_private(target.between)]:
        streams.delete(session, target.between)


def _private(between: str) -> str:
    """Return the subject of a temporary stream, to which nobody publishes."""
    return f"{between}.restoring"


def _messages(info: answers.StreamInfo | None) -> int:
    return info["state"]["messages"] if info else 0


def _await_copy(session: sessions.Session, name: str, origin: str) -> None:
    """Wait until a mirror is complete. Raises NoAnswer without progress."""
    goal = _messages(streams.info(session, origin))
    best, moved = -1, time.monotonic()
    while True:
        info = streams.info(session, name)
        messages, mirror = _messages(info), info.get("mirror") if info else None
        if messages >= goal and mirror and not mirror["lag"]:
            return
        if messages > best:
            best, moved = messages, time.monotonic()
        if time.monotonic() - moved > _PATIENCE:
            raise _errors.NoAnswer(
                f"Stream {name} does not get further than {messages} messages as a mirror of {origin}: check the "
                "server's log.",
                code="stalled",
            )
        time.sleep(_PAUSE)
