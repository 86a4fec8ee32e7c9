# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write a dict or a folder to the keys below a prefix of a bucket.

Present keys are read together, and differences are written in one pipeline. Each write depends on the revision that was
read: a key that somebody else changed in between is not overwritten, but read and decided on again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ... import _errors
from ..._api.kv import kv, kv_write
from ..._api.kv.kv_snapshot import snapshot
from ..._options import fields, names, quantities, values
from ..._options.mask import Mask
from ..._resources import resource
from ..._resources.kv.entry_table import LIFETIME, check_limits
from .folder import Folder
from .report import CREATE, DELETE, PURGE, UPDATE, Report, Side

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ..._connection import sessions

_TRIES = 3
_NAMED = 10
# More than the headers of a write have, in bytes
_HEADERS = 256


class Wanted(NamedTuple):
    """The desired value of a key. ``where`` names the option, and the part of it, for errors."""

    value: bytes
    encoding: str
    where: str


class Step(NamedTuple):
    """A required write: the present key, and the request."""

    key: str
    action: str
    before: kv.Entry | None
    request: dict[str, Any]
    encoding: str


def push(
    session: sessions.Session, options: Mapping[str, Any], prefix: str, check_mode: bool, with_diff: bool
) -> dict[str, Any]:
    """Write the differences. Return the module's result."""
    wanted = _from_data(options, prefix) if options["data"] is not None else _from_folder(options, prefix)
    wire = resource.to_wire(fields.Spec((LIFETIME,)), options, session.server)
    ttl = None if options["ttl"] is None else wire.get("ttl", 0) // quantities.NANOSECOND
    bucket = kv.open_bucket(session, options["bucket"])[0]
    if options["prune"]:
        found = snapshot(session, bucket, prefix)
        _check_emptied(found, wanted, options, prefix)
    else:
        found = kv.last_many(session, bucket, list(wanted))
    report, revision = Report(Mask(options["mask"]), with_diff), bucket.last_sequence
    for _try in range(_TRIES):
        steps = list(_steps(found, wanted, ttl, options))
        try:
            _check(session, bucket, steps, wanted)
        except _errors.StreamsError as error:
            report.incomplete(error)
            raise
        if check_mode:
            for step in steps:
                _tell(report, bucket, step, None)
        late = [] if check_mode else _write(session, bucket, steps, found, report)
        if not late:
            revision = max([revision, *(change["revision"] or 0 for change in report.changes)])
            return report.result(len(wanted), revision)
        again = kv.last_from_leader(session, bucket, late)
        for key in late:
            found.pop(key, None)
        found.update(again)
    raise report.incomplete(
        _errors.Overtaken(
            f"Others changed {_few(late)} of bucket {bucket.name} each of {_TRIES} times before they could be written, "
            "so they were left alone: run it again when the others are done.",
            overtaken_keys=late,
        )
    )


# What is wanted


def _from_data(options: Mapping[str, Any], prefix: str) -> dict[str, Wanted]:
    wanted: dict[str, Wanted] = {}
    for name, value in options["data"].items():
        where, key = f"data['{name}']", f"{prefix}{name}"
        try:
            names.EXISTING_KEY.to_wire(key)
            encoding = options["encoding"]
            if value is None and encoding != values.JSON:
                raise ValueError("is null: give '' for an empty value, or leave the key out")
            if encoding == values.TEXT and isinstance(value, (dict, list)):
                encoding = values.JSON
            wanted[key] = Wanted(values.to_bytes(value, encoding), encoding, where)
        except ValueError as error:
            raise _errors.OptionError(where, f"{error}.") from None
    return wanted


def _from_folder(options: Mapping[str, Any], prefix: str) -> dict[str, Wanted]:
    folder = Folder("src", options["src"], options["separator"])
    return {
        f"{prefix}{name}": Wanted(content, values.TEXT, f"src: {path}")
        for name, (path, content) in folder.read(prefix).items()
    }


def _check_emptied(
    found: Mapping[str, kv.Entry], wanted: Mapping[str, Wanted], options: Mapping[str, Any], prefix: str
) -> None:
    alive = sum(1 for entry in found.values() if entry.alive)
    if wanted or not alive or options["allow_data_loss"]:
        return
    source = "data" if options["data"] is not None else "src"
    raise _errors.Refused(
        f"prune: {source} holds nothing, so that all {alive} keys {f'below {prefix} ' if prefix else ''}of bucket "
        f"{options['bucket']} would be removed: check {source}, or set allow_data_loss: true where that is meant.",
        code="data_loss",
        option="allow_data_loss",
    )


# What has to be written


def _steps(
    found: Mapping[str, kv.Entry], wanted: Mapping[str, Wanted], ttl: int | None, options: Mapping[str, Any]
) -> Iterator[Step]:
    for key, want in wanted.items():
        entry = found.get(key)
        alive = entry is not None and entry.alive
        same_lifetime = entry is not None and (ttl is None or ttl == (entry.ttl or 0))
        if entry and alive and same_lifetime and values.equal(entry.value, want.value, want.encoding):
            continue
        if not alive:
            _check_new(key, want)
        request = {
            "operation": kv.PUT,
            "value": want.value,
            "ttl": ttl or 0,
            "expected": entry.revision if entry else 0,
        }
        yield Step(key, UPDATE if alive else CREATE, entry, request, want.encoding)
    if not options["prune"]:
        return
    operation, action = (kv.PURGED, PURGE) if options["prune_state"] == "purged" else (kv.DELETED, DELETE)
    for key, entry in found.items():
        if key not in wanted and (entry.alive or (operation == kv.PURGED and entry.operation == kv.DELETED)):
            request = {"operation": operation, "expected": entry.revision}
            yield Step(key, action, entry, request, options["encoding"])


def _check_new(key: str, want: Wanted) -> None:
    """Raise OptionError for a new key that some clients do not accept."""
    try:
        names.KEY.to_wire(key)
    except ValueError as error:
        raise _errors.OptionError(want.where, f"{error}.") from None


def _check(session: sessions.Session, bucket: kv.Bucket, steps: Sequence[Step], wanted: Mapping[str, Wanted]) -> None:
    """Raise Refused if the bucket or the server does not accept a write."""
    server = session.server
    least = min(limit for limit in (bucket.max_value_size, server.max_payload) if limit)
    for number, step in enumerate(step for step in steps if step.request["operation"] == kv.PUT):
        # The exact size is counted only where it matters, the lifetime looked at once
        if not number or len(step.request["value"]) + _HEADERS > least:
            size = kv_write.size(session, bucket, step.key, **step.request)
            check_limits(bucket, size, step.request["ttl"], server, wanted[step.key].where)


# Writing


def _write(
    session: sessions.Session, bucket: kv.Bucket, steps: Sequence[Step], found: dict[str, kv.Entry], report: Report
) -> list[str]:
    """Write, and store the new entries. Return the keys that somebody else changed meanwhile."""
    late, problems = [], []
    answers = kv_write.write_many(session, [(bucket, step.key, step.request) for step in steps])
    for step, answer in zip(steps, answers):
        if not isinstance(answer, _errors.StreamsError):
            request = step.request
            found[step.key] = kv.Entry(
                step.key, answer, "", request["operation"], request.get("value", b""), request.get("ttl") or None
            )
            _tell(report, bucket, step, answer)
        elif kv_write.overtaken(answer):
            late.append(step.key)
        else:
            problems.append(answer)
    if problems:
        more = f" {len(problems) - 1} others failed too." if len(problems) > 1 else ""
        raise report.incomplete(_errors.StreamsError(f"{problems[0].message}{more}", **problems[0].failure))
    return late


def _tell(report: Report, bucket: kv.Bucket, step: Step, revision: int | None) -> None:
    report.add(step.key, step.action, revision)
    if not report.with_diff:
        return
    before, request = step.before, step.request
    name = f"{bucket.name}/{step.key}"
    alive = before is not None and before.alive
    old = Side(
        f"{name}, revision {before.revision}" if before else name,
        before.value if before and alive else None,
        step.encoding,
        f"operation: {before.operation}\nttl: {before.ttl}\n" if before else "",
    )
    new = Side(
        f"{name}, revision {revision}" if revision else name,
        request["value"] if request["operation"] == kv.PUT else None,
        step.encoding,
        f"operation: {request['operation']}\nttl: {request.get('ttl') or None}\n",
    )
    report.add_diff(step.key, old, new)


def _few(keys: Sequence[str]) -> str:
    more = f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else ""
    return f"{'key' if len(keys) == 1 else 'the keys'} {', '.join(keys[:_NAMED])}{more}"
