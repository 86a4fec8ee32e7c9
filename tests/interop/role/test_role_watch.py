# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The checks in the role's README report a healthy broker and a healthy server."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import yaml

from ansible_collections.choria.streams.plugins.module_utils import _errors
from ansible_collections.choria.streams.plugins.module_utils._api import messages
from support import ROOT
from support.choria import ChoriaServer
from support.manage import Manager
from support.waiting import wait_until

if TYPE_CHECKING:
    from support.choria import ChoriaBroker

README = (ROOT / "roles" / "choria" / "README.md").read_text()
[WATCH] = re.findall(r"^## Watch\n(.*?)^## ", README, re.MULTILINE | re.DOTALL)
SUBJECT = "choria.machine.watcher.nagios.state"


def test_the_agent_reports_the_server(broker: ChoriaBroker) -> None:
    [block] = re.findall(r"^```yaml\n(.*?)^```$", WATCH, re.MULTILINE | re.DOTALL)
    [entry] = yaml.safe_load(block)["choria_machines"]
    entry["definition"]["watchers"][0]["interval"] = "1s"
    client = broker.client("watcher")
    found: list[dict[str, Any]] = []

    with (
        Manager(choria_config=str(client.config)) as manager,
        ChoriaServer(
            broker, machines={entry["name"]: entry["definition"]}, config={"plugin.choria.status_update_interval": 1}
        ),
    ):

        def reported() -> bool:
            try:
                message = messages.get(manager.session, "CHORIA_MACHINE", subject=SUBJECT)
            except _errors.StreamsError:
                return False
            found.append({} if message is None else json.loads(message.data))
            return found[-1].get("data", {}).get("status") == "OK"

        wait_until(reported, 60.0, "the check is OK")


def test_the_command_reports_the_broker(broker: ChoriaBroker) -> None:
    client = broker.client("monitor")
    [command] = re.findall(r"`choria (broker server check \w+)`", WATCH)
    assert "OK JetStream" in client.output(*command.split())
    assert "# TYPE" in client.output(*command.split(), "--format", "prometheus")
