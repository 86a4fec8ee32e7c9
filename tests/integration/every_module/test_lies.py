# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""All modules and lookups with servers that send wrong answers: each run ends soon, with one sentence or a true
result.

``LIES`` is how many answers with one wrong part are tried. ``LIES_SEED`` chooses others.
"""

from __future__ import annotations

import json
import os
import random
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import yaml

from ansible_collections.choria.streams.plugins.module_utils._api import jetstream
from support import ROOT, lies
from support.forging import ForgingServer
from support.in_process import RawError
from support.scenarios import SCENARIOS, Scenario, World
from support.server import NatsServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.once

PATIENCE = 5.0
MANY = int(os.environ.get("LIES", "300"))
EVERY = MANY > 300
SEED = int(os.environ.get("LIES_SEED", "1"))


class LyingWorld(World):
    """Its answers are changed."""

    def __init__(self, server: NatsServer, folder: Path) -> None:
        super().__init__(server, folder)
        self.liar = ForgingServer(server.port)
        self.url = self.liar.url

    def close(self) -> None:
        super().close()
        self.liar.stop()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LyingWorld]:
    with NatsServer() as server:
        found = LyingWorld(server, tmp_path_factory.mktemp("lies"))
        yield found
        found.close()


_MOMENT = re.compile(
    r"\d{4}-\d\d-\d\dT[\d:.]+(Z|[+-]\d\d:\d\d)|\d{8}T?\d{6}\S*|\d+\.\d+"
    r'|"(waited|held|age|elapsed|duration)": [\d.]+|\d+-[0-9a-f]{8,}-\w+|[0-9a-f]{22}'
)


def same(one: Any, other: Any) -> bool:
    """Return True if two results are equal, except for times."""
    texts = [_MOMENT.sub("", json.dumps(each, sort_keys=True, default=str)) for each in (one, other)]
    return texts[0] == texts[1]


def sentence_of(problem: str) -> None:
    """Return the one sentence of an error, without the text of an exception."""
    for words in ("Traceback", "Error:", "object has no", "not subscriptable", "KeyError", "is a bug", "NoneType"):
        assert words not in problem, problem
    assert len(problem) < 3000, problem


@pytest.mark.parametrize("name", SCENARIOS)
def test_wrong_answers_never_succeed(world: LyingWorld, name: str) -> None:
    """If all answers are wrong, nothing succeeds."""
    turn = list(SCENARIOS).index(name)
    for lie, data in list(lies.WRONG_ANSWERS.items())[0 if EVERY else turn % 3 :: 1 if EVERY else 3]:

        def lying(_subject: str, number: int, headers: bytes, good: bytes, data: bytes = data) -> tuple[bytes, bytes]:
            return (b"", data) if number else (headers, good)

        world.make()
        world.liar.lie(lying)
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
def test_headers(world: LyingWorld, name: str) -> None:
    """Headers of direct reads."""
    world.make()
    for headers in HEADERS:

        def lying(_subject: str, _number: int, good: bytes, data: bytes, lie: bytes = headers) -> tuple[bytes, bytes]:
            return (lie if good else b"", data)

        world.liar.lie(lying)
        _result, problem, elapsed = world.run(SCENARIOS[name])
        sentence_of(problem)
        assert elapsed < PATIENCE + 2, (headers, elapsed, problem)


class Lie(NamedTuple):
    """The answer with that number has one wrong part. ``right`` is the result without it."""

    name: str
    number: int
    answer: bytes
    right: Any
    said: str

    def lying(self, subject: str, number: int, headers: bytes, data: bytes) -> tuple[bytes, bytes]:
        return headers, self.answer if number == self.number and not headers else data


def chosen_lies(world: LyingWorld) -> Iterator[Lie]:
    """Return wrong parts at random."""
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
        # Another value of the same kind may be valid, and a message may have neither data nor headers
        empty = path[-1:] in (("data",), ("hdrs",)) and (part is None or part is lies.MISSING)
        if path and not empty and lies.kind(part) != lies.kind(lies.at(whole, path)):
            answer = json.dumps(lies.with_part(whole, path, part)).encode()
            yield Lie(name, number, answer, right, f"{path} = {part!r}")


def record(world: LyingWorld, scenario: Scenario) -> tuple[list[tuple[int, bytes]], Any]:
    """Return the answers that are JSON objects, by their numbers, and the result."""
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


def test_parts(world: LyingWorld) -> None:
    """If one part of one answer is wrong, the run fails with a sentence, or the part does not matter."""
    untrue = []
    for lie in chosen_lies(world):
        world.make()
        world.liar.lie(lie.lying)
        try:
            result, problem, elapsed = world.run(SCENARIOS[lie.name])
        except RawError as error:
            untrue.append((lie, str(error)))
            continue
        sentence_of(problem)
        assert elapsed < PATIENCE, (lie, elapsed, problem)
        # The digest of a backup includes its time
        if not problem and lie.name != "backup" and not same(result, lie.right):
            untrue.append((lie, f"another result: {result}"))
    assert not untrue, untrue


def documented() -> dict[str, list[str]]:
    """Return the subjects that docs/permissions.md lists, by plugin."""
    text = (ROOT / "docs" / "permissions.md").read_text()
    rows = [line.split("|")[1:3] for line in text.splitlines() if line.startswith("| ") and "`choria_" in line]
    found = {}
    for names, subjects in rows:
        for name in re.findall(r"`(choria_\w+)`", names):
            kind = "lookup " if names.strip().startswith("lookup") else ""
            found[kind + name] = re.findall(r"`(\S*[.]\S*)`", subjects)
    return found


# Modules that only read files, though their options name servers
_OFFLINE = {"choria_config_info", "choria_machine", "choria_submission_info"}
# Actions that send the requests of choria_governor_lease and choria_run_info
_COMPOSED = {"choria_governor_run", "choria_run_page"}


def test_each_module_has_a_scenario_and_a_row_of_its_rights() -> None:
    runtime = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text())
    modules = set(runtime["action_groups"]["all"]) - _OFFLINE
    tried = {scenario.name for scenario in SCENARIOS.values() if scenario.terms is None}
    assert (modules - tried, modules - documented().keys()) == (_COMPOSED, set())
    lookups = {path.stem for path in (ROOT / "plugins" / "lookup").glob("choria_*.py")}
    looked_up = {scenario.name for scenario in SCENARIOS.values() if scenario.terms is not None}
    assert (lookups - looked_up, {f"lookup {name}" for name in lookups} - documented().keys()) == (set(), set())


@pytest.mark.parametrize("name", SCENARIOS)
def test_honest_answers(world: LyingWorld, name: str) -> None:
    """Without wrong answers all of them succeed, and send what docs/permissions.md lists."""
    scenario = SCENARIOS[name]
    record(world, scenario)
    allowed = documented()[("lookup " if scenario.terms else "") + scenario.name]
    own = ["orders.new"] if scenario.name == "choria_stream_message" else []
    for subject in world.liar.asked:
        assert any(jetstream.matches(subject, pattern) for pattern in [*allowed, *own]), (subject, allowed)
