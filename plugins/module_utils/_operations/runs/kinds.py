# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kinds of a run's events. Each is also a word in the subjects of its events."""

from __future__ import annotations

RUN_STARTED, RUN_FINISHED, PLAY_STARTED, TASK_STARTED = "run_started", "run_finished", "play_started", "task_started"
TASK_RESULT, ITEM_RESULT, INCLUDED = "task_result", "item_result", "included"
KINDS = (RUN_STARTED, PLAY_STARTED, TASK_STARTED, TASK_RESULT, ITEM_RESULT, INCLUDED, RUN_FINISHED)
