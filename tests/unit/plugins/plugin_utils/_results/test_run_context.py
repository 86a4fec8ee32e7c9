# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The context of a run in its first event: the job, the user, and the commit that is checked out."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from ansible_collections.choria.streams.plugins.plugin_utils._results import run_context

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        (
            {"AWX_HOST": "https://awx.example.net", "JOB_ID": "7"},
            ("awx", "7", "https://awx.example.net/#/jobs/playbook/7"),
        ),
        (
            {"GITLAB_CI": "true", "CI_JOB_ID": "8", "CI_JOB_URL": "https://gitlab.example.net/a/-/jobs/8"},
            ("gitlab", "8", "https://gitlab.example.net/a/-/jobs/8"),
        ),
        (
            {
                "GITHUB_ACTIONS": "true",
                "GITHUB_RUN_ID": "9",
                "GITHUB_SERVER_URL": "https://github.com",
                "GITHUB_REPOSITORY": "a/b",
            },
            ("github", "9", "https://github.com/a/b/actions/runs/9"),
        ),
        (
            {"JENKINS_URL": "https://j/", "BUILD_TAG": "jenkins-a-10", "BUILD_URL": "https://j/job/a/10/"},
            ("jenkins", "jenkins-a-10", "https://j/job/a/10/"),
        ),
        (
            {"BUILDKITE": "true", "BUILDKITE_JOB_ID": "11", "BUILDKITE_BUILD_URL": "https://buildkite.com/a/b/1"},
            ("buildkite", "11", "https://buildkite.com/a/b/1#11"),
        ),
        ({"GITLAB_CI": "true", "CI_JOB_ID": "8"}, ("gitlab", "8", None)),
    ],
    ids=["awx", "gitlab", "github", "jenkins", "buildkite", "no page"],
)
def test_jobs(environment: dict[str, str], expected: tuple[str, str, str | None]) -> None:
    assert run_context.job(environment) == dict(zip(("system", "id", "url"), expected))


@pytest.mark.parametrize("environment", [{}, {"JOB_ID": "7"}, {"GITLAB_CI": "true"}])
def test_no_job(environment: dict[str, str]) -> None:
    assert run_context.job(environment) is None


def git(folder: Path, *arguments: str) -> str:
    name = ["-c", "user.name=a", "-c", "user.email=a@example.net", "-c", "init.defaultBranch=main"]
    command = ["git", *name, "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def test_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_context, "_GIT_TIMEOUT", 60)
    folder = tmp_path / "playbooks"
    folder.mkdir()
    assert run_context.git(str(tmp_path)) is None
    git(tmp_path, "init", "--quiet")
    assert run_context.git(str(folder)) is None
    (folder / "site.yml").write_text("---\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "One")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert run_context.git(str(folder)) == {"commit": commit, "branch": "main", "dirty": False}
    (folder / "site.yml").write_text("--- []\n")
    git(tmp_path, "checkout", "--quiet", "--detach")
    assert run_context.git(str(folder)) == {"commit": commit, "branch": None, "dirty": True}


def test_no_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run_context.git(str(tmp_path)) is None


def test_a_slow_git_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "git"
    program.write_text('#!/bin/sh\ncase "$*" in *status*) exec sleep 60 ;; *) echo abc ;; esac\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert run_context.git(str(tmp_path)) in ({"commit": "abc", "branch": None, "dirty": None}, None)


def test_version_of_the_collection() -> None:
    assert run_context.collection_version() == "1.0.0"
