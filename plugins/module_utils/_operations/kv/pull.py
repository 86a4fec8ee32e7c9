# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the keys below a prefix of a bucket to the files of a folder, as of one moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ... import _errors
from ..._api.kv import kv
from ..._api.kv.kv_snapshot import snapshot
from ..._options import values
from ..._options.mask import Mask
from .folder import Folder
from .report import ATTRIBUTES, CREATE, DELETE, UPDATE, Report, Side

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from ..._connection import sessions

    Settle = Callable[[str, Any], bool]


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
    if folder.path.exists() and not folder.path.is_dir():
        raise _errors.OptionError("dest", f"{folder.path} is no folder: give the path of one, or of none yet.")
    bucket = kv.open_bucket(session, options["bucket"])[0]
    found = snapshot(session, bucket, prefix)
    files = _files(folder, {key: entry for key, entry in found.items() if entry.alive}, prefix)
    removed = {}
    if options["prune"]:
        removed = {name: path for name, path in folder.own_files(prefix).items() if path not in files}
        _check_emptied(folder, files, removed, options)
    for relative in files:
        folder.check_free(relative, set(removed.values()))
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
            _bring(folder, relative, entry, report, options, check_mode, settle)
    except _errors.StreamsError as error:
        report.incomplete(error)
        raise
    revision = max([bucket.last_sequence, *(entry.revision for entry in found.values())])
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


def _bring(
    folder: Folder,
    relative: str,
    entry: kv.Entry,
    report: Report,
    options: Mapping[str, Any],
    check_mode: bool,
    settle: Settle,
) -> None:
    """Write the value of a key to its file, with owner and mode."""
    path = folder.path / relative
    old = folder.current(relative)
    same = old == entry.value
    if not check_mode and not same:
        for made in folder.make_folders(relative):
            report.touched = True
            settle(str(made), options["directory_mode"])
        folder.write(relative, entry.value)
    try:
        settled = settle(str(path), options["mode"]) if same or not check_mode else False
    except _errors.StreamsError:
        if not same:
            _tell(report, entry, path, old)
        raise
    if settled or not same:
        _tell(report, entry, path, old)


def _tell(report: Report, entry: kv.Entry, path: Path, old: bytes | None) -> None:
    same = old == entry.value
    action = ATTRIBUTES if same else UPDATE if old is not None else CREATE
    report.add(entry.key, action, entry.revision, file=str(path))
    before = Side(str(path), old, values.TEXT, "owner or mode: others\n")
    after = Side(f"{entry.key}, revision {entry.revision}", entry.value, values.TEXT, "owner or mode: as wanted\n")
    report.add_diff(entry.key, before, after)
