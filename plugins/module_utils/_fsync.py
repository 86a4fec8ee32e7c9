# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""fsync helpers for crash-safe writes, and whether the user may write at all."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


EFFECTIVE = os.access in os.supports_effective_ids


def check_writable(path: Path, top: Path | None = None) -> None:
    """Raise OSError as writing, replacing or removing a file would, if the user may not change its folder.

    Missing folders below ``top``, by default the file's own folder, are created with it, so that the one above them
    counts. If ``top`` is missing, nothing is known: another task may create it before.
    """
    highest = (top or path.parent).absolute()
    for folder in path.absolute().parents:
        with suppress(FileNotFoundError, NotADirectoryError):
            status = folder.stat()
            if stat.S_ISDIR(status.st_mode):
                break
        if folder == highest:
            return
    if not os.access(folder, os.W_OK | os.X_OK, effective_ids=EFFECTIVE):
        number = errno.EROFS if os.statvfs(folder).f_flag & os.ST_RDONLY else errno.EACCES
        raise OSError(number, os.strerror(number), str(folder))
    owners = (0, status.st_uid, path.lstat().st_uid if os.path.lexists(path) else os.geteuid())
    if status.st_mode & stat.S_ISVTX and os.geteuid() not in owners:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM), str(path))


def sync_folder(path: Path) -> None:
    """Make a rename in this folder durable. It ignores file systems that can't, since the file itself is written."""
    with suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_whole(path: Path, content: bytes, folder: Path | None = None) -> None:
    """Write or replace a file whole or not at all, readable by the user alone. Raises OSError.

    It is first written in its own folder, or in another one of the same file system.
    """
    temporary = ""
    try:
        handle, temporary = tempfile.mkstemp(prefix=".choria-streams-", dir=folder or path.parent)
        with os.fdopen(handle, "wb") as file:
            os.fchmod(handle, 0o600)
            file.write(content)
            file.flush()
            os.fsync(handle)
        os.rename(temporary, path)
    finally:
        with suppress(OSError):
            os.unlink(temporary)
