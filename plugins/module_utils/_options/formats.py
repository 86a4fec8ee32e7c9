# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stored bytes as templates and conditions want them. A value may be a secret: no error tells a part of it.

PyYAML and jmespath are on the controller, and on managed hosts only where somebody installed them.
"""

from __future__ import annotations

import sys
from typing import Any

from .. import _errors
from . import values

YAML = "yaml"


def decode(data: bytes, format: str) -> Any:
    """The value in a format of the option ``format``. Raises ValueError with the reason and the place."""
    if format != YAML:
        return values.from_bytes(data, format)
    text = values.from_bytes(data, values.TEXT)
    try:
        import yaml
    except ImportError as error:
        raise _errors.LibraryMissing("PyYAML", "for the format yaml", sys.executable) from error
    try:
        return yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        reason = f"is not YAML (at line {mark.line + 1}, column {mark.column + 1})" if mark else "is not YAML"
    except RecursionError:
        reason = "is not YAML that can be read: it is nested too deeply"
    except (yaml.YAMLError, ValueError):
        reason = "is not YAML"
    raise ValueError(reason)


class Query:
    """A JMESPath expression. Raises OptionError where it is none, LibraryMissing where the library is not there."""

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
        """What it selects, None for nothing. ``name`` says in an error of what the value is."""
        try:
            return self._compiled.search(value)
        except self._errors:
            # The library's own words hold the value
            raise _errors.OptionError(
                self._option, f"'{self.expression}' can't be applied to {name}: a part of it is of another type."
            ) from None
