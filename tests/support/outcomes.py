# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The results of the tests in a JUnit report."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING
from xml.etree import ElementTree

if TYPE_CHECKING:
    from pathlib import Path

_REASON_LINES, _SHOWN_LINES = 3, 60


def outcomes(report: Path, name: str) -> tuple[Counter[str], list[str]]:
    """Count the tests, and print those that failed, in the run of that name. Without a report pytest itself failed."""
    try:
        cases = [*ElementTree.parse(report).iter("testcase")]
    except (FileNotFoundError, ElementTree.ParseError):
        return Counter(failed=1), []
    counted, lines = Counter[str](), list[str]()
    for case in cases:
        failures = [*case.iter("failure"), *case.iter("error")]
        counted["failed" if failures else "passed" if case.find("skipped") is None else "skipped"] += 1
        for failure in failures:
            # The reason comes first, since CI services may show only the start of a long output
            lines.append(f"---- {name}: {case.get('classname')}::{case.get('name')} failed")
            lines += (failure.get("message") or "").splitlines()[:_REASON_LINES]
            lines += (failure.text or "").splitlines()[-_SHOWN_LINES:]
    return counted, lines
