# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Spool: the folder from which Choria Server takes messages. It is read and written with the standard library alone.

Rules: go-choria, submission/disk_spool.go. The server owns the folder and reads it each second, in the order of file
names. It deletes files that it can't read or does not accept, so each message is checked before it is written.
"""

from __future__ import annotations

import base64
import os
import re
import stat
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import _errors
from .._fsync import EFFECTIVE, sync_folder, write_whole
from .._options import quantities, untrusted
from .config import SERVER_FILE, ChoriaConfig, read_config
from .submission_message import PRIORITIES, timestamp

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .submission_message import Message

KEY, LIMIT_KEY = "plugin.choria.submission.spool", "plugin.choria.submission.max_spool_size"
DEFAULT_LIMIT = 500
_NEARLY_FULL = 0.8
_SECOND_LOOK = 0.05
_TIME = re.compile("[0-9]{1,19}")  # nanoseconds since 1970, up to the year 2286
# The types of a message's fields that Choria Server requires (submission/msg.go). It reads a missing field as empty
_FIELDS: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("id", "subject", "payload", "created", "next_try", "sender", "identity"), str),
    **dict.fromkeys(("priority", "max_tries", "tries"), int),
    **dict.fromkeys(("reliable", "sign"), bool),
    "ttl": (int, float),
    "headers": (dict, type(None)),
}


@dataclass(frozen=True)
class Spool:
    """A spool folder. ``limit`` is how many messages each priority holds before the server refuses more.

    ``config`` is the server's configuration, if it is known.
    """

    path: Path
    limit: int = DEFAULT_LIMIT
    config: ChoriaConfig | None = None

    def folder(self, priority: int) -> Path:
        """Return the folder of a priority, 0 to 4."""
        return self.path / f"P{priority}"

    def check(self, priority: int) -> None:
        """Raise Refused with the reason if no message can be submitted with this priority."""
        for path in (self.path, self.folder(priority)):
            status = self._folder_status(path)
            self._check_owner(path, status)
            if not os.access(path, os.R_OK | os.W_OK | os.X_OK, effective_ids=EFFECTIVE):
                raise self._no_access(path, "write into")
        count = sum(1 for _name in self._names(priority))
        # One more than the limit, as the server counts
        if count > self.limit:
            raise _errors.Refused(
                f"The spool {self.path} is full: {count} messages of priority {priority} wait, and {LIMIT_KEY} is "
                f"{self.limit}. Check that Choria Server runs and is connected, or raise that limit.",
                code="spool_full",
                messages=count,
            )

    def write(self, message: Message) -> Path:
        """Submit a message, whole or not at all. Raises Refused if the spool does not accept it."""
        self.check(message.priority)
        target = self.folder(message.priority) / f"{time.time_ns()}-{uuid.uuid4()}.msg"
        try:
            # In the folder above, where the server does not look, and on the same file system
            write_whole(target, message.encode(), self.path)
        except OSError as error:
            raise _errors.Refused(
                f"The spool {self.path} did not take the message ({error.strerror}), and nothing of it is left there: "
                "make room on its file system, or check its permissions.",
                code="spool_write",
            ) from error
        sync_folder(target.parent)
        return target

    def state(self) -> dict[str, Any]:
        """Return the waiting messages by priority and in all, with ages in seconds.

        Raises Refused if the spool can't be read.
        """
        self._folder_status(self.path)
        priorities = [self._priority(priority) for priority in PRIORITIES]
        waiting = [state for state in priorities if state["oldest"]]
        oldest = min(waiting, key=lambda state: str(state["oldest"]), default=None)
        return {
            "path": str(self.path),
            "limit": self.limit,
            "messages": sum(state["messages"] for state in priorities),
            "bytes": sum(state["bytes"] for state in priorities),
            "oldest": oldest and oldest["oldest"],
            "oldest_age": oldest and oldest["oldest_age"],
            "nearly_full": any(state["nearly_full"] for state in priorities),
            "full": any(state["full"] for state in priorities),
            "broken": [broken for state in priorities for broken in state.pop("broken")],
            "unfinished": sorted(str(path) for path in self.path.iterdir() if path.is_file()),
            "priorities": priorities,
        }

    def _priority(self, priority: int) -> dict[str, Any]:
        folder = self.folder(priority)
        self._folder_status(folder)
        size = tries = 0
        times, broken = [], []
        for name in sorted(self._names(priority)):
            path = folder / name
            try:
                fields = _parse_file(path)
            except FileNotFoundError:
                continue  # delivered meanwhile
            except PermissionError as error:
                raise self._no_access(folder, "read") from error
            except OSError as error:
                broken.append({"file": str(path), "reason": f"can't be read ({error.strerror})"})
                fields = {}
            except ValueError as error:
                broken.append({"file": str(path), "reason": str(error)})
                fields = {}
            size += _size(path)
            times.append(_submitted_at(path))
            tries = max(tries, int(fields.get("tries") or 0))
        count, oldest = len(times), min(times, default=0)
        return {
            "priority": priority,
            "messages": count,
            "bytes": size,
            "tries": tries,
            "oldest": timestamp(oldest) if oldest else None,
            "oldest_age": max(0.0, round((time.time_ns() - oldest) / quantities.NANOSECOND, 3)) if oldest else None,
            "nearly_full": count >= self.limit * _NEARLY_FULL,
            "full": count > self.limit,
            "broken": broken,
        }

    def _names(self, priority: int) -> Iterator[str]:
        try:
            return (name for name in os.listdir(self.folder(priority)) if name.endswith(".msg"))
        except OSError as error:
            raise self._no_access(self.folder(priority), "read") from error

    def _folder_status(self, path: Path) -> os.stat_result:
        try:
            status = path.stat()
        except PermissionError as error:
            raise self._no_access(self.path, "look into") from error
        except OSError:
            status = None
        if status is None or not stat.S_ISDIR(status.st_mode):
            what = "There is no submission spool" if path == self.path else f"{path} is missing in the submission spool"
            raise _errors.Refused(
                f"{what} {self.path}: Choria Server makes it when it starts with {KEY} set to it, "
                "so correct spool or choria_config, or start the server.",
                code="spool_missing",
            )
        return status

    def _check_owner(self, path: Path, status: os.stat_result) -> None:
        """Check that the server can read our files: it runs as the folder's owner, and root may read everything."""
        user = os.geteuid()
        if status.st_uid not in (0, user):
            raise _errors.Refused(
                f"{path} belongs to user {status.st_uid}, who could not read what user {user} writes there: "
                "submit as that user (become_user), or give the spool to root, as which Choria Server runs.",
                code="spool_owner",
            )
        if status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX:
            raise _errors.Refused(
                f"{path} can be changed by every user (mode {stat.S_IMODE(status.st_mode):04o}), who could remove or "
                "replace messages: make it the server's own (chmod 0700).",
                code="spool_mode",
            )

    def _no_access(self, path: Path, what: str) -> _errors.Refused:
        return _errors.Refused(
            f"User {os.geteuid()} may not {what} {path}: run the task as the spool's owner, root as a rule "
            "(become: true), and check that the file system is not read-only.",
            code="spool_permission",
        )


def find_spool(spool: str | None, choria_config: str | None) -> Spool:
    """Return the spool at a path, or else that of a server's file, or else that of ``/etc/choria/server.conf``.

    If the path is given, the limit still comes from a file that names the same spool. Raises OptionError.
    """
    path = choria_config or SERVER_FILE
    config = read_config(path, "spool") if choria_config or not spool or os.access(path, os.R_OK) else None
    named = config.file(KEY) if config else ""
    if not spool and not named:
        raise _errors.OptionError(
            "choria_config",
            f"{path} sets no {KEY}: name the file of a Choria Server that takes submissions, or give spool.",
        )
    if config is None or (spool and Path(spool) != Path(named)):
        return Spool(Path(spool or ""))
    limit = config.number(LIMIT_KEY, DEFAULT_LIMIT)
    if limit < 1:
        raise _errors.OptionError(
            "choria_config", f"{LIMIT_KEY} in {config.path} is {limit}: Choria Server needs 1 or more."
        )
    return Spool(Path(named), limit, config)


def _parse_file(path: Path) -> dict[str, Any]:
    """Return a message's fields. A broken file is read a second time, since the server may be updating its tries."""
    try:
        return _parse(untrusted.read_bytes(path))
    except ValueError:
        time.sleep(_SECOND_LOOK)
        return _parse(untrusted.read_bytes(path))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _parse(content: bytes) -> dict[str, Any]:
    """Return a message's fields. Raises ValueError with the reason for which the server would delete it."""
    fields = untrusted.load_object(content)
    for name, kind in _FIELDS.items():
        value = fields.get(name)
        if value is not None and (not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool)):
            raise ValueError(f"{name} has a wrong type")
    for name in ("subject", "payload", "sender", "ttl", "created"):
        if not fields.get(name):
            raise ValueError(f"{name} is missing or empty")
    for name in ("priority", "max_tries", "tries"):
        if abs(fields.get(name) or 0) > quantities.LARGEST:
            raise ValueError(f"{name} is out of range")
    for name in ("created", "next_try"):
        if fields.get(name):
            try:
                quantities.parse_timestamp(fields[name])
            except ValueError:
                raise ValueError(f"{name} is not a time") from None
    try:
        base64.b64decode(fields["payload"], validate=True)
    except ValueError:
        raise ValueError("payload is not base64") from None
    return fields


def _submitted_at(path: Path) -> int:
    """Return when a message was submitted, in nanoseconds since 1970. Its name begins with that."""
    digits = path.name.partition("-")[0]
    if _TIME.fullmatch(digits):
        return int(digits)
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return time.time_ns()
