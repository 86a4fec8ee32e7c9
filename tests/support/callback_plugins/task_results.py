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

import json
import os
from typing import Any

from ansible.plugins.callback import CallbackBase


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "task_results"
    CALLBACK_NEEDS_ENABLED = True

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
