# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rows of the table that `make bench` prints at its end: work, peer or floor, value, goal, and whether it is met.

A benchmark calls `record` for each work as soon as it is measured, which prints the row. Run by run.py, it also keeps
the row for the table.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from statistics import linear_regression, median
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

FILE = "BENCHMARK_ROWS"  # an environment variable with the path of the file that keeps the rows
WIDTH = 50
HEAD = ("work", "peer or floor", "value", "spread", "goal", "met")


class Row(NamedTuple):
    """The median of the values of all turns, and the lowest and highest. No goal is None: the row is shown only."""

    work: str
    peer: str
    value: float
    low: float
    high: float
    goal: float | None
    unit: str
    at_least: bool

    @property
    def met(self) -> bool:
        if self.goal is None:
            return True
        return self.value >= self.goal if self.at_least else self.value <= self.goal

    def cells(self) -> tuple[str, ...]:
        goal = "" if self.goal is None else f"{'≥' if self.at_least else '≤'} {self.goal:g}{self.unit}"
        met = "" if self.goal is None else "yes" if self.met else "no"
        spread = f"{self.low:.2f} to {self.high:.2f}" if self.low != self.high else ""
        return self.work, self.peer, f"{self.value:.2f}{self.unit}", spread, goal, met


def ratios(ours: Iterable[float], peer: Iterable[float]) -> list[float]:
    """Return the ratio of each turn, since the speed of a machine varies over time."""
    return [own / other for own, other in zip(ours, peer)]


def record(
    work: str, peer: str, values: Sequence[float], goal: float | None = None, unit: str = " x", at_least: bool = False
) -> bool:
    """Print a row, and keep it for the table of run.py.

    `values` has one value for each turn, in `unit`. The goal is the highest allowed median, or the lowest with
    `at_least`. Return True if it is met.
    """
    row = Row(work, peer, median(values), min(values), max(values), goal, unit, at_least)
    print(line(row.cells(), (60, 26, 10, 12, 10, 3)), flush=True)
    if os.environ.get(FILE):
        with Path(os.environ[FILE]).open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
    return row.met


def line(cells: Iterable[str], widths: Iterable[int]) -> str:
    return "  ".join(f"{cell:{width}}" for cell, width in zip(cells, widths)).rstrip()


def table(rows: Iterable[Row]) -> str:
    """Return the table as Markdown, so that docs/performance.md can show it as it is."""
    lines = [HEAD, *(row.cells() for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines)]
    texts = ["| " + " | ".join(f"{cell:{width}}" for cell, width in zip(cells, widths)) + " |" for cells in lines]
    return "\n".join([texts[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *texts[1:]])


def read(path: Path) -> list[Row]:
    return [Row(*json.loads(text)) for text in path.read_text(encoding="utf-8").splitlines()]


def plot(title: str, points: Sequence[tuple[int, float]], unit: str) -> float:
    """Print bars, and the straight line that fits them best.

    `points` are pairs of a size and a value in `unit`. Returns the greatest distance from the line, as a part of the
    highest value: work that grows faster than its size is far off.
    """
    highest = max(value for _size, value in points)
    print(f"\n{title}")
    for size, value in points:
        print(f"{size:9,} |{'#' * round(WIDTH * value / highest):{WIDTH}}| {value:.2f} {unit}")
    slope, base = linear_regression(*zip(*points))
    off = max(abs(value - base - slope * size) for size, value in points) / highest
    print(f"linear: {base:.2f} {unit} and {slope * 1000:.3f} {unit} for each 1,000, at most {off:.0%} off that line")
    return off
