# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lifecycle events of governors, written as Choria writes them, and read as bare JSON or as CloudEvents."""

from __future__ import annotations

import json
import time
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ... import _errors
from ..._options import untrusted

if TYPE_CHECKING:
    from ..._connection import sessions

ENTER, EXIT, TIMEOUT, EVICTION = "enter", "exit", "timeouts", "eviction"
COMPONENT = "ansible"
# One word for the component, such as CLI, or the name of an autonomous agent
SUBJECTS = "choria.lifecycle.event.governor.*"
_PROTOCOL = "io.choria.lifecycle.v1.governor"
# A waiter that does not take the free seat of an event wakes another one here. Choria's own readers skip messages that
# are no events. Its tokens let a user of governors publish to this subject, and an event viewer subscribe to it.
_PASSED_ON = f"choria.lifecycle.event.governor.{COMPONENT}:free"
# The latest time of an expiry that a message reports, in seconds
_LATEST = 60.0
_PASSED_ON_PROTOCOL = "io.choria.streams.v1.governor_free"
_CHECKED_PROTOCOL = "io.choria.streams.v1.governor_looked"


def publish(
    session: sessions.Session, event_type: str, governor: str, identity: str, sequence: int = 0, *, wait: bool = True
) -> None:
    """Publish a lifecycle event. Failures are ignored, since nobody may listen. ``wait`` is that of the Session."""
    event = {
        "protocol": _PROTOCOL,
        "id": str(uuid.uuid4()),
        "identity": identity,
        "component": COMPONENT,
        "timestamp": int(time.time()),
        "governor": governor,
        "sequence": sequence,
        "event_type": event_type,
    }
    _send(session, f"choria.lifecycle.event.governor.{COMPONENT}", event, wait)


def pass_on(session: sessions.Session, governor: str) -> None:
    """Wake one waiter for a free seat that this one does not take."""
    _send(session, _PASSED_ON, {"protocol": _PASSED_ON_PROTOCOL, "governor": governor}, wait=True)


def checked_subject(governor: str) -> str:
    """Return the subject on which waiters publish that they checked a governor. Events have one word less."""
    return f"choria.lifecycle.event.governor.{COMPONENT}.looked.{governor}"


def checked(session: sessions.Session, governor: str, expiry: float) -> None:
    """Publish that this waiter checked a governor, and in how many seconds its oldest seat expires."""
    content = {"protocol": _CHECKED_PROTOCOL, "governor": governor, "again": round(min(expiry, _LATEST), 3)}
    _send(session, checked_subject(governor), content, wait=False)


def next_expiry(data: bytes) -> float | None:
    """Return the seconds until a seat expires from a message on ``checked_subject``, or None if it is invalid."""
    try:
        content = untrusted.load_json(data)
        again = float(content["again"]) if content["protocol"] == _CHECKED_PROTOCOL else -1.0
    except (ValueError, TypeError, KeyError, OverflowError):  # any client may publish there
        return None
    return again if 0 <= again <= _LATEST else None


def frees_seat(data: bytes, governor: str) -> bool:
    """Return True if a message on SUBJECTS reports a free seat of the governor."""
    try:
        event: Any = untrusted.load_json(data)
    except ValueError:
        return False
    if isinstance(event, dict) and isinstance(event.get("data"), dict):
        event = event["data"]
    if not isinstance(event, dict) or event.get("governor") != governor:
        return False
    return event.get("protocol") == _PASSED_ON_PROTOCOL or event.get("event_type") in (EXIT, EVICTION)


def is_early(subject: str) -> bool:
    """Return True if an event may come before its seat is free, which those of this collection never do."""
    return subject.rpartition(".")[2].partition(":")[0] != COMPONENT


def _send(session: sessions.Session, subject: str, content: dict[str, Any], wait: bool) -> None:
    with suppress(_errors.StreamsError):
        session.publish(subject, json.dumps(content, separators=(",", ":")).encode(), wait=wait)
