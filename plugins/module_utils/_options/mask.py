# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which keys hold secrets, by their names, and what is shown in the place of such values."""

from __future__ import annotations

import fnmatch
import re
from typing import TYPE_CHECKING

from . import codecs, fields

if TYPE_CHECKING:
    from collections.abc import Iterable

DEFAULT = ("*passw*", "*passphrase*", "*secret*", "*token*", "*credential*", "*private*", "*key*", "*seed*")
HIDDEN = "(masked)"
CHANGED = "(masked, another value)"
# Documented in plugins/doc_fragments/mask.py
MASK = fields.Field("mask", codecs.names(), argument_extra={"default": list(DEFAULT)})


class Mask:
    """Tells keys whose values must not be shown. The case of letters means nothing."""

    def __init__(self, patterns: Iterable[str]) -> None:
        anyone = "|".join(fnmatch.translate(str(pattern).lower()) for pattern in patterns)
        self._pattern = re.compile(anyone) if anyone else None

    def hides(self, key: str) -> bool:
        return self._pattern is not None and self._pattern.match(key.lower()) is not None
