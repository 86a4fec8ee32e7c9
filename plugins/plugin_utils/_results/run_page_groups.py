# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Group the results of a run for its page: equal failures, equal warnings, facts by host."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Row = Mapping[str, Any]

# Of one task at most so many different messages and warnings are shown
_MOST_MESSAGES, _MOST_WARNINGS = 50, 100


def failure_groups(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Failures of the same task, status and message together, in the order of tasks in the run.

    Each group is a dict with ``task`` and ``more``, the number of further messages that are not shown, and
    ``messages``, a list of lists of rows.
    """
    found: dict[tuple[str, str, bool], dict[str, list[Row]]] = {}
    for row in rows:
        same = found.setdefault((row["task"], row["status"], row["rescued"]), {})
        same.setdefault(_key(row.get("msg", "")), []).append(row)
    return [
        {
            "task": task,
            "messages": [_with_hosts(same) for same in list(messages.values())[:_MOST_MESSAGES]],
            "more": max(len(messages) - _MOST_MESSAGES, 0),
        }
        for (task, _status, _rescued), messages in found.items()
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
    found = []
    for word, kind in (("Warning", "warnings"), ("Deprecation", "deprecations")):
        by_task: dict[str, dict[str, tuple[Any, dict[str, None]]]] = {}
        for row in rows:
            if kind in row:
                told = row[kind] if isinstance(row[kind], list) else [row[kind]]
                texts = by_task.setdefault(row["task"], {})
                for said in told:
                    texts.setdefault(_key(said), (said, {}))[1][row["host"]] = None
        found += [
            {"task": task, "kind": word, "text": said, "hosts": sorted(hosts)}
            for task, texts in sorted(by_task.items())
            for said, hosts in list(texts.values())[:_MOST_WARNINGS]
        ]
    return found


def facts_by_host(rows: Sequence[Row], most: int) -> list[tuple[str, dict[str, Any]]]:
    """Return the facts of each host, as its tasks set them last."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        if isinstance(row.get("facts"), dict):
            found.setdefault(row["host"], {}).update(row["facts"])
    return sorted(found.items())[:most]
