# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
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
from . import backups
from .archive import FILES
from .backup import same_state, settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..._connection import sessions
    from .backups import Backup

# A mirror can be ended since nats-server 2.12
_PROMOTION_SINCE = (2, 12, 0)
_PAUSE = 0.05
_PATIENCE = 60.0
# How often a restore is begun, how long to wait for the end of one whose last chunk was sent, and between looks
_TRIES, _FINISHING, _AGAIN = 4, 3600.0, 0.5
# By how many seconds the clocks of servers may differ
_SKEW = 1.0
# Of the configuration, what tells a stream from another one of its name
_TELLING = ("subjects", "storage", "retention", "num_replicas", "max_age")
# What would work on the messages once more on their way, what no mirror can have, and what would hinder the consumer
# by which it follows. The stream gets it in the end.
_NOT_MIRRORED = (
    "republish",
    "subject_transform",
    "first_seq",
    "consumer_limits",
    "subject_delete_marker_ttl",
    "allow_atomic",
    "allow_batched",
    "sealed",
)


@dataclass(frozen=True)
class Wanted:
    """The target of a backup. ``config`` is the final configuration of the stream."""

    backup: Backup
    config: dict[str, Any]
    consumers: bool

    @property
    def name(self) -> str:
        return str(self.config["name"])

    @property
    def subjects(self) -> list[str]:
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
            return
        except (_errors.StreamsError, OSError) as error:
            if left and attempt.is_lost(error):
                continue
            attempt.remove()
            if isinstance(error, OSError):
                raise backups.unusable(backup.path, error) from error
            raise


class _Attempt:
    """The attempts to restore one stream that did not exist before the first one."""

    def __init__(self, session: sessions.Session, backup: Backup, config: dict[str, Any]) -> None:
        self.session, self.backup, self.config = session, backup, config
        self.name = str(config["name"])
        self.receiver: snapshot.Receiver | None = None
        self.failed = False
        self.empty_since = 0.0
        self.clustered = session.connected.clustered or session.settings.api != connection.DEFAULT_API

    def run(self) -> None:
        """Raise StreamsError or OSError if the restore fails."""
        session, again, self.failed = self.session, self.failed, True
        if again and not self._may_begin():
            return
        if not again:
            self._begin()
        data = backups.chunks(self.backup.data, min(snapshot.CHUNK_SENT, session.connected.max_payload))
        if self.receiver is not None:
            snapshot.send_restore(session, self.name, self.receiver, data)
        # Only the leader has the messages yet
        replicas.wait_until_safe(session, self.name, _PATIENCE)

    def _begin(self) -> None:
        try:
            self.receiver = snapshot.begin_restore(self.session, self.config, dict(self.backup.state))
        except (_errors.NoAnswer, _errors.Unreachable):
            self.receiver = snapshot.Receiver("", time.monotonic())
            raise

    def _may_begin(self) -> bool:
        """Wait until the server has given up. Return False if the stream turns out to be complete."""
        ended = self.receiver is not None and self.receiver.ended
        deadline = time.monotonic() + (_FINISHING if ended else _PATIENCE)
        while True:
            try:
                info = streams.info(self.session, self.name)
                if info and same_state(info["state"], self.backup.state):
                    return False
                if info and not self._is_ours(info):
                    raise _made_meanwhile(self.name)
                if not info or self._is_deserted(info):
                    if info:
                        streams.delete(self.session, self.name)
                    self._begin()
                    return True
            except _errors.StreamsError as error:
                # The server knows of what we began for as long as it awaits chunks
                if time.monotonic() > deadline or not (self.is_lost(error) or is_in_use(error)):
                    raise
            time.sleep(_AGAIN)

    def is_lost(self, error: Exception) -> bool:
        """Return True if a restore can start again after this error.

        A single server that is up and refuses has a reason of its own, such as a full disk.
        """
        if isinstance(error, _errors.NoAnswer):
            return self.clustered
        return isinstance(error, _errors.Unreachable)

    def remove(self) -> None:
        """Delete the rest of a failed restore."""
        with suppress(_errors.StreamsError):
            info = streams.info(self.session, self.name)
            if info and not same_state(info["state"], self.backup.state) and self._is_ours(info):
                streams.delete(self.session, self.name)

    def _is_deserted(self, info: Mapping[str, Any]) -> bool:
        """Return True if nobody restores this stream of ours any more.

        If the answer to our request got lost, an empty stream may belong to somebody who is about to fill it.
        """
        if self.receiver is None or self.receiver.subject:
            return True
        self.empty_since = self.empty_since or time.monotonic()
        return time.monotonic() - self.empty_since > snapshot.SILENT

    def _is_ours(self, info: Mapping[str, Any]) -> bool:
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
        known = bool(self.receiver.subject)
        part = now["messages"] <= then["messages"] and now["last_seq"] <= then["last_seq"] * known
        return same and part and age.total_seconds() >= silent - _SKEW


def _made_meanwhile(name: str) -> _errors.Refused:
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


def check_copied(session: sessions.Session, wanted: Wanted) -> None:
    """Raise Refused if a backup can't go through another stream."""
    backup, config = wanted.backup, wanted.config
    option = "bucket" if wanted.moves_keys else "stream"
    why = "keys hold the name of their bucket" if wanted.moves_keys else "servers before nats-server 2.15 made it"
    reason = f"{option}: restoring {backup.path} as {wanted.name} goes through a mirror ({why}), and "
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
    elif wanted.consumers and backup.manifest.get("consumers") != []:
        problem = "its consumers would stay behind: leave them out with consumers: false"
    elif streams.info(session, wanted.between):
        problem = (
            f"for that the name {wanted.between} has to be free, but there is such a stream: restore it in another "
            "account or on another server, or delete that stream"
        )
    if problem:
        raise _errors.Refused(f"{reason}{problem}.", code="rename", option=option)


def copied(session: sessions.Session, wanted: Wanted) -> None:
    """Restore a backup under another name. If that fails, both streams are removed."""
    backup, between = wanted.backup, wanted.between
    through = {key: value for key, value in wanted.config.items() if key not in _NOT_MIRRORED}
    done = False
    sent(session, backup, {**through, "name": between, "subjects": [f"{between}.restoring"], "max_consumers": -1})
    try:
        mirror: dict[str, Any] = {"name": between}
        if wanted.moves_keys:
            old, new = (f"$KV.{name[len(names.BUCKET_PREFIX) :]}.>" for name in (backup.stream, wanted.name))
            mirror["subject_transforms"] = [{"src": old, "dest": new}]
        streams.create(session, {**through, "subjects": [], "mirror": mirror})
        _await_copy(session, wanted.name, between)
        streams.update(session, wanted.config)
        done = True
    finally:
        with suppress(_errors.StreamsError):
            if not done:
                streams.delete(session, wanted.name)
        streams.delete(session, between)


def _await_copy(session: sessions.Session, name: str, origin: str) -> None:
    """Wait until a mirror is complete. Raises NoAnswer without progress."""
    goal = streams.info(session, origin) or {"state": {"messages": 0}}
    best, moved = -1, time.monotonic()
    while True:
        info = streams.info(session, name) or {"state": {"messages": 0}}
        messages = int(info["state"]["messages"])
        lag = int((info.get("mirror") or {"lag": 1}).get("lag", 0))
        if messages >= goal["state"]["messages"] and not lag:
            return
        if messages > best:
            best, moved = messages, time.monotonic()
        if time.monotonic() - moved > _PATIENCE:
            raise _errors.NoAnswer(
                f"Stream {name} does not get further than {messages} messages as a mirror of {origin}: look at the "
                "server's log.",
                code="stalled",
            )
        time.sleep(_PAUSE)
