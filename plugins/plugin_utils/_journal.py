# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Journal: the events of one run on disk, in order, until they are delivered.

A journal is a file of lines: how far it is delivered, which servers it is for, and an event each. All but the first are
only ever appended, and begin with a checksum: what a crash left half written is known as such. The process that writes
or delivers a journal holds a lock on it. The lock ends with that process, and its forks don't have it.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
import zlib
from collections import deque
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..module_utils import _errors

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_SUFFIX = ".journal"
_POSITION = len(b"%020d\n" % 0)
_CHUNK = 1 << 20
# Names of the journals that this process has open: closing a second handle of a file would end the lock of the first
_open_here: set[tuple[str, str]] = set()


class Outgoing(NamedTuple):
    """An event as it is sent, on its way to the stream."""

    subject: str
    id: str
    payload: bytes


class Spool:
    """The folder of the journals, for its owner alone. It is made when the first is written. ``limit`` is in bytes."""

    def __init__(self, path: Path, limit: int) -> None:
        self.path, self.limit = path, limit
        self.foreign = 0
        """How many journals for others ``left`` has seen."""

    def open(self) -> int | None:
        """A handle of the folder, or None where there is none. Raises Refused where it can't be trusted."""
        try:
            handle = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            link = error.errno in (errno.ELOOP, errno.ENOTDIR) and self.path.is_symlink()
            raise self._refused("is a symbolic link" if link else f"can't be used ({error.strerror})") from error
        found = os.fstat(handle)
        if found.st_uid == os.geteuid():
            if found.st_mode & 0o077:
                os.fchmod(handle, 0o700)
            return handle
        os.close(handle)
        raise self._refused(f"belongs to user {found.st_uid}, this run is one of user {os.geteuid()}")

    def make(self) -> int:
        """The same, and makes the folder. Raises Refused."""
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
        """A new journal, for events to that target. Raises Refused and OSError."""
        folder = self.make()
        try:
            used = sum(os.stat(name, dir_fd=folder, follow_symlinks=False).st_size for name in _names(folder))
            name = f"{time.time_ns()}-{run_id}{_SUFFIX}"
            handle = os.open(
                name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder
            )
            try:
                fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if not os.fstat(handle).st_nlink:
                    raise OSError(errno.EAGAIN, "another run took the new file for one that was left")
                head = b"%020d\n%s" % (_POSITION, _line(json.dumps(dict(target)).encode()))
                written, problem = _write(handle, head, 0)
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

    def left(self, target: Mapping[str, Any]) -> Iterator[Journal]:
        """The journals that other runs have left for this target, the oldest first. Raises Refused and OSError."""
        folder = self.open()
        if folder is None:
            return
        try:
            names = sorted(_names(folder))
        finally:
            os.close(folder)
        for name in names:
            journal = self._adopt(name)
            if journal is None:
                continue
            found = journal.target()
            if same_target(found, target):
                yield journal
            elif journal.unfinished:
                journal.remove()  # its run ended before there was anything in it
            else:
                self.foreign += 1
                journal.close()

    def _adopt(self, name: str) -> Journal | None:
        """A journal that nobody else has, or None."""
        if (str(self.path), name) in _open_here:
            return None
        try:
            handle = os.open(self.path / name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return None  # delivered meanwhile, or none of ours
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            found = os.fstat(handle)
            if found.st_nlink == 1 and found.st_uid == os.geteuid():
                position = os.pread(handle, _POSITION, 0)
                begin = int(position) if position.strip().isdigit() else 0
                return Journal(self.path, name, handle, max(begin, _POSITION), found.st_size, 0)
        except OSError:
            pass  # its run still goes on, or another one delivers it
        os.close(handle)
        return None


class Journal:
    """One open journal, which is locked for as long. Raises OSError where the disk does not do its part.

    ``count`` is how many events were appended and are not delivered; ``damaged`` counts lines that can't be read.
    """

    def __init__(self, folder: Path, name: str, handle: int, begin: int, end: int, room: int) -> None:
        self.count = self.damaged = 0
        self._path = folder / name
        self._handle = handle
        self._scanned, self._end, self._room = begin, end, room
        self._ahead: deque[tuple[Outgoing, int]] = deque()
        self._key = (str(folder), name)
        self._unsynced = True
        _open_here.add(self._key)

    def target(self) -> Any:
        """Whom the events are for, or None where that can't be read."""
        lines = os.pread(self._handle, _CHUNK, _POSITION).split(b"\n", 1)
        text = _checked(lines[0])
        if text is None:
            return None
        self._scanned = max(self._scanned, _POSITION + len(lines[0]) + 1)
        return json.loads(text)

    @property
    def unfinished(self) -> bool:
        """Whether the process was killed while it made this journal."""
        return b"\n" not in os.pread(self._handle, _CHUNK, _POSITION)

    def append(self, events: Sequence[Outgoing]) -> int:
        """Writes events. Returns how many of them, the first ones, it has now; raises OSError for none."""
        lines = [_line(b"%s %s %s" % (event.subject.encode(), event.id.encode(), event.payload)) for event in events]
        ends, size = [], 0
        for line in lines:
            size += len(line)
            if self._end + size > self._room:
                break
            ends.append(size)
        if not ends:
            raise OSError(errno.EDQUOT, f"spool_size ({self._room} bytes are left) is used up")
        written, problem = _write(self._handle, b"".join(lines[: len(ends)]), self._end)
        held = sum(1 for end in ends if end <= written)
        size = ends[held - 1] if held else 0
        if written != size:
            os.ftruncate(self._handle, self._end + size)  # no half event
        if problem and not held:
            raise problem
        self._end += size
        self.count += held
        self._unsynced = True
        return held

    def window(self, count: int) -> list[Outgoing]:
        """The oldest events that are not delivered."""
        while len(self._ahead) < count and self._scanned < self._end and (not self._ahead or self._near):
            self._read()
        return [event for event, _end in islice(self._ahead, count)]

    @property
    def _near(self) -> bool:
        """Whether less than a chunk is held in memory."""
        return self._scanned - self._ahead[0][1] < _CHUNK

    def _read(self) -> None:
        if self._scanned >= self._end:
            raise OSError(errno.EIO, "a journal has fewer events than were written")
        size = _CHUNK
        while b"\n" not in (chunk := os.pread(self._handle, min(size, self._end - self._scanned), self._scanned)):
            if size >= self._end - self._scanned:
                # A line without an end: the process was killed while it wrote
                self.damaged += 1
                self._scanned = self._end
                return
            size *= 2
        for line in chunk[: chunk.rindex(b"\n")].split(b"\n"):
            self._scanned += len(line) + 1
            parts = (_checked(line) or b"").split(b" ", 2)
            if len(parts) == 3:
                self._ahead.append((Outgoing(parts[0].decode(), parts[1].decode(), parts[2]), self._scanned))
            else:
                self.damaged += 1

    def advance(self, count: int) -> None:
        """The first events are delivered, or never can be."""
        while len(self._ahead) < count:
            self._read()
        end = 0
        for _event in range(count):
            _delivered, end = self._ahead.popleft()
        self.count -= count
        if end:
            # A disk that does not take it must not end the delivery: what is sent again is known by its id
            with suppress(OSError):
                os.pwrite(self._handle, b"%020d\n" % end, 0)
            self._unsynced = True

    def sync(self) -> None:
        """Waits until all is on the disk itself, where a crash of the machine does not reach it."""
        if self._unsynced:
            self._unsynced = False
            os.fsync(self._handle)

    def close(self) -> None:
        os.close(self._handle)
        _open_here.discard(self._key)

    def remove(self) -> None:
        """Ends a journal that has been delivered."""
        with suppress(OSError):
            os.unlink(self._path)
        self.close()


def spool_path(option: str | None) -> Path:
    """The folder that is named, or the one in this user's state folder, where XDG has it."""
    state = os.environ.get("XDG_STATE_HOME", "")
    home = Path(state) if os.path.isabs(state) else Path("~/.local/state").expanduser()
    return Path(option) if option else home / "choria_streams" / "results"


def same_target(found: Any, wanted: Mapping[str, Any]) -> bool:
    """Whether events that were meant for one are for the other too. One server in common makes it the same network."""
    if not isinstance(found, dict):
        return False
    servers = set(found.get("servers", ())) & set(wanted.get("servers", ()))
    others = [{key: value for key, value in target.items() if key != "servers"} for target in (found, wanted)]
    return others[0] == others[1] and (bool(servers) or "servers" not in wanted)


def _names(folder: int) -> list[str]:
    return [name for name in os.listdir(folder) if name.endswith(_SUFFIX)]


def _line(text: bytes) -> bytes:
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _checked(line: bytes) -> bytes | None:
    """What a line holds, or None where it is not as it was written."""
    text = line[9:]
    return text if line[:9] == b"%08x " % zlib.crc32(text) else None


def _write(handle: int, data: bytes, start: int) -> tuple[int, OSError | None]:
    """Writes, and tells how much of it the disk took, and why not the rest."""
    written, view = 0, memoryview(data)
    while written < len(data):
        try:
            written += os.pwrite(handle, view[written:], start + written)
        except OSError as error:
            return written, error
    return written, None
