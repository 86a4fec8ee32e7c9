# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Spool: the folder of the journals."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ... import _errors
from .journal import REWRITTEN, SUFFIX, Journal, begin_of, head_of, open_here, write_at

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

# A file whose time says when a run last warned of journals for others
_WARNED = "others.warned"
_DAY = 24 * 60 * 60
# Folders that other users need, even if they are empty now
_FOR_ALL = ("/dev/shm", "/tmp", "/var/tmp")


class Spool:
    """The folder of the journals, for its owner alone. It is created with the first journal. ``limit`` is in bytes."""

    def __init__(self, path: Path, limit: int) -> None:
        self.path, self.limit = path, limit
        self.foreign = 0
        """How many journals for others ``left`` has seen."""

    def open(self) -> int | None:
        """Return a handle of the folder, or None if there is none. Raises Refused if it can't be trusted."""
        try:
            handle = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            link = error.errno in (errno.ELOOP, errno.ENOTDIR) and self.path.is_symlink()
            raise self._refused("is a symbolic link" if link else f"can't be used ({error.strerror})") from error
        reason = _why_unsafe(self.path, handle)
        if reason:
            os.close(handle)
            raise self._refused(reason)
        return handle

    def make(self) -> int:
        """Return a handle of the folder, which is created if needed. Raises Refused."""
        try:
            self.path.parent.mkdir(0o700, parents=True, exist_ok=True)
            with suppress(FileExistsError):
                self.path.mkdir(0o700)
        except OSError as error:
            raise self._refused(f"can't be made ({error.strerror})") from error
        handle = self.open()
        if handle is None:
            raise self._refused("was removed at once")
        return handle

    def _refused(self, reason: str) -> _errors.Refused:
        return _errors.Refused(f"spool {self.path} {reason}: name a folder of your own in spool.", code="spool")

    def create(self, run_id: str, target: Mapping[str, Any]) -> Journal:
        """Return a new journal for events to that target. Raises Refused and OSError."""
        folder = self.make()
        try:
            used = self._used(folder)
            name = f"{time.time_ns()}-{run_id}{SUFFIX}"
            handle = os.open(
                name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder
            )
            try:
                fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if not os.fstat(handle).st_nlink:
                    raise OSError(errno.EAGAIN, "another run took the new file for one that was left")
                head = head_of(target)
                written, problem = write_at(handle, head, 0)
                if problem or written < len(head):
                    raise problem or OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(folder)
            except OSError:
                os.close(handle)
                os.unlink(name, dir_fd=folder)
                raise
            return Journal(self.path, name, handle, len(head), len(head), self.limit - used)
        finally:
            os.close(folder)

    def names(self) -> list[str]:
        """Return the names of all journals, the oldest first. Raises Refused."""
        folder = self.open()
        if folder is None:
            return []
        try:
            return sorted(_names(folder))
        finally:
            os.close(folder)

    def left(self, target: Mapping[str, Any]) -> Iterator[Journal]:
        """Yield the journals of other runs for this target, the oldest first. Raises Refused and OSError."""
        for name in self.names():
            journal = self.adopt(name)
            if journal is None:
                continue
            stored = journal.target()
            if same_target(stored, target):
                yield journal
            elif journal.unfinished:
                journal.remove()  # its run ended before there was anything in it
            else:
                self.foreign += 1
                journal.close()

    def resume(self, run_id: str, target: Mapping[str, Any]) -> Journal | None:
        """Return the journal that another process of this run left for this target. Raises Refused and OSError."""
        folder = self.open()
        if folder is None:
            return None
        try:
            names = sorted(name for name in _names(folder) if name.endswith(f"-{run_id}{SUFFIX}"))
            used = self._used(folder, without=names[-1:])
        finally:
            os.close(folder)
        journal = self.adopt(names[-1]) if names else None
        if journal and same_target(journal.target(), target):
            journal.room = self.limit - used
            return journal
        if journal:
            journal.close()
        return None

    def _used(self, folder: int, without: Sequence[str] = ()) -> int:
        size = 0
        for name in _names(folder):
            with suppress(FileNotFoundError):  # another run has delivered it
                size += 0 if name in without else os.stat(name, dir_fd=folder, follow_symlinks=False).st_size
        return size

    def may_warn(self) -> bool:
        """Return True once a day, to warn of journals for other targets."""
        mark = self.path / _WARNED
        try:
            if 0 <= time.time() - mark.stat().st_mtime < _DAY:  # not if the clock was wrong then
                return False
        except OSError:
            pass
        with suppress(OSError):  # a disk that is full is reported elsewhere
            mark.touch(0o600)
        return True

    def adopt(self, name: str) -> Journal | None:
        """Return a journal that no other process holds, or None."""
        if (str(self.path), name) in open_here:
            return None
        try:
            handle = os.open(self.path / name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None  # delivered meanwhile, or none of ours
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            status = os.fstat(handle)
            if stat.S_ISREG(status.st_mode) and status.st_nlink == 1 and status.st_uid == os.geteuid():
                with suppress(OSError):
                    (self.path / name).with_suffix(REWRITTEN).unlink()  # of a process that was killed
                begin = begin_of(handle, status.st_size)
                return Journal(self.path, name, handle, begin, status.st_size, 0)
        except OSError:
            pass  # its run still goes on, or another one delivers it
        os.close(handle)
        return None


def spool_path(option: str | None) -> Path:
    """Return the given folder, or the one in this user's state folder by the XDG rules. Raises OptionError."""
    if option:
        return Path(option)
    state = os.environ.get("XDG_STATE_HOME", "")
    home = state if os.path.isabs(state) else os.path.expanduser("~/.local/state")
    if not os.path.isabs(home):  # in a container, with a user that it does not know
        raise _errors.OptionError("spool", "is not given, and this user has no home folder: name a folder in spool.")
    return Path(home) / "choria_streams" / "results"


def same_target(one: Any, other: Mapping[str, Any]) -> bool:
    """Return True if two targets are the same network, which one common server shows."""
    if not isinstance(one, dict):
        return False
    servers = set(map(str, _list(one))) & set(map(str, _list(other)))
    others = [{key: value for key, value in target.items() if key != "servers"} for target in (one, other)]
    return others[0] == others[1] and (bool(servers) or "servers" not in other)


def _list(target: Mapping[str, Any]) -> list[Any]:
    servers = target.get("servers")
    return servers if isinstance(servers, list) else []


def _why_unsafe(path: Path, folder: int) -> str:
    """Return why others could change the files of a folder, or an empty text. An empty folder is closed to others."""
    status = os.fstat(folder)
    if status.st_uid != os.geteuid():
        return f"belongs to user {status.st_uid}, this run is one of user {os.geteuid()}"
    if status.st_mode & 0o022:
        if str(path.resolve()) in _FOR_ALL or not all(map(_is_ours, os.listdir(folder))):
            return "is shared, others may change it"
        os.fchmod(folder, 0o700)
    return ""


def _is_ours(name: str) -> bool:
    return name.endswith((SUFFIX, REWRITTEN)) or name == _WARNED


def _names(folder: int) -> list[str]:
    return [name for name in os.listdir(folder) if name.endswith(SUFFIX)]
