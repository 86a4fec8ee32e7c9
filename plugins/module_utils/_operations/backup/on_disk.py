# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups on disk: a folder for each, in the layout of the nats CLI, with a manifest of ours.

``stream.tar.s2`` is the server's archive, ``backup.json`` has configuration and state, ``manifest.json`` has size and
SHA-256 of both. Backups of the nats CLI have no manifest, and are checked as far as possible. Since release 0.5 the
CLI names archives of nats-server 2.15 ``stream.arc.s2``. It still reads the other name, the only one in older releases.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from glob import escape
from typing import TYPE_CHECKING, Any

from ... import _errors
from ..._options import names, quantities, untrusted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from typing import BinaryIO

# Formats: files of the server's store, which contain the stream's name, or single messages (nats-server 2.15)
FILES, MESSAGES = 1, 2
# An archive is an S2 stream, whose frames are checked without decompressing them: klauspost/compress, and
# https://github.com/google/snappy/blob/main/framing_format.txt
_STREAM_HEADERS = (b"\xff\x06\x00\x00S2sTwO", b"\xff\x06\x00\x00sNaPpY")
_COMPRESSED, _UNCOMPRESSED, _RESERVED_END = 0x00, 0x01, 0x7F
_CHECKSUM = 4
# The first element of compressed data is a literal, since there is nothing yet that it could repeat
_LITERAL_LENGTHS = {60: 1, 61: 2, 62: 3, 63: 4}
_MAGIC = b"NATSARC1"
_TAR_BLOCK = 512


@dataclass(frozen=True)
class Archive:
    """An archive. ``size`` is in bytes without compression, ``format`` is FILES or MESSAGES."""

    format: int
    size: int


def inspect(path: Path) -> Archive:
    """Return the size and format of an archive. Raises ValueError with the reason if it is broken, and OSError.

    The server checks the contents of the frames when it restores them.
    """
    with untrusted.open_file(path) as file:
        start = file.read(len(_STREAM_HEADERS[0]))
        if start not in _STREAM_HEADERS:
            raise ValueError("is not a snapshot of a stream")
        length = path.stat().st_size
        kind, size = 0, 0
        while file.tell() < length:
            bytes_held, content = _frame(file, length)
            if not kind and content:
                kind = MESSAGES if content.startswith(_MAGIC) else FILES
            size += bytes_held
    if not kind:
        raise ValueError("holds nothing")
    if kind == FILES and size % _TAR_BLOCK:
        raise ValueError("was cut off")
    return Archive(kind, size)


def _frame(file: BinaryIO, length: int) -> tuple[int, bytes]:
    """Read one frame. Return its decompressed length in bytes, and some of its first bytes."""
    header = file.read(4)
    body = int.from_bytes(header[1:], "little")
    after = file.tell() + body
    if len(header) < 4 or after > length:
        raise ValueError("was cut off")
    size, content = 0, b""
    if header[0] in (_COMPRESSED, _UNCOMPRESSED):
        start = file.read(min(body, 32))
        if header[0] == _COMPRESSED:
            size, content = _block_start(start[_CHECKSUM:])
        else:
            size, content = body - _CHECKSUM, start[_CHECKSUM:]
        if size < 0:
            raise ValueError("is broken")
    elif header[0] <= _RESERVED_END:
        raise ValueError("is broken")  # an unknown frame that may not be skipped
    file.seek(after)
    return size, content


def _block_start(block: bytes) -> tuple[int, bytes]:
    """Return the decompressed length of a block, and some of its first bytes."""
    size = shift = position = 0
    while True:
        if position >= len(block) or shift > 28:
            raise ValueError("is broken")
        byte = block[position]
        size |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            break
    tag = block[position] if position < len(block) else 0
    literal = position + 1 + _LITERAL_LENGTHS.get(tag >> 2, 0)
    return size, block[literal:]


MANIFEST, CONFIG, DATA = "manifest.json", "backup.json", "stream.tar.s2"
_OTHER_DATA = "stream.arc.s2"
VERSION = 1
READ_SIZE = 1 << 20
# The fields that are read from a manifest and from a stream's configuration, by their kind
_FILE: dict[str, type] = {"size": int, "sha256": str}
_CONSUMER: dict[str, type] = {"name": str, "durable": bool, "ack_floor": int}
_NUMBERS = ("max_age", "max_msgs", "max_bytes", "max_msgs_per_subject", "max_msg_size", "max_consumers", "num_replicas")
_SWITCHES = ("allow_msg_ttl", "allow_msg_counter", "allow_msg_schedules", "sealed", "no_ack", "allow_direct")


@dataclass(frozen=True)
class Backup:
    """A folder with a backup. ``manifest`` is empty if the nats CLI made it."""

    path: Path
    config: Mapping[str, Any]
    state: Mapping[str, Any]
    manifest: Mapping[str, Any] = field(default_factory=dict)

    @property
    def stream(self) -> str:
        """The name of the stream."""
        return str(self.config["name"])

    @property
    def data(self) -> Path:
        """The archive."""
        other = self.path / _OTHER_DATA
        return other if not self.manifest and other.exists() else self.path / DATA

    @property
    def created(self) -> str:
        """The time as RFC 3339 text, or an empty text for a backup of the nats CLI."""
        return str(self.manifest.get("created", ""))

    @property
    def format(self) -> int:
        """FILES or MESSAGES."""
        return int(self.manifest.get("format") or inspect(self.data).format)

    def problem(self) -> str:
        """Return why the backup is broken, or an empty text. It reads the whole backup."""
        try:
            for name, expected in self.manifest.get("files", {}).items():
                facts = file_facts(self.path / name)
                if facts["size"] != expected["size"]:
                    return f"{name} has {facts['size']} bytes, and {expected['size']} were written"
                if facts["sha256"] != expected["sha256"]:
                    return f"{name} was changed since it was written, its SHA-256 is another"
            if not self.manifest:
                inspect(self.data)
        except ValueError as error:
            return f"{self.data.name} {error}"
        except OSError as error:
            return f"{error.filename or self.path}: {error.strerror}"
        return ""

    def described(self, problem: str = "") -> dict[str, Any]:
        """Return the backup as results show it."""
        consumers = self.manifest.get("consumers")
        return {
            "path": str(self.path),
            "stream": self.stream,
            "bucket": self.stream.removeprefix(names.BUCKET_PREFIX)
            if self.stream.startswith(names.BUCKET_PREFIX)
            else None,
            "created": self.created or None,
            "size": self.data.stat().st_size if self.data.exists() else None,
            "sha256": self.manifest.get("files", {}).get(DATA, {}).get("sha256"),
            "messages": int(self.state.get("messages", 0)),
            "first_seq": int(self.state.get("first_seq", 0)),
            "last_seq": int(self.state.get("last_seq", 0)),
            "consumers": None if consumers is None else [one["name"] for one in consumers],
            "server_version": self.manifest.get("server", {}).get("version"),
            "verified": not problem,
            "problem": problem or None,
        }


def read(path: Path) -> Backup:
    """Return the backup in a folder. Raises Refused if there is none, or its two descriptions contradict."""
    described = _json(path / CONFIG)
    config, state = described.get("config"), described.get("state")
    if not isinstance(config, dict) or not isinstance(state, dict) or not _is_stream(config, state):
        raise broken(path, f"{CONFIG} does not hold the configuration and the state of a stream")
    there = [name for name in (DATA, _OTHER_DATA) if (path / name).is_file()]
    if len(there) > 1:
        raise broken(path, f"it holds both {DATA} and {_OTHER_DATA}, and only one of them can belong to {CONFIG}")
    manifest = {}
    if (path / MANIFEST).exists():
        manifest = _json(path / MANIFEST)
        if manifest.get("version") != VERSION or not _whole(manifest):
            raise broken(path, f"{MANIFEST} is not one that this release of choria.streams can read")
        if manifest["config"] != config or manifest["state"] != state:
            raise broken(path, f"{CONFIG} and {MANIFEST} contradict each other")
    if not there or (manifest and there != [DATA]):
        raise broken(path, f"{DATA} is missing")
    return Backup(path, config, state, manifest)


def listed(folder: Path, stream: str = "", mark: str = MANIFEST) -> Iterator[tuple[Path, Backup | _errors.Refused]]:
    """Yield our backups in a folder, or those of one stream, the newest first. A broken one yields its error.

    Folders without the file ``mark`` are ignored. Backups of ``nats account backup`` have no manifest.
    """
    try:
        entries = sorted((entry.name for entry in folder.iterdir() if _is_there(entry / mark)), reverse=True)
    except FileNotFoundError:
        return
    except OSError as error:
        raise unusable(folder, error) from error
    backups = [one for one in (_ours(folder / name, stream) for name in entries if not name.startswith(".")) if one]
    yield from sorted(backups, key=lambda one: one[0].name.rpartition("-")[2], reverse=True)


def of_account(folder: Path, stream: str = "") -> Iterator[tuple[Path, Backup | _errors.Refused]]:
    """Yield the backups that ``nats account backup`` made in a folder, each in a folder of its stream's name."""
    for path, one in listed(folder, "", CONFIG):
        named = one.stream == path.name if isinstance(one, Backup) else not _is_there(path / MANIFEST)
        if named and stream in ("", path.name) and not (isinstance(one, Backup) and one.manifest):
            yield path, one


def _is_there(path: Path) -> bool:
    """Return True if the file exists, or can't be read, which makes the backup a broken one."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def _ours(path: Path, stream: str) -> tuple[Path, Backup | _errors.Refused] | None:
    if stream and path.name.rpartition("-")[0] != stream:
        return None
    try:
        backup = read(path)
    except _errors.Refused as error:
        return path, error
    return None if stream and backup.stream != stream else (path, backup)


def new_path(folder: Path, name: str, now: datetime, suffix: str = "") -> Path:
    """Return the path of a new backup or set. By its name it is the newest, also after the clock was set back."""
    for entry in folder.glob(f"{escape(name)}-*{suffix}"):
        with suppress(ValueError, OverflowError):
            there = datetime.strptime(entry.name[len(name) :], f"-%Y%m%dT%H%M%S.%fZ{suffix}")
            now = max(now, there.replace(tzinfo=timezone.utc) + timedelta(milliseconds=1))
    return folder / f"{name}-{now:%Y%m%dT%H%M%S}.{now.microsecond // 1000:03d}Z{suffix}"


def file_facts(path: Path) -> dict[str, Any]:
    """Return size in bytes and SHA-256 of a file. Raises OSError."""
    digest = hashlib.sha256()
    size = 0
    with untrusted.open_file(path) as file:
        while block := file.read(READ_SIZE):
            digest.update(block)
            size += len(block)
    return {"size": size, "sha256": digest.hexdigest()}


def chunks(path: Path, size: int) -> Iterator[bytes]:
    """Yield the content of a file in pieces of ``size`` bytes."""
    with untrusted.open_file(path) as file:
        while block := file.read(size):
            yield block


def broken(path: Path, why: str) -> _errors.Refused:
    """Return the error of a broken backup."""
    return _errors.Refused(
        f"path: {path} can't be used, {why}: nothing was sent, take another backup.",
        code="broken_backup",
        option="path",
    )


def unusable(path: Path, error: OSError) -> _errors.Refused:
    """Return the error of a folder that can't be read or written."""
    return _errors.Refused(
        f"path: {error.filename or path}: {error.strerror}: check that user {os.geteuid()}, as whom the task runs, may "
        "use it.",
        code="folder",
        option="path",
    )


def _whole(manifest: Mapping[str, Any]) -> bool:
    files, consumers, server = manifest.get("files"), manifest.get("consumers", ()), manifest.get("server")
    return (
        isinstance(files, dict)
        and set(files) == {CONFIG, DATA}
        and all(isinstance(one, dict) and _is(one, _FILE) for one in files.values())
        and (consumers is None or isinstance(consumers, list))
        and all(isinstance(one, dict) and _is(one, _CONSUMER) for one in consumers or ())
        and isinstance(server, dict)
        and _has(server, "version", str)
        and _is_moment(manifest.get("created"))
        and manifest.get("format") in (FILES, MESSAGES)
        and not isinstance(manifest["format"], (bool, float))
        and {"config", "state"} <= set(manifest)
    )


def _is_stream(config: Mapping[str, Any], state: Mapping[str, Any]) -> bool:
    """Return True if the values have the shape of a stream's configuration and state."""
    try:
        names.STREAM_NAME.to_wire(config.get("name"))
    except ValueError:
        return False
    return (
        isinstance(config["name"], str)
        and _is(state, dict.fromkeys(("messages", "first_seq", "last_seq"), int))
        and all(state[name] >= 0 for name in ("messages", "first_seq", "last_seq"))
        and all(_is_moment(state[name]) for name in ("first_ts", "last_ts") if state.get(name) is not None)
        and all(_has(config, name, int) for name in _NUMBERS)
        and all(_has(config, name, str) for name in ("retention", "storage", "discard", "description"))
        and all(_has(config, name, bool) for name in _SWITCHES)
        and all(_has(config, name, dict) for name in ("mirror", "metadata", "placement", "republish"))
        and _has(config, "subjects", list)
        and all(isinstance(subject, str) for subject in config.get("subjects") or ())
        and _has(config, "sources", list)
        and all(isinstance(source, dict) for source in config.get("sources") or ())
    )


def _has(values: Mapping[str, Any], name: str, kind: type) -> bool:
    """Return True if a value is of that type, or missing."""
    return values.get(name) is None or _is(values, {name: kind})


def _is(values: Mapping[str, Any], kinds: Mapping[str, type]) -> bool:
    """Return True if all of these values are present, each of its type. True and False are no numbers."""
    return all(
        isinstance(values.get(name), kind) and (kind is bool or not isinstance(values[name], bool))
        for name, kind in kinds.items()
    )


def _is_moment(text: Any) -> bool:
    try:
        return isinstance(text, str) and bool(quantities.parse_timestamp(text))
    except ValueError:
        return False


def _json(path: Path) -> dict[str, Any]:
    try:
        return untrusted.load_object(untrusted.read_bytes(path))
    except FileNotFoundError:
        raise broken(path.parent, f"there is no {path.name} in it") from None
    except OSError as error:
        raise unusable(path, error) from error
    except ValueError as error:
        raise broken(path.parent, f"{path.name} {error}") from None
