# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""`make bench` runs the benchmarks and prints one table. Their times are not tested."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from support import ROOT

FOLDER = ROOT / "benchmarks"


def bench(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(FOLDER / "run.py"), *arguments]
    env = {**os.environ, **environment}
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=240, env=env)


READS = [
    f"{work}, 2,000 keys: {what}" for work in ("prefix", "compact", "no-op") for what in ("client", "server", "memory")
]
SEATS = [f"a seat of 100 waiters on 3 brokers, CPU of {who}" for who in ("waiters", "brokers")]
STORED = "floor: a message stored and deleted, CPU of 3 brokers"
GROWTH = [f"prefix, to 2,000 keys: {what} off a line" for what in ("client", "server", "memory")]


@pytest.mark.once
@pytest.mark.parametrize(
    ("name", "works"),
    [
        ("run_info", ["choria_run_info: one run of 400 in 4000 events"]),
        ("large", [*READS, *GROWTH]),
        ("waiters", [*SEATS, STORED]),
    ],
)
def test_a_benchmark_ends_in_the_table(name: str, works: list[str]) -> None:
    ended = bench("--short", name)
    assert ended.returncode == 0, ended.stderr
    head, rule, *rows = ended.stdout[ended.stdout.index("| work") :].splitlines()
    assert [cell.strip() for cell in head.strip("|").split("|")] == [
        "work",
        "peer or floor",
        "value",
        "spread",
        "goal",
        "met",
    ]
    assert set(rule) == {"|", "-"}
    assert [row.split("|")[1].strip() for row in rows] == works


@pytest.mark.once
def test_an_unknown_benchmark_is_named() -> None:
    ended = bench("lookups")
    assert ended.returncode == 2
    assert ended.stderr.startswith("There is no benchmark lookups: choose from backup, ")


@pytest.mark.once
def test_programs_that_do_not_exist_are_left_out() -> None:
    ended = bench("--short", "peers", CHORIA_BIN="/nowhere/choria", NATS_CLI="/nowhere/nats")
    assert ended.returncode == 0, ended.stderr
    for name, variable in (("choria", "CHORIA_BIN"), ("nats", "NATS_CLI")):
        sentence = f"There is no program {name}: its rows are left out. Put it on PATH, or its path into {variable}.\n"
        assert sentence in ended.stdout
