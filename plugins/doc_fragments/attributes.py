# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check mode, diff mode, idempotence and secrets of each module."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options: {}
notes:
  - The options that results show at C(-vvv), the log of the managed host, and the differences of C(--diff) have
    V((masked\)) in the place of secrets. These are what Ansible masks, credentials in URLs of servers, and values whose
    keys look like secrets, such as C(db.password), at any depth and in texts such as C(password=...). The guide
    C(docs/results.md) lists the patterns. Other values are shown as they are. Set C(no_log) for a task
    whose secrets have other keys.
attributes:
  check_mode:
    description: Can run in check mode and return what it would change, without changing it.
  diff_mode:
    description: Shows what changed, or in check mode what would change, when the run asks for it with C(--diff).
  idempotent:
    description: Run again with the same options, it changes nothing and reports no change.
"""

    RESOURCE = r"""
options: {}
attributes:
  check_mode:
    support: full
    details: The same plan is made, and only reads are sent.
  diff_mode:
    support: full
  idempotent:
    support: full
"""

    INFO = r"""
options: {}
attributes:
  check_mode:
    support: full
    details: It never writes.
  diff_mode:
    support: N/A
    details: It changes nothing.
  idempotent:
    support: full
"""
