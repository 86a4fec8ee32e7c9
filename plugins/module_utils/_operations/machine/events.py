# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the events of autonomous agents: transitions, and states of watchers.

A machine publishes each transition, but not its initial state. After a restart of its server or itself, it has another
id, and is in its initial state until its next transition. Times are those of the broker, not of the nodes.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ... import _errors
from ..._api import reading
from ..._connection.errors import SUBSCRIBE, missing_permission
from ..._options import untrusted
from ..signals import end_when_output_closes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ..._api import messages
    from ..._connection import sessions

STREAM = "CHORIA_MACHINE"
SUBJECTS = "choria.machine.>"
# The same for a listener: a token with --event-viewer may subscribe to these, and to no more
_LIVE = ("choria.machine.transition", "choria.machine.watcher.>")
_TRANSITION = "io.choria.machine.v1.transition"
# Between attempts while the server is away
_RETRY = 0.5
# An event can be heard before the stream has it: how often to look for it, and how long between
_LOOKS, _PAUSE = 20, 0.05
# The keys of an event that do not describe the watcher
_ENVELOPE = ("protocol", "identity", "id", "version", "timestamp", "machine", "name", "type")


@dataclass
class MachineState:
    """The known state of one machine on one host. ``state`` is None before its first transition since its start."""

    host: str
    name: str
    instance: str
    version: str
    state: str | None = None
    from_state: str | None = None
    transition: str | None = None
    since: str | None = None
    watchers: dict[str, dict[str, Any]] = field(default_factory=dict)

    def result(self) -> dict[str, Any]:
        """Return the state for results."""
        return {**vars(self), "watchers": [self.watchers[name] for name in sorted(self.watchers)]}


class Machines:
    """The events of a stream, by host and machine. ``selects(host, name)`` selects machines."""

    def __init__(self, session: sessions.Session, selects: Callable[[str, str], bool]) -> None:
        self._session = session
        self._selects = selects
        self._next = 1
        self.states: dict[tuple[str, str], MachineState] = {}

    def read(self) -> set[bytes]:
        """Read the messages that the stream stored since the last call, and return their data."""
        came = set()
        for message in reading.onward(self._session, STREAM, SUBJECTS, self._next):
            self._next = message.sequence + 1
            self._take(message)
            came.add(message.data)
        return came

    def wait(self, reached: Callable[[Mapping[tuple[str, str], MachineState]], bool], timeout: float) -> bool:
        """Listen until ``reached(states)`` is true. Return False after ``timeout`` seconds.

        Raises PermissionMissing if the credentials may not subscribe.
        """
        deadline = time.monotonic() + timeout
        end_when_output_closes(self._session)
        for subject in _LIVE:
            self._session.subscribe(subject)
            if subject in self._session.refused_subscriptions:
                raise missing_permission(SUBSCRIBE, subject, self._session.settings.jwt)
        self.read()
        while not reached(self.states):
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            try:
                self._hear(left)
            except _errors.Unreachable:
                if left <= _RETRY:
                    raise
                time.sleep(_RETRY)
                with suppress(_errors.Unreachable):
                    self.read()  # events that were published while the connection was broken
        return True

    def _hear(self, timeout: float) -> None:
        """Wait for an event, and then read the stream, which has all of them in order and with the broker's time."""
        newest = message = self._session.receive(timeout)
        while message:
            newest, message = message, self._session.receive(0)
        for _look in range(_LOOKS if newest else 0):
            if newest and newest.data in self.read():
                return
            time.sleep(_PAUSE)

    def _take(self, message: messages.Stored) -> None:
        event = _event(message.data)
        if event is None or not self._selects(event["identity"], event["machine"]):
            return
        key, instance = (event["identity"], event["machine"]), str(event.get("id", ""))
        machine = self.states.get(key)
        if machine is None or machine.instance != instance:
            machine = self.states[key] = MachineState(*key, instance, str(event.get("version", "")))
        if event["protocol"] == _TRANSITION:
            machine.state, machine.from_state = event.get("to_state"), event.get("from_state")
            machine.transition, machine.since = event.get("transition"), message.time
        elif event.get("name") and isinstance(event["name"], str):
            status = {name: value for name, value in event.items() if name not in _ENVELOPE}
            about = {"name": event["name"], "type": event.get("type"), "time": message.time}
            machine.watchers[event["name"]] = {**about, "status": status}


def _event(data: bytes) -> dict[str, Any] | None:
    """Return the event in a message, as a CloudEvent or bare, or None."""
    try:
        whole: Any = untrusted.load_json(data)
    except ValueError:
        return None
    event = whole.get("data", whole) if isinstance(whole, dict) else None
    if not isinstance(event, dict):
        return None
    texts = ("protocol", "identity", "machine")
    return event if all(isinstance(event.get(name), str) and event[name] for name in texts) else None


def known_to(keys: Iterable[tuple[str, str]], name: str, host: str) -> str:
    """Return a clause for a sentence about a machine without events on a host: the known machines and hosts."""
    pairs = sorted(keys)
    elsewhere = [where for where, machine in pairs if machine == name]
    beside = [machine for where, machine in pairs if where == host]
    if elsewhere:
        return f"it has on {', '.join(elsewhere[:5])}"
    return f"known there: {', '.join(beside[:5])}" if beside else "nor has any other machine there"
