# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The answers of the lookup choria_kv: read what the terms and options select, and decode the values."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..module_utils import _errors
from ..module_utils._options.formats import decode
from ..module_utils._options.quantities import parse_duration, parse_timestamp

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ..module_utils._api.kv.kv import Entry
    from ..module_utils._operations.kv.past import Moment
    from ..module_utils._operations.kv.reader import KvReader

# A bucket, and a key or prefix in it
Target = tuple[str, str]


@dataclass(frozen=True)
class Answer:
    """The requested item in words, and its value; or the ``problem``, and the ``empty`` value of its kind."""

    name: str
    value: Any = None
    problem: str = ""
    empty: Any = ""


def seconds(options: Mapping[str, Any], option: str) -> float:
    try:
        return parse_duration(options[option] or "0")
    except ValueError as error:
        raise _errors.OptionError(option, f"{error}.") from error


def _moment(options: Mapping[str, Any]) -> Moment | None:
    text = options["as_of"]
    if text is None or str(text).isdecimal():
        return None if text is None else int(text)
    try:
        return parse_timestamp(text)
    except ValueError:
        raise _errors.OptionError(
            "as_of", f"'{text}' is neither a revision nor a time: write RFC 3339 such as 2026-03-01T12:00:00Z."
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
    found: dict[str, Mapping[str, Entry]] = {}
    for wanted in {bucket for bucket, _key in targets}:
        keys = [key for bucket, key in targets if bucket == wanted]
        if moment is not None:
            found[wanted] = reader.last_as_of(wanted, keys, moment)
        elif deadline is not None:
            found[wanted] = reader.last_within(wanted, keys, deadline)
        else:
            found[wanted] = reader.last(wanted, keys)
    return (_answer(found[bucket].get(key), _name(bucket, key), format) for bucket, key in targets)


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
    told = [
        {
            "revision": entry.revision,
            "created": entry.created,
            "operation": entry.operation,
            "value": _decoded(entry, name, format) if entry.alive else None,
            "ttl": entry.ttl,
        }
        for entry in entries
    ]
    return Answer(name, told, "" if entries else f"{name} does not exist", [])


def _below(reader: KvReader, bucket: str, prefix: str, format: str, moment: Moment | None) -> Answer:
    found = reader.below(bucket, prefix) if moment is None else reader.below_as_of(bucket, prefix, moment)
    told = {
        key[len(prefix) :]: _decoded(entry, _name(bucket, key), format) for key, entry in found.items() if entry.alive
    }
    place = f"below '{prefix}' in bucket {bucket}" if prefix else f"in bucket {bucket}"
    return Answer(f"the keys {place}", told, "" if told else f"there are no keys {place}", {})


def _name(bucket: str, key: str) -> str:
    return f"key {key} of bucket {bucket}"


def _decoded(entry: Entry, name: str, format: str) -> Any:
    try:
        return decode(entry.value, format)
    except ValueError as error:
        # Without the cause, which may hold the value
        raise _errors.OptionError("format", f"{name} {error}: correct the value, or set another format.") from None
