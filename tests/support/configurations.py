# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Random configurations of streams, buckets and consumers, as options of the modules. Some contradict themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ansible_collections.choria.streams.plugins.module_utils._options.fields import Spec

    Values = Mapping[str, st.SearchStrategy[Any]]

# Streams that others can copy from, with a message on each subject
ORIGINS: list[dict[str, Any]] = [
    {"name": "ORIGIN", "subjects": ["origin.>"]},
    {"name": "LIMITED", "subjects": ["limited.a", "limited.b.*"], "max_msg_size": 500},
    {"name": "KV_ORIGIN", "subjects": ["$KV.ORIGIN.>"], "allow_direct": True},
]
_MOST_OPTIONS = 7

_flag = st.booleans()
_text = st.sampled_from(["", "x", "Ünïcödé", "with 'quotes'"])
_limit = st.sampled_from([-1, 0, 1, 2, 5, 1000])
_size = st.sampled_from([-1, 0, 1, 100, "4KiB", "1MiB"])
_duration = st.sampled_from([0, 0.1, "100ms", "1s", 1.5, "90s", "2m", "29359387571ms", "1h", "7d", "1y"])
_labels = st.dictionaries(st.sampled_from(["team", "a.b", "ü"]), _text, max_size=2)
_placement = st.sampled_from([{}, {"tags": []}, {"cluster": ""}])
_moment = st.sampled_from(["2026-01-02T03:04:05Z", "2026-01-02T03:04:05.678+01:00", "2026-01-02T03:04:05.123456789Z"])
_repub = ["again.>", "again.a", "again.{{wildcard(1)}}", "again"]
_republish = st.fixed_dictionaries(
    {"dest": st.sampled_from(_repub)},
    optional={"src": st.sampled_from([">", "*.a", "*.>", "S.a"]), "headers_only": _flag},
)
_transform = st.fixed_dictionaries(
    {
        "src": st.sampled_from([">", "origin.>", "origin.*", "limited.a", "limited.b.*", "$KV.ORIGIN.>"]),
        "dest": st.sampled_from(["to.>", "to.{{wildcard(1)}}", "to.a", "to.{{wildcard(2)}}", "to.$1", "$KV.B.>"]),
    }
)


def _origin(names: list[str], filters: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {"name": st.sampled_from(names)},
        optional={
            "opt_start_seq": st.sampled_from([0, 1, 7]),
            "opt_start_time": _moment,
            "filter_subject": st.sampled_from(filters),
            "external": st.sampled_from([{"api": "$JS.hub.API"}, {"api": "$JS.hub.API", "deliver": "hub.deliver"}]),
            "subject_transforms": st.lists(_transform, max_size=2),
        },
    )


_STREAM_ORIGIN = _origin(["ORIGIN", "LIMITED", "NOWHERE"], ["", ">", "origin.>", "limited.a", "origin.a", "else.where"])
_BUCKET_ORIGIN = _origin(["ORIGIN", "KV_ORIGIN", "NOWHERE", "LIMITED"], ["", ">", "app.>", "*.x", "$KV.ORIGIN.a", "a"])

_COMMON: dict[str, st.SearchStrategy[Any]] = {
    "description": _text,
    "replicas": st.sampled_from([0, 1]),
    "storage": st.sampled_from(["file", "memory"]),
    "metadata": _labels,
    "placement": _placement,
    "republish": st.one_of(st.just({}), _republish),
}
STREAM_VALUES: dict[str, st.SearchStrategy[Any]] = {
    **_COMMON,
    "subjects": st.lists(st.sampled_from(["S", "S.a", "S.b", "S.*", "S.b.>", "S.*.c", "S.>"]), max_size=3),
    "retention": st.sampled_from(["limits", "interest", "workqueue"]),
    "max_consumers": _limit,
    "max_msgs": _limit,
    "max_bytes": _size,
    "max_msgs_per_subject": _limit,
    "max_age": _duration,
    "max_msg_size": _size,
    "compression": st.sampled_from(["none", "s2"]),
    "first_seq": st.sampled_from([0, 1, 2, 100]),
    "no_ack": _flag,
    "discard": st.sampled_from(["old", "new"]),
    "discard_new_per_subject": _flag,
    "duplicate_window": _duration,
    "mirror": st.one_of(st.just({}), _STREAM_ORIGIN),
    "sources": st.lists(_STREAM_ORIGIN, max_size=3),
    "subject_transform": st.one_of(st.just({}), _transform),
    "allow_direct": _flag,
    "mirror_direct": _flag,
    "sealed": _flag,
    "deny_delete": _flag,
    "deny_purge": _flag,
    "allow_rollup_hdrs": _flag,
    "consumer_limits": st.fixed_dictionaries(
        {}, optional={"inactive_threshold": _duration, "max_ack_pending": st.sampled_from([-1, 0, 5, 5000])}
    ),
    "allow_msg_ttl": _flag,
    "subject_delete_marker_ttl": st.sampled_from([0, "1s", "1h"]),
    "allow_msg_counter": _flag,
    "allow_atomic": _flag,
    "allow_batched": _flag,
    "allow_msg_schedules": _flag,
    "persist_mode": st.sampled_from(["default", "async"]),
}
BUCKET_VALUES: dict[str, st.SearchStrategy[Any]] = {
    **_COMMON,
    "history": st.sampled_from([0, 1, 5, 64]),
    "allow_direct": _flag,
    "ttl": _duration,
    "max_value_size": _size,
    "max_bucket_size": _size,
    "compression": _flag,
    "mirror": st.one_of(st.just({}), _BUCKET_ORIGIN),
    "sources": st.lists(_BUCKET_ORIGIN, max_size=2),
    "limit_marker_ttl": st.sampled_from([0, "1s", "1h"]),
}
CONSUMER_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "description": _text,
    "deliver_policy": st.sampled_from(["all", "last", "new", "by_start_sequence", "by_start_time", "last_per_subject"]),
    "opt_start_seq": st.sampled_from([0, 1, 7]),
    "opt_start_time": _moment,
    "ack_policy": st.sampled_from(["none", "all", "explicit", "flow_control"]),
    "ack_wait": st.sampled_from([0, "1s", "30s", "29359387571ms"]),
    "max_deliver": st.sampled_from([-1, 0, 1, 5]),
    "backoff": st.sampled_from([[], ["1s"], ["1s", "2s", "1m"], ["30s", "1m"]]),
    "filter_subject": st.sampled_from(["", ">", "S.>", "S.a", "S.*", "else.where"]),
    "filter_subjects": st.lists(st.sampled_from(["S.a", "S.b", "S.*", "S.b.>", "else.where"]), max_size=3),
    "replay_policy": st.sampled_from(["instant", "original"]),
    "deliver_subject": st.sampled_from(["", "to.me", "S.a"]),
    "deliver_group": st.sampled_from(["", "group"]),
    "rate_limit_bps": st.sampled_from([0, 4096]),
    "flow_control": _flag,
    "idle_heartbeat": st.sampled_from([0, "1s", "5s"]),
    "sample_freq": st.sampled_from(["", "0", "50", "100%"]),
    "max_waiting": st.sampled_from([0, 1, 512, 2000]),
    "max_ack_pending": st.sampled_from([-1, 0, 1, 1000]),
    "headers_only": _flag,
    "max_batch": st.sampled_from([0, 10]),
    "max_expires": st.sampled_from([0, "1s", "1ms"]),
    "max_bytes": _size,
    "inactive_threshold": st.sampled_from([0, "1s", "1h"]),
    "replicas": st.sampled_from([0, 1]),
    "mem_storage": _flag,
    "metadata": _labels,
    "paused_until": st.sampled_from(["", "2126-01-01T00:00:00Z"]),
    "priority_policy": st.sampled_from(["none", "overflow", "pinned_client", "prioritized"]),
    "priority_groups": st.sampled_from([[], ["one"]]),
    "priority_timeout": st.sampled_from([0, "5s"]),
}


@st.composite
def given_options(draw: st.DrawFn, values: Values, spec: Spec, release: tuple[int, ...]) -> dict[str, Any]:
    """Draw a few options that a server of this release knows. Many options would mostly contradict each other."""
    known = sorted(row.option for row in spec if row.option in values and row.since <= release)
    chosen = draw(st.lists(st.sampled_from(known), unique=True, max_size=_MOST_OPTIONS))
    return {option: draw(values[option]) for option in chosen}
