# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of an autonomous agent: those of an archive, those of the task, its definition, and its folder."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import tarfile
import tempfile
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from ... import _errors
from ..._options import formats, quantities, untrusted, values

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

# The server writes it, and it is never ours
DATA = "machine_data.json"
MANIFEST = "machine.yaml"
"""The file of a machine's definition in its folder."""
DEFINITION_MODE = 0o600
# Far above what agents need, and far below what fills a host's memory
_MOST_BYTES, _MOST_FILES = 64 << 20, 10_000
_MOST_UNPACKED = 2 * _MOST_BYTES  # with the headers
_PACKERS = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\xfd7zXZ\0": "lzma"}
_MODE = re.compile(r"0?[0-7]{3}")
_CHECKSUM = re.compile(r"(sha256|sha384|sha512):([0-9a-fA-F]+)")


@dataclass(frozen=True)
class File:
    content: bytes
    mode: int

    def __str__(self) -> str:
        return f"{self.mode:04o} {len(self.content)} bytes, SHA-256 {hashlib.sha256(self.content).hexdigest()}"


def load(text: bytes) -> Any:
    """Return a definition. Raises ValueError with the reason, LibraryMissing for YAML without PyYAML."""
    try:
        return untrusted.load_json(text)
    except ValueError:
        return formats.load_yaml(text)


def safe_path(path: str, where: str) -> str:
    """Return a normal path inside the machine's folder. Raises OptionError."""
    parts = PurePosixPath(path).parts
    try:
        untrusted.check_path(path)
    except ValueError as error:
        raise _errors.OptionError(where, f"'{quantities.shortened(path)}' {error}.") from None
    if not parts or path.startswith("/") or ".." in parts or "\\" in path or any(ord(sign) < 32 for sign in path):
        raise _errors.OptionError(
            where, f"'{path}' is not a path inside the folder of the machine: give a relative one without '..'."
        )
    return str(PurePosixPath(*parts))


def files_of(entries: Sequence[Mapping[str, Any]]) -> dict[str, File]:
    """Return the files of the option ``files`` by their paths."""
    files: dict[str, File] = {}
    for index, entry in enumerate(entries):
        where = f"files[{index}]"
        path = safe_path(entry["path"] or "", f"{where}.path")
        if path in files or PurePosixPath(path).name == DATA:
            why = f"belongs to the server ({DATA})" if path not in files else "is there twice"
            raise _errors.OptionError(f"{where}.path", f"'{path}' {why}: remove it.")
        content = _errors.checked(f"{where}.content", values.to_bytes, entry["content"], entry["encoding"])
        files[path] = File(content, _mode(entry["mode"], f"{where}.mode"))
    for index, entry in enumerate(entries):
        if any(str(above) in files for above in PurePosixPath(entry["path"]).parents):
            raise _errors.OptionError(f"files[{index}].path", f"'{entry['path']}' is below another file: move one.")
    return files


def _mode(given: Any, where: str) -> int:
    """Return the mode of a file. YAML parses 0755 as an octal number."""
    if isinstance(given, int):
        mode = given
    elif _MODE.fullmatch(str(given)):
        mode = int(str(given), 8)
    else:
        raise _errors.OptionError(where, f"'{given}' is not a mode: give octal digits as text, such as '0755'.")
    if mode & ~0o775 or not mode & stat.S_IRUSR:
        raise _errors.OptionError(
            where,
            f"{mode:04o} lets others write what runs as root, runs as somebody else, or can't be read: "
            "give a mode such as '0755' or '0644'.",
        )
    return mode


def files_in(archive: str, checksum: str) -> dict[str, File]:
    """Return the files of a tar or zip archive by their paths, without a single top folder."""
    _check_sum(archive, checksum)
    try:
        files = dict(_zip(archive) if zipfile.is_zipfile(archive) else _tar(archive))
    except _errors.StreamsError:
        raise
    except Exception as error:  # unpackers raise errors of a dozen kinds for what is broken
        raise _errors.OptionError(
            "archive", f"{archive} can't be read ({error}): give a tar or zip archive that is whole."
        ) from None
    for path in files:
        if any(str(above) in files for above in PurePosixPath(path).parents):
            raise _unusable(archive, path, "is below another file")
    tops = {PurePosixPath(path).parts[0] for path in files}
    if len(tops) == 1 and all("/" in path for path in files):
        files = {path.split("/", 1)[1]: file for path, file in files.items()}
    own = sorted(path for path in files if PurePosixPath(path).name == DATA)
    if own:
        raise _errors.OptionError(
            "archive", f"{archive} has {own[0]}, which belongs to the server: remove it from the archive."
        )
    return files


def _check_sum(archive: str, checksum: str) -> None:
    match = _CHECKSUM.fullmatch(checksum)
    if not match:
        raise _errors.OptionError("archive_checksum", f"'{checksum}' is not a checksum: give one such as sha256:0123….")
    digest = hashlib.new(match.group(1))
    try:
        with untrusted.open_file(archive) as file:
            for block in iter(lambda: file.read(1 << 20), b""):
                digest.update(block)
    except OSError as error:
        raise _errors.OptionError("archive", f"{archive} can't be read ({error.strerror}): check the path.") from error
    if digest.hexdigest() != match.group(2).lower():
        raise _errors.OptionError(
            "archive_checksum",
            f"{archive} is another file than expected: its checksum is {match.group(1)}:{digest.hexdigest()}.",
        )


def _tar(archive: str) -> Iterator[tuple[str, File]]:
    size = count = 0
    with tempfile.TemporaryFile() as file:
        _unpack(archive, file)
        with tarfile.open(fileobj=file, mode="r:") as opened:
            for member in opened:
                if member.isdir():
                    continue
                if not member.isfile():
                    raise _unusable(archive, member.name, "is not a file but a link or a device")
                size, count = size + member.size, count + 1
                _check_size(archive, size, count)
                content = opened.extractfile(member)
                yield _member(archive, member.name, content.read() if content else b"", member.mode)
            # The library takes a header that it can't read for the end
            file.seek(opened.offset)
            rest = file.read()
            if len(rest) < tarfile.BLOCKSIZE or rest.strip(b"\0"):
                raise tarfile.ReadError("it ends in the middle, or was changed")


def _unpack(archive: str, file: Any) -> None:
    """Write the tar without its compression. All of it is read, so that the checksums of the packer are checked."""
    size = 0
    with untrusted.open_file(archive) as packed:
        start = packed.read(6)
        packed.seek(0)
        packer = next((name for magic, name in _PACKERS.items() if start.startswith(magic)), None)
        # A Python may have been built without one of them
        with import_module(packer).open(packed) if packer else packed as source:
            while block := source.read(1 << 20):
                size += len(block)
                if size > _MOST_UNPACKED:
                    raise _too_large(archive)
                file.write(block)
    file.seek(0)


def _zip(archive: str) -> Iterator[tuple[str, File]]:
    size = count = 0
    with zipfile.ZipFile(archive) as opened:
        for member in opened.infolist():
            mode = member.external_attr >> 16
            if member.is_dir():
                continue
            if mode and not stat.S_ISREG(mode) and stat.S_IFMT(mode):
                raise _unusable(archive, member.filename, "is not a file but a link or a device")
            size, count = size + member.file_size, count + 1
            _check_size(archive, size, count)
            yield _member(archive, member.filename, opened.read(member), mode)


def _member(archive: str, name: str, content: bytes, mode: int) -> tuple[str, File]:
    """Return a file of an archive. Only the execute permissions of its mode are used."""
    try:
        path = safe_path(name, "archive")
    except _errors.OptionError as error:
        raise _unusable(archive, name, "would be outside of the machine's folder") from error
    return path, File(content, 0o755 if mode & 0o111 else 0o644)


def _check_size(archive: str, size: int, count: int) -> None:
    if size > _MOST_BYTES or count > _MOST_FILES:
        raise _too_large(archive)


def _too_large(archive: str) -> _errors.OptionError:
    return _errors.OptionError(
        "archive", f"{archive} has more than {_MOST_BYTES >> 20} MiB or {_MOST_FILES} files: bring them by other means."
    )


def _unusable(archive: str, name: str, why: str) -> _errors.OptionError:
    return _errors.OptionError(
        "archive", f"'{name}' in {archive} {why}: make the archive of plain files with relative paths."
    )


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
        files, user = ((folder / path, file) for path, file in self.files.items()), os.geteuid()
        return all(read_file(path) == file and path.lstat().st_uid == user for path, file in files)

    def surplus(self, folder: Path) -> list[str]:
        """Return the other files in a folder, without the server's data."""
        return [path for path in walk(folder) if path not in self.files and path != DATA]

    def write(self, folder: Path) -> None:
        """Create a folder with this content. Raises OSError."""
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
        inodes: dict[str, int] = {}
        linked = linked or {}
        for path in walk(before):
            if path in self.files or (self.exact and path != DATA):
                continue
            source, target = before / path, after / path
            with suppress(FileNotFoundError, NotADirectoryError, FileExistsError):
                inodes[path] = source.lstat().st_ino
                if linked.get(path) == inodes[path]:
                    continue
                if path in linked and target.lstat().st_ino == linked[path]:
                    source.replace(target)
                    continue
                target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                if stat.S_ISDIR(source.lstat().st_mode):
                    target.mkdir(mode=0o700)
                    continue
                os.link(source, target, follow_symlinks=False)
        return inodes

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


def _listing(files: Mapping[str, File]) -> str:
    return "".join(f"{path}: {files[path]}\n" for path in sorted(files) if path != MANIFEST)
