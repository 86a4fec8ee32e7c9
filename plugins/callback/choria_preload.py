# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Import what lookups need before Ansible forks."""

from __future__ import annotations

DOCUMENTATION = r"""
---
name: choria_preload
type: aggregate
version_added: 1.0.0
short_description: Load the lookups of this collection once for a run
description:
  - Ansible starts a process for each task on each host. A process in which a task uses a lookup loads the lookup, its
    documentation and the NATS client, which takes longer than the lookup's request.
  - This callback loads them when a playbook starts. All processes of the run then have them.
  - Enable it for playbooks that use the lookups of this collection in the tasks of many hosts. For others it takes some
    tenths of a second and gains nothing.
  - It opens no connection and reads no options of the connection.
requirements:
  - nats-py >= 2.10.0
author:
  - The choria.streams developers (@choria-io)
"""

EXAMPLES = r"""
---
# In ansible.cfg:
#
#   [defaults]
#   callbacks_enabled = choria.streams.choria_preload

- name: Create a bucket for configuration
  choria.streams.choria_kv_bucket:
    name: PRELOADED

- name: Write a key
  choria.streams.choria_kv:
    bucket: PRELOADED
    key: realm
    value: example.net
  run_once: true

- name: Read the key on each host, in a process that has the lookup already
  ansible.builtin.debug:
    msg: "{{ lookup('choria.streams.choria_kv', 'PRELOADED/realm') }}"
"""

from contextlib import suppress
from typing import TYPE_CHECKING

from ansible.plugins.callback import CallbackBase
from ansible.plugins.loader import lookup_loader

from ansible_collections.choria.streams.plugins.module_utils import _errors
from ansible_collections.choria.streams.plugins.module_utils._connection.client import preload
from ansible_collections.choria.streams.plugins.module_utils._connection.settings import Settings

if TYPE_CHECKING:
    from ansible.playbook import Playbook

LOOKUPS = ("choria_governor", "choria_kv", "choria_stream")


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "choria.streams.choria_preload"
    CALLBACK_NEEDS_ENABLED = True

    def v2_playbook_on_start(self, playbook: Playbook) -> None:
        for name in LOOKUPS:
            lookup_loader.get(f"choria.streams.{name}")
        with suppress(_errors.StreamsError):  # what is missing is reported when it is needed
            preload(Settings())
