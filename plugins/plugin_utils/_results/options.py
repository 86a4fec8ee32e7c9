# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the options of the callback that select the contents of events."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...module_utils import _errors
from ...module_utils._options.quantities import parse_size
from . import events
from .event_data import Contents
from .masking import Masking

if TYPE_CHECKING:
    from collections.abc import Callable

_SMALLEST = 1024


@dataclass(frozen=True)
class Choice:
    """The user's choice: ``kinds`` of events, their ``contents``, secrets, and the form of events."""

    kinds: frozenset[str]
    contents: Contents
    masking: Masking
    prefix: str
    max_size: int
    batch: str | None


def choice(get_option: Callable[[str], Any]) -> Choice:
    """Return the checked options. Raises OptionError."""
    kinds = frozenset((*events.ALWAYS, *get_option("events")))
    masking = checked("mask", lambda texts: Masking(get_option("mask_keys"), texts), get_option("mask"))
    contents = Contents(
        frozenset(get_option("include")),
        tuple(get_option("facts")),
        items=events.ITEM_RESULT not in kinds,
        masking=masking,
    )
    return Choice(
        kinds,
        contents,
        masking,
        checked("subject_prefix", subject_words, get_option("subject_prefix")),
        checked("max_size", _event_size, get_option("max_size")),
        get_option("batch"),
    )


def checked(option: str, check: Callable[[Any], Any], value: Any) -> Any:
    """Return the result of ``check``. Its ValueError becomes an OptionError."""
    try:
        return check(value)
    except ValueError as error:
        raise _errors.OptionError(option, f"{error}.") from error


def subject_words(value: str) -> str:
    """Return the value if it is a subject. Raises ValueError."""
    if not re.fullmatch(r"[^\s.*>]+(\.[^\s.*>]+)*", value):
        raise ValueError(f"'{value}' is not a subject: write words joined by dots, without spaces, * and >")
    return value


def stream_name(value: str) -> str:
    """Return the value if it is a stream's name. Raises ValueError."""
    if not re.fullmatch(r"[^\s.*>/\\]+", value):
        raise ValueError(f"'{value}' is not a stream's name: it has no spaces and none of . * > / \\")
    return value


def _event_size(value: str) -> int:
    size = parse_size(value)
    if size < _SMALLEST:
        raise ValueError(f"'{value}' is too small for an event: give at least {_SMALLEST} bytes")
    return size
