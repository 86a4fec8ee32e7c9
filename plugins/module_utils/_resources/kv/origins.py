# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a bucket copies from: another bucket, or any stream. After nats.go's jetstream/kv.go. Pure.

The name is that of a bucket, and keys are moved to where the bucket's own are. With ``subject_transforms``, though the
list is empty, the name is that of a stream, and nothing is added.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

from ..._options import composite, names
from .. import subjects

if TYPE_CHECKING:
    from collections.abc import Mapping

_TRANSFORMS = "subject_transforms"


class Origin(composite.Object):
    """One origin. ``of_keys`` is True if keys are moved by default, so that results show if none are."""

    of_keys: bool = False

    def to_wire(self, value: Any) -> dict[str, Any]:
        wire = super().to_wire(value)
        if not wire.get("name") or value.get(_TRANSFORMS) is not None:
            return wire
        if not str(wire["name"]).startswith(names.BUCKET_PREFIX):
            wire["name"] = f"{names.BUCKET_PREFIX}{wire['name']}"
        if wire.get("filter_subject"):
            wire["filter_subject"] = _below(wire["filter_subject"], wire["name"])
        return wire

    def to_result(self, wire: Any) -> dict[str, Any] | None:
        shown = super().to_result(wire)
        if shown is None or _TRANSFORMS in shown:
            return shown
        short = {**shown, "name": shown["name"].removeprefix(names.BUCKET_PREFIX)}
        if self.of_keys or short["name"] == shown["name"] or not _same_filter(shown):
            return {**shown, _TRANSFORMS: []}
        return short


class Source(Origin):
    """The origin of a mirror has its keys where they stay, a source not."""

    of_keys = True


def moved(source: Mapping[str, Any], bucket: str) -> dict[str, Any]:
    """Return a source for the wire. A transform of its keys into those of ``bucket`` replaces a filter."""
    rest = {path: value for path, value in source.items() if path != _TRANSFORMS}
    if _TRANSFORMS in source:
        return {**rest, _TRANSFORMS: source[_TRANSFORMS]} if source[_TRANSFORMS] else rest
    theirs, ours = (f"$KV.{name}." for name in (source["name"].removeprefix(names.BUCKET_PREFIX), bucket))
    if theirs == ours and source.get("external"):
        return rest  # a bucket of this name elsewhere: its keys stay where they are
    taken = rest.pop("filter_subject", ">")
    if subjects.covers(taken, f"{theirs}>"):
        taken = f"{theirs}>"
    given = count(1)
    words = [f"{{{{wildcard({next(given)})}}}}" if word == "*" else word for word in taken.split(".")]
    return {**rest, _TRANSFORMS: [{"src": taken, "dest": ".".join(words).replace(theirs, ours, 1)}]}


def _same_filter(shown: Mapping[str, Any]) -> bool:
    """Return True if the filter of a bucket's origin means the same when it is given."""
    wanted = shown.get("filter_subject")
    try:
        return not wanted or _below(wanted, shown["name"]) == wanted
    except ValueError:
        return False


def _below(wanted: str, stream: str) -> str:
    """Return a filter as a subject of the stream's bucket. Raises ValueError if it never matches."""
    theirs = f"$KV.{stream.removeprefix(names.BUCKET_PREFIX)}."
    if subjects.covers(wanted, f"{theirs}>"):
        return wanted
    if not wanted.startswith("$"):
        return f"{theirs}{wanted}"
    words = wanted.split(".")
    if not subjects.meet(wanted, f"{theirs}>") or len(words) < 3:
        raise ValueError(
            f"filter_subject: '{wanted}' matches no key of bucket {stream.removeprefix(names.BUCKET_PREFIX)}, whose "
            f"subjects begin with {theirs}: give keys, such as app.>"
        )
    return f"{theirs}{'.'.join(words[2:])}"
