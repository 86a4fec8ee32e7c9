# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the module of the same name, and end it with the run, which only the controller can notice."""

from __future__ import annotations

from ansible_collections.choria.streams.plugins.plugin_utils._waiting_module import ActionModule

__all__ = ["ActionModule"]
