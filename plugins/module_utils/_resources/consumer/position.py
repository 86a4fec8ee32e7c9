# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The position of a consumer: move it, keep it while the consumer is created again, and unpin clients.

To create a consumer again, it is deleted first. Another consumer, the holder, keeps its position meanwhile, and the
messages of a stream by interest. An interrupted run can be repeated, and continues from there. A stream for work queues
allows no second consumer, and needs none, since unacknowledged messages stay in it.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ... import _errors
from ..._api import consumers
from ..._options import fields, untrusted
from .. import resource, shared_fields
from . import facts, table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..._api import jetstream
    from ..._connection import wire

_HOLDER = "choria-streams-position-of-"
# In the holder's metadata: the new start of a consumer that is created again to begin elsewhere
_BEGIN = "choria.streams.begin"


def holder_of(name: str) -> str:
    """Return the name of a consumer's holder."""
    return f"{_HOLDER}{name}"


# Recreation


def continued(config: Mapping[str, Any], info: Mapping[str, Any], stream: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration of the consumer that continues after the acknowledged messages of this one."""
    if stream.get("retention") == "workqueue":
        return dict(config)
    return begun_at(config, facts.position(info, "ack_floor")[0] + 1, facts.declared(info))


def begun_at(config: Mapping[str, Any], sequence: int, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration that starts at a sequence, and stores the declared start."""
    start = {path: asked[path] for path in table.START if asked.get(path)}
    labels = {**(config.get("metadata") or {}), facts.START_MARK: json.dumps(start, sort_keys=True)}
    rest = {path: value for path, value in config.items() if path not in table.START}
    return {**rest, "deliver_policy": "by_start_sequence", "opt_start_seq": sequence, "metadata": labels}


def replacing(
    stream: Mapping[str, Any], info: Mapping[str, Any] | None, holder: Mapping[str, Any] | None, config: dict[str, Any]
) -> list[jetstream.Call[Any]]:
    """Return the calls that create a consumer again, from wherever an earlier run was interrupted."""
    name, home = config["durable_name"], stream["name"]
    create = consumers.creating(home, config)
    if stream.get("retention") == "workqueue":
        return [*([consumers.deleting(home, name)] if info else ()), create]
    away = consumers.deleting(home, holder_of(name))
    if info is None:
        return [create, away]
    return [
        *([away] if holder else ()),
        consumers.creating(home, _holding(info, config)),
        consumers.deleting(home, name),
        create,
        away,
    ]


def resumed(config: dict[str, Any], holder: Mapping[str, Any]) -> dict[str, Any]:
    """Return the desired configuration of an interrupted run that left only the holder."""
    there = holder["config"]
    begin = (there.get("metadata") or {}).get(_BEGIN)
    if begin:
        with suppress(ValueError):  # not ours
            start = untrusted.load_object(begin)
            rest = {path: value for path, value in config.items() if path not in table.START}
            return {**rest, **start}
    return begun_at(config, int(there.get("opt_start_seq") or 1), config)


def _holding(info: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the holder's configuration, with the old position, and a new start if it is desired."""
    kept = {path: info["config"][path] for path in ("filter_subject", "filter_subjects") if path in info["config"]}
    holding = {
        **kept,
        "durable_name": holder_of(config["durable_name"]),
        "ack_policy": "explicit",
        "deliver_policy": "by_start_sequence",
        "opt_start_seq": facts.position(info, "ack_floor")[0] + 1,
    }
    if facts.START_MARK in (config.get("metadata") or {}):
        return holding
    begin = {path: config[path] for path in table.START if path in config}
    return {**holding, "metadata": {_BEGIN: json.dumps(begin, sort_keys=True)}}


def moved_by(
    changes: Iterable[resource.Change], info: Mapping[str, Any], config: Mapping[str, Any]
) -> dict[str, int | None]:
    """Return how many messages are at most delivered again, and how many unprocessed ones are skipped.

    None stands for unknown. A consumer that is created again only moves if its start changes.
    """
    (floor, acked), (last, deliveries) = (facts.position(info, "ack_floor"), facts.position(info, "delivered"))
    if not {change.field for change in changes} & set(table.START):
        return {"messages_redelivered": min(last - floor, deliveries - acked), "messages_skipped": 0}
    policy, begin = config.get("deliver_policy", "all"), int(config.get("opt_start_seq") or 1)
    if policy == "by_start_time":
        return {"messages_redelivered": None, "messages_skipped": None}
    if policy in ("all", "by_start_sequence"):
        return passed_over(info, begin)
    return {"messages_redelivered": 0, "messages_skipped": facts.unprocessed(info)}


def passed_over(info: Mapping[str, Any], sequence: int) -> dict[str, int | None]:
    """Return the same for a consumer that continues at a sequence of the stream."""
    floor, last = facts.position(info, "ack_floor")[0], facts.position(info, "delivered")[0]
    return {
        "messages_redelivered": max(0, last - sequence + 1),
        "messages_skipped": min(facts.unprocessed(info), max(0, sequence - floor - 1)),
    }


def check_skipped(what: str, count: int | None, allowed: bool) -> None:
    """Raise Refused if unprocessed messages would be skipped and that is not allowed."""
    if count == 0 or allowed:
        return
    many = "an unknown number of messages" if count is None else f"{count} message{'' if count == 1 else 's'}"
    raise _errors.Refused(
        f"{what}: beginning elsewhere would pass over {many} that it still has to process: set allow_data_loss: true "
        "if that is wanted.",
        code="data_loss",
        option="allow_data_loss",
        messages_skipped=count,
    )


# Moved


def check_alone(options: Mapping[str, Any], allowed: tuple[str, ...]) -> None:
    """Raise OptionError for options that a reset or an unpinning does not use."""
    for row in table.SPEC:
        if row.option not in ("stream", "name", *allowed) and options.get(row.option) is not None:
            raise _errors.OptionError(row.option, f"does not go with state: {options['state']}: leave it out.")


def resetting(
    info: Mapping[str, Any], sequence: int | None, server: wire.Server
) -> tuple[list[jetstream.Call[Any]], list[resource.Change], dict[str, int | None]]:
    """Return the calls, changes and consequences of a move to a sequence, or back to the last acknowledgement."""
    if server.version < shared_fields.V2_14:
        raise _errors.Refused(
            f"state: reset needs nats-server 2.14.0 (API level 4), and {server.runs}: create the "
            "consumer again with recreate: true and deliver_policy: by_start_sequence, or upgrade the server.",
            code="server_too_old",
            option="state",
        )
    (floor, _acked), (last, _deliveries) = (facts.position(info, "ack_floor"), facts.position(info, "delivered"))
    target = sequence or floor + 1
    if last == floor == target - 1:
        return [], [], {}
    before, after = {"delivered": last, "ack_floor": floor}, {"delivered": target - 1, "ack_floor": target - 1}
    change = resource.Change("position", before, after, fields.IN_PLACE)
    return [consumers.resetting(info["stream_name"], info["name"], sequence)], [change], passed_over(info, target)


def unpinning(
    info: Mapping[str, Any], groups: Iterable[str] | None
) -> tuple[list[jetstream.Call[Any]], list[resource.Change]]:
    """Return the calls and changes that unpin clients from these groups, or from all."""
    existing = set(info["config"].get("priority_groups") or [])
    for group in groups or ():
        if group not in existing:
            there = ", ".join(sorted(existing)) or "none"
            raise _errors.OptionError("priority_groups", f"there is no group '{group}', there are {there}.")
    pinned = {
        group["group"]: group["pinned_client_id"]
        for group in info.get("priority_groups") or []
        if group.get("pinned_client_id") and (not groups or group["group"] in groups)
    }
    calls = [consumers.unpinning(info["stream_name"], info["name"], group) for group in pinned]
    return calls, [
        resource.Change(f"pinned.{group}", client, None, fields.IN_PLACE) for group, client in pinned.items()
    ]


def missing_consumer(stream: str, name: str) -> _errors.StreamsError:
    """Return the error of a missing consumer."""
    return _errors.StreamsError(
        f"name: there is no consumer {name} of stream {stream}: create it first, or check the name.",
        code="no_consumer",
        option="name",
    )
