# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""All use of private parts of ansible-core, the same from 2.19 to 2.22.

tests/unit/test_compat.py fails if a release changes one of these parts. Each function describes what it returns if
its part is missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

try:
    from ansible._internal._datatag._tags import Origin, VaultedValue
    from ansible._internal._templating._lazy_containers import _AnsibleLazyTemplateMixin, _LazyValue
except ImportError:  # another release than those that this was written for
    Origin = VaultedValue = _AnsibleLazyTemplateMixin = _LazyValue = None
try:
    from ansible._internal._task import UnifiedTaskResult
except ImportError:  # before ansible-core 2.21, whose results need no such preparation
    UnifiedTaskResult = None

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ansible.inventory.manager import InventoryManager
    from ansible.playbook.play import Play
    from ansible.plugins.callback import CallbackBase
    from ansible.template import Templar

# Data whose templates are rendered on access, the value that stands for one, and the method that renders
# all of them. Without these, values of templates are not learned, and the callback warns of it.
LAZY, LAZY_VALUE = _AnsibleLazyTemplateMixin, _LazyValue
RENDER = "_proxy_or_render_lazy_value"
# The method of the class of results that computes and keeps their fields
RESULT_FIELDS = "get_result_key_to_resolved_field_mapping"
# The names of the methods of a callback that Ansible calls
METHODS = "_implemented_callback_methods"


def is_lazy(value: Any) -> bool:
    """Return True if templates in the data are rendered on access."""
    return LAZY is not None and isinstance(value, LAZY)


def without_rendering(value: Any) -> Any:
    """Return lazy data as plain data, with its templates as they are written."""
    return value._non_lazy_copy()


def is_vaulted(value: Any) -> bool:
    """Return True if the value was decrypted by a vault."""
    return VaultedValue is not None and bool(VaultedValue.is_tagged_on(value))


def file_of(value: Any) -> str:
    """Return the path of the file that a value comes from, or an empty text where that is not known."""
    origin = Origin.get_tag(value) if Origin is not None else None
    return str(origin.path) if origin and origin.path else ""


def inventory_of(play: Play) -> InventoryManager:
    """Return the inventory of a play's run."""
    return play.get_variable_manager()._inventory


def variables_set(play: Play, host: str) -> list[Mapping[str, Any]]:
    """Return the variables and facts that results set for a host in this run, as far as they are available."""
    manager = play.get_variable_manager()
    caches = (getattr(manager, name, {}) for name in ("_vars_cache", "_nonpersistent_fact_cache"))
    return [cache.get(host, {}) for cache in caches]


def engine_of(templar: Templar) -> Any:
    """Return what renders for a templar: ``Task.post_validate`` takes it since ansible-core 2.19."""
    return getattr(templar, "_engine", templar)


def leave_out(callback: CallbackBase, prefix: str) -> None:
    """Let Ansible not call the methods of a callback whose names begin with ``prefix``. Else they are called."""
    methods = getattr(callback, METHODS, ())
    setattr(callback, METHODS, frozenset(name for name in methods if not name.startswith(prefix)))


def prepare_results() -> None:
    """Compute how results of actions are read, which Ansible keeps. Without that each process computes it."""
    fields = getattr(UnifiedTaskResult, RESULT_FIELDS, None)
    if fields:
        fields(source_is_module=False)


def is_omit(value: Any) -> bool:
    """Return True for ``omit``, whose type is private."""
    return type(value).__name__ == "_OmitType"
