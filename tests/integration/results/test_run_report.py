# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The playbook run_report and its action: the runs that it shows, and that no event can add markup to the page."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from support import ROOT, runs
from support.connect import settings
from support.deployments import report
from support.playbook import run_playbook
from support.server import NatsServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


pytestmark = pytest.mark.once

SUBMITTED = "choria.submission.in.ansible.runs"


@pytest.fixture(scope="module")
def server() -> Iterator[NatsServer]:
    with NatsServer() as server:
        with Session(settings(servers=server.url)) as session:
            # Events published by Choria Server have its own subject prefix, in the same stream
            runs.declare(session, subjects=["ansible.runs.>", f"{SUBMITTED}.>"])
            submitted = runs.whole_run("submitted", [("web1", "ok")])
            runs.store(
                session, [request._replace(subject=f"choria.submission.in.{request.subject}") for request in submitted]
            )
            runs.store(session, runs.evil_run())
            for run_id in ("first", "second", "third"):
                runs.store(session, runs.whole_run(run_id, [("web1", "ok"), ("web2", "failed")]))
        yield server


def test_page_of_one_run(server: NatsServer, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    first = report(server, page, run="evil").check()
    assert first.task("Show where it is").message == f"file://{page}"
    assert page.stat().st_mode & 0o777 == 0o600
    text = page.read_text()
    assert text.count("&lt;script&gt;window.planted") > 30
    assert "<script>window" not in text
    assert "<img" not in text
    again = report(server, page, run="evil").check()
    assert again.task("Write the page").changed is False


def test_page_of_a_playbook(server: NatsServer, tmp_path: Path) -> None:
    found = report(server, tmp_path / "page.html", last=2, playbooks=["site.y*"]).check()
    assert [run["run_id"] for run in found.task("Write the page").result["runs"]] == ["third", "second"]
    assert (tmp_path / "page.html").read_text().count('<article class="run"') == 2


def test_page_of_what_choria_server_published(server: NatsServer, tmp_path: Path) -> None:
    found = report(server, tmp_path / "page.html", last=5, subject_prefix=SUBMITTED).check()
    [run] = found.task("Write the page").result["runs"]
    assert (run["run_id"], run["complete"]) == ("submitted", True)


@pytest.mark.parametrize(
    ("given", "task", "expected"),
    [
        (
            {"playbooks": ["other.yml"]},
            "Write the page",
            "Stream ANSIBLE_RUNS does not have a run of other.yml: check run_id and playbooks, or enable",
        ),
        ({"stream": "NONE"}, "Write the page", "stream: there is no stream NONE: create it with"),
    ],
    ids=["no run", "no stream"],
)
def test_nothing_to_read(
    server: NatsServer, tmp_path: Path, given: dict[str, object], task: str, expected: str
) -> None:
    page = tmp_path / "page.html"
    assert report(server, page, **given).task(task).message.startswith(expected)
    assert not page.exists()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"dest": "."}, r"dest: \S+ is a folder: add the name of the page's file\."),
        ({"dest": "none/page.html"}, r"dest: there is no folder \S+/none on the controller: create it first\."),
        ({"dest": "page.html", "max_hosts": 0}, r"max_hosts: is not a number above 0"),
        ({"dest": "page.html", "limit": 0}, r"limit: "),
        ({"dest": "page.html", "run_id": "first", "limit": 1}, r"parameters are mutually exclusive: run_id\|limit"),
        ({"dest": "page.html", "statuses": ["ok"]}, r"statuses: there is no such option: there are dest, stream, "),
        ({}, r"missing required arguments: dest"),
    ],
)
def test_wrong_options(server: NatsServer, given: dict[str, object], expected: str) -> None:
    task = {"name": "Page", "choria.streams.choria_run_page": {"servers": [server.url], **given}}
    result = run_playbook([{"hosts": "localhost", "gather_facts": False, "tasks": [task]}])
    assert re.search(expected, result.task("Page").message), result.output


def test_make_report() -> None:
    """The command of the make target. The rest is nox's."""
    command = ["make", "--no-print-directory", "--dry-run", "report", "RUN=7", "OUT=my page.html", "PLAYBOOK=site.yml"]
    command.append(f"PREFIX={SUBMITTED}")
    commands = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert "ansible-playbook playbooks/run_report.yml" in commands
    assert """-e '{"run_report_run": "7"}'""" in commands
    assert """-e '{"run_report_dest": "my page.html"}'""" in commands
    assert f"""-e '{{"run_report_subject_prefix": "{SUBMITTED}"}}'""" in commands
    assert """-e '{"run_report_playbooks": ["site.yml"]}'""" in commands
    assert "run_report_last" not in commands
