# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare subjects with wildcards: two of them, or many streams without comparing each with each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

# A node has a node for each word that may follow, and under _OWNERS the names of those whose subject ends there
_OWNERS = ""


def covers(wide: str, narrow: str) -> bool:
    """Return True if ``wide`` matches each subject that ``narrow`` matches."""
    if wide.endswith(".>") and "*" not in wide:
        return narrow.startswith(wide[:-1])
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
        """Add the subjects of one owner."""
        for subject in subjects:
            node = self._root
            for word in subject.split("."):
                node = node.setdefault(word, {})
            node.setdefault(_OWNERS, []).append(owner)

    def overlapping(self, subject: str) -> list[str]:
        """Return the owners of subjects that some message could match as well as this one."""
        # Level by level: a subject may have more words than Python's calls can be deep
        nodes: list[dict[str, Any]] = [self._root]
        met: list[dict[str, Any]] = []
        for word in subject.split("."):
            if word == ">":
                return sorted(_owners([*met, *_below(nodes)]))
            met += [node[">"] for node in nodes if ">" in node]
            words = (word, "*")
            nodes = [
                child
                for node in nodes
                for other, child in (
                    node.items() if word == "*" else ((key, node[key]) for key in words if key in node)
                )
                if other not in (_OWNERS, ">")
            ]
        return sorted(_owners([*met, *nodes]))


def clashing(taken: Iterable[str], clash: Callable[[str, str], bool]) -> tuple[str, str] | None:
    """Return two of the subjects for which ``clash``, which is ``meet`` or ``covers``, returns True, or None."""
    index = SubjectIndex()
    for subject in taken:
        for other in index.overlapping(subject):
            for pair in ((other, subject), (subject, other)):
                if clash(*pair):
                    return pair
        index.add((subject,), subject)
    return None


def _below(nodes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    below: list[dict[str, Any]] = []
    while nodes:
        nodes = [child for node in nodes for word, child in node.items() if word != _OWNERS]
        below += nodes
    return below


def _owners(nodes: Iterable[dict[str, Any]]) -> set[str]:
    return {owner for node in nodes for owner in node.get(_OWNERS, ())}
