# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Watchers of autonomous agents that Choria Server starts, and others that it refuses: the rules of its
constructors.
"""

from __future__ import annotations

import copy
from typing import Any

Watcher = dict[str, Any]
REGISTRATION = {"cluster": "c", "service": "web", "protocol": "http", "ip": "192.0.2.1", "port": 80}
ARCHIVE = {"source": "https://127.0.0.1:1/x.tgz", "creates": "x", "target": "/nonexistent", "checksum": "c"}
MANAGED = {"path": "x", "contents": "x", "owner": "root", "group": "root", "mode": "0600"}


def watcher(kind: str, properties: dict[str, Any], **more: Any) -> Watcher:
    return {"name": "watcher", "type": kind, "properties": copy.deepcopy(properties), **more}


def definition(one: Watcher) -> dict[str, Any]:
    """Return a machine with this watcher, which never enters the state in which the watcher works."""
    return {
        "name": "CORPUS",
        "version": "1.0.0",
        "initial_state": "idle",
        "transitions": [
            {"name": "wanted", "from": ["idle"], "destination": "working"},
            {"name": "done", "from": ["working"], "destination": "idle"},
        ],
        "watchers": [{"state_match": ["working"], **one}],
    }


def _without(properties: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in properties.items() if key != name}


KEY = {"bucket": "B", "key": "k"}
SCHEDULE = {"duration": "1m", "schedules": ["0 3 * * *"]}

STARTS: dict[str, Watcher] = {
    "timer": watcher("timer", {"timer": "1h"}, fail_transition="done"),
    "timer with splay": watcher("timer", {"timer": "1h30m", "splay": True}),
    "archive": watcher("archive", ARCHIVE, interval="10s"),
    "archive that is verified": watcher("archive", {**ARCHIVE, "verify": "SHA256SUMS", "verify_checksum": "c"}),
    "archive with a user": watcher("archive", {**ARCHIVE, "username": "u", "password": "p"}),
    "manifest": watcher("ccm_manifest", {"manifest_file": "x.yaml"}, interval="500ms"),
    "manifest inside": watcher("ccm_manifest", {"manifest": {"resources": []}, "noop": True}),
    "command": watcher("exec", {"command": "true"}, interval="1m30s"),
    "command that goes on alone": watcher("exec", {"command": "true", "disown": True}),
    "expression": watcher("expression", {"fail_when": "true"}, interval="1s"),
    "file": watcher("file", {"path": "x"}, interval="500ms"),
    "file with contents": watcher("file", MANAGED),
    "file with a longer mode": watcher("file", {**MANAGED, "mode": "1777"}),
    "gossip": watcher("gossip", {"subject": "a.b", "payload": "x"}, interval="1m"),
    "gossip of a service": watcher("gossip", {"registration": REGISTRATION}),
    "gossip of a service on IPv6": watcher("gossip", {"registration": {**REGISTRATION, "ip": "2001:db8::1"}}),
    "gossip with a prefix": watcher("gossip", {"registration": {**REGISTRATION, "prefix": "svc", "priority": 1}}),
    "switch": watcher("httpswitch", {"on_when": ["working"]}),
    "key": watcher("kv", KEY, interval="1d"),
    "key each week": watcher("kv", KEY, interval="1.5w", announce_interval="1m"),
    "metric": watcher("metric", {"command": "true"}),
    "check": watcher("nagios", {"plugin": "true"}, interval="1s"),
    "heartbeat": watcher("nagios", {"builtin": "heartbeat"}),
    "goss": watcher("nagios", {"builtin": "goss", "gossfile": "goss.yaml"}),
    "status of choria": watcher("nagios", {"builtin": "choria_status", "last_message": "1h"}),
    "plugins": watcher("plugins", {"data_item": "spec", "plugins_directory": "/nonexistent"}, interval="2s"),
    "foreign state": watcher(
        "exec", {"command": "true"}, foreign_state_required=[{"machine_name": "OTHER", "state": "running"}]
    ),
    **{
        f"schedule {text}": watcher("schedule", {**SCHEDULE, "schedules": [text]})
        for text in (
            "* * * * *",
            "*/5 0-6/2 1,15 jan-mar MON-fri",
            "? ? ? ? ?",
            "59 23 31 12 6",
            "5/10 * * * sun",
            "1,2,,3 * * * *",
        )
    },
    "schedule with splay": watcher("schedule", {**SCHEDULE, "start_splay": "30s"}),
}

DOES_NOT_START: dict[str, Watcher] = {
    "timer with success": watcher("timer", {"timer": "1h"}, success_transition="done"),
    **{f"archive without {name}": watcher("archive", _without(ARCHIVE, name)) for name in ARCHIVE},
    "archive without a checksum of its checksums": watcher("archive", {**ARCHIVE, "verify": "SHA256SUMS"}),
    "archive without a password": watcher("archive", {**ARCHIVE, "username": "u"}),
    "archive too often": watcher("archive", ARCHIVE, interval="9s"),
    "manifest without one": watcher("ccm_manifest", {}),
    "manifest that is empty": watcher("ccm_manifest", {"manifest": {}}),
    "manifest for both": watcher("ccm_manifest", {"manifest_file": "x", "noop": True, "healthcheck_only": True}),
    "manifest too often": watcher("ccm_manifest", {"manifest_file": "x"}, interval="499ms"),
    "command without one": watcher("exec", {}),
    "command for both": watcher("exec", {"command": "true", "disown": True, "parse_as_data": True}),
    "command too often": watcher("exec", {"command": "true"}, interval="100ms"),
    "command with days and hours": watcher("exec", {"command": "true"}, interval="1d12h"),
    "command with a timeout in days": watcher("exec", {"command": "true", "timeout": "1d"}),
    "command with too long a timeout": watcher("exec", {"command": "true", "timeout": "9999999999h"}),
    "announced too often": watcher("exec", {"command": "true"}, announce_interval="59s"),
    "announced in less than an hour's part of a day": watcher("exec", {"command": "true"}, announce_interval="0.01d"),
    "expression without one": watcher("expression", {}),
    "expression too often": watcher("expression", {"fail_when": "true"}, interval="100ms"),
    "file without a path": watcher("file", {}),
    **{f"contents without {name}": watcher("file", _without(MANAGED, name)) for name in ("owner", "group", "mode")},
    "contents with a mode of letters": watcher("file", {**MANAGED, "mode": "rw"}),
    "contents with a mode of classes": watcher("file", {**MANAGED, "mode": "u=rw"}),
    "file too often": watcher("file", {"path": "x"}, interval="100ms"),
    "gossip without anything": watcher("gossip", {}),
    "gossip without a payload": watcher("gossip", {"subject": "a"}),
    "gossip with a wildcard": watcher("gossip", {"subject": "a.*", "payload": "x"}),
    "gossip with an empty word": watcher("gossip", {"subject": "a..b", "payload": "x"}),
    "gossip of both": watcher("gossip", {"subject": "a", "payload": "x", "registration": REGISTRATION}),
    **{
        f"gossip without {name}": watcher("gossip", {"registration": _without(REGISTRATION, name)})
        for name in REGISTRATION
    },
    "gossip of a bad service": watcher("gossip", {"registration": {**REGISTRATION, "service": "1.web"}}),
    "gossip of a bad address": watcher("gossip", {"registration": {**REGISTRATION, "ip": "host"}}),
    "gossip of port 0": watcher("gossip", {"registration": {**REGISTRATION, "port": 0}}),
    "gossip with a bad prefix": watcher("gossip", {"registration": {**REGISTRATION, "prefix": "a..b"}}),
    "key without a bucket": watcher("kv", {"key": "k"}, interval="1m"),
    "key without one": watcher("kv", {"bucket": "B"}, interval="1m"),
    "key that is watched": watcher("kv", {**KEY, "mode": "watch"}, interval="1m"),
    "key without an interval": watcher("kv", KEY),
    "metric without a command": watcher("metric", {}),
    "check without a command": watcher("nagios", {}),
    "check of both": watcher("nagios", {"plugin": "true", "builtin": "heartbeat"}),
    "goss without a file": watcher("nagios", {"builtin": "goss"}),
    "status of choria without a time": watcher("nagios", {"builtin": "choria_status"}),
    "check too often": watcher("nagios", {"plugin": "true"}, interval="1ms"),
    "plugins without data": watcher("plugins", {"plugins_directory": "/nonexistent"}),
    "plugins with a bad prefix": watcher(
        "plugins", {"data_item": "x", "plugins_directory": "/nonexistent", "manager_machine_prefix": "a_b"}
    ),
    "plugins too often": watcher("plugins", {"data_item": "x", "plugins_directory": "/nonexistent"}, interval="1s"),
    "unknown": watcher("teapot", {}),
    "schedule without any": watcher("schedule", {"duration": "1m", "schedules": []}),
    "schedule with too long a splay": watcher("schedule", {**SCHEDULE, "start_splay": "31s"}),
    **{
        f"schedule {text}": watcher("schedule", {**SCHEDULE, "schedules": [text]})
        for text in (
            "bad",
            "@daily",
            "* * * *",
            "* * * * * *",
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "* * 32 * *",
            "* * * 13 *",
            "* * * foo *",
            "* * * * 7",
            "5-1 * * * *",
            "*/0 * * * *",
            "1/2/3 * * * *",
            "1-2-3 * * * *",
            "-1 * * * *",
            "1.5 * * * *",
            "TZ=UTC 0 3 * * *",
        )
    },
}
