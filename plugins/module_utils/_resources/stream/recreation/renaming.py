# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stream under a new name: how far an earlier run came, and the plan for the rest.

JetStream can't rename. The new stream is made as a mirror of the old one, takes over what is published, and gets its
consumers, as in the first half of a copy (copy.py). Its metadata has the record of the old stream until that is done.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .... import _errors
from ...._api import consumers, streams
from ...._options import fields
from ... import resource
from ..replicas import patience
from . import configurations, recreate

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ...._connection import sessions, wire

OPTION = "renamed_from"


def read(session: sessions.Session, old: str, new: str) -> tuple[dict[str, Any], recreate.Copying] | None:
    """Return the info of the stream under its old name, and the progress of an earlier run.

    Returns None if there is nothing to rename: the new stream has taken over, or neither exists. Raises Refused.
    """
    if old == new:
        raise _errors.OptionError(OPTION, f"{old} is the name itself: give the old name, or leave it out.")
    there, origin = streams.info(session, new), streams.info(session, old)
    record = configurations.record_of(there)
    if there is None or (record and record["config"].get("name") == old):
        if record is None:
            return (origin, _with_others(session, old, recreate.Copying(holder=old))) if origin else None
        return _resumed(session, origin, there or {}, record)
    if origin is not None:
        raise _errors.Refused(
            f"{OPTION}: there are both {old} and {new}: leave it out where {new} is what it should be, or delete the "
            "one that nobody needs.",
            code="exists",
            option=OPTION,
        )
    return None


def _resumed(
    session: sessions.Session, origin: dict[str, Any] | None, there: dict[str, Any], record: dict[str, Any]
) -> tuple[dict[str, Any], recreate.Copying]:
    old, new = str(record["config"]["name"]), str(there["config"]["name"])
    taken_over = not (there["config"].get("mirror") or configurations.quiet(there["config"]))
    if origin is None and not taken_over:
        raise _errors.Refused(
            f"{OPTION}: stream {old} was deleted by somebody else before all of it was in {new}, which is a mirror of "
            f"what there was: delete {new}, or make it a stream of its own with mirror: {{}}.",
            code="gone",
            option=OPTION,
        )
    marked = origin is not None and bool(configurations.mark_of(origin["config"]))
    holder, done = (there, 2 if origin else 3) if taken_over else (origin or there, 0)
    again = tuple(each["config"]["durable_name"] for each in record["consumers"])
    config = record["config"] if marked or origin is None else origin["config"]
    info = {**holder, "config": config}
    last, release = int(info["state"]["last_seq"]), session.server.version
    kept = tuple(configurations.as_info(each, new, last, release) for each in record["consumers"]) if not origin else ()
    copying = recreate.Copying(info, str(holder["config"]["name"]), done, True, (), again, kept=kept)
    return info, _with_others(session, old, copying) if origin else copying


def _with_others(session: sessions.Session, old: str, copying: recreate.Copying) -> recreate.Copying:
    """Return the state with the consumers of the old stream, and the streams that copy from it under its name."""
    found = tuple(consumers.list_all(session, old))
    names = {*copying.again, *(info["name"] for info in configurations.durable(found))}
    try:
        listed = list(streams.list_all(session))
    except _errors.PermissionMissing:
        listed = []
    copies = tuple(
        info["config"]["name"]
        for info in listed
        for origin in [info["config"].get("mirror") or {}, *(info["config"].get("sources") or [])]
        if origin.get("name") == old and "external" not in origin and configurations.record_of(info) is None
    )
    return copying._replace(consumers=found, again=tuple(sorted(names)), sourcing=copies)


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
        _check(what, config, plan, copying, server)
    lost = len(configurations.passing(copying.consumers))
    steps = [
        f"copy all messages of {old} to {new}",
        f"let {new} take what is published",
        f"delete {old}",
        f"let {', '.join(copying.again)} consume {new}" if copying.again else f"bring {new} into its final shape",
    ][copying.done :]
    notes = [f"{number}. {step}" for number, step in enumerate(steps, start=copying.done + 1)]
    told = {"consumers_lost": lost, "consumers_recreated": list(copying.again), "steps": steps}
    renamed = resource.Change("name", old, new, fields.RECREATE)
    return replace(
        plan,
        action=resource.COPY,
        request={**plan.request, "name": new},
        after={**(plan.after or {}), "name": new},
        changes=(renamed, *plan.changes),
        renamed_from=old,
        first={},
        wait=patience(options) if int(plan.request.get("num_replicas") or 1) > 1 else 0,
        patience=patience({**options, "wait": True}),
        consequences={**plan.consequences, **told},
        notes=(*plan.notes, *notes, *([f"{lost} consumers without a durable name end"] if lost else ())),
    )


def _check(
    what: str, config: Mapping[str, Any], plan: resource.Plan, copying: recreate.Copying, server: wire.Server
) -> None:
    changed = {change.field for change in plan.changes if change.effect == fields.RECREATE}
    reason = configurations.obstacle(config, plan.request, changed, server)
    if copying.sourcing:
        names = ", ".join(sorted(copying.sourcing))
        reason = f"{names} would look for it under its old name: take that mirror or source away first"
    if reason:
        raise _errors.Refused(f"{OPTION}: {what} can't be renamed: {reason}.", code="not_copyable", option=OPTION)
    with in_its_words():
        configurations.check_name(what, plan.name)
        configurations.check_queue(what, config, copying.consumers)
        configurations.check_consumers(what, plan.request, copying.consumers, server)


@contextmanager
def in_its_words() -> Iterator[None]:
    """Convert the errors of a copy to errors of the option that requires it."""
    try:
        yield
    except _errors.StreamsError as error:
        if error.failure.get("option") != "recreate" and not error.message.startswith("recreate: "):
            raise
        error.message = f"{OPTION}: {error.message.removeprefix('recreate: ')}"
        error.failure["option"] = OPTION
        raise
