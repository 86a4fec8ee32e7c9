# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules of Choria Server for watchers that the schema of their properties does not express.

Source: New() and validate() in go-choria 0.30.2, aagent/watchers/. A watcher that breaks one of them keeps the whole
machine from starting.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    Properties = Mapping[str, Any]


_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_LONG_UNITS = {"d": 24, "w": 7 * 24, "m": 30 * 24, "y": 365 * 24}  # in hours; a month is M
_PART = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_LONGEST_DURATION = (1 << 63) / 1e9
_MOST_DIGITS = 100
_DURATIONS = (
    *("timeout", "governor_timeout", "timer", "duration", "start_splay", "interval", "last_message"),
    *("pubcert_expire", "token_expire", "plugin_manage_interval"),
)
# The shortest interval of each type, in seconds. Choria does not check the interval of other types
_SHORTEST = {
    "archive": 10.0,
    "ccm_manifest": 0.5,
    "exec": 0.5,
    "expression": 0.5,
    "file": 0.5,
    "kv": 1e-9,
    "nagios": 0.5,
    "plugins": 2.0,
}
_SHORTEST_ANNOUNCE = 60.0
_SERVICE = re.compile(r"[a-zA-Z][a-zA-Z\d_-]*")


def faults_of(watcher: Mapping[str, Any]) -> Iterator[str]:
    """Yield the faults of a watcher that its schema accepts, each with its place in the watcher."""
    kind, properties = watcher["type"], watcher["properties"]
    yield from _interval(watcher, "interval", _SHORTEST.get(kind, 0.0))
    yield from _interval(watcher, "announce_interval", _SHORTEST_ANNOUNCE)
    if kind == "timer" and watcher.get("success_transition"):
        yield "success_transition is not for timers, which have fail_transition alone"
    for name in _DURATIONS:
        if name in properties and seconds(properties[name]) > _LONGEST_DURATION:
            yield f"properties.{name} is too long"
    if kind in _RULES:
        yield from (f"properties.{problem}" for problem in _RULES[kind](properties))


def seconds(text: str) -> float:
    """Return a duration in seconds as the server reads it: it counts whole hours for days and longer units."""
    if len(text) > _MOST_DIGITS:
        return float("inf")
    unit = text[-1]
    if unit in "dDwWMyY":
        return int(float(text[:-1]) * _LONG_UNITS[unit.lower()]) * 3600.0
    return sum(float(number) * _UNITS[name] for number, name in _PART.findall(text))


def _interval(watcher: Mapping[str, Any], name: str, shortest: float) -> Iterator[str]:
    if name in watcher:
        length = seconds(watcher[name])
        if length < shortest:
            yield f"{name} {watcher[name]} is too short, {watcher['type']} watchers take {shortest:g}s or more"
        elif length > _LONGEST_DURATION:
            yield f"{name} {watcher[name]} is too long"


def _archive(properties: Properties) -> Iterator[str]:
    if properties.get("verify") and not properties.get("verify_checksum"):
        yield "verify_checksum is missing, which verify needs"
    if properties.get("username") and not properties.get("password"):
        yield "password is missing, which username needs"


def _ccm_manifest(properties: Properties) -> Iterator[str]:
    if not properties.get("manifest_file") and not properties.get("manifest"):
        yield "manifest_file or manifest is missing"
    if properties.get("noop") and properties.get("healthcheck_only"):
        yield "noop can't be given together with healthcheck_only"


def _exec(properties: Properties) -> Iterator[str]:
    if properties.get("disown") and properties.get("parse_as_data"):
        yield "parse_as_data can't be given together with disown"


def _expression(properties: Properties) -> Iterator[str]:
    if not properties.get("success_when") and not properties.get("fail_when"):
        yield "success_when or fail_when is missing"


def _file(properties: Properties) -> Iterator[str]:
    if properties.get("contents"):
        yield from (f"{name} is missing, which contents needs" for name in _OWNED if not properties.get(name))
        mode = properties.get("mode")
        if mode and not re.fullmatch(r"0?[0-7]{3,4}", mode):
            yield f"mode is {mode!r}, and has to be one such as '0644'"


_OWNED = ("owner", "group", "mode")


def _gossip(properties: Properties) -> Iterator[str]:
    registration = properties.get("registration")
    if registration is None:
        yield from (f"{name} is missing" for name in ("subject", "payload") if not properties.get(name))
        yield from _gossip_subject("subject", properties.get("subject") or "")
        return
    yield from (
        f"{name} can't be given together with registration" for name in ("subject", "payload") if properties.get(name)
    )
    for name in ("cluster", "service", "protocol"):
        if not _SERVICE.fullmatch(registration[name]):
            yield f"registration.{name} is not a name: begin with a letter, and go on with letters, digits, _ and -"
    try:
        ipaddress.ip_address(registration["ip"])
    except ValueError:
        yield "registration.ip is not an address"
    for name, lowest in (("port", 1), ("priority", 0)):
        if not lowest <= registration.get(name, lowest) <= 65535:
            yield f"registration.{name} is not one of {lowest} to 65535"
    yield from _gossip_subject("registration.prefix", registration.get("prefix") or "")


def _gossip_subject(name: str, subject: str) -> Iterator[str]:
    if re.search(r"[ ^*]|\.\.", subject):
        yield f"{name} is not a subject: it has a blank, ^, * or an empty word"


def _nagios(properties: Properties) -> Iterator[str]:
    builtin, plugin = properties.get("builtin"), properties.get("plugin")
    if builtin and plugin:
        yield "plugin can't be given together with builtin"
    if not builtin and not plugin:
        yield "plugin or builtin is missing"
    if builtin == "goss" and not properties.get("gossfile"):
        yield "gossfile is missing, which the builtin goss needs"
    if builtin == "choria_status" and not properties.get("last_message"):
        yield "last_message is missing, which the builtin choria_status needs"


def _plugins(properties: Properties) -> Iterator[str]:
    if "_" in properties.get("manager_machine_prefix", ""):
        yield "manager_machine_prefix may not have _"


def _schedule(properties: Properties) -> Iterator[str]:
    for index, text in enumerate(properties["schedules"]):
        fault = _cron(text)
        if fault:
            yield f"schedules[{index}] {fault}"
    splay = properties.get("start_splay")
    if splay and seconds(splay) > seconds(properties["duration"]) / 2:
        yield "start_splay is longer than half of duration"


# By the type of a watcher
_RULES = {
    rule.__name__[1:]: rule
    for rule in (_archive, _ccm_manifest, _exec, _expression, _file, _gossip, _nagios, _plugins, _schedule)
}

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
# As robfig/cron v1, which the server has, reads them: name, lowest, highest, and names in the place of numbers
_FIELDS: tuple[tuple[str, int, int, dict[str, int]], ...] = (
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day of the month", 1, 31, {}),
    ("month", 1, 12, {name: number for number, name in enumerate(_MONTHS, start=1)}),
    ("day of the week", 0, 6, {name: number for number, name in enumerate(_DAYS)}),
)


_NUMBER = re.compile(r"[0-9]{1,9}")


def _cron(text: str) -> str:
    """Return the fault of a cron schedule, or an empty text."""
    words = text.split()
    if len(words) != len(_FIELDS):
        return (
            f"has {len(words)} fields, and a schedule has five: minute, hour, day of the month, month, day of the week"
        )
    for word, (name, lowest, highest, names) in zip(words, _FIELDS):
        for part in filter(None, word.split(",")):
            if not _fits(part.lower(), lowest, highest, names):
                return f"has the {name} {part}, not a number, range or step of {lowest} to {highest}"
    return ""


def _fits(part: str, lowest: int, highest: int, names: Mapping[str, int]) -> bool:
    span, *steps = part.split("/")
    first, *others = span.split("-")
    if len(steps) > 1 or len(others) > 1 or any(not _NUMBER.fullmatch(step) or int(step) == 0 for step in steps):
        return False
    if first in ("*", "?"):
        return True
    ends = [names.get(end, int(end) if _NUMBER.fullmatch(end) else -1) for end in (first, *others)]
    return lowest <= ends[0] <= ends[-1] <= highest
