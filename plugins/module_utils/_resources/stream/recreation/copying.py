# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read what a copy of a stream needs and how far an earlier run came, and plan the rest."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .... import _errors
from ...._api import consumers, streams
from ...._options import fields
from ... import losses, resource
from ..replicas import patience
from . import configurations, recreate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ...._connection import sessions, wire


def read(session: sessions.Session, name: str, info: dict[str, Any] | None) -> recreate.Copying:
    """Return the progress of an earlier run, from the server's state."""
    temporary = streams.info(session, configurations.temporary_name(name))
    record = configurations.record_of(temporary)
    if temporary is None or record is None:
        tried = temporary and configurations.mark_of(temporary["config"]) == configurations.TRIAL
        return recreate.Copying(leftover=True) if tried else recreate.NOT_COPYING
    if info is None and temporary["config"].get("mirror"):
        return recreate.Copying(leftover=True)  # somebody deleted what was to be copied
    mark = configurations.mark_of(info["config"]) if info else configurations.TARGET
    again = tuple(each["config"]["durable_name"] for each in record["consumers"])
    if not mark:
        finished = configurations.quiet(temporary["config"]) and not temporary["config"].get("mirror")
        return recreate.Copying(done=5 if finished else 0, leftover=True, again=again)
    done = _done(info, temporary["config"], mark)
    # From the second step on, the temporary stream takes what is published
    holder = name if done < 2 else configurations.temporary_name(name)
    state = info["state"] if info and holder == name else temporary["state"]
    origin = {**(info or temporary), "config": record["config"], "state": state}
    remembered = record["consumers"] if done > 1 else ()
    last, release = int(state["last_seq"]), session.server.version
    kept = tuple(configurations.as_info(each, name, last, release) for each in remembered)
    return recreate.Copying(origin, holder, done, True, (), again, kept=kept)


def read_others(session: sessions.Session, name: str, copying: recreate.Copying) -> recreate.Copying:
    """Return the same with the consumers of a stream that will be copied, and the streams that copy from it."""
    found = tuple(consumers.list_all(session, name)) if copying.done < 3 else ()
    names = {*copying.again, *(info["name"] for info in configurations.durable(found))}
    return copying._replace(consumers=found, again=tuple(sorted(names)), sourcing=_sourcing(session, name))


def _done(info: Mapping[str, Any] | None, temporary: Mapping[str, Any], mark: str) -> int:
    if mark == configurations.LOOSENED:
        return 0
    if mark == configurations.ORIGIN:
        # The first step is not done for good before the temporary stream stands for itself
        return 1 if temporary.get("mirror") or configurations.quiet(temporary) else 2
    if info is None:
        return 2
    return 3 if info["config"].get("mirror") else 4


def _sourcing(session: sessions.Session, name: str) -> tuple[str, ...]:
    try:
        found = list(streams.list_all(session))
    except _errors.PermissionMissing:
        return ()
    return tuple(
        info["config"]["name"]
        for info in found
        if any(source["name"] == name and "external" not in source for source in info["config"].get("sources") or [])
    )


def by_copy(
    plan: resource.Plan,
    config: Mapping[str, Any],
    copying: recreate.Copying,
    options: Mapping[str, Any],
    server: wire.Server,
) -> resource.Plan:
    """Return the plan of an update as one that copies. Raises Refused if messages can't be copied."""
    what, stream = f"{plan.noun} {plan.name}", config["name"]
    recreated = [change for change in plan.changes if change.effect == fields.RECREATE]
    if not recreated and copying.done < 2:
        return _turned_back(plan, configurations.steps_back(stream, copying.under_way))
    if not copying.under_way:
        configurations.check_copyable(what, config, plan.request, plan.changes, server)
        configurations.check_downstream(what, copying.sourcing)
        configurations.check_queue(what, config, copying.consumers)
        configurations.check_consumers(what, plan.request, copying.consumers, server)
    lost = len(configurations.passing(copying.consumers))
    steps = configurations.steps(stream, recreated, copying.again, copying.done)
    told = {"consumers_lost": lost, "consumers_recreated": list(copying.again), "steps": steps}
    notes = [f"{number}. {step}" for number, step in enumerate(steps, start=copying.done + 1)]
    if lost:
        notes.append(f"{lost} consumers without a durable name end")
    return replace(
        plan,
        action=resource.COPY,
        wait=patience(options) if int(plan.request.get("num_replicas") or 1) > 1 else 0,
        patience=patience({**options, "wait": True}),
        consequences={**plan.consequences, **told},
        notes=(*plan.notes, *notes),
    )


def _turned_back(plan: resource.Plan, steps: list[str]) -> resource.Plan:
    """Return the plan of an update as one that ends a copy before it changed anything for good."""
    notes = (f"{number}. {step}" for number, step in enumerate(steps, start=1))
    told = {**plan.consequences, "steps": steps}
    return replace(plan, action=resource.COPY, consequences=told, notes=(*plan.notes, *notes))


def anew(plan: resource.Plan, info: Mapping[str, Any], content: str) -> tuple[resource.Plan, losses.Loss]:
    """Return the plan of an update as one that deletes the stream and creates it again, and its losses."""
    configurations.check_name(f"{plan.noun} {plan.name}", plan.request["name"])
    state = info["state"]
    loss = losses.Loss(int(state["messages"]), int(state.get("consumer_count", 0)), "recreating it")
    told, notes = loss.consequences([], content)
    after = plan.after and {**plan.after, **{key: value for key, value in _EMPTY.items() if key in plan.after}}
    if after and "state" in after:
        after["state"] = {key: None if key.endswith("_time") else 0 for key in after["state"]}
    plan = replace(
        plan, action=resource.ANEW, after=after, consequences=told, notes=notes, promise=None, request=_own(plan)
    )
    return plan, loss


def apply(session: sessions.Session, plan: resource.Plan) -> None:
    """Apply such a plan."""
    from . import copy  # few need it

    if plan.action == resource.ANEW:
        copy.make_anew(session, plan.request)
        return
    if plan.renamed_from:
        from . import renaming

        with renaming.in_its_words():
            copy.rename(session, plan.renamed_from, plan.request, plan.patience)
        return
    in_place = not any(change.effect == fields.RECREATE for change in plan.changes)
    copy.copy(session, plan.request, plan.patience, in_place=in_place)


# What results tell of a bucket that is empty
_EMPTY: dict[str, Any] = {"value_count": 0, "key_count": 0, "bytes": 0, "created": None}


def _own(plan: resource.Plan) -> dict[str, Any]:
    """Return the configuration of the new stream. A mirror has the subjects of its origin."""
    mirrored = plan.request.get("mirror")
    return {path: value for path, value in plan.request.items() if not (mirrored and path == "subjects")}
