# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
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
# A waiter that was told of a free seat which it does not need tells another one. Choria's own readers pass over what is
# no event of theirs. Its tokens let a user of governors write to this subject, and an event viewer hear it.
_PASSED_ON = f"choria.lifecycle.event.governor.{COMPONENT}:free"
# Nobody is believed that there is nothing to look for in a longer time, in seconds
_LONGEST_PAUSE = 60.0
_PASSED_ON_PROTOCOL = "io.choria.streams.v1.governor_free"
_LOOKED_PROTOCOL = "io.choria.streams.v1.governor_looked"


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


def looked_subject(governor: str) -> str:
    """Return the subject on which waiters publish that they checked a governor. Events have one word less."""
    return f"choria.lifecycle.event.governor.{COMPONENT}.looked.{governor}"


def looked(session: sessions.Session, governor: str, again: float) -> None:
    """Publish that we looked at a governor, and after how many seconds it is worth to look again."""
    content = {"protocol": _LOOKED_PROTOCOL, "governor": governor, "again": round(again, 3)}
    _send(session, looked_subject(governor), content, wait=False)


def look_again(data: bytes) -> float | None:
    """Return the seconds until the next check from a message on ``looked_subject``, or None if it is invalid."""
    try:
        content = json.loads(data)
        again = float(content["again"]) if content["protocol"] == _LOOKED_PROTOCOL else -1.0
    except (ValueError, TypeError, KeyError):  # anybody may write there
        return None
    return again if 0 <= again <= _LONGEST_PAUSE else None


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


def _send(session: sessions.Session, subject: str, content: dict[str, Any], wait: bool) -> None:
    with suppress(_errors.StreamsError):
        session.publish(subject, json.dumps(content, separators=(",", ":")).encode(), wait=wait)
