# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""All modules that write, with a server that is lost after some of its answers: a run that fails after it changed
something says that something is changed.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.choria.streams.plugins.module_utils._api import consumers, lists, stream_snapshot
from ansible_collections.choria.streams.plugins.module_utils._operations.backup import transfer
from support.proxy import Frame, Proxy
from support.scenarios import SCENARIOS, World
from support.server import NatsServer

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.once

_HEARD = (*range(10), *range(10, 50, 5))  # how many answers of a run arrive
_READ = ("check mode", "awaited", "pulled", "backup")
_WRITTEN = [
    name
    for name, each in SCENARIOS.items()
    if each.terms is None and not each.name.endswith("_info") and not any(word in name for word in _READ)
]


class Losing(Proxy):
    """It drops all answers after the first ``heard`` ones, and with ``cuts`` also the connections."""

    def __init__(self, port: int) -> None:
        super().__init__(port, self._passed_on)
        self.lose(0, cuts=False)

    def lose(self, heard: int, *, cuts: bool) -> None:
        self.heard, self.cuts, self.answers, self.refusing = heard, cuts, 0, False

    def _passed_on(self, frame: Frame) -> list[bytes]:
        if frame.up or not frame.subject:
            return [frame.raw]
        self.answers += 1
        if self.answers <= self.heard:
            return [frame.raw]
        if self.cuts:
            self.refusing = True
            self.cut()
        return []


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with NatsServer() as server:
        found = World(server, tmp_path_factory.mktemp("world"))
        yield found
        found.close()


@pytest.fixture(scope="module")
def losing(world: World) -> Iterator[Losing]:
    proxy = Losing(int(world.url.rpartition(":")[2]))
    world.url = proxy.url
    yield proxy
    proxy.stop()


def state(world: World) -> dict[str, Any]:
    """Return what runs may change: streams, their messages, and consumers."""
    return {
        info["config"]["name"]: (
            info["created"],
            json.dumps([info["config"], info["state"]["messages"], info["state"]["last_seq"]], sort_keys=True),
            [json.dumps(each["config"], sort_keys=True) for each in _consumers(world, info["config"]["name"])],
        )
        for info in lists.streams(world.session)
    }


def _consumers(world: World, stream: str) -> list[Any]:
    return sorted(consumers.list_all(world.session, stream), key=lambda each: str(each["name"]))


@pytest.mark.parametrize("name", _WRITTEN)
def test_a_change_is_reported(world: World, losing: Losing, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(transfer, "_PATIENCE", 1.0)
    monkeypatch.setattr(stream_snapshot, "_LONG", 1.0)
    for heard in _HEARD:
        world.make()
        before = state(world)
        losing.lose(heard, cuts=heard % 2 == _WRITTEN.index(name) % 2)
        result, problem, _elapsed = world.run(SCENARIOS[name], timeout="300ms", connect_timeout="500ms")
        is_changed = state(world) != before
        assert result["changed"] or not is_changed, (heard, losing.cuts, problem)
        if losing.answers <= heard:
            assert not problem, problem
            return
