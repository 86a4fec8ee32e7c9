# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""What tasks inside another one learn of each other."""

from __future__ import annotations

import pytest
from ansible import constants as C

from ansible_collections.choria.streams.plugins.plugin_utils._task_runner.task import facts_as_variables


@pytest.mark.parametrize("inject", [True, False])
def test_facts_as_variables(monkeypatch: pytest.MonkeyPatch, inject: bool) -> None:
    """Beside those that are known, and outside of ansible_facts only where INJECT_FACTS_AS_VARS says so."""
    monkeypatch.setattr(C, "INJECT_FACTS_AS_VARS", inject)
    found = {"ansible_system": "Linux", "release": 2, "ansible_connection": "no business of facts"}
    learned = facts_as_variables(found, {"ansible_facts": {"kernel": "6", "release": 1}})
    known = learned.pop("ansible_facts")
    assert {name: known[name] for name in ("kernel", "release", "system")} == {
        "kernel": "6",
        "release": 2,
        "system": "Linux",
    }
    assert learned == ({"ansible_system": "Linux", "release": 2} if inject else {})


def test_facts_come_after_other_variables() -> None:
    variables = {"packages": ["nginx"], "release": 1, "ansible_facts": {"release": 1}}
    learned = facts_as_variables({"packages": {"bash": []}, "release": 2, "services": {}}, variables)
    assert learned.pop("ansible_facts") == {"packages": {"bash": []}, "release": 2, "services": {}}
    assert learned == {"release": 2, "services": {}}
