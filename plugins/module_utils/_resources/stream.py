# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Streams: their table, after features seen with nats-server 2.10 to 2.15."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from .._options import codecs
from .._options.fields import Field, Spec, only_once_on, refused, without_effect
from .moves import WAIT
from .recreate import OPTION
from .resource import PEDANTIC, pedantically
from .stream_backed import StreamBacked, window_for

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .._connection.wire import Server
    from .resource import Plan
    from .stream_backed import Current

V2_11, V2_12, V2_14 = (2, 11, 0), (2, 12, 0), (2, 14, 0)
UNLIMITED = -1

STREAM_NAME = codecs.text(
    r"[^\s.*>/\\]{1,255}", "a stream's name has up to 255 characters, no space and none of . * > / \\", 255
)
SUBJECT = codecs.text(
    r"((?!>\.)[^\s.]+\.)*[^\s.]+", "a subject is words joined by dots, without spaces, and > can only be the last word"
)
PRESENT_OR_ABSENT: dict[str, Any] = {"state": {"type": "str", "choices": ["present", "absent"], "default": "present"}}
EXACT: dict[str, Any] = {"type": "bool", "default": False}
REPLICATED: dict[str, Any] = {**PRESENT_OR_ABSENT, **WAIT}
WITH_DATA: dict[str, Any] = {
    **REPLICATED,
    "allow_data_loss": {"type": "bool", "default": False},
    "exact": EXACT,
    **OPTION,
}
RECREATE_BY_HAND = "With recreate: copy it is made anew with its messages, with recreate: true without them."
RECREATE_EMPTY = "With recreate: true it is made anew without its messages."
ONCE_ON = "Once on, it stays on, unless recreate makes it anew."
# What sealing a stream, markers of deleted subjects, and schedules turn on as well
SEALED = {"max_age": 0, "discard": "new", "deny_delete": True, "deny_purge": True}
WITH_MARKERS = {"allow_msg_ttl": True, "allow_rollup_hdrs": True}
WITH_SCHEDULES = {"allow_rollup_hdrs": True}


def limit() -> codecs.Whole:
    return codecs.whole(1, extra=(UNLIMITED,), zero=UNLIMITED, why="-1 is no limit")


TRANSFORM = (Field("src", SUBJECT), Field("dest", SUBJECT))
PLACEMENT = codecs.obj(Field("cluster", codecs.text()), Field("tags", codecs.names()))
CONSUMER_LIMITS = codecs.obj(Field("inactive_threshold", codecs.duration()), Field("max_ack_pending", codecs.whole(-1)))
REPUBLISH = codecs.obj(
    Field("src", SUBJECT, default=">"), Field("dest", SUBJECT), Field("headers_only", codecs.boolean()), needs=("dest",)
)


def origins(name: codecs.Codec) -> tuple[codecs.Object, codecs.Objects]:
    """The codecs of a mirror and of sources; ``name`` is the codec of the origin's name."""
    rest = (
        Field("opt_start_seq", codecs.whole(1)),
        Field("opt_start_time", codecs.timestamp()),
        Field("filter_subject", SUBJECT),
        Field(
            "external", codecs.obj(Field("api", SUBJECT, argument_extra={"required": True}), Field("deliver", SUBJECT))
        ),
        Field("subject_transforms", codecs.objects(codecs.obj(*TRANSFORM))),
        Field(
            "consumer",
            codecs.obj(
                Field("name", codecs.text(), argument_extra={"required": True}), Field("deliver_subject", SUBJECT)
            ),
            since=V2_14,
        ),
    )
    source = codecs.obj(Field("name", name, argument_extra={"required": True}), *rest)
    return codecs.obj(Field("name", name), *rest, needs=("name",)), codecs.objects(source)


_MIRROR, _SOURCES = origins(STREAM_NAME)
MIRROR_CHANGE = refused(
    10055,
    "Make another that mirrors it, or end the mirroring with mirror: {} (nats-server 2.12).",
    lambda before, after, release: bool(after) or release < V2_12,
)
DESCRIPTION = Field("description", codecs.text(max_bytes=4096))
METADATA = Field("metadata", codecs.labels())
STORAGE = Field("storage", codecs.choice("file", "memory"), update=refused(10052, RECREATE_BY_HAND))
REPLICAS = Field("replicas", codecs.whole(1, 5, zero=1), wire="num_replicas")

SPEC = Spec(
    (
        Field("name", STREAM_NAME, argument_extra={"required": True}),
        DESCRIPTION,
        Field("subjects", codecs.names(SUBJECT)),
        Field(
            "retention",
            codecs.choice("limits", "interest", "workqueue"),
            update=refused(10052, RECREATE_BY_HAND, lambda before, after, release: "workqueue" in (before, after)),
        ),
        Field(
            "max_consumers",
            limit(),
            update=refused(10052, "Upgrade to nats-server 2.12.", lambda before, after, release: release < V2_12),
        ),
        Field("max_msgs", limit()),
        Field("max_bytes", codecs.size()),
        Field("max_msgs_per_subject", limit()),
        Field("max_age", codecs.duration(0.1)),
        Field("max_msg_size", codecs.size((1 << 31) - 1)),
        STORAGE,
        Field("compression", codecs.choice("none", "s2")),
        Field(
            "first_seq",
            codecs.whole(0),
            update=without_effect("It counts only when a stream is created: leave the option out."),
        ),
        REPLICAS,
        Field("no_ack", codecs.boolean()),
        Field("discard", codecs.choice("old", "new")),
        Field("discard_new_per_subject", codecs.boolean()),
        Field("duplicate_window", codecs.duration(0.1, nothing="is the default")),
        Field("placement", PLACEMENT),
        Field("mirror", _MIRROR, update=MIRROR_CHANGE),
        Field("sources", _SOURCES),
        Field("subject_transform", codecs.obj(*TRANSFORM)),
        Field("republish", REPUBLISH),
        Field("allow_direct", codecs.boolean()),
        Field("mirror_direct", codecs.boolean()),
        Field(
            "sealed",
            codecs.boolean(),
            update=only_once_on(10052, "A sealed stream stays sealed: delete it to be rid of it."),
        ),
        Field("deny_delete", codecs.boolean(), update=only_once_on(10052, ONCE_ON)),
        Field("deny_purge", codecs.boolean(), update=only_once_on(10052, ONCE_ON)),
        Field("allow_rollup_hdrs", codecs.boolean()),
        Field("consumer_limits", CONSUMER_LIMITS),
        METADATA,
        Field("allow_msg_ttl", codecs.boolean(), since=V2_11, update=only_once_on(10052, ONCE_ON)),
        Field("subject_delete_marker_ttl", codecs.duration(1), since=V2_11),
        Field("allow_msg_counter", codecs.boolean(), since=V2_12, update=refused(10052, RECREATE_EMPTY)),
        Field("allow_atomic", codecs.boolean(), since=V2_12),
        Field("allow_batched", codecs.boolean(), since=V2_14),
        Field("allow_msg_schedules", codecs.boolean(), since=V2_12, update=only_once_on(10052, ONCE_ON)),
        Field("persist_mode", codecs.choice("default", "async"), since=V2_12, update=refused(10052, RECREATE_BY_HAND)),
    )
)


class StreamResource(StreamBacked):
    noun = "stream"
    spec = SPEC
    states = MappingProxyType({**WITH_DATA, PEDANTIC.option: PEDANTIC.argument()})

    def plan_change(self, current: Current, options: Mapping[str, Any], server: Server) -> Plan:
        return pedantically(super().plan_change(current, options, server), options, server)

    def complete(self, name: str, desired: dict[str, Any], current: Mapping[str, Any]) -> dict[str, Any]:
        if desired.get("sealed"):
            desired = {**SEALED, **desired}
        if desired.get("subject_delete_marker_ttl"):
            desired = {**WITH_MARKERS, **desired}
        if desired.get("allow_msg_schedules"):
            desired = {**WITH_SCHEDULES, **desired}
        if desired.get("duplicate_window") == 0 and not (desired.get("mirror") or desired.get("sources")):
            age = desired.get("max_age", current.get("max_age"))
            desired = {**desired, "duplicate_window": window_for(age)}  # what the server makes of 0
        if desired.get("mirror") == {} and current.get("mirror_direct"):
            desired = {"mirror_direct": False, **desired}  # the server would refuse it without a mirror
        return desired

    def unmanaged(
        self, name: str, desired: Mapping[str, Any], current: Mapping[str, Any], server: Server
    ) -> dict[str, Any]:
        from .exact import keep_mirror

        keep_mirror(f"stream {name}", desired, current)
        wanted = super().unmanaged(name, desired, current, server)
        if desired.get("mirror") or desired.get("sources"):
            # Their subjects are those of the origins, and what follows from these is the server's choice
            return {path: value for path, value in wanted.items() if path not in ("duplicate_window", "mirror_direct")}
        return {**wanted, "subjects": [name], "duplicate_window": window_for(desired.get("max_age"))}

    def expected(self, config: Mapping[str, Any]) -> dict[str, Any]:
        filled = dict(config)
        if not (filled.get("mirror") or filled.get("sources")):
            filled["subjects"] = filled.get("subjects") or [filled["name"]]
            filled["duplicate_window"] = filled.get("duplicate_window") or window_for(filled.get("max_age"))
        return filled


STREAM = StreamResource()
