# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pass secrets from all processes of a run to the one that masks its events.

Ansible forks a process for each task on each host, and templates are rendered there. Such a process inherits a file
that the run opened before, and appends the secrets that it finds. It does so before it sends the result, so that the
file is complete when a result arrives. The file has no name, and programs that Ansible starts do not inherit it.
"""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

try:
    from ansible.module_utils.secrets import register_secrets
except ImportError:  # before ansible-core 2.22, which masks nothing by itself
    register_secrets = None

from ...module_utils._options.mask import SHORTEST, USUAL, Mask, is_nothing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# Keys of results about tasks and files. They are no secrets, even if the registered variable has the name of a secret.
# Facts are checked by their own names.
_OF_ANY_RESULT = frozenset(
    (
        *("cmd", "delta", "end", "start", "invocation", "ansible_loop_var", "_ansible_item_label", "ansible_facts"),
        *("dest", "group", "mode", "owner", "path", "src", "stat", "state", "url"),
        *("deprecations", "diff", "exception", "failed_when_result", "false_condition", "skip_reason", "warnings"),
    )
)


class Channel:
    """A file without a name that all processes of the run share: each line is a secret in JSON."""

    def __init__(self) -> None:
        self._descriptor = _anonymous_file()
        fcntl.fcntl(self._descriptor, fcntl.F_SETFL, fcntl.fcntl(self._descriptor, fcntl.F_GETFL) | os.O_APPEND)
        self._read = 0
        # Secrets that need not be written again: those read before the fork, and those written since
        self._known: set[str] = set()

    def write(self, secrets: Iterable[str]) -> None:
        """Share secrets with the other processes of the run."""
        new = {secret for secret in secrets if secret not in self._known}
        if new:
            self._known |= new
            data = "".join(f"{json.dumps(secret)}\n" for secret in sorted(new)).encode()
            while data:
                data = data[os.write(self._descriptor, data) :]

    def read(self) -> list[str]:
        """Return the secrets that were written since the last call."""
        length = os.fstat(self._descriptor).st_size - self._read
        if length <= 0:
            return []
        # Another process may be about to write the rest of a line
        data = os.pread(self._descriptor, length, self._read)
        data = data[: data.rfind(b"\n") + 1]
        self._read += len(data)
        secrets = [str(json.loads(line)) for line in data.splitlines()]
        self._known.update(secrets)
        return secrets


_channel: Channel | None = None


def open_channel() -> Channel:
    """Return the channel of this run. Processes that are forked later write into it."""
    global _channel  # forked processes find it here
    if _channel is None:
        _channel = Channel()
    return _channel


def learn(secrets: Iterable[str]) -> None:
    """Pass secrets to the process that masks events, if there is one."""
    if _channel:
        _channel.write(secrets)


def learn_values(key: str, value: Any, mask: Mask = USUAL) -> None:
    """Pass on the secrets in a plugin's return value, by the key, or the keys inside of the value.

    Ansible itself masks them since 2.22.
    """
    texts = {text for text in secrets_in(key, value, mask) if len(text) >= SHORTEST}
    if texts:
        learn(texts)
        if register_secrets:
            register_secrets(texts)


def learn_variables(variables: Mapping[str, Any]) -> None:
    """Pass on the secrets in variables of a task inside of another one, which the process that masks does not see."""
    for name, value in variables.items():
        learn(text for text in secrets_in(name, own_result(value), USUAL) if "{{" not in text)


def secrets_in(key: str, value: Any, mask: Mask, *, secret: bool = False) -> Iterator[str]:
    """Return the texts and numbers in data that are secrets by their keys, as text."""
    secret = secret or mask.hides(key)
    if isinstance(value, Mapping):
        paired = mask.hides_value_of(value)
        for name, item in value.items():
            yield from secrets_in(str(name), item, mask, secret=secret or (name == "value" and paired))
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from secrets_in("", item, mask, secret=secret)
    elif secret and isinstance(value, (str, int, float)) and not is_nothing(value):
        yield str(value)


def own_result(value: Any) -> Any:
    """Return the parts of a result that only this module returns, and other values as they are."""
    if not isinstance(value, Mapping) or "changed" not in value:
        return value
    others = {*_OF_ANY_RESULT, value.get("ansible_loop_var")}
    if value.get("failed") or "results" in value or "rc" in value:
        others.add("msg")  # what Ansible or the module says of the task
    return {name: item for name, item in value.items() if name not in others}


def _anonymous_file() -> int:
    if hasattr(os, "memfd_create"):  # Linux: it is not even on a disk
        return os.memfd_create("choria_results")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
