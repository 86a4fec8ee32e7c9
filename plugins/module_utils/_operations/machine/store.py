# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The store of autonomous agents: a folder for each, which Choria Server reads every ten seconds.

The server ignores folders whose names begin with a dot, ends a machine whose folder or definition is gone, and
restarts it if the definition changed (go-choria, aagent/aagent.go). So a folder is written under such a name, and then
exchanged with the present one in one step.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import shutil
import stat
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from ... import _errors
from ..._choria.config import SERVER_FILE, read_config
from ..._fsync import check_writable, sync_folder
from ..._options import codecs, fields
from .files import MANIFEST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .files import Content

KEY = "plugin.choria.machine.store"
STORE = fields.Field("store", codecs.Codec({"type": "path"}))
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


@dataclass(frozen=True)
class Store:
    path: Path

    def folder(self, name: str) -> Path:
        """Return the folder of a machine. Raises Refused for a link, which could lead anywhere."""
        folder = self.path / name
        try:
            is_folder = stat.S_ISDIR(folder.lstat().st_mode)
        except FileNotFoundError:
            return folder
        except OSError as error:
            raise self._no_access(error) from error
        if not is_folder:
            raise _errors.Refused(
                f"{folder} is a link or a file, and an autonomous agent is a folder: remove it.",
                code="store_entry",
                option="name",
            )
        return folder

    def check(self) -> None:
        """Raise Refused if the store does not exist, or others can write to it, since its commands run as root."""
        try:
            status = self.path.stat()
        except FileNotFoundError:
            status = None
        except OSError as error:
            raise self._no_access(error) from error
        if status is None or not stat.S_ISDIR(status.st_mode):
            raise _errors.Refused(
                f"There is no store of autonomous agents {self.path}: correct store or choria_config, or make the "
                "folder with mode 0700.",
                code="store_missing",
                option="store",
            )
        if status.st_uid not in (0, os.geteuid()) or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise _errors.Refused(
                f"{self.path} belongs to user {status.st_uid} and has mode {stat.S_IMODE(status.st_mode):04o}, so that "
                "others could change what Choria Server runs: make it root's own (chmod 0700), and use become.",
                code="store_mode",
                option="store",
            )

    def machines(self) -> list[str]:
        """Return the names of the folders that the server reads as machines."""
        try:
            return sorted(
                entry.name
                for entry in os.scandir(self.path)
                if entry.is_dir(follow_symlinks=False)
                and not entry.name.startswith(".")
                and (self.path / entry.name / MANIFEST).is_file()
            )
        except OSError as error:
            raise self._no_access(error) from error

    def unknown(self, keep: Sequence[str]) -> list[str]:
        """Return the machines that no pattern of ``keep`` matches."""
        return [name for name in self.machines() if not any(fnmatchcase(name, pattern) for pattern in keep)]

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the store, so that others wait."""
        try:
            handle = os.open(self.path, os.O_RDONLY)
        except OSError as error:
            raise self._no_access(error) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        except OSError as error:
            raise self._no_access(error) from error
        finally:
            os.close(handle)

    def check_writable(self, *removed: str) -> None:
        """Raise Refused if the user may not write into the store, or remove these machines with all of their files."""
        try:
            check_writable(self.path / MANIFEST)
            for name in removed:
                for folder, _folders, _files in os.walk(self.path / name, onerror=_stop):
                    check_writable(Path(folder) / MANIFEST)
        except OSError as error:
            raise self._no_access(error) from error

    def remove(self, name: str) -> None:
        """Remove a machine in one step, so that the server never reads half of it."""
        away = self._hidden(name, "removed")  # not "old": ``put`` would restore that
        shutil.rmtree(away, ignore_errors=True)
        self.folder(name).rename(away)
        sync_folder(self.path)
        shutil.rmtree(away)

    def put(self, name: str, content: Content, check: Callable[[Path], None]) -> None:
        """Replace a folder, unless ``check`` raises an error."""
        folder, fresh, away = self.folder(name), self._hidden(name, "new"), self._hidden(name, "old")
        if away.exists() and not folder.exists():  # a run ended between the two renames of _exchange
            away.rename(folder)
        for left in (fresh, away, self._hidden(name, "removed")):
            shutil.rmtree(left, ignore_errors=True)
        try:
            content.write(fresh)
            check(fresh)
            linked = content.link_rest(folder, fresh)
            if folder.exists():
                _exchange(fresh, folder, away)
                content.link_rest(fresh, folder, linked)
            else:
                fresh.rename(folder)
            sync_folder(self.path)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)

    def _hidden(self, name: str, what: str) -> Path:
        return self.path / f".choria_machine.{name}.{what}"

    def _no_access(self, error: OSError) -> _errors.Refused:
        return _errors.Refused(
            f"{self.path} can't be used ({error.strerror}: {error.filename or self.path}): run the task as root "
            "(become: true), and check that there is room and that the file system is not read-only.",
            code="store_permission",
            option="store",
        )


def find_store(store: str | None, choria_config: str | None) -> Store:
    """Return the store at a path, else that of a server's file, else of ``/etc/choria/server.conf``.

    Raises OptionError.
    """
    if store:
        return Store(Path(store))
    config = read_config(choria_config or SERVER_FILE, "store")
    named = config.file(KEY)
    if not named:
        raise _errors.OptionError(
            "choria_config",
            f"{config.path} sets no {KEY}: name the file of a Choria Server with autonomous agents, or give store.",
        )
    return Store(Path(named))


def _stop(error: OSError) -> None:
    raise error


def _exchange(fresh: Path, folder: Path, away: Path) -> None:
    """Exchange two folders in one step, if the system can. The old one is then ``fresh``."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        rename = None  # a C library without it
    if rename and rename(_AT_FDCWD, os.fsencode(fresh), _AT_FDCWD, os.fsencode(folder), _RENAME_EXCHANGE) == 0:
        return
    number = ctypes.get_errno()
    if rename and number not in (errno.EINVAL, errno.ENOSYS, errno.EXDEV):
        raise OSError(number, os.strerror(number), str(folder))
    # A file system without it. A server that looks just now ends the machine, and starts it again in ten seconds
    folder.rename(away)
    fresh.rename(folder)
    away.rename(fresh)
