# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists that the server sends in pages, and those of all streams."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .. import _errors
from . import answers, jetstream
from . import streams as _streams

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from .._connection import sessions

_Item = TypeVar("_Item")

# Pages of a list without a new item: others delete and create items meanwhile, but not for ever
_MOST_REPEATED = 100


class Pages(Generic[_Item]):
    """The items of a call that answers in pages, by name. ``missing`` names those whose leaders did not answer.

    Items are in the order of their names, and each page begins with the last item before it. If it begins later, others
    deleted items meanwhile, so that some would be skipped. Then an earlier page is read again.
    """

    def __init__(self, name_of: Callable[[_Item], str]) -> None:
        self.items: dict[str, _Item] = {}
        self.missing: set[str] = set()
        self.offset = 0
        self._name_of, self._last, self._left = name_of, "", _MOST_REPEATED

    def take(self, what: str, page: answers.Page, items: Iterable[_Item] | None) -> bool:
        """Take the page at ``offset``, whose items servers may send as null. Return True if there are more.

        A page may be empty only if the server reports that there are no more.
        """
        new, silent = {self._name_of(item): item for item in items or ()}, page.get("missing") or ()
        names = {*new, *silent}
        if not names and self.offset < page["total"]:
            raise _errors.WrongAnswer(what, f"a page is empty, and there are {page['total']} items")
        self._left -= not names - self.items.keys() - self.missing
        if not self._left:
            raise _errors.WrongAnswer(what, "its pages repeat themselves")
        self.items.update(new)
        self.missing.update(silent)
        if self.offset and (not names or min(names) > self._last):
            self.offset //= 2
            return True
        end, self._last = self.offset + len(names), max(names, default="")
        self.offset = max(end - 1, self.offset + 1)
        return end < page["total"]


def streams(session: sessions.Session) -> Iterator[answers.StreamInfo]:
    """Yield the ``info`` of every stream, by the paged LIST call. It waits for streams that elect a leader."""
    pages = _pages(session, "STREAM.LIST", answers.StreamList, lambda info: str(info["config"]["name"]), {})
    yield from (info for name, info in pages.items.items() if name not in pages.missing)
    yield from (each for each in _streams.info_many(session, sorted(pages.missing)) if each)


def stream_names(session: sessions.Session, subject: str = "") -> list[str]:
    """Return the names of all streams, or of those with a subject (which may contain wildcards)."""
    body = {"subject": subject} if subject else {}
    return list(_pages(session, "STREAM.NAMES", answers.Names, str, body).items)


def _pages(session: sessions.Session, call: str, shape: Any, name_of: Any, body: Any) -> Pages[Any]:
    what, pages, more = "Listing streams", Pages(name_of), True
    while more:
        page = jetstream.call(session, what, call, shape, {**body, "offset": pages.offset})
        more = pages.take(what, page, page.get("streams"))
    return pages
