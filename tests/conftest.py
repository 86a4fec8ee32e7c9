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

# What runs in the background of a shell ignores these signals, and hands that down. Tests send them.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# The running servers, whose logs are shown when a test fails
_servers: list[NatsServer] = []
_LOG_LINES = 60


# Their tests take long, and share nothing
_ONE_BY_ONE = ("test_examples.py", "test_targets.py")
_SHORT = "tests/unit/"


class _Scheduling(LoadFileScheduling):
    """Hands out whole files, since their tests share servers, but what can run by itself one by one."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return nodeid if file.endswith(_ONE_BY_ONE) else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> _Scheduling:
    config.option.loadscopereorder = False  # the order is that of the next function
    return _Scheduling(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first and the shortest last, so that no process is alone at the end. Unit tests take each core."""
    for item in items:
        if item.nodeid.startswith(_SHORT):
            item.add_marker(pytest.mark.each_core)
    items.sort(key=lambda item: (item.nodeid.startswith(_SHORT), not item.path.name.endswith(_ONE_BY_ONE)))


class MakeServer(Protocol):
    """Starts a server for one test; the arguments are NatsServer's."""

    def __call__(self, config: str | dict[str, Any] = "", **options: Any) -> NatsServer: ...


@pytest.fixture(scope="session")
def nats_server() -> Iterator[NatsServer]:
    """A plain server with JetStream that all tests of a process share: use names of your own."""
    with NatsServer() as server:
        _servers.append(server)
        yield server
        _servers.remove(server)


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder for sockets, whose paths have a limit of 107 bytes: ansible-core makes one in TMPDIR."""
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
