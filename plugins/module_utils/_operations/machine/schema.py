# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The JSON Schema of an autonomous agent's definition, as Choria Server 0.30 runs it, also in docs/machine.schema.json.

Choria's own schema, which ``choria machine validate`` uses, knows eight of the server's watchers, durations of one unit
and keys without dots. It accepts definitions that the server can't start, such as a kv watcher without an interval,
which even ends the server. Keys that the server would ignore are refused here. Rules: go-choria,
aagent/machine/machine.go and aagent/watchers/.
"""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Schema = dict[str, Any]

NAME: Schema = {"type": "string", "pattern": r"^[a-zA-Z][a-zA-Z0-9_-]+$"}
_TEXT: Schema = {"type": "string", "pattern": r"\S"}
_STRING: Schema = {"type": "string"}
_FLAG: Schema = {"type": "boolean"}
_INTEGER: Schema = {"type": "integer"}
_NAMES: Schema = {"type": "array", "items": NAME}
_LABELS: Schema = {"type": "object", "additionalProperties": _STRING}
# Durations above zero: _EVERY as Choria reads intervals, where a day or a longer unit stands alone, _PERIOD as Go does
_EVERY: Schema = {
    "type": "string",
    "pattern": r"^(?=.*[1-9])((\d+(\.\d+)?(ns|us|µs|ms|s|m|h))+|\d+(\.\d+)?[dDwWMyY])$",
}
_PERIOD: Schema = {"type": "string", "pattern": r"^(?=.*[1-9])(\d+(\.\d+)?(ns|us|µs|ms|s|m|h))+$"}


def _record(required: Sequence[str] = (), /, **properties: Any) -> Schema:
    return {
        "type": "object",
        **({"required": list(required)} if required else {}),
        "properties": properties,
        "additionalProperties": False,
    }


_GOVERNED: dict[str, Any] = {"governor": _TEXT, "governor_timeout": _PERIOD, "timeout": _PERIOD}
# The properties of each type of watcher
WATCHERS: dict[str, Schema] = {
    "archive": _record(
        ("source", "creates", "target", "checksum"),
        **dict.fromkeys(("source", "creates", "target", "checksum"), _TEXT),
        **dict.fromkeys(("username", "password", "verify", "verify_checksum"), _STRING),
        insecure=_FLAG,
        **_GOVERNED,
    ),
    "ccm_manifest": _record(
        manifest_file=_TEXT,
        manifest={"type": "object"},
        **dict.fromkeys(("noop", "healthcheck_only", "splay"), _FLAG),
        **_GOVERNED,
    ),
    "exec": _record(
        ("command",),
        command=_TEXT,
        environment={"type": "array", "items": {"type": "string", "pattern": r"^[a-zA-Z_][a-zA-Z0-9_]*="}},
        **dict.fromkeys(("parse_as_data", "suppress_success_announce", "gather_initial_state", "disown"), _FLAG),
        **_GOVERNED,
    ),
    "expression": _record(success_when=_TEXT, fail_when=_TEXT),
    "file": _record(
        ("path",),
        path=_TEXT,
        gather_initial_state=_FLAG,
        **dict.fromkeys(("contents", "owner", "group", "mode"), _STRING),
    ),
    "gossip": _record(
        subject=_STRING,
        payload=_STRING,
        ttl_seconds=_INTEGER,
        registration=_record(
            ("cluster", "service", "protocol", "ip", "port"),
            **dict.fromkeys(("cluster", "service", "protocol", "ip", "prefix"), _STRING),
            port=_INTEGER,
            priority=_INTEGER,
            annotations=_LABELS,
        ),
    ),
    "httpswitch": _record(on_when=_NAMES, off_when=_NAMES, disable_when=_NAMES, annotations=_LABELS),
    "kv": _record(
        ("bucket", "key"),
        bucket=_TEXT,
        key=_TEXT,
        mode={"enum": ["poll"]},
        **dict.fromkeys(("bucket_prefix", "on_successful_get", "on_matching_update", "hiera_config"), _FLAG),
        **dict.fromkeys(("republish_trigger", "store_key", "query"), _STRING),
    ),
    "metric": _record(
        ("command",),
        command=_TEXT,
        interval=_PERIOD,
        labels=_LABELS,
        **dict.fromkeys(("skip_prometheus", "store", "http"), _FLAG),
        **dict.fromkeys(("graphite_host", "graphite_port", "graphite_prefix"), _STRING),
    ),
    "nagios": _record(
        plugin=_TEXT,
        builtin={"enum": ["choria_status", "goss", "heartbeat"]},
        annotations=_LABELS,
        gossfile=_STRING,
        **dict.fromkeys(("last_message", "pubcert_expire", "token_expire", "timeout"), _PERIOD),
    ),
    "plugins": _record(
        ("data_item",),
        data_item=_TEXT,
        purge_unknown=_FLAG,
        plugin_manage_interval=_PERIOD,
        **dict.fromkeys(("public_key", "plugins_directory", "manager_machine_prefix"), _STRING),
    ),
    "schedule": _record(
        ("duration", "schedules"),
        duration=_PERIOD,
        schedules={"type": "array", "minItems": 1, "items": _TEXT},
        start_splay=_PERIOD,
        skip_trigger_on_reenter=_FLAG,
    ),
    "timer": _record(("timer",), timer=_PERIOD, splay=_FLAG),
}
# Rules of a type for the watcher itself, beside those for its properties
_MORE: dict[str, Schema] = {"kv": {"required": ["interval"]}}

_WATCHER: Schema = {
    **_record(
        ("name", "type", "properties"),
        name=NAME,
        type={"enum": sorted(WATCHERS)},
        state_match=_NAMES,
        foreign_state_required={
            "type": "array",
            "items": _record(("machine_name", "state"), machine_name=NAME, state=NAME),
        },
        fail_transition=NAME,
        success_transition=NAME,
        interval=_EVERY,
        announce_interval=_EVERY,
        properties={"type": "object"},
    ),
    "allOf": [
        {
            "if": {"required": ["type"], "properties": {"type": {"enum": [kind]}}},
            "then": {"properties": {"properties": properties}, **_MORE.get(kind, {})},
        }
        for kind, properties in WATCHERS.items()
    ],
}
_TRANSITION = _record(
    ("name", "from", "destination"),
    name=NAME,
    **{"from": {"type": "array", "minItems": 1, "items": NAME}},
    destination=NAME,
    description=_STRING,
    subscribe={
        "type": "array",
        "items": _record(("machine_name", "event"), machine_name=NAME, event=NAME),
    },
)
SCHEMA: Schema = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "title": "The definition of a Choria Autonomous Agent",
    **_record(
        ("name", "version", "initial_state", "transitions", "watchers"),
        name=NAME,
        version={"type": "string", "pattern": r"^\d+\.\d+\.\d+$"},
        initial_state=NAME,
        splay_start=_INTEGER,
        transitions={"type": "array", "minItems": 1, "items": _TRANSITION},
        watchers={"type": "array", "minItems": 1, "items": _WATCHER},
    ),
}

_KINDS: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "boolean": (bool,),
}
_WORDS = {"object": "a dict", "array": "a list", "string": "text", "integer": "a whole number", "boolean": "a boolean"}
_SHAPES = {
    NAME["pattern"]: "is not a name: begin with a letter, and go on with letters, digits, _ and -, at least one",
    _TEXT["pattern"]: "is empty",
    _EVERY["pattern"]: "is not a duration such as 30s, 10m or 1d, above zero",
    _PERIOD["pattern"]: "is not a duration such as 30s, 10m or 1h30m, above zero",
    r"^\d+\.\d+\.\d+$": "is not a version such as 1.0.0",
    r"^[a-zA-Z_][a-zA-Z0-9_]*=": "is not a variable such as NAME=value",
}


def problems(schema: Schema, value: Any, where: str = "") -> list[str]:
    """Return the faults of a value by a schema of the keywords that are used here, each with its place."""
    kind = schema.get("type")
    if kind and (not isinstance(value, _KINDS[kind]) or (isinstance(value, bool) and kind != "boolean")):
        return [f"{where or 'the definition'} is not {_WORDS[kind]}"]
    faults: list[str] = []
    if "enum" in schema and value not in schema["enum"]:
        faults.append(f"{where} is {value!r}, and has to be {_one_of(schema['enum'])}")
    # $ matches only the end of a text in a schema, which is \\Z in Python, where $ allows a line feed after it
    if "pattern" in schema and not re.search(schema["pattern"].replace("$", r"\Z"), value):
        faults.append(f"{where} {_SHAPES[schema['pattern']]}")
    if isinstance(value, dict):
        faults += _in_object(schema, value, where)
    if isinstance(value, list):
        if len(value) < schema.get("minItems", 0):
            faults.append(f"{where} is empty")
        for index, item in enumerate(value):
            faults += problems(schema.get("items", {}), item, f"{where}[{index}]")
    for rule in schema.get("allOf", ()):
        if not problems(rule["if"], value):
            faults += problems(rule["then"], value, where)
    return faults


def _in_object(schema: Schema, value: dict[str, Any], where: str) -> list[str]:
    properties, others = schema.get("properties", {}), schema.get("additionalProperties", {})
    inside = f"{where}." if where else ""
    faults = [f"{inside}{name} is missing" for name in schema.get("required", ()) if name not in value]
    for name, item in value.items():
        if name in properties:
            faults += problems(properties[name], item, f"{inside}{name}")
        elif others is False:
            faults.append(f"{inside}{name} is not known here{_suggestion(str(name), properties)}")
        else:
            faults += problems(others, item, f"{inside}{name}")
    return faults


def _suggestion(name: str, names: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(names), 1)
    return f", did you mean {near[0]}" if near else ""


def _one_of(choices: Sequence[str]) -> str:
    return choices[0] if len(choices) == 1 else f"one of {', '.join(choices)}"
