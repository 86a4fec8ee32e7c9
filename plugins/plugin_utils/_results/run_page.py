# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Convert the result of choria_run_info to one HTML page. It reads only the files of the page's template.

The page is rendered by one call of plain Jinja2, which escapes each value. A run of many hosts has thousands of them,
and Ansible's own templating takes twenty times as long. The contents are selected and grouped here.
"""

from __future__ import annotations

import hashlib
import json
import math
import shlex
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    Row = Mapping[str, Any]

# At most this many different messages and warnings of one task are shown
_MOST_MESSAGES, _MOST_WARNINGS = 50, 100


def failure_groups(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Failures of the same task, status and message together, in the order of tasks in the run.

    Each group is a dict with ``task`` and ``more``, the number of further messages that are not shown, and
    ``messages``, a list of lists of rows.
    """
    groups: dict[tuple[str, str, bool], dict[str, list[Row]]] = {}
    for row in rows:
        same = groups.setdefault((row["task"], row["status"], row["rescued"]), {})
        same.setdefault(_key(row.get("msg", "")), []).append(row)
    return [
        {
            "task": task,
            "messages": [_with_hosts(same) for same in list(messages.values())[:_MOST_MESSAGES]],
            "more": max(len(messages) - _MOST_MESSAGES, 0),
        }
        for (task, _status, _rescued), messages in groups.items()
    ]


def _with_hosts(rows: Sequence[Row]) -> dict[str, Any]:
    row = rows[0]
    output, items = row.get("output"), row.get("items")
    return {
        "row": row,
        "status": "rescued" if row["rescued"] else row["status"],
        "hosts": list(dict.fromkeys(each["host"] for each in rows)),
        "output": output if isinstance(output, dict) else {},
        "items": [item for item in items if isinstance(item, dict)] if isinstance(items, list) else [],
    }


def _key(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def governed_rows(rows: Sequence[Row]) -> list[Row]:
    """Results that waited for a governor, the longest wait first."""
    having = [row for row in rows if isinstance(row.get("governor"), dict) and number(row["governor"].get("waited"))]
    return sorted(having, key=lambda row: float(row["governor"]["waited"]), reverse=True)


def number(value: Any) -> bool:
    """Return True for a number that a page can show."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def warning_rows(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Each text that a task warned of once, with the hosts on which it came."""
    listed = []
    for word, kind in (("Warning", "warnings"), ("Deprecation", "deprecations")):
        by_task: dict[str, dict[str, tuple[Any, dict[str, None]]]] = {}
        for row in rows:
            if kind in row:
                warnings = row[kind] if isinstance(row[kind], list) else [row[kind]]
                texts = by_task.setdefault(row["task"], {})
                for said in warnings:
                    texts.setdefault(_key(said), (said, {}))[1][row["host"]] = None
        listed += [
            {"task": task, "kind": word, "text": said, "hosts": sorted(hosts)}
            for task, texts in sorted(by_task.items())
            for said, hosts in list(texts.values())[:_MOST_WARNINGS]
        ]
    return listed


def facts_by_host(rows: Sequence[Row], most: int) -> list[tuple[str, dict[str, Any]]]:
    """Return the facts of each host, as its tasks set them last."""
    facts: dict[str, dict[str, Any]] = {}
    for row in rows:
        if isinstance(row.get("facts"), dict):
            facts.setdefault(row["host"], {}).update(row["facts"])
    return sorted(facts.items())[:most]


_TEMPLATES = Path(__file__).resolve().parents[3] / "playbooks" / "templates" / "run_report"
SIGNS = {
    **{"ok": "✓", "changed": "●", "failed": "✕", "unreachable": "⊘", "skipped": "\N{EN DASH}"},
    **{"ignored": "≈", "rescued": "↺", "succeeded": "✓", "interrupted": "■", "running": "…", "lost": "?"},
}
STATUSES = ("ok", "changed", "failed", "unreachable", "rescued", "ignored", "skipped")
# How many characters of messages and of output the table of all results may have
_MOST_TEXT = 3_000_000


def page(result: Mapping[str, Any], max_hosts: int = 1000) -> str:
    """Return the page of the runs in ``result``, a result of choria_run_info.

    It has ``runs``, ``stream`` and ``unreadable``. The timeline and the facts of a run show at most ``max_hosts``
    hosts. The same runs give the same page.
    """
    source = json.dumps(result["runs"])
    # Events may have NaN and Infinity, which no browser takes for JSON
    runs = json.loads(source, parse_constant=str)
    shown: str = _template().render(
        runs=[_view(run, max_hosts) for run in runs],
        over_runs=_changes_by_run(runs),
        stream=result["stream"]["name"],
        unreadable=result["unreadable"],
        nonce=hashlib.sha256(source.encode()).hexdigest(),
        signs=SIGNS,
        statuses=STATUSES,
    )
    # A text may have half of a surrogate pair, which no file can have
    return shown.encode("utf-8", "replace").decode("utf-8")


@cache
def _template() -> Any:
    # Set here and nowhere else: whatever the template shows is escaped, for text and for attributes in quotes
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
        loader=FileSystemLoader(_TEMPLATES),
    )
    # The filter tojson escapes <, >, & and ', so that data can't end the element that it is in
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    environment.filters.update(dur=length, listed=_listed, share=share, text=text)
    return environment.get_template("report.html.j2")


def length(seconds: Any) -> str:
    """Return a length in words: ``0.25 s``, ``3 min 07 s``."""
    if not number(seconds):
        return "\N{EN DASH}"
    if seconds < 1:
        return f"{seconds:.2f} s"
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def share(part: float, whole: float) -> str:
    """Return the percentage of the whole, for the width of a bar."""
    return f"{100 * part / max(whole, 0.001):.3f}"


def text(value: Any) -> str:
    """Return text as it is, other data as JSON."""
    return value if isinstance(value, str) else json.dumps(value, indent=4, sort_keys=True, ensure_ascii=False)


def _view(run: dict[str, Any], max_hosts: int) -> dict[str, Any]:
    """Return the run, and the parts of it that the page shows."""
    results, counts = run["results"], run["counts"]
    bad = [host for host in run["hosts"] if host["failed"]]
    bad += [host for host in run["hosts"] if host["unreachable"] and not host["failed"]]
    good = [host for host in run["hosts"] if not host["failed"] and not host["unreachable"]]
    changed = [row for row in results if row["status"] == "changed"]
    ignored = [row for row in results if row["status"] == "ignored"]
    return {
        **run,
        "about": _about(run["about"]),
        "shown": (bad + good)[:max_hosts],
        "mixed": bool(bad and good),
        "total": max(run["duration"], counts["ended"], 0.001),
        "told": {kind: sum(len(_listed(row.get(kind))) for row in results) for kind in ("warnings", "deprecations")},
        "results_counted": sum(counts[status] for status in STATUSES),
        "failure_groups": failure_groups(run["failures"]),
        "ignored": ignored,
        "ignored_groups": failure_groups(ignored),
        "again": _rerun_command(run, bad),
        "bad": bad,
        "slowest": sorted(run["tasks"], key=lambda task: task["duration"], reverse=True)[:10],
        "changed": changed,
        "changed_hosts": len({row["host"] for row in changed}),
        "governed": governed_rows(results),
        "warning_rows": warning_rows(results),
        "facts": facts_by_host(results, max_hosts),
        "data": _columns(results),
    }


def _about(about: dict[str, Any]) -> dict[str, str]:
    """Return the known context of a run as texts, which may be empty."""
    names = ("user", "controller", "ansible_version", "limit", "batch")
    shown = {name: text(about.get(name) or "") for name in names}
    playbook = text(about.get("playbook") or "")
    git = about["git"] if isinstance(about.get("git"), dict) else {}
    job = about["job"] if isinstance(about.get("job"), dict) else {}
    commit = [text(git.get("commit") or "")[:12], git.get("branch"), "with local changes" if git.get("dirty") else ""]
    tags = [tag for tag in _listed(about.get("tags")) if tag != "all"]
    return {
        **shown,
        "playbook": playbook,
        "name": playbook.rpartition("/")[2],
        "check_mode": "yes" if about.get("check_mode") else "",
        "tags": _joined(tags, ", "),
        "skip_tags": _joined(_listed(about.get("skip_tags")), ", "),
        "commit": _joined(commit, " "),
        "job": _joined((job.get(name) for name in ("system", "id", "url")), " "),
    }


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _joined(values: Iterable[Any], between: str) -> str:
    return between.join(text(value) for value in values if value)


def _rerun_command(run: Mapping[str, Any], bad: Sequence[Mapping[str, Any]]) -> str:
    """Return the command line that repeats the run for the hosts with failures."""
    inventory = run["about"].get("inventory")
    command = ["ansible-playbook"]
    if isinstance(inventory, list) and inventory:
        command += ["-i", ",".join(map(text, inventory))]
    command += ["--limit", ",".join(host["host"] for host in bad), text(run["about"].get("playbook") or "")]
    return shlex.join(command)


def _columns(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return all results by columns, as the page's script reads them."""
    plain_columns = ("sequence", "host", "task", "status", "rescued", "began", "duration")
    return {
        **{name: [row.get(name) for row in results] for name in plain_columns},
        "waited": {str(row["sequence"]): row["governor"]["waited"] for row in governed_rows(results)},
        "msg": _first_values(results, "msg"),
        "output": _first_values(results, "output"),
        "signs": SIGNS,
    }


def _first_values(rows: Sequence[Mapping[str, Any]], name: str) -> dict[str, Any]:
    """Return the first values by the number of their event, as many as there is room for."""
    having = [row for row in rows if name in row]
    size = len(json.dumps([row[name] for row in having]))
    kept = having[: int(len(having) * min(_MOST_TEXT / max(size, 1), 1))]
    return {str(row["sequence"]): row[name] for row in kept}


def _changes_by_run(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return how many hosts each task changed in each run, the oldest first, None for a run without the task."""
    oldest = list(reversed(runs))
    by_run: list[dict[str, int]] = []
    for run in oldest:
        changed: dict[str, int] = {}
        for task in run["tasks"]:
            changed[task["task"]] = changed.get(task["task"], 0) + task["changed"]
        by_run.append(changed)
    names = dict.fromkeys(task["task"] for run in runs for task in run["tasks"] if task["changed"])
    return {"names": list(names), "rows": [(name, [of.get(name) for of in by_run]) for name in list(names)[:60]]}
