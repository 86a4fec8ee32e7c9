# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which keys hold secrets. The row and what it does are in ``module_utils/_options/mask.py``."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  mask:
    description:
      - Patterns of keys whose values are secrets, with the wildcards V(*), V(?) and V([...]). They are compared with
        the whole key, and case does not matter.
      - Such values are not in results, not in the differences that C(--diff) shows, not among the options that results
        show, and not in the log of the managed host. An empty list masks nothing.
      - Keys inside of values count as well, in data as in texts such as C(password=...) and C({"password":\ "..."}).
        A value whose keys all look harmless is shown. Set C(no_log) for the task of another secret.
      - Your list replaces the default.
    type: list
    elements: str
    default:
      ['*passw*', '*passphrase*', '*_pass', '*.pass', '*-pass', '*secret*', '*token*', '*credential*', '*apikey*',
       '*api_key*', '*api-key*', '*access_key*', '*private*key*', '*encryption*key*', '*.key', '*seed',
       '*authorization*', '*cookie*']
"""
