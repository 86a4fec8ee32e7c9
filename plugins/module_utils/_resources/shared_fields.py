# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fields that the tables of several kinds share."""

from __future__ import annotations

from typing import Any

from .._options import codecs, composite, fields, names

V2_11, V2_12, V2_14 = (2, 11, 0), (2, 12, 0), (2, 14, 0)
UNLIMITED = -1
RECREATE_BY_HAND = "With recreate: copy it is created again with its messages, with recreate: true without them."


class _Limit(codecs.Whole):
    """Servers and clients write 0 as well where there is no limit."""

    def to_wire(self, value: Any) -> int:
        return super().to_wire(value) or UNLIMITED


class AtLeastOne(codecs.Whole):
    """0 means that it is not set, which is 1."""

    def to_wire(self, value: Any) -> int:
        return super().to_wire(value) or 1


class StartTime(codecs.Timestamp):
    """The time to begin at. Servers count nanoseconds in an int64, and begin elsewhere at any other time."""

    def to_wire(self, value: Any) -> str:
        wire = super().to_wire(value)
        if not "1678" <= wire[:4] < "2262":
            raise ValueError(f"'{wire}' is out of range: give a time from 1678 to 2261")
        return wire

    def to_result(self, wire: Any) -> Any:
        return super().to_wire(wire) if wire else None


def limit() -> codecs.Whole:
    """Return a codec of a limit. Both 0 and -1 mean no limit."""
    why = "-1 and 0 mean no limit"
    return _Limit({"type": "int"}, UNLIMITED, low=1, high=None, extra=(UNLIMITED, 0), why=why)


class _Placement(composite.Object):
    """Empty parts are left out, since servers take an empty list of tags for another placement."""

    def to_wire(self, value: Any) -> dict[str, Any]:
        return {path: part for path, part in super().to_wire(value).items() if part}


TRANSFORM = (fields.Field("src", names.SUBJECT), fields.Field("dest", names.SUBJECT))
PLACEMENT = composite.obj(fields.Field("cluster", codecs.text()), fields.Field("tags", codecs.names()), kind=_Placement)
REPUBLISH = composite.obj(
    fields.Field("src", names.SUBJECT, default=">"),
    fields.Field("dest", names.SUBJECT),
    fields.Field("headers_only", codecs.boolean()),
    needs=("dest",),
)


def origins(
    mirrored: type[composite.Object] = composite.Object, collected: type[composite.Object] = composite.Object
) -> tuple[composite.Object, composite.Objects]:
    """Return the codecs of a mirror and of sources, whose classes kinds may replace."""
    name = names.STREAM_NAME
    rest = (
        fields.Field("opt_start_seq", codecs.whole(0)),
        fields.Field("opt_start_time", StartTime({"type": "str"})),
        fields.Field("filter_subject", names.SUBJECT),
        fields.Field(
            "external",
            composite.obj(
                fields.Field("api", names.SUBJECT, argument_extra={"required": True}),
                fields.Field("deliver", names.SUBJECT),
            ),
        ),
        fields.Field("subject_transforms", composite.objects(composite.obj(*TRANSFORM))),
        fields.Field(
            "consumer",
            composite.obj(
                fields.Field("name", codecs.text(), argument_extra={"required": True}),
                fields.Field("deliver_subject", names.SUBJECT),
            ),
            since=V2_14,
        ),
    )
    mirror = composite.obj(fields.Field("name", name), *rest, needs=("name",), kind=mirrored)
    source = composite.obj(fields.Field("name", name, argument_extra={"required": True}), *rest, kind=collected)
    return mirror, composite.objects(source)


MIRROR_CHANGE = fields.refused(
    10055,
    "It becomes a mirror, or that of another origin, only when it is created: delete it, and create it with this "
    "mirror. A mirror becomes a stream or bucket of its own with mirror: {} (nats-server 2.12).",
    lambda before, after, release: bool(after) or release < V2_12,
)
DESCRIPTION = fields.Field("description", codecs.text(max_bytes=4096))
METADATA = fields.Field("metadata", codecs.labels())
STORAGE = fields.Field("storage", codecs.choice("file", "memory"), update=fields.refused(10052, RECREATE_BY_HAND))
REPLICAS = fields.Field("replicas", AtLeastOne({"type": "int"}, 1, low=1, high=5, extra=(0,)), wire="num_replicas")
