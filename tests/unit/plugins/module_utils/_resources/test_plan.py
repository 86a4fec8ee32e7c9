# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Plans of streams, buckets and governors without a server: requests, results, losses and refusals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.choria.streams.plugins.module_utils._connection.wire import Server
from ansible_collections.choria.streams.plugins.module_utils._errors import OptionError, Refused
from ansible_collections.choria.streams.plugins.module_utils._resources.governor.governor import GOVERNOR
from ansible_collections.choria.streams.plugins.module_utils._resources.kv.bucket import BUCKET
from ansible_collections.choria.streams.plugins.module_utils._resources.losses import Loss, Measured
from ansible_collections.choria.streams.plugins.module_utils._resources.stream.base import Current
from ansible_collections.choria.streams.plugins.module_utils._resources.stream.stream import STREAM
from support.connect import options

if TYPE_CHECKING:
    from ansible_collections.choria.streams.plugins.module_utils._resources.resource import Plan
    from ansible_collections.choria.streams.plugins.module_utils._resources.stream.base import StreamBacked

SECOND = 10**9
NOTHING = Measured()
NEW, OLD = (2, 15, 1), (2, 10, 26)
NOW, EARLIER = "2026-03-01T12:00:00.5Z", "2026-03-01T11:00:00Z"
# Fields that a server adds to each stream
FILLED: dict[str, Any] = {
    "retention": "limits",
    "max_consumers": -1,
    "max_msgs": -1,
    "max_bytes": -1,
    "max_age": 0,
    "max_msgs_per_subject": -1,
    "max_msg_size": -1,
    "discard": "old",
    "storage": "file",
    "num_replicas": 1,
    "duplicate_window": 120 * SECOND,
    "compression": "none",
    "allow_direct": False,
    "mirror_direct": False,
    "sealed": False,
    "deny_delete": False,
    "deny_purge": False,
    "allow_rollup_hdrs": False,
    "consumer_limits": {},
    "allow_msg_ttl": False,
    "metadata": {"_nats.level": "5", "_nats.req.level": "0", "_nats.ver": "2.15.1"},
}
EMPTY = {
    "messages": 0,
    "bytes": 0,
    "num_subjects": 0,
    "consumer_count": 0,
    "first_seq": 0,
    "first_ts": EARLIER,
    "last_seq": 0,
    "last_ts": EARLIER,
}
# The configuration on the server, besides FILLED
ORDERS = {"name": "ORDERS", "subjects": ["orders.>"]}
CFG = {
    "name": "KV_CFG",
    "subjects": ["$KV.CFG.>"],
    "max_msgs_per_subject": 5,
    "discard": "new",
    "allow_rollup_hdrs": True,
    "deny_delete": True,
    "allow_direct": True,
    "max_msgs": -1,
    "max_consumers": -1,
}
PUPPET = {
    "name": "GOVERNOR_PUPPET",
    "description": "Concurrency Governor PUPPET",
    "subjects": ["mcollective.governor.PUPPET"],
    "max_msgs": 2,
    "max_age": 1200 * SECOND,
    "discard": "new",
}
KINDS: dict[str, StreamBacked] = {"ORDERS": STREAM, "CFG": BUCKET, "PUPPET": GOVERNOR}
THERE: dict[str, dict[str, Any]] = {"ORDERS": ORDERS, "CFG": CFG, "PUPPET": PUPPET}


def plan(
    name: str,
    given: dict[str, Any],
    config: dict[str, Any] | None = None,
    state: dict[str, Any] | None = None,
    *,
    measured: Measured = NOTHING,
    taken: dict[str, str] | None = None,
    release: tuple[int, ...] = NEW,
    clustered: bool = False,
) -> Plan:
    """Return the plan for a resource that has this configuration on the server, or does not exist there."""
    info: Any = None
    if config is not None:
        there = {**EMPTY, **(state or {})}
        info = {"config": {**FILLED, **config}, "state": there, "created": EARLIER, "ts": NOW}
    kind = KINDS[name]
    server = Server("n1", release, jetstream=True, clustered=clustered, max_payload=1 << 20)
    return kind.plan(Current(info, measured, taken), options(kind, name=name, **given), server)


# Creations


CREATED: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("ORDERS", {}, {"name": "ORDERS"}),
    (
        "ORDERS",
        {"subjects": ["orders.>"], "max_age": "7d", "max_bytes": "1GiB", "replicas": 1, "placement": {}},
        {
            "name": "ORDERS",
            "subjects": ["orders.>"],
            "max_age": 604800 * SECOND,
            "max_bytes": 1 << 30,
            "num_replicas": 1,
        },
    ),
    (
        "ORDERS",
        {"subject_delete_marker_ttl": "1m"},
        {
            "name": "ORDERS",
            "subject_delete_marker_ttl": 60 * SECOND,
            "allow_msg_ttl": True,
            "allow_rollup_hdrs": True,
        },
    ),
    (
        "CFG",
        {},
        {
            "name": "KV_CFG",
            "subjects": ["$KV.CFG.>"],
            "max_msgs_per_subject": 1,
            "discard": "new",
            "allow_rollup_hdrs": True,
            "deny_delete": True,
            "allow_direct": True,
            "max_msgs": -1,
            "max_consumers": -1,
        },
    ),
    (
        "CFG",
        {"history": 5, "ttl": "1m", "limit_marker_ttl": "1s", "compression": True, "max_bucket_size": "1MiB"},
        {
            **CFG,
            "max_age": 60 * SECOND,
            "duplicate_window": 60 * SECOND,
            "subject_delete_marker_ttl": SECOND,
            "allow_msg_ttl": True,
            "compression": "s2",
            "max_bytes": 1 << 20,
        },
    ),
    (
        "CFG",
        {"mirror": {"name": "ORIGIN"}},
        {
            **{path: value for path, value in CFG.items() if path != "subjects"},
            "max_msgs_per_subject": 1,
            "mirror": {"name": "KV_ORIGIN"},
            "mirror_direct": True,
            "duplicate_window": 120 * SECOND,
        },
    ),
    (
        "PUPPET",
        {"capacity": 2, "expire": "20m"},
        {**PUPPET, "retention": "limits", "duplicate_window": 120 * SECOND},
    ),
    (
        "PUPPET",
        {"capacity": 2, "expire": "1m", "collective": "prod"},
        {
            **PUPPET,
            "subjects": ["prod.governor.PUPPET"],
            "max_age": 60 * SECOND,
            "retention": "limits",
            "duplicate_window": 60 * SECOND,
        },
    ),
]


@pytest.mark.parametrize(("name", "given", "request_"), CREATED)
def test_created(name: str, given: dict[str, Any], request_: dict[str, Any]) -> None:
    planned = plan(name, given)
    assert planned.action == "create"
    assert planned.request == request_
    assert planned.before is None
    assert {change["effect"] for change in planned.change_list} <= {"create"}
    assert planned.diff["before"] == {}
    assert planned.after
    assert planned.diff["after"].items() <= planned.after.items()
    assert planned.consequences == {"messages_lost": 0, "consumers_lost": 0}


def test_values_that_the_server_fills_in_are_foreseen() -> None:
    after = plan("ORDERS", {"max_age": "1m"}).after
    assert after
    assert (after["subjects"], after["duplicate_window"], after["created"]) == (["ORDERS"], 60, None)
    after = plan("ORDERS", {"mirror": {"name": "A"}}).after
    assert after
    assert (after["subjects"], after["duplicate_window"]) == ([], 0)


@pytest.mark.parametrize(
    ("source", "transform"),
    [
        ({"name": "A"}, {"src": "$KV.A.>", "dest": "$KV.CFG.>"}),
        ({"name": "KV_A"}, {"src": "$KV.A.>", "dest": "$KV.CFG.>"}),
        (
            {"name": "A", "filter_subject": "$KV.A.x.*.y.*.>"},
            {"src": "$KV.A.x.*.y.*.>", "dest": "$KV.CFG.x.{{wildcard(1)}}.y.{{wildcard(2)}}.>"},
        ),
        ({"name": "A", "filter_subject": "x.*.>"}, {"src": "$KV.A.x.*.>", "dest": "$KV.CFG.x.{{wildcard(1)}}.>"}),
        ({"name": "A", "filter_subject": "$KV.*.x"}, {"src": "$KV.A.x", "dest": "$KV.CFG.x"}),
        ({"name": "A", "filter_subject": ">"}, {"src": "$KV.A.>", "dest": "$KV.CFG.>"}),
        ({"name": "A", "external": {"api": "$JS.hub.API"}}, {"src": "$KV.A.>", "dest": "$KV.CFG.>"}),
    ],
)
def test_keys_of_a_buckets_sources_get_its_own_name(source: dict[str, Any], transform: dict[str, str]) -> None:
    [sent] = plan("CFG", {"sources": [source]}).request["sources"]
    external = {"external": source["external"]} if "external" in source else {}
    assert sent == {"name": "KV_A", **external, "subject_transforms": [transform]}


@pytest.mark.parametrize(
    ("source", "sent"),
    [
        ({"name": "A", "subject_transforms": [{"src": "a.>", "dest": "$KV.CFG.>"}]}, None),
        ({"name": "A", "subject_transforms": []}, {"name": "A"}),
        ({"name": "KV_A", "subject_transforms": []}, {"name": "KV_A"}),
        ({"name": "A", "filter_subject": "a.>", "subject_transforms": []}, {"name": "A", "filter_subject": "a.>"}),
        (
            {"name": "CFG", "external": {"api": "$JS.hub.API"}},
            {"name": "KV_CFG", "external": {"api": "$JS.hub.API"}},
        ),
    ],
)
def test_a_buckets_source_that_is_taken_as_it_is(source: dict[str, Any], sent: dict[str, Any] | None) -> None:
    """Origins with transforms are names of streams, as in nats.go. Results distinguish both forms."""
    planned = plan("CFG", {"sources": [source]})
    assert planned.request["sources"] == [sent or source]
    assert planned.after
    again = plan("CFG", {"sources": planned.after["sources"]}, planned.request)
    assert not again.changed
    other = {"name": f"KV_{source['name'].removeprefix('KV_')}X", "subject_transforms": []}
    assert plan("CFG", {"sources": [other]}).after != planned.after


def test_a_filter_that_matches_no_key_is_refused() -> None:
    wrong = {"name": "A", "filter_subject": "$KV.B.>"}
    for given in ({"sources": [wrong]}, {"mirror": wrong}):
        with pytest.raises(
            OptionError, match=r"filter_subject: '\$KV\.B\.>' matches no key of bucket A, whose subjects"
        ):
            plan("CFG", given)
    mirror = plan("CFG", {"mirror": {"name": "A", "filter_subject": "app.*"}}).request["mirror"]
    assert mirror == {"name": "KV_A", "filter_subject": "$KV.A.app.*"}


# Updates


SAME: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("ORDERS", {}, {}),
    ("ORDERS", {"subjects": ["orders.>"], "replicas": 1, "max_msgs": -1, "max_bytes": 0, "max_age": 0}, {}),
    ("ORDERS", {"retention": "limits", "compression": "none", "persist_mode": "default", "metadata": {}}, {}),
    ("ORDERS", {"mirror": {}, "sources": [], "republish": {}, "placement": {}, "consumer_limits": {}}, {}),
    ("ORDERS", {"republish": {"dest": "out"}}, {"republish": {"src": ">", "dest": "out"}}),
    (
        "ORDERS",
        {"sealed": True, "max_age": 0},
        {"sealed": True, "discard": "new", "deny_delete": True, "deny_purge": True},
    ),
    ("CFG", {}, {}),
    ("CFG", {"history": 5, "ttl": 0, "compression": False, "limit_marker_ttl": 0}, {}),
    ("CFG", {"ttl": "1m"}, {"max_age": 60 * SECOND, "duplicate_window": 60 * SECOND}),
    ("PUPPET", {}, {}),
    ("PUPPET", {"capacity": 2, "expire": "1200", "replicas": 1}, {}),
    ("PUPPET", {"capacity": 2, "expire": "20m"}, {"duplicate_window": 60 * SECOND, "subjects": ["c2.governor.PUPPET"]}),
]


@pytest.mark.parametrize(("name", "given", "config"), SAME)
def test_nothing_to_do(name: str, given: dict[str, Any], config: dict[str, Any]) -> None:
    planned = plan(name, given, {**THERE[name], **config})
    assert planned.action == "none"
    assert planned.changes == ()
    assert planned.before == planned.after
    assert not planned.request


# name, options, configuration on the server, changes as (field, before, after), request
UPDATED: list[tuple[str, dict[str, Any], dict[str, Any], list[tuple[str, Any, Any]], dict[str, Any]]] = [
    (
        "ORDERS",
        {"max_age": "1m", "description": "All orders"},
        {},
        [("description", "", "All orders"), ("max_age", 0, 60), ("duplicate_window", 120, 60)],
        {"max_age": 60 * SECOND, "description": "All orders", "duplicate_window": 60 * SECOND},
    ),
    (
        "ORDERS",
        {"max_age": "1m", "duplicate_window": "10s"},
        {},
        [("max_age", 0, 60), ("duplicate_window", 120, 10)],
        {"max_age": 60 * SECOND, "duplicate_window": 10 * SECOND},
    ),
    (
        "ORDERS",
        {"metadata": {"owner": "shop"}},
        {"metadata": {**FILLED["metadata"], "old": "x"}},
        [("metadata", {"old": "x"}, {"owner": "shop"})],
        {"metadata": {**FILLED["metadata"], "owner": "shop"}},
    ),
    (
        "ORDERS",
        {"sealed": True},
        {},
        [("discard", "old", "new"), ("sealed", False, True), ("deny_delete", False, True), ("deny_purge", False, True)],
        {"sealed": True, "discard": "new", "deny_delete": True, "deny_purge": True},
    ),
    (
        "CFG",
        {"ttl": "1m"},
        {},
        [("ttl", 0, 60), ("duplicate_window", 120, 60)],
        {"max_age": 60 * SECOND, "duplicate_window": 60 * SECOND},
    ),
    (
        "CFG",
        {},
        {"discard": "old", "deny_delete": False, "subjects": ["$KV.CFG.>", "more"]},
        [("subjects", ["$KV.CFG.>", "more"], ["$KV.CFG.>"]), ("discard", "old", "new"), ("deny_delete", False, True)],
        {"discard": "new", "deny_delete": True, "subjects": ["$KV.CFG.>"]},
    ),
    (
        "CFG",
        {},
        {"max_msgs": 7, "max_consumers": 3, "allow_direct": False},
        [("max_consumers", 3, -1), ("max_msgs", 7, -1)],
        {"max_msgs": -1, "max_consumers": -1},
    ),
    ("PUPPET", {"capacity": 5}, {}, [("capacity", 2, 5)], {"max_msgs": 5}),
    (
        "PUPPET",
        {"expire": "1m", "collective": "prod"},
        {},
        [
            ("expire", 1200, 60),
            ("subjects", ["mcollective.governor.PUPPET"], ["prod.governor.PUPPET"]),
            ("duplicate_window", 120, 60),
        ],
        {"max_age": 60 * SECOND, "subjects": ["prod.governor.PUPPET"], "duplicate_window": 60 * SECOND},
    ),
    ("PUPPET", {}, {"discard": "old"}, [("discard", "old", "new")], {"discard": "new"}),
]


@pytest.mark.parametrize(("name", "given", "config", "changes", "sent"), UPDATED)
def test_updated(
    name: str,
    given: dict[str, Any],
    config: dict[str, Any],
    changes: list[tuple[str, Any, Any]],
    sent: dict[str, Any],
) -> None:
    planned = plan(name, given, {**THERE[name], **config, "unheard_of": 1})
    assert planned.action == "update"
    assert [(change.field, change.before, change.after) for change in planned.changes] == changes
    assert planned.diff["before"] == {field: before for field, before, _after in changes}
    assert planned.diff["after"] == {field: after for field, _before, after in changes}
    # All existing fields are sent again, also unknown ones, but no empty object
    expected = {**FILLED, **THERE[name], **config, "unheard_of": 1, **sent}
    del expected["consumer_limits"]
    assert planned.request == expected
    assert planned.before
    assert planned.after
    for field, before, after in changes:
        if field in planned.before:
            assert (planned.before[field], planned.after[field]) == (before, after)


@pytest.mark.parametrize(
    ("option", "there"),
    [
        ("republish", {"src": ">", "dest": "x"}),
        ("mirror", {"name": "A"}),
        ("subject_transform", {"src": ">", "dest": "x"}),
    ],
)
def test_an_empty_dict_takes_away(option: str, there: dict[str, str]) -> None:
    planned = plan("ORDERS", {option: {}}, {"name": "ORDERS", option: there})
    assert [(change.field, change.before, change.after) for change in planned.changes] == [(option, there, None)]
    assert option not in planned.request


def test_fields_that_an_old_server_can_not_change_are_left() -> None:
    """Such a configuration is not refused."""
    planned = plan("CFG", {}, {**CFG, "max_msgs": 7, "max_consumers": 3}, release=OLD)
    assert [(change.field, change.before, change.after) for change in planned.changes] == [("max_msgs", 7, -1)]
    assert planned.request["max_consumers"] == 3


def test_promoted_mirrors() -> None:
    mirror = {
        **CFG,
        "subjects": [],
        "mirror": {"name": "KV_CFG", "external": {"api": "$JS.hub.API"}},
        "mirror_direct": True,
    }
    request = plan("CFG", {"mirror": {}}, mirror).request
    assert "mirror" not in request
    assert (request["mirror_direct"], request["subjects"]) == (False, ["$KV.CFG.>"])
    assert plan("CFG", {"history": 5}, mirror).action == "none"
    with pytest.raises(
        Refused, match="the keys of bucket CFG carry the name of its origin KV_A, and could not be read"
    ):
        plan("CFG", {"mirror": {}}, {**mirror, "mirror": {"name": "KV_A"}})
    with pytest.raises(Refused, match=r"refuses that \(JetStream error 10055\)\. It becomes a mirror"):
        plan("ORDERS", {"mirror": {}}, {"name": "ORDERS", "mirror": {"name": "A"}}, release=OLD)
    request = plan("ORDERS", {"mirror": {}}, {"name": "ORDERS", "mirror": {"name": "A"}, "mirror_direct": True}).request
    assert request["mirror_direct"] is False


# Refusals


UNCHANGEABLE = "can't be changed from {} to {}: the server refuses that (JetStream error {}). "
RECREATE = "With recreate: copy it is created again with its messages, with recreate: true without them."
REFUSED: list[tuple[str, dict[str, Any], dict[str, Any] | None, dict[str, Any], str, str]] = [
    (
        "ORDERS",
        {"storage": "memory"},
        ORDERS,
        {},
        "update_refused",
        "storage of stream ORDERS " + UNCHANGEABLE.format("file", "memory", 10052) + RECREATE,
    ),
    (
        "CFG",
        {"storage": "memory"},
        CFG,
        {},
        "update_refused",
        "storage of bucket CFG " + UNCHANGEABLE.format("file", "memory", 10052),
    ),
    (
        "ORDERS",
        {"first_seq": 100},
        ORDERS,
        {},
        "update_refused",
        "first_seq of stream ORDERS can't be changed from 0 to 100: that has no effect. "
        "It counts only when a stream is created: leave the option out.",
    ),
    (
        "ORDERS",
        {"deny_purge": False},
        {**ORDERS, "deny_purge": True},
        {},
        "update_refused",
        "deny_purge of stream ORDERS "
        + UNCHANGEABLE.format("true", "false", 10052)
        + "Once on, it stays on, unless recreate creates it again.",
    ),
    (
        "ORDERS",
        {"max_consumers": 5},
        ORDERS,
        {"release": OLD},
        "update_refused",
        "max_consumers of stream ORDERS " + UNCHANGEABLE.format(-1, 5, 10052) + "Upgrade to nats-server 2.12.",
    ),
    (
        "ORDERS",
        {"sealed": True},
        None,
        {},
        "option",
        "sealed: a stream can't be created sealed (JetStream error 10052): fill it, then seal it.",
    ),
    (
        "ORDERS",
        {"replicas": 3},
        None,
        {},
        "option",
        "replicas: 3 copies are not possible, n1 is a single server and no cluster (JetStream error 10074): "
        "give replicas: 1, or use a cluster.",
    ),
    ("PUPPET", {"replicas": 3}, PUPPET, {}, "option", "replicas: 3 copies are not possible, n1 is a single server"),
    (
        "ORDERS",
        {"replicas": 3, "placement": {"tags": ["a"]}, "wait": False},
        ORDERS,
        {"clustered": True},
        "update_refused",
        "placement can't change together with replicas (JetStream error 10123): change one, wait until all replicas "
        "are current, then the other, or let wait: true do so.",
    ),
    (
        "ORDERS",
        {"subjects": ["a.>"]},
        None,
        {"taken": {"a.>": "OTHER"}},
        "subjects_overlap",
        "subjects: 'a.>' overlaps with the subjects of stream OTHER: a message can be in one stream only, "
        "so choose subjects that no other stream has.",
    ),
    (
        "PUPPET",
        {"capacity": 1, "expire": "1m"},
        None,
        {"taken": {"mcollective.governor.PUPPET": "ALL"}},
        "subjects_overlap",
        "name: 'mcollective.governor.PUPPET' overlaps with the subjects of stream ALL: a message can be in one stream "
        "only, so choose another name, or change that stream.",
    ),
    (
        "CFG",
        {"limit_marker_ttl": "1m"},
        None,
        {"release": OLD},
        "server_too_old",
        "limit_marker_ttl needs nats-server 2.11.0 (API level 1), and this server runs 2.10.26: "
        "leave the option out, or upgrade the server.",
    ),
]


@pytest.mark.parametrize(("name", "given", "config", "more", "code", "sentence"), REFUSED)
def test_refused(
    name: str, given: dict[str, Any], config: dict[str, Any] | None, more: dict[str, Any], code: str, sentence: str
) -> None:
    with pytest.raises(Refused) as error:
        plan(name, given, config, **more)
    assert error.value.message.startswith(sentence)
    assert error.value.failure["code"] == code


@pytest.mark.parametrize(
    ("name", "given", "sentence"),
    [
        (
            "PUPPET",
            {"expire": "1m"},
            "capacity: is needed to create the governor PUPPET: give capacity and expire, such",
        ),
        ("PUPPET", {"capacity": 1}, "expire: is needed to create the governor PUPPET: give capacity and expire, such"),
        ("PUPPET", {"capacity": 0, "expire": "1m"}, "capacity: 0 is out of range: give 1 or more."),
        (
            "PUPPET",
            {"capacity": 1, "expire": "50ms"},
            "expire: '50ms' is too short: give at least 0.1s (0 lets seats stay taken for ever).",
        ),
        ("CFG", {"history": 65}, "history: 65 is out of range: give between 1 and 64."),
        ("ORDERS", {"subjects": ["a b"]}, "subjects: 'a b' is not allowed: a subject is words joined by dots, without"),
        ("ORDERS", {"mirror": {"opt_start_seq": 1}}, "mirror: needs name too."),
        ("ORDERS", {"subjects": ["a.>.b"]}, "subjects: 'a.>.b' is not allowed: a subject is words joined by dots, w"),
        (
            "ORDERS",
            {"sources": [{"name": "a.b"}]},
            "sources: name: 'a.b' is not allowed: a stream's name has up to 255",
        ),
    ],
)
def test_options_that_cannot_be(name: str, given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(OptionError) as error:
        plan(name, given)
    assert error.value.message.startswith(sentence)


@pytest.mark.parametrize(
    ("kind", "name", "sentence"),
    [
        (STREAM, "a b", "name: 'a b' is not allowed: a stream's name has up to 255 characters, no space and none of "),
        (STREAM, "x" * 256, "name: has 256 bytes, the server takes at most 255."),
        (STREAM, "Ä" * 128, "name: has 256 bytes, the server takes at most 255."),
        (BUCKET, "a.b", "name: 'a.b' is not allowed: a bucket's name is made of letters, digits, _ and -."),
        (GOVERNOR, "a/b", "name: 'a/b' is not allowed: a governor's name is made of letters, digits, _ and -."),
    ],
)
@pytest.mark.parametrize("state", ["present", "absent"])
def test_names_that_cannot_be(kind: StreamBacked, name: str, sentence: str, state: str) -> None:
    needed = {"capacity": 1, "expire": "1m"} if kind is GOVERNOR else {}
    server = Server("n1", NEW, jetstream=True, clustered=False, max_payload=1 << 20)
    with pytest.raises(OptionError) as error:
        kind.plan(Current(), options(kind, name=name, state=state, **needed), server)
    assert error.value.message.startswith(sentence)


# Losses, which tests/integration/resources/test_losses.py counts


FULL: dict[str, Any] = {"messages": 10, "bytes": 1000, "num_subjects": 2, "consumer_count": 1}
LOSSES = [
    (Loss(6, 0, "max_msgs 4"), "max_msgs 4 would lose 6 messages", "max_msgs 4 loses 6 messages"),
    (
        Loss(1, 2, "max_age 60s and max_bytes 10", at_least=True),
        "max_age 60s and max_bytes 10 would lose at least 1 message and 2 consumers",
        "max_age 60s and max_bytes 10 loses at least 1 message and 2 consumers",
    ),
    (
        Loss(0, 0, "retention interest", at_least=True),
        "retention interest would lose an unknown number of messages",
        "retention interest loses an unknown number of messages",
    ),
]


@pytest.mark.parametrize(("loss", "sentence", "note"), LOSSES)
def test_losses(loss: Loss, sentence: str, note: str) -> None:
    given = {"description": "x"}
    with pytest.raises(Refused) as error:
        plan("ORDERS", given, ORDERS, FULL, measured=Measured(loss))
    assert error.value.message == f"stream ORDERS: {sentence}: set allow_data_loss: true if that is wanted."
    assert error.value.failure == {"code": "data_loss", "option": "allow_data_loss", **loss.report}
    allowed = plan("ORDERS", {**given, "allow_data_loss": True}, ORDERS, FULL, measured=Measured(loss))
    assert allowed.consequences == loss.report
    assert allowed.diff["prepared"] == f"stream ORDERS: {note}\n"
    assert allowed.promise == (None if loss.at_least else 10 - loss.messages)


def test_consumers_beyond_a_new_limit() -> None:
    with pytest.raises(Refused, match=r"refuses it \(JetStream error 10069\): change or delete A, B first") as error:
        plan("ORDERS", {"consumer_limits": {"max_ack_pending": 5}}, ORDERS, FULL, measured=Measured(Loss(), ("A", "B")))
    assert (error.value.failure["option"], error.value.failure["err_code"]) == ("consumer_limits", 10069)


def test_irreversible_changes_are_reported() -> None:
    planned = plan("ORDERS", {"deny_delete": True, "allow_msg_ttl": True, "no_ack": True}, ORDERS)
    assert planned.consequences["irreversible"] == ["deny_delete", "allow_msg_ttl"]
    assert planned.diff["prepared"] == "stream ORDERS: deny_delete, allow_msg_ttl can't be taken back\n"
    mirror = {"name": "ORDERS", "mirror": {"name": "A"}}
    assert plan("ORDERS", {"mirror": {}}, mirror).consequences["irreversible"] == ["mirror"]


def test_every_refused_field_is_named_with_its_effect() -> None:
    given = {"storage": "memory", "description": "x", "first_seq": 5}
    with pytest.raises(Refused, match=r"^storage of stream ORDERS .* first_seq of stream ORDERS can't") as error:
        plan("ORDERS", given, ORDERS)
    assert error.value.failure["changes"] == [
        {"field": "description", "before": "", "after": "x", "effect": "in place"},
        {"field": "storage", "before": "file", "after": "memory", "effect": "refused", "err_code": 10052},
        {"field": "first_seq", "before": 0, "after": 5, "effect": "without effect"},
    ]


@pytest.mark.parametrize(
    ("given", "config"),
    [
        ({}, {"retention": "interest"}),
        ({"max_age": "1h"}, {}),
        ({}, {"allow_msg_ttl": True}),
    ],
)
def test_nothing_is_promised_where_messages_go_by_themselves(given: dict[str, Any], config: dict[str, Any]) -> None:
    assert plan("ORDERS", {"description": "x", **given}, {**ORDERS, **config}, FULL).promise is None


def test_seats_are_no_data() -> None:
    taken = {"messages": 2, "num_subjects": 1}
    planned = plan("PUPPET", {"expire": "1m"}, PUPPET, taken, measured=Measured(Loss(1, 0, "expire 60s")))
    assert planned.consequences == {"messages_lost": 1, "consumers_lost": 0}
    assert planned.diff["prepared"] == "governor PUPPET: expire 60s loses 1 seat\n"
    assert planned.promise is None
    planned = plan("PUPPET", {"state": "absent"}, PUPPET, taken)
    assert planned.consequences["messages_lost"] == 2
    assert planned.diff["prepared"] == "governor PUPPET: deleting it loses 2 seats\n"


# Exact mode


EVERYTHING: dict[str, Any] = {
    "description": "x",
    "max_msgs": 5,
    "max_age": 60 * SECOND,
    "duplicate_window": 60 * SECOND,
    "discard": "new",
    "republish": {"src": ">", "dest": "copies.>"},
    "consumer_limits": {"max_ack_pending": 5},
    "metadata": {**FILLED["metadata"], "a": "b"},
    "first_seq": 100,
}


def test_exact_brings_back_defaults() -> None:
    planned = plan("ORDERS", {"exact": True, "no_ack": True}, {**ORDERS, **EVERYTHING})
    changes = {change.field: change.after for change in planned.changes}
    assert changes == {
        "no_ack": True,
        "description": "",
        "subjects": ["ORDERS"],
        "max_msgs": -1,
        "max_age": 0,
        "duplicate_window": 120,
        "discard": "old",
        "republish": None,
        "consumer_limits": None,
        "metadata": {},
    }
    assert planned.request["metadata"] == FILLED["metadata"]
    assert "republish" not in planned.request
    given = {"exact": True, "subjects": ["orders.>"]}
    assert plan("ORDERS", given, {**ORDERS, "first_seq": 100}).action == "none"
    # Without exact, other options stay unchanged
    assert plan("ORDERS", {}, {**ORDERS, **EVERYTHING}).action == "none"


def test_exact_knows_what_follows() -> None:
    window = {"max_age": 60 * SECOND, "duplicate_window": 60 * SECOND}
    given = {"exact": True, "subjects": ["orders.>"]}
    assert plan("ORDERS", {**given, "max_age": "1m"}, {**ORDERS, **window}).changes == ()
    assert plan("CFG", {"exact": True, "history": 5, "ttl": "1m"}, {**CFG, **window}).changes == ()
    planned = plan("CFG", {"exact": True, "ttl": "1m"}, {**CFG, "max_msgs": 7, "deny_purge": True})
    assert {change.field: change.after for change in planned.changes} == {
        "history": 1,
        "ttl": 60,
        "max_msgs": -1,
        "duplicate_window": 60,
    }
    copies = {"name": "ORDERS", "subjects": [], "sources": [{"name": "A"}], "duplicate_window": 0}
    assert plan("ORDERS", {"exact": True, "sources": [{"name": "A"}]}, copies).changes == ()
    sealed = {"sealed": True, "discard": "new", "deny_delete": True, "deny_purge": True}
    assert plan("ORDERS", {**given, "sealed": True}, {**ORDERS, **sealed}).changes == ()
    assert plan("ORDERS", given, ORDERS, release=OLD).changes == ()


def test_exact_names_what_cannot_go_back() -> None:
    there = {**ORDERS, "storage": "memory", "deny_purge": True}
    with pytest.raises(
        Refused, match=r"storage of stream .*\. With recreate: copy .*deny_purge of stream .*Once on, it"
    ):
        plan("ORDERS", {"exact": True}, there)
    with pytest.raises(Refused, match="mirror: bucket CFG is a mirror, and exact mode does not end a mirror"):
        plan("CFG", {"exact": True}, {**CFG, "mirror": {"name": "KV_A"}})


# Moves


def test_placement_and_replicas_in_two_steps() -> None:
    there = {**ORDERS, "placement": {"tags": ["a"]}, "num_replicas": 1}
    moving = {"replicas": 3, "placement": {"tags": ["b"]}}
    planned = plan("ORDERS", moving, there, clustered=True)
    assert (planned.first["placement"], planned.first["num_replicas"]) == ({"tags": ["b"]}, 1)
    assert (planned.request["placement"], planned.request["num_replicas"]) == ({"tags": ["b"]}, 3)
    assert planned.wait == 300
    planned = plan("ORDERS", {**moving, "replicas": 1}, {**there, "num_replicas": 3}, clustered=True)
    assert (planned.first["placement"], planned.first["num_replicas"]) == ({"tags": ["a"]}, 1)
    # They can be done one after the other by hand
    assert not plan("ORDERS", {"replicas": 3, "wait_timeout": "1m"}, there, clustered=True).first
    assert plan("ORDERS", {"replicas": 3, "wait": False}, there, clustered=True).wait == 0
    assert plan("ORDERS", {"replicas": 3}, clustered=True).wait == 300
    assert plan("ORDERS", {"description": "x"}, there, clustered=True).wait == 0


# Deletions


@pytest.mark.parametrize("name", KINDS)
def test_deleted(name: str) -> None:
    planned = plan(name, {"state": "absent"}, THERE[name])
    assert planned.action == "delete"
    assert planned.request == {"name": THERE[name]["name"]}
    assert planned.after is None
    assert planned.result == {KINDS[name].noun: None}
    assert planned.diff["after"] == {}
    assert "replicas" in planned.diff["before"]
    assert {change.effect for change in planned.changes} == {"delete"}
    gone = plan(name, {"state": "absent"})
    assert (gone.action, gone.changed, gone.result) == ("none", False, {KINDS[name].noun: None})


def test_deleting_what_is_not_empty() -> None:
    with pytest.raises(Refused) as error:
        plan("ORDERS", {"state": "absent"}, ORDERS, FULL)
    assert error.value.message == (
        "stream ORDERS: deleting it would lose 10 messages and 1 consumer: set allow_data_loss: true if that is wanted."
    )
    planned = plan("ORDERS", {"state": "absent", "allow_data_loss": True}, ORDERS, FULL)
    assert planned.consequences == {"messages_lost": 10, "consumers_lost": 1}
    assert planned.diff["prepared"] == "stream ORDERS: deleting it loses 10 messages and 1 consumer\n"


# Results


def test_results() -> None:
    [stream, bucket, governor] = (
        plan(name, {}, THERE[name], {"messages": 3, "num_subjects": 2, "bytes": 99}).after or {} for name in KINDS
    )
    assert stream["state"]["messages"] == 3
    assert stream["server"] == {"version": "2.15.1", "level": 5, "required_level": 0}
    assert stream["metadata"] == {}
    assert (bucket["name"], bucket["stream"], bucket["value_count"], bucket["key_count"]) == ("CFG", "KV_CFG", 3, 2)
    assert (bucket["history"], bucket["compression"]) == (5, False)
    assert (governor["capacity"], governor["seats_taken"], governor["seats_free"]) == (2, 3, 0)
    assert (governor["collective"], governor["subject"]) == ("mcollective", "mcollective.governor.PUPPET")
