# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The present and the desired folder of an autonomous agent."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .definition import MANIFEST
from .files import DATA, File

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True)
class Content:
    """The desired content of a folder. Other files stay, unless ``exact`` is set. The server's data stays always."""

    files: Mapping[str, File]
    exact: bool

    def is_in(self, folder: Path) -> bool:
        """Return True if the folder has this content, with owners and modes."""
        if not folder.is_dir():
            return False
        status = folder.stat()
        if status.st_uid != os.geteuid() or status.st_mode & _OTHERS_WRITE:
            return False
        if self.exact and self.surplus(folder):
            return False
        return all(_is(folder / path, file) for path, file in self.files.items())

    def surplus(self, folder: Path) -> list[str]:
        """Return the other files in a folder, without the server's data."""
        return [path for path in walk(folder) if path not in self.files and path != DATA]

    def write(self, folder: Path) -> None:
        folder.mkdir(mode=0o700)
        for path, file in self.files.items():
            target = folder / path
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Never readable for more than its mode allows, not for a moment
            handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as opened:
                opened.write(file.content)
                opened.flush()
                os.fchmod(handle, file.mode)
                os.fsync(handle)

    def link_rest(self, before: Path, after: Path, linked: Mapping[str, int] | None = None) -> dict[str, int]:
        """Hard-link the other files of ``before`` into ``after``, so that processes that write to them still do.

        ``linked`` is the result of an earlier call. Then only files that were written since are linked.
        """
        found: dict[str, int] = {}
        linked = linked or {}
        for path in walk(before):
            if path in self.files or (self.exact and path != DATA):
                continue
            source, target = before / path, after / path
            with suppress(FileNotFoundError, NotADirectoryError, FileExistsError):
                found[path] = source.lstat().st_ino
                if linked.get(path) == found[path]:
                    continue
                if path in linked and target.lstat().st_ino == linked[path]:
                    source.replace(target)
                    continue
                target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                if stat.S_ISDIR(source.lstat().st_mode):
                    target.mkdir(mode=0o700)
                    continue
                os.link(source, target, follow_symlinks=False)
        return found

    def listing(self) -> str:
        """Return the files as lines for a diff, without the definition, which has a diff of its own."""
        return _listing(self.files)


def listing_of(folder: Path, content: Content) -> str:
    """Return the present files as lines for a diff, without those that stay unchanged."""
    paths = set(walk(folder)) - {DATA} if content.exact else set(content.files)
    return _listing({path: file for path in paths if (file := read_file(folder / path))})


def walk(folder: Path) -> Iterator[str]:
    """Yield the paths of all files and empty folders in a folder. Links are not followed."""
    for top, folders, names in os.walk(folder):
        for name in (*names, *folders):
            path = os.path.join(top, name)
            if name in names or os.path.islink(path) or not os.listdir(path):
                yield os.path.relpath(path, folder)


def read_file(path: Path) -> File | None:
    """Return a file with its mode, or None if there is none, and for a link."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            return None
        with os.fdopen(handle, "rb", closefd=False) as opened:
            return File(opened.read(), stat.S_IMODE(status.st_mode))
    finally:
        os.close(handle)


def _is(path: Path, file: File) -> bool:
    return read_file(path) == file and path.lstat().st_uid == os.geteuid()


def _listing(files: Mapping[str, File]) -> str:
    return "".join(f"{path}: {files[path]}\n" for path in sorted(files) if path != MANIFEST)
