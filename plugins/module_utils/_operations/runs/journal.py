# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Journal: the events of one run on disk, in order, until they are delivered.

A journal is a file of lines: its progress, its target servers, and an event each. All but the first are only appended,
and begin with a checksum, which detects lines that a crash left incomplete. The process that writes or delivers a
journal holds a lock on it. The lock ends with that process, and forks do not inherit it.
"""

from __future__ import annotations

import errno
import json
import os
import zlib
from collections import deque
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

SUFFIX, REWRITTEN = ".journal", ".new"
_CHUNK = 1 << 20
# The length of the line that says how far a journal is delivered
HEAD = 21
# Of the number of an event: more than any run has
_DIGITS = 18
# Names of the journals that this process has open: closing a second handle of a file would end the lock of the first
open_here: set[tuple[str, str]] = set()


class Outgoing(NamedTuple):
    """An event to be published."""

    subject: str
    id: str
    payload: bytes


class Journal:
    """One open and locked journal. Raises OSError if the disk fails.

    ``count`` is how many events are appended and not delivered; ``damaged`` counts unreadable lines.
    """

    def __init__(self, folder: Path, name: str, handle: int, begin: int, end: int, room: int) -> None:
        self.count = self.damaged = 0
        self._path = folder / name
        self._handle = handle
        self.room = room
        """How large it may become, in bytes."""
        self._scanned, self._end = begin, end
        self._ahead: deque[tuple[Outgoing, int]] = deque()
        self._key = (str(folder), name)
        self._unsynced = True
        open_here.add(self._key)

    def target(self) -> Any:
        """Return the target of the events, or None if it can't be read."""
        lines = os.pread(self._handle, _CHUNK, HEAD).split(b"\n", 1)
        text = checked(lines[0])
        if text is None:
            return None
        self._scanned = max(self._scanned, HEAD + len(lines[0]) + 1)
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return None

    @property
    def unfinished(self) -> bool:
        """True if the process was killed while it created this journal."""
        return b"\n" not in os.pread(self._handle, _CHUNK, HEAD)

    def events(self) -> Iterator[Outgoing]:
        """Yield all undelivered events. The journal stays unchanged."""
        begin, damaged = self._scanned, self.damaged
        while self._scanned < self._end:
            self._read()
            while self._ahead:
                yield self._ahead.popleft()[0]
        self._scanned, self.damaged = begin, damaged

    def resume(self) -> str:
        """Count the events of another process, to continue after them. Return the id of the last one."""
        last = ""
        for event in self.events():
            self.count += 1
            last = event.id
        whole = self._end_of_lines()
        if whole < self._end:
            self._end = whole
            os.ftruncate(self._handle, whole)  # no half event
        return last

    def _end_of_lines(self) -> int:
        """Return the end of the last complete line."""
        end = self._end
        while end > HEAD:
            start = max(HEAD, end - _CHUNK)
            index = os.pread(self._handle, end - start, start).rfind(b"\n")
            if index >= 0:
                return start + index + 1
            end = start
        return end

    def rewrite(self, target: Mapping[str, Any], subject_of: Callable[[str], str]) -> None:
        """Replace the journal with one for another target with the same events. Raises OSError."""
        made = self._path.with_suffix(REWRITTEN)
        handle = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(head_of(target))
                for event in self.events():
                    file.write(_event_line(event._replace(subject=subject_of(event.subject))))
                file.flush()
                os.fsync(handle)
            os.replace(made, self._path)
        except OSError:
            made.unlink()
            raise

    def append(self, events: Sequence[Outgoing]) -> int:
        """Write events. Return how many of the first were written; raises OSError for none."""
        lines = [_event_line(event) for event in events]
        ends, size = [], 0
        for line in lines:
            size += len(line)
            if self._end + size > self.room:
                break
            ends.append(size)
        if not ends:
            raise OSError(errno.EDQUOT, f"spool_size ({self.room} bytes are left) is used up")
        written, problem = write_at(self._handle, b"".join(lines[: len(ends)]), self._end)
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
        """Return the oldest undelivered events."""
        while len(self._ahead) < count and self._scanned < self._end and (not self._ahead or self._near):
            self._read()
        return [event for event, _end in islice(self._ahead, count)]

    @property
    def _near(self) -> bool:
        """True if less than a chunk is in memory."""
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
            parts = (checked(line) or b"").split(b" ", 2)
            try:
                subject, event_id, payload = parts
                self._ahead.append((Outgoing(subject.decode(), event_id.decode(), payload), self._scanned))
            except ValueError:  # not three parts, or not UTF-8
                self.damaged += 1

    def advance(self, count: int) -> None:
        """Mark the first events as delivered, or as undeliverable."""
        while len(self._ahead) < count:
            self._read()
        end = 0
        for _event in range(count):
            _delivered, end = self._ahead.popleft()
        self.count -= count
        if end:
            # A full disk must not end the delivery. Events that are sent again have the same message ids
            with suppress(OSError):
                os.pwrite(self._handle, progress_line(end), 0)
            self._unsynced = True

    def sync(self) -> None:
        """Wait until all is on the disk itself, so that it survives a crash of the machine."""
        if self._unsynced:
            self._unsynced = False
            os.fsync(self._handle)

    def close(self) -> None:
        """Close the journal, which ends its lock."""
        os.close(self._handle)
        open_here.discard(self._key)

    def remove(self) -> None:
        """Remove a delivered journal."""
        with suppress(OSError):
            os.unlink(self._path)
        self.close()


def number_of(event_id: str) -> int:
    """Return the number of an event in its run, 0 if it has none."""
    number = event_id.rpartition(".")[2]
    return int(number) if number.isascii() and number.isdigit() and len(number) <= _DIGITS else 0


def _event_line(event: Outgoing) -> bytes:
    return line_of(b"%s %s %s" % (event.subject.encode(), event.id.encode(), event.payload))


def line_of(text: bytes) -> bytes:
    """Return the line that holds a text."""
    return b"%08x %s\n" % (zlib.crc32(text), text)


def checked(written: bytes) -> bytes | None:
    """Return what a line holds, or None if it is not as it was written."""
    text = written[9:]
    return text if written[:9] == b"%08x " % zlib.crc32(text) else None


def progress_line(end: int) -> bytes:
    """Return the first line of a journal that is delivered up to the byte ``end``."""
    return line_of(b"%011d" % end)


def head_of(target: Mapping[str, Any]) -> bytes:
    """Return the first lines of a new journal, its progress and its target."""
    return progress_line(HEAD) + line_of(json.dumps(dict(target)).encode())


def begin_of(handle: int, size: int) -> int:
    """Return the byte at which the undelivered events of a journal of ``size`` bytes begin.

    If its progress is damaged, all events are sent again: they have ids.
    """
    text = checked(os.pread(handle, HEAD, 0).rstrip(b"\n"))
    begin = int(text) if text and text.isdigit() else 0
    return begin if HEAD <= begin <= size else HEAD


def write_at(handle: int, data: bytes, start: int) -> tuple[int, OSError | None]:
    """Write ``data`` at the byte ``start``. Return how many bytes the disk took, and the error that ended it."""
    written, view = 0, memoryview(data)
    while written < len(data):
        try:
            written += os.pwrite(handle, view[written:], start + written)
        except OSError as error:
            return written, error
    return written, None
