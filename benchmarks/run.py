# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs the benchmarks of this folder one after the other, or those that are named: run.py [lookup governor …].

Each starts its own server and prints ratios against a peer or a floor that it measures in the same run.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent


def run(name: str) -> int:
    """Runs a benchmark to its end. One that is to end early is waited for until it has stopped what it runs."""
    process = subprocess.Popen([sys.executable, str(FOLDER / f"{name}.py")])
    asked = []

    def end(number: int, _frame: object) -> None:
        asked.append(number)
        process.send_signal(signal.SIGTERM)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    status = process.wait()
    if asked:
        sys.exit(128 + asked[0])
    return status


def main() -> int:
    known = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != Path(__file__).stem)
    wanted = sys.argv[1:] or known
    unknown = sorted(set(wanted) - set(known))
    if unknown:
        print(f"There is no benchmark {', '.join(unknown)}: choose from {', '.join(known)}.", file=sys.stderr)
        return 2
    failed = []
    for name in wanted:
        print(f"\n==== {name}", flush=True)
        if run(name):
            failed.append(name)
    if failed:
        print(f"\nFailed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
