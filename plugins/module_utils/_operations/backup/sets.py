# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sets of backups: a file beside their folders that names one backup of each stream."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, TypeVar

from ... import _errors
from ..._fsync import sync_folder, write_whole
from ..._options import names, untrusted
from . import on_disk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from .on_disk import Backup

_NAME, _SUFFIX = "set", ".json"
VERSION = 1
Item = TypeVar("Item")
Done = TypeVar("Done")


def matching(patterns: Sequence[str], streams: Iterable[str]) -> list[str]:
    """Return the streams that any shell pattern matches, sorted."""
    return sorted(name for name in streams if any(fnmatchcase(name, pattern) for pattern in patterns))


def in_turn(work: Callable[[Item], Done], items: Iterable[Item], has_changed: Callable[[Done], bool]) -> list[Done]:
    """Return what ``work`` returns for each item. Its error reports a change if an item before it has changed."""
    done: list[Done] = []
    for item in items:
        try:
            done.append(work(item))
        except _errors.StreamsError as error:
            if any(map(has_changed, done)):
                error.result["changed"] = True
            raise
    return done


def is_set(path: Path) -> bool:
    """Return True if the path is a file, as sets are."""
    return path.is_file()


def read(path: Path) -> dict[str, Backup]:
    """Return the backups of a set by their streams. Raises Refused if one is missing or was replaced."""
    members = {}
    for stream, one in _content(path)["backups"].items():
        backup = on_disk.read(path.parent / one["path"])
        if backup.stream != stream or backup.described()["sha256"] != one["sha256"]:
            raise on_disk.broken(path, f"{one['path']} is another backup than the one that it names")
        members[stream] = backup
    return members


def described(path: Path) -> dict[str, Any]:
    """Return the set as results show it."""
    shown: dict[str, Any] = {"path": str(path), "created": None, "streams": [], "verified": False, "problem": None}
    try:
        content = _content(path)
        shown.update(created=content["created"], streams=sorted(content["backups"]))
        problems = [problem for one in read(path).values() if (problem := one.problem())]
    except _errors.Refused as error:
        return {**shown, "problem": error.message}
    return {**shown, "verified": not problems, "problem": problems[0] if problems else None}


def listed(folder: Path) -> list[Path]:
    """Return the sets of a folder, the newest first."""
    return sorted(folder.glob(f"{_NAME}-*{_SUFFIX}"), reverse=True)


def write(folder: Path, members: Iterable[Backup]) -> Path:
    """Write a set. Return its path."""
    now = datetime.now(timezone.utc)
    path = on_disk.new_path(folder, _NAME, now, _SUFFIX)
    created = now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    text = json.dumps({"version": VERSION, "created": created, "backups": _members(members)}, indent=2)
    try:
        write_whole(path, text.encode())
        sync_folder(folder)
    except OSError as error:
        raise on_disk.unusable(folder, error) from error
    return path


def same(folder: Path, members: Iterable[Backup]) -> Path | None:
    """Return the newest set if it has the same backups, else None."""
    backups_of_set, newest = _members(members), next(iter(listed(folder)), None)
    try:
        return newest if newest and _content(newest)["backups"] == backups_of_set else None
    except _errors.Refused:
        return None


def without(folder: Path, removed: Iterable[Path]) -> list[Path]:
    """Return the sets that lack a backup after these are removed."""
    gone = {path.name for path in removed}
    return [path for path in listed(folder) if gone & set(_paths(path))]


def _members(members: Iterable[Backup]) -> dict[str, Any]:
    return {one.stream: {"path": one.path.name, "sha256": one.described()["sha256"]} for one in members}


def _paths(path: Path) -> Iterator[str]:
    try:
        yield from (one["path"] for one in _content(path)["backups"].values())
    except _errors.Refused:
        return


def _content(path: Path) -> dict[str, Any]:
    try:
        content = untrusted.load_object(untrusted.read_bytes(path))
    except OSError as error:
        raise on_disk.unusable(path, error) from error
    except ValueError as error:
        raise on_disk.broken(path, f"it {error}") from None
    members = content.get("backups")
    whole = (
        content.get("version") == VERSION
        and isinstance(content.get("created"), str)
        and isinstance(members, dict)
        and all(_is_member(stream, one) for stream, one in members.items())
    )
    if not whole:
        raise on_disk.broken(path, "it is not a set of backups that this release of choria.streams can read")
    return content


def _is_member(stream: str, one: Any) -> bool:
    try:
        names.STREAM_NAME.to_wire(stream)
    except ValueError:
        return False
    path = one.get("path") if isinstance(one, dict) else None
    return (
        isinstance(path, str)
        and "/" not in path
        and not path.startswith(".")
        and bool(path)
        and isinstance(one.get("sha256"), str)
    )
