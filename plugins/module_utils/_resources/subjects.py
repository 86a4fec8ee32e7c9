# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare subjects with wildcards: two of them, or many streams without comparing each with each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

# A node has a node for each word that may follow, and under _OWNERS the names of those whose subject ends there
_OWNERS = ""


def covers(wide: str, narrow: str) -> bool:
    """Return True if ``wide`` matches each subject that ``narrow`` matches."""
    ours, theirs = wide.split("."), narrow.split(".")
    for place, token in enumerate(ours):
        if token == ">":
            return len(theirs) > place
        if place >= len(theirs) or theirs[place] == ">" or (token != "*" and token != theirs[place]):
            return False
    return len(ours) == len(theirs)


def meet(one: str, other: str) -> bool:
    """Return True if some subject matches both."""
    ours, theirs = one.split("."), other.split(".")
    for left, right in zip(ours, theirs):
        if ">" in (left, right):
            return True
        if left != right and "*" not in (left, right):
            return False
    return len(ours) == len(theirs)


def filters(config: Mapping[str, Any]) -> list[str]:
    """Return the subjects that a consumer takes."""
    return config.get("filter_subjects") or [config.get("filter_subject") or ">"]


def may_match(subject: str, stream: Mapping[str, Any]) -> bool:
    """Return True if new messages of a stream can match. Copied or transformed ones may have any subject."""
    if stream.get("mirror") or stream.get("sources") or stream.get("subject_transform"):
        return True
    return any(meet(subject, taken) for taken in stream.get("subjects") or ())


class SubjectIndex:
    """Subjects and their owners, as a tree of their words. ``*`` is any word, ``>`` one word and all after it."""

    def __init__(self) -> None:
        self._root: dict[str, Any] = {}

    def add(self, subjects: Iterable[str], owner: str) -> None:
        for subject in subjects:
            node = self._root
            for word in subject.split("."):
                node = node.setdefault(word, {})
            node.setdefault(_OWNERS, []).append(owner)

    def overlapping(self, subject: str) -> list[str]:
        """Return the owners of subjects that some message could match as well as this one."""
        return sorted(set(_meeting(self._root, subject.split("."))))


def _meeting(node: dict[str, Any], words: list[str]) -> Iterator[str]:
    if not words:
        yield from node.get(_OWNERS, ())
        return
    word, rest = words[0], words[1:]
    if word == ">":
        yield from _below(node)
        return
    yield from node.get(">", {}).get(_OWNERS, ())
    if word == "*":
        for other, child in node.items():
            if other not in (_OWNERS, ">"):
                yield from _meeting(child, rest)
        return
    for other in (word, "*"):
        if other in node:
            yield from _meeting(node[other], rest)


def _below(node: dict[str, Any]) -> Iterator[str]:
    for word, child in node.items():
        if word != _OWNERS:
            yield from child.get(_OWNERS, ())
            yield from _below(child)
