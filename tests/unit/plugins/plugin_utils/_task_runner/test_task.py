# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The variables and facts that tasks inside choria_governor_run share."""

from __future__ import annotations

import pytest
from ansible import constants as C

from ansible_collections.choria.streams.plugins.plugin_utils._task_runner.task import facts_as_variables


@pytest.mark.parametrize("inject", [True, False])
def test_facts_as_variables(monkeypatch: pytest.MonkeyPatch, inject: bool) -> None:
    """New facts are added to known ones. They are also variables only with INJECT_FACTS_AS_VARS."""
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
