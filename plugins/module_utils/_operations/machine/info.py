# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The work of choria_machine_info: list the machines in the store of a node, and those in events."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ... import _errors
from ..._api import jetstream
from ..._choria.config import read_config
from ..._options import codecs, fields, quantities
from .events import STREAM, Machines, known_to
from .files import DATA, MANIFEST, load, read_file
from .store import KEY, STORE, Store

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from ..._connection import sessions
    from .events import MachineState

_SHOWN = 5
_NAMES = codecs.Codec({"type": "list", "elements": "str"})
SPEC = fields.Spec(
    (
        fields.Field("names", _NAMES, argument_extra={"aliases": ["name"]}),
        fields.Field("hosts", _NAMES),
        STORE,
        fields.Field("events", codecs.boolean(), argument_extra={"default": True}),
        fields.Field("wait_for_state", codecs.Codec({"type": "str"})),
        fields.Field("fail_states", _NAMES),
        fields.Field("since", codecs.timestamp()),
        fields.Field("max_wait", codecs.duration(), argument_extra={"default": "5m"}),
    ),
    {
        "required_by": {
            "wait_for_state": ("names", "hosts"),
            "since": ("wait_for_state",),
            "fail_states": ("wait_for_state",),
        }
    },
)


def read(connect: Callable[[], sessions.Session], options: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Return the whole result."""
    names, hosts, goal = options["names"], options["hosts"], _goal(options)
    result: dict[str, Any] = {"changed": False, "installed": _installed(options, names), "machines": []}
    if not options["events"]:
        return result

    def chosen(host: str, name: str) -> bool:
        # The error after a timeout names the machines that exist instead
        return bool(goal) or ((not names or name in names) and (not hosts or host in hosts))

    machines = Machines(connect(), chosen)
    try:
        if goal is None or check_mode:
            machines.read()
        else:
            goal.wait(machines)
    except _errors.ApiError as error:
        if error.err_code != jetstream.STREAM_NOT_FOUND:
            raise
        raise _errors.StreamsError(
            f"There is no stream {STREAM}, which a Choria Broker creates up to a minute after its start: check the "
            "options of the connection (servers, choria_config).",
            code="no_stream",
        ) from error
    result["machines"] = _results(machines.states, names, hosts)
    return result


def _goal(options: Mapping[str, Any]) -> Goal | None:
    """Return the state to wait for. Raises OptionError."""
    if options["wait_for_state"] is None:
        return None
    if not options["events"]:
        raise _errors.OptionError(
            "events", "is false, and without events there is nothing to wait for: leave one of them out."
        )
    max_wait = quantities.parse_duration(options["max_wait"])
    since = quantities.parse_timestamp(options["since"]) if options["since"] else None
    keys = [(host, name) for host in options["hosts"] for name in options["names"]]
    bad = tuple(options["fail_states"] or ())
    if options["wait_for_state"] in bad:
        raise _errors.OptionError(
            "fail_states",
            f"has {options['wait_for_state']}, which is also the state to wait for: remove it from one of them.",
        )
    return Goal(keys, options["wait_for_state"], since, max_wait, bad)


def _results(
    states: Mapping[tuple[str, str], MachineState], names: list[str] | None, hosts: list[str] | None
) -> list[dict[str, Any]]:
    keys = sorted(
        (host, name) for host, name in states if (not hosts or host in hosts) and (not names or name in names)
    )
    return [states[key].result() for key in keys]


@dataclass(frozen=True)
class Goal:
    """A state that each of the machines must have, entered not before ``since``.

    A machine that entered one of the ``bad`` states since then ends the wait.
    """

    keys: list[tuple[str, str]]
    state: str
    since: datetime | None
    max_wait: float
    bad: tuple[str, ...] = ()

    def wait(self, machines: Machines) -> None:
        """Raise StreamsError if a machine is in a bad state or the time is over, with the missing machines."""
        machines.wait(lambda states: bool(self._failed(states)) or not self._late(states), self.max_wait)
        states, failed, late = machines.states, self._failed(machines.states), self._late(machines.states)
        if failed:
            what = f"{len(failed)} of {len(self.keys)} machines have come into one of the fail_states, so nothing is"
            raise self._failure(states, failed, f"{what} waited for any more", code="fail_state", option="fail_states")
        if late:
            after = f" since {self.since.isoformat()}" if self.since else ""
            what = f"After {self.max_wait:g} seconds {len(late)} of {len(self.keys)} machines have not come into state"
            raise self._failure(states, late, f"{what} {self.state}{after}", code="timeout", option="max_wait")

    def _failure(
        self, states: Mapping[tuple[str, str], MachineState], keys: list[tuple[str, str]], what: str, **failure: str
    ) -> _errors.StreamsError:
        """Return the error of these machines. Its result has the states of all machines for which the task waits."""
        shown = "; ".join(self._state_in_words(states, host, name) for host, name in keys[:_SHOWN])
        more = f"; and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
        named = [{"host": host, "name": name} for host, name in keys]
        error = _errors.StreamsError(f"{what}: {shown}{more}.", **failure, machines=named)
        error.result = {"machines": [states[key].result() for key in sorted(set(self.keys) & set(states))]}
        return error

    def _failed(self, states: Mapping[tuple[str, str], MachineState]) -> list[tuple[str, str]]:
        return [key for key in self.keys if any(self._is_in(states.get(key), state) for state in self.bad)]

    def _late(self, states: Mapping[tuple[str, str], MachineState]) -> list[tuple[str, str]]:
        return [key for key in self.keys if not self._is_in(states.get(key), self.state)]

    def _is_in(self, machine: MachineState | None, state: str) -> bool:
        if machine is None or machine.state != state or machine.since is None:
            return False
        return self.since is None or quantities.parse_timestamp(machine.since) >= self.since

    def _state_in_words(self, states: Mapping[tuple[str, str], MachineState], host: str, name: str) -> str:
        machine = states.get((host, name))
        if machine is None:
            return f"{name} on {host} has never published an event ({known_to(states, name, host)})"
        if machine.state is None:
            return f"{name} on {host} has not moved since it started, so that it is in its initial state"
        return f"{name} on {host} is in state {machine.state} since {machine.since}"


def _installed(options: Mapping[str, Any], names: list[str] | None) -> list[dict[str, Any]] | None:
    """Return the machines in the store of this host, or None if the options name no store, as on a controller."""
    path = options["store"]
    if not path and options["choria_config"]:
        path = read_config(options["choria_config"]).file(KEY)
    if not path:
        return None
    store = Store(Path(path))
    return [_described(store, name) for name in store.machines() if not names or name in names]


def _described(store: Store, name: str) -> dict[str, Any]:
    folder = store.path / name
    manifest, data = read_file(folder / MANIFEST), read_file(folder / DATA)
    content = manifest.content if manifest else b""
    definition = _loaded(content)
    data_values = _loaded(data.content) if data else {}
    return {
        "name": name,
        "path": str(folder),
        "checksum": hashlib.sha256(content).hexdigest(),
        "version": definition.get("version"),
        "initial_state": definition.get("initial_state"),
        "data_keys": sorted(map(str, data_values)),
    }


def _loaded(content: bytes) -> dict[str, Any]:
    """Return the dict in a file, or an empty one if it has none, or this host can't read YAML."""
    try:
        value = load(content)
    except (ValueError, _errors.LibraryMissing):  # what the file says is not our question
        return {}
    return value if isinstance(value, dict) else {}
