# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The losses of a change, and whether the user allows them. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from .. import _errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from . import resource

_LIMITS = ("max_msgs", "max_bytes", "max_age", "max_msgs_per_subject", "discard", "retention", "consumer_limits")


class Loss(NamedTuple):
    """The numbers of deleted messages and consumers. With ``at_least`` more messages may be deleted."""

    messages: int = 0
    consumers: int = 0
    cause: str = ""
    at_least: bool = False

    @property
    def report(self) -> dict[str, Any]:
        """The numbers for results."""
        report: dict[str, Any] = {"messages_lost": self.messages, "consumers_lost": self.consumers}
        return {**report, "at_least": True} if self.at_least else report

    def amount(self, noun: str = "message") -> str:
        """Return text such as ``6 messages and 1 consumer``, or an empty text without losses."""
        parts = [_plural(self.messages, noun)] if self.messages else []
        if self.at_least:
            parts = [f"at least {parts[0]}" if parts else f"an unknown number of {noun}s"]
        if self.consumers:
            parts.append(_plural(self.consumers, "consumer"))
        return " and ".join(parts)

    def consequences(self, changes: Iterable[resource.Change], noun: str) -> tuple[dict[str, Any], tuple[str, ...]]:
        """Return the consequences for results, and in words for people, including what can't be undone."""
        for_good = [change.field for change in changes if change.for_good]
        notes = [f"{self.cause} loses {self.amount(noun)}"] if self.amount(noun) else []
        notes += [f"{', '.join(for_good)} can't be taken back"] if for_good else []
        return ({**self.report, "irreversible": for_good} if for_good else self.report), tuple(notes)

    def check(self, what: str, allowed: bool) -> None:
        """Raise Refused if messages would be lost and the user has not allowed it."""
        if allowed or not (self.messages or self.at_least):
            return
        raise _errors.Refused(
            f"{what}: {self.cause} would lose {self.amount()}: set allow_data_loss: true if that is wanted.",
            code="data_loss",
            option="allow_data_loss",
            **self.report,
        )


class Measured(NamedTuple):
    """The losses of an update, and the consumers that ``exceed`` new limits, so that the server would refuse it."""

    loss: Loss = Loss()
    exceeding: tuple[str, ...] = ()


NOT_MEASURED = Measured()


def limits(config: Mapping[str, Any], desired: Mapping[str, Any]) -> bool:
    """Return True if an update changes something that may delete messages or that consumers may exceed."""
    return any(path in desired and (desired[path] or 0) != (config.get(path) or 0) for path in _LIMITS)


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
