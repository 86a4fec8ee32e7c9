# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fixtures with the real Choria."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import pytest

from support.choria import ChoriaBroker, ChoriaServer, find_choria

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

Process = TypeVar("Process", ChoriaBroker, ChoriaServer)
# The running brokers and servers, whose logs are shown when a test fails
_running: list[ChoriaBroker | ChoriaServer] = []
_LOG_LINES = 40


def pytest_configure() -> None:
    if find_choria() is None:
        raise pytest.UsageError("There is no choria program to test with: put it on PATH, or its path into CHORIA_BIN.")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.nodeid.startswith("tests/interop/"):
            item.add_marker(pytest.mark.once)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        for process in _running:
            log = process.log().splitlines()[-_LOG_LINES:]
            report.sections.append((f"log of {process.identity}", "\n".join(log)))
    return report


def _shown(process: Process) -> Iterator[Process]:
    with process:
        _running.append(process)
        yield process
        _running.remove(process)


@pytest.fixture(scope="module")
def broker() -> Iterator[ChoriaBroker]:
    """A broker with mutual TLS, for all tests of a file."""
    yield from _shown(ChoriaBroker())


@pytest.fixture(scope="module")
def server(broker: ChoriaBroker) -> Iterator[ChoriaServer]:
    """A node of that broker."""
    yield from _shown(ChoriaServer(broker))


@pytest.fixture(scope="module")
def jwt_broker() -> Iterator[ChoriaBroker]:
    """A broker that requires tokens, for all tests of a file."""
    yield from _shown(ChoriaBroker(security="choria"))


@pytest.fixture(scope="module")
def jwt_server(jwt_broker: ChoriaBroker) -> Iterator[ChoriaServer]:
    """A node of that broker."""
    yield from _shown(ChoriaServer(jwt_broker))
