# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The work of choria_machine_info: list the machines in the store of a node, and those in events."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ... import _errors
from ..._api import jetstream
from ..._choria.config import read_config
from ..._options import codecs, fields, quantities
from .definition import MANIFEST
from .events import STREAM, Machines, known_to
from .files import DATA
from .folder import read_file
from .machine import STORE, load
from .store import KEY, Store

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from ..._connection import sessions
    from .events import Told

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
        # Where one is waited for in vain, it is told what there is instead of it
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
            f"There is no stream {STREAM}, which a Choria Broker makes up to a minute after its start: check where we "
            "are connected to (servers, choria_config).",
            code="no_stream",
        ) from error
    result["machines"] = _results(machines.told, names, hosts)
    return result


def _goal(options: Mapping[str, Any]) -> Goal | None:
    """Return the state to wait for. Raises OptionError."""
    if options["wait_for_state"] is None:
        return None
    if not options["events"]:
        raise _errors.OptionError(
            "events", "is false, and without events there is nothing to wait for: take one of both away."
        )
    try:
        max_wait = quantities.parse_duration(options["max_wait"])
    except ValueError as error:
        raise _errors.OptionError("max_wait", f"{error}.") from error
    try:
        since = quantities.parse_timestamp(options["since"]) if options["since"] else None
    except ValueError as error:
        raise _errors.OptionError("since", f"{error}.") from error
    wanted = [(host, name) for host in options["hosts"] for name in options["names"]]
    bad = tuple(options["fail_states"] or ())
    if options["wait_for_state"] in bad:
        raise _errors.OptionError(
            "fail_states",
            f"has {options['wait_for_state']}, which is the state to wait for: take it out of one of both.",
        )
    return Goal(wanted, options["wait_for_state"], since, max_wait, bad)


def _results(
    told: Mapping[tuple[str, str], Told], names: list[str] | None, hosts: list[str] | None
) -> list[dict[str, Any]]:
    keys = sorted((host, name) for host, name in told if (not hosts or host in hosts) and (not names or name in names))
    return [told[key].result() for key in keys]


@dataclass(frozen=True)
class Goal:
    """A state that each of the machines must have, entered not before ``since``.

    A machine that entered one of the ``bad`` states since then ends the wait.
    """

    wanted: list[tuple[str, str]]
    state: str
    since: datetime | None
    max_wait: float
    bad: tuple[str, ...] = ()

    def wait(self, machines: Machines) -> None:
        """Raise StreamsError if a machine is in a bad state or the time is over, with the missing machines."""
        machines.wait(lambda told: bool(self._failed(told)) or not self._late(told), self.max_wait)
        told, failed, late = machines.told, self._failed(machines.told), self._late(machines.told)
        if failed:
            raise self._failure(told, failed)
        if not late:
            return
        shown = "; ".join(self._why(told, host, name) for host, name in late[:_SHOWN])
        more = f"; and {len(late) - _SHOWN} more" if len(late) > _SHOWN else ""
        after = f" since {self.since.isoformat()}" if self.since else ""
        error = _errors.StreamsError(
            f"After {self.max_wait:g} seconds {len(late)} of {len(self.wanted)} machines have not come into state "
            f"{self.state}{after}: {shown}{more}.",
            code="timeout",
            option="max_wait",
            machines=[{"host": host, "name": name} for host, name in late],
        )
        error.result = self._told(told)
        raise error

    def _failure(self, told: Mapping[tuple[str, str], Told], failed: list[tuple[str, str]]) -> _errors.StreamsError:
        shown = "; ".join(self._why(told, host, name) for host, name in failed[:_SHOWN])
        more = f"; and {len(failed) - _SHOWN} more" if len(failed) > _SHOWN else ""
        error = _errors.StreamsError(
            f"{len(failed)} of {len(self.wanted)} machines have come into one of the fail_states, so nothing is waited "
            f"for any more: {shown}{more}.",
            code="fail_state",
            option="fail_states",
            machines=[{"host": host, "name": name} for host, name in failed],
        )
        error.result = self._told(told)
        return error

    def _told(self, told: Mapping[tuple[str, str], Told]) -> dict[str, Any]:
        return {"machines": [told[key].result() for key in sorted(set(self.wanted) & set(told))]}

    def _failed(self, told: Mapping[tuple[str, str], Told]) -> list[tuple[str, str]]:
        return [key for key in self.wanted if any(self._is_in(told.get(key), state) for state in self.bad)]

    def _late(self, told: Mapping[tuple[str, str], Told]) -> list[tuple[str, str]]:
        return [key for key in self.wanted if not self._is_in(told.get(key), self.state)]

    def _is_in(self, found: Told | None, state: str) -> bool:
        if found is None or found.state != state or found.since is None:
            return False
        return self.since is None or quantities.parse_timestamp(found.since) >= self.since

    def _why(self, told: Mapping[tuple[str, str], Told], host: str, name: str) -> str:
        found = told.get((host, name))
        if found is None:
            return f"{name} on {host} has never told anything ({known_to(told, name, host)})"
        if found.state is None:
            return f"{name} on {host} has not moved since it started, so that it is in its initial state"
        return f"{name} on {host} is in state {found.state} since {found.since}"


def _installed(options: Mapping[str, Any], names: list[str] | None) -> list[dict[str, Any]] | None:
    """Return the machines in the store of this host, or None if the options name no store, as on a controller."""
    path = options["store"]
    if not path and options["choria_config"]:
        path = read_config(options["choria_config"]).file(KEY)
    if not path:
        return None
    store = Store.at(path)
    return [_described(store, name) for name in store.machines() if not names or name in names]


def _described(store: Store, name: str) -> dict[str, Any]:
    folder = store.path / name
    manifest, data = read_file(folder / MANIFEST), read_file(folder / DATA)
    content = manifest.content if manifest else b""
    definition = _loaded(content)
    known = _loaded(data.content) if data else {}
    return {
        "name": name,
        "path": str(folder),
        "checksum": hashlib.sha256(content).hexdigest(),
        "version": definition.get("version"),
        "initial_state": definition.get("initial_state"),
        "data_keys": sorted(map(str, known)),
    }


def _loaded(content: bytes) -> dict[str, Any]:
    """Return the dict in a file, or an empty one if it has none, or this host can't read YAML."""
    try:
        found = load(content)
    except (ValueError, _errors.LibraryMissing):  # what the file says is not our question
        return {}
    return found if isinstance(found, dict) else {}
