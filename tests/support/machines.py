# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Good and bad definitions of autonomous agents, with the errors for the bad ones."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    Definition = dict[str, Any]

TRANSITIONS = [
    {"name": "wanted", "from": ["idle"], "destination": "working", "description": "There is a new release"},
    {"name": "done", "from": ["working", "idle"], "destination": "idle"},
]
KEY: dict[str, Any] = {
    "name": "release",
    "type": "kv",
    "interval": "10s",
    "state_match": ["idle"],
    "success_transition": "wanted",
    "properties": {"bucket": "DEPLOY", "key": "release", "bucket_prefix": False, "on_successful_get": True},
}
COMMAND: dict[str, Any] = {
    "name": "deploy",
    "type": "exec",
    "state_match": ["working"],
    "success_transition": "done",
    "fail_transition": "done",
    "announce_interval": "5m",
    "properties": {
        "command": "bin/deploy",
        "environment": ["A=b"],
        "timeout": "10m",
        "governor": "DEPLOY",
        "governor_timeout": "1h",
    },
}


def _with(*watchers: dict[str, Any]) -> Definition:
    return {
        "version": "1.0.0",
        "initial_state": "idle",
        "transitions": copy.deepcopy(TRANSITIONS),
        "watchers": copy.deepcopy(list(watchers)),
    }


def _watcher(kind: str, **properties: Any) -> Definition:
    return _with({"name": "watcher", "type": kind, "properties": properties})


def changed(**values: Any) -> Definition:
    return {**_with(KEY, COMMAND), **values}


GOOD = {
    "a key and a command": _with(KEY, COMMAND),
    "a file": _watcher("file", path="x", gather_initial_state=True),
    "a schedule": _watcher("schedule", duration="1m", schedules=["0 3 * * *"], start_splay="10s"),
    "a timer": _watcher("timer", timer="90s"),
    "a check": _watcher("nagios", plugin="check_load", timeout="5s"),
    "a start in its time": changed(splay_start=30),
    # Accepted by the server, but unknown to its program
    "an archive": _watcher("archive", source="https://x/y", creates="a", target="b", checksum="c"),
    "an expression": _watcher("expression", success_when="true"),
    "a switch": _watcher("httpswitch", on_when=["working"]),
    "a metric": _watcher("metric", command="x", interval="1m"),
    "a built-in check": _watcher("nagios", builtin="heartbeat"),
    "plugins": _watcher("plugins", data_item="spec"),
    "gossip": _watcher("gossip", subject="a.b", payload="c"),
    "a manifest": _watcher("ccm_manifest", manifest_file="x.yaml"),
    "a key with dots": _with({**KEY, "properties": {"bucket": "DEPLOY", "key": "web.release"}}),
    "a duration of two units": _with({**KEY, "interval": "1m30s"}),
    "a day": _with({**KEY, "interval": "1d"}),
}
UNKNOWN_TO_THE_PROGRAM = list(GOOD)[6:]


@dataclass(frozen=True)
class Bad:
    """A bad definition. ``beyond_schema`` is True if no schema can refuse it, ``program`` if the program does."""

    definition: Definition
    says: str
    beyond_schema: bool = False
    program: bool = True


def _bad(says: str, change: Callable[[Definition], object], **more: bool) -> Bad:
    definition = _with(KEY, COMMAND)
    change(definition)
    return Bad(definition, says, **more)


BAD = {
    "no watchers": _bad("watchers is empty", lambda one: one.update(watchers=[])),
    "no transitions": _bad("transitions is empty", lambda one: one.update(transitions=[])),
    "no version": _bad("version is missing", lambda one: one.pop("version")),
    "a short version": _bad("version is not a version such as 1.0.0", lambda one: one.update(version="1.0")),
    "a number for a version": _bad("version is not text", lambda one: one.update(version=1)),
    "no initial state": _bad("initial_state is missing", lambda one: one.pop("initial_state")),
    "a text for a list": _bad(
        "transitions[0].from is not a list", lambda one: one["transitions"][0].update({"from": "idle"})
    ),
    "a name of one letter": _bad("initial_state is not a name", lambda one: one.update(initial_state="x")),
    "an unknown watcher": _bad(
        "watchers[0].type is 'kvs', and has to be", lambda one: one["watchers"][0].update(type="kvs")
    ),
    "a watcher without a name": _bad("watchers[1].name is missing", lambda one: one["watchers"][1].pop("name")),
    "no command": _bad(
        "watchers[1].properties.command is missing", lambda one: one["watchers"][1]["properties"].pop("command")
    ),
    "no bucket": _bad(
        "watchers[0].properties.bucket is missing", lambda one: one["watchers"][0]["properties"].pop("bucket")
    ),
    "no duration": _bad(
        "watchers[0].interval is not a duration", lambda one: one["watchers"][0].update(interval="soon")
    ),
    "a number for a time": _bad(
        "watchers[1].properties.timeout is not text", lambda one: one["watchers"][1]["properties"].update(timeout=5)
    ),
    "a bad variable": _bad(
        "watchers[1].properties.environment[0] is not a variable",
        lambda one: one["watchers"][1]["properties"].update(environment=["a b"]),
    ),
    "a text for a number": _bad("splay_start is not a whole number", lambda one: one.update(splay_start="5")),
    # Accepted by the program, but refused or ignored by the server
    "a kv watcher without an interval": _bad(
        "watchers[0].interval is missing", lambda one: one["watchers"][0].pop("interval"), program=False
    ),
    "a kv watcher that never waits": _bad(
        "above zero", lambda one: one["watchers"][0].update(interval="0s"), program=False
    ),
    "a kv watcher without a key": _bad(
        "watchers[0].properties.key is missing",
        lambda one: one["watchers"][0]["properties"].pop("key"),
        program=False,
    ),
    "a kv watcher that watches": _bad(
        "mode is 'watch', and has to be poll",
        lambda one: one["watchers"][0]["properties"].update(mode="watch"),
        program=False,
    ),
    "an option with a slip": _bad(
        "watchers[0].sucess_transition is not known here, did you mean success_transition",
        lambda one: one["watchers"][0].update(sucess_transition="wanted"),
        program=False,
    ),
    "a property with a slip": _bad(
        "did you mean governor", lambda one: one["watchers"][1]["properties"].update(governer="X"), program=False
    ),
    "a state that is not there": _bad(
        "watchers[0].state_match has the state away",
        lambda one: one["watchers"][0].update(state_match=["away"]),
        beyond_schema=True,
        program=False,
    ),
    "a transition that is not there": _bad(
        "watchers[1].fail_transition is gone",
        lambda one: one["watchers"][1].update(fail_transition="gone"),
        beyond_schema=True,
        program=False,
    ),
    "two watchers of one name": _bad(
        "watchers has release 2 times",
        lambda one: one["watchers"][1].update(name="release"),
        beyond_schema=True,
        program=False,
    ),
}
