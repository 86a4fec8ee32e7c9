# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs the benchmarks of this folder one after the other, or those that are named.

    run.py [--short] [lookup governor …]

Each starts its own server and measures a peer or a floor in the same run. One table of all rows is printed at the end.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import _table

FOLDER = Path(__file__).resolve().parent


def run(name: str, options: list[str], rows: Path) -> int:
    """Run a benchmark to its end. A signal to end is passed on, and the benchmark stops its processes."""
    environment = {**os.environ, _table.FILE: str(rows)}
    process = subprocess.Popen([sys.executable, str(FOLDER / f"{name}.py"), *options], env=environment)
    signals = []

    def end(number: int, _frame: object) -> None:
        signals.append(number)
        process.send_signal(signal.SIGTERM)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    status = process.wait()
    if signals:
        sys.exit(128 + signals[0])
    return status


def main() -> int:
    every = sorted(path.stem for path in FOLDER.glob("[!_]*.py") if path.stem != Path(__file__).stem)
    options = [word for word in sys.argv[1:] if word.startswith("--")]
    names = [word for word in sys.argv[1:] if not word.startswith("--")] or every
    unknown = sorted(set(names) - set(every))
    if unknown:
        print(f"There is no benchmark {', '.join(unknown)}: choose from {', '.join(every)}.", file=sys.stderr)
        return 2
    failed = []
    with tempfile.TemporaryDirectory(prefix="choria-bench-") as folder:
        rows = Path(folder) / "rows"
        rows.touch()
        for name in names:
            print(f"\n==== {name}", flush=True)
            if run(name, options, rows):
                failed.append(name)
        print(f"\n{_table.table(_table.read(rows))}")
    if failed:
        print(f"\nFailed, or missed a goal: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
