# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A folder whose files are the values of keys: map names, read files, and write them whole.

A key without its prefix is its file's path, with ``separator`` for slashes. Links are never followed out of the
folder, and only regular files are read or removed.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ... import _errors
from ..._options import names, untrusted

if TYPE_CHECKING:
    from collections.abc import Iterator

# No nats-server takes more in one message


class Folder:
    """A folder. ``option`` is the option that names it, for errors."""

    def __init__(self, option: str, path: str, separator: str) -> None:
        self.option, self.path, self.separator = option, Path(path), separator

    # Files to keys

    def read(self, prefix: str) -> dict[str, tuple[Path, bytes]]:
        """Return path and content of all files, by their keys without prefix. Raises OptionError, Refused."""
        if not self.path.is_dir():
            raise _errors.OptionError(self.option, f"{self.path} is not a folder on this host: check the path.")
        found: dict[str, Path] = {}
        for relative, regular in self._walk():
            path = self.path / relative
            if not regular:
                raise _errors.OptionError(
                    self.option, f"{path} is neither a file nor a folder, or links to a folder: move it."
                )
            name = self._name(relative)
            try:
                names.EXISTING_KEY.to_wire(f"{prefix}{name}")
            except ValueError as error:
                raise _errors.OptionError(self.option, f"{path} can't be a key: {error}.") from error
            if name in found:
                raise _errors.OptionError(
                    self.option, f"{found[name]} and {path} are both the key {prefix}{name}: rename one."
                )
            found[name] = path
        return {name: (path, self._content(path)) for name, path in found.items()}

    def _content(self, path: Path) -> bytes:
        with self._access(path, "read"):
            return untrusted.read_bytes(path)

    def _name(self, relative: str) -> str:
        return relative.replace("/", self.separator)

    def _walk(self) -> Iterator[tuple[str, bool]]:
        """Yield the paths of all that is no folder, and True for a file or a link to one."""

        def stop(error: OSError) -> None:
            raise self._refused(Path(error.filename), "read", error)

        for folder, folders, files in os.walk(self.path, onerror=stop):
            inside = Path(folder).relative_to(self.path)
            folders.sort()
            links = [name for name in folders if (Path(folder) / name).is_symlink()]
            for name in sorted([*files, *links]):
                yield str(inside / name), name not in links and (Path(folder) / name).is_file()

    # Keys to files

    def relative(self, name: str) -> str:
        """Return the path of a key's file. Raises ValueError with the reason if there can be none."""
        parts = name.split(self.separator)
        if self.separator != "/" and "/" in name:
            raise ValueError("it holds a slash: set separator to /")
        if any(part in ("", ".", "..") for part in parts):
            raise ValueError("a part of it is empty or made of dots")
        if any(len(part.encode()) > 255 for part in parts):
            raise ValueError("a part of it is longer than the name of a file may be")
        if any(ord(sign) < 32 for sign in name):
            raise ValueError("it holds a control character")
        return "/".join(parts)

    def own_files(self, prefix: str) -> dict[str, str]:
        """Return the regular files that keys may have written: key's name to path."""
        found = {}
        for relative, _regular in self._walk() if self.path.is_dir() else ():
            name = self._name(relative)
            try:
                names.EXISTING_KEY.to_wire(f"{prefix}{name}")
                own = self.relative(name) == relative
            except ValueError:
                continue
            if own and not (self.path / relative).is_symlink() and (self.path / relative).is_file():
                found[name] = relative
        return found

    def current(self, relative: str) -> bytes | None:
        """Return the content of a file, or None for no file, a link, or more than a value holds."""
        path = self.path / relative
        with self._access(path, "read"):
            if path.is_symlink() or not path.is_file() or path.stat().st_size > untrusted.MOST_BYTES:
                return None
            return untrusted.read_bytes(path)

    def check_free(self, relative: str, removed: set[str]) -> None:
        """Raise Refused if a file can't be written after those in ``removed`` are gone."""
        parts = Path(relative).parts
        for depth in range(len(parts)):
            above = self.path.joinpath(*parts[:depth])
            gone = str(Path(*parts[:depth])) in removed
            if depth and (above.is_symlink() or (above.exists() and not above.is_dir())) and not gone:
                raise _errors.Refused(f"{self.option}: {above} is no folder, and {relative} has to go there: move it.")
        path = self.path / relative
        if path.is_dir() and not path.is_symlink():
            inside = [
                str(file.relative_to(self.path)) for file in path.rglob("*") if file.is_symlink() or not file.is_dir()
            ]
            if not removed.issuperset(inside) or not inside:
                raise _errors.Refused(f"{self.option}: {path} is a folder, and a file has to go there: move it.")

    def make_folders(self, relative: str) -> list[Path]:
        """Create the folders above a file, for the user alone. Return the new ones, the highest first."""
        made: list[Path] = []
        above = (self.path / relative).parent
        with self._access(above, "make"):
            missing = [folder for folder in (above, *above.parents) if not folder.exists()]
            for folder in reversed(missing):
                folder.mkdir(mode=0o700)
                made.append(folder)
        return made

    def write(self, relative: str, content: bytes) -> None:
        """Write a file whole or not at all, readable by the user alone."""
        path = self.path / relative
        temporary = ""
        with self._access(path, "write"):
            try:
                handle, temporary = tempfile.mkstemp(prefix=".choria-streams-", dir=path.parent)
                with os.fdopen(handle, "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(handle)
                os.replace(temporary, path)
            finally:
                with suppress(OSError):
                    os.unlink(temporary)

    def remove(self, relative: str) -> None:
        """Remove a file, and the folders inside ours that are then empty."""
        path = self.path / relative
        with self._access(path, "remove"):
            path.unlink()
        for folder in path.parents:
            if folder == self.path:
                return
            try:
                folder.rmdir()
            except OSError:
                return  # not empty

    @contextmanager
    def _access(self, path: Path, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._refused(path, what, error) from error

    def _refused(self, path: Path, what: str, error: OSError) -> _errors.Refused:
        return _errors.Refused(
            f"{self.option}: the user {os.geteuid()} can't {what} {path} ({error.strerror}): check the path and its "
            "permissions, or set become.",
            code="file",
            option=self.option,
        )
