# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The least that a callback costs which keeps results: Ansible calls it, and copies each result for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ansible.plugins.callback import CallbackBase

if TYPE_CHECKING:
    from ansible.executor.task_result import CallbackTaskResult
    from ansible.inventory.host import Host
    from ansible.playbook.play import Play
    from ansible.playbook.task import Task

DOCUMENTATION = """
name: floor_results
type: notification
short_description: Read results
description: [Reads results, and does nothing with them.]
"""


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "floor_results"
    CALLBACK_NEEDS_ENABLED = True

    def v2_playbook_on_play_start(self, play: Play) -> None:
        pass

    def v2_playbook_on_task_start(self, task: Task, is_conditional: bool) -> None:
        pass

    def v2_runner_on_start(self, host: Host, task: Task) -> None:
        pass

    def v2_runner_on_ok(self, result: CallbackTaskResult) -> None:
        result.result  # noqa: B018 - copies
