# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Finds violations in the log of a campaign and in the data on the servers. It does not use the collection.

Records of the log are dicts with ``log``: ``work`` (written by the governed work itself), ``task`` (the start of
a task by Ansible, and its result), ``run`` (start and end of a process), ``plan`` or ``fault``. ``at`` is the
time in seconds of the machine's monotonic clock.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

Record = dict[str, Any]

# Seconds from the seat to the first line of the work, at most, on a loaded machine
START = 3.0
# Seconds from the start of a task to the start of its action, at most
BEGIN = 5.0
# Seconds after max_wait in which a task may learn the outcome of its last request, and then give up
SETTLE, GIVE_UP = 10.0, 25.0
# Errors that report an unknown outcome
UNKNOWN = "outcome_unknown"


@dataclass
class Findings:
    """Violations are sentences. ``blind`` says what could not be checked, ``counts`` how much was done."""

    violations: list[str] = field(default_factory=list)
    blind: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    longest_wait: float = 0.0
    latest_start: float | None = None


@dataclass
class Execution:
    """One task on one host of a run, according to the log."""

    mark: str
    run: str
    plan: dict[str, Any]
    began: float
    end: Record | None = None
    starts: list[Record] = field(default_factory=list)
    ends: list[Record] = field(default_factory=list)

    @property
    def kind(self) -> str:
        return str(self.plan["kind"])

    @property
    def succeeded(self) -> bool:
        return bool(self.end and self.end["status"] == "ok")

    @property
    def denied(self) -> bool:
        """True if the task claims that nothing was done."""
        end = self.end
        return bool(end and end["status"] in ("failed", "skipped") and end["code"] != UNKNOWN and not end["changed"])


def check(records: Iterable[Record], state: dict[str, Any], *, none_may_fail: bool = False) -> Findings:
    log = list(records)
    found = Findings()
    done = _executions(log)
    gone = {record["run"]: record["at"] for record in log if record["log"] == "run" and record["event"] == "gone"}
    stood = {record["run"]: record.get("stood", 0.0) for record in log if record["log"] == "run"}
    faults = [record for record in log if record["log"] == "fault"]
    for execution in done:
        found.counts[execution.kind] += 1
        if execution.end and execution.end["status"] == "failed":
            found.failures[f"{execution.kind}: {execution.end['code'] or execution.end['msg'][:80]}"] += 1
            if none_may_fail:
                found.violations.append(f"{execution.mark} failed: {execution.end['msg']}")
    works = [execution for execution in done if execution.kind in ("governed", "lease")]
    found.violations += _too_many(works, faults, state, found)
    found.violations += _too_late(works, gone, found)
    found.violations += _waits(works, stood, found)
    # Fields of a stream that an interrupted copy distributes over two streams
    halfway = {execution.run for execution in done if execution.kind == "copy" and not execution.succeeded}
    found.blind += [f"whether what {run} restored is whole: its copy did not come to its end" for run in halfway]
    claims = [each for each in done if each.kind != "restore" or each.run not in halfway]
    found.violations += [line for execution in claims for line in _CLAIMS[execution.kind](execution, state)]
    found.violations += _races(done, state)
    found.violations += _counter(done, state)
    found.violations += _results(log, state, found)
    found.violations += _left_seats(log, works, state)
    found.violations += [f"{record['run']} hung" for record in log if record["log"] == "run" and record.get("hung")]
    return found


def _executions(log: Sequence[Record]) -> list[Execution]:
    plans = {record["run"]: record["tasks"] for record in log if record["log"] == "plan"}
    found: dict[str, Execution] = {}
    for record in log:
        if record["log"] != "task":
            continue
        mark = f"{record['run']}.{record['host']}.{record['task']}"
        plan = plans.get(record["run"], {}).get(record["task"])
        if plan and record["event"] == "start":
            found.setdefault(mark, Execution(mark, record["run"], plan, record["at"]))
        elif plan and mark in found:
            found[mark].end = record
    for record in log:
        if record["log"] == "work" and record["identity"] in found:
            execution = found[record["identity"]]
            (execution.starts if record["event"] == "start" else execution.ends).append(record)
    return list(found.values())


def _too_many(
    works: Sequence[Execution], faults: Sequence[Record], state: dict[str, Any], found: Findings
) -> Iterator[str]:
    """Report more work at once than seats. The holder of an evicted or expired seat is not counted from then on."""
    cuts: dict[str, float] = {}
    for fault in faults:
        for identity in fault.get("identities", ()):
            cuts[identity] = min(fault["at"], cuts.get(identity, fault["at"]))
    moments: dict[str, list[tuple[float, int, str]]] = {}
    for work in works:
        if not work.starts:
            continue
        began = work.starts[0]["at"]
        if any(_may_be_of_either(work, began, fault) for fault in faults):
            found.counts["works of a governor that was deleted at that moment"] += 1
            continue
        if not work.ends:
            found.blind.append(f"the work of {work.mark} has no end: it is counted at its start alone")
        ended = work.ends[0]["at"] if work.ends else began
        ended = min(ended, cuts.get(work.mark, ended), began + state["expire"] - START)
        if ended >= began:
            moments.setdefault(work.plan["governor"], []).extend([(began, 1, work.mark), (ended, -1, work.mark)])
    for governor, changes in moments.items():
        working: set[str] = set()
        for at, change, mark in sorted(changes, key=lambda item: (item[0], -item[1])):
            (working.add if change > 0 else working.discard)(mark)
            if change > 0 and len(working) > state["capacities"][governor]:
                capacity = state["capacities"][governor]
                yield f"{len(working)} at once under {governor} of {capacity} at {at:.2f}: {sorted(working)}"


def _may_be_of_either(work: Execution, began: float, fault: Record) -> bool:
    """Return True if its seat may belong to the deleted governor or to the one created after it."""
    if fault.get("governor") != work.plan["governor"] or work.mark in (*fault["fresh"], *fault["identities"]):
        return False
    return bool(fault["at"] < began < fault["deleted"] + START)


def _too_late(works: Sequence[Execution], gone: dict[str, float], found: Findings) -> Iterator[str]:
    """Report work that starts after its run is gone."""
    for work in works:
        for start in work.starts:
            after = start["at"] - gone[work.run] if work.run in gone else -1.0
            if after > 0:
                found.latest_start = max(after, found.latest_start or 0.0)
            if after > START:
                yield f"{work.mark} started {after:.1f} s after its run was gone"


def _left_seats(log: Sequence[Record], works: Sequence[Execution], state: dict[str, Any]) -> Iterator[str]:
    """Report seats that are still taken although their runs ended normally, or that nobody requested."""
    killed = {record["run"] for record in log if record["log"] == "run" and record.get("killed")}
    marks = {work.mark: work.run for work in works}
    # A module that could not reach a server reported it
    kept = {
        f"{record['run']}.{record['host']}.lease"
        for record in log
        if record["log"] == "task" and record["task"] == "released" and record.get("code") == "unreachable"
    }
    for governor, identities in state["seats"].items():
        for identity in identities:
            if marks.get(identity) not in killed and identity not in kept:
                yield f"a seat of {governor} is still taken by {identity}, whose run ended by itself"


def _waits(works: Sequence[Execution], stood: dict[str, float], found: Findings) -> Iterator[str]:
    for work in works:
        limit = work.plan["max_wait"] + stood.get(work.run, 0.0)
        if work.starts and work.kind == "governed":
            waited = work.starts[0]["at"] - work.began
            found.longest_wait = max(found.longest_wait, waited)
            if waited > limit + SETTLE + BEGIN:
                yield f"{work.mark} waited {waited:.1f} s, and its max_wait is {limit} s"
        elif work.end and work.kind == "governed" and work.end["at"] - work.began > limit + GIVE_UP:
            waited = work.end["at"] - work.began
            yield f"{work.mark} waited {waited:.1f} s for nothing, and its max_wait is {limit} s"


def _work(work: Execution, state: dict[str, Any]) -> Iterator[str]:
    whole = [end for end in work.ends if "signal" not in end]
    if len(work.starts) > 1:
        yield f"{work.mark} worked {len(work.starts)} times"
    if work.succeeded and not whole:
        yield f"{work.mark} is said to have worked, and did not"
    if work.kind == "governed" and work.denied and work.starts:
        yield f"{work.mark} worked, and is said not to have: {work.end and work.end['msg']}"


def _written(name: str, values: Sequence[str], execution: Execution) -> Iterator[str]:
    end = execution.end
    if len(values) > 1:
        yield f"{name} {execution.mark} was written {len(values)} times"
    if execution.succeeded and not values:
        yield f"{name} {execution.mark} is said to be written, and is not there"
    if execution.denied and values:
        yield f"{name} {execution.mark} was written, and is said not to be: {end and (end['code'], end['msg'])}"


def _put(execution: Execution, state: dict[str, Any]) -> Iterator[str]:
    yield from _written("Key", state["keys"].get(execution.mark, []), execution)


def _message(execution: Execution, state: dict[str, Any]) -> Iterator[str]:
    yield from _written("Message", state["messages"].get(execution.mark, []), execution)


def _tree(execution: Execution, state: dict[str, Any]) -> Iterator[str]:
    keys = [f"{execution.run}.k{number}" for number in range(execution.plan["keys"])]
    missing = [key for key in keys if key not in state["tree"]]
    doubled = [key for key in keys if len(state["tree"].get(key, ())) > 1]
    if execution.succeeded and missing:
        yield f"{execution.mark} is said to be in sync, and {len(missing)} keys are missing: {missing[:3]}"
    if doubled:
        yield f"{execution.mark} wrote {len(doubled)} keys more than once: {doubled[:3]}"


def _resources(execution: Execution, state: dict[str, Any]) -> Iterator[str]:
    names = {f"{execution.run}_{number}" for number in range(execution.plan["consumers"])}
    keys = [f"{execution.run}.item{number}" for number in range(execution.plan.get("keys", 0))]
    missing = [*sorted(names - set(state["consumers"])), *(key for key in keys if key not in state["tree"])]
    doubled = [key for key in keys if len(state["tree"].get(key, ())) > 1]
    if execution.succeeded and missing:
        yield f"{execution.mark} is said to be applied, and {len(missing)} items are missing: {missing[:3]}"
    if doubled:
        yield f"{execution.mark} wrote {len(doubled)} items more than once: {doubled[:3]}"


def _restore(execution: Execution, state: dict[str, Any]) -> Iterator[str]:
    if execution.succeeded and state["restored"].get(f"BACK_{execution.run}") != state["orders"]:
        yield f"{execution.mark} is said to be done, and the messages differ from those of the stream"


def _lookup(execution: Execution, state: dict[str, Any]) -> Iterator[str]:
    if execution.succeeded and execution.end and execution.end["msg"] != execution.plan["value"]:
        yield f"{execution.mark} read {execution.end['msg']!r} instead of {execution.plan['value']!r}"


def _nothing(execution: Execution, state: dict[str, Any]) -> Iterator[str]:
    yield from ()


_CLAIMS = {
    "governed": _work,
    "lease": _work,
    "put": _put,
    "message": _message,
    "tree": _tree,
    "resources": _resources,
    "backup": _nothing,  # its restore is compared
    "restore": _restore,
    "copy": _restore,  # the copy of a restored stream
    "lookup": _lookup,
    "race": _nothing,
    "count": _nothing,
}


KINDS = tuple(_CLAIMS)


def _races(done: Sequence[Execution], state: dict[str, Any]) -> Iterator[str]:
    """Of all clients that create a key, only the one whose value is stored succeeds."""
    for race in (execution for execution in done if execution.kind == "race"):
        values = state["keys"].get(f"race.{race.run}", [])
        won, end = values == [race.mark], race.end
        if len(values) > 1 and race.mark in values:
            yield f"{race.mark} wrote a key that was to be created once: {values}"
        if race.succeeded and end and end["changed"] != won:
            yield f"{race.mark} {'won' if won else 'lost'} a key, and reports changed={end['changed']}; it has {values}"
        if race.denied and won:
            yield f"{race.mark} won a key, and is said to have failed: {end and (end['code'], end['msg'])}"


def _counter(done: Sequence[Execution], state: dict[str, Any]) -> Iterator[str]:
    counts = [execution for execution in done if execution.kind == "count"]
    if not counts:
        return
    sure = sum(execution.succeeded for execution in counts)
    perhaps = sum(not execution.succeeded and not execution.denied for execution in counts)
    value = int((state["keys"].get("counter") or ["0"])[-1])
    if not sure <= value <= sure + perhaps:
        yield f"The counter is {value}: {sure} are said to have counted, and of {perhaps} it is not known"


def _results(log: Sequence[Record], state: dict[str, Any], found: Findings) -> Iterator[str]:
    """Report events that are stored twice or missing. A run that ended normally has all events that Ansible showed."""
    doubled = [name for name, count in Counter(event["id"] for event in state["results"]).items() if count > 1]
    if doubled:
        yield f"{len(doubled)} events are stored more than once: {doubled[:3]}"
    run_ids = {event["batch"]: event["run_id"] for event in state["results"] if event["batch"]}
    by_run: dict[str, list[dict[str, Any]]] = {}
    for event in state["results"]:
        by_run.setdefault(event["run_id"], []).append(event)
    shown = Counter(record["run"] for record in log if record["log"] == "task" and record["event"] == "end")
    for record in log:
        if record["log"] != "run" or record["event"] != "gone" or not record.get("reported"):
            continue
        run = record["run"]
        events = by_run.get(run_ids.get(run, ""), [])
        numbers = {event["number"] for event in events}
        missing = set(range(1, max(numbers, default=0) + 1)) - numbers
        found.counts["runs"] += 1
        found.counts["events"] += len(events)
        if missing:
            yield f"Events of {run} are missing: {sorted(missing)[:10]} of {max(numbers)}"
        if record.get("killed"):
            if not events:
                found.blind.append(f"the run {run} was killed, and has no events at all")
            continue
        results = len({event["id"] for event in events if event["type"] == "task_result"})
        if results != shown[run] or not any(event["type"] == "run_finished" for event in events):
            yield f"{run} ended by itself with {shown[run]} results, and {results} of {len(events)} events have one"
