# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of an autonomous agent: those of an archive, those of the task, and its definition."""

from __future__ import annotations

import hashlib
import re
import stat
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from importlib import import_module
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from ... import _errors
from ..._options import quantities, untrusted, values

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

# The server writes it, and it is never ours
DATA = "machine_data.json"
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


def safe_path(path: str, where: str) -> str:
    """Return a normal path inside the machine's folder. Raises OptionError."""
    parts = PurePosixPath(path).parts
    try:
        untrusted.check_path(path)
    except ValueError as error:
        raise _errors.OptionError(where, f"'{quantities.shortened(path)}' {error}.") from None
    if not parts or path.startswith("/") or ".." in parts or "\\" in path or any(ord(sign) < 32 for sign in path):
        raise _errors.OptionError(
            where, f"'{path}' is no path inside the folder of the machine: give a relative one without '..'."
        )
    return str(PurePosixPath(*parts))


def files_of(entries: Sequence[Mapping[str, Any]]) -> dict[str, File]:
    """Return the files of the option ``files`` by their paths."""
    found: dict[str, File] = {}
    for index, entry in enumerate(entries):
        where = f"files[{index}]"
        path = safe_path(entry["path"] or "", f"{where}.path")
        if path in found or PurePosixPath(path).name == DATA:
            why = f"is the server's own ({DATA})" if path not in found else "is there twice"
            raise _errors.OptionError(f"{where}.path", f"'{path}' {why}: take it away.")
        try:
            content = values.to_bytes(entry["content"], entry["encoding"])
        except ValueError as error:
            raise _errors.OptionError(f"{where}.content", f"{error}.") from error
        found[path] = File(content, _mode(entry["mode"], f"{where}.mode"))
    for index, entry in enumerate(entries):
        if any(str(above) in found for above in PurePosixPath(entry["path"]).parents):
            raise _errors.OptionError(f"files[{index}].path", f"'{entry['path']}' is below another file: move one.")
    return found


def _mode(given: Any, where: str) -> int:
    """Return the mode of a file. YAML parses 0755 as an octal number."""
    if isinstance(given, int):
        mode = given
    elif _MODE.fullmatch(str(given)):
        mode = int(str(given), 8)
    else:
        raise _errors.OptionError(where, f"'{given}' is no mode: give octal digits as text, such as '0755'.")
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
        found = dict(_zip(archive) if zipfile.is_zipfile(archive) else _tar(archive))
    except _errors.StreamsError:
        raise
    except Exception as error:  # unpackers raise errors of a dozen kinds for what is broken
        raise _errors.OptionError(
            "archive", f"{archive} can't be read ({error}): give a tar or zip archive that is whole."
        ) from None
    for path in found:
        if any(str(above) in found for above in PurePosixPath(path).parents):
            raise _unusable(archive, path, "is below another file")
    tops = {PurePosixPath(path).parts[0] for path in found}
    if len(tops) == 1 and all("/" in path for path in found):
        found = {path.split("/", 1)[1]: file for path, file in found.items()}
    own = sorted(path for path in found if PurePosixPath(path).name == DATA)
    if own:
        raise _errors.OptionError("archive", f"{archive} has {own[0]}, which is the server's own: make it without.")
    return found


def _check_sum(archive: str, checksum: str) -> None:
    match = _CHECKSUM.fullmatch(checksum)
    if not match:
        raise _errors.OptionError("archive_checksum", f"'{checksum}' is no checksum: give one such as sha256:0123….")
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
            f"{archive} is not what was meant, its checksum is {match.group(1)}:{digest.hexdigest()}.",
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
                    raise _unusable(archive, member.name, "is no file but a link or a device")
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
                raise _unusable(archive, member.filename, "is no file but a link or a device")
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
        "archive",
        f"{archive} has more than {_MOST_BYTES >> 20} MiB or {_MOST_FILES} files: bring them by other means.",
    )


def _unusable(archive: str, name: str, why: str) -> _errors.OptionError:
    return _errors.OptionError(
        "archive", f"'{name}' in {archive} {why}: make the archive of plain files with relative paths."
    )
