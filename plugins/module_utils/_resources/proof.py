# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare a written resource with its plan, since an acknowledgement of the server is not a proof."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import _errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .._options import fields
    from . import resource


def missing(plan: resource.Plan) -> _errors.StreamsError:
    """Return the error of a resource that does not exist after it was written."""
    return _errors.StreamsError(
        f"The server confirmed {plan.noun} {plan.name}, but then did not have it: check its log.",
        code="not_applied",
    )


def check_applied(
    plan: resource.Plan, rows: Iterable[fields.Field], config: Mapping[str, Any], request: Mapping[str, Any]
) -> None:
    """Compare the request with the configuration that was read back.

    Raises StreamsError if a planned change was not made.
    """
    changed = {change.field for change in plan.changes}
    for row in rows:
        sent = request.get(row.path)
        if row.option in changed and not row.equal(config.get(row.path), sent):
            accepted, present = row.codec.to_result(sent), row.codec.to_result(row.read(config))
            raise _errors.StreamsError(
                f"{row.option} of {plan.noun} {plan.name}: the server accepted {_errors.in_words(accepted)} but did "
                f"not apply it, it is {_errors.in_words(present)}.",
                code="not_applied",
                option=row.option,
            )
