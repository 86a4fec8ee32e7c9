# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""A change loses exactly the messages that its plan announces, writes are read back, and exact mode restores defaults.

The tests run on the newest server, the one before and the oldest.
"""

from __future__ import annotations

import json
import time
from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.choria.streams.plugins.module_utils._api import (
    answers,
    consumers,
    message_count,
    messages,
    streams,
)
from ansible_collections.choria.streams.plugins.module_utils._errors import OptionError, Refused, StreamsError
from ansible_collections.choria.streams.plugins.module_utils._options.quantities import parse_timestamp
from ansible_collections.choria.streams.plugins.module_utils._resources.governor.governor import GOVERNOR
from ansible_collections.choria.streams.plugins.module_utils._resources.kv.bucket import BUCKET
from ansible_collections.choria.streams.plugins.module_utils._resources.ownership import OWNER
from ansible_collections.choria.streams.plugins.module_utils._resources.stream.stream import STREAM
from support.infos import stream_info
from support.manage import Manager
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ansible_collections.choria.streams.plugins.module_utils._resources.resource import Resource
    from support.server import NatsServer

pytestmark = [
    pytest.mark.once,
    pytest.mark.parametrize("server", ["latest", "2.14", "2.10"], indirect=True, scope="module"),
]

_number = count(1)
SECOND = 10**9
NOTHING = {"messages_lost": 0, "consumers_lost": 0}


@pytest.fixture(scope="module")
def manager(server: NatsServer) -> Iterator[Manager]:
    with Manager(servers=server.url) as manager:
        yield manager


class Filled:
    """A stream with ten messages: seven on the subject a, the sixth to the eighth message on b."""

    def __init__(self, manager: Manager, **config: Any) -> None:
        self.manager, self.session = manager, manager.session
        self.name = f"LOSSES{next(_number)}"
        streams.create(self.session, {"name": self.name, "subjects": [f"{self.name}.>"], **config})
        for number, subject in enumerate("aaaaabbbaa"):
            self.session.request(f"{self.name}.{subject}", b"1" * number, {"number": "1"} if number % 2 else None)

    @property
    def info(self) -> answers.StreamInfo:
        return stream_info(self.session, self.name)

    @property
    def messages(self) -> int:
        return int(self.info["state"]["messages"])

    def delete(self, *sequences: int) -> None:
        for sequence in sequences:
            messages.delete(self.session, self.name, sequence)

    def consume(self, name: str, number: int) -> None:
        """Create a consumer that has acknowledged ``number`` messages."""
        config = {"name": name, "durable_name": name, "ack_policy": "explicit", "max_ack_pending": 100}
        if number:
            config.update(deliver_policy="by_start_sequence", opt_start_seq=number + 1)
        body = json.dumps({"stream_name": self.name, "config": config}).encode()
        assert b'"error"' not in self.session.request(f"$JS.API.CONSUMER.CREATE.{self.name}.{name}", body).data

    def change(self, **wanted: Any) -> dict[str, Any]:
        """Apply a change, and return its announced consequences."""
        return self.manager.apply(STREAM, name=self.name, allow_data_loss=True, **wanted).consequences


# Older servers delete some messages later, after a new limit for each subject or the change to interest
KEPT_BEFORE = {"max_msgs_per_subject": (2, 14), "retention": (2, 15)}
LOSSES: list[tuple[dict[str, Any], dict[str, Any], int]] = [
    ({}, {"max_msgs": 4}, 6),
    ({"discard": "new"}, {"max_msgs": 4}, 0),
    ({}, {"max_msgs": 4, "discard": "new"}, 0),
    ({"discard": "new", "max_msgs": 20}, {"max_msgs": 4, "discard": "old"}, 6),
    ({}, {"max_bytes": 300}, 6),
    ({"storage": "memory"}, {"max_bytes": 200}, 6),
    ({"discard": "new"}, {"max_bytes": 200}, 0),
    ({}, {"max_bytes": 1}, 10),
    ({}, {"max_msgs_per_subject": 2}, 6),
    ({"discard": "new"}, {"max_msgs_per_subject": 2}, 6),
    ({"max_msgs_per_subject": 8}, {"max_msgs_per_subject": 6}, 1),
    # One limit deletes the first four messages, the other one the fifth and sixth
    ({"max_msgs_per_subject": 9}, {"max_msgs_per_subject": 2, "max_msgs": 6}, 6),
    ({"max_msgs_per_subject": 9}, {"max_msgs_per_subject": 3, "max_msgs": 4}, 6),
    ({"max_msgs_per_subject": 9}, {"max_msgs_per_subject": 1, "max_msgs": 9, "max_bytes": 500}, 8),
    ({}, {"max_age": "1h"}, 0),
    ({}, {"subjects": ["elsewhere"]}, 0),
    ({}, {"retention": "interest"}, 10),
    ({}, {"description": "x"}, 0),
]


@pytest.mark.parametrize(("there", "given", "lost"), LOSSES)
def test_losses(manager: Manager, there: dict[str, Any], given: dict[str, Any], lost: int) -> None:
    stream = Filled(manager, **there)
    given = {**given, **({"subjects": [f"{stream.name}.a"]} if "subjects" in given else {})}
    if lost:
        with pytest.raises(Refused, match=f"would lose {lost} message") as refusal:
            manager.plan(STREAM, name=stream.name, **given)
        assert refusal.value.failure["messages_lost"] == lost
    assert stream.change(**given) == {**NOTHING, "messages_lost": lost}
    kept = manager.session.server.version < KEPT_BEFORE.get(next(iter(given)), ()) and next(iter(given)) not in there
    assert stream.messages == (10 if kept else 10 - lost)
    assert stream.change(**given) == NOTHING


@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize("deleted", [(), (1, 4), (3, 8), (5,)])
def test_old_messages_are_counted(manager: Manager, deleted: tuple[int, ...], direct: bool) -> None:
    stream = Filled(manager, allow_direct=direct)
    stored = [messages.get(stream.session, stream.name, sequence=number) for number in range(1, 11)]
    stream.delete(*deleted)
    for number, message in enumerate(stored):
        assert message
        older = [sequence for sequence in range(1, number + 1) if sequence not in deleted]
        found = message_count.before(stream.session, stream.info, parse_timestamp(message.time))
        # A moment has microseconds, so the message may be slightly younger, but never the one before it
        assert found == (len(older), True)
        assert message_count.before(stream.session, stream.info, number + 1) == (len(older), True)
    later = parse_timestamp(stream.info["ts"]) + timedelta(hours=1)
    assert message_count.before(stream.session, stream.info, later) == (10 - len(deleted), True)


def test_old_messages_are_lost(manager: Manager) -> None:
    stream = Filled(manager)
    youngest = parse_timestamp(stream.info["state"]["last_ts"])
    while parse_timestamp(stream.info["ts"]) < youngest + timedelta(seconds=0.1):
        time.sleep(0.02)
    plan = manager.plan(STREAM, name=stream.name, max_age="100ms", discard="new", allow_data_loss=True)
    assert plan.consequences == {**NOTHING, "messages_lost": 10}
    stream.change(max_age="100ms")
    deadline = time.monotonic() + 60
    while stream.messages and time.monotonic() < deadline:
        time.sleep(0.02)
    assert stream.messages == 0


def test_too_many_messages_are_reported(manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(message_count, "MOST_READ", 3)
    stream = Filled(manager, max_msgs_per_subject=9)
    with pytest.raises(Refused, match="max_bytes 100 would lose at least 4 messages: set") as refusal:
        manager.plan(STREAM, name=stream.name, max_bytes=100)
    assert refusal.value.failure["at_least"] is True
    with pytest.raises(Refused, match="max_msgs 4 and max_msgs_per_subject 2 would lose at least 6 messages: set"):
        manager.plan(STREAM, name=stream.name, max_msgs=4, max_msgs_per_subject=2)
    with pytest.raises(Refused, match="max_msgs 4 would lose 6 messages: set"):
        manager.plan(STREAM, name=stream.name, max_msgs=4)


def test_interest_keeps_what_consumers_wait_for(manager: Manager) -> None:
    stream = Filled(manager)
    stream.consume("one", 4)
    # On 2.10 a consumer with a later start has not acknowledged the messages before it
    lost = 0 if manager.session.server.version < (2, 11) else 4
    assert stream.change(retention="interest") == {**NOTHING, "messages_lost": lost}
    assert stream.messages == 10 - lost

    stream = Filled(manager)
    stream.consume("none", 0)
    stream.consume("one", 4)
    consequences = manager.plan(STREAM, name=stream.name, retention="interest", allow_data_loss=True).consequences
    assert consequences == ({**NOTHING, "at_least": True} if lost else NOTHING)


def test_interest_keeps_nothing_that_no_filter_matches(manager: Manager) -> None:
    """Messages without interest stay at first. The server deletes them when a consumer is deleted."""
    stream = Filled(manager)
    for name in ("one", "other"):
        config = {"durable_name": name, "ack_policy": "explicit", "filter_subject": f"{stream.name}.a"}
        consumers.create(stream.session, stream.name, config)
    with pytest.raises(Refused, match="retention interest would lose at least 3 messages: set"):
        manager.plan(STREAM, name=stream.name, retention="interest")
    assert stream.change(retention="interest") == {**NOTHING, "messages_lost": 3, "at_least": True}
    consumers.delete(stream.session, stream.name, "other")
    wait_until(lambda: stream.messages == 7)

    stream = Filled(manager)
    for subject in "ab":
        config = {"durable_name": subject, "ack_policy": "explicit", "filter_subject": f"{stream.name}.{subject}"}
        consumers.create(stream.session, stream.name, config)
    assert stream.change(retention="interest") == NOTHING


def test_consumers_beyond_a_new_limit(manager: Manager) -> None:
    stream = Filled(manager)
    stream.consume("C", 0)
    with pytest.raises(Refused, match=r"\(JetStream error 10069\): change or delete C first") as ours:
        manager.plan(STREAM, name=stream.name, consumer_limits={"max_ack_pending": 99})
    config = {**stream.info["config"], "consumer_limits": {"max_ack_pending": 99}}
    with pytest.raises(StreamsError, match="violates consumers: C") as theirs:
        streams.update(stream.session, config)
    assert theirs.value.failure["err_code"] == ours.value.failure["err_code"]
    manager.apply(STREAM, name=stream.name, consumer_limits={"max_ack_pending": 100})
    with pytest.raises(Refused, match="deleting it would lose 10 messages and 1 consumer: set allow_data_loss"):
        manager.plan(STREAM, name=stream.name, state="absent")


def test_sealing_can_never_be_undone(manager: Manager) -> None:
    stream = Filled(manager)
    plan = stream.change(sealed=True)
    assert plan == {**NOTHING, "irreversible": ["sealed", "deny_delete", "deny_purge"]}
    with pytest.raises(Refused, match="A sealed stream stays sealed: delete it to be rid of it"):
        manager.plan(STREAM, name=stream.name, sealed=False)


# Writes are read back


def test_less_is_left_than_was_promised(manager: Manager) -> None:
    """Messages that are deleted after planning make the task fail: the server might have deleted them."""
    stream = Filled(manager)
    planned = manager.plan(STREAM, name=stream.name, max_msgs=8, allow_data_loss=True)
    streams.purge(stream.session, stream.name, {"keep": 5})
    with pytest.raises(StreamsError, match="after the change 8 messages should have been left, but it has 5") as error:
        STREAM.apply(stream.session, planned)
    assert error.value.failure == {"code": "not_applied", "promised": 8, "messages": 5}


# A governor's messages are its seats


def test_a_smaller_governor_keeps_its_holders(manager: Manager) -> None:
    manager.apply(GOVERNOR, name="SMALL", capacity=3, expire="1h")
    for holder in ("one", "two", "three"):
        manager.session.request("mcollective.governor.SMALL", holder.encode())
    planned = manager.apply(GOVERNOR, name="SMALL", capacity=1)
    assert planned.consequences == NOTHING
    info = streams.info(manager.session, "GOVERNOR_SMALL")
    assert info
    assert info["state"]["messages"] == 3
    refused = json.loads(manager.session.request("mcollective.governor.SMALL", b"four").data)
    assert refused["error"]["err_code"] == 10077
    planned = manager.apply(GOVERNOR, name="SMALL", state="absent")
    assert planned.consequences == {**NOTHING, "messages_lost": 3}
    assert planned.notes == ("deleting it loses 3 seats",)


# Exact mode


def test_exact(manager: Manager) -> None:
    """Exact mode resets all fields that can be changed at once, and then changes nothing."""
    everything: dict[str, Any] = {
        "description": "x",
        "max_msgs": 100,
        "max_bytes": 100_000,
        "max_msgs_per_subject": 50,
        "max_age": "1h",
        "max_msg_size": 1000,
        "compression": "s2",
        "no_ack": True,
        "discard": "new",
        "discard_new_per_subject": True,
        "duplicate_window": "10s",
        "republish": {"dest": "copies.>"},
        "subject_transform": {"src": "exact.>", "dest": "exact.x.>"},
        "allow_direct": True,
        "allow_rollup_hdrs": True,
        "consumer_limits": {"max_ack_pending": 7},
        "metadata": {"a": "b"},
        "first_seq": 7,
    }
    manager.apply(STREAM, name="EXACT", subjects=["exact.>"], **everything)
    manager.apply(STREAM, name="PLAIN", subjects=["plain.>"])
    assert not manager.plan(STREAM, name="EXACT").changed
    planned = manager.apply(STREAM, name="EXACT", subjects=["exact.>"], exact=True)
    assert {change.field for change in planned.changes} == set(everything) - {"first_seq"}
    assert not manager.plan(STREAM, name="EXACT", subjects=["exact.>"], exact=True).changed
    exact, plain = manager.config("EXACT"), manager.config("PLAIN")
    for config in (exact, plain):
        for own in ("name", "subjects", "first_seq"):
            config.pop(own, None)
    assert exact == plain
    for name in ("EXACT", "PLAIN"):
        streams.delete(manager.session, name)


def test_exact_keeps_the_mark_of_an_owner(manager: Manager) -> None:
    """All other labels are removed. The mark shows documents which objects they own."""
    kinds: tuple[tuple[Resource, str, dict[str, Any]], ...] = (
        (STREAM, "MARKED", {}),
        (BUCKET, "KV_MARKED", {}),
        (GOVERNOR, "GOVERNOR_MARKED", {"capacity": 1, "expire": "1h"}),
    )
    for kind, stream, given in kinds:
        manager.apply(kind, name="MARKED", **given)
        labels = {OWNER: "shop", "a": "b"}
        streams.update(manager.session, {**manager.config(stream), "metadata": labels})
        wanted = {"name": "MARKED", "exact": True, **given}
        (change,) = manager.apply(kind, **wanted).changes
        assert (change.field, change.after) == ("metadata", {OWNER: "shop"})
        assert not manager.plan(kind, **wanted).changed
        streams.delete(manager.session, stream)


def test_exact_sets_the_window_at_once(manager: Manager) -> None:
    manager.apply(STREAM, name="WINDOW", max_age="30m", duplicate_window="20m")
    wanted = {"name": "WINDOW", "max_age": "10m", "exact": True}
    assert {change.field: change.after for change in manager.apply(STREAM, **wanted).changes} == {
        "max_age": 600,
        "duplicate_window": 120,
    }
    assert not manager.plan(STREAM, **wanted).changed
    streams.delete(manager.session, "WINDOW")


def test_exact_buckets(manager: Manager) -> None:
    wanted = {"name": "EXACT", "exact": True}
    manager.apply(BUCKET, name="EXACT", history=5, ttl="1h", max_value_size=100, compression=True, description="x")
    planned = manager.apply(BUCKET, **wanted)
    fields = {change.field for change in planned.changes}
    assert fields == {"history", "ttl", "max_value_size", "compression", "description"}
    assert not manager.plan(BUCKET, **wanted).changed
    # Changes of other clients to the stream behind the bucket
    streams.update(manager.session, {**manager.config("KV_EXACT"), "max_msgs": 7, "no_ack": True})
    assert {change.field for change in manager.apply(BUCKET, **wanted).changes} == {"max_msgs", "no_ack"}
    assert not manager.plan(BUCKET, **wanted).changed
    manager.apply(BUCKET, name="OF", mirror={"name": "EXACT"})
    assert not manager.plan(BUCKET, name="OF", mirror={"name": "EXACT"}, exact=True).changed
    manager.apply(BUCKET, name="OUT_OF", sources=[{"name": "EXACT"}])
    assert not manager.plan(BUCKET, name="OUT_OF", sources=[{"name": "EXACT"}], exact=True).changed
    for name in ("EXACT", "OF", "OUT_OF"):
        manager.apply(BUCKET, name=name, state="absent", allow_data_loss=True)


def test_exact_governors(manager: Manager) -> None:
    wanted = {"name": "EXACT", "capacity": 3, "expire": "1h", "exact": True}
    assert manager.apply(GOVERNOR, **wanted).action == "create"
    new = manager.config("GOVERNOR_EXACT")
    assert not manager.plan(GOVERNOR, **wanted).changed
    others = {"max_bytes": 5000, "deny_delete": False, "no_ack": True, "allow_direct": True, "max_msgs_per_subject": 9}
    streams.update(manager.session, {**new, **others, "metadata": {"a": "1"}})
    planned = manager.apply(GOVERNOR, **wanted)
    assert {change.field for change in planned.changes} == {*others, "metadata"} - {"deny_delete"}
    assert manager.config("GOVERNOR_EXACT") == new
    with pytest.raises(OptionError, match=r"^expire: is needed for exact, which has no default of it for the governor"):
        manager.plan(GOVERNOR, name="EXACT", capacity=3, exact=True)
    manager.apply(GOVERNOR, name="EXACT", state="absent")


def test_exact_asks_before_a_mirror_ends(manager: Manager) -> None:
    manager.apply(STREAM, name="FROM")
    manager.apply(STREAM, name="TO", mirror={"name": "FROM"})
    assert not manager.plan(STREAM, name="TO", mirror={"name": "FROM"}, exact=True).changed
    with pytest.raises(Refused, match="mirror: stream TO is a mirror, and exact mode does not end a mirror"):
        manager.plan(STREAM, name="TO", exact=True)
    for name in ("TO", "FROM"):
        streams.delete(manager.session, name)


def test_an_idle_run_asks_once(server: NatsServer) -> None:
    """An unchanged stream needs one request for its info, and none of those that a change needs."""
    with Manager(servers=server.url) as manager:
        manager.apply(STREAM, name="IDLE", subjects=["idle.>"], max_msgs=5, max_age="1h")
        before = server.monitor("varz")["jetstream"]["stats"]["api"]["total"]
        for exact in (False, True):
            assert not manager.plan(
                STREAM, name="IDLE", subjects=["idle.>"], max_msgs=5, max_age="1h", exact=exact
            ).changed
        assert server.monitor("varz")["jetstream"]["stats"]["api"]["total"] == before + 2
        assert not manager.plan(BUCKET, name="NONE", state="absent").changed
        streams.delete(manager.session, "IDLE")
