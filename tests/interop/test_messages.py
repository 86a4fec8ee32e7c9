# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Messages in streams of a real broker: lifecycle events of real nodes, and messages that others publish and read."""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING, Any

from support.choria import ChoriaServer
from support.playbook import run_playbook

if TYPE_CHECKING:
    from pathlib import Path

    from support.choria import ChoriaBroker

# The broker creates its streams up to a minute after its start
SYSTEM_STREAMS = 75.0
STARTED = """
- hosts: localhost
  gather_facts: false
  tasks:
    - name: Nodes that started in the last hour
      ansible.builtin.debug:
        msg: "{{ started | unique | sort }}"
      vars:
        started: >-
          {{ query('choria.streams.choria_stream', 'CHORIA_EVENTS', subject='choria.lifecycle.event.startup.server',
                   since='1h', format='json', query='[].data.identity') }}
    - name: The last event
      ansible.builtin.debug:
        msg: >-
          {{ lookup('choria.streams.choria_stream', 'CHORIA_EVENTS', subject='choria.lifecycle.event.startup.server',
                    full=true) }}
"""


def play(config: Path, playbook: Any) -> Any:
    return run_playbook(playbook, env={"CHORIA_STREAMS_CHORIA_CONFIG": str(config)})


def test_the_guides_lookup_lists_started_nodes(broker: ChoriaBroker, jwt_broker: ChoriaBroker) -> None:
    for site in (broker, jwt_broker):  # both brokers create their streams at the same time
        reader = site.client("reader", "--stream-user", "--event-viewer")
        site.wait_for("Created stream CHORIA_EVENTS", SYSTEM_STREAMS)
        with ChoriaServer(site, "web1.example.net"), ChoriaServer(site, "web2.example.net"):
            result = play(reader.config, STARTED).check()
        started = result.task("Nodes that started in the last hour").result["msg"]
        assert started == ["web1.example.net", "web2.example.net"]
        event = result.task("The last event").result["msg"]
        assert event["subject"] == "choria.lifecycle.event.startup.server"
        assert json.loads(event["data"])["type"] == "io.choria.lifecycle.v1.startup"


def test_both_see_what_the_other_published_and_deleted(jwt_broker: ChoriaBroker) -> None:
    writer = jwt_broker.client("writer", "--stream-admin", "--publish", "deployments.>")
    message = "choria.streams.choria_stream_message"
    ours = [
        {"choria.streams.choria_stream": {"name": "DEPLOYMENTS", "subjects": ["deployments.>"]}},
        {"name": "First", message: {"subject": "deployments.web", "data": "ä", "headers": {"Host": "web1"}}},
        {"name": "Second", message: {"subject": "deployments.web", "data": "gone"}},
        {"name": "Delete", message: {"stream": "DEPLOYMENTS", "sequence": 2, "state": "absent"}},
    ]
    play(writer.config, [{"hosts": "localhost", "gather_facts": False, "tasks": ours}]).check()
    seen = json.loads(writer.output("broker", "stream", "get", "DEPLOYMENTS", "1", "--json"))
    assert (seen["subject"], base64.b64decode(seen["data"]).decode()) == ("deployments.web", "ä")
    # With an id, so that a repeated request does not store it twice
    headers = base64.b64decode(seen["hdrs"]).decode()
    assert re.fullmatch(r"NATS/1\.0\r\nNats-Msg-Id: [0-9a-f]+\r\nHost: web1\r\n\r\n", headers)
    assert writer.run("broker", "stream", "get", "DEPLOYMENTS", "2", "--json", check=False).returncode != 0

    writer.run("broker", "publish", "deployments.db", "hello", "-H", "Host:db1")
    writer.run("broker", "stream", "rmm", "DEPLOYMENTS", "1", "-f")
    read = {
        "name": "Read",
        "choria.streams.choria_stream_message_info": {"stream": "DEPLOYMENTS", "start_sequence": 1},
    }
    result = play(writer.config, [{"hosts": "localhost", "gather_facts": False, "tasks": [read]}]).check()
    [found] = result.task("Read").result["messages"]
    assert (found["sequence"], found["subject"], found["data"]) == (3, "deployments.db", "hello")
    assert found["headers"] == {"Host": "db1"}


def test_a_token_that_may_not_publish(jwt_broker: ChoriaBroker) -> None:
    user = jwt_broker.client("user", "--stream-user")
    task = {
        "name": "Publish",
        "choria.streams.choria_stream_message": {"subject": "nobody.1", "data": "x"},
        "ignore_errors": True,
    }
    result = play(user.config, [{"hosts": "localhost", "gather_facts": False, "tasks": [task]}]).check()
    assert result.task("Publish").message.startswith("These credentials may not publish to nobody.1: ")
    assert "--publish nobody.1" in result.task("Publish").message
