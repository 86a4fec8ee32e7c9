# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the keys below a prefix of a bucket to the files of a folder, as of one moment."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from ... import _errors
from ..._api.kv import kv
from ..._api.kv.kv_snapshot import collect
from ..._options import values
from ..._options.mask import Mask
from .desired import SMALL, Folder
from .report import ATTRIBUTES, CREATE, DELETE, UPDATE, Report, Side

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from ..._connection import sessions

    Settle = Callable[[str, Any], bool]


class Present:
    """Collects the newest revisions of keys. Large values that their files have are not held."""

    def __init__(self, folder: Folder, prefix: str) -> None:
        self.folder, self._prefix = folder, prefix
        self.entries: dict[str, kv.Entry] = {}
        self._digests: dict[str, bytes] = {}  # of values that are not held

    def add(self, entries: Iterable[kv.Entry]) -> None:
        """Add revisions. A later one of a key replaces the one before it."""
        for entry in entries:
            self._digests.pop(entry.key, None)
            if len(entry.value) > SMALL and entry.alive and self._is_in_file(entry):
                self._digests[entry.key] = hashlib.sha256(entry.value).digest()
                self.entries[entry.key] = entry._replace(value=b"")
            else:
                self.entries[entry.key] = entry

    def clear(self) -> None:
        """Remove all keys."""
        self.entries.clear()
        self._digests.clear()

    def value(self, key: str, old: bytes | None) -> bytes:
        """Return the value of a key, whose file has the content ``old``. Raises Refused if it is not held any more."""
        digest = self._digests.get(key)
        if digest is None:
            return self.entries[key].value
        if old is None or hashlib.sha256(old).digest() != digest:
            raise _errors.Refused(
                f"The file of key {key} in {self.folder.path} was changed while the folder was compared with the "
                "bucket: run it again."
            )
        return old

    def _is_in_file(self, entry: kv.Entry) -> bool:
        try:
            relative = self.folder.relative(entry.key[len(self._prefix) :])
            return self.folder.current(relative) == entry.value
        except (ValueError, _errors.StreamsError):
            return False  # the reason is reported with that file, after all keys are read


def pull(
    session: sessions.Session,
    options: Mapping[str, Any],
    prefix: str,
    check_mode: bool,
    settle: Settle,
    with_diff: bool,
) -> dict[str, Any]:
    """Write and remove files. Return the module's result."""
    folder = Folder("dest", options["dest"], options["separator"])
    folder.check()
    bucket = kv.open_bucket(session, options["bucket"])[0]
    present = Present(folder, prefix)
    collect(session, bucket, prefix, present)
    entries = present.entries
    files = _files(folder, {key: entries[key] for key in sorted(entries) if entries[key].alive}, prefix)
    removed = {}
    if options["prune"]:
        removed = {name: path for name, path in folder.own_files(prefix).items() if path not in files}
        _check_emptied(folder, files, removed, options)
    _check_folder(present, files, set(removed.values()))
    report = Report(Mask(options["mask"]), with_diff)
    try:
        for name, relative in removed.items():
            path = str(folder.path / relative)
            before = Side(path, folder.current(relative)) if report.with_diff else None
            if not check_mode:
                folder.remove(relative)
            report.add(f"{prefix}{name}", DELETE, None, file=path)
            if before:
                report.add_diff(f"{prefix}{name}", before, Side(path, None))
        for relative, entry in files.items():
            _write(present, relative, entry, report, options, check_mode, settle)
    except _errors.StreamsError as error:
        report.incomplete(error)
        raise
    revision = max([bucket.last_sequence, *(entry.revision for entry in entries.values())])
    return report.result(len(files), revision)


def _files(folder: Folder, alive: Mapping[str, kv.Entry], prefix: str) -> dict[str, kv.Entry]:
    """Return the keys by the paths of their files. Raises Refused if two can't be files of the same folder."""
    files: dict[str, kv.Entry] = {}
    for key, entry in alive.items():
        try:
            files[folder.relative(key[len(prefix) :])] = entry
        except ValueError as error:
            raise _no_file(key, str(error)) from None
    for relative, entry in files.items():
        parts = relative.split("/")
        for depth in range(1, len(parts)):
            above = files.get("/".join(parts[:depth]))
            if above is not None:
                raise _no_file(entry.key, f"{above.key} is one, and would have to be a folder for it")
    return files


def _no_file(key: str, reason: str) -> _errors.Refused:
    return _errors.Refused(
        f"Key {key} can't be a file: {reason}. Set another separator, or pull a narrower prefix.",
        code="no_file",
        option="separator",
        key=key,
    )


def _check_emptied(
    folder: Folder, files: Mapping[str, kv.Entry], removed: Mapping[str, str], options: Mapping[str, Any]
) -> None:
    if files or not removed or options["allow_data_loss"]:
        return
    raise _errors.Refused(
        f"prune: there are no keys to pull from bucket {options['bucket']}, so that all {len(removed)} files in "
        f"{folder.path} would be removed: check bucket and prefix, or set allow_data_loss: true where that is meant.",
        code="data_loss",
        option="allow_data_loss",
    )


def _check_folder(present: Present, files: Mapping[str, kv.Entry], removed: set[str]) -> None:
    """Raise Refused if a file that is not as desired can't be written, or one can't be removed."""
    folder = present.folder
    for relative, entry in files.items():
        folder.check_free(relative, removed)
        try:
            folder.check_allowed(relative, "write")
        except _errors.Refused:
            old = folder.current(relative)
            if old != present.value(entry.key, old):
                raise
    for relative in removed:
        folder.check_allowed(relative, "remove")


def _write(
    present: Present,
    relative: str,
    entry: kv.Entry,
    report: Report,
    options: Mapping[str, Any],
    check_mode: bool,
    settle: Settle,
) -> None:
    """Write the value of a key to its file, with owner and mode."""
    folder = present.folder
    path, old = folder.path / relative, folder.current(relative)
    new = present.value(entry.key, old)
    same = old == new
    if not check_mode and not same:
        for made in folder.make_folders(relative):
            report.touched = True
            settle(str(made), options["directory_mode"])
        folder.write(relative, new)
    try:
        settled = settle(str(path), options["mode"]) if same or not check_mode else False
    except _errors.StreamsError:
        if not same:
            _report(report, entry, path, old, new)
        raise
    if settled or not same:
        _report(report, entry, path, old, new)


def _report(report: Report, entry: kv.Entry, path: Path, old: bytes | None, new: bytes) -> None:
    action = ATTRIBUTES if old == new else UPDATE if old is not None else CREATE
    report.add(entry.key, action, entry.revision, file=str(path))
    before = Side(str(path), old, values.TEXT, "owner or mode: others\n")
    after = Side(f"{entry.key}, revision {entry.revision}", new, values.TEXT, "owner or mode: as wanted\n")
    report.add_diff(entry.key, before, after)
