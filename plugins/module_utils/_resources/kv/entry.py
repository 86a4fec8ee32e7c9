# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Entries: one key of a bucket, with the value that it is to have, or none."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from ... import _errors
from ..._api.kv import kv
from ..._options import codecs, fields, mask, names, quantities, values
from .. import resource
from .entry_table import SPEC, check_limits, check_offline, payload

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..._connection import sessions, wire

# Each lost try means that another one succeeded, so this many may count at once
_TRIES_TO_COUNT = 200
# The range of 64 bits
_INTEGER = re.compile(r"[+-]?\d{1,18}")
_OPERATIONS = MappingProxyType({"present": kv.PUT, "absent": kv.DELETED, "purged": kv.PURGED})


class Current(NamedTuple):
    """The state of a key: the bucket, the newest revision, and the number of its revisions in the bucket.

    ``earlier`` is the revision whose value it is to have again.
    """

    bucket: kv.Bucket
    entry: kv.Entry | None = None
    revisions: int = 0
    earlier: kv.Entry | None = None

    @property
    def alive(self) -> bool:
        """True if the key has a value."""
        return self.entry is not None and self.entry.alive

    @property
    def revision(self) -> int:
        """The newest revision of the key, 0 if there is none."""
        return self.entry.revision if self.entry else 0


_NOWHERE = kv.Bucket("")


@dataclass(frozen=True, eq=False, repr=False)
class EntryPlan(resource.Plan):
    """A plan with the bucket to write to. ``texts`` are the value before and after, for a diff line by line.

    The result has the value. The shown change holds no secret.
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


# A key without a value gets a name that all clients accept
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
            # A user without rights for the bucket may use its keys
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
        from ..._api.kv import kv_write  # a key that stays as it is needs none

        bucket, key = plan.bucket, plan.after["key"]
        try:
            revision = kv_write.write(session, bucket, key, **plan.request)
        except _errors.ApiError as error:
            if kv_write.overtaken(error):
                raise _errors.Overtaken(
                    f"Key {key} of bucket {bucket.name} is being changed by others: try again.", tries=plan.tries
                ) from error
            raise
        written = _as_stored(session, bucket, key, revision)
        result = _result(bucket, written, plan.encoding) if written else {**plan.after, "revision": revision}
        return {"entry": result}


def _as_stored(session: sessions.Session, bucket: kv.Bucket, key: str, revision: int) -> kv.Entry | None:
    """Return a written entry, or None if nobody answers or it can't be read: it is written in any case."""
    with suppress(_errors.Unreachable, _errors.NoAnswer):
        try:
            return kv.at_revision(session, bucket, key, revision)
        except _errors.PermissionMissing:
            newest = kv.last(session, bucket, key)
            return newest if newest and newest.revision == revision else None
    return None


class RevertibleEntry(EntryResource):
    """Refuse options that a document can't have: each write would change a counter and an earlier revision again."""

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
KV_ENTRY = RevertibleEntry()


def _earlier(session: sessions.Session, bucket: kv.Bucket, options: Mapping[str, Any]) -> kv.Entry | None:
    """Return the revision to go back to. Raises Refused if it is no stored value of this key."""
    revision = options.get("revert_to")
    if revision is None:
        return None
    entry = kv.at_revision(session, bucket, options["key"], revision)
    if entry is None or not entry.alive:
        reason = "is not kept, or is another key's" if entry is None else "is a deletion and no value"
        raise _errors.Refused(
            f"revert_to: revision {revision} of key {options['key']} of bucket {bucket.name} {reason}: check what is "
            "kept with the option history of the lookup choria_kv.",
            code="no_revision",
            option="revert_to",
        )
    return entry


# Changes that depend on the state on the server


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
    return current.earlier.value if current.earlier else payload(options)


def _number(current: Current, options: Mapping[str, Any]) -> int:
    """Return the whole number of the key, 0 if it does not exist. Raises Refused for another value."""
    if not current.entry or not current.alive:
        return 0
    text = current.entry.value.decode(errors="replace").strip()
    if not _INTEGER.fullmatch(text):
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
    revision = options["revision"]
    if revision is None:
        # A rollback replaces the present value, and no other that is written meanwhile
        kept = options.get("renew") and options["value"] is None
        return current.revision if current.earlier or kept else -1
    if revision != current.revision and not (revision == 0 and not current.alive):
        there = f"at revision {current.revision}" if current.revision else "not there"
        if current.revision and not current.alive:
            there = f"deleted, by revision {current.revision}"
        raise _errors.Refused(
            f"revision: key {options['key']} of bucket {current.bucket.name} is {there}, and {revision} was expected: "
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
    before = _result(bucket, current.entry, encoding) if current.entry else None
    if not request:
        return EntryPlan("entry", "", resource.NONE, before=before, after=before, consequences={"revisions_lost": 0})
    expected = kv.Entry(options["key"], 0, "", request["operation"], request["value"], request["ttl"] or None)
    after = {**_result(bucket, expected, encoding), "revision": None, "created": None}
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
    # A renewed value differs only in its age
    return tuple(resource.Change(name, before.get(name), after[name], effect) for name in differ or ["created"])


def _lost(current: Current, operation: str) -> int:
    """Return how many revisions the bucket drops with the write."""
    if operation == kv.PURGED:
        return current.revisions
    history = int(current.bucket.config.get("max_msgs_per_subject") or 0)
    return max(0, current.revisions + 1 - history) if history > 0 else 0


# Results


def _result(bucket: kv.Bucket, entry: kv.Entry, encoding: str) -> dict[str, Any]:
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


def _header(name: str, shown: Mapping[str, Any] | None) -> str:
    revision, ttl = (shown or {}).get("revision"), (shown or {}).get("ttl")
    return f"{name}{f', revision {revision}' if revision else ''}{f', ttl {ttl:g}s' if ttl else ''}"


def _texts(before: kv.Entry | None, after: kv.Entry, encoding: str) -> tuple[str, str]:
    """Return the values, or other differences if the values are the same."""
    one, other = _text(before, encoding), _text(after, encoding)
    return (one, other) if one != other else (_rest(before), _rest(after))


def _text(entry: kv.Entry | None, encoding: str) -> str:
    return values.lines(entry.value, encoding) if entry and entry.alive else ""


def _rest(entry: kv.Entry | None) -> str:
    return f"operation: {entry.operation}\nttl: {entry.ttl}\n" if entry else ""
