# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
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
from .spool import Spool, spool_path

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .journal import Journal

PRESENT, ABSENT = "present", "absent"
_PREFIX = codecs.text(r"[^\s.*>]+(\.[^\s.*>]+)*", "write words joined by dots, without spaces, * and >")
_STREAM, _SUBJECTS = "ANSIBLE_RUNS", "ansible.runs"
# What comes behind the prefix in the subjects of events
_KIND = re.compile(r"\.((?:run|play|task)_started|run_finished|included|(?:task|item)_result\..+)$")

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
                fields.Field("subject_prefix", _PREFIX),
            ),
        ),
    ),
    {"required_if": [("state", ABSENT, ("run_ids", "older_than", "servers"), True)]},
)


class _Found(NamedTuple):
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
    address = _address(given["address"]) if "address" in given else None
    result: dict[str, Any] = {"spool": str(spool.path), "journals": [], "readdressed": [], "dropped": [], "in_use": []}
    try:
        for name in spool.names():
            found = _look(spool, name)
            if found:
                _settle(found, selection, address, result, check_mode)
    except OSError as error:
        raise _errors.Refused(
            f"The journals in {spool.path} can't be changed ({error.strerror}): check the disk and the permissions.",
            code="spool",
            changed=bool(result["readdressed"] or result["dropped"]),
        ) from error
    return {"changed": bool(result["readdressed"] or result["dropped"]), **result}


def _settle(
    found: _Found,
    selection: Mapping[str, Any],
    address: Mapping[str, Any] | None,
    result: dict[str, Any],
    check_mode: bool,
) -> None:
    """Apply the task to one journal, and add it to the result."""
    row, journal = found.row, found.journal
    wanted = _selected(row, selection) and (selection["state"] == ABSENT or address is not None)
    if wanted and journal is None:
        result["in_use"].append(row["run_id"])
    if journal is None or not wanted:
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
    kind = _KIND.search(subject)
    return f"{prefix}.{kind[1]}" if kind else subject


def _selected(row: Mapping[str, Any], selection: Mapping[str, Any]) -> bool:
    if "run_ids" in selection and row["run_id"] not in selection["run_ids"]:
        return False
    if "servers" in selection and not set(selection["servers"]) & set(row["servers"]):
        return False
    return "older_than" not in selection or row["age"] > selection["older_than"] / quantities.NANOSECOND


def _look(spool: Spool, name: str) -> _Found | None:
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
        return _Found(None, {**row, "in_use": True, "readable": True})
    target = journal.target()
    readable = isinstance(target, dict)
    events = sum(1 for _event in journal.events())
    return _Found(journal, {**row, **_addressed(target), "events": events, "in_use": False, "readable": readable})


def _addressed(target: Any) -> dict[str, Any]:
    """Return the target of events for results, without values if it can't be read."""
    found = target if isinstance(target, dict) else {}
    servers = found.get("servers")
    return {
        "transport": found.get("transport"),
        "servers": [str(server) for server in servers] if isinstance(servers, list) else [],
        "stream": found.get("stream"),
        "subject_prefix": found.get("prefix"),
    }


def _address(given: Mapping[str, Any]) -> dict[str, Any]:
    return {**given, "servers": _urls("address", given["servers"])}


def _urls(option: str, servers: list[str]) -> list[str]:
    """Return the servers as the callback writes them: full URLs, without credentials."""
    try:
        return sorted(Settings.from_options({**_NOTHING, "servers": servers}.get).servers)
    except _errors.OptionError as error:
        raise _errors.OptionError(option, error.reason) from error


_NOTHING = {row.option: row.argument_extra.get("default") for row in connection.CONNECTION}
