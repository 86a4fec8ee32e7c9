# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Report, re-address and remove the journals of the callback choria_results."""

from __future__ import annotations

import os
import re
import stat
import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NamedTuple

from ... import _errors
from ..._connection.settings import Settings
from ..._options import codecs, composite, connection, fields, names, quantities
from .journal import SUFFIX
from .kinds import ITEM_RESULT, KINDS, TASK_RESULT
from .spool import Spool, spool_path

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .journal import Journal

PRESENT, ABSENT = "present", "absent"
_STREAM, _SUBJECTS = "ANSIBLE_RUNS", "ansible.runs"
_WORDS = "|".join(rf"{kind}\..+" if kind in (TASK_RESULT, ITEM_RESULT) else kind for kind in KINDS)
_BEHIND_PREFIX = re.compile(rf"\.({_WORDS})$")

SPEC = fields.Spec(
    (
        fields.Field("spool", codecs.Codec({"type": "path"})),
        fields.Field("state", codecs.choice(PRESENT, ABSENT), argument_extra={"default": PRESENT}),
        fields.Field("run_ids", codecs.names()),
        fields.Field("older_than", codecs.duration()),
        fields.Field("servers", codecs.names()),
        fields.Field(
            "address",
            composite.obj(
                fields.Field("servers", codecs.names(), argument_extra={"required": True}),
                fields.Field("stream", names.STREAM_NAME),
                fields.Field("subject_prefix", names.SUBJECT_PREFIX),
            ),
        ),
    ),
    {"required_if": [("state", ABSENT, ("run_ids", "older_than", "servers"), True)]},
)


class _Entry(NamedTuple):
    """A journal and its report. It can be changed if ``journal`` is set."""

    journal: Journal | None
    row: dict[str, Any]


def act(options: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Return the whole result of choria_results_journal."""
    given = fields.checked(SPEC, options.get)
    if given["state"] == ABSENT and "address" in given:
        raise _errors.OptionError("address", "means nothing with state: absent, which drops journals.")
    spool = Spool(spool_path(given.get("spool")), 0)
    selection = {**given, "servers": _urls("servers", given["servers"])} if "servers" in given else given
    address = (
        {**given["address"], "servers": _urls("address", given["address"]["servers"])} if "address" in given else None
    )
    result: dict[str, Any] = {"spool": str(spool.path), "journals": [], "readdressed": [], "dropped": [], "in_use": []}
    try:
        for name in spool.names():
            entry = _read_entry(spool, name)
            if entry:
                _settle(entry, selection, address, result, check_mode)
    except OSError as error:
        raise _errors.Refused(
            f"The journals in {spool.path} can't be changed ({error.strerror}): check the disk and the permissions.",
            code="spool",
            changed=bool(result["readdressed"] or result["dropped"]),
        ) from error
    return {"changed": bool(result["readdressed"] or result["dropped"]), **result}


def _settle(
    entry: _Entry,
    selection: Mapping[str, Any],
    address: Mapping[str, Any] | None,
    result: dict[str, Any],
    check_mode: bool,
) -> None:
    """Apply the task to one journal, and add it to the result."""
    row, journal = entry.row, entry.journal
    chosen = _selected(row, selection) and (selection["state"] == ABSENT or address is not None)
    if chosen and journal is None:
        result["in_use"].append(row["run_id"])
    if journal is None or not chosen:
        result["journals"].append(row)
    elif selection["state"] == ABSENT:
        result["dropped"].append(row["run_id"])
        if not check_mode:
            journal.remove()
            return
    else:
        _readdress(journal, row, address or {}, result, check_mode)
    if journal:
        journal.close()


def _readdress(
    journal: Journal, row: dict[str, Any], address: Mapping[str, Any], result: dict[str, Any], check_mode: bool
) -> None:
    target = {
        "transport": "direct",
        "servers": address["servers"],
        "api": connection.DEFAULT_API,
        "stream": address.get("stream") or row["stream"] or _STREAM,
        "prefix": address.get("subject_prefix") or row["subject_prefix"] or _SUBJECTS,
    }
    row_after = {**row, **_addressed(target)}
    if row_after != row:
        result["readdressed"].append(row["run_id"])
        if not check_mode:
            prefix = target["prefix"]
            journal.rewrite(target, lambda subject: _with_prefix(prefix, subject))
    result["journals"].append(row_after)


def _with_prefix(prefix: str, subject: str) -> str:
    behind = _BEHIND_PREFIX.search(subject)
    return f"{prefix}.{behind[1]}" if behind else subject


def _selected(row: Mapping[str, Any], selection: Mapping[str, Any]) -> bool:
    if "run_ids" in selection and row["run_id"] not in selection["run_ids"]:
        return False
    if "servers" in selection and not set(selection["servers"]) & set(row["servers"]):
        return False
    return "older_than" not in selection or row["age"] > selection["older_than"] / quantities.NANOSECOND


def _read_entry(spool: Spool, name: str) -> _Entry | None:
    """Return a journal and its content, or None if it is gone or no file."""
    try:
        status = os.stat(spool.path / name, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    moment, _dash, run_id = name.removesuffix(SUFFIX).partition("-")
    began = (
        int(moment) / quantities.NANOSECOND
        if moment.isascii() and moment.isdigit() and len(moment) < 20
        else status.st_mtime
    )
    row = {
        "file": str(spool.path / name),
        "run_id": run_id,
        "created": datetime.fromtimestamp(began, timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "age": round(max(0.0, time.time() - began), 3),
        "bytes": status.st_size,
        "events": None,
        **_addressed(None),
    }
    journal = spool.adopt(name)
    if journal is None:
        return _Entry(None, {**row, "in_use": True, "readable": True})
    target = journal.target()
    readable = isinstance(target, dict)
    events = sum(1 for _event in journal.events())
    return _Entry(journal, {**row, **_addressed(target), "events": events, "in_use": False, "readable": readable})


def _addressed(target: Any) -> dict[str, Any]:
    """Return the target of events for results, without values if it can't be read."""
    values = target if isinstance(target, dict) else {}
    servers = values.get("servers")
    return {
        "transport": values.get("transport"),
        "servers": [str(server) for server in servers] if isinstance(servers, list) else [],
        "stream": values.get("stream"),
        "subject_prefix": values.get("prefix"),
    }


def _urls(option: str, servers: list[str]) -> list[str]:
    """Return the servers as the callback writes them: full URLs, without credentials."""
    try:
        return sorted(Settings.from_options({"servers": servers}.get).servers)
    except _errors.OptionError as error:
        raise _errors.OptionError(option, error.reason) from error
