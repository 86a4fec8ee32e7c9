# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The benchmark that compares the collection with the choria program ends in its table. Its times are not tested."""

from __future__ import annotations

import subprocess
import sys

from support import ROOT

WORKS = [
    "4 keys in a template",
    "a key on each of 3 hosts",
    "4 buckets with a key, create",
    "4 buckets with a key, unchanged",
    "10 keys written",
    "0.2 s of work on 6 hosts, 5 seats",
]


def test_each_work_is_done_by_both() -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "peers.py"), "--short", "choria"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert ended.returncode == 0, ended.stderr
    rows = [line.split("  ")[0] for line in ended.stdout.splitlines()]
    assert rows == [f"{work}: {what}" for work in WORKS for what in ("CPU", "clock")]
