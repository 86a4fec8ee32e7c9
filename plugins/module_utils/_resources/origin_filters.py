# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters of mirrors and sources that match nothing of their origin, so that nothing would be copied.

The server accepts them. Only origins of the same account and domain are known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from .. import _errors
from .._api import streams
from . import subjects

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from .._connection import sessions


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
    for wanted in filters:
        try:
            origin = origin_of(wanted.origin)
            if origin and not subjects.may_match(wanted.subject, origin) and not streams.holds(session, *wanted[1:]):
                return _refusal(wanted, origin)
        except _errors.PermissionMissing:
            continue
    return None


def read(session: sessions.Session, name: str) -> Mapping[str, Any] | None:
    """Return the present configuration of an origin, or None if the stream does not exist."""
    info = streams.info(session, name)
    return info["config"] if info else None


def _filters(config: Mapping[str, Any]) -> Iterator[Filter]:
    mirror = [config["mirror"]] if config.get("mirror") else []
    for field, origins in (("mirror", mirror), ("sources", config.get("sources") or [])):
        for origin in origins:
            if not origin.get("external"):
                taken = [origin.get("filter_subject"), *(each.get("src") for each in _transforms(origin))]
                yield from (Filter(field, str(origin.get("name")), subject) for subject in taken if subject)


def _transforms(origin: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return origin.get("subject_transforms") or []


def _refusal(wanted: Filter, origin: Mapping[str, Any]) -> _errors.Refused:
    return _errors.Refused(
        f"{wanted.field}: '{wanted.subject}' matches none of the subjects of {wanted.origin}, which are "
        f"{', '.join(origin.get('subjects') or ['none'])}, and no message that it holds, so nothing would be copied: "
        f"change the filter, or give {wanted.origin} such a subject first.",
        code="filter",
        option=wanted.field,
    )
