# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds the secrets of a run: what is vaulted, and variables whose names say that they are secrets."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ansible import constants as C
from ansible import context
from ansible._internal._datatag._tags import Origin, VaultedValue
from ansible.errors import AnsibleError
from ansible.parsing.vault import EncryptedString, VaultSecretsContext, is_encrypted_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ansible.executor.task_result import CallbackTaskResult
    from ansible.inventory.host import Host
    from ansible.playbook.play import Play
    from ansible.playbook.task import Task

    from ._masking import Masking

# Variables of Ansible's own that hold all others again, or what modules found out
_NOT_LOOKED_AT = frozenset(("vars", "hostvars", "groups", "ansible_facts", "environment"))
_SETTING = frozenset(("set_fact", "include_vars"))


class KnownSecrets:
    """Teaches a ``Masking`` the secrets of a run. Looks at each value once."""

    def __init__(self, masking: Masking) -> None:
        self._masking = masking
        self._secrets: set[str] = set()
        self._vaulted_files: dict[str, bool] = {}
        self._play: Play | None = None
        # Hosts of which a hidden result set variables
        self._changed: set[Host] = set()
        # What was looked at, which is kept so that no other object gets its id
        self._seen: dict[tuple[int, bool], Any] = {}

    def of_surroundings(self) -> None:
        """Passwords of vaults, connections and become, and variables of the environment."""
        vaults = VaultSecretsContext.current(optional=True)
        for _name, vault in (vaults.secrets if vaults else None) or []:
            self._add((vault.bytes or b"").decode(errors="replace"))
        for name in ("connection_password_file", "become_password_file"):
            self._add(_password(context.CLIARGS.get(name) or getattr(C, name.upper(), None)))
        self._look(os.environ)

    def of_play(self, play: Play, prompted: Iterable[str]) -> None:
        """Variables of the play's hosts, and of the others as far as the inventory has them."""
        self._play = play
        inventory = play.get_variable_manager()._inventory
        for owner in (*inventory.groups.values(), *inventory.hosts.values()):
            self._look(owner.vars)
        for host in inventory.get_hosts(play.hosts):
            self._of_host(host)
        for name in prompted:
            self._add(play.vars.get(name))

    def of_task(self, task: Task) -> None:
        """Variables of a task, of the blocks and includes around it and of its role."""
        role = task._role
        if role:
            chain = task.get_dep_chain()
            self._look(role.get_default_vars(dep_chain=chain))
            self._look(role.get_vars(chain))
        self._look(task.get_vars())

    def of_result(self, result: CallbackTaskResult) -> None:
        """Variables that a result sets. Those of a hidden one are looked up when they are there: at the next result."""
        for host in self._changed:
            self._of_host(host)
        self._changed.clear()
        task, found = result.task, result.result
        if isinstance(found.get("ansible_facts"), Mapping):
            self._look(found["ansible_facts"])
        elif "censored" in found and (task.register or str(task.action).rpartition(".")[2] in _SETTING):
            self._changed.add(result.host)

    def _of_host(self, host: Host) -> None:
        if self._play:
            manager = self._play.get_variable_manager()
            self._look(manager.get_vars(play=self._play, host=host, include_hostvars=False))

    def _look(self, variables: Mapping[str, Any]) -> None:
        for name, value in variables.items():
            if name not in _NOT_LOOKED_AT:
                secret = self._masking.hides(name)
                # Facts are many, and no secrets
                if secret or not name.startswith("ansible_") or isinstance(value, EncryptedString):
                    self._walk(value, secret)

    def _walk(self, value: Any, secret: bool) -> None:
        if isinstance(value, (str, EncryptedString)):
            if self._is_vaulted(value) or (secret and "{{" not in value):
                self._add(value)
        elif isinstance(value, (Mapping, list, tuple)):
            if (id(value), secret) not in self._seen:
                self._seen[id(value), secret] = value
                for name, item in _pairs(value):
                    self._walk(item, secret or self._masking.hides(name))
        elif secret and isinstance(value, int) and not isinstance(value, bool):
            self._add(str(value))

    def _is_vaulted(self, value: Any) -> bool:
        if isinstance(value, EncryptedString) or VaultedValue.is_tagged_on(value):
            return True
        origin = Origin.get_tag(value)
        path = origin.path if origin else None
        if not path:
            return False
        if path not in self._vaulted_files:
            self._vaulted_files[path] = _is_vaulted_file(path)
        return self._vaulted_files[path]

    def _add(self, value: Any) -> None:
        try:
            # Decrypted here it is for the workers as well, which are forked from this process
            text = str(value or "")
        except AnsibleError:  # no vault has a password for it, so that no task can use it
            return
        if text not in self._secrets:
            self._secrets.add(text)
            self._masking.add(text)


def _pairs(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        return ((str(name), item) for name, item in value.items())
    return (("", item) for item in value)


def _is_vaulted_file(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return bool(is_encrypted_file(file))
    except OSError:
        return False


def _password(path: str | None) -> str:
    """What a file of a password holds. One that is a program is not run again."""
    if not path or not os.path.isfile(path) or os.access(path, os.X_OK):
        return ""
    try:
        with open(path, errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""
