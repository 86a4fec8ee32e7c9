# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The definition of an autonomous agent: check it with and without the program, and write it as YAML."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from ... import _errors
from ..._choria.program import ask
from ..._options import mask
from . import rules
from .schema import NAME, SCHEMA, problems

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

MANIFEST = "machine.yaml"
HEADER = "# Written by Ansible (choria.streams.choria_machine): changes made here are lost\n"
_SHOWN = 5
# What the program's own schema knows
_KNOWN_TO_PROGRAM = ("exec", "file", "kv", "nagios", "schedule", "timer")
_ENVIRONMENT = re.compile(r"""(?<![\w.-])["']?environment["']?\s*:(?P<rest>.*)""")
_PROGRAM_KEY = re.compile(r"[-/_a-zA-Z0-9]+")
_PROGRAM_DURATION = re.compile(r"[0-9]+[hms]")
_TIMES = ("interval", "announce_interval")
_PROPERTY_TIMES = ("timeout", "governor_timeout", "duration", "start_splay", "timer")
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# What readers of older YAML take for a boolean or for nothing
_NOT_PLAIN = ("y", "yes", "n", "no", "on", "off", "true", "false", "null")
# Folders of a store with such names are passed over by the server
_SKIPPED = re.compile(r"tmp|.*-temp")


def checked_name(name: str) -> str:
    """Return the name of a machine, which is also its folder's. Raises OptionError."""
    found = problems(NAME, name, "it")
    if not found and _SKIPPED.fullmatch(name):
        found = ["Choria Server passes over folders that are called tmp or end in -temp"]
    if found:
        raise _errors.OptionError("name", f"'{name}' can't name an autonomous agent, {found[0]}.")
    return name


def check_definition(definition: Mapping[str, Any], option: str) -> None:
    """Raise OptionError for faults on which Choria Server would fail, or which it would ignore."""
    found = problems(SCHEMA, dict(definition)) or list(_loose_ends(definition))
    if found:
        more = f" (and {len(found) - _SHOWN} more)" if len(found) > _SHOWN else ""
        raise _errors.OptionError(option, f"{'; '.join(found[:_SHOWN])}{more}.", problems=found)


def _loose_ends(definition: Mapping[str, Any]) -> Iterator[str]:
    """Yield faults that no schema can express: names that refer to nothing, or are duplicates."""
    transitions, watchers = definition["transitions"], definition["watchers"]
    states = {definition["initial_state"], *(transition["destination"] for transition in transitions)}
    states.update(state for transition in transitions for state in transition["from"])
    fired = {transition["name"] for transition in transitions}
    yield from _twice("watchers", (watcher["name"] for watcher in watchers))
    for index, watcher in enumerate(watchers):
        yield from (f"watchers[{index}].{problem}" for problem in rules.problems(watcher))
        for state in watcher.get("state_match", ()):
            if state not in states:
                yield f"watchers[{index}].state_match has the state {state}, which no transition has"
        for option in ("success_transition", "fail_transition"):
            if option in watcher and watcher[option] not in fired:
                yield f"watchers[{index}].{option} is {watcher[option]}, and there is no such transition"


def _twice(where: str, names: Iterable[str]) -> Iterator[str]:
    yield from (f"{where} has {name} {count} times" for name, count in Counter(names).items() if count > 1)


def beyond_program(definition: Mapping[str, Any]) -> list[str]:
    """Return the valid parts that ``choria machine validate`` of 0.30 does not know, although the server does."""
    found = []
    for watcher in definition["watchers"]:
        kind, properties = watcher["type"], watcher["properties"]
        if kind not in _KNOWN_TO_PROGRAM:
            found.append(f"{kind} watchers")
        elif kind == "nagios" and "builtin" in properties:
            found.append("built-in checks")
        elif kind == "kv" and not _PROGRAM_KEY.fullmatch(properties["key"]):
            found.append(f"the key {properties['key']}")
        times = (*(watcher.get(name) for name in _TIMES), *(properties.get(name) for name in _PROPERTY_TIMES))
        found += [f"the duration {time}" for time in times if time and not _PROGRAM_DURATION.fullmatch(time)]
    return list(dict.fromkeys(found))


def check_by_program(program: str, folder: str, option: str) -> None:
    """Run ``choria machine validate``. Raises Refused with its output, OptionError if it does not run."""
    answer = ask(program, "machine", "validate", folder)
    if answer.returncode == 0:
        return
    # It tells of each kind of watcher that one is not of that kind
    lines = [line.strip() for line in (answer.stdout + answer.stderr).splitlines() if line.strip()]
    told = [line for line in lines if "doesn't validate with" not in line and 'value must be "' not in line]
    raise _errors.Refused(
        f"{option}: {program} machine validate refuses it: {'; '.join((told or lines)[:_SHOWN])}.",
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
    for line in text.splitlines(keepends=True):
        indent = len(line) - len(line.lstrip(" "))
        item = line.lstrip().startswith("- ")
        if below >= 0 and line.strip() and (indent > below or (indent == below and item)):
            name, equals, _value = line.partition("=")
            lines.append(f"{name}={mask.HIDDEN}\n" if equals else f"{' ' * indent}{mask.HIDDEN}\n")
            continue
        found = _ENVIRONMENT.search(line)
        below = indent + (2 if item else 0) if found else -1
        rest = found["rest"].strip() if found else ""
        lines.append(f"{line[: found.start('rest')]} {mask.HIDDEN}\n" if found and rest else line)
    return mask.text("".join(lines), mask.USUAL)


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
            yield f"{indent}{head} {json.dumps(item, ensure_ascii=False)}"
        elif isinstance(value, list):
            inner = list(_lines(item, f"{indent}  "))
            yield f"{indent}- {inner[0].lstrip()}"
            yield from inner[1:]
        else:
            yield f"{indent}{head}"
            yield from _lines(item, f"{indent}  ")


def _key(name: Any) -> str:
    text = str(name)
    return text if _PLAIN.fullmatch(text) and text.lower() not in _NOT_PLAIN else json.dumps(text, ensure_ascii=False)
