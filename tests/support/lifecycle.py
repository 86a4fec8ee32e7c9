# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lifecycle events of a governor, from the broker's stream."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ansible_collections.choria.streams.plugins.module_utils._api import reading
from ansible_collections.choria.streams.plugins.module_utils._options.quantities import parse_timestamp

if TYPE_CHECKING:
    from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session


@dataclass(frozen=True)
class GovernorEvent:
    """One event: its kind, the identity, and when the broker stored it, in seconds."""

    kind: str
    identity: str
    moment: float


def governor_events(session: Session, governor: str) -> list[GovernorEvent]:
    """Return all events of a governor, in order."""
    stored = reading.onward(session, "CHORIA_EVENTS", "choria.lifecycle.event.governor.>")
    found = [(message.time, json.loads(message.data)) for message in stored]
    return [
        GovernorEvent(event["event_type"], event["identity"], parse_timestamp(moment).timestamp())
        for moment, event in found
        if event.get("governor") == governor and "event_type" in event
    ]


def gap(session: Session, governor: str, leaver: str, follower: str, timeout: float = 30.0) -> float:
    """Wait for the entry after the last exit. Return the seconds between them."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        events = governor_events(session, governor)
        exits = [event.moment for event in events if (event.kind, event.identity) == ("exit", leaver)]
        entries = [event.moment for event in events if (event.kind, event.identity) == ("enter", follower)]
        if exits and entries and entries[-1] > exits[-1]:
            return entries[-1] - exits[-1]
        time.sleep(0.1)
    raise AssertionError(f"{follower} did not enter {governor} after {leaver} left: {events}")
