# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Each row of the table of consumers with real servers, as in test_tables.py.

The consumer is created with the first sample of a row, and updated to the others. The row says whether an update
happens in place, is refused with an error, or has no effect. Module and server must both do so.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from ansible_collections.choria.streams.plugins.module_utils._api import answers, consumers, streams
from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from ansible_collections.choria.streams.plugins.module_utils._errors import ApiError, OptionError, Refused
from ansible_collections.choria.streams.plugins.module_utils._options.fields import IN_PLACE, REFUSED, Field
from ansible_collections.choria.streams.plugins.module_utils._resources.consumer.consumer import CONSUMER
from ansible_collections.choria.streams.plugins.module_utils._resources.consumer.table import (
    ACKED_ONLY,
    PULL_ONLY,
    PUSH_ONLY,
    ROWS,
    VALUES_SINCE,
)
from support.connect import options, settings
from support.server import NatsServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ansible_collections.choria.streams.plugins.module_utils._resources.resource import Plan

pytestmark = pytest.mark.once

STREAM = {"name": "WALKED", "subjects": ["walk.>"]}
PUSH: dict[str, Any] = {"deliver_subject": "deliver.here"}
BEATING: dict[str, Any] = {**PUSH, "idle_heartbeat": "5s"}
GROUPED: dict[str, Any] = {"priority_policy": "overflow", "priority_groups": ["all"]}
LATER, LAST = "2100-01-01T00:00:00Z", "2100-06-01T00:00:00.5+01:00"


class Sample(NamedTuple):
    """Values of a row, and the options that they need. With `back` the values are also tried in reverse order."""

    values: tuple[Any, ...]
    beside: dict[str, Any]
    back: bool


def sample(*values: Any, back: bool = True, **beside: Any) -> Sample:
    return Sample(values, beside, back)


SAMPLES: dict[str, list[Sample]] = {
    "description": [sample("one", "two", ""), sample("Ä" * 2048, "")],
    "deliver_policy": [
        sample("all", "new", "last"),
        sample("last_per_subject", "all", filter_subject="walk.>"),
        sample("by_start_sequence", opt_start_seq=3),
        sample("by_start_time", opt_start_time="2026-01-02T03:04:05Z"),
    ],
    "opt_start_seq": [sample(1, 7, deliver_policy="by_start_sequence")],
    "opt_start_time": [sample("2026-01-02T03:04:05.678+01:00", "2026-01-02T03:04:05Z", deliver_policy="by_start_time")],
    "ack_policy": [sample("none", "explicit", "all"), sample("flow_control", **PUSH)],
    "ack_wait": [sample("30s", "1h", "1ms")],
    "max_deliver": [sample(-1, 1, 20)],
    "backoff": [sample(["1s", "5s"], ["5s", "1s", "1m"], []), sample(["1s", "5s"], ["2s"], max_deliver=2)],
    "filter_subject": [sample("walk.a", "walk.*.b", "", "*.*.c")],
    "filter_subjects": [sample(["walk.a", "walk.b.>"], ["walk.c"], [])],
    "replay_policy": [sample("instant", "original")],
    "deliver_subject": [sample("deliver.one", "deliver.two", ""), sample("", "deliver.one")],
    "deliver_group": [sample("one", "two", "", **PUSH)],
    "rate_limit_bps": [sample(1000, 2000000, 0, **PUSH)],
    "flow_control": [sample(False, True, **BEATING)],
    "idle_heartbeat": [sample("5s", "100ms", 0, **PUSH)],
    "sample_freq": [sample("50", "100%", "0", "")],
    "max_waiting": [sample(512, 1, 2000)],
    "max_ack_pending": [sample(1000, 1, -1)],
    "headers_only": [sample(False, True)],
    "max_batch": [sample(10, 1, 0)],
    "max_expires": [sample("1m", "1ms", 0)],
    "max_bytes": [sample("1MiB", 1000, -1)],
    "inactive_threshold": [sample("1h", "5m", 0)],
    "replicas": [sample(0, 1)],
    "mem_storage": [sample(False, True)],
    "metadata": [sample({"a": "1", "b": "x"}, {"a": "1"}, {}, {"c": "3"})],
    "paused_until": [sample(LATER, LAST, ""), sample("", LATER), sample(LATER, "2020-01-01T00:00:00Z", back=False)],
    "priority_policy": [
        sample("overflow", "pinned_client", priority_groups=["all"]),
        sample("overflow", "prioritized", priority_groups=["all"]),
        sample("none"),
    ],
    "priority_groups": [sample(["all"], ["a/b", "c_=-"], priority_policy="overflow")],
    "priority_timeout": [sample("2m", "5s", priority_policy="pinned_client", priority_groups=["all"])],
}
_number = count(1)


class Walk:
    """One consumer that gets the values one after the other."""

    def __init__(self, session: Session, row: Field, beside: dict[str, Any]) -> None:
        self.session = session
        self.row = row
        self.name = f"WALK{next(_number)}"
        self.beside = {"stream": "WALKED", "name": self.name, **beside}

    def plan(self, value: Any) -> Plan:
        given = options(CONSUMER, **{**self.beside, self.row.option: value})
        return CONSUMER.plan(CONSUMER.read(self.session, given), given, self.session.server)

    @property
    def info(self) -> answers.ConsumerInfo:
        found = consumers.info(self.session, "WALKED", self.name)
        assert found, f"{self.name} is not there"
        return found

    def there(self, value: Any) -> None:
        """Check that the server has the value, and that the plan is empty."""
        if self.row.option != "paused_until":
            assert self.row.equal(self.info["config"].get(self.row.path), self.row.codec.to_wire(value))
        plan = self.plan(value)
        assert plan.changes == ()
        assert plan.action == "none"

    def write(self, value: Any) -> None:
        """Apply a plan. The result must be what check mode showed."""
        plan = self.plan(value)
        assert plan.action in ("create", "update")
        done = CONSUMER.apply(self.session, plan)["consumer"]
        assert plan.after
        shown = {row.option for row in CONSUMER.spec}
        assert {name: plan.after[name] for name in shown} == {name: done[name] for name in shown}
        assert plan.after["state"]["paused"] == done["state"]["paused"]
        if self.session.server.version >= (2, 14):
            self.needs_as_told()
        self.there(value)

    def needs_as_told(self) -> None:
        """Check that the server requires the API level of the rows. Values of priority_policy do not raise it."""
        config = self.info["config"]
        used = [row for row in ROWS.values() if not row.equal(config.get(row.path), None)]
        if config["ack_policy"] == "flow_control":
            used.append(ROWS["ack_policy"]._replace(since=VALUES_SINCE["ack_policy", "flow_control"]))
        assert (config.get("metadata") or {})["_nats.req.level"] == str(max(row.level for row in used))

    def step(self, before: Any, after: Any) -> Any:
        """Change one value to the next, if the row allows it. Return the value after that."""
        wanted = self.row.codec.to_wire(after)
        effect = self.row.update.effect_of(self.row.codec.to_wire(before), wanted, self.session.server.version)
        if effect == IN_PLACE:
            self.write(after)
            return after
        with pytest.raises(Refused) as refusal:
            self.plan(after)
        assert refusal.value.failure["code"] == "update_refused"
        assert refusal.value.failure["option"] == self.row.option
        self.sent_raw(wanted, effect)
        self.there(before)
        return before

    def sent_raw(self, wanted: Any, effect: str) -> None:
        """Check what the server does with the same request from another client."""
        before = self.info["config"]
        config = {**before, self.row.path: wanted}
        if not wanted:
            del config[self.row.path]
        for path in (*ACKED_ONLY, *PUSH_ONLY, *PULL_ONLY):
            if self.row.option in ("ack_policy", "deliver_subject"):
                config.pop(path, None)
        if effect == REFUSED:
            with pytest.raises(ApiError) as refusal:
                consumers.update(self.session, "WALKED", config)
            assert refusal.value.err_code == self.row.update.err_code, refusal.value.message
        else:
            # nats-server 2.14 returns the other storage, but does not move the state
            after = consumers.update(self.session, "WALKED", config)
            assert self.row.equal(after["config"].get(self.row.path), wanted)
            consumers.update(self.session, "WALKED", before)

    def too_new(self, value: Any) -> None:
        with pytest.raises(
            Refused, match=r"needs nats-server 2\.\d+\.0 \(API level \d\), and this server runs"
        ) as error:
            self.plan(value)
        assert error.value.failure["code"] == "server_too_old"


@pytest.fixture(scope="module", params=["latest", "2.14", "2.10"])
def session(request: pytest.FixtureRequest) -> Iterator[Session]:
    version = None if request.param == "latest" else request.param
    with NatsServer(version=version) as server, Session(settings(servers=server.url)) as session:
        streams.create(session, STREAM)
        yield session


def test_each_row_has_a_sample() -> None:
    assert set(SAMPLES) == {row.option for row in ROWS.values()}


def newest(option: str, value: Any) -> tuple[int, ...]:
    """Return the first server release that knows a value."""
    row = next(row for row in ROWS.values() if row.option == option)
    wire = row.codec.to_wire(value)
    if row.equal(wire, None):
        return ()
    return max(row.since, VALUES_SINCE.get((row.path, wire), ()) if isinstance(wire, str) else ())


def cases() -> Iterator[Any]:
    for option, samples in SAMPLES.items():
        for number, each in enumerate(samples):
            yield pytest.param(option, each, id=f"{option}-{number}")


@pytest.mark.parametrize(("option", "walked"), list(cases()))
def test_row(session: Session, option: str, walked: Sample) -> None:
    row = next(row for row in ROWS.values() if row.option == option)
    release = session.server.version
    for values in (walked.values, walked.values[::-1]) if walked.back else (walked.values,):
        walk = Walk(session, row, walked.beside)
        known: list[Any] = []
        for value in values:
            given = {**walked.beside, option: value}
            if max(newest(name, there) for name, there in given.items()) > release:
                walk.too_new(value)
            elif not known or value != known[-1]:
                known.append(value)
        now, *later = known or [None]
        if known:
            walk.write(now)
        for value in later:
            now = walk.step(now, value)
        consumers.delete(session, "WALKED", walk.name)


def test_a_delivery_that_comes_back(session: Session) -> None:
    given = options(CONSUMER, stream="WALKED", name="loop", deliver_subject="walk.here")
    reason = (
        r"^deliver_subject: walk\.here comes back by the subject 'walk\.>' of the stream itself \(.* 10081\): choose"
    )
    with pytest.raises(OptionError, match=reason):
        CONSUMER.plan(CONSUMER.read(session, given), given, session.server)
    with pytest.raises(ApiError) as refusal:
        consumers.create(session, "WALKED", {"durable_name": "loop", "deliver_subject": "walk.here"})
    assert refusal.value.err_code == 10081


@pytest.mark.parametrize(
    ("option", "value", "err_code"),
    [
        ("flow_control", True, 10089),
        ("idle_heartbeat", "5s", 10088),
        ("rate_limit_bps", 4096, 10086),
        ("deliver_group", "group", 0),  # servers accept it without any effect
        ("ack_policy", "flow_control", 10218),
    ],
)
def test_options_that_need_deliver_subject(session: Session, option: str, value: Any, err_code: int) -> None:
    if session.server.version < newest(option, value):
        pytest.skip("this server does not know the value")
    given = options(CONSUMER, stream="WALKED", name="pull", **{option: value})
    with pytest.raises(OptionError, match="push consumers: give deliver_subject") as refused:
        CONSUMER.plan(CONSUMER.read(session, given), given, session.server)
    assert refused.value.failure["option"] == option
    config = {"durable_name": "pull", "ack_policy": "explicit", option: ROWS[option].codec.to_wire(value)}
    try:
        consumers.create(session, "WALKED", config)
        consumers.delete(session, "WALKED", "pull")
        answered = 0
    except ApiError as error:
        answered = error.err_code
    assert answered == err_code


def test_exact(session: Session) -> None:
    """Options that are left out get their defaults. Options that can't be reset are named."""
    changed: dict[str, Any] = {
        "description": "changed",
        "ack_wait": "1h",
        "max_deliver": 7,
        "max_ack_pending": 5,
        "filter_subjects": ["walk.a", "walk.b"],
        "sample_freq": "50",
        "headers_only": True,
        "max_batch": 9,
        "max_expires": "1m",
        "max_bytes": "1MiB",
        "inactive_threshold": "1h",
        "replicas": 1,
        "metadata": {"a": "1"},
    }
    if session.server.version >= (2, 11):
        changed |= {"paused_until": LATER, "priority_policy": "overflow", "priority_groups": ["all"]}

    def run(**given: Any) -> Plan:
        whole = options(CONSUMER, stream="WALKED", name="exact", **given)
        plan = CONSUMER.plan(CONSUMER.read(session, whole), whole, session.server)
        if plan.changed:
            CONSUMER.apply(session, plan)
        return plan

    run(max_waiting=9)
    new = run().before
    run(**changed)
    assert not run(**changed, max_waiting=9, exact=True).changed
    assert {change.field for change in run(max_waiting=9, exact=True).changes} == set(changed)
    plan = run(max_waiting=9, exact=True)
    assert not plan.changed
    assert plan.before
    assert new
    assert {name: plan.before[name] for name in SAMPLES} == {name: new[name] for name in SAMPLES}
    with pytest.raises(Refused, match=r"^max_waiting of consumer exact can't be changed from 9 to 512: the server"):
        run(exact=True)
    consumers.delete(session, "WALKED", "exact")
