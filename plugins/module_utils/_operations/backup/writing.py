# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write a backup under a temporary name, and rename it when all of it is on disk."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ... import _errors
from ..._fsync import check_writable, sync_folder
from .on_disk import CONFIG, DATA, MANIFEST, VERSION, Backup, broken, file_facts, inspect, new_path, read, unusable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

_PARTIAL = ".partial"
# A folder without data yet may be one that somebody has just begun
_BEGINNING = 60.0


def write(
    folder: Path, head: Mapping[str, Any], chunks: Iterable[bytes], facts: Callable[[], dict[str, Any]]
) -> Backup:
    """Write the chunks as they arrive. ``head`` has ``config`` and ``state``, ``facts()`` the rest of the manifest.

    Its SHA-256 is that of the chunks. The length, the archive's frames and both descriptions are checked on the disk.
    Raises Refused if the disk fails. Any error leaves nothing there.
    """
    stream = head["config"]["name"]
    with _explained(folder), _partial(folder, stream) as path, _new(path / DATA) as file:
        with suppress(OSError):  # some file systems know no locks, and there nothing is swept
            fcntl.flock(file, fcntl.LOCK_EX)  # until it has its name
        data = _write_chunks(file, chunks)
        description = _write(path / CONFIG, {key: head[key] for key in ("config", "state")})
        now = datetime.now(timezone.utc)
        manifest = {
            "version": VERSION,
            "stream": stream,
            "created": now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "format": _format(path / DATA, stream),
            **head,
            **facts(),
            "files": {DATA: data, CONFIG: description},
        }
        _write(path / MANIFEST, manifest)
        sync_folder(path)
        size = read(path).data.stat().st_size
        if size != data["size"]:
            raise broken(path, f"{DATA} has {size} bytes, and {data['size']} were written")
        target = new_path(folder, stream, now)
        path.rename(target)
        sync_folder(folder)
    return read(target)


def _format(path: Path, stream: str) -> int:
    try:
        return inspect(path).format
    except ValueError as error:
        raise _errors.Refused(
            f"What the server sent of stream {stream} {error}: try again, and check the server's log.",
            code="snapshot",
        ) from None


def remove(path: Path) -> None:
    """Remove a backup. The rest of an interrupted removal is not a backup, and ``sweep`` removes it."""
    with _explained(path):
        doomed = path.with_name(f".{path.name}{_PARTIAL}")
        path.rename(doomed)
        shutil.rmtree(doomed)


def sweep(folder: Path, stream: str) -> None:
    """Remove the files that interrupted runs left of a stream. Files of another active run are locked, and stay."""
    for path in folder.glob(f".{escape(stream)}-*{_PARTIAL}"):
        if path.is_dir() and not path.is_symlink() and not _busy(path):
            shutil.rmtree(path, ignore_errors=True)


def check(folder: Path) -> None:
    """Raise Refused if the user may not add to a folder or remove from it. One that is missing is not checked."""
    with _explained(folder):
        check_writable(folder / _PARTIAL)


def make_folder(folder: Path) -> None:
    """Create a folder for the user alone."""
    with _explained(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)


@contextmanager
def _partial(folder: Path, stream: str) -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix=f".{stream}-", suffix=_PARTIAL, dir=folder))  # mode 0700
    try:
        yield path
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)
        raise


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise _errors.Refused(
                f"path: the backup does not fit into {folder} ({error.strerror}), and nothing of it is left there: "
                "make space, or give another path.",
                code="disk_full",
                option="path",
            ) from error
        raise unusable(folder, error) from error


def _write_chunks(file: Any, chunks: Iterable[bytes]) -> dict[str, Any]:
    digest = hashlib.sha256()
    size = 0
    for chunk in chunks:
        digest.update(chunk)
        file.write(chunk)
        size += len(chunk)
    file.flush()
    os.fsync(file.fileno())
    return {"size": size, "sha256": digest.hexdigest()}


def _write(path: Path, content: dict[str, Any]) -> dict[str, Any]:
    with _new(path) as file:
        file.write(json.dumps(content, indent=2).encode())
        file.flush()
        os.fsync(file.fileno())
    return file_facts(path)


def _new(path: Path) -> Any:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _busy(path: Path) -> bool:
    try:
        with (path / DATA).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return time.time() - path.stat().st_mtime < _BEGINNING
    except OSError:
        return True
    return False
