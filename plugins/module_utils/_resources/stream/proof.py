# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Streams are compared with the plan after a write, since an answer that says ok is no proof. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ... import _errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..._options import fields
    from .. import resource
    from .current import Current


def promise(current: Current, request: Mapping[str, Any]) -> int | None:
    """Return the required number of messages afterwards; None if others may delete some meanwhile."""
    config, loss = current.config, current.measured.loss
    busy = config.get("retention") != "limits" or request.get("max_age") or config.get("allow_msg_ttl")
    return None if busy or loss.at_least else int(current.state["messages"]) - loss.messages


def check(noun: str, plan: resource.Plan, info: Mapping[str, Any] | None, rows: Iterable[fields.Field]) -> None:
    """Compare the plan with the stream, since an acknowledgement is no proof. Raise StreamsError if they differ."""
    if info is None:
        raise _errors.StreamsError(
            f"The server confirmed {noun} {plan.name}, but then did not have it: look at its log.",
            code="not_applied",
        )
    config, changed = info["config"], {change.field for change in plan.changes}
    for row in rows:
        if row.option in changed and not row.equal(config.get(row.path), plan.request.get(row.path)):
            asked, there = row.codec.to_result(plan.request.get(row.path)), row.codec.to_result(row.read(config))
            raise _errors.StreamsError(
                f"{row.option} of {noun} {plan.name}: the server accepted {_errors.in_words(asked)} but did not apply "
                f"it, it is {_errors.in_words(there)}.",
                code="not_applied",
                option=row.option,
            )
    messages = int(info["state"]["messages"])
    if plan.promise is not None and messages < plan.promise:
        raise _errors.StreamsError(
            f"{noun} {plan.name}: after the change {plan.promise} messages should have been left, but it has "
            f"{messages}: unless somebody else deleted some at that moment, look at the server's log.",
            code="not_applied",
            promised=plan.promise,
            messages=messages,
        )
