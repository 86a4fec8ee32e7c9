# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The desired values of keys, from a dict or from a folder. Large values are loaded each time that they are needed.

The files of a folder are the values of keys: a key without its prefix is its file's path, with ``separator`` for
slashes. Links are never followed out of the folder, and only regular files are read or removed.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ... import _errors
from ..._api.kv import kv
from ..._fsync import check_writable, write_whole
from ..._options import names, untrusted, values

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


class Folder:
    """A folder. ``option`` is the option that names it, for errors."""

    def __init__(self, option: str, path: str, separator: str) -> None:
        self.option, self.path, self.separator = option, Path(path), separator

    # Files to keys

    def files(self, prefix: str) -> dict[str, Path]:
        """Return the paths of all files, by their keys without prefix. Raises OptionError, Refused."""
        if not self.path.is_dir():
            raise _errors.OptionError(self.option, f"{self.path} is not a folder on this host: check the path.")
        paths: dict[str, Path] = {}
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
            if name in paths:
                raise _errors.OptionError(
                    self.option, f"{paths[name]} and {path} are both the key {prefix}{name}: rename one."
                )
            paths[name] = path
        return paths

    def content(self, path: Path) -> bytes:
        """Return the content of a file. Raises Refused."""
        with self._access(path, "read"):
            return untrusted.read_bytes(path)

    def _name(self, relative: str) -> str:
        return relative.replace("/", self.separator)

    def _walk(self) -> Iterator[tuple[str, bool]]:
        """Yield the paths of all that is not a folder, and True for a file or a link to one."""

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

    def check(self) -> None:
        """Raise OptionError if there is no folder, and none can be made."""
        path = self.path.absolute()
        there = next(one for one in (path, *path.parents) if one.exists())
        if not there.is_dir():
            raise _errors.OptionError(self.option, f"{there} is not a folder: give the path of one, or of none yet.")

    def own_files(self, prefix: str) -> dict[str, str]:
        """Return the regular files that keys may have written: key's name to path."""
        paths = {}
        for relative, _regular in self._walk() if self.path.is_dir() else ():
            name = self._name(relative)
            try:
                names.EXISTING_KEY.to_wire(f"{prefix}{name}")
                own = self.relative(name) == relative
            except ValueError:
                continue
            if own and not (self.path / relative).is_symlink() and (self.path / relative).is_file():
                paths[name] = relative
        return paths

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
                raise _errors.Refused(f"{self.option}: {above} is not a folder, but {relative} must be in it: move it.")
        path = self.path / relative
        if path.is_dir() and not path.is_symlink():
            inside = [
                str(file.relative_to(self.path)) for file in path.rglob("*") if file.is_symlink() or not file.is_dir()
            ]
            if not removed.issuperset(inside) or not inside:
                raise _errors.Refused(f"{self.option}: {path} is a folder, but it must be a file: move it.")

    def check_allowed(self, relative: str, what: str) -> None:
        """Raise Refused if the user may not ``write`` or ``remove`` a file. A missing folder of ours is not checked."""
        path = self.path / relative
        with self._access(path, what):
            check_writable(path, self.path)

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
        with self._access(path, "write"):
            write_whole(path, content)

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


# The bytes up to which values stay in memory
SMALL = 1024


class Desired:
    """The desired values by their keys, in the order in which they were added.

    ``encoding`` is that of most values. ``where`` returns the option, and the part of it, that has the value of a key.
    """

    def __init__(self, encoding: str, where: Callable[[str], str]) -> None:
        self.where = where
        self._encoding = encoding
        self._contents: dict[str, bytes | None] = {}
        self._large: dict[str, tuple[int, Callable[..., bytes], tuple[Any, ...]]] = {}
        self._others: dict[str, str] = {}  # the encodings of values that have another one

    def __len__(self) -> int:
        return len(self._contents)

    def __iter__(self) -> Iterator[str]:
        return iter(self._contents)

    def __contains__(self, key: str) -> bool:
        return key in self._contents

    def add(self, key: str, encoding: str, load: Callable[..., bytes], *given: Any) -> None:
        """Add a key, whose value is ``load(*given)`` each time that it is needed. Raises the errors of ``load``."""
        content = load(*given)
        if len(content) <= SMALL:
            self._contents[key] = content
        else:
            self._contents[key], self._large[key] = None, (len(content), load, given)
        if encoding != self._encoding:
            self._others[key] = encoding

    def content(self, key: str) -> bytes:
        """Return the bytes to store. Large ones are loaded again, which raises the errors of that."""
        content = self._contents[key]
        if content is None:
            _size, load, given = self._large[key]
            return load(*given)
        return content

    def size(self, key: str) -> int:
        """Return how many bytes a value had when it was added."""
        content = self._contents[key]
        return self._large[key][0] if content is None else len(content)

    def encoding(self, key: str) -> str:
        """Return the encoding of a value."""
        return self._others.get(key, self._encoding)

    def has(self, entry: kv.Entry) -> bool:
        """Return True if a revision has the desired value of its key, and False for other keys."""
        key = entry.key
        if self._contents.get(key) == entry.value:
            return entry.operation == kv.PUT
        if entry.operation != kv.PUT or key not in self._contents:
            return False
        encoding = self.encoding(key)
        if encoding != values.JSON and self.size(key) != len(entry.value):
            return False
        return values.equal(entry.value, self.content(key), encoding)


def from_data(options: Mapping[str, Any], prefix: str) -> Desired:
    """Return the values of a dict, by their keys. Raises OptionError."""
    usual = options["encoding"]
    desired = Desired(usual, lambda key: f"data['{key[len(prefix) :]}']")
    for name, value in options["data"].items():
        key, encoding = f"{prefix}{name}", usual
        try:
            names.EXISTING_KEY.to_wire(key)
            if value is None and encoding != values.JSON:
                raise ValueError("is null: give '' for an empty value, or leave the key out")
            if encoding == values.TEXT and not isinstance(value, str) and isinstance(value, (dict, list)):
                encoding = values.JSON
            desired.add(key, encoding, values.to_bytes, value, encoding)
        except ValueError as error:
            raise _errors.OptionError(desired.where(key), f"{error}.") from None
    return desired


def from_folder(options: Mapping[str, Any], prefix: str) -> Desired:
    """Return the contents of the files of a folder, by their keys. Raises OptionError, Refused."""
    folder = Folder("src", options["src"], options["separator"])
    paths = folder.files(prefix)
    desired = Desired(values.TEXT, lambda key: f"src: {paths[key[len(prefix) :]]}")
    for name, path in paths.items():
        desired.add(f"{prefix}{name}", values.TEXT, folder.content, path)
    return desired
