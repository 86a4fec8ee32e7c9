# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the secrets of a run: vaulted values, and variables with secret names."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ansible import constants as C
from ansible import context
from ansible.errors import AnsibleError
from ansible.parsing.vault import EncryptedString, VaultSecretsContext, is_encrypted_file

from .._ansible_compat import file_of, inventory_of, is_vaulted, variables_set
from .learned_secrets import open_channel, own_result
from .template_watch import watch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ansible.executor.task_result import CallbackTaskResult
    from ansible.playbook.play import Play
    from ansible.playbook.task import Task

    from .masking import Masking

# Variables of Ansible that hold no further secrets: they repeat others, or hold names, facts or the list of users
_NOT_SCANNED = frozenset(
    (
        *("vars", "hostvars", "groups", "group_names", "play_hosts", "role_names", "ansible_facts", "environment"),
        "getent_passwd",
    )
)
# Values of these types are not vaulted: those that are have types of Ansible's own
_UNTAGGED = frozenset((str, int, float, bool, type(None)))
# Facts that may have secrets: those of the site itself, and the environment of the host
_FACTS = ("ansible_local", "ansible_env")
_SETTING = frozenset(("set_fact", "include_vars"))


class KnownSecrets:
    """Adds the secrets of a run to a ``Masking``."""

    def __init__(self, masking: Masking) -> None:
        self._masking = masking
        channel = open_channel()
        # Secrets that any process of the run rendered, or got from lookups
        masking.source = channel.read
        self.watches_templates = watch(masking.hides, channel.write)
        self._secrets: set[str] = set()
        self._vaulted_files: dict[str, bool] = {}
        self._play: Play | None = None
        # The variables that results set for hosts, by name, or None for all variables of a host: callbacks do not see
        # their values, or not as they are
        self._changed: dict[str, set[str] | None] = {}
        # Values of variables that many hosts or tasks of a play share, kept so that no other object gets their ids
        self._seen: dict[tuple[int, bool], Any] = {}

    def of_surroundings(self) -> None:
        """Add passwords of vaults, connections and become, and variables of the environment."""
        vaults = VaultSecretsContext.current(optional=True)
        for _name, vault in (vaults.secrets if vaults else None) or []:
            self._add((vault.bytes or b"").decode(errors="replace"))
        for name in ("connection_password_file", "become_password_file"):
            self._add(_password(context.CLIARGS.get(name) or getattr(C, name.upper(), None)))
        self._scan(os.environ)

    def of_play(self, play: Play, prompted: Iterable[str]) -> None:
        """Add variables of the play's hosts, and those of other hosts in the inventory."""
        if self._play is None or self._play._uuid != play._uuid:  # not for each batch of hosts
            self._seen.clear()
        self._play = play
        manager = play.get_variable_manager()
        inventory = inventory_of(play)
        for owner in (*inventory.groups.values(), *inventory.hosts.values()):
            self._scan(owner.vars, lasting=True)
        # The play's own variables are half of the work. All hosts have the same, unless vars_files has templates
        of_play = {"play": play, "include_hostvars": False}
        of_host = of_play if "{" in str(play.get_vars_files()) else {"include_hostvars": False}
        self._scan(manager.get_vars(**of_play), lasting=True)
        for host in inventory.get_hosts(play.hosts):
            self._scan(manager.get_vars(host=host, **of_host), lasting=True)
        for name in prompted:
            self._add(play.vars.get(name))

    def of_task(self, task: Task) -> None:
        """Add variables of a task, of the blocks and includes around it and of its role."""
        role = task._role
        if role:
            chain = task.get_dep_chain()
            self._scan(role.get_default_vars(dep_chain=chain), lasting=True)
            self._scan(role.get_vars(chain), lasting=True)
        self._scan(task.get_vars(), lasting=True)

    def of_changed(self) -> None:
        """Add variables that results have set. They exist when the next task starts, or its result arrives."""
        if not self._play:
            return
        for host, names in self._changed.items():
            # Only the changed ones: all variables of thousands of hosts would take long
            for variables in variables_set(self._play, host):
                self._scan({name: variables[name] for name in variables if names is None or name in names})
        self._changed.clear()

    def of_result(self, result: CallbackTaskResult) -> None:
        """Add variables that a result sets. A hidden result, or one with vaulted values, is checked later."""
        self.of_changed()
        task, data = result.task, result.result
        items = _items(data)
        for part in (data, *items):
            self.of_part(task, part)
        if result.is_skipped():
            return
        action = str(task.action).rpartition(".")[2]
        sets = action in _SETTING
        if action == "add_host" and self._play:
            for host in inventory_of(self._play).hosts.values():
                self._scan(host.vars)
        names = {name for part in (data, *items) for name in part.get("ansible_facts") or ()}
        if "censored" in data:
            self._remember(result, None if sets else _registered(task))
        elif sets or any(item.get("ansible_facts") for item in items):
            self._remember(result, names or None)
        if _registered(task):  # also with another name, for the keys inside
            self._remember(result, _registered(task))

    def _remember(self, result: CallbackTaskResult, names: Iterable[str] | None) -> None:
        for host in self._owners(result):
            changed = self._changed.setdefault(host, set())
            self._changed[host] = None if names is None or changed is None else changed.union(names)

    def _owners(self, result: CallbackTaskResult) -> set[str]:
        """Return the hosts whose variables a result may set, including those that facts are delegated to."""
        task, data = result.task, result.result
        owners = {result.host.get_name()}
        if task.delegate_facts and task.delegate_to:
            delegated = [part.get("_ansible_delegated_vars") for part in (data, *_items(data))]
            named = {str(part.get("ansible_delegated_host")) for part in delegated if isinstance(part, Mapping)}
            if not named and "{" in str(task.delegate_to) and self._play:
                # The result of a loop is hidden with the names, so it may be any host
                named = set(inventory_of(self._play).hosts)
            owners |= named or {str(task.delegate_to)}
        return owners

    def of_part(self, task: Task, data: Mapping[str, Any]) -> None:
        """Add variables in a result, or in that of a loop's item."""
        if isinstance(data.get("ansible_facts"), Mapping):
            self._scan(data["ansible_facts"])
        if "censored" not in data and not data.get("skipped") and self._registers_secret(task):
            self._walk(data, True, {})

    def _registers_secret(self, task: Task) -> bool:
        """Return True if a result is registered under a secret name."""
        return any(self._masking.hides(name) for name in _registered(task))

    def _scan(self, variables: Mapping[str, Any], *, lasting: bool = False) -> None:
        """Check variables. Values that last for the whole play are checked only once."""
        met: dict[tuple[int, bool], Any] = {}
        for name, value in variables.items():
            if name not in _NOT_SCANNED:
                secret = self._masking.hides(name)
                # Other facts are many and hold no secrets
                of_ansible = name.startswith("ansible_") and name not in _FACTS
                if secret or not of_ansible or isinstance(value, EncryptedString):
                    if (id(value), secret) not in self._seen:
                        self._walk(value, secret, met)
                    if lasting and isinstance(value, (Mapping, list, tuple)):
                        self._seen[id(value), secret] = value

    def _walk(self, value: Any, secret: bool, met: dict[tuple[int, bool], Any]) -> None:
        if isinstance(value, (str, EncryptedString)):
            if self._is_vaulted(value) or (secret and "{{" not in value):
                self._add(value)
        elif isinstance(value, (Mapping, list, tuple)):
            if (id(value), secret) not in met:
                met[id(value), secret] = value
                hides = self._masking.hides
                for name, item in _pairs(own_result(value) if secret else value):
                    hidden = secret or hides(name)
                    if hidden or item.__class__ not in _UNTAGGED:  # results have many thousands of the others
                        self._walk(item, hidden, met)
        elif isinstance(value, (int, float)) and not isinstance(value, bool) and (secret or self._is_vaulted(value)):
            self._add(str(value))

    def _is_vaulted(self, value: Any) -> bool:
        if isinstance(value, EncryptedString) or is_vaulted(value):
            return True
        path = file_of(value)
        if not path:
            return False
        if path not in self._vaulted_files:
            self._vaulted_files[path] = _is_vaulted_file(path)
        return self._vaulted_files[path]

    def _add(self, value: Any) -> None:
        try:
            # The decrypted value is cached, also for the workers that are forked from this process later
            text = str(value or "")
        except AnsibleError:  # no vault has a password for it, so that no task can use it
            return
        if text not in self._secrets:
            self._secrets.add(text)
            self._masking.add(text)


def _registered(task: Task) -> list[str]:
    # ansible-core 2.21 has a mapping of names here
    return [task.register] if isinstance(task.register, str) else list(task.register or ())


def _items(result: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    results = result.get("results")
    return [item for item in results if isinstance(item, Mapping)] if isinstance(results, list) else []


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
    """Return the password in a file. A program is not run again."""
    if not path or not os.path.isfile(path) or os.access(path, os.X_OK):
        return ""
    try:
        with open(path, errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""
