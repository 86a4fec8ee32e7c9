# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fixtures for unit and integration tests: real servers."""

from __future__ import annotations

import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest
from xdist.scheduler import LoadFileScheduling

from support.server import NatsServer

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from xdist.remote import Producer

# Shells start background processes with these signals ignored, and children inherit that. Tests send the signals.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# The running servers, whose logs are shown when a test fails
_servers: list[NatsServer] = []
_LOG_LINES = 60


# The tests of these files take long and share nothing
_ONE_BY_ONE = ("test_examples.py", "test_targets.py")
_SHORT = "tests/unit/"
_OF_PLUGINS = "tests/unit/plugins/"


class _Scheduling(LoadFileScheduling):
    """Distributes whole files, since their tests share servers, and single tests of files that share nothing."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return nodeid if file.endswith(_ONE_BY_ONE) else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> _Scheduling:
    config.option.loadscopereorder = False  # the order is that of the next function
    return _Scheduling(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the longest files first and the shortest last, to keep all processes busy. Plugins take each core."""
    for item in items:
        if item.nodeid.startswith(_OF_PLUGINS):
            item.add_marker(pytest.mark.each_core)
    items.sort(key=lambda item: (item.nodeid.startswith(_SHORT), not item.path.name.endswith(_ONE_BY_ONE)))


class MakeServer(Protocol):
    """Starts a server for one test. The arguments are those of NatsServer."""

    def __call__(self, config: str | dict[str, Any] = "", **options: Any) -> NatsServer: ...


@pytest.fixture(scope="session")
def nats_server() -> Iterator[NatsServer]:
    """A plain server with JetStream that all tests of a process share. Each test uses its own names."""
    with NatsServer() as server:
        _servers.append(server)
        yield server
        _servers.remove(server)


@pytest.fixture(scope="module", params=["latest", "2.10"])
def server(request: pytest.FixtureRequest) -> Iterator[NatsServer]:
    """The newest nats-server, then the oldest supported one."""
    with NatsServer(version=None if request.param == "latest" else request.param) as server:
        yield server


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder for sockets, whose paths have at most 107 bytes: ansible-core creates one in TMPDIR."""
    with tempfile.TemporaryDirectory(prefix="s-") as folder:
        yield Path(folder)


@pytest.fixture
def make_server() -> Iterator[MakeServer]:
    """A factory of servers that are stopped at the end of the test."""
    started: list[NatsServer] = []

    def make(config: str | dict[str, Any] = "", **options: Any) -> NatsServer:
        server = NatsServer(config, **options)
        started.append(server)
        _servers.append(server)
        return server

    yield make
    for server in started:
        _servers.remove(server)
        server.stop()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        for server in _servers:
            log = server.log().splitlines()[-_LOG_LINES:]
            report.sections.append((f"log of {server.url}", "\n".join(log)))
    return report
