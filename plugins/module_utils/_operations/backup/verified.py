# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remember which backups were read whole."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ..._fsync import write_whole
from ..._options import untrusted
from .on_disk import CONFIG, DATA, MANIFEST

if TYPE_CHECKING:
    from pathlib import Path

    from .on_disk import Backup

_NAME = ".verified.json"
_VALID = 7 * 86400.0


class Verified:
    """Remember which backups were read whole, so that they are not read again while their files stay as they are.

    A file beside the backups has for each when it was read, and size, inode and times of its files before that. No
    program can set the time at which a file was changed (ctime). Disks lose data without a new time, so backups are
    read again after a week. If that file is damaged or missing, backups are only read more often. Without ``write`` it
    stays as it is on the disk.
    """

    def __init__(self, folder: Path, *, write: bool) -> None:
        self._folder, self._write = folder, write
        self._marks: dict[str, Any] = {}
        with suppress(OSError, ValueError):
            self._marks = untrusted.load_object(untrusted.read_bytes(folder / _NAME))

    def problem(self, backup: Backup) -> str:
        """Return why a backup of ours is broken, or an empty text. It is read unless that is known."""
        try:
            files = _files(backup.path)
        except OSError:
            return backup.problem()
        mark = self._marks.get(backup.path.name)
        if isinstance(mark, dict) and mark.get("files") == files and _is_recent(mark.get("read")):
            return ""
        problem = backup.problem()
        if not problem:
            self._remember(backup, files)
        return problem

    def add(self, backup: Backup) -> None:
        """Remember a backup that was just written."""
        with suppress(OSError):
            self._remember(backup, _files(backup.path))

    def _remember(self, backup: Backup, files: dict[str, list[int]]) -> None:
        self._marks[backup.path.name] = {"read": time.time(), "files": files}
        if not self._write:
            return
        marks = {name: mark for name, mark in self._marks.items() if (self._folder / name / MANIFEST).exists()}
        with suppress(OSError):
            write_whole(self._folder / _NAME, json.dumps(marks).encode())


def _files(path: Path) -> dict[str, list[int]]:
    states = {name: os.stat(path / name, follow_symlinks=False) for name in (DATA, CONFIG, MANIFEST)}
    return {name: [it.st_size, it.st_ino, it.st_mtime_ns, it.st_ctime_ns] for name, it in states.items()}


def _is_recent(moment: Any) -> bool:
    return isinstance(moment, (int, float)) and 0 <= time.time() - moment <= _VALID
