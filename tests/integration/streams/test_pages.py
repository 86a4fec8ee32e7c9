# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lists that servers answer in pages, while others create and delete items. No item that stays is skipped."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.choria.streams.plugins.module_utils._api import answers, consumers, jetstream, lists, streams
from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from ansible_collections.choria.streams.plugins.module_utils._errors import WrongAnswer
from ansible_collections.choria.streams.plugins.module_utils._options.shapes import Count
from support.connect import settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ansible_collections.choria.streams.plugins.module_utils._connection.wire import Request
    from conftest import MakeServer

pytestmark = pytest.mark.once

# Pages of LIST have 256 items
COUNT = 600


class Meanwhile(Session):
    """Calls ``act`` once between the first and the second page."""

    act: Callable[[], None] | None = None

    def request_many(self, requests: Iterable[Request], *arguments: Any, **options: Any) -> Any:
        listed = list(requests)
        answered = super().request_many(listed, *arguments, **options)
        if self.act and ".LIST" in listed[0].subject:
            act, self.act = self.act, None
            act()
        return answered


def numbered(first: int, last: int) -> list[str]:
    return [f"N{number:03}" for number in range(first, last)]


# Names to delete and names to create between the first two pages
CHANGES = {
    "few": (numbered(0, 5), []),
    "the last one of the page": (numbered(255, 256), []),
    "as many as are created": (numbered(0, 5), [f"Z{number}" for number in range(5)]),
    "most": (numbered(0, 500), []),
    "nearly all": (numbered(0, 599), []),
    "all": (numbered(0, 600), []),
    "some are created": ([], [f"A{number}" for number in range(5)]),
}


@pytest.fixture
def session(make_server: MakeServer) -> Iterator[Meanwhile]:
    with Meanwhile(settings(servers=make_server().url)) as session:
        streams.create(session, {"name": "S", "subjects": ["s"], "storage": "memory"})
        yield session


def create(session: Session, names: list[str]) -> None:
    calls = [consumers.creating("S", {"durable_name": name, "mem_storage": True}) for name in names]
    assert all(isinstance(answer, dict) for answer in jetstream.call_many(session, calls))


def delete(session: Session, names: list[str]) -> None:
    jetstream.call_many(session, [consumers.deleting("S", name) for name in names])


def change(session: Session, gone: list[str], new: list[str]) -> None:
    delete(session, gone)
    create(session, new)


def test_consumers(session: Meanwhile) -> None:
    for gone, new in CHANGES.values():
        create(session, [name for name in numbered(0, COUNT) if not session.act])
        session.act = partial(change, session, gone, new)
        listed = {info["name"] for info in consumers.list_all(session, "S")}
        assert set(numbered(0, COUNT)) - set(gone) - listed == set()
        delete(session, [*numbered(0, COUNT), *new])


def test_streams(session: Meanwhile) -> None:
    names = numbered(0, 300)
    streams.write_many(session, [streams.creating({"name": name, "storage": "memory"}) for name in names])

    def change() -> None:
        for name in names[:3]:
            streams.delete(session, name)

    session.act = change
    found = [info["config"]["name"] for info in lists.streams(session)]
    assert set(names[3:]) <= set(found) and len(found) == len(set(found))


@pytest.mark.parametrize("names", [[], ["A"], ["A", "B"], ["B", "A"]], ids=len)
def test_the_same_page_again_and_again(names: list[str]) -> None:
    pages, page = lists.Pages(str), answers.Page(total=Count(9**9))
    with pytest.raises(WrongAnswer):
        while pages.take("Listing", page, names):
            pass
