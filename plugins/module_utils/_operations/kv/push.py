# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write a dict or a folder to the keys below a prefix of a bucket.

Present keys are read together, and differences are written in a pipeline, or in several for many bytes. Large values
are in memory only while they are compared or written. Each write depends on the revision that was read: a key that
somebody else changed in between is not overwritten, but read and decided on again.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from ... import _errors
from ..._api.kv import kv, kv_write
from ..._api.kv.kv_snapshot import collect, collect_in_one_pass
from ..._options import fields, names, quantities
from ..._options.mask import Mask
from ..._resources import resource
from ..._resources.kv.entry_table import LIFETIME, check_limits
from .desired import SMALL, Desired, from_data, from_folder
from .report import CREATE, DELETE, PURGE, UPDATE, Report, Side

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from ..._connection import sessions

_TRIES = 3
_NAMED = 10
# More than the headers of a write have, and how much is written at a time
_HEADERS, _TOGETHER = 256, 16 << 20
# More keys than the batches of one exchange have
_MANY = 16 * kv.BATCH


class Differences:
    """Collects the keys that are not as desired, so that the others take no memory.

    ``ttl`` is the desired lifetime in seconds, or None for any. Other keys than the desired ones count with ``prune``.
    ``entries`` are the newest revisions of such keys. Their values are kept if they are small, or differences of theirs
    are shown. ``unmatched`` are the desired ones of such keys, also those without a revision. ``same`` are the keys
    that have the desired value, and another lifetime.
    """

    def __init__(self, desired: Desired, ttl: int | None, *, prune: bool, with_diff: bool) -> None:
        self._desired, self._ttl, self._prune, self._with_diff = desired, ttl, prune, with_diff
        self.entries: dict[str, kv.Entry] = {}
        self.unmatched, self.same = set(desired), set[str]()

    def add(self, entries: Iterable[kv.Entry]) -> None:
        """Add the newest revisions of keys. A later one of a key replaces the one before it."""
        desired, ttl, unmatched = self._desired, self._ttl, self.unmatched
        for entry in entries:
            same = desired.has(entry)
            if same and (ttl is None or ttl == (entry.ttl or 0)):
                unmatched.discard(entry.key)
                if self.entries:  # rarely: most keys have one revision here
                    self.settle(entry.key)
            elif self._prune or entry.key in desired:
                self.remove(entry.key)
                keep = len(entry.value) <= SMALL or (self._with_diff and not same)
                self.entries[entry.key] = entry if keep else entry._replace(value=b"")
                if same:
                    self.same.add(entry.key)

    def clear(self) -> None:
        """Remove all revisions."""
        self.entries.clear()
        self.same.clear()
        self.unmatched.update(self._desired)

    def settle(self, key: str) -> None:
        """Count a key as desired from now on."""
        self.unmatched.discard(key)
        self.entries.pop(key, None)
        self.same.discard(key)

    def remove(self, key: str) -> None:
        """Remove the revision of a key."""
        self.settle(key)
        if key in self._desired:
            self.unmatched.add(key)


class Step(NamedTuple):
    """A required write: the present key, and the request without its value. ``same``: only the rest differs."""

    key: str
    action: str
    before: kv.Entry | None
    request: dict[str, Any]
    desired: Desired | None
    encoding: str
    same: bool = False

    @property
    def size(self) -> int:
        """The size of the value in bytes."""
        return self.desired.size(self.key) if self.desired else 0

    @property
    def content(self) -> bytes | None:
        """The value, or None if the key is removed."""
        return self.desired.content(self.key) if self.desired else None

    @property
    def whole(self) -> dict[str, Any]:
        """The request with its value."""
        return {**self.request, "value": self.content} if self.desired else self.request


def push(
    session: sessions.Session, options: Mapping[str, Any], prefix: str, check_mode: bool, with_diff: bool
) -> dict[str, Any]:
    """Write the differences. Return the module's result."""
    desired = from_data(options, prefix) if options["data"] is not None else from_folder(options, prefix)
    wire = resource.to_wire(fields.Spec((LIFETIME,)), options, session.server)
    ttl = None if options["ttl"] is None else wire.get("ttl", 0) // quantities.NANOSECOND
    bucket = kv.open_bucket(session, options["bucket"])[0]
    differences = Differences(desired, ttl, prune=options["prune"], with_diff=with_diff)
    if options["prune"]:
        collect(session, bucket, prefix, differences)
        _check_emptied(differences.entries, desired, options, prefix)
    else:
        _compare(session, bucket, prefix, desired, differences)
    report, revision = Report(Mask(options["mask"]), with_diff), bucket.last_sequence
    for _try in range(_TRIES):
        steps = list(_steps(differences, desired, ttl, options))
        try:
            _check(session, bucket, steps)
            if check_mode:
                for step in steps:
                    _show(report, bucket, step, None)
            late = [] if check_mode else _write(session, bucket, steps, differences, report)
        except _errors.StreamsError as error:
            report.incomplete(error)
            raise
        if not late:
            revision = max([revision, *(change["revision"] or 0 for change in report.changes)])
            return report.result(len(desired), revision)
        for key in late:
            differences.remove(key)
        differences.add(kv.last_from_leader(session, bucket, late).values())
    raise report.incomplete(
        _errors.Overtaken(
            f"Others changed {_few(late)} of bucket {bucket.name} each of {_TRIES} times before they could be written, "
            "so they were left alone: run it again when the others are done.",
            overtaken_keys=late,
        )
    )


def _compare(
    session: sessions.Session, bucket: kv.Bucket, prefix: str, desired: Desired, differences: Differences
) -> None:
    """Add the newest revision of each desired key that has one.

    Many keys with small values are read in one pass, if there are few others in the bucket.
    """
    many = len(desired) > _MANY and len(desired) * 2 >= (bucket.size or math.inf) and bucket.mean <= SMALL
    if not many or not collect_in_one_pass(session, bucket, prefix, differences):
        differences.add(kv.newest(session, bucket, desired))


def _check_emptied(entries: Mapping[str, kv.Entry], desired: Desired, options: Mapping[str, Any], prefix: str) -> None:
    alive = sum(1 for entry in entries.values() if entry.alive)
    if desired or not alive or options["allow_data_loss"]:
        return
    source = "data" if options["data"] is not None else "src"
    raise _errors.Refused(
        f"prune: {source} holds nothing, so that all {alive} keys {f'below {prefix} ' if prefix else ''}of bucket "
        f"{options['bucket']} would be removed: check {source}, or set allow_data_loss: true where that is meant.",
        code="data_loss",
        option="allow_data_loss",
    )


# The values to write


def _steps(differences: Differences, desired: Desired, ttl: int | None, options: Mapping[str, Any]) -> Iterator[Step]:
    for key in desired if differences.unmatched else ():
        if key not in differences.unmatched:
            continue
        entry = differences.entries.get(key)
        alive = entry is not None and entry.alive
        if not alive:  # some clients accept no others
            _errors.checked(desired.where(key), names.KEY.to_wire, key)
        request = {"operation": kv.PUT, "ttl": ttl or 0, "expected": entry.revision if entry else 0}
        action, same = UPDATE if alive else CREATE, key in differences.same
        yield Step(key, action, entry, request, desired, desired.encoding(key), same)
    if not options["prune"]:
        return
    operation, action = (kv.PURGED, PURGE) if options["prune_state"] == "purged" else (kv.DELETED, DELETE)
    for key, entry in sorted(differences.entries.items()):
        if key not in desired and (entry.alive or (operation == kv.PURGED and entry.operation == kv.DELETED)):
            request = {"operation": operation, "expected": entry.revision}
            yield Step(key, action, entry, request, None, options["encoding"])


def _check(session: sessions.Session, bucket: kv.Bucket, steps: Sequence[Step]) -> None:
    """Raise Refused if the bucket or the server does not accept a write."""
    server = session.server
    least = min(limit for limit in (bucket.max_value_size, server.max_payload) if limit)
    checked = False
    for step in steps:
        # The exact size is counted only where it matters, the lifetime checked once
        if step.desired and (not checked or step.size + _HEADERS > least):
            size = step.size + kv_write.size(session, bucket, step.key, **step.request)
            check_limits(bucket, size, step.request["ttl"], server, step.desired.where(step.key))
            checked = True


# Writing


def _write(
    session: sessions.Session, bucket: kv.Bucket, steps: Sequence[Step], differences: Differences, report: Report
) -> list[str]:
    """Write, and count what was written as desired. Return the keys that somebody else changed meanwhile."""
    late = []
    for part in _parts(steps):
        problems = []
        answers = kv_write.write_many(session, [(bucket, step.key, step.whole) for step in part])
        for step, answer in zip(part, answers):
            if not isinstance(answer, _errors.StreamsError):
                differences.settle(step.key)
                _show(report, bucket, step, answer)
            elif kv_write.overtaken(answer):
                late.append(step.key)
            else:
                problems.append(answer)
        if problems:
            shown = next((each for each in problems if each.failure["code"] in _errors.WRITTEN), problems[0])
            more = f" In all, {len(problems)} writes failed." if len(problems) > 1 else ""
            raise _errors.StreamsError(f"{shown.message}{more}", **shown.failure)
    return late


def _parts(steps: Sequence[Step]) -> Iterator[Sequence[Step]]:
    """Yield the steps in parts, whose values are in memory together."""
    start = size = 0
    for number, step in enumerate(steps):
        if size + step.size > _TOGETHER and number > start:
            yield steps[start:number]
            start, size = number, 0
        size += step.size
    if start < len(steps):
        yield steps[start:]


def _show(report: Report, bucket: kv.Bucket, step: Step, revision: int | None) -> None:
    report.add(step.key, step.action, revision)
    if not report.with_diff:
        return
    before, request, content = step.before, step.request, step.content
    name = f"{bucket.name}/{step.key}"
    alive = before is not None and before.alive
    old = Side(
        f"{name}, revision {before.revision}" if before else name,
        (content if step.same else before.value) if before and alive else None,
        step.encoding,
        f"operation: {before.operation}\nttl: {before.ttl}\n" if before else "",
    )
    new = Side(
        f"{name}, revision {revision}" if revision else name,
        content,
        step.encoding,
        f"operation: {request['operation']}\nttl: {request.get('ttl') or None}\n",
    )
    report.add_diff(step.key, old, new)


def _few(keys: Sequence[str]) -> str:
    more = f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else ""
    return f"{'key' if len(keys) == 1 else 'the keys'} {', '.join(keys[:_NAMED])}{more}"
