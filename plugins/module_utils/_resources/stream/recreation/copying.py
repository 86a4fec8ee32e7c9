# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read what a copy or a new name of a stream needs and how far an earlier run came, and plan the rest.

JetStream can't rename. The new stream is made as a mirror of the old one, takes over what is published, and gets its
consumers, as in the first half of a copy (copy.py). Its metadata has the record of the old stream until that is done.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .... import _errors
from ...._api import consumers, lists, streams
from ...._options import fields
from ... import losses, resource
from ..replicas import patience
from . import configurations, recreate

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ...._api import answers
    from ...._connection import sessions, wire


def read(session: sessions.Session, name: str, info: answers.StreamInfo | None) -> recreate.Copying:
    """Return the progress of an earlier run, from the server's state."""
    temporary = streams.info(session, configurations.temporary_name(name))
    record = configurations.record_of(temporary)
    if temporary is None or record is None:
        tried = temporary and configurations.mark_of(temporary["config"]) == configurations.TRIAL
        return recreate.Copying(leftover=True) if tried else recreate.NOT_COPYING
    if info is None and temporary["config"].get("mirror"):
        return recreate.Copying(leftover=True)  # the stream to copy was deleted meanwhile
    mark = configurations.mark_of(info["config"]) if info else configurations.TARGET
    again = tuple(each["config"]["durable_name"] for each in record["consumers"])
    if not mark:
        finished = configurations.quiet(temporary["config"]) and not temporary["config"].get("mirror")
        return recreate.Copying(done=5 if finished else 0, leftover=True, again=again)
    done = _done(info, temporary["config"], mark)
    # From the second step on, the temporary stream stores new messages
    holder = name if done < 2 else configurations.temporary_name(name)
    state = info["state"] if info and holder == name else temporary["state"]
    origin: answers.StreamInfo = {**(info or temporary), "config": record["config"], "state": state}
    remembered = record["consumers"] if done > 1 else []
    last, release = state["last_seq"], session.server.version
    kept = tuple(configurations.as_info(each, name, last, release) for each in remembered)
    return recreate.Copying(origin, holder, done, True, (), again, kept=kept)


def read_others(
    session: sessions.Session, name: str, copying: recreate.Copying, *, renamed: bool = False
) -> recreate.Copying:
    """Return the same with the consumers of a stream to copy or rename, and the streams that copy from it."""
    infos = tuple(consumers.list_all(session, name)) if renamed or copying.done < 3 else ()
    names = {*copying.again, *(info["name"] for info in configurations.durable(infos))}
    try:
        listed = list(lists.streams(session))
    except _errors.PermissionMissing:
        listed = []
    sourcing = tuple(info["config"]["name"] for info in listed if _copies_from(name, info, renamed))
    return copying._replace(consumers=infos, again=tuple(sorted(names)), sourcing=sourcing)


def _copies_from(name: str, info: answers.StreamInfo, renamed: bool) -> bool:
    """Return True for a stream with this source, and for a mirror if its origin gets a new name."""
    if renamed and configurations.record_of(info) is not None:
        return False  # the new stream itself
    mirror = info["config"].get("mirror") if renamed else None
    origins = [*([mirror] if mirror else []), *(info["config"].get("sources") or [])]
    return any(each.get("name") == name and "external" not in each for each in origins)


def _done(info: answers.StreamInfo | None, temporary: Mapping[str, Any], mark: str) -> int:
    if mark == configurations.LOOSENED:
        return 0
    if mark == configurations.ORIGIN:
        # The first step is not done for good before the temporary stream stands for itself
        return 1 if temporary.get("mirror") or configurations.quiet(temporary) else 2
    if info is None:
        return 2
    return 3 if info["config"].get("mirror") else 4


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
    return _copied(plan, copying, options, configurations.steps(stream, recreated, copying.again, copying.done))


def _copied(
    plan: resource.Plan, copying: recreate.Copying, options: Mapping[str, Any], steps: list[str], **differing: Any
) -> resource.Plan:
    """Return the plan with these steps, which copy all messages."""
    lost = len(configurations.passing(copying.consumers))
    consequences = {"consumers_lost": lost, "consumers_recreated": list(copying.again), "steps": steps}
    notes = [f"{number}. {step}" for number, step in enumerate(steps, start=copying.done + 1)]
    if lost:
        notes.append(f"{lost} consumers without a durable name end")
    return replace(
        plan,
        action=resource.COPY,
        wait=patience(options) if int(plan.request.get("num_replicas") or 1) > 1 else 0,
        patience=patience({**options, "wait": True}),
        consequences={**plan.consequences, **consequences},
        notes=(*plan.notes, *notes),
        **differing,
    )


def _turned_back(plan: resource.Plan, steps: list[str]) -> resource.Plan:
    """Return the plan of an update as one that ends a copy before it changed anything for good."""
    notes = (f"{number}. {step}" for number, step in enumerate(steps, start=1))
    consequences = {**plan.consequences, "steps": steps}
    return replace(plan, action=resource.COPY, consequences=consequences, notes=(*plan.notes, *notes))


def by_deletion(plan: resource.Plan, state: Mapping[str, Any], content: str) -> tuple[resource.Plan, losses.Loss]:
    """Return the plan of an update as one that deletes the stream and creates it again, and its losses.

    ``state`` is that of the present stream.
    """
    configurations.check_name(f"{plan.noun} {plan.name}", plan.request["name"])
    loss = losses.Loss(state["messages"], state["consumer_count"], "recreating it")
    consequences, notes = loss.consequences([], content)
    after = plan.after and {**plan.after, **{key: value for key, value in _EMPTY.items() if key in plan.after}}
    if after and "state" in after:
        after["state"] = {key: None if key.endswith("_time") else 0 for key in after["state"]}
    plan = replace(
        plan,
        action=resource.RECREATE,
        after=after,
        consequences=consequences,
        notes=notes,
        promise=None,
        request=_own_values(plan),
    )
    return plan, loss


def apply(session: sessions.Session, plan: resource.Plan) -> None:
    """Apply such a plan."""
    from . import copy  # few need it

    if plan.action == resource.RECREATE:
        copy.create_again(session, plan.request)
        return
    if plan.renamed_from:
        with errors_of_renaming():
            copy.rename(session, plan.renamed_from, plan.request, plan.patience)
        return
    in_place = not any(change.effect == fields.RECREATE for change in plan.changes)
    copy.copy(session, plan.request, plan.patience, in_place=in_place)


# The facts of an empty bucket in results
_EMPTY: dict[str, Any] = {"value_count": 0, "key_count": 0, "bytes": 0, "created": None}


def _own_values(plan: resource.Plan) -> dict[str, Any]:
    """Return the configuration of the new stream. A mirror has the subjects of its origin."""
    mirrored = plan.request.get("mirror")
    return {path: value for path, value in plan.request.items() if not (mirrored and path == "subjects")}


OPTION = "renamed_from"


def read_renamed(session: sessions.Session, old: str, new: str) -> tuple[answers.StreamInfo, recreate.Copying] | None:
    """Return the info of the stream under its old name, and the progress of an earlier run.

    Returns None if there is nothing to rename: the new stream has taken over, or neither exists. Raises Refused.
    """
    if old == new:
        raise _errors.OptionError(OPTION, f"{old} is the name itself: give the old name, or leave it out.")
    there, origin = streams.info(session, new), streams.info(session, old)
    record = configurations.record_of(there)
    if there is None:
        return (origin, read_others(session, old, recreate.Copying(holder=old), renamed=True)) if origin else None
    if record and record["config"]["name"] == old:
        return _resumed(session, origin, there, record)
    if origin is not None:
        raise _errors.Refused(
            f"{OPTION}: there are both {old} and {new}: leave it out where {new} is what it should be, or delete the "
            "one that nobody needs.",
            code="exists",
            option=OPTION,
        )
    return None


def _resumed(
    session: sessions.Session,
    origin: answers.StreamInfo | None,
    there: answers.StreamInfo,
    record: configurations.Record,
) -> tuple[answers.StreamInfo, recreate.Copying]:
    old, new = record["config"]["name"], there["config"]["name"]
    taken_over = not (there["config"].get("mirror") or configurations.quiet(there["config"]))
    if origin is None and not taken_over:
        raise _errors.Refused(
            f"{OPTION}: stream {old} was deleted by somebody else before all of it was in {new}, which is a mirror of "
            f"what there was: delete {new}, or make it an independent stream with mirror: {{}}.",
            code="gone",
            option=OPTION,
        )
    marked = origin is not None and bool(configurations.mark_of(origin["config"]))
    holder, done = (there, 2 if origin else 3) if taken_over else (origin or there, 0)
    again = tuple(each["config"]["durable_name"] for each in record["consumers"])
    config = record["config"] if marked or origin is None else origin["config"]
    info: answers.StreamInfo = {**holder, "config": config}
    last, release = info["state"]["last_seq"], session.server.version
    kept = tuple(configurations.as_info(each, new, last, release) for each in record["consumers"]) if not origin else ()
    copying = recreate.Copying(info, holder["config"]["name"], done, True, (), again, kept=kept)
    return info, read_others(session, old, copying, renamed=True) if origin else copying


def as_rename(
    plan: resource.Plan,
    old: str,
    config: Mapping[str, Any],
    copying: recreate.Copying,
    options: Mapping[str, Any],
    server: wire.Server,
) -> resource.Plan:
    """Return the plan of an update as one that renames. Raises Refused if messages can't be moved without loss."""
    new = str(options["name"])
    what = f"stream {old}"
    if not copying.done:
        _check_renamed(what, config, plan, copying, server)
    steps = [
        f"copy all messages of {old} to {new}",
        f"let {new} take what is published",
        f"delete {old}",
        f"let {', '.join(copying.again)} consume {new}" if copying.again else f"bring {new} into its final shape",
    ]
    return _copied(
        plan,
        copying,
        options,
        steps[copying.done :],
        request={**plan.request, "name": new},
        after={**(plan.after or {}), "name": new},
        changes=(resource.Change("name", old, new, fields.RECREATE), *plan.changes),
        renamed_from=old,
        first={},
    )


def _check_renamed(
    what: str, config: Mapping[str, Any], plan: resource.Plan, copying: recreate.Copying, server: wire.Server
) -> None:
    changed = {change.field for change in plan.changes if change.effect == fields.RECREATE}
    reason = configurations.obstacle(config, plan.request, changed, server)
    if copying.sourcing:
        names = ", ".join(sorted(copying.sourcing))
        reason = f"{names} would look for it under its old name: take that mirror or source away first"
    if reason:
        raise _errors.Refused(f"{OPTION}: {what} can't be renamed: {reason}.", code="not_copyable", option=OPTION)
    with errors_of_renaming():
        configurations.check_name(what, plan.name)
        configurations.check_queue(what, config, copying.consumers)
        configurations.check_consumers(what, plan.request, copying.consumers, server)


@contextmanager
def errors_of_renaming() -> Iterator[None]:
    """Convert the errors of a copy to errors of the option that requires it."""
    try:
        yield
    except _errors.StreamsError as error:
        if error.failure.get("option") != "recreate" and not error.message.startswith("recreate: "):
            raise
        error.message = f"{OPTION}: {error.message.removeprefix('recreate: ')}"
        error.failure["option"] = OPTION
        raise
