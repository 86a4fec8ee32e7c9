# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Each row of the tables of streams, buckets and governors with real servers.

The resource is created with the first sample of a row, and updated to the others. The row says whether an update
happens in place, is refused with an error, or has no effect. Module and server must both do so.
"""

from __future__ import annotations

import re
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from ansible_collections.choria.streams.plugins.module_utils._api import streams
from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from ansible_collections.choria.streams.plugins.module_utils._errors import ApiError, Refused, StreamsError
from ansible_collections.choria.streams.plugins.module_utils._options.fields import IN_PLACE, NO_EFFECT, REFUSED, Field
from ansible_collections.choria.streams.plugins.module_utils._resources.governor.governor import GOVERNOR
from ansible_collections.choria.streams.plugins.module_utils._resources.kv.bucket import BUCKET
from ansible_collections.choria.streams.plugins.module_utils._resources.stream.stream import STREAM
from support.connect import options, settings
from support.server import NatsServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ansible_collections.choria.streams.plugins.module_utils._resources.resource import Plan
    from ansible_collections.choria.streams.plugins.module_utils._resources.stream.base import StreamBacked

pytestmark = pytest.mark.once

KINDS: dict[str, StreamBacked] = {kind.noun: kind for kind in (STREAM, BUCKET, GOVERNOR)}
SERVERS = ("latest", "2.14", "2.10")
# A stream and a bucket as origins for mirrors and sources, and options without which a kind can't be created
ORIGIN = {"name": "ORIGIN", "subjects": ["origin.>"]}
BUCKET_ORIGIN = {"name": "KV_ORIGIN", "subjects": ["$KV.ORIGIN.>"], "allow_direct": True}
NEEDED: dict[str, dict[str, Any]] = {"governor": {"capacity": 2, "expire": "20m"}}


class Sample(NamedTuple):
    """Values of a row, and the options that they need. With `back` the values are also tried in reverse order."""

    values: tuple[Any, ...]
    beside: dict[str, Any]
    back: bool


def sample(*values: Any, back: bool = True, **beside: Any) -> Sample:
    return Sample(values, beside, back)


TRANSFORMED: dict[str, Any] = {
    "name": "ELSEWHERE",
    "opt_start_seq": 7,
    "subject_transforms": [{"src": "origin.a.>", "dest": "copy.a.>"}, {"src": "origin.b.>", "dest": "copy.b.>"}],
    "external": {"api": "$JS.hub.API", "deliver": "hub.deliver"},
}
FILTERED = {"name": "ORIGIN", "filter_subject": "origin.b.*", "opt_start_time": "2026-01-02T03:04:05.678+01:00"}
THROUGH_CONSUMER = {"name": "ORIGIN", "consumer": {"name": "copies", "deliver_subject": "copies.here"}}
SOURCES = [
    sample([FILTERED, TRANSFORMED], [TRANSFORMED, {"name": "THIRD"}, FILTERED], [{"name": "ORIGIN"}], []),
    sample([THROUGH_CONSUMER], [{"name": "ORIGIN"}]),
]
MIRROR = [
    sample({"name": "ORIGIN"}, {"name": "ELSEWHERE"}),
    sample(FILTERED, {**FILTERED, "filter_subject": "origin.c"}),
    sample(FILTERED, {**FILTERED, "opt_start_time": "2026-01-02T03:04:05.6789Z"}),
    sample(TRANSFORMED, {**TRANSFORMED, "opt_start_seq": 8}),
    sample(THROUGH_CONSUMER),
]
DESCRIPTION = [sample("one", "two", ""), sample("Ä" * 2048, "")]
METADATA = [sample({"a": "1", "b": "x"}, {"a": "1"}, {}, {"c": "3"})]
PLACEMENT = [
    sample({"cluster": "C1", "tags": ["a:1", "b"]}, {"tags": ["b", "c"]}, {}, {"cluster": "C2"}),
    # Empty values
    sample({"tags": ["b"]}, {"tags": []}),
    sample({"tags": ["b"]}, {"cluster": "", "tags": []}),
    sample({"cluster": "C1"}, {"cluster": ""}),
]
REPUBLISH = [sample({"dest": "out.>"}, {"src": ">", "dest": "other.>", "headers_only": True}, {})]

STREAM_SAMPLES: dict[str, list[Sample]] = {
    "description": DESCRIPTION,
    "subjects": [sample(["walk.a"], ["walk.b", "walk.c.>"], ["walk.*"])],
    "retention": [sample("limits", "interest"), sample("limits", "workqueue"), sample("interest", "workqueue")],
    "max_consumers": [sample(3, 5, -1)],
    "max_msgs": [sample(10, 5, -1)],
    "max_bytes": [sample("10MiB", 5000, -1)],
    "max_msgs_per_subject": [sample(10, 5, -1)],
    "max_age": [sample("7d", "1h30m", 1, "100ms", 0)],
    "max_msg_size": [sample("64KiB", 1000, -1)],
    "storage": [sample("file", "memory")],
    "compression": [sample("none", "s2")],
    "first_seq": [sample(100, 200), sample(0, 5)],
    "replicas": [sample(1)],  # more in test_moves.py
    "no_ack": [sample(False, True)],
    "discard": [sample("old", "new", max_msgs=5)],
    "discard_new_per_subject": [sample(False, True, discard="new", max_msgs_per_subject=5)],
    "duplicate_window": [sample("1m", 30, "100ms", "2m")],
    "placement": PLACEMENT,
    "mirror": [*MIRROR, sample({"name": "ORIGIN"}, {})],
    "sources": SOURCES,
    "subject_transform": [sample({"src": "walk.>", "dest": "x.>"}, {"src": ">", "dest": "y.>"}, {})],
    "republish": REPUBLISH,
    "allow_direct": [sample(False, True)],
    "mirror_direct": [sample(True, False, mirror={"name": "ELSEWHERE"})],
    "sealed": [sample(False, True, False, back=False)],
    "deny_delete": [sample(False, True, False)],
    "deny_purge": [sample(False, True, False)],
    "allow_rollup_hdrs": [sample(False, True)],
    "consumer_limits": [
        sample({"inactive_threshold": "1h", "max_ack_pending": 9}, {"max_ack_pending": -1}, {}),
        sample({"max_ack_pending": 9}, {"inactive_threshold": 0, "max_ack_pending": 0}),
        sample({"inactive_threshold": "1h"}, {"inactive_threshold": 0}),
    ],
    "metadata": METADATA,
    "allow_msg_ttl": [sample(False, True, False)],
    "subject_delete_marker_ttl": [sample("1s", "5m", 0)],
    "allow_msg_counter": [sample(False, True)],
    "allow_atomic": [sample(False, True)],
    "allow_batched": [sample(False, True)],
    "allow_msg_schedules": [sample(False, True, False, allow_rollup_hdrs=True)],
    "persist_mode": [sample("default", "async")],
}
BUCKET_SAMPLES: dict[str, list[Sample]] = {
    "description": DESCRIPTION,
    "history": [sample(5, 1, 64)],
    "ttl": [sample("20m", "90s", "100ms", 0, "7d")],
    "replicas": [sample(1)],
    "max_value_size": [sample("10KiB", 100, -1)],
    "max_bucket_size": [sample("1MiB", 5000, -1)],
    "storage": [sample("file", "memory")],
    "compression": [sample(False, True)],
    "mirror": [*MIRROR, sample({"name": "KV_ORIGIN"})],
    "sources": [*SOURCES, sample([{"name": "KV_ORIGIN", "filter_subject": "$KV.ORIGIN.a.*.c.>"}], [])],
    "republish": REPUBLISH,
    "placement": PLACEMENT,
    "metadata": METADATA,
    "allow_direct": [sample(True, False)],
    "limit_marker_ttl": [sample("1m", "1s", 0)],
}
GOVERNOR_SAMPLES: dict[str, list[Sample]] = {
    "capacity": [sample(1, 5)],
    "expire": [sample("20m", "5s", "100ms", "7d", 0)],
    "max_bytes": [sample(-1, "1MiB", 4096)],
    "replicas": [sample(1)],
}
SAMPLES = {"stream": STREAM_SAMPLES, "bucket": BUCKET_SAMPLES, "governor": GOVERNOR_SAMPLES}

_number = count(1)
# Requests that contain more than the option
EXTENDED = {("bucket", "sources")}
# Values that the server fills in otherwise than check mode predicts: before 2.14 streams with sources have a duplicate
# window
UNFORESEEN = {("stream", "sources"): {"duplicate_window"}}


class Walk:
    """One resource that gets the values one after the other."""

    def __init__(self, session: Session, kind: StreamBacked, row: Field, beside: dict[str, Any]) -> None:
        self.session = session
        self.kind = kind
        self.row = row
        self.stream = f"{kind.prefix}WALK{next(_number)}"
        self.beside = {"name": self.stream.removeprefix(kind.prefix), **NEEDED.get(kind.noun, {}), **beside}

    def plan(self, value: Any) -> Plan:
        given = options(self.kind, **{**self.beside, self.row.option: value})
        return self.kind.plan(self.kind.read(self.session, given), given, self.session.server)

    @property
    def config(self) -> dict[str, Any]:
        info = streams.info(self.session, self.stream)
        assert info, f"{self.stream} is not there"
        return dict(info["config"])

    def there(self, value: Any) -> None:
        """Check that the server has the value, and that the plan is empty."""
        if (self.kind.noun, self.row.option) not in EXTENDED:
            assert self.row.equal(self.config.get(self.row.path), self.row.codec.to_wire(value))
        plan = self.plan(value)
        assert plan.changes == ()
        assert plan.action == "none"

    def write(self, value: Any) -> None:
        """Apply a plan. The result must be what check mode showed."""
        plan = self.plan(value)
        assert plan.action in ("create", "update")
        done = self.kind.apply(self.session, plan)[self.kind.noun]
        assert plan.after
        shown = {row.option for row in self.kind.spec}
        if self.session.server.version < (2, 14):
            shown -= UNFORESEEN.get((self.kind.noun, self.row.option), set())
        assert {name: plan.after[name] for name in shown} == {name: done[name] for name in shown}
        if self.session.server.version >= (2, 14):
            self.needs_as_told()
        self.there(value)

    def needs_as_told(self) -> None:
        """Check that the server requires the API level of the rows. Fields inside objects do not count."""
        config = self.config
        used = [row for row in STREAM.spec if not row.equal(config.get(row.path), None)]
        assert config["metadata"]["_nats.req.level"] == str(max(row.level for row in used))

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
        assert refusal.value.message.startswith(f"{self.row.option} of {self.kind.noun} {self.beside['name']} can't be")
        self.sent_raw(wanted, effect)
        self.there(before)
        return before

    def too_new(self, value: Any) -> None:
        with pytest.raises(Refused) as refusal:
            self.plan(value)
        there = re.escape(".".join(map(str, self.session.server.version)))
        needed = r"nats-server 2\.\d+\.0 \(API level \d\)"
        assert re.match(rf"{self.row.option}[\w.]* needs {needed}, and this server runs {there}", refusal.value.message)
        assert refusal.value.failure["code"] == "server_too_old"

    def sent_raw(self, wanted: Any, effect: str) -> None:
        """Check what the server does with the same request from another client."""
        before = streams.info(self.session, self.stream)
        config = {**self.config, self.row.path: None if wanted == {} else wanted}
        if self.row.path == "mirror":
            config["subjects"] = None  # otherwise it would be refused for its subjects
        if effect == REFUSED:
            with pytest.raises(ApiError) as refusal:
                streams.update(self.session, config)
            assert refusal.value.err_code == self.row.update.err_code
        else:
            assert effect == NO_EFFECT
            assert before
            after = streams.update(self.session, config)
            assert self.row.equal(after["config"].get(self.row.path), wanted)
            assert after["state"] == before["state"]
            streams.update(self.session, before["config"])


def cases() -> Iterator[Any]:
    for noun, table in SAMPLES.items():
        for option, samples in table.items():
            for number, each in enumerate(samples):
                yield pytest.param(noun, option, each, id=f"{noun}-{option}-{number}")


def row_of(noun: str, option: str) -> Field:
    return next(row for row in KINDS[noun].spec if row.option == option)


@pytest.fixture(scope="module", params=SERVERS)
def session(request: pytest.FixtureRequest) -> Iterator[Session]:
    """A session of a server with an origin for mirrors and sources."""
    version = None if request.param == SERVERS[0] else request.param
    with NatsServer(version=version) as server, Session(settings(servers=server.url)) as session:
        streams.create(session, ORIGIN)
        streams.create(session, BUCKET_ORIGIN)
        yield session


@pytest.mark.parametrize("noun", KINDS)
def test_each_row_has_a_sample(noun: str) -> None:
    assert set(SAMPLES[noun]) == {row.option for row in KINDS[noun].spec} - {"name"}


def nested(spec: dict[str, Any], path: str) -> Iterator[str]:
    for name, entry in (spec.get("options") or {}).items():
        yield f"{path}.{name}"
        yield from nested(entry, f"{path}.{name}")


def given(value: Any, path: str) -> Iterator[str]:
    for entry in value if isinstance(value, list) else [value]:
        if isinstance(entry, dict):
            for name, inner in entry.items():
                yield f"{path}.{name}"
                yield from given(inner, f"{path}.{name}")


@pytest.mark.parametrize("noun", KINDS)
def test_each_suboption_has_a_sample(noun: str) -> None:
    wanted = {path for row in KINDS[noun].spec for path in nested(row.argument(), row.option)}
    samples = SAMPLES[noun].items()
    there = {
        path for option, rows in samples for each in rows for value in each.values for path in given(value, option)
    }
    assert wanted - there == set()


def newest(row: Field, wire: Any) -> tuple[int, ...]:
    """Return the first server release that knows a value."""
    if row.equal(wire, None):
        return ()
    entries = wire if isinstance(wire, list) else [wire]
    inside = [newest(inner, entry[inner.path]) for inner in row.codec.inner for entry in entries if inner.path in entry]
    return max([row.since, *inside])


@pytest.mark.parametrize(("noun", "option", "walked"), list(cases()))
def test_row(session: Session, noun: str, option: str, walked: Sample) -> None:
    kind, row = KINDS[noun], row_of(noun, option)
    for values in (walked.values, walked.values[::-1]) if walked.back else (walked.values,):
        walk = Walk(session, kind, row, walked.beside)
        known: list[Any] = []
        for value in values:
            if newest(row, row.codec.to_wire(value)) > session.server.version:
                walk.too_new(value)
            elif not known or value != known[-1]:
                known.append(value)
        now, *later = known or [None]
        if known:
            walk.write(now)
        for value in later:
            now = walk.step(now, value)
        streams.delete(session, walk.stream)


# Writes are read back


def test_accepted_but_not_applied(session: Session) -> None:
    """A mirror in the same account gets its origin's allow_direct, whatever is requested."""
    given = options(STREAM, name="OVERRULED", mirror={"name": "ORIGIN"}, mirror_direct=True)
    with pytest.raises(StreamsError) as error:
        STREAM.apply(session, STREAM.plan(STREAM.read(session, given), given, session.server))
    assert error.value.message == (
        "mirror_direct of stream OVERRULED: the server accepted true but did not apply it, it is false."
    )
    assert error.value.failure == {"code": "not_applied", "option": "mirror_direct"}
    streams.delete(session, "OVERRULED")
