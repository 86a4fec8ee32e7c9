# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a change would lose, counted from the live state. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from .._errors import Refused
from .._options.codecs import NANOSECOND, parse_timestamp

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Loss:
    """``messages`` is None where some would go but their number can't be known before."""

    messages: int | None = 0
    consumers: int = 0
    cause: str = ""

    @property
    def report(self) -> dict[str, Any]:
        return {"messages_lost": self.messages, "consumers_lost": self.consumers}

    def check(self, what: str, allowed: bool) -> None:
        """Raises Refused where data would be lost and the user has not allowed it."""
        if allowed or self.messages == 0:
            return
        plural = "" if self.messages == 1 else "s"
        count = "some of its messages" if self.messages is None else f"{self.messages} message{plural}"
        raise Refused(
            f"{what}: {self.cause} would lose {count}: set allow_data_loss: true if that is wanted.",
            code="data_loss",
            option="allow_data_loss",
            **self.report,
        )


def losses(
    info: Mapping[str, Any],
    desired: Mapping[str, Any],
    counts: Mapping[str, int] | None,
    options: Mapping[str, str],
) -> Loss:
    """The greatest single loss of an update. What nats-server trims at once: features seen with 2.14 and 2.15.

    ``options`` has the name of the option for each field of the server.

    max_msgs and max_bytes delete only with discard old, and also when it is discard that changes to that; max_age and
    max_msgs_per_subject always (before 2.14 a first limit per subject deletes when more is written).
    """
    found = [loss for loss in _each(info, {**info["config"], **desired}, counts, options) if loss.messages != 0]
    unknown = next((loss for loss in found if loss.messages is None), None)
    return unknown or max(found, key=lambda loss: loss.messages or 0, default=Loss())


def _each(
    info: Mapping[str, Any], merged: Mapping[str, Any], counts: Mapping[str, int] | None, options: Mapping[str, str]
) -> list[Loss]:
    config, state = info["config"], info["state"]
    messages = int(state.get("messages", 0))
    if not messages:
        return []
    found = []

    def lose(number: int | None, field: str, value: str | int) -> None:
        found.append(Loss(number, 0, f"{options.get(field, field)} {value}"))

    evicts = merged.get("discard", "old") == "old"
    limit = int(merged.get("max_msgs") or 0)
    if limit > 0 and evicts:
        lose(max(0, messages - limit), "max_msgs", limit)
    limit = int(merged.get("max_bytes") or 0)
    if 0 < limit < int(state.get("bytes", 0)) and evicts:
        lose(None, "max_bytes", limit)
    limit = _lowered(config, merged, "max_age")
    if limit and _older_than(state.get("first_ts"), info.get("ts"), limit):
        lose(None, "max_age", f"{limit / NANOSECOND:g}s")
    limit = _lowered(config, merged, "max_msgs_per_subject")
    if limit and counts is not None:
        lose(sum(max(0, count - limit) for count in counts.values()), "max_msgs_per_subject", limit)
    if merged.get("retention") == "interest" != config.get("retention"):
        # nats-server 2.15 deletes at once what no consumer waits for; 2.14 keeps it.
        lose(None if state.get("consumer_count") else messages, "retention", "interest")
    return found


def _lowered(config: Mapping[str, Any], merged: Mapping[str, Any], limit: str) -> int:
    """The new limit where it is lower than the old one, else 0. No limit is -1 or 0."""
    before, after = int(config.get(limit) or 0), int(merged.get(limit) or 0)
    return after if after > 0 and (before <= 0 or after < before) else 0


def _older_than(first: str | None, now: str | None, age: int) -> bool:
    """By the server's clock. ``now`` is when it answered."""
    asked = parse_timestamp(now) if now else datetime.now(timezone.utc)
    return bool(first) and parse_timestamp(str(first)) < asked - timedelta(seconds=age / NANOSECOND)
