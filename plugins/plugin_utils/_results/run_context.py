# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Collect the context of a run: user, playbook, commit, and job of an automation system."""

from __future__ import annotations

import getpass
import json
import os
import platform
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible import context
from ansible.release import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

# The system, the variable by which it is detected, the one with the job's id, and the address of its page
_JOBS = (
    ("awx", "AWX_HOST", "JOB_ID", "{AWX_HOST}/#/jobs/playbook/{JOB_ID}"),
    ("awx", "TOWER_HOST", "JOB_ID", "{TOWER_HOST}/#/jobs/playbook/{JOB_ID}"),
    ("gitlab", "GITLAB_CI", "CI_JOB_ID", "{CI_JOB_URL}"),
    (
        "github",
        "GITHUB_ACTIONS",
        "GITHUB_RUN_ID",
        "{GITHUB_SERVER_URL}/{GITHUB_REPOSITORY}/actions/runs/{GITHUB_RUN_ID}",
    ),
    ("jenkins", "JENKINS_URL", "BUILD_TAG", "{BUILD_URL}"),
    ("buildkite", "BUILDKITE", "BUILDKITE_JOB_ID", "{BUILDKITE_BUILD_URL}#{BUILDKITE_JOB_ID}"),
    (
        "azure",
        "TF_BUILD",
        "BUILD_BUILDID",
        "{SYSTEM_COLLECTIONURI}{SYSTEM_TEAMPROJECT}/_build/results?buildId={BUILD_BUILDID}",
    ),
)
_ROOT = Path(__file__).resolve().parents[3]
_GIT_TIMEOUT = 0.5
# https://www.w3.org/TR/trace-context/#traceparent-header
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


def circumstances(playbook: str | None, identity: str, batch: str | None) -> dict[str, Any]:
    """Return the context of a run for its first event."""
    options = context.CLIARGS
    path = os.path.abspath(playbook) if playbook and os.path.exists(playbook) else None
    return {
        "playbook": path,
        "user": _user(),
        "controller": identity or platform.node(),
        "ansible_version": __version__,
        "python_version": platform.python_version(),
        "collection_version": collection_version(),
        "inventory": [str(source) for source in options.get("inventory") or []],
        "check_mode": bool(options.get("check")),
        "diff_mode": bool(options.get("diff")),
        "limit": options.get("subset"),
        "tags": list(options.get("tags") or []),
        "skip_tags": list(options.get("skip_tags") or []),
        "forks": options.get("forks"),
        "batch": batch or None,
        "traceparent": _traceparent(os.environ),
        "job": job(os.environ),
        "git": git(os.path.dirname(path)) if path else None,
    }


def job(environment: Mapping[str, str]) -> dict[str, str | None] | None:
    """Return the job of an automation platform or CI system that started this run."""
    for system, sign, number, page in _JOBS:
        if environment.get(sign) and environment.get(number):
            try:
                url = page.format_map(environment)
            except KeyError:
                url = None
            return {"system": system, "id": environment[number], "url": url}
    return None


def git(folder: str) -> dict[str, Any] | None:
    """Return the checked-out commit of a folder. ``dirty`` is None if that takes too long to find out."""
    lines = _git(folder, "status", "--porcelain=v2", "--branch", "--untracked-files=no")
    if lines is None:
        lines = [f"# branch.oid {line}" for line in _git(folder, "rev-parse", "HEAD") or []]
        dirty = None
    else:
        dirty = any(not line.startswith("#") for line in lines)
    facts = dict(line[len("# branch.") :].split(" ", 1) for line in lines if line.startswith("# branch."))
    commit, branch = facts.get("oid"), facts.get("head")
    if not commit or commit == "(initial)":
        return None
    return {"commit": commit, "branch": None if branch == "(detached)" else branch, "dirty": dirty}


def collection_version() -> str | None:
    """Return the version of this collection, installed or in a checkout."""
    try:
        return str(json.loads((_ROOT / "MANIFEST.json").read_text())["collection_info"]["version"])
    except (OSError, ValueError, KeyError):
        try:
            match = re.search(r"^version: *(\S+)", (_ROOT / "galaxy.yml").read_text(), re.MULTILINE)
        except OSError:
            return None
        return match[1] if match else None


def _git(folder: str, *arguments: str) -> list[str] | None:
    """Return the lines of a git command, which can't run other programs, write, or use another repository."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment.update(GIT_OPTIONAL_LOCKS="0", LC_ALL="C")
    try:
        return subprocess.run(
            ["git", "-c", "core.fsmonitor=false", "-C", folder, *arguments],
            check=True,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_GIT_TIMEOUT,
            text=True,
            errors="replace",
        ).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):
        return None


def _traceparent(environment: Mapping[str, str]) -> str | None:
    value = environment.get("TRACEPARENT", "")
    return value if _TRACEPARENT.fullmatch(value) else None


def _user() -> str | None:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return None
