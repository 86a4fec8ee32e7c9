# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The definition of an autonomous agent: check it with and without the program, mask it, and write it as YAML."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from ... import _errors
from ..._choria.program import ask
from ..._options import mask, quantities
from .schema import NAME, SCHEMA, problems
from .watchers import faults_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


HEADER = "# Written by Ansible (choria.streams.choria_machine): changes made here are lost\n"
_SHOWN = 5
# Types in the program's own schema
_KNOWN_TO_PROGRAM = ("exec", "file", "kv", "nagios", "schedule", "timer")
_ENVIRONMENT = re.compile(r"""(?<![\w.-])["']?environment["']?\s*:(?P<rest>.*)""")
_PROGRAM_KEY = re.compile(r"[-/_a-zA-Z0-9]+")
_PROGRAM_DURATION = re.compile(r"[0-9]+[hms]")
_TIMES = ("interval", "announce_interval")
_PROPERTY_TIMES = ("timeout", "governor_timeout", "duration", "start_splay", "timer")
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Texts that parsers of older YAML read as booleans or null
_NOT_PLAIN = ("y", "yes", "n", "no", "on", "off", "true", "false", "null")
_NOT_IN_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
# The server ignores folders of a store with such names
_SKIPPED = re.compile(r"tmp|.*-temp")
_LONGEST = 200  # leaves room for the longer names of temporary folders beside it, see store.py


def checked_name(name: str) -> str:
    """Return the name of a machine, which is also its folder's. Raises OptionError."""
    faults = problems(NAME, name, "it")
    if not faults and _SKIPPED.fullmatch(name):
        faults = ["Choria Server passes over folders that are called tmp or end in -temp"]
    if not faults and len(name) > _LONGEST:
        faults = [f"it has more than {_LONGEST} characters"]
    if faults:
        raise _errors.OptionError(
            "name", f"'{quantities.shortened(name)}' can't name an autonomous agent, {faults[0]}."
        )
    return name


def check_definition(definition: Mapping[str, Any], option: str) -> None:
    """Raise OptionError for faults on which Choria Server would fail, or which it would ignore."""
    faults = problems(SCHEMA, dict(definition)) or list(_unresolved_names(definition))
    if faults:
        more = f" (and {len(faults) - _SHOWN} more)" if len(faults) > _SHOWN else ""
        raise _errors.OptionError(option, f"{'; '.join(faults[:_SHOWN])}{more}.", problems=faults)


def _unresolved_names(definition: Mapping[str, Any]) -> Iterator[str]:
    """Yield faults that no schema can express: names that refer to nothing, or are duplicates."""
    transitions, watchers = definition["transitions"], definition["watchers"]
    states = {definition["initial_state"], *(transition["destination"] for transition in transitions)}
    states.update(state for transition in transitions for state in transition["from"])
    fired = {transition["name"] for transition in transitions}
    counts = Counter(watcher["name"] for watcher in watchers)
    yield from (f"watchers has {name} {count} times" for name, count in counts.items() if count > 1)
    for index, watcher in enumerate(watchers):
        yield from (f"watchers[{index}].{problem}" for problem in faults_of(watcher))
        for state in watcher.get("state_match", ()):
            if state not in states:
                yield f"watchers[{index}].state_match has the state {state}, which no transition has"
        for option in ("success_transition", "fail_transition"):
            if option in watcher and watcher[option] not in fired:
                yield f"watchers[{index}].{option} is {watcher[option]}, and there is no such transition"


def beyond_program(definition: Mapping[str, Any]) -> list[str]:
    """Return the valid parts that ``choria machine validate`` of 0.30 does not know, although the server does."""
    parts = []
    for watcher in definition["watchers"]:
        kind, properties = watcher["type"], watcher["properties"]
        if kind not in _KNOWN_TO_PROGRAM:
            parts.append(f"{kind} watchers")
        elif kind == "nagios" and "builtin" in properties:
            parts.append("built-in checks")
        elif kind == "kv" and not _PROGRAM_KEY.fullmatch(properties["key"]):
            parts.append(f"the key {properties['key']}")
        times = (*(watcher.get(name) for name in _TIMES), *(properties.get(name) for name in _PROPERTY_TIMES))
        parts += [f"the duration {time}" for time in times if time and not _PROGRAM_DURATION.fullmatch(time)]
    return list(dict.fromkeys(parts))


def check_by_program(program: str, folder: str, option: str) -> None:
    """Run ``choria machine validate``. Raises Refused with its output, OptionError if it does not run."""
    answer = ask(program, "machine", "validate", folder)
    if answer.returncode == 0:
        return
    # The program also reports, for each type of watcher, that a watcher is not of this type
    lines = [line.strip() for line in (answer.stdout + answer.stderr).splitlines() if line.strip()]
    reasons = [line for line in lines if "doesn't validate with" not in line and 'value must be "' not in line]
    raise _errors.Refused(
        f"{option}: {program} machine validate refuses it: {'; '.join((reasons or lines)[:_SHOWN])}.",
        code="option",
        option=option,
    )


def shown_definitions(before: str, after: str) -> tuple[str, str]:
    """Return the present and the desired text of a definition, masked, such that both still differ."""
    one, other = _shown(before), _shown(after)
    return one, f"{other}# {mask.CHANGED}\n" if before != after and one == other else other


def _shown(text: str) -> str:
    """Return the text without secrets, and without the values of variables in the lines below their key."""
    lines, below = [], -1
    for line in text.split("\n"):
        indent = len(line) - len(line.lstrip(" "))
        item = line.lstrip().startswith("- ")
        if below >= 0 and line.strip() and (indent > below or (indent == below and item)):
            name, equals, _value = line.partition("=")
            lines.append(f"{name}={mask.HIDDEN}" if equals else f"{' ' * indent}{mask.HIDDEN}")
            continue
        match = _ENVIRONMENT.search(line)
        below = indent + (2 if item else 0) if match else -1
        rest = match["rest"].strip() if match else ""
        lines.append(f"{line[: match.start('rest')]} {mask.HIDDEN}" if match and rest else line)
    return mask.text("\n".join(lines), mask.USUAL)


def to_yaml(definition: Mapping[str, Any]) -> str:
    """Return a definition as YAML. Values are written as JSON, which is YAML too."""
    return HEADER + "".join(f"{line}\n" for line in _lines(definition))


def _lines(value: Any, indent: str = "") -> Iterator[str]:
    """Yield the lines of a dict or list that is not empty."""
    entries = (
        [("-", item) for item in value] if isinstance(value, list) else [(f"{_key(k)}:", v) for k, v in value.items()]
    )
    for head, item in entries:
        if not isinstance(item, (dict, list)) or not item:
            yield f"{indent}{head} {_json(item)}"
        elif isinstance(value, list):
            inner = list(_lines(item, f"{indent}  "))
            yield f"{indent}- {inner[0].lstrip()}"
            yield from inner[1:]
        else:
            yield f"{indent}{head}"
            yield from _lines(item, f"{indent}  ")


def _key(name: Any) -> str:
    text = str(name)
    return text if _PLAIN.fullmatch(text) and text.lower() not in _NOT_PLAIN else _json(text)


def _json(value: Any) -> str:
    # YAML can't hold these characters as they are, or reads some of them as line ends
    return _NOT_IN_YAML.sub(lambda sign: f"\\u{ord(sign[0]):04x}", json.dumps(value, ensure_ascii=False))
