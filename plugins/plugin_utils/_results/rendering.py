# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Collect what templates render under secret keys, such as ``db_password: "{{ lookup(…) }}"``.

A callback gets variables as written. Rendering their templates again would run their lookups again, which may write or
return something else. So this hooks into Ansible's rendering in each process. One method of a class that is private to
ansible-core, the same from 2.19 to 2.22, renders all variables and parts of data. A method of HostVarsVars renders
those of other hosts.
"""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any

from ansible.vars.hostvars import HostVarsVars

from .._ansible_compat import LAZY, LAZY_VALUE, RENDER, is_lazy, without_rendering

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Data under such keys, which is rendered item by item later. Kept, so that nothing else gets their ids; the processes
# that Ansible forks end with their task, and that of the run renders little.
_inside: dict[int, Any] = {}
_MOST_INSIDE = 10_000


class Watch:
    """The reaction to each rendered secret, in this process and its forks."""

    hides: Callable[[str], bool] | None = None
    learn: Callable[[list[str]], None]


def watch(hides: Callable[[str], bool], learn: Callable[[list[str]], None]) -> bool:
    """Call ``learn`` with texts that are rendered under keys that ``hides`` selects. Return False if it can't."""
    Watch.learn = staticmethod(learn)
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
            _look(value.value, new)
        return new

    return watched


def _watched_host(get: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    @wraps(get)
    def watched(self: Any, key: str) -> Any:
        new = get(self, key)
        if _hides(key):
            _look(self._vars.get(key), new)
        return new

    return watched


def _hides(key: Any) -> bool:
    return isinstance(key, str) and Watch.hides is not None and Watch.hides(key)


def _look(written: Any, rendered: Any) -> None:
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
