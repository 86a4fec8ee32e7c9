# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Leases: take seats in one task and give them back in another, and manage the seats of others."""

from __future__ import annotations

import socket
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ... import _errors
from ..._options import codecs, fields, names, quantities
from ..._resources.governor import events
from ..._resources.governor.seats import SeatId
from ..signals import OUTPUT, Signals, is_output_closed
from ..wake import Wake
from . import governor as governors
from .campaign import MOMENT, Wait, campaign, find
from .governor import Governor, Seat

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..._connection import sessions

# The options of a campaign, for leases and for the action that runs tasks
TERMS = fields.Spec(
    (
        fields.Field("name", names.GOVERNOR_NAME, argument_extra={"required": True}),
        fields.Field("max_wait", codecs.duration(), argument_extra={"default": "5m"}),
        fields.Field("max_per_period", codecs.boolean(), argument_extra={"default": False}),
        fields.Field("on_timeout", codecs.choice("fail", "skip")),
    )
)
LEASE = TERMS.merge(
    fields.Spec(
        (
            fields.Field(
                "state", codecs.choice("acquired", "released", "evicted", "reset"), argument_extra={"required": True}
            ),
            fields.Field("lease_id", codecs.text()),
        )
    )
)
# The action's count of hosts that wait for each other, with the forks and the throttle of the task
LOCKSTEP = "lockstep"
# The action's mark for lease_id: null, as acquired returns it without a seat, since modules treat null as not given
NO_SEAT = "no_seat"
_ONE_TASK = "choria_governor_run, which takes the seat and gives it back in one task"
_PATIENCE = 30.0
_HOLDERS = 5


@dataclass(frozen=True)
class Terms:
    """The options of a campaign. ``max_wait`` is in seconds, ``skip`` is True to go on without a seat after that.

    ``keep`` leaves the seat taken until it expires, which limits the number of runs per period.
    """

    name: str
    max_wait: float
    keep: bool
    skip: bool

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Terms:
        """Return the terms in options. Raises OptionError."""
        max_wait = _errors.checked("max_wait", quantities.parse_duration, options["max_wait"])
        keep = bool(options["max_per_period"])
        # As in Choria: with a limit for each period, it is no failure if no more may run in this period
        skip = options["on_timeout"] == "skip" or (keep and options["on_timeout"] is None)
        return cls(governors.checked_name(options["name"]), max_wait, keep, skip)


def report(governor: Governor, identity: str, seat: Seat | None = None, **more: Any) -> dict[str, Any]:
    """Return what results show of a seat. Durations are in seconds."""
    times = {"waited": round(seat.waited, 3) if seat else 0.0, "held": 0.0}
    return {"name": governor.name, "identity": identity, "seat": seat.sequence if seat else None, **times, **more}


def timed_out(session: sessions.Session, terms: Terms, governor: Governor, identity: str, wait: Wait) -> dict[str, Any]:
    """Return the result without a seat in time."""
    waited = wait.elapsed
    if not terms.keep:
        events.publish(session, events.TIMEOUT, governor.name, identity)
    if wait.missed:
        message = (
            f"No seat in governor {governor.name} could be used within max_wait ({terms.max_wait:g}s): {wait.missed}."
        )
        remedy = " Raise max_wait, or set on_timeout: skip."
    else:
        message = (
            f"No seat in governor {governor.name} became free within max_wait ({terms.max_wait:g}s): "
            f"all {governor.capacity} are taken{_holders_in_words(session, governor)}."
        )
        remedy = " Raise max_wait, or the governor's capacity, or set on_timeout: skip."
    result = {"changed": False, "msg": message, "governor": report(governor, identity, waited=round(waited, 3))}
    if terms.skip:
        return {**result, "skipped": True, "skip_reason": message}
    failure = {"code": "governor_timeout", "option": "max_wait"}
    return {**result, "failed": True, "msg": message + remedy, "failure": failure}


def _holders_in_words(session: sessions.Session, governor: Governor) -> str:
    """Return the holders of seats, in words that follow on "taken", or an empty text if they are unknown."""
    holders: list[str] = []
    with suppress(_errors.StreamsError):
        holders = [seat["name"] for seat in governors.list_seats(session, governor.name)]
    shown = ", ".join(holders[:_HOLDERS]) + (f" and {len(holders) - _HOLDERS} more" if len(holders) > _HOLDERS else "")
    return f" by {shown}" if shown else ""


def act(session: sessions.Session, options: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Return the whole result of the module choria_governor_lease."""
    does = {"acquired": _acquire, "released": _release, "evicted": _evict, "reset": _reset}[options["state"]]
    return does(session, options, check_mode)


def _acquire(session: sessions.Session, options: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    terms, identity = Terms.from_options(options), _identity(session)
    lockstep = options.get(LOCKSTEP, {})
    if check_mode:
        return _prospect(session, terms, identity, lockstep)
    with Signals() as signals, Wake(signals, output=OUTPUT) as wake:
        wait = Wait(terms.max_wait, lambda: signals.pending or is_output_closed(), wake.fd)
        try:
            governor = find(session, terms.name, wait)
            _check_lockstep(terms, governor, **lockstep)
            seat = campaign(session, governor, identity, wait)
            seat = _refreshed(session, seat) if seat else None
        except _errors.StreamsError as error:
            error.result.setdefault("lease_id", None)
            raise
        if seat and wait.stopped:
            governors.leave(session, seat, 1 if signals.pending else _PATIENCE)
    if seat is None:
        return {"lease_id": None, **timed_out(session, terms, governor, identity, wait)}
    return {
        "changed": True,
        "lease_id": str(seat.id),
        "governor": report(seat.governor, identity, seat, expires=seat.expires),
    }


def _refreshed(session: sessions.Session, seat: Seat) -> Seat:
    """Return the seat with its present governor, which may have been created again during the wait."""
    with suppress(_errors.StreamsError), session.within(MOMENT):
        governor = governors.read(session, seat.governor.name)
        return replace(seat, governor=governor, id=seat.id._replace(created=governor.created))
    return seat  # its id is enough to give it back


def _prospect(session: sessions.Session, terms: Terms, identity: str, lockstep: dict[str, int]) -> dict[str, Any]:
    """Return the result of taking a seat in check mode."""
    governor = governors.read_if_there(session, terms.name)
    if governor is None:
        message = f"Would take a seat in governor {terms.name}, which does not exist yet."
        return {"changed": True, "lease_id": None, "msg": message}
    _check_lockstep(terms, governor, **lockstep)
    shown = report(governor, identity)
    return {"changed": True, "lease_id": None, "msg": f"Would {governor.prospect}.", "governor": shown}


def _release(session: sessions.Session, options: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    if options["lease_id"] is None:
        if not options.get(NO_SEAT):
            raise _errors.OptionError("lease_id", "is needed to give a seat back: give the one that acquired returned.")
        # Before the governor is read, which in check mode may not be there yet
        governors.checked_name(options["name"])
        no_seat = "There is no seat to give back, since lease_id is null."
        message = "Would give back the seat. Check mode takes none." if check_mode else no_seat
        return {"changed": check_mode, "lease_id": None, "msg": message}
    governor, identity = _read(session, options), _identity(session)
    seat = _errors.checked("lease_id", SeatId.parse, options["lease_id"])
    result: dict[str, Any] = {"lease_id": options["lease_id"], "governor": report(governor, identity)}
    located = governors.locate(session, governor, seat)
    if located is None:
        return {"changed": False, "msg": _not_taken(governor, seat, governors.gone_since(governor, seat)), **result}
    seat, holder = located
    if holder != identity:
        raise _errors.Refused(
            f"Seat {seat.sequence} of governor {governor.name} is held by '{holder}' and not by '{identity}': give the "
            "lease_id of your own seat, set identity to the name that took it, or evict it with state: evicted.",
            code="not_ours",
            option="lease_id",
            holder=holder,
        )
    if check_mode:
        return {"changed": True, **result}
    lost = governors.leave(session, Seat(governor, seat, identity, 0.0, governors.uptime()), _PATIENCE)
    return {"changed": not lost, **({"msg": _not_taken(governor, seat, lost)} if lost else {}), **result}


def _not_taken(governor: Governor, seat: SeatId, reason: str) -> str:
    if not seat.sequence:
        return f"The request took no seat of governor {governor.name}, or its seat is not taken any more: {reason}."
    return f"Seat {seat.sequence} of governor {governor.name} is not taken any more: {reason}."


def _evict(session: sessions.Session, options: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Evict a seat by its id or number, by its holder's name, or by both."""
    governor, name = _read(session, options), options["identity"]
    if options["lease_id"] is None and not name:
        raise _errors.OptionError(
            "lease_id", "is needed to evict, or identity: the id of the seat, or the name of its holder."
        )
    seats = governors.list_seats(session, governor.name)
    if options["lease_id"] is not None:
        lease_id = _errors.checked("lease_id", SeatId.parse, options["lease_id"])
        seats = [seat for seat in seats if lease_id.names(seat["lease_id"])]
        others = [seat["name"] for seat in seats if name and seat["name"] != name]
        if others:
            raise _errors.Refused(
                f"Seat {lease_id.sequence} of governor {governor.name} is held by '{others[0]}' and not by '{name}': "
                "leave out identity, or give the lease_id of that name's seat.",
                code="not_ours",
                option="lease_id",
                holder=others[0],
            )
    else:
        seats = [seat for seat in seats if seat["name"] == name]
    if not check_mode:
        seats = [seat for seat in seats if governors.evict(session, governor, seat)]
    return {"changed": bool(seats), "seats": seats}


def _reset(session: sessions.Session, options: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    governor = _read(session, options)
    seats = governors.list_seats(session, governor.name) if check_mode else governors.reset(session, governor)
    return {"changed": bool(seats), "seats": seats}


def _check_lockstep(terms: Terms, governor: Governor, hosts: int = 0, forks: int = 0, throttle: int = 0) -> None:
    """Refuse a deadlock: no host gets to the task that gives its seat back before all have one.

    With a free strategy, ``forks`` waiting hosts leave no process for that task. With ``throttle``, free strategies
    run no task of other hosts while they hold one back.
    """
    waiting, alone = hosts - governor.capacity, forks or throttle
    if waiting < 1 or terms.keep or terms.skip or (alone and not terms.max_wait):
        return
    held_back = 0 < throttle < waiting
    if alone and not held_back and not 0 < forks <= waiting:
        return
    option = "strategy"
    remedy = f"use {_ONE_TASK}, set 'serial: {governor.capacity}' or less in the play, or use 'strategy: host_pinned'"
    if held_back:
        option, remedy = "throttle", f"leave throttle out, or use {_ONE_TASK}"
        problem = (
            f"throttle: while it holds back one of the {hosts} hosts that run this task, Ansible gives no other its "
            f"next task, so that no seat of governor {governor.name} is ever given back"
        )
    elif forks:
        problem = (
            f"{hosts} hosts run this task with {forks} forks, and those that wait for one of the {governor.capacity} "
            f"seats of governor {governor.name} take them all, so that no seat is ever given back"
        )
    else:
        problem = (
            f"{hosts} hosts run this task together, and only go on when each has a seat, but governor {governor.name} "
            f"has {governor.capacity}"
        )
    raise _errors.Refused(
        f"{problem}: {remedy}.", code="lockstep", option=option, hosts=hosts, capacity=governor.capacity
    )


def _read(session: sessions.Session, options: Mapping[str, Any]) -> Governor:
    return governors.read(session, governors.checked_name(options["name"]))


def _identity(session: sessions.Session) -> str:
    return session.settings.identity or socket.getfqdn()
