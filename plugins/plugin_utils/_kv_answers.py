# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The answers of the lookup choria_kv: read what the terms and options select, and decode the values."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from ..module_utils import _errors
from ..module_utils._operations.kv.reader import Undecodable, decoded
from ..module_utils._options.formats import YAML, decode
from ..module_utils._options.quantities import parse_duration, parse_timestamp, shortened

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ..module_utils._api.kv.kv import Entry
    from ..module_utils._operations.kv.past import Moment
    from ..module_utils._operations.kv.reader import KvReader

# A bucket, and a key or prefix in it
Target = tuple[str, str]
# Of the largest revision
_DIGITS = 19


class Answer(NamedTuple):
    """The requested item in words, and its value; or the ``problem``, and the ``empty`` value of its kind."""

    name: str
    value: Any = None
    problem: str = ""
    empty: Any = ""


def seconds(options: Mapping[str, Any], option: str) -> float:
    return _errors.checked(option, parse_duration, options[option] or "0")


def _moment(options: Mapping[str, Any]) -> Moment | None:
    text = options["as_of"]
    if text is None or (str(text).isdecimal() and len(str(text)) <= _DIGITS):
        return None if text is None else int(text)
    try:
        return parse_timestamp(text)
    except ValueError:
        raise _errors.OptionError(
            "as_of",
            f"'{shortened(text)}' is neither a revision nor a time: write RFC 3339 such as 2026-03-01T12:00:00Z.",
        ) from None


def answers(reader: KvReader, targets: Sequence[Target], options: Mapping[str, Any]) -> Iterator[Answer]:
    """Yield an answer for each target, in their order."""
    format, moment = options["format"], _moment(options)
    if options["prefix"]:
        return (_below(reader, bucket, prefix, format, moment) for bucket, prefix in targets)
    if options["history"]:
        return (_history(reader, bucket, key, format) for bucket, key in targets)
    if options["revision"]:
        return (_revision(reader, bucket, key, options["revision"], format) for bucket, key in targets)
    deadline = time.monotonic() + seconds(options, "wait") if options["wait"] else None
    selection: dict[str, list[str]] = {}
    for bucket, key in targets:
        selection.setdefault(bucket, []).append(key)
    entries: Mapping[str, Mapping[str, Entry]]
    if moment is not None:
        entries = {bucket: reader.last_as_of(bucket, keys, moment) for bucket, keys in selection.items()}
    elif deadline is not None:
        entries = {bucket: reader.last_within(bucket, keys, deadline) for bucket, keys in selection.items()}
    else:
        entries = reader.last(selection)
    return (_answer(entries[bucket].get(key), _name(bucket, key), format) for bucket, key in targets)


def _answer(entry: Entry | None, name: str, format: str) -> Answer:
    if entry is None:
        return Answer(name, problem=f"{name} does not exist")
    if not entry.alive:
        return Answer(name, problem=f"{name} was deleted at {entry.created} (revision {entry.revision})")
    return Answer(name, _decoded(entry, name, format))


def _revision(reader: KvReader, bucket: str, key: str, revision: int, format: str) -> Answer:
    name = f"revision {revision} of {_name(bucket, key)}"
    return _answer(reader.at_revision(bucket, key, revision), name, format)


def _history(reader: KvReader, bucket: str, key: str, format: str) -> Answer:
    name, entries = _name(bucket, key), reader.history(bucket, key)
    revisions = [
        {
            "revision": entry.revision,
            "created": entry.created,
            "operation": entry.operation,
            "value": _decoded(entry, name, format) if entry.alive else None,
            "ttl": entry.ttl,
        }
        for entry in entries
    ]
    return Answer(name, revisions, "" if entries else f"{name} does not exist", [])


def _below(reader: KvReader, bucket: str, prefix: str, format: str, moment: Moment | None) -> Answer:
    by = partial(decode, format=format)
    try:
        if moment is not None:
            values = decoded(reader.below_as_of(bucket, prefix, moment).values(), prefix, by)
        elif format == YAML:  # which takes too long to be decoded while the values are read
            values = decoded(reader.below(bucket, prefix).values(), prefix, by)
        else:
            values = reader.values_below(bucket, prefix, by)
    except Undecodable as error:
        raise _undecodable(_name(bucket, error.key), error) from None
    place = f"below '{prefix}' in bucket {bucket}" if prefix else f"in bucket {bucket}"
    return Answer(f"the keys {place}", values, "" if values else f"there are no keys {place}", {})


def _name(bucket: str, key: str) -> str:
    return f"key {key} of bucket {bucket}"


def _decoded(entry: Entry, name: str, format: str) -> Any:
    try:
        return decode(entry.value, format)
    except ValueError as error:
        raise _undecodable(name, error) from None


def _undecodable(name: str, error: ValueError) -> _errors.OptionError:
    """Return the error of a value. Raise it without its cause, which may hold the value."""
    return _errors.OptionError("format", f"{name} {error}: correct the value, or set another format.")
