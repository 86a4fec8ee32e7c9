# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Consumers: their table, after features seen with nats-server 2.10 to 2.15."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..._options import codecs, fields, names
from .. import shared_fields

if TYPE_CHECKING:
    from collections.abc import Mapping

_STORAGE_REFUSED = (2, 14, 6)
NAME = codecs.text(
    r"[^\s.*>/\\]{1,255}", "a consumer's name has up to 255 characters, no space and none of . * > / \\", 255
)
_LITERAL = codecs.text(
    r"|[^\s.*>]+(\.[^\s.*>]+)*", "the subject to deliver on is words joined by dots, without spaces and wildcards"
)
_FILTER = codecs.text(rf"|{names.SUBJECT.pattern}", names.SUBJECT.shape)
_GROUP = codecs.text(r"[a-zA-Z0-9/_=-]{1,16}", "a group's name has up to 16 letters, digits and any of / _ = -")
CHANGE_BY_RECREATION = "Set recreate: true to create it again under its name, or create another under a new name."
_FIXED = fields.refused(10012, CHANGE_BY_RECREATION)


class _Storage(fields.Update):
    """Servers before (2.14.2 seen, 2.14.6 not) echo the change, and keep the state where it is."""

    def effect_of(self, before: Any, after: Any, release: tuple[int, ...]) -> str:
        return fields.REFUSED if release >= _STORAGE_REFUSED else fields.NO_EFFECT


class _Until(codecs.Timestamp):
    """A time, or empty for none."""

    def to_wire(self, value: Any) -> str:
        return super().to_wire(value) if str(value).strip() else ""


class _Bytes(codecs.Size):
    """No limit is 0 here: nats-server 2.10 keeps -1, and what that means is not said."""

    def to_wire(self, value: Any) -> int:
        return max(0, super().to_wire(value))


# A field that decides about others comes before them: a refusal names the first field that can't change
SPEC = fields.Spec(
    (
        fields.Field("stream", names.STREAM_NAME, argument_extra={"required": True}),
        fields.Field("name", NAME, wire="durable_name", argument_extra={"required": True}),
        shared_fields.DESCRIPTION,
        fields.Field(
            "deliver_policy",
            codecs.choice("all", "last", "new", "by_start_sequence", "by_start_time", "last_per_subject"),
            update=_FIXED,
        ),
        fields.Field("opt_start_seq", codecs.whole(0), update=_FIXED),
        fields.Field("opt_start_time", shared_fields.StartTime({"type": "str"}), update=_FIXED),
        fields.Field("ack_policy", codecs.choice("none", "all", "explicit", "flow_control"), update=_FIXED),
        fields.Field("ack_wait", codecs.duration(0.001, nothing="is the default")),
        fields.Field("max_deliver", shared_fields.limit(), default=shared_fields.UNLIMITED),
        fields.Field("backoff", codecs.durations()),
        fields.Field("filter_subject", _FILTER),
        fields.Field("filter_subjects", codecs.names(names.SUBJECT)),
        fields.Field("replay_policy", codecs.choice("instant", "original"), update=_FIXED),
        fields.Field(
            "deliver_subject",
            _LITERAL,
            update=fields.refused(
                10012, CHANGE_BY_RECREATION, lambda before, after, release: bool(before) != bool(after)
            ),
        ),
        fields.Field(
            "deliver_group",
            codecs.text(_LITERAL.pattern, "a group's name is words joined by dots, without spaces and wildcards"),
        ),
        fields.Field("rate_limit_bps", codecs.whole(0)),
        fields.Field("flow_control", codecs.boolean(), update=_FIXED),
        fields.Field("idle_heartbeat", codecs.duration(0.1), update=_FIXED),
        fields.Field("sample_freq", codecs.text(r"|(100|\d{1,2})%?", "give a percentage of 0 to 100")),
        fields.Field("max_waiting", codecs.whole(0), update=_FIXED),
        fields.Field("max_ack_pending", codecs.whole(0, extra=(shared_fields.UNLIMITED,), why="-1 means no limit")),
        fields.Field("headers_only", codecs.boolean()),
        fields.Field("max_batch", codecs.whole(0)),
        fields.Field("max_expires", codecs.duration(0.001)),
        fields.Field("max_bytes", _Bytes({"type": "str"}, 0)),
        fields.Field("inactive_threshold", codecs.duration()),
        fields.Field("replicas", codecs.whole(0, 5), wire="num_replicas"),
        fields.Field("mem_storage", codecs.boolean(), update=_Storage(fields.REFUSED, 10012, CHANGE_BY_RECREATION)),
        shared_fields.METADATA,
        fields.Field("paused_until", _Until({"type": "str"}), wire="pause_until", since=shared_fields.V2_11),
        fields.Field(
            "priority_policy",
            codecs.choice("none", "overflow", "pinned_client", "prioritized"),
            since=shared_fields.V2_11,
        ),
        fields.Field("priority_groups", codecs.names(_GROUP), since=shared_fields.V2_11),
        fields.Field("priority_timeout", codecs.duration(), since=shared_fields.V2_11),
    )
)
ROWS = {row.path: row for row in SPEC if row.option not in ("stream", "name")}


def same(path: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return True if a field means the same in two configurations."""
    return ROWS[path].equal(one.get(path), other.get(path))


# Values that came later than their fields
VALUES_SINCE = {
    ("ack_policy", "flow_control"): shared_fields.V2_14,
    ("priority_policy", "prioritized"): shared_fields.V2_12,
}
START = ("deliver_policy", "opt_start_seq", "opt_start_time")
PUSH_ONLY = ("rate_limit_bps", "flow_control", "idle_heartbeat", "deliver_group")
# Fields that push consumers may have without effect
UNUSED_PUSHED = ("max_batch", "max_expires", "max_bytes")
PULL_ONLY = ("max_waiting", *UNUSED_PUSHED, "priority_policy", "priority_groups", "priority_timeout")
UNUSED_UNACKED = ("ack_wait", "max_deliver", "backoff")
ACKED_ONLY = (*UNUSED_UNACKED, "max_ack_pending")
