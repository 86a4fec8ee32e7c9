# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Entries: one key of a bucket, with the value that it is to have, or none."""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from ... import _errors
from ..._api.kv import kv, kv_write
from ..._options import codecs, fields, mask, names, quantities, values
from .. import resource
from .entry_table import SPEC, check_limits, check_offline, payload

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..._connection import sessions, wire

# Each try is lost to one that succeeds: so many may count at once
_TRIES_TO_COUNT = 200
# What fits into 64 bits
_WHOLE = re.compile(r"[+-]?\d{1,18}")
_OPERATIONS = MappingProxyType({"present": kv.PUT, "absent": kv.DELETED, "purged": kv.PURGED})


class Current(NamedTuple):
    """The state of a key: the bucket, the newest revision, and the number of its revisions in the bucket.

    ``wanted`` is the revision whose value it is to have again.
    """

    bucket: kv.Bucket
    entry: kv.Entry | None = None
    revisions: int = 0
    wanted: kv.Entry | None = None

    @property
    def alive(self) -> bool:
        return self.entry is not None and self.entry.alive

    @property
    def revision(self) -> int:
        return self.entry.revision if self.entry else 0


_NOWHERE = kv.Bucket("")


@dataclass(frozen=True)
class EntryPlan(resource.Plan):
    """A plan that knows where to write. ``texts`` are the value before and after, to be compared line by line.

    The result has the value, and what is shown of the change has no secret.
    """

    bucket: kv.Bucket = _NOWHERE
    encoding: str = values.TEXT
    tries: int = _errors.TRIES
    texts: tuple[str, str] = ("", "")
    masking: mask.Mask = mask.USUAL

    @property
    def change_list(self) -> list[dict[str, Any]]:
        return [
            {**change, **self._shown(change["before"], change["after"], None)} if change["field"] == "value" else change
            for change in super().change_list
        ]

    @property
    def diff(self) -> dict[str, Any]:
        headers = {"before_header": _header(self.name, self.before), "after_header": _header(self.name, self.after)}
        return {**headers, **self._shown(*self.texts, "")}

    def _shown(self, before: Any, after: Any, nothing: str | None) -> dict[str, Any]:
        """Return the difference without secrets. A side that is ``nothing`` has no value."""
        if self.masking.hides(str((self.after or {}).get("key"))) and any(one.field == "value" for one in self.changes):
            one = before if before == nothing else mask.HIDDEN
            other = after if after == nothing else mask.HIDDEN if before == nothing else mask.CHANGED
        else:
            one, other = mask.nested(before, self.masking), mask.nested(after, self.masking)
            if one == other and before != after:
                other = mask.CHANGED
        return {"before": one, "after": other}


# What has no value yet gets a name that all clients take
_NEW = fields.Spec((fields.Field("key", names.KEY),))


class EntryResource:
    spec = SPEC
    states: Mapping[str, Any] = MappingProxyType(
        {"state": {"type": "str", "choices": list(_OPERATIONS), "default": "present"}}
    )
    checks = fields.Spec()

    def read(self, session: sessions.Session, options: Mapping[str, Any]) -> Current:
        check_offline(options)
        key = options["key"]
        try:
            bucket, counts = kv.open_bucket(session, options["bucket"], key)
            last = kv.last(session, bucket, key) if counts.get(key) else None
        except _errors.PermissionMissing as error:
            if error.failure.get("subject", "").rpartition(".")[0] != session.api("STREAM.INFO"):
                raise
            # Who may not look at the bucket may use its keys
            bucket = kv.Bucket(options["bucket"])
            last = kv.last(session, bucket, key)
            counts = {key: 1 if last else 0}
        return Current(bucket, last, counts.get(key, 0), _earlier(session, bucket, options))

    def plan(self, current: Current, options: Mapping[str, Any], server: wire.Server) -> EntryPlan:
        desired = resource.to_wire(SPEC, options, server)
        operation = _OPERATIONS[options["state"]]
        ttl = None if operation != kv.PUT or options["ttl"] is None else desired.get("ttl", 0) // quantities.NANOSECOND
        if options.get("increment") is not None:
            options = {**options, "encoding": values.JSON}
        if options.get("renew") and ttl is None and current.entry:
            ttl = current.entry.ttl
        value = _value(current, operation, options)
        check_limits(current.bucket, len(value), ttl, server)
        if _is_there(current, operation, value, ttl, options):
            return _plan(current, options, resource.NONE)
        request = {"operation": operation, "value": value, "ttl": ttl or 0, "expected": _expected(current, options)}
        action = resource.DELETE if operation != kv.PUT else resource.UPDATE if current.alive else resource.CREATE
        if action == resource.CREATE:
            fields.checked(_NEW, options.get)
        return _plan(current, options, action, request)

    def apply(self, session: sessions.Session, plan: resource.Plan) -> dict[str, Any]:
        if not isinstance(plan, EntryPlan) or plan.after is None:
            raise TypeError("this is the plan of another resource")
        bucket, key = plan.bucket, plan.after["key"]
        try:
            revision = kv_write.write(session, bucket, key, **plan.request)
        except _errors.ApiError as error:
            if kv_write.overtaken(error):
                raise _errors.Overtaken(
                    f"Key {key} of bucket {bucket.name} is being changed by others: try again.", tries=plan.tries
                ) from error
            raise
        try:
            written = kv.at_revision(session, bucket, key, revision)
        except _errors.PermissionMissing:
            newest = kv.last(session, bucket, key)
            written = newest if newest and newest.revision == revision else None
        told = _told(bucket, written, plan.encoding) if written else {**plan.after, "revision": revision}
        return {"entry": told}


class RevertibleEntry(EntryResource):
    """What a document can't have: each time that they are written, a counter and an earlier revision are others."""

    states = MappingProxyType(
        {
            **EntryResource.states,
            "revert_to": {"type": "int"},
            "increment": {"type": "int"},
            "renew": {"type": "bool", "default": False},
        }
    )
    checks = fields.Spec(
        (fields.Field("revert_to", codecs.whole(1)), fields.Field("increment", codecs.Codec({"type": "int"})))
    )


ENTRY = EntryResource()
REVERTIBLE = RevertibleEntry()


def _earlier(session: sessions.Session, bucket: kv.Bucket, options: Mapping[str, Any]) -> kv.Entry | None:
    """Return the revision to go back to. Raises Refused if it is no stored value of this key."""
    revision = options.get("revert_to")
    if revision is None:
        return None
    found = kv.at_revision(session, bucket, options["key"], revision)
    if found is None or not found.alive:
        reason = "is not kept, or is another key's" if found is None else "is no value, but its deletion"
        raise _errors.Refused(
            f"revert_to: revision {revision} of key {options['key']} of bucket {bucket.name} {reason}: look at what is "
            "kept with the option history of the lookup choria_kv.",
            code="no_revision",
            option="revert_to",
        )
    return found


# What follows from the state on the server


def _value(current: Current, operation: str, options: Mapping[str, Any]) -> bytes:
    if operation != kv.PUT:
        return b""
    if options.get("increment") is not None:
        return str(_number(current, options) + int(options["increment"])).encode()
    if options.get("renew") and options["value"] is None:
        if not current.entry or not current.alive:
            raise _errors.Refused(
                f"renew: key {options['key']} of bucket {current.bucket.name} does not exist, and there is no value to "
                "write: give value.",
                code="missing",
                option="value",
            )
        return current.entry.value
    return current.wanted.value if current.wanted else payload(options)


def _number(current: Current, options: Mapping[str, Any]) -> int:
    """Return the whole number of the key, 0 if it does not exist. Raises Refused for another value."""
    if not current.entry or not current.alive:
        return 0
    text = current.entry.value.decode(errors="replace").strip()
    if not _WHOLE.fullmatch(text):
        raise _errors.Refused(
            f"increment: key {options['key']} of bucket {current.bucket.name} does not hold a whole number: check key, "
            "or give it a number with value first.",
            code="not_a_number",
            option="increment",
        )
    return int(text)


def _is_there(current: Current, operation: str, value: bytes, ttl: int | None, options: Mapping[str, Any]) -> bool:
    """Return True if nothing has to be written."""
    entry = current.entry
    if operation == kv.PUT:
        if entry is None or not entry.alive:
            return False
        if options.get("renew"):
            return False
        same_lifetime = ttl is None or ttl == (entry.ttl or 0)
        return bool(options["create_only"]) or (same_lifetime and values.equal(entry.value, value, options["encoding"]))
    # A purge also removes the old revisions that a deletion keeps
    return entry is None or entry.operation in (operation, kv.PURGED)


def _expected(current: Current, options: Mapping[str, Any]) -> int:
    """Return the revision that the write depends on, -1 for any. Raises Refused if it is not the newest one."""
    if options["create_only"] or options.get("increment") is not None:
        return current.revision
    wanted = options["revision"]
    if wanted is None:
        # Whoever goes back wants to replace what there is now, and nothing that comes in between
        kept = options.get("renew") and options["value"] is None
        return current.revision if current.wanted or kept else -1
    if wanted != current.revision and not (wanted == 0 and not current.alive):
        there = f"at revision {current.revision}" if current.revision else "not there"
        if current.revision and not current.alive:
            there = f"deleted, by revision {current.revision}"
        raise _errors.Refused(
            f"revision: key {options['key']} of bucket {current.bucket.name} is {there}, and {wanted} was expected: "
            "somebody else changed it, so read it again before you decide.",
            code="wrong_revision",
            option="revision",
            revision=current.revision,
        )
    return current.revision


def _plan(
    current: Current, options: Mapping[str, Any], action: str, request: dict[str, Any] | None = None
) -> EntryPlan:
    bucket, encoding = current.bucket, options["encoding"]
    before = _told(bucket, current.entry, encoding) if current.entry else None
    if not request:
        return EntryPlan("entry", "", resource.NONE, before=before, after=before, consequences={"revisions_lost": 0})
    expected = kv.Entry(options["key"], 0, "", request["operation"], request["value"], request["ttl"] or None)
    after = {**_told(bucket, expected, encoding), "revision": None, "created": None}
    return EntryPlan(
        noun="entry",
        name=f"{bucket.name}/{options['key']}",
        action=action,
        request=request,
        before=before,
        after=after,
        changes=_changes(action, before or {}, after),
        consequences={"revisions_lost": _lost(current, request["operation"])},
        bucket=bucket,
        encoding=encoding,
        texts=_texts(current.entry, expected, encoding),
        masking=options.get("mask") or mask.USUAL,
        tries=_TRIES_TO_COUNT if options.get("increment") is not None else _errors.TRIES,
    )


def _changes(action: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[resource.Change, ...]:
    effect = fields.IN_PLACE if action == resource.UPDATE else action
    differ = [name for name in ("value", "ttl") if before.get(name) != after[name]]
    if not differ and before.get("operation") != after["operation"]:
        differ = ["operation"]
    # What is renewed differs in its age alone
    return tuple(resource.Change(name, before.get(name), after[name], effect) for name in differ or ["created"])


def _lost(current: Current, operation: str) -> int:
    """Return how many revisions the bucket drops with the write."""
    if operation == kv.PURGED:
        return current.revisions
    history = int(current.bucket.config.get("max_msgs_per_subject") or 0)
    return max(0, current.revisions + 1 - history) if history > 0 else 0


# What is shown


def _told(bucket: kv.Bucket, entry: kv.Entry, encoding: str) -> dict[str, Any]:
    """Return the entry for results. A value that does not have this ``encoding`` is shown as base64."""
    value = None
    if entry.alive:
        try:
            value = values.from_bytes(entry.value, encoding)
        except ValueError:
            encoding = values.BASE64
            value = values.from_bytes(entry.value, encoding)
    return {
        "bucket": bucket.name,
        "key": entry.key,
        "operation": entry.operation,
        "value": value,
        "encoding": encoding,
        "revision": entry.revision,
        "created": entry.created,
        "ttl": entry.ttl,
    }


def _header(name: str, told: Mapping[str, Any] | None) -> str:
    revision, ttl = (told or {}).get("revision"), (told or {}).get("ttl")
    return f"{name}{f', revision {revision}' if revision else ''}{f', ttl {ttl:g}s' if ttl else ''}"


def _texts(before: kv.Entry | None, after: kv.Entry, encoding: str) -> tuple[str, str]:
    """Return the values, or other differences if the values are the same."""
    one, other = _text(before, encoding), _text(after, encoding)
    return (one, other) if one != other else (_rest(before), _rest(after))


def _text(entry: kv.Entry | None, encoding: str) -> str:
    return values.lines(entry.value, encoding) if entry and entry.alive else ""


def _rest(entry: kv.Entry | None) -> str:
    return f"operation: {entry.operation}\nttl: {entry.ttl}\n" if entry else ""
