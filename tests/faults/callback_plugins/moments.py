# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Writes into the campaign's log when Ansible starts a task on a host, and the task's result.

The result is what the collection claims. The checker compares it with the log of the work and with the servers.
"""

from __future__ import annotations

DOCUMENTATION = """
name: moments
type: aggregate
short_description: Moments and results of tasks as lines of JSON
description:
  - For the fault campaigns of this collection.
"""

import json
import os
import time
from typing import Any

from ansible.plugins.callback import CallbackBase


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "moments"
    CALLBACK_NEEDS_ENABLED = True

    def _write(self, event: str, host: str, task: str, **more: Any) -> None:
        record = {"log": "task", "event": event, "run": os.environ["FAULTS_RUN"], "host": host, "task": task}
        line = json.dumps({**record, "at": time.monotonic(), **more}, default=str) + "\n"
        file = os.open(os.environ["FAULTS_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(file, line.encode())
        os.close(file)

    def _end(self, status: str, outcome: Any) -> None:
        result = dict(outcome.result)
        failure = result.get("failure") or {}
        claim = {
            "changed": bool(result.get("changed")),
            "code": failure.get("code", ""),
            "msg": str(result.get("msg", ""))[:400],
            "lease": result.get("lease_id"),
        }
        self._write("end", outcome.host.get_name(), outcome.task.get_name(), status=status, **claim)

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        self._write("start", host.get_name(), task.get_name())

    def v2_runner_on_ok(self, result: Any) -> None:
        self._end("ok", result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._end("failed", result)

    def v2_runner_on_skipped(self, result: Any) -> None:
        self._end("skipped", result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._end("unreachable", result)
