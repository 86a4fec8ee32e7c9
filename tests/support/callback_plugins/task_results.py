# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Write each task result as a line of JSON into the file named by TASK_RESULTS, for support.playbook."""

from __future__ import annotations

DOCUMENTATION = """
name: task_results
type: aggregate
short_description: Task results as lines of JSON
description:
  - For the tests of this collection.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from ansible import constants
from ansible.plugins.callback import CallbackBase
from ansible.release import __version__

PLUGINS = Path(__file__).resolve().parents[3] / "plugins"


def keep_archives(folder: str) -> None:
    """Keep the archives that Ansible builds of modules for the next runs, as long as Ansible and the sources stay
    the same.

    Ansible keeps them until the end of a run, since finding all imports of a module takes longer than running it.
    """
    state = hashlib.sha256(__version__.encode())
    for kind in ("modules", "module_utils"):
        for path in sorted((PLUGINS / kind).rglob("*.py")):
            state.update(f"{path} {path.stat().st_mtime_ns}\n".encode())
    kept = Path(folder, state.hexdigest())
    kept.mkdir(parents=True, exist_ok=True)
    Path(constants.DEFAULT_LOCAL_TMP, "ansiballz_cache").symlink_to(kept)


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "task_results"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        if folder := os.environ.get("KEPT_ARCHIVES"):
            keep_archives(folder)

    def _write(self, **record: Any) -> None:
        with open(os.environ["TASK_RESULTS"], "a", encoding="utf-8") as file:
            file.write(json.dumps(record, default=str) + "\n")

    def _task(self, status: str, result: Any, ignored: bool = False) -> None:
        self._write(
            status=status,
            host=result.host.get_name(),
            name=result.task.get_name(),
            action=result.task.action,
            ignored=ignored,
            result=dict(result.result),
        )

    def v2_runner_on_ok(self, result: Any) -> None:
        self._task("ok", result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._task("failed", result, ignore_errors)

    def v2_runner_on_skipped(self, result: Any) -> None:
        self._task("skipped", result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._task("unreachable", result)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        self._write(stats={host: stats.summarize(host) for host in sorted(stats.processed)})
