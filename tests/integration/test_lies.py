# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""All modules and lookups against servers that lie: each run ends in one sentence, soon, and reports nothing untrue.

``CHORIA_STREAMS_LIES`` is how many answers with one wrong part are tried, ``CHORIA_STREAMS_SEED`` chooses others.
"""

from __future__ import annotations

import json
import os
import random
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from ansible_collections.choria.streams.plugins.module_utils._api import messages, mismatch, streams
from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from ansible_collections.choria.streams.plugins.module_utils._connection.wire import Request
from support import lies
from support.connect import settings
from support.forging import ForgingServer
from support.inprocess import Lookups, RawError, run_module
from support.server import NatsServer

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.once

PATIENCE = 5.0
IMPATIENT = {"timeout": "1s", "connect_timeout": "2s"}
MANY = int(os.environ.get("CHORIA_STREAMS_LIES", "300"))
EVERY = MANY > 300
SEED = int(os.environ.get("CHORIA_STREAMS_SEED", "1"))


class Scenario(NamedTuple):
    """What runs: a module, or a lookup with its terms."""

    name: str
    arguments: dict[str, Any]
    terms: list[Any] | None = None
    check_mode: bool = False


SCENARIOS: dict[str, Scenario] = {
    "stream created": Scenario("choria_stream", {"name": "NEW", "subjects": ["new"]}),
    "stream created in check mode": Scenario("choria_stream", {"name": "NEW"}, check_mode=True),
    "stream changed": Scenario("choria_stream", {"name": "ORDERS", "max_age": "1h"}),
    "stream recreated": Scenario(
        "choria_stream", {"name": "ORDERS", "storage": "file", "recreate": "copy", "wait_timeout": "2s"}
    ),
    "stream deleted": Scenario("choria_stream", {"name": "ORDERS", "state": "absent", "allow_data_loss": True}),
    "streams": Scenario("choria_stream_info", {}),
    "stream by name": Scenario("choria_stream_info", {"names": ["ORDERS"]}),
    "consumer created": Scenario("choria_consumer", {"stream": "ORDERS", "name": "NEW"}),
    "consumer changed": Scenario("choria_consumer", {"stream": "ORDERS", "name": "C", "description": "x"}),
    "consumer deleted": Scenario("choria_consumer", {"stream": "ORDERS", "name": "C", "state": "absent"}),
    "consumers": Scenario("choria_consumer_info", {"stream": "ORDERS"}),
    "consumer by name": Scenario("choria_consumer_info", {"stream": "ORDERS", "names": ["C"]}),
    "bucket created": Scenario("choria_kv_bucket", {"name": "NEW"}),
    "bucket changed": Scenario("choria_kv_bucket", {"name": "CFG", "history": 9}),
    "buckets": Scenario("choria_kv_bucket_info", {}),
    "governor created": Scenario("choria_governor", {"name": "NEW", "capacity": 1, "expire": "1h"}),
    "governor changed": Scenario("choria_governor", {"name": "G", "capacity": 5, "expire": "1h"}),
    "governors": Scenario("choria_governor_info", {}),
    "seat taken": Scenario("choria_governor_lease", {"name": "G", "state": "acquired", "max_wait": "1s"}),
    "seat taken away": Scenario("choria_governor_lease", {"name": "G", "state": "evicted", "identity": "me"}),
    "seats taken away": Scenario("choria_governor_lease", {"name": "G", "state": "reset"}),
    "key written": Scenario("choria_kv", {"bucket": "CFG", "key": "new", "value": "x"}),
    "key changed": Scenario("choria_kv", {"bucket": "CFG", "key": "a", "value": "x"}),
    "key deleted": Scenario("choria_kv", {"bucket": "CFG", "key": "a", "state": "absent"}),
    "keys pushed": Scenario("choria_kv_sync", {"bucket": "CFG", "prefix": "new", "data": {"k": "v"}}),
    "keys pruned": Scenario("choria_kv_sync", {"bucket": "CFG", "prefix": "p", "data": {"k": "v"}, "prune": True}),
    "keys pulled": Scenario("choria_kv_sync", {"bucket": "CFG", "prefix": "p", "dest": "{folder}/pulled"}),
    "key awaited": Scenario("choria_kv_watch", {"bucket": "CFG", "keys": ["a"], "max_wait": "1s"}),
    "document": Scenario(
        "choria_resources",
        {
            "owner": "me",
            "prune": True,
            "streams": [{"name": "NEW"}],
            "consumers": [{"stream": "ORDERS", "name": "NEW"}],
            "kv_buckets": [{"name": "CFG", "history": 9}],
            "governors": [{"name": "G", "capacity": 4}],
            "keys": [{"bucket": "CFG", "key": "new", "value": "x"}],
        },
    ),
    "message published": Scenario("choria_stream_message", {"subject": "orders.new", "data": "x"}),
    "message deleted": Scenario("choria_stream_message", {"stream": "ORDERS", "sequence": 1, "state": "absent"}),
    "messages purged": Scenario(
        "choria_stream_message", {"stream": "ORDERS", "state": "purged", "allow_data_loss": True}
    ),
    "messages": Scenario("choria_stream_message_info", {"stream": "ORDERS"}),
    "message by sequence": Scenario("choria_stream_message_info", {"stream": "ORDERS", "sequence": 1}),
    "message submitted": Scenario("choria_submit", {"subject": "x", "payload": "x", "transport": "direct"}),
    "backup": Scenario("choria_backup", {"stream": "ORDERS", "path": "{folder}"}),
    "restore": Scenario("choria_restore", {"path": "{backup}", "stream": "NEW", "subjects": ["new"]}),
    "runs": Scenario("choria_run_info", {"stream": "RESULTS", "subject_prefix": "results"}),
    "machines": Scenario("choria_machine_info", {"max_wait": "1s"}),
    "looked-up key": Scenario("choria_kv", {"bucket": "CFG"}, ["a"]),
    "looked-up keys": Scenario("choria_kv", {"bucket": "CFG"}, ["a", "p.x"]),
    "looked-up prefix": Scenario("choria_kv", {"bucket": "CFG", "prefix": True}, ["p"]),
    "looked-up history": Scenario("choria_kv", {"bucket": "CFG", "history": True}, ["a"]),
    "looked-up revision": Scenario("choria_kv", {"bucket": "CFG", "revision": 1}, ["a"]),
    "looked-up message": Scenario("choria_stream", {}, ["ORDERS"]),
    "looked-up messages": Scenario("choria_stream", {"last": 2}, ["ORDERS"]),
    "looked-up seats": Scenario("choria_governor", {}, ["G"]),
}


class World:
    """A real server with something of each kind, and the liar before it."""

    def __init__(self, server: NatsServer, folder: Path) -> None:
        self.liar = ForgingServer(server.port)
        self.folder = folder
        self.session = Session(settings(servers=server.url))
        self.lookups = Lookups()
        self.backup = ""

    def make(self) -> None:
        """All as it was."""
        for name in streams.names(self.session):
            streams.delete(self.session, name)
        memory = {"storage": "memory"}
        kept = {"max_msgs_per_subject": 5, "allow_rollup_hdrs": True, "allow_direct": True, "deny_delete": True}
        seats = {"max_msgs": 2, "discard": "new", "max_age": 3600 * 10**9, "duplicate_window": 3600 * 10**9}
        for config in (
            {"name": "ORDERS", "subjects": ["orders.>"], **memory},
            {"name": "KV_CFG", "subjects": ["$KV.CFG.>"], **kept, **memory, "discard": "new"},
            {"name": "GOVERNOR_G", "subjects": ["mcollective.governor.G"], **seats, **memory},
            {"name": "SUBMITTED", "subjects": ["mcollective.submission.in.>"], **memory},
            {"name": "RESULTS", "subjects": ["results.>"], **memory},
            {"name": "CHORIA_MACHINE", "subjects": ["choria.machine.>"], **memory},
        ):
            streams.create(self.session, config)
        subjects = ("orders.a", "orders.b", "orders.a", "$KV.CFG.a", "$KV.CFG.p.x", "$KV.CFG.p.y", "$KV.CFG.a")
        wanted = [Request(subject, b"value") for subject in subjects] + [Request("mcollective.governor.G", b"me")]
        for answer in messages.publish_many(self.session, "Filling", wanted):
            assert isinstance(answer, dict)
        consumer = {"durable_name": "C", "ack_policy": "explicit"}
        from ansible_collections.choria.streams.plugins.module_utils._api import consumers

        consumers.create(self.session, "ORDERS", consumer)

    def run(self, scenario: Scenario) -> tuple[Any, str, float]:
        """What it returns, why it fails, and how long it takes. Raises RawError."""
        given = {**scenario.arguments, **IMPATIENT, "servers": self.liar.url}
        for option, value in given.items():
            if isinstance(value, str):
                given[option] = value.replace("{folder}", str(self.folder)).replace("{backup}", self.backup)
        began = time.monotonic()
        if scenario.terms is None:
            result = run_module(scenario.name, {**given, "servers": [self.liar.url]}, check_mode=scenario.check_mode)
            found: tuple[Any, str] = (result, result["msg"] if result.get("failed") else "")
            if result.get("failed"):
                assert result["failure"]["code"] != "bug", result
        else:
            found = self.lookups.run(scenario.name, scenario.terms, **given)
        return (*found, time.monotonic() - began)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with NatsServer() as server:
        found = World(server, tmp_path_factory.mktemp("lies"))
        found.make()
        result = run_module(
            "choria_backup", {"stream": "ORDERS", "path": str(found.folder / "good"), "servers": [server.url]}
        )
        found.backup = result["backup"]["path"]
        yield found
        found.lookups.stop()
        found.liar.stop()
        found.session.close()


_MOMENT = re.compile(
    r"\d{4}-\d\d-\d\dT[\d:.]+(Z|[+-]\d\d:\d\d)|\d{8}T?\d{6}\S*|\d+\.\d+"
    r'|"(waited|held|age|elapsed|duration)": [\d.]+|\d+-[0-9a-f]{8,}-\w+'
)


def same(one: Any, other: Any) -> bool:
    """Whether two results say the same, times apart."""
    texts = [_MOMENT.sub("", json.dumps(each, sort_keys=True, default=str)) for each in (one, other)]
    return texts[0] == texts[1]


def sentence_of(problem: str) -> None:
    """One sentence of ours, without an exception's words."""
    for words in ("Traceback", "Error:", "object has no", "not subscriptable", "KeyError", "is a bug", "NoneType"):
        assert words not in problem, problem
    assert len(problem) < 3000, problem


@pytest.mark.parametrize("name", SCENARIOS)
def test_whole_answers(world: World, name: str) -> None:
    """Where all answers are lies, nothing succeeds."""
    turn = list(SCENARIOS).index(name)
    for lie, data in list(lies.WHOLE.items())[0 if EVERY else turn % 3 :: 1 if EVERY else 3]:

        def told(_subject: str, number: int, headers: bytes, good: bytes, data: bytes = data) -> tuple[bytes, bytes]:
            return (b"", data) if number else (headers, good)

        world.make()
        world.liar.lie(told)
        result, problem, elapsed = world.run(SCENARIOS[name])
        assert problem, (lie, result)
        sentence_of(problem)
        assert elapsed < PATIENCE, (lie, elapsed, problem)


HEADERS = (
    b"NATS/1.0\r\n\r\n",
    b"NATS/1.0 404\r\n\r\n",
    b"NATS/1.0 500 Broken\r\n\r\n",
    b"NATS/1.0 x\r\n\r\n",
    b"NATS/1.0\r\nNats-Subject: $KV.CFG.a\r\nNats-Sequence: x\r\nNats-Time-Stamp: 2026-01-01T00:00:00Z\r\n\r\n",
    b"NATS/1.0\r\nNats-Subject: $KV.CFG.a\r\nNats-Sequence: " + b"9" * 5000 + b"\r\nNats-Time-Stamp: x\r\n\r\n",
    b"NATS/1.0\r\nNats-Subject: $KV.CFG.a\r\nNats-Sequence: 0\r\nNats-Time-Stamp: 2026-01-01T00:00:00Z\r\n\r\n",
    b"NATS/1.0\r\nNats-Subject: other\r\nNats-Sequence: 1\r\nNats-Time-Stamp: 2026-01-01T00:00:00Z\r\n\r\n",
    b"NATS/1.0\r\nNats-Subject: $KV.CFG.a\r\nNats-Sequence: 1\r\nNats-Time-Stamp: yesterday\r\n\r\n",
    b"NATS/1.0 204 EOB\r\nNats-Num-Pending: x\r\n\r\n",
    b"NATS/1.0 204 EOB\r\nNats-Num-Pending: -5\r\n\r\n",
    b"junk",
    b"\xff\xff\xff\xff\r\n\r\n",
)


@pytest.mark.parametrize("name", [name for name, each in SCENARIOS.items() if each.terms or "pulled" in name])
def test_headers(world: World, name: str) -> None:
    """What direct reads say in headers."""
    world.make()
    for headers in HEADERS:

        def told(_subject: str, _number: int, good: bytes, data: bytes, lie: bytes = headers) -> tuple[bytes, bytes]:
            return (lie if good else b"", data)

        world.liar.lie(told)
        _result, problem, elapsed = world.run(SCENARIOS[name])
        sentence_of(problem)
        assert elapsed < PATIENCE + 2, (headers, elapsed, problem)


class Lie(NamedTuple):
    """One wrong part in the answer with that number, and the result that is right."""

    name: str
    number: int
    answer: bytes
    right: Any
    said: str

    def told(self, subject: str, number: int, headers: bytes, data: bytes) -> tuple[bytes, bytes]:
        return headers, self.answer if number == self.number and not headers else data


def chosen_lies(world: World) -> Iterator[Lie]:
    """Lies by chance."""
    chance = random.Random(SEED)
    recorded: dict[str, tuple[list[tuple[int, bytes]], Any]] = {}
    for _case in range(MANY):
        name = chance.choice(list(SCENARIOS))
        if name not in recorded:
            recorded[name] = record(world, SCENARIOS[name])
        answers, right = recorded[name]
        number, data = chance.choice(answers or [(0, b"{}")])
        whole = json.loads(data)
        path = chance.choice([*lies.places(whole)] or [()])
        part = chance.choice([*lies.PARTS, lies.MISSING])
        # Another value of the same kind may be true
        if path and lies.kind(part) != lies.kind(lies.at(whole, path)):
            answer = json.dumps(lies.with_part(whole, path, part)).encode()
            yield Lie(name, number, answer, right, f"{path} = {part!r}")


def record(world: World, scenario: Scenario) -> tuple[list[tuple[int, bytes]], Any]:
    """The answers that are JSON objects, by their numbers, and the result with them."""
    found: list[tuple[int, bytes]] = []

    def listen(subject: str, number: int, headers: bytes, data: bytes) -> tuple[bytes, bytes]:
        if number and not headers and data.startswith(b"{"):
            found.append((number, data))
        return headers, data

    world.make()
    world.liar.lie(listen)
    result, problem, _elapsed = world.run(scenario)
    assert not problem or scenario.name in ("choria_machine_info", "choria_run_info"), (scenario, problem)
    return found, result


def test_parts(world: World) -> None:
    """Where one part of one answer is a lie, the run fails in a sentence, or the part does not matter."""
    untrue = []
    for lie in chosen_lies(world):
        world.make()
        world.liar.lie(lie.told)
        try:
            result, problem, elapsed = world.run(SCENARIOS[lie.name])
        except RawError as error:
            untrue.append((lie, str(error)))
            continue
        sentence_of(problem)
        assert elapsed < PATIENCE, (lie, elapsed, problem)
        # A backup has its time in its digest
        if not problem and lie.name != "backup" and not same(result, lie.right):
            untrue.append((lie, f"another result: {result}"))
    assert not untrue


def documented() -> dict[str, list[str]]:
    """The subjects that docs/permissions.md lists, by plugin."""
    text = (Path(__file__).resolve().parents[2] / "docs" / "permissions.md").read_text()
    rows = [line.split("|")[1:3] for line in text.splitlines() if line.startswith("| ") and "`choria_" in line]
    found = {}
    for names, subjects in rows:
        for name in re.findall(r"`(choria_\w+)`", names):
            kind = "lookup " if names.strip().startswith("lookup") else ""
            found[kind + name] = re.findall(r"`(\S*[.]\S*)`", subjects)
    return found


@pytest.mark.parametrize("name", SCENARIOS)
def test_honest_answers(world: World, name: str) -> None:
    """Without a lie all succeed, so that none fails for another reason. They send what the page on rights lists."""
    scenario = SCENARIOS[name]
    record(world, scenario)
    allowed = documented()[("lookup " if scenario.terms else "") + scenario.name]
    own = [scenario.arguments.get("subject", "")] if scenario.name == "choria_stream_message" else []
    for subject in world.liar.asked:
        assert any(mismatch.matches(subject, pattern) for pattern in [*allowed, *own]), (subject, allowed)
