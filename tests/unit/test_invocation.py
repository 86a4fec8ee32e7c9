# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""What modules tell of their options: Ansible writes them into the system's log, and into results."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.parameters import PASS_VARS
from ansible.module_utils.testing import patch_module_args

from ansible_collections.choria.streams.plugins.modules import choria_config, choria_stream_info

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

SECRET = "planted"
CONFIG = {
    "plugin.choria.network.system.password": f"{SECRET}-1",
    "plugin.choria.network.provisioning": {"client_password": f"{SECRET}-2"},
    "plugin.choria.network.leafnode_remote.hub.url": f"leafnode://app:{SECRET}-3@hub:7422",
    "plugin.choria.network.peers": ["nats://b1:5222", f"nats://app:{SECRET}%2d4@b2:5222"],
}


@pytest.mark.parametrize("check_mode", [False, True])
@pytest.mark.parametrize(
    ("module", "options"),
    [
        (choria_config, {"settings": CONFIG}),
        (choria_config, {"settings": {**CONFIG, "plugin.choria.no_such_key": 1}}),
        (choria_stream_info, {"servers": [f"nats://app:{SECRET}@127.0.0.1:1"], "connect_timeout": 1}),
    ],
)
def test_no_secret_is_told(
    module: ModuleType,
    options: dict[str, Any],
    check_mode: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if module is choria_config:
        options = {**options, "path": str(tmp_path / "broker.conf")}
    logged: list[str] = []
    monkeypatch.setattr(AnsibleModule, "log", lambda _self, text, log_args=None: logged.append(text))
    asked = {"_ansible_check_mode": check_mode, "_ansible_diff": True}
    if "inject_invocation" in PASS_VARS:  # before, all results have the invocation
        asked["_ansible_inject_invocation"] = True
    with patch_module_args({**options, **asked}), pytest.raises(SystemExit):
        module.main()
    printed = capsys.readouterr().out
    result = json.loads(printed)
    assert SECRET not in printed
    assert set(options) <= set(result["invocation"]["module_args"])
    assert [text for text in logged if text.startswith("Invoked with ")]
    assert SECRET not in "".join(logged)
    if module is choria_config and "diff" in result:
        assert "client_password = ********\n" in result["diff"]["after"]
        assert "hub.url = leafnode://********@hub:7422\n" in result["diff"]["after"]
        assert "peers = nats://b1:5222, nats://********@b2:5222\n" in result["diff"]["after"]
    assert ("diff" in result) is (options.get("settings") is CONFIG)
