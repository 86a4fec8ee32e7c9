# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wait until one of several keys has a value that meets the conditions."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ... import _errors
from ..._api.kv import kv
from ..._api.kv.kv_watch import Watch
from ..._options import codecs, fields, names, quantities, values
from ..._options.formats import YAML, Query, decode
from ..signals import end_when_output_closes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..._connection import sessions

SPEC = fields.Spec(
    (
        fields.Field("bucket", names.BUCKET_NAME, argument_extra={"required": True}),
        # Ansible would take the word for a secret
        fields.Field("keys", codecs.names(names.EXISTING_KEY), argument_extra={"required": True, "no_log": False}),
        fields.Field("values", codecs.Codec({"type": "list", "elements": "raw"})),
        fields.Field("condition", codecs.text()),
        fields.Field("format", codecs.choice(*values.ENCODINGS, YAML), argument_extra={"default": values.TEXT}),
        fields.Field("updates_only", codecs.boolean(), argument_extra={"default": False}),
        fields.Field("max_wait", codecs.duration(), argument_extra={"default": "5m"}),
    ),
    {"mutually_exclusive": [("values", "condition")]},
)

# Of many keys, an error names so many
_NAMED = 10


@dataclass
class Wanted:
    """The conditions on values. ``reason`` says why the last value failed, without any part of it."""

    format: str
    values: list[Any] | None = None
    query: Query | None = None
    reason: str = ""

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Wanted:
        """Return the conditions in options. Raises OptionError, or LibraryMissing."""
        format, condition = options["format"], options["condition"]
        if condition is not None and format not in (values.JSON, YAML):
            raise _errors.OptionError("condition", "needs data to select from: set format to json or yaml.")
        if options["values"] == []:
            raise _errors.OptionError("values", "is empty, and no value can match: give some, or leave it out.")
        return cls(format, options["values"], Query(condition, "condition") if condition is not None else None)

    def takes(self, entry: kv.Entry) -> bool:
        """Return True if a revision meets the conditions, else set ``reason``."""
        if not entry.alive:
            self.reason = f"key {entry.key} was deleted (revision {entry.revision})"
            return False
        name = f"revision {entry.revision} of key {entry.key}"
        try:
            value = decode(entry.value, self.format)
            met = self._meets(value, entry.value, name)
        except _errors.OptionError as error:
            self.reason = error.reason.rstrip(".")
            return False
        except ValueError as error:
            self.reason = f"{name} {error}"
            return False
        self.reason = f"{name} does not match"
        return met

    def _meets(self, value: Any, stored: bytes, name: str) -> bool:
        if self.query:
            selected = self.query.search(value, name)
            # Values that are false in JMESPath. 0 is true there
            return not (selected is None or selected is False or selected in ("", [], {}))
        if self.values is None:
            return True
        if self.format in (values.TEXT, values.BASE64):
            return stored in [values.to_bytes(each, self.format) for each in self.values]
        return value in self.values


def watch(session: sessions.Session, options: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Return the result of choria_kv_watch. Raises StreamsError if no value met the conditions in time."""
    checked, began = fields.checked(SPEC, options.get), time.monotonic()
    condition, keys = Wanted.of(options), list(options["keys"])
    if not keys:
        raise _errors.OptionError("keys", "is empty: give at least one key.")
    bucket = kv.open_bucket(session, options["bucket"])[0]
    if check_mode:
        present = {} if options["updates_only"] else kv.last_many(session, bucket, keys)
        entry = next((entry for entry in present.values() if condition.takes(entry)), None)
        return _result(options, entry, began)
    end_when_output_closes(session)
    seconds = checked["max_wait"] / quantities.NANOSECOND
    with Watch(session, bucket, keys, updates_only=options["updates_only"]) as changes:
        while True:
            entry = changes.next(max(0.0, began + seconds - time.monotonic()))
            if entry is None:
                raise _late(options, condition, began)
            if condition.takes(entry):
                return _result(options, entry, began)


def _result(options: Mapping[str, Any], entry: kv.Entry | None, began: float) -> dict[str, Any]:
    value = None
    if entry:
        value = {
            "bucket": options["bucket"],
            "key": entry.key,
            "value": decode(entry.value, options["format"]),
            "revision": entry.revision,
            "created": entry.created,
            "ttl": entry.ttl,
        }
    return {"changed": False, "matched": entry is not None, "entry": value, "elapsed": _elapsed(began)}


def _late(options: Mapping[str, Any], condition: Wanted, began: float) -> _errors.StreamsError:
    others = len(options["keys"]) - _NAMED
    keys = ", ".join(options["keys"][:_NAMED]) + (f" and {others} others" if others > 0 else "")
    several = len(options["keys"]) > 1
    such = options["values"] or options["condition"]
    new = "new " if options["updates_only"] else ""
    if several:
        subject, lacks = "None of the keys", f"has {'such a' if such else 'a'} {new}value"
    else:
        subject, lacks = "The key", f"has no {'such ' if such else ''}{new}value"
    reason = f"no revision of {'them' if several else 'it'} appeared"
    if condition.reason:
        reason = f"the newest revision: {condition.reason}"
    error = _errors.StreamsError(
        f"{subject} {keys} of bucket {options['bucket']} {lacks}, after {options['max_wait']} (max_wait); {reason}.",
        code="timeout",
        option="max_wait",
    )
    error.result = {"matched": False, "entry": None, "elapsed": _elapsed(began)}
    return error


def _elapsed(began: float) -> float:
    return round(time.monotonic() - began, 3)
