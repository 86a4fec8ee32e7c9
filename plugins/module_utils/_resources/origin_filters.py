# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters of mirrors and sources that match nothing of their origin, so that nothing would be copied.

The server accepts them. Only origins of the same account and domain are known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from .. import _errors
from .._api import message_count, streams
from . import subjects

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from .._connection import sessions

CIRCLE = "detected cycle"
"""The server's description of its error for copies in a circle. The error's number has other reasons too."""
# Why an origin is unknown: it has no leader, or may not be read. The server decides then.
_UNKNOWN = (_errors.NoAnswer, _errors.ApiError, _errors.PermissionMissing)


class Filter(NamedTuple):
    """``subject`` is what the stream takes of ``origin``, ``field`` where that is said."""

    field: str
    origin: str
    subject: str


def new(config: Mapping[str, Any], present: Mapping[str, Any]) -> tuple[Filter, ...]:
    """Return the filters of a configuration that the present one does not have."""
    before = set(_filters(present))
    return tuple(each for each in _filters(config) if each not in before)


def first_refusal(
    session: sessions.Session, filters: Iterable[Filter], origin_of: Callable[[str], Mapping[str, Any] | None]
) -> _errors.Refused | None:
    """Return the error of the first filter without a match, or None if all match or that is unknown.

    ``origin_of`` returns the future configuration of an origin, None if it is unknown.
    """
    for each in filters:
        try:
            origin = origin_of(each.origin)
            if origin and not subjects.may_match(each.subject, origin) and not message_count.holds(session, *each[1:]):
                return _refusal(each, origin)
        except _UNKNOWN:
            continue
    return None


def read(session: sessions.Session, name: str) -> Mapping[str, Any] | None:
    """Return the present configuration of an origin, or None if the stream does not exist or can't be read."""
    try:
        info = streams.info(session, name)
    except _UNKNOWN:
        return None
    return info["config"] if info else None


def circle(what: str, error: _errors.ApiError) -> _errors.Refused:
    """Return the error for copies in a circle, from the server's. ``what`` is such as ``stream ORDERS``.

    No plan predicts it: what servers refuse depends on the order of sources, and they refuse some other copies too.
    """
    return _errors.Refused(
        f"The server refuses the mirror or sources of {what}, since one of these origins copies from it or from "
        f"another of them, itself or through others (JetStream error {error.err_code}): remove one of the mirrors or "
        "sources, or filter a source by subjects that the stream with this source does not have.",
        code="circle",
        err_code=error.err_code,
    )


def _filters(config: Mapping[str, Any]) -> Iterator[Filter]:
    mirror = [config["mirror"]] if config.get("mirror") else []
    for field, origins in (("mirror", mirror), ("sources", config.get("sources") or [])):
        for origin in origins:
            if not origin.get("external"):
                taken = [
                    origin.get("filter_subject"),
                    *(each.get("src") for each in origin.get("subject_transforms") or []),
                ]
                yield from (Filter(field, str(origin.get("name")), subject) for subject in taken if subject)


def _refusal(unmatched: Filter, origin: Mapping[str, Any]) -> _errors.Refused:
    return _errors.Refused(
        f"{unmatched.field}: '{unmatched.subject}' matches none of the subjects of {unmatched.origin}, which are "
        f"{', '.join(origin.get('subjects') or ['none'])}, and no message that it holds, so nothing would be copied: "
        f"change the filter, or give {unmatched.origin} such a subject first.",
        code="filter",
        option=unmatched.field,
    )
