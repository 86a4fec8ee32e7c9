# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Convert stored bytes to values for templates and conditions.

Errors contain no part of a value, which may be a secret. PyYAML and jmespath are on the controller, and on managed
hosts only if somebody installed them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from .. import _errors
from . import untrusted, values

YAML = "yaml"


def decode(data: bytes, format: str) -> Any:
    """Return stored bytes as a value, by the option ``format``. Raises ValueError with the reason and the place."""
    return load_yaml(data) if format == YAML else values.from_bytes(data, format)


def load_yaml(data: bytes | str) -> Any:
    """Return the value of YAML text. Raises ValueError with the reason, LibraryMissing if PyYAML is not installed.

    PyYAML raises errors of many classes for values that do not fit their tags.
    """
    text = data if isinstance(data, str) else untrusted.decoded(data)
    if len(text) > untrusted.MOST_CONFIG:
        raise ValueError(f"is not YAML that can be read: it has more than {untrusted.MOST_CONFIG} characters")
    try:
        import yaml
    except ImportError as error:
        raise _errors.LibraryMissing("PyYAML", "for the format yaml", sys.executable) from error
    try:
        value = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" (at line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise ValueError(f"is not YAML{where}") from None
    except RecursionError:
        raise ValueError("is not YAML that can be read: it is nested too deeply") from None
    except (yaml.YAMLError, ValueError, ArithmeticError, AttributeError, LookupError, TypeError):
        raise ValueError("is not YAML") from None
    try:
        untrusted.check_data(value)
        _check_plain(value)
    except ValueError as error:
        raise ValueError(f"is not YAML that can be read: it {error}") from None
    return value


def _check_plain(value: Any) -> None:
    """Raise ValueError with the reason for data that Ansible can't pass on. Its depth is bounded already."""
    if isinstance(value, bytes):
        raise ValueError("has binary data (!!binary)")
    if isinstance(value, dict):
        if not all(key is None or isinstance(key, (str, int, float)) for key in value):
            raise ValueError("has a key that is neither text nor a number")
        value = value.values()
    for part in value if not isinstance(value, str) and isinstance(value, Iterable) else ():
        _check_plain(part)


class Query:
    """A JMESPath expression. Raises OptionError if it is invalid, LibraryMissing if jmespath is not installed."""

    def __init__(self, expression: str, option: str = "query") -> None:
        try:
            import jmespath
        except ImportError as error:
            raise _errors.LibraryMissing("jmespath", f"for the option {option}", sys.executable) from error
        self.expression, self._option = expression, option
        self._errors = (jmespath.exceptions.JMESPathError, TypeError, ValueError)
        try:
            self._compiled = jmespath.compile(expression)
        except self._errors:
            raise _errors.OptionError(
                option, f"'{expression}' is not a JMESPath expression, see https://jmespath.org."
            ) from None

    def search(self, value: Any, name: str) -> Any:
        """Return the selected part of a value, or None. ``name`` names the value in errors."""
        try:
            return self._compiled.search(value)
        except self._errors:
            # The library's own words hold the value
            raise _errors.OptionError(
                self._option, f"'{self.expression}' can't be applied to {name}: a part of it is of another type."
            ) from None
