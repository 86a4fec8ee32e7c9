# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Learn secrets when Ansible renders or decrypts them, in each process of a run."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any

from ansible.parsing.vault import VaultLib
from ansible.vars.hostvars import HostVarsVars

from .._ansible_compat import LAZY, LAZY_VALUE, RENDER, is_lazy, without_rendering

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Data under secret keys, by its id: its items are rendered later. It is kept so that no other object gets its id. That
# takes little memory, since forked processes end with their task, and the main process renders little.
_inside: dict[int, Any] = {}
_MOST_INSIDE = 10_000
# Ansible shows no difference of larger files
_MOST_BYTES = 1 << 17


class Watch:
    """The reaction to each rendered secret, in this process and its forks."""

    hides: Callable[[str], bool] | None = None
    learn: Callable[[list[str]], None]


def watch(hides: Callable[[str], bool], learn: Callable[[list[str]], None]) -> bool:
    """Call ``learn`` with decrypted texts, and with those that are rendered under keys that ``hides`` selects.

    Return False if it can't see the rendered ones.

    A callback gets variables as written, such as ``db_password: "{{ lookup(…) }}"``. Rendering their templates again
    would run their lookups again, which may write or return something else. So this hooks into Ansible's rendering in
    each process. One method of a class that is private to ansible-core, the same from 2.19 to 2.22, renders all
    variables and parts of data. A method of HostVarsVars renders those of other hosts. A vaulted value may be written
    in a task, and a vaulted file be read by any action or lookup, so this hooks into their decryption as well.
    """
    Watch.learn = staticmethod(learn)
    if Watch.hides is None:
        VaultLib.decrypt = _watched_vault(VaultLib.decrypt)
    if not hasattr(LAZY, RENDER):
        return False
    if Watch.hides is None:
        setattr(LAZY, RENDER, _watched(getattr(LAZY, RENDER)))
        HostVarsVars.__getitem__ = _watched_host(HostVarsVars.__getitem__)
    Watch.hides = staticmethod(hides)
    return True


def _watched(render: Callable[[Any, Any, Any], Any]) -> Callable[[Any, Any, Any], Any]:
    @wraps(render)
    def watched(self: Any, key: Any, value: Any) -> Any:
        new = render(self, key, value)
        if isinstance(value, LAZY_VALUE) and (id(self) in _inside or _hides(key)):
            _collect(value.value, new)
        return new

    return watched


def _watched_vault(decrypt: Callable[..., bytes]) -> Callable[..., bytes]:
    @wraps(decrypt)
    def watched(*args: Any, **options: Any) -> bytes:
        content = decrypt(*args, **options)
        if len(content) <= _MOST_BYTES:
            Watch.learn([content.decode(errors="replace")])
        return content

    return watched


def _watched_host(get: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    @wraps(get)
    def watched(self: Any, key: str) -> Any:
        new = get(self, key)
        if _hides(key):
            _collect(self._vars.get(key), new)
        return new

    return watched


def _hides(key: Any) -> bool:
    return isinstance(key, str) and Watch.hides is not None and Watch.hides(key)


def _collect(written: Any, rendered: Any) -> None:
    """Collect the result of a template. Plain values are known from the variable itself."""
    if isinstance(rendered, (dict, list, tuple)):
        if is_lazy(rendered):
            if len(_inside) >= _MOST_INSIDE:
                _inside.clear()
            _inside[id(rendered)] = rendered
        if isinstance(written, str):
            Watch.learn(list(_texts(rendered)))
    elif isinstance(written, str) and "{" in written:
        Watch.learn(list(_texts(rendered)))


def _texts(value: Any) -> Iterator[str]:
    """Yield the texts and numbers in data. Templates in it are not rendered here."""
    if is_lazy(value):
        value = without_rendering(value)
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, (str, int, float)) and not isinstance(value, bool) and "{{" not in str(value):
        yield str(value)
