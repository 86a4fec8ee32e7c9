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
  - This callback loads them in Ansible's main process, before the first task that names a lookup of this collection, or
    whose variables do. The processes of this task and those after it have them.
  - Where no text names the lookup that a task uses, such as V(lookup(name\)), the callback loads them as soon as a
    process has used one.
  - It also does once what each process would do again, such as reading the lookup's options from the environment and
    C(ansible.cfg), and preparing Ansible's templates.
  - A run without these lookups loads nothing.
  - It opens no connection.
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

import re
from typing import TYPE_CHECKING, Any

from ansible.plugins.callback import CallbackBase
from ansible.plugins.loader import lookup_loader

from ansible_collections.choria.streams.plugins.plugin_utils._ansible_compat import inventory_of
from ansible_collections.choria.streams.plugins.plugin_utils._forks import Notice, prepare

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ansible.inventory.host import Host
    from ansible.playbook import Playbook
    from ansible.playbook.play import Play
    from ansible.playbook.task import Task

LOOKUPS = ("choria_governor", "choria_kv", "choria_stream")
# As Python shows data: with a backslash before some quotes
_NAMED = re.compile(rf"""(?:(?:lookup|query|q)\s*\(\s*\\*["']|with_)(?:choria\.streams\.)?({"|".join(LOOKUPS)})\b""")
# Ansible's own variables, which repeat all others, and facts
_NOT_SEARCHED = frozenset(("vars", "hostvars", "groups", "ansible_facts"))


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "choria.streams.choria_preload"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._loaded: set[str] = set()

    def v2_playbook_on_start(self, playbook: Playbook) -> None:
        Notice.share()

    def v2_playbook_on_play_start(self, play: Play) -> None:
        """Search the variables of one host: those of the play, its roles and groups are the same for others."""
        hosts = inventory_of(play).get_hosts(play.hosts)
        if hosts:
            manager = play.get_variable_manager()
            self._load_if_named(manager.get_vars(play=play, host=hosts[0], include_hostvars=False))

    def v2_playbook_on_task_start(self, task: Task, is_conditional: bool) -> None:
        self._load_for(task)

    def v2_playbook_on_handler_task_start(self, task: Task) -> None:
        self._load_for(task)

    def v2_runner_on_start(self, host: Host, task: Task) -> None:
        if not self._loaded and Notice.is_set():
            self._load(LOOKUPS)

    def _load_for(self, task: Task) -> None:
        self._load_if_named({**task.get_vars(), "task": task.get_ds()})

    def _load_if_named(self, variables: Mapping[str, Any]) -> None:
        """Load the lookups that the text of data names. Nothing is rendered or decrypted for that."""
        searched = {name: value for name, value in variables.items() if name not in _NOT_SEARCHED}
        self._load(_NAMED.findall(repr(searched)))

    def _load(self, names: Iterable[str]) -> None:
        new = set(names) - self._loaded
        if not new:
            return
        from ansible_collections.choria.streams.plugins.plugin_utils._plugin import prepare_options

        if not self._loaded:
            prepare()
        for name in new:
            lookup = lookup_loader.get(f"choria.streams.{name}")
            if lookup:  # the task reports why it can't be loaded
                prepare_options("lookup", lookup._load_name, lookup.option_definitions)
        self._loaded |= new
