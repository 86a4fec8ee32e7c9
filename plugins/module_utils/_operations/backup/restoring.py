# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a backup gets into the server: as it is, or, where that can't be, through another stream.

The server's files hold the stream's name, so that an archive of them can only be restored under that name, and the keys
of a bucket hold the bucket's. Both are then restored beside the new stream, which mirrors them, and keeps them when
the mirroring ends: with their numbers and times.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ... import _errors
from ..._api import jetstream, streams
from ..._api import stream_snapshot as snapshot
from ..._options import names
from . import backups
from .archive import FILES
from .backup import same_state

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..._connection import sessions
    from .backups import Backup

# A mirror can be ended since nats-server 2.12
_PROMOTION_SINCE = (2, 12, 0)
_PAUSE = 0.05
_PATIENCE = 60.0
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
    """What a backup is restored as. ``config`` is the stream's in the end."""

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
        """Whether the keys of a bucket get another bucket's name."""
        return self.name != self.backup.stream and self.name.startswith(names.BUCKET_PREFIX)

    @property
    def copied(self) -> bool:
        """Whether it has to go through another stream."""
        return self.name != self.backup.stream and (self.moves_keys or self.backup.format == FILES)

    @property
    def between(self) -> str:
        """The stream that it goes through then."""
        return self.backup.stream if self.backup.format == FILES else f"{self.name}_RESTORING"

    @property
    def may_expire(self) -> bool:
        """Whether messages may be gone at once, since they are too old, or consumers have taken them."""
        config = self.config
        return bool(config.get("max_age") or config.get("allow_msg_ttl")) or config.get("retention") != "limits"


def sent(session: sessions.Session, backup: Backup, config: dict[str, Any]) -> None:
    """Sends a backup. Where that fails, what the server had built of it is removed."""
    data = backups.chunks(backup.data, min(snapshot.CHUNK_SENT, session.connected.max_payload))
    try:
        snapshot.restore(session, config, dict(backup.state), data)
    except (_errors.StreamsError, OSError) as error:
        if not _overtaken(error):
            _remove_unfinished(session, config["name"], backup.state)
        if isinstance(error, OSError):
            raise backups.unusable(backup.path, error) from error
        raise


def _overtaken(error: Exception) -> bool:
    """Whether somebody else builds a stream of that name. Servers tell it in the words of another error, too."""
    return isinstance(error, _errors.ApiError) and (
        error.err_code == jetstream.NAME_IN_USE_BY_RESTORE
        or f"({jetstream.NAME_IN_USE_BY_RESTORE})" in error.description
    )


def _remove_unfinished(session: sessions.Session, name: str, state: Mapping[str, Any]) -> None:
    """There was no stream of that name before. One that is whole is not ours: somebody else restored it meanwhile."""
    with suppress(_errors.StreamsError):
        info = streams.info(session, name)
        if info and not same_state(info["state"], state):
            streams.delete(session, name)


def check_copied(session: sessions.Session, wanted: Wanted) -> None:
    """Raises Refused where a backup can't go through another stream."""
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
    """Restores a backup under another name. Where that fails, both streams are removed."""
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
    """Waits until a mirror has all. Raises NoAnswer when it makes no progress."""
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
