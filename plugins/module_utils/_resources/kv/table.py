# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of key-value buckets over the stream ``KV_<name>``, and their origins."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

from ..._options import codecs, composite, fields, names
from .. import shared_fields, subjects
from ..stream.facts import facts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..._api import answers

_TRANSFORMS = "subject_transforms"


class Origin(composite.Object):
    """An origin of a bucket: another bucket, or any stream. After nats.go's jetstream/kv.go.

    The name is that of a bucket, and keys are moved to where the bucket's own are. With ``subject_transforms``, though
    the list is empty, the name is that of a stream, and nothing is added. ``of_keys`` is True if keys are moved by
    default, so that results show if none are.
    """

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


def moved_source(source: Mapping[str, Any], bucket: str) -> dict[str, Any]:
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
    filter_subject = shown.get("filter_subject")
    try:
        return not filter_subject or _below(filter_subject, shown["name"]) == filter_subject
    except ValueError:
        return False


def _below(prefix: str, stream: str) -> str:
    """Return a filter as a subject of the stream's bucket. Raises ValueError if it never matches."""
    theirs = f"$KV.{stream.removeprefix(names.BUCKET_PREFIX)}."
    if subjects.covers(prefix, f"{theirs}>"):
        return prefix
    if not prefix.startswith("$"):
        return f"{theirs}{prefix}"
    words = prefix.split(".")
    if not subjects.meet(prefix, f"{theirs}>") or len(words) < 3:
        raise ValueError(
            f"filter_subject: '{prefix}' matches no key of bucket {stream.removeprefix(names.BUCKET_PREFIX)}, whose "
            f"subjects begin with {theirs}: give keys, such as app.>"
        )
    return f"{theirs}{'.'.join(words[2:])}"


_MIRROR, _SOURCES = shared_fields.origins(Origin, Source)
SPEC = fields.Spec(
    (
        fields.Field("name", names.BUCKET_NAME, argument_extra={"required": True}),
        shared_fields.DESCRIPTION,
        fields.Field("history", shared_fields.AtLeastOne({"type": "int"}, 1), wire="max_msgs_per_subject"),
        fields.Field("ttl", codecs.duration(0.1), wire="max_age"),
        shared_fields.REPLICAS,
        fields.Field("max_value_size", codecs.size((1 << 31) - 1), wire="max_msg_size"),
        fields.Field("max_bucket_size", codecs.size(), wire="max_bytes"),
        shared_fields.STORAGE,
        fields.Field(
            "compression",
            codecs.Mapped(
                {"type": "bool"}, "none", forward=lambda on: "s2" if on else "none", back=lambda value: value == "s2"
            ),
        ),
        fields.Field("mirror", _MIRROR, update=shared_fields.MIRROR_CHANGE),
        fields.Field("sources", _SOURCES),
        fields.Field("republish", shared_fields.REPUBLISH),
        fields.Field("placement", shared_fields.PLACEMENT),
        shared_fields.METADATA,
        fields.Field("allow_direct", codecs.boolean()),
        fields.Field(
            "limit_marker_ttl", codecs.duration(1), wire="subject_delete_marker_ttl", since=shared_fields.V2_11
        ),
    )
)


def result(config: Mapping[str, Any], info: answers.StreamInfo | None) -> dict[str, Any]:
    """Return a bucket for results, from its stream. ``info`` is None for one that is planned."""
    shown = facts(config, info)
    state = shown.pop("state")
    return {
        "name": config["name"].removeprefix(names.BUCKET_PREFIX),
        "stream": config["name"],
        **SPEC.results_of(config),
        "value_count": state["messages"],
        "key_count": state["subjects"],
        "revision": state["last_seq"],
        "bytes": state["bytes"],
        **shown,
    }
