# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Real runs of the callback, read with choria_run_info, and shown by the page of run_report in a real browser."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from ansible_collections.choria.streams.plugins.module_utils._operations.runs.info import SPEC, read
from ansible_collections.choria.streams.plugins.module_utils._operations.runs.summary import STATUSES
from support import deployments, runs
from support.browser import chromium, find_chromium
from support.connect import settings
from support.server import NatsServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page, ViewportSize

pytestmark = pytest.mark.once

PROGRAM = find_chromium()
# The path for the picture of docs/results.md
PICTURE = os.environ.get("PICTURE")
DEFAULTS = {row.option: row.argument_extra.get("default") for row in SPEC}


@dataclass
class Site:
    """The results of three runs, pages of the last run and of all runs, and a page of a malicious run.

    All connections are used here, since the browser's event loop runs in the same thread.
    """

    one: Path
    several: Path
    evil: Path
    found: list[dict[str, Any]] = field(default_factory=list)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    with NatsServer() as server:
        deployments.declare(server)
        deployments.deploy(server, folder, "1.4.0").check()
        deployments.interrupted(server, folder)
        assert deployments.deploy(server, folder, "1.5.0", troubles=True).rc != 0
        with Session(settings(servers=server.url), read_only=True) as session:
            found = read(session, {**DEFAULTS, "statuses": list(STATUSES)})["runs"]
        made = Site(folder / "one.html", folder / "several.html", folder / "evil.html", found)
        deployments.report(server, made.one).check()
        deployments.report(server, made.several, last=5).check()
    with NatsServer() as server:
        with Session(settings(servers=server.url)) as session:
            runs.declare(session)
            runs.store(session, runs.evil_run())
        deployments.report(server, made.evil, run="evil").check()
    yield made


@pytest.fixture(scope="module")
def browser(site: Site) -> Iterator[Browser]:
    if not PROGRAM:
        pytest.skip("there is no Chromium on this machine: install the package chromium")
    with chromium(PROGRAM) as found:
        yield found


def opened(browser: Browser, path: Path, **options: Any) -> tuple[Page, list[str]]:
    """Open the page in a browser. Return it with the errors and the requests to other places."""
    page = browser.new_context(**options).new_page()
    troubles: list[str] = []
    page.on("console", lambda message: troubles.append(message.text))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("dialog", lambda dialog: troubles.append(dialog.message))
    page.on("request", lambda request: None if request.url == path.as_uri() else troubles.append(request.url[:200]))
    page.goto(path.as_uri())
    return page, troubles


@pytest.mark.skipif(not PICTURE, reason="`make screenshot` takes the picture")
def test_picture_of_the_guide(site: Site, browser: Browser) -> None:
    size: ViewportSize = {"width": 1180, "height": 1900}
    page, _troubles = opened(browser, site.one, viewport=size, color_scheme="light")
    page.screenshot(path=PICTURE)


# Results of choria_run_info


def test_runs(site: Site) -> None:
    assert [run["outcome"] for run in site.found] == ["failed", "interrupted", "succeeded"]
    for run in site.found:
        assert run["complete"] is True
        assert run["events"]["found"] == run["events"]["expected"]
        assert run["about"]["playbook"].endswith("/site.yml")
        assert run["about"]["batch"] == "release-42"
        assert 0 < run["counts"]["ended"] <= run["duration"] + 1
        for row in run["results"]:
            assert -0.01 <= row["began"] <= run["duration"]


def test_run_with_troubles(site: Site) -> None:
    failed = site.found[0]
    failures = [(row["host"], row["task"], row["status"], row["rescued"]) for row in failed["failures"]]
    assert sorted(failures) == [
        ("db1.example.net", "Migrate", "unreachable", False),
        ("web2", "The application answers", "failed", True),
        ("web5", "Roll back", "failed", False),
        ("web5", "The application answers", "failed", True),
    ]
    counts = failed["counts"]
    assert (counts["failed"], counts["rescued"], counts["unreachable"], counts["ignored"]) == (1, 2, 1, 1)
    answers = next(row for row in failed["failures"] if row["host"] == "web2")
    assert answers["rc"] == 7
    assert answers["output"]["stdout"] == "GET /health: 503 Service Unavailable"
    for host, recap in failed["recap"].items():
        [tally] = [tally for tally in failed["hosts"] if tally["host"] == host]
        assert recap["changed"] == tally["changed"]
        assert recap["unreachable"] == tally["unreachable"]
        assert recap["rescued"] == tally["rescued"]


def test_governed_task(site: Site) -> None:
    run = site.found[2]
    governed = [row for row in run["results"] if "governor" in row]
    assert len(governed) == 6
    assert {row["governor"]["name"] for row in governed} == {"RESTART"}
    # Two seats for six hosts, 0.4 s each
    assert max(row["governor"]["waited"] for row in governed) > 0.4
    assert run["counts"]["waited"] == pytest.approx(sum(row["governor"]["waited"] for row in governed), abs=0.01)
    [task] = [task for task in run["tasks"] if task["task"].startswith("Restart")]
    assert task["changed"] == 6


# The page


def test_page_of_one_run(site: Site, browser: Browser) -> None:
    page, troubles = opened(browser, site.one)
    seen = page.locator("body").aria_snapshot()
    for expected in (
        'heading "site.yml" [level=1]',
        'heading "site.yml" [level=2]',
        'heading "Failures" [level=3]',
        'heading "Warnings" [level=3]',
        'heading "Timeline" [level=3]',
        'heading "Slowest tasks" [level=3]',
        'heading "Changes" [level=3]',
        'heading "Governor waits" [level=3]',
        'heading "Facts" [level=3]',
        "2 hosts · The application answers",
        "- main:",
        "- banner:",
        "- contentinfo:",
        "GET /health: 503 Service Unavailable",
        "Complete.",
        "columnheader",
        "rowheader",
    ):
        assert expected in seen
    assert re.search(r'button "web2: Busy from .+ to .+\. Show its tasks"', seen)
    assert re.search(r'table "When each host was busy', seen)
    assert "connection pool <main>: 20 of 20 in use" in page.locator("body").inner_text()
    assert troubles == []


def test_warnings_and_facts(site: Site, browser: Browser) -> None:
    page, troubles = opened(browser, site.one)
    rows = page.get_by_role("table", name="What tasks warned of").get_by_role("row")
    assert [row.split("\t") for row in rows.all_inner_texts()[1:]] == [
        ["Look at the disk", "Warning", "The disk is <nearly> full", "2 hosts: web1, web3"],
        ["Look at the disk", "Deprecation", "Looking at disks will be left to others", "2 hosts: web1, web3"],
    ]
    shown = page.locator("dl.facts").first.inner_text()
    assert re.search(r"Warnings\s+2\s+Deprecations\s+2", shown)
    facts = page.get_by_role("table", name="The facts that the callback passes on")
    assert not facts.is_visible()
    page.locator("summary", has_text="Facts of 5 hosts").focus()
    page.keyboard.press("Enter")
    assert facts.get_by_role("row", name="web3").all_inner_texts() == [
        "web3\trelease\t1.5.0",
        'web3\tseats\t{ "all": 2 }',
    ]
    assert troubles == []


def test_page_of_several_runs(site: Site, browser: Browser) -> None:
    page, troubles = opened(browser, site.several)
    assert page.title().startswith("3 runs, ")
    assert page.locator("article.run").count() == 3
    seen = page.locator("main").aria_snapshot()
    assert 'table "3 runs, the newest first."' in seen
    assert 'heading "Changes over the runs" [level=3]' in seen
    page.get_by_role("navigation", name="Runs", exact=True).get_by_role("link").last.click()
    assert page.url.endswith("#run-3")
    row = page.get_by_role("table", name="How many hosts each task changed").get_by_role("row", name="Install the")
    assert row.get_by_role("cell").all_inner_texts() == ["6", "0", "0"]
    assert troubles == []


CONTRAST = """() => {
  const channels = (colour) => { const [r, g, b, a] = colour.match(/[\\d.]+/g).map(Number); return [r, g, b, a ?? 1]; };
  const light = ([r, g, b]) => [r, g, b].map((x) => x / 255)
    .map((x) => (x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4))
    .reduce((sum, x, index) => sum + x * [0.2126, 0.7152, 0.0722][index], 0);
  const found = {};
  for (const element of document.querySelectorAll("body *")) {
    const text = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!text || !element.checkVisibility()) continue;
    let under = element;
    const colour = (of, name) => channels(getComputedStyle(of)[name]);
    while (under.parentElement && colour(under, "backgroundColor")[3] === 0) under = under.parentElement;
    const [one, other] = [colour(element, "color"), colour(under, "backgroundColor")].map(light);
    const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (ratio < 4.5) found[element.tagName + "." + element.className] = ratio;
  }
  return found;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_readable(site: Site, browser: Browser, scheme: Any) -> None:
    page, troubles = opened(browser, site.several, color_scheme=scheme)
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    dark = sum(map(int, re.findall(r"\d+", background)[:3])) < 200
    assert dark is (scheme == "dark")
    page.evaluate("document.querySelectorAll('details').forEach((details) => details.open = true)")
    assert page.evaluate(CONTRAST) == {}
    assert troubles == []


@pytest.mark.parametrize("width", [320, 375, 768])
def test_narrow_window(site: Site, browser: Browser, width: int) -> None:
    page, _troubles = opened(browser, site.several, viewport={"width": width, "height": 700})
    page.evaluate("document.querySelectorAll('details').forEach((details) => details.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_print(site: Site, browser: Browser) -> None:
    page, _troubles = opened(browser, site.several, color_scheme="dark")
    assert page.pdf().startswith(b"%PDF-")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.get_by_role("navigation").all() == []
    assert page.locator("table.timeline").first.is_visible()


def test_keyboard(site: Site, browser: Browser) -> None:
    page, _troubles = opened(browser, site.one)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    assert page.url.endswith("#content")
    table = page.get_by_role("table", name="slowest of")
    head = table.get_by_role("columnheader", name="Longest")
    head.get_by_role("button").focus()
    order = []
    for direction in ("ascending", "descending"):
        page.keyboard.press("Enter")
        assert head.get_attribute("aria-sort") == direction
        cells = table.locator("tbody td:nth-child(3)")
        order.append(cells.evaluate_all("(cells) => cells.map((cell) => Number(cell.dataset.value))"))
    assert order[0] == sorted(order[0])
    assert order[1] == sorted(order[1], reverse=True)
    track = page.get_by_role("button", name="web2: Busy from")
    track.focus()
    page.keyboard.press("Enter")
    assert track.get_attribute("aria-expanded") == "true"
    tasks = page.locator("tr.tasks li").all_inner_texts()
    assert "Install the packages" in tasks[0]
    assert any("The application answers" in task and "rescued" in task for task in tasks)
    page.keyboard.press("Enter")
    assert page.locator("tr.tasks").count() == 0


def test_results_are_searched(site: Site, browser: Browser) -> None:
    page, troubles = opened(browser, site.one)
    rows = page.get_by_role("table", name="The results in the order of their events").locator("tbody tr")
    count = page.locator("form.filters output")
    everything = rows.count()
    assert count.inner_text() == f"{everything} of {everything} results"
    page.get_by_label("Status", exact=True).select_option("rescued")
    assert sorted(row.split("\t")[1] for row in rows.all_inner_texts()) == ["web2", "web5"]
    page.get_by_label("Host", exact=True).select_option("web2")
    assert rows.count() == 1
    page.get_by_label("Status", exact=True).select_option("")
    of_host = rows.count()
    page.get_by_label("Task", exact=True).select_option("Install the packages")
    assert rows.count() == 1
    page.get_by_label("Task", exact=True).select_option("")
    page.get_by_label("Search", exact=True).fill("503 service")
    assert rows.count() == 1
    rows.locator("summary").click()
    assert "connection pool <main>: 20 of 20 in use" in rows.inner_text()
    # A link to a host shows all its results
    page.get_by_label("Search", exact=True).fill("nothing has this")
    assert rows.count() == 0
    page.get_by_role("rowheader", name="web2").get_by_role("link").first.click()
    assert page.url.endswith("#run-1-results")
    assert rows.count() == of_host
    assert troubles == []


def test_the_run_can_be_repeated(site: Site, browser: Browser) -> None:
    page, _troubles = opened(browser, site.one)
    command = page.locator(".again pre").inner_text()
    assert re.fullmatch(r"ansible-playbook -i \S+ --limit web5,db1\.example\.net \S+/site\.yml", command)


def test_local_time(site: Site, browser: Browser) -> None:
    page, _troubles = opened(browser, site.one, timezone_id="Asia/Tokyo", locale="en-GB")
    assert re.search(r"\d\d:\d\d:\d\d UTC \(\S+ \d\d:\d\d:\d\d here\)", page.locator("time").first.inner_text())
    page, _troubles = opened(browser, site.one, timezone_id="UTC")
    assert page.locator("time .local").count() == 0


def test_without_scripts(site: Site, browser: Browser) -> None:
    page, _troubles = opened(browser, site.one, java_script_enabled=False)
    assert page.get_by_role("table", name="When each host was busy").is_visible()
    assert page.get_by_role("row", name="web2").first.is_visible()
    assert page.get_by_role("button").count() == 0


def test_nothing_is_markup(site: Site, browser: Browser) -> None:
    page, troubles = opened(browser, site.evil)
    text = page.locator("body").inner_text()
    assert "Not complete." in text
    assert "2 events of 9 are missing: 7\N{EN DASH}8" in text
    assert "more than once: 2." in text
    page.evaluate("document.querySelectorAll('details').forEach((details) => details.open = true)")
    assert page.locator("body").inner_text().count(runs.EVIL) > 30
    assert page.evaluate("window.planted") is None
    assert page.evaluate("[document.scripts.length, document.images.length]") == [2, 0]
    hosts = page.evaluate("[...document.links].every((link) => link.getAttribute('href').startsWith('#'))")
    assert hosts
    assert troubles == []
