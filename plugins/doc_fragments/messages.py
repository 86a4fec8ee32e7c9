# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which messages are read. Their rows are in ``module_utils/_operations/messages/selection.py``."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  subject:
    description:
      - Only messages on this subject, which may hold the wildcards V(*) for one word and V(>) for all that follow.
    type: str
  sequence:
    description: The one message with this sequence number. Not with the others that select messages.
    type: int
  start_sequence:
    description: >-
      The messages from this sequence number on; V(1) means all that the stream holds. Not with O(since) and O(last).
    type: int
  since:
    description:
      - The messages that were stored since then.
      - A time is written as RFC 3339, such as V(2026-03-01T12:00:00Z); a duration before now as V(90s), V(1h) or V(7d).
    type: str
  last:
    description: This many of the newest messages, at most 100,000. Not with O(since) and O(limit).
    type: int
  limit:
    description: >-
      At most this many, the oldest first, and at most 100,000. Without it more than these are an error.
    type: int
"""
