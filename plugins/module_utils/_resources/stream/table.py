# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of streams, after features seen with nats-server 2.10 to 2.15."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..._options import codecs, composite, fields, names
from .. import shared_fields
from .facts import facts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..._api import answers

RECREATE_EMPTY = "With recreate: true it is created again without its messages."
ONCE_ON = "Once on, it stays on, unless recreate creates it again."
# Fields that sealing a stream, markers of deleted subjects, and schedules turn on
SEALED = {"max_age": 0, "discard": "new", "deny_delete": True, "deny_purge": True, "allow_rollup_hdrs": False}
WITH_MARKERS = {"allow_msg_ttl": True, "allow_rollup_hdrs": True}
WITH_SCHEDULES = {"allow_rollup_hdrs": True}

CONSUMER_LIMITS = composite.obj(
    fields.Field("inactive_threshold", codecs.duration()), fields.Field("max_ack_pending", codecs.whole(-1))
)
_MIRROR, _SOURCES = shared_fields.origins()


class _FirstSequence(codecs.Whole):
    """A stream begins with 1, whether that or nothing is said."""

    def _filled(self, wire: Any) -> Any:
        return wire if wire and wire > 1 else 0


SPEC = fields.Spec(
    (
        fields.Field("name", names.STREAM_NAME, argument_extra={"required": True}),
        shared_fields.DESCRIPTION,
        fields.Field("subjects", codecs.names(names.SUBJECT)),
        fields.Field(
            "retention",
            codecs.choice("limits", "interest", "workqueue"),
            update=fields.refused(
                10052, shared_fields.RECREATE_BY_HAND, lambda before, after, release: "workqueue" in (before, after)
            ),
        ),
        fields.Field(
            "max_consumers",
            shared_fields.limit(),
            update=fields.refused(
                10052, "Upgrade to nats-server 2.12.", lambda before, after, release: release < shared_fields.V2_12
            ),
        ),
        fields.Field("max_msgs", shared_fields.limit()),
        fields.Field("max_bytes", codecs.size()),
        fields.Field("max_msgs_per_subject", shared_fields.limit()),
        fields.Field("max_age", codecs.duration(0.1)),
        fields.Field("max_msg_size", codecs.size((1 << 31) - 1)),
        shared_fields.STORAGE,
        fields.Field("compression", codecs.choice("none", "s2")),
        fields.Field(
            "first_seq",
            _FirstSequence({"type": "int"}, 0, low=0),
            update=fields.without_effect("It counts only when a stream is created: leave the option out."),
        ),
        shared_fields.REPLICAS,
        fields.Field("no_ack", codecs.boolean()),
        fields.Field("discard", codecs.choice("old", "new")),
        fields.Field("discard_new_per_subject", codecs.boolean()),
        fields.Field("duplicate_window", codecs.duration(0.1, nothing="is the default")),
        fields.Field("placement", shared_fields.PLACEMENT),
        fields.Field("mirror", _MIRROR, update=shared_fields.MIRROR_CHANGE),
        fields.Field("sources", _SOURCES),
        fields.Field("subject_transform", composite.obj(*shared_fields.TRANSFORM)),
        fields.Field("republish", shared_fields.REPUBLISH),
        fields.Field("allow_direct", codecs.boolean()),
        fields.Field("mirror_direct", codecs.boolean()),
        fields.Field(
            "sealed",
            codecs.boolean(),
            update=fields.only_once_on(10052, "A sealed stream stays sealed: delete it to be rid of it."),
        ),
        fields.Field("deny_delete", codecs.boolean(), update=fields.only_once_on(10052, ONCE_ON)),
        fields.Field("deny_purge", codecs.boolean(), update=fields.only_once_on(10052, ONCE_ON)),
        fields.Field("allow_rollup_hdrs", codecs.boolean()),
        fields.Field("consumer_limits", CONSUMER_LIMITS),
        shared_fields.METADATA,
        fields.Field(
            "allow_msg_ttl", codecs.boolean(), since=shared_fields.V2_11, update=fields.only_once_on(10052, ONCE_ON)
        ),
        fields.Field("subject_delete_marker_ttl", codecs.duration(1), since=shared_fields.V2_11),
        fields.Field(
            "allow_msg_counter",
            codecs.boolean(),
            since=shared_fields.V2_12,
            update=fields.refused(10052, RECREATE_EMPTY),
        ),
        fields.Field("allow_atomic", codecs.boolean(), since=shared_fields.V2_12),
        fields.Field("allow_batched", codecs.boolean(), since=shared_fields.V2_14),
        fields.Field(
            "allow_msg_schedules",
            codecs.boolean(),
            since=shared_fields.V2_12,
            update=fields.only_once_on(10052, ONCE_ON),
        ),
        fields.Field(
            "persist_mode",
            codecs.choice("default", "async"),
            since=shared_fields.V2_12,
            update=fields.refused(10052, shared_fields.RECREATE_BY_HAND),
        ),
    )
)


def result(config: Mapping[str, Any], info: answers.StreamInfo | None) -> dict[str, Any]:
    """Return a stream for results. ``info`` is None for one that is planned."""
    return {"name": config["name"], **SPEC.results_of(config), **facts(config, info)}
