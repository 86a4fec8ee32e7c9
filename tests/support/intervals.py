# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""A command that records when it ran, so that tests can count how many ran at once."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

# A line is short enough that one write appends it undivided
SCRIPT = """\
#!/bin/sh
echo "$(date +%s%N) begins $1" >> '{record}'
steps=$2
while [ "$steps" -gt 0 ] && [ ! -e '{record}'."$1" ]; do sleep {step}; steps=$((steps - 1)); done
echo "$(date +%s%N) ends $1" >> '{record}'
"""
STEP = 0.05


@dataclass(frozen=True)
class Interval:
    """The start and end of a command in seconds. Without an end it still runs."""

    name: str
    begin: float
    end: float | None = None


class Recorder:
    """The record of commands in a folder."""

    def __init__(self, folder: Path) -> None:
        self._record, self._script = folder / "record", folder / "hold"
        self._script.write_text(SCRIPT.format(record=self._record, step=STEP))
        self._script.chmod(0o755)

    def command(self, name: str, seconds: float) -> str:
        """Return a command that runs for ``seconds``, or until finish(). Its name has no spaces."""
        return f"{self._script} {name} {seconds / STEP:.0f}"

    def finish(self, name: str) -> None:
        """End the commands of a name, also those that start later."""
        self._record.with_name(f"{self._record.name}.{name}").touch()

    def intervals(self, name: str = "") -> list[Interval]:
        """Return the intervals of a name, or all, in the order of their starts."""
        found: list[Interval] = []
        for moment, what, who in self._lines():
            if what == "begins":
                found.append(Interval(who, moment))
            else:
                index = next(i for i, one in enumerate(found) if one.name == who and one.end is None)
                found[index] = Interval(who, found[index].begin, moment)
        return [interval for interval in found if name in ("", interval.name)]

    def most_at_once(self) -> int:
        running = most = 0
        for _moment, what, _who in self._lines():
            running += 1 if what == "begins" else -1
            most = max(most, running)
        return most

    def wait_for(self, name: str, *, ended: bool = False, timeout: float = 30.0) -> Interval:
        """Wait until a command of this name has begun or ended, and return its newest interval."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            found = self.intervals(name)
            if found and (found[-1].end is not None or not ended):
                return found[-1]
            time.sleep(0.05)
        raise AssertionError(f"{name} did not {'end' if ended else 'begin'} in {timeout:g} s: {self.intervals()}")

    def _lines(self) -> list[tuple[float, str, str]]:
        """Yield starts and ends in the order of time. At one moment, ends come first."""
        text = self._record.read_text() if self._record.exists() else ""
        rows = [line.split() for line in text.splitlines()]
        return sorted(
            ((int(moment) / 1e9, what, who) for moment, what, who in rows),
            key=lambda row: (row[0], row[1] == "begins"),
        )
