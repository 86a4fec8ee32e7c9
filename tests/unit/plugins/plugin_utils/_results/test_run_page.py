# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The page of runs: all values are escaped, and no event breaks it."""

from __future__ import annotations

import json
import math
import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest
from jinja2 import Environment, nodes

from ansible_collections.choria.streams.plugins.module_utils._api.messages import Stored
from ansible_collections.choria.streams.plugins.module_utils._operations.runs.events import event_of
from ansible_collections.choria.streams.plugins.module_utils._operations.runs.summary import STATUSES, Kept, RunSummary
from ansible_collections.choria.streams.plugins.plugin_utils._results.run_page import length, page
from support import ROOT, runs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ansible_collections.choria.streams.plugins.module_utils._connection.wire import Request

FOLDER = ROOT / "playbooks" / "templates" / "run_report"
# Elements and attributes of the page itself
ELEMENTS = set(re.findall(r"<([a-z][a-z0-9]*)", (FOLDER / "report.html.j2").read_text()))


class Parsed(HTMLParser):
    """A page as a browser parses it: its elements, the text of scripts, and attributes that act or load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.scripts: list[str] = []
        self.acting: list[tuple[str, str | None]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        for name, value in attrs:
            loads = name in ("src", "srcset", "action", "formaction", "data", "poster", "href")
            if name.startswith("on") or (loads and not str(value).startswith("#") and value != "data:,"):
                self.acting.append((name, value))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.lasttag == "script" and self.cdata_elem == "script":
            self.scripts[-1] += data


def result_of(run_id: str, requests: Iterable[Request]) -> dict[str, Any]:
    """Return the result of choria_run_info for a run with these events."""
    summary = RunSummary(run_id, Kept(statuses=frozenset(STATUSES)))
    for place, request in enumerate(requests, 1):
        event = event_of(Stored(request.subject, place, "2026-03-01T12:00:00Z", request.payload))
        assert event
        summary.add(event)
    return {"stream": {"name": "ANSIBLE_RUNS"}, "unreadable": 0, "runs": [summary.result(1.0, 3600.0)]}


def one_result(host: str = "web1", **data: Any) -> dict[str, Any]:
    start = runs.event("odd", 1, "run_started", **data)
    rows = [runs.result("odd", number, host, status, **data) for number, status in enumerate(STATUSES, 2)]
    return result_of("odd", [start, *rows])


def unescaped(source: str) -> list[int]:
    """Return the lines of a template that show a value unescaped: marked safe, or outside of quotes in a tag."""
    tree = Environment().parse(source)
    marked = [node.lineno for node in tree.find_all(nodes.Filter) if node.name in ("safe", "forceescape")]
    marked += [node.lineno for node in tree.find_all((nodes.ScopedEvalContextModifier, nodes.MarkSafe))]
    text = re.sub(r"\{#.*?#\}|\{%.*?%\}", lambda found: "\n" * found[0].count("\n"), source, flags=re.DOTALL)
    tags = [(found.start(), re.sub(r'"[^"]*"', "", found[0])) for found in re.finditer(r"<[a-z][^<>]*>", text)]
    return marked + [text.count("\n", 0, start) + 1 for start, tag in tags if re.search(r"\{\{(?! ' )", tag)]


def test_everything_is_escaped() -> None:
    assert unescaped((FOLDER / "report.html.j2").read_text()) == []


@pytest.mark.parametrize(
    "source",
    ["{{ x | safe }}", "{% autoescape false %}{{ x }}{% endautoescape %}", "<p class={{ x }}>", "<p {{ x }}>"],
)
def test_long_sentences_are_found(source: str) -> None:
    assert unescaped("{{ x }}<p class=\"{{ x }}\"{{ ' open' if y }}>\n" + source) == [2]


@pytest.mark.parametrize("name", ["style.css", "report.js"])
def test_included_files_have_no_templates(name: str) -> None:
    text = (FOLDER / name).read_text()
    assert not any(mark in text for mark in ("{{", "{%", "{#", "</"))
    assert "//" not in text.replace("// ", "")  # no address to load anything from


def test_events_become_no_markup() -> None:
    text = page(result_of("evil", runs.evil_run()))
    parsed = Parsed(text)
    assert set(parsed.elements) <= ELEMENTS
    assert (parsed.elements.count("script"), parsed.elements.count("img")) == (2, 0)
    assert parsed.acting == []
    data = json.loads(parsed.scripts[0])
    assert data["msg"]["2"] == runs.EVIL
    assert text.count("window.planted") > 30


@pytest.mark.parametrize("closing", ["</script>", "</SCRIPT >", "<!--<script>", "]]>", '"><b onclick="x">', "\u2028"])
def test_data_can_not_end_its_element(closing: str) -> None:
    found = one_result(msg=closing, output={"stdout": closing}, host=closing)
    parsed = Parsed(page(found))
    assert set(parsed.elements) <= ELEMENTS
    assert parsed.elements.count("script") == 2
    assert parsed.acting == []
    assert json.loads(parsed.scripts[0])["msg"]["2"] == closing


ODD = [None, True, -1, 1e300, math.nan, math.inf, "", "\ud800", [], [None], [[1]], {}, {"": None}, {"a": {"b": [1]}}]


@pytest.mark.parametrize("value", ODD, ids=map(repr, ODD))
def test_data_of_any_type(value: Any) -> None:
    whole = ("msg", "rc", "attempts", "output", "items", "diff", "governor", "facts", "warnings", "deprecations")
    about = ("playbook", "user", "inventory", "tags", "skip_tags", "git", "job", "limit", "check_mode", "batch")
    inside = {
        "output": {"stdout": value, "stderr": value, "traceback": value},
        "governor": {"name": value, "seat": value, "waited": value, "held": value},
        "items": [value, {"label": value, "status": value, "msg": value}],
        "diff": [value, {"before": value, "after": value}, {"prepared": value}],
        "git": {"commit": value, "branch": value, "dirty": value},
        "job": {"system": value, "id": value, "url": value},
        "inventory": [value],
        "tags": [value],
        "warnings": [value],
        "facts": {"name": value},
        "truncated": [value],
    }
    odd = {**dict.fromkeys((*whole, *about, "path", "action", "no_log", "truncated", "duration"), value)}
    for data in (odd, inside):
        text = page(one_result(**data))
        text.encode()
        json.loads(Parsed(text).scripts[0], parse_constant=pytest.fail)


def test_equal_failures_are_one() -> None:
    hosts = [f"web{number}" for number in range(30)]
    rows = [
        runs.result("r", number, host, "failed", msg="no space left", task=task)
        for number, (task, host) in enumerate([(task, host) for task in ("A task", "a task") for host in hosts], 1)
    ]
    text = page(result_of("r", rows))
    assert text.count('<article class="failure') == 2  # names of tasks are case-sensitive
    assert "30 hosts" in text
    assert "10 more hosts" in text


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0.00 s"),
        (59.94, "59.9 s"),
        (61, "1 min 01 s"),
        (7325, "2 h 02 min"),
        (None, "\N{EN DASH}"),
        (math.nan, "\N{EN DASH}"),
        ("x", "\N{EN DASH}"),
    ],
)
def test_lengths(seconds: Any, expected: str) -> None:
    assert length(seconds) == expected
