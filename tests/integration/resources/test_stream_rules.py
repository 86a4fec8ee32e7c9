# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fields of a stream that contradict each other: the plan refuses them, and so does the server, or it changes them
silently.

When a new server accepts what is refused here, the rule has to be removed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.choria.streams.plugins.module_utils._api import streams
from ansible_collections.choria.streams.plugins.module_utils._errors import ApiError, OptionError, Refused
from ansible_collections.choria.streams.plugins.module_utils._resources.kv.bucket import BUCKET
from ansible_collections.choria.streams.plugins.module_utils._resources.resource import merged, to_wire
from ansible_collections.choria.streams.plugins.module_utils._resources.stream.stream import STREAM
from support.manage import Manager
from support.server import NatsServer

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.once


@pytest.fixture(scope="module", params=["latest", "2.14", "2.10"])
def manager(request: pytest.FixtureRequest) -> Iterator[Manager]:
    version = None if request.param == "latest" else request.param
    with NatsServer(version=version) as server, Manager(servers=server.url) as manager:
        manager.apply(STREAM, name="ORIGIN", subjects=["origin.>"])
        manager.apply(BUCKET, name="ORIGIN")
        yield manager


MIRROR: dict[str, Any] = {"mirror": {"name": "ORIGIN"}}
SCHEDULED: dict[str, Any] = {"allow_msg_schedules": True}
BOTH = {"name": "ORIGIN", "filter_subject": "origin.a", "subject_transforms": [{"src": "origin.a", "dest": "b"}]}
# The existing configuration, or None for a new stream; the given options; and the beginning of the refusal
CASES: list[tuple[dict[str, Any] | None, dict[str, Any], str]] = [
    (None, {"subjects": ["a.>", "a.b"]}, "subjects: 'a.>' and 'a.b' overlap: leave one out."),
    (None, {"subjects": ["a", "a"]}, "subjects: 'a' and 'a' overlap"),
    (None, {"subjects": ["$JS.API.>"]}, "subjects: '$JS.API.>' takes the server's own messages, which wait for no"),
    (None, {"subjects": ["$SYS.>"]}, "subjects: '$SYS.>' takes the server's own messages"),
    ({"subjects": ["$JS.API.>"], "no_ack": True}, {"no_ack": False}, "no_ack: '$JS.API.>' takes the server's own"),
    (None, {"subjects": ["a.>"], "republish": {"dest": "a.>"}}, "republish: dest 'a.>' comes back by the subject 'a."),
    (
        {"subjects": ["a.*"]},
        {"republish": {"src": "a.*", "dest": "a.{{wildcard(1)}}"}},
        "republish: dest 'a.{{wildcard(1)}}' comes back by the subject 'a.*' of the stream itself: choose one that",
    ),
    (None, {**MIRROR, "subjects": ["a"]}, "subjects: a mirror can't have subjects: leave one out."),
    (None, {**MIRROR, "sources": [{"name": "ORIGIN"}]}, "sources: a mirror can't have sources"),
    (None, {**MIRROR, "first_seq": 5}, "first_seq: a mirror can't have first_seq"),
    (None, {**MIRROR, "allow_msg_counter": True}, "allow_msg_counter: a mirror can't have allow_msg_counter"),
    (None, {**MIRROR, "allow_atomic": True}, "allow_atomic: a mirror can't have allow_atomic"),
    (MIRROR, {"allow_atomic": True}, "allow_atomic: a mirror can't have allow_atomic"),
    (None, {**MIRROR, "allow_batched": True}, "allow_batched: a mirror can't have allow_batched"),
    (None, {**MIRROR, **SCHEDULED}, "allow_msg_schedules: a mirror can't have allow_msg_schedules"),
    (None, {**MIRROR, "subject_delete_marker_ttl": "1m"}, "subject_delete_marker_ttl: a mirror can't have subject_d"),
    (None, {"mirror": {"name": "NEW"}}, "mirror: NEW is the stream itself: name another one."),
    (None, {"mirror": BOTH}, "mirror: ORIGIN has filter_subject and subject_transforms: leave one out, src of a"),
    (None, {"mirror_direct": True}, "mirror_direct: is for mirrors, and this stream has no mirror: leave it out."),
    (None, {"sources": [{"name": "NEW"}]}, "sources: NEW is the stream itself"),
    (None, {"sources": [BOTH]}, "sources: ORIGIN has filter_subject and subject_transforms"),
    (
        None,
        {"sources": [{"name": "ORIGIN"}, {"name": "ORIGIN", "opt_start_seq": 3}]},
        "sources: ORIGIN is there twice, with the same filter: leave one out.",
    ),
    (None, {"duplicate_window": "2h", "max_age": "1h"}, "duplicate_window: 7200s is longer than max_age, which is 36"),
    ({"max_age": "1h"}, {"duplicate_window": "2h"}, "duplicate_window: 7200s is longer than max_age, which is 3600s:"),
    (None, {"discard_new_per_subject": True}, "discard_new_per_subject: needs discard: new."),
    (
        None,
        {"discard_new_per_subject": True, "discard": "new"},
        "discard_new_per_subject: needs a limit in max_msgs_per_subject.",
    ),
    (
        {"discard_new_per_subject": True, "discard": "new", "max_msgs_per_subject": 1},
        {"discard": "old"},
        "discard: discard_new_per_subject needs discard: new.",
    ),
    (
        {"discard_new_per_subject": True, "discard": "new", "max_msgs_per_subject": 1},
        {"max_msgs_per_subject": -1},
        "max_msgs_per_subject: discard_new_per_subject needs a limit in max_msgs_per_subject.",
    ),
    (None, {"allow_msg_counter": True, "discard": "new"}, "allow_msg_counter: needs discard: old."),
    ({"allow_msg_counter": True}, {"discard": "new", "max_msgs": 1}, "discard: allow_msg_counter needs discard: old."),
    (None, {"allow_msg_counter": True, "allow_msg_ttl": True}, "allow_msg_ttl: does not go with allow_m"),
    (None, {"allow_msg_counter": True, **SCHEDULED}, "allow_msg_schedules: does not go with allo"),
    (None, {"allow_msg_counter": True, "retention": "interest"}, "allow_msg_counter: needs retenti"),
    (None, {**SCHEDULED, "discard": "new"}, "allow_msg_schedules: needs discard: old."),
    (None, {**SCHEDULED, "sources": [{"name": "ORIGIN"}]}, "allow_msg_schedules: does not go with"),
    (None, {**SCHEDULED, "allow_rollup_hdrs": False}, "allow_msg_schedules: needs allow_rollup_h"),
    (SCHEDULED, {"allow_rollup_hdrs": False}, "allow_rollup_hdrs: allow_msg_schedules needs allow_rollup_hdrs: true."),
    (None, {"persist_mode": "async", "storage": "memory"}, "persist_mode: async needs storage: file."),
    (None, {"persist_mode": "async", "allow_atomic": True}, "persist_mode: async needs allow_atomic: f"),
    ({"persist_mode": "async"}, {"allow_atomic": True}, "allow_atomic: persist_mode: async needs allow_atomic: false."),
    (
        None,
        {"subject_delete_marker_ttl": "1m", "allow_msg_ttl": False},
        "subject_delete_marker_ttl: needs allow_msg_ttl: true.",
    ),
    (
        {"subject_delete_marker_ttl": "1m"},
        {"allow_rollup_hdrs": False},
        "allow_rollup_hdrs: subject_delete_marker_ttl needs allow_rollup_hdrs: true.",
    ),
    (
        None,
        {"subject_delete_marker_ttl": "1m", "deny_purge": True},
        "subject_delete_marker_ttl: needs deny_purge: false.",
    ),
    (None, {"allow_rollup_hdrs": True, "deny_purge": True}, "allow_rollup_hdrs: a roll-up is a purge, and deny_purge"),
    ({"deny_purge": True}, {"allow_rollup_hdrs": True}, "allow_rollup_hdrs: a roll-up is a purge, and deny_purge is t"),
    ({}, {"sealed": True, "max_age": "1h"}, "max_age: sealed: true sets it to 0: leave it out."),
    ({}, {"sealed": True, "deny_purge": False}, "deny_purge: sealed: true sets it to true: leave it out."),
    (
        {},
        {"sealed": True, "allow_rollup_hdrs": True},
        "allow_rollup_hdrs: sealed: true sets it to false: leave it out.",
    ),
]


@pytest.mark.parametrize(("there", "given", "start"), CASES)
def test_refused_by_both(manager: Manager, there: dict[str, Any] | None, given: dict[str, Any], start: str) -> None:
    try:
        if there is not None:
            manager.apply(STREAM, name="NEW", **there)
        with pytest.raises(OptionError) as refusal:
            manager.plan(STREAM, name="NEW", **given)
    except Refused as too_old:
        assert too_old.failure["code"] == "server_too_old"
        assert manager.session.server.version < (2, 14)
    else:
        assert refusal.value.message.startswith(start)
        asked = to_wire(STREAM.spec, given, manager.session.server)
        try:
            if there is None:
                answer = streams.create(manager.session, {"name": "NEW", **asked})
            else:
                answer = streams.update(manager.session, merged(manager.config("NEW"), asked))
        except ApiError as refused:
            assert refused.err_code
        else:
            assert any(answer["config"].get(path) != value for path, value in asked.items())
    finally:
        streams.delete(manager.session, "NEW")


def test_sealing_ends_rollups(manager: Manager) -> None:
    """Servers refuse roll-ups beside ``deny_purge``, and turn them off if a stream is sealed."""
    manager.apply(STREAM, name="NEW", allow_rollup_hdrs=True)
    try:
        planned = manager.apply(STREAM, name="NEW", sealed=True)
        assert {change.field: change.after for change in planned.changes}["allow_rollup_hdrs"] is False
        assert manager.config("NEW")["allow_rollup_hdrs"] is False
        assert not manager.plan(STREAM, name="NEW", sealed=True).changed
    finally:
        streams.delete(manager.session, "NEW")


@pytest.mark.parametrize(
    ("given", "start"),
    [
        (
            {"mirror": {"name": "ORIGIN"}, "limit_marker_ttl": "1m"},
            "limit_marker_ttl: a mirror can't have limit_marker",
        ),
        ({"republish": {"dest": "$KV.>"}}, "republish: dest '$KV.>' comes back by the subject '$KV.NEW.>'"),
        ({"name": "x" * 253}, "name: has 253 bytes, the server takes at most 252."),
        ({"metadata": {"a": "x" * 131072}}, "metadata: has 131073 bytes, the server takes at most 131072."),
    ],
)
def test_buckets(manager: Manager, given: dict[str, Any], start: str) -> None:
    try:
        with pytest.raises(OptionError) as refusal:
            manager.plan(BUCKET, **{"name": "NEW", **given})
    except Refused as too_old:
        assert too_old.failure["code"] == "server_too_old"
    else:
        assert refusal.value.message.startswith(start)


def test_values_that_the_server_fills_in_are_foreseen(manager: Manager) -> None:
    """Zero is the default of the duplicate window, and schedules include roll-ups."""
    manager.apply(STREAM, name="FILLED", duplicate_window=0, max_age="1m")
    assert manager.config("FILLED")["duplicate_window"] == 60 * 10**9
    manager.apply(STREAM, name="FILLED", duplicate_window="30s")
    assert manager.apply(STREAM, name="FILLED", duplicate_window=0).changed
    assert not manager.plan(STREAM, name="FILLED", duplicate_window=0).changed
    if manager.session.server.version >= (2, 12):
        planned = manager.apply(STREAM, name="FILLED", allow_msg_schedules=True)
        assert planned.after
        assert planned.after["allow_rollup_hdrs"] is manager.config("FILLED")["allow_rollup_hdrs"] is True
    streams.delete(manager.session, "FILLED")
