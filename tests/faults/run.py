# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fault campaigns: Ansible works with the collection while servers, network and processes fail, and a checker looks
for violations. docs/contributing.md describes them.

    run.py                                three short campaigns
    run.py --minutes 30                   one on a single server, and one on a cluster of three, of this length each
    run.py --minutes 30 --servers 3       only the second one
    run.py --scenario elections           the leader is killed every ten seconds, and no task may fail
    run.py … --seed 5 --keep FOLDER       repeat the same choices, and keep logs and output
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from random import Random, SystemRandom
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from faults import checker, elections, injection, workloads
from faults.log import Log
from faults.network import Network
from faults.runs import Runs
from faults.witness import Witness
from support.cluster import nats_cluster
from support.server import NatsServer

if TYPE_CHECKING:
    from collections.abc import Iterator

ACTORS = 3
SHORT_MINUTES, SHORT_SCALE = 0.6, 0.05
# A campaign of this many minutes has longer pauses between faults, so that more tasks complete
UNHURRIED = 5.0
# Seconds until a process that still runs counts as left behind
PATIENCE = 40.0
# How many runs may deliver what others left on disk. Each has a few seconds for it
FLUSHES = 5
BLIND = (
    "a seat that is held twice or for too long while nothing works under it, unless it is still there at the end",
    "works that overlap for less time than there is between a seat and the first line of its work (about 0.2 s)",
    "seats that were won between the moment a fault read the seats of a governor and the one in which it deleted it",
    "whether a write that ends as outcome_unknown could have been settled",
)


class Stopped(BaseException):
    """A signal asks the campaign to end."""


@contextlib.contextmanager
def site(servers: int, folder: Path, seed: int) -> Iterator[injection.Site]:
    """Start servers and proxies in front of them. Remove everything at the end."""
    log = Log(folder / "log.jsonl")
    with contextlib.ExitStack() as stack:
        if servers == 1:
            found = [stack.enter_context(NatsServer({"server_name": "n1"}))]
        else:
            # Otherwise clients would learn addresses that bypass the proxies
            found = stack.enter_context(nats_cluster(servers, config={"cluster": {"no_advertise": True}}))
        proxies = [Network(server.port, seed + number) for number, server in enumerate(found)]
        for proxy in proxies:
            stack.callback(proxy.stop)
        runs = Runs(log, folder)
        stack.callback(runs.close)
        place = injection.Site(found, proxies, runs, log)
        with Witness(place.urls) as witness:
            workloads.declare(witness, servers)
        yield place


def act(place: injection.Site, random: Random) -> None:
    """Run plays one after the other until the campaign is over. For a thread."""
    plays = workloads.MIXED
    while not place.over.is_set():
        play = random.choices(list(plays), list(plays.values()))[0](random)
        proxies = [proxy.url for proxy in place.proxies]
        place.runs.play(play, proxies if random.random() < 0.7 else place.urls)


def mixed(place: injection.Site, minutes: float, seed: int) -> None:
    """Run all kinds of tasks and faults, chosen by the seed."""
    kinds = dict(injection.SERVERS)
    if len(place.servers) == 1:
        del kinds[injection.change_leader]
    longest = 9.0 * max(0.3, min(1.0, minutes / UNHURRIED))
    threads = [
        threading.Thread(target=injection.inject, args=(place, faults, Random(f"{seed}.{number}"), longest))
        for number, faults in enumerate([kinds, injection.NETWORK, injection.PROCESSES])
    ]
    threads += [threading.Thread(target=act, args=(place, Random(f"{seed}.actor{number}"))) for number in range(ACTORS)]
    with place.threads(threads):
        time.sleep(minutes * 60)
        place.over.set()
        for thread in threads:
            thread.join()


def settle(place: injection.Site) -> tuple[dict[str, Any], list[str]]:
    """Return the data on the servers at the end. More runs send the events that are left in journals."""
    place.wait_until_healthy(whatever=True)
    left = place.runs.wait_for_the_rest(PATIENCE)
    # A journal is delivered by runs that share one of its servers
    urls = [*place.urls, *(proxy.url for proxy in place.proxies)]
    for _run in range(FLUSHES):
        place.runs.play(workloads.lookups(Random(0), 1), urls)
        if not list(place.log.path.parent.glob("journals/*.journal")):
            break
    left += place.runs.wait_for_the_rest(15)
    with Witness(place.urls) as witness:
        return workloads.read_state(witness), left


def report(findings: checker.Findings, records: list[dict[str, Any]], title: str) -> None:
    faults = Counter(record["kind"] for record in records if record["log"] == "fault")
    works = [record for record in records if record["log"] == "work" and record["event"] == "start"]
    print(f"\n{title}")
    print(f"  executions: {sum(findings.counts[kind] for kind in checker.KINDS)}, works: {len(works)}")
    print("    " + ", ".join(f"{name} {count}" for name, count in sorted(findings.counts.items())))
    print(f"  faults: {sum(faults.values())}")
    print("    " + ", ".join(f"{name} {count}" for name, count in sorted(faults.items())))
    print(f"  longest wait for a seat: {findings.longest_wait:.1f} s")
    if findings.latest_start is not None:
        print(f"  latest start of a work after its run was gone: {findings.latest_start:.2f} s")
    for line, count in findings.failures.most_common(12):
        print(f"  failed {count} times: {line}")
    print(f"  violations: {len(findings.violations)}")
    for line in findings.violations[:40]:
        print(f"    {line}")
    print("  not seen:")
    for line in [*BLIND, *findings.blind[:10]]:
        print(f"    {line}")
    sys.stdout.flush()


def campaign(scenario: str, servers: int, amount: float, seed: int, folder: Path) -> bool:
    """Return True if no violation was found. ``amount`` is minutes, or the scale of elections."""
    began = time.monotonic()
    folder.mkdir()
    with site(servers, folder, seed) as place:
        if scenario == "elections":
            elections.run(place, amount, seed)
        else:
            mixed(place, amount, seed)
        state, left = settle(place)
    (folder / "state.json").write_text(json.dumps(state))
    records = place.log.read()
    findings = checker.check(records, state, none_may_fail=scenario == "elections")
    findings.violations += [f"left behind: {command}" for command in left]
    where = "one server" if servers == 1 else f"a cluster of {servers}"
    minutes = (time.monotonic() - began) / 60
    report(findings, records, f"{scenario} on {where}, seed {seed}, {minutes:.1f} minutes")
    return not findings.violations


def chosen(options: argparse.Namespace) -> list[tuple[str, int, float]]:
    """Return the scenario, the number of servers and the amount of each campaign."""
    found: list[tuple[str, int, float]] = []
    if options.scenario != "elections":
        minutes = options.minutes or SHORT_MINUTES
        found += [("mixed", servers, minutes) for servers in ([options.servers] if options.servers else [1, 3])]
    if options.scenario == "elections":
        found.append(("elections", 3, options.scale or 1.0))
    elif not any((options.scenario, options.minutes, options.servers)):
        found.append(("elections", 3, options.scale or SHORT_SCALE))
    return found


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Fault campaigns")
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--servers", type=int, choices=[1, 3])
    parser.add_argument("--scenario", choices=["mixed", "elections"])
    parser.add_argument("--scale", type=float, help="how much of the work of the scenario elections")
    parser.add_argument("--keep", type=Path, help="where logs and the output of runs stay")
    options = parser.parse_args()
    if options.seed is None:
        options.seed = SystemRandom().randrange(10**6)
    return options


def main() -> int:
    def stop(number: int, _frame: object) -> None:
        for other in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(other, signal.SIG_IGN)  # the cleanup is not interrupted
        raise Stopped(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    options = arguments()
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    if options.keep:
        options.keep.mkdir(parents=True, exist_ok=True)
    try:
        print(f"A campaign with seed {options.seed}", flush=True)
        campaigns = enumerate(chosen(options), start=1)
        good = [campaign(*each, options.seed, folder / f"campaign{number}") for number, each in campaigns]
        return int(not all(good))
    except Stopped as stopped:
        print("The campaign was stopped, and says nothing.", flush=True)
        return 128 + int(stopped.args[0])
    finally:
        if options.keep:
            shutil.copytree(folder, options.keep, dirs_exist_ok=True)
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
