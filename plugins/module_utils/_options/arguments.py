# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prepare the options of a task before Ansible validates them.

Ansible itself accepts null and an empty text for a required option, converts some values with exceptions, and hangs
on others.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from .. import _errors
from . import quantities, untrusted

if TYPE_CHECKING:
    from collections.abc import Mapping

_UNKNOWN = {"type": "raw"}  # for Ansible's own options, and for unknown ones, which Ansible refuses
_INTEGER = re.compile(r"\s*[+-]?[0-9]{1,40}(\.0*)?\s*")
# Ansible makes dicts of such texts by Python's own parser
_LONGEST_DICT = 64 << 10


def given(
    arguments: Mapping[str, Mapping[str, Any]], values: Mapping[str, Any], rules: Mapping[str, Any]
) -> tuple[dict[str, Any], list[_errors.OptionError]]:
    """Return the options that have a value, and an error for each value of a wrong type, which is left out.

    ``arguments`` and ``rules`` are those of an argument specification. Null and an empty path count as not given, and
    so does an empty text for an option that is required, by itself or by a rule.
    """
    needed = _needed(arguments, rules)
    options: dict[str, Any] = {}
    refused: list[_errors.OptionError] = []
    for name, value in values.items():
        argument = arguments.get(name, _UNKNOWN)
        kind = argument.get("type", "str")
        if argument.get("required") and (value is None or (value == "" and kind in ("str", "path"))):
            why = "is null" if value is None else "is empty"
            refused.append(_errors.OptionError(name, f"{why}, and it is needed: give a value."))
            continue
        if value is None or (value == "" and (kind == "path" or (kind == "str" and name in needed))):
            continue
        try:
            untrusted.check_data(value)
            _check_kind(kind, value)
            options[name], inner = _nested(name, argument, value)
            refused += inner
        except ValueError as error:
            refused.append(_errors.OptionError(name, f"{error}."))
    return options, refused


def _needed(arguments: Mapping[str, Mapping[str, Any]], rules: Mapping[str, Any]) -> set[str]:
    """Return the names of required options, and of groups in which one is required."""
    needed = {name for name, argument in arguments.items() if argument.get("required")}
    for group in rules.get("required_one_of", ()):
        needed.update(group)
    for _option, _value, group, *_any in rules.get("required_if", ()):
        needed.update(group)
    return needed


def _nested(name: str, argument: Mapping[str, Any], value: Any) -> tuple[Any, list[_errors.OptionError]]:
    """Do the same for options within an option."""
    options = argument.get("options")
    if options and isinstance(value, dict):
        return _inner(name, options, value)
    if isinstance(value, list):
        kind = argument.get("elements", "raw")
        items: list[Any] = []
        refused: list[_errors.OptionError] = []
        for index, item in enumerate(value):
            if options and isinstance(item, dict):
                part, inner = _inner(f"{name}[{index}]", options, item)
                items.append(part)
                refused += inner
            elif item is None and kind != "raw":
                raise ValueError(f"its entry {index} is null: remove it")
            else:
                _check_kind(kind, item)
                items.append(item)
        return items, refused
    return value, []


def _inner(
    where: str, options: Mapping[str, Mapping[str, Any]], value: Mapping[str, Any]
) -> tuple[dict[str, Any], list[_errors.OptionError]]:
    inner, refused = given(options, value, {})
    problems = []
    for error in refused:
        others = {key: value for key, value in error.failure.items() if key not in ("code", "option")}
        problems.append(_errors.OptionError(f"{where}.{error.failure['option']}", error.reason, **others))
    return inner, problems


def _check_kind(kind: str, value: Any) -> None:
    """Raise ValueError with the reason for a value that Ansible would convert to nonsense, or not at all."""
    if kind in ("str", "path") and isinstance(value, (dict, list)):
        raise ValueError(f"is a {'dict' if isinstance(value, dict) else 'list'}: give text")
    if kind == "dict" and not isinstance(value, (dict, str)):
        raise ValueError("is not a dict")
    if kind == "int":
        _check_whole(value)
    if (
        kind in ("dict", "list")
        and isinstance(value, str)
        and (len(value) > _LONGEST_DICT or sum(map(value.count, "[{(")) > untrusted.DEEPEST)
    ):
        raise ValueError(f"is a text that is too long or too deep for a {kind}: give it as YAML")


def _check_whole(value: Any) -> None:
    shown = quantities.shortened(value) if isinstance(value, (str, float, bool)) else ""
    whole = not isinstance(value, (str, float, bool)) or (
        math.isfinite(value) and value.is_integer()
        if isinstance(value, float)
        else isinstance(value, str) and bool(_INTEGER.fullmatch(value))
    )
    if not whole:
        raise ValueError(f"'{shown}' is not a whole number: give digits")
