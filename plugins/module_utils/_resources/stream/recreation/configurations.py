# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes that are impossible in place: whether a copy can make them, and the configurations of its steps. Pure.

A stream is copied to a temporary one, deleted, created again and copied back, as JetStream can't rename. Both copies
are mirrors, which keep sequences, times and headers. They become independent streams once they are complete.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypedDict

from .... import _errors
from ...._api import answers, streams
from ...._options import fields, shapes, untrusted
from ... import subjects
from ...consumer import facts as consumer_facts
from ...consumer.position import begun_at
from . import recreate

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ...._connection import wire
    from ... import resource

ORIGIN, TARGET, TRIAL = "origin", "target", "trial"
# Still live, but without the limits of consumers that keep it from being copied
LOOSENED = "loosened"
_PROMOTION = (2, 12, 0)
RESET = (2, 14, 0)
_LONGEST_NAME, _LARGEST_RECORD, _TRIAL_SIZE = 255, 120 << 10, 1 << 20

# No limit that deletes or refuses, and nothing that is done with a message but to store it
_BARE: dict[str, Any] = {
    "max_msgs": -1,
    "max_bytes": -1,
    "max_age": 0,
    "max_msgs_per_subject": -1,
    "max_msg_size": -1,
    "max_consumers": -1,
    "discard": "old",
    "discard_new_per_subject": False,
    "no_ack": False,
    "subject_delete_marker_ttl": 0,
}
_ACTIVE = ("sources", "republish", "subject_transform", "consumer_limits", "first_seq")
# Fields that a mirror can't have, or that would keep a copy from following its origin
_NOT_MIRRORED = (*streams.NOT_MIRRORED, *_ACTIVE, "mirror", "deny_delete", "deny_purge", "sealed")


# Fields that affect only published or copied messages, and may keep the trial from answering
_NOT_TRIED = ("sources", "mirror", "mirror_direct", "first_seq", "no_ack", "max_msg_size")


def temporary_name(stream: str) -> str:
    """Return the name of a stream's temporary copy."""
    return f"COPY_OF_{stream}"


def private_subject(stream: str) -> str:
    """Return a subject that nobody publishes to, for a stream that must be quiet."""
    return f"choria.streams.copy.{stream}"


# Configurations


def frozen(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the same stream without a subject that others publish to, and without limits that delete messages."""
    kept = {path: value for path, value in config.items() if path not in _ACTIVE}
    retention = "limits" if kept.get("retention") == "interest" else kept.get("retention")
    return {**kept, **_BARE, "retention": retention, "subjects": [private_subject(config["name"])]}


def loosened(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the stream without limits of consumers, which servers would apply to the consumer of a mirror."""
    return marked_as({path: value for path, value in config.items() if path != "consumer_limits"}, LOOSENED)


def tightened(config: Mapping[str, Any], recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Return the original configuration of a loosened stream; any other as it is."""
    if mark_of(config) != LOOSENED:
        return dict(config)
    own = {key: text for key, text in config["metadata"].items() if key != recreate.MARK}
    return {**config, "metadata": own, "consumer_limits": recorded.get("consumer_limits") or {}}


def promoted(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a mirror as a stream of its own, to which nobody publishes yet."""
    return frozen({path: value for path, value in config.items() if path != "mirror"})


def quiet(config: Mapping[str, Any]) -> bool:
    """Return True if nobody publishes to the stream."""
    return config.get("subjects") == [private_subject(config.get("name", ""))]


def waits(temporary: Mapping[str, Any], mark: str) -> bool:
    """Return True if a temporary stream has not replaced one with this mark, which still has all messages."""
    return mark != TARGET and (bool(temporary.get("mirror")) or quiet(temporary))


def as_mirror(config: Mapping[str, Any], name: str, origin: str, **differing: Any) -> dict[str, Any]:
    """Return a mirror that can become a stream of this configuration.

    Its window keeps the ids of copied messages on a single server. Servers of a cluster remove the window of a mirror
    (nats-server server/jetstream.go, fixCfgMirrorWithDedupWindow).
    """
    kept = {path: value for path, value in config.items() if path not in _NOT_MIRRORED}
    retention = "workqueue" if kept.get("retention") == "workqueue" else "limits"
    own = {"name": name, "mirror": {"name": origin}, "allow_direct": False, "mirror_direct": False}
    return {**kept, **_BARE, "retention": retention, **own, **differing}


def as_temporary(config: Mapping[str, Any], desired: Mapping[str, Any], record: str) -> dict[str, Any]:
    """Return the temporary stream for the copy. It is in memory only if both the old and the new stream are."""
    storage = "memory" if config["storage"] == desired["storage"] == "memory" else "file"
    name = temporary_name(config["name"])
    differing = {"storage": storage, "retention": "limits", "metadata": {recreate.RECORD: record}}
    mirror = as_mirror(config, name, config["name"], **differing)
    mirror.pop("persist_mode", None)
    return mirror


def as_stand_in(config: Mapping[str, Any], temporary: Mapping[str, Any]) -> dict[str, Any]:
    """Return the temporary stream for the time when it replaces the stream of this configuration."""
    own = ("name", "storage", "retention", "metadata", "num_replicas", "placement", "persist_mode", "mirror_direct")
    kept = {path: temporary[path] for path in own if path in temporary}
    config = {path: value for path, value in config.items() if path not in (*own, "first_seq", "consumer_limits")}
    return {**config, "deny_delete": False, "deny_purge": False, **kept}


def as_trial(desired: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return an empty stream like the desired one, to test if the server accepts it. It answers publishers."""
    kept = {path: value for path, value in desired.items() if path not in _NOT_TRIED}
    if int(kept.get("max_bytes") or 0) > 0:  # as much as that again need not be free
        kept["max_bytes"] = min(kept["max_bytes"], _TRIAL_SIZE)
    return {**kept, "name": name, "subjects": [private_subject(name)], "metadata": {recreate.MARK: TRIAL}}


# Consumers


def consumer_again(remembered: Remembered, release: tuple[int, ...]) -> tuple[dict[str, Any], int]:
    """Return the configuration of a consumer at its old position, and the sequence to reset it to, 0 for none."""
    config, following = dict(remembered["config"]), remembered["next"]
    beginning = config.get("deliver_policy", "all") in ("all", "by_start_sequence", "by_start_time")
    if following <= 1 and beginning:
        return config, 0
    if release >= RESET and beginning:
        return config, following
    # A start at new messages is no longer new
    return begun_at(config, following, consumer_facts.as_asked(config)), 0


def remembered(info: answers.ConsumerInfo) -> Remembered:
    """Return what is needed to create a consumer again."""
    return {"config": info["config"], "next": shapes.Count(info["ack_floor"]["stream_seq"] + 1)}


def as_info(remembered: Remembered, stream: str, last: int, release: tuple[int, ...]) -> dict[str, Any]:
    """Return the future info of such a consumer. All later messages count as pending, even without a match."""
    config, _reset = consumer_again(remembered, release)
    reached = {"stream_seq": remembered["next"] - 1}
    pending = max(0, last - reached["stream_seq"])
    named = {"name": config["durable_name"], "stream_name": stream, "config": config}
    return {**named, "ack_floor": reached, "delivered": reached, "num_pending": pending}


def durable(infos: Iterable[answers.ConsumerInfo]) -> list[answers.ConsumerInfo]:
    """Return the consumers that stay when nobody uses them, without those of mirrors and sources."""
    return [info for info in infos if info["config"].get("durable_name") and not _internal(info)]


def passing(infos: Iterable[answers.ConsumerInfo]) -> list[answers.ConsumerInfo]:
    """Return the consumers that end with the stream, and that clients create again."""
    return [info for info in infos if not info["config"].get("durable_name") and not _internal(info)]


def _internal(info: answers.ConsumerInfo) -> bool:
    metadata = info["config"].get("metadata") or {}
    return any(key.startswith(("_nats.mirror.", "_nats.source.")) for key in metadata)


# The record


class Remembered(TypedDict):
    """A durable consumer, and the sequence at which it continues."""

    config: answers.ConsumerConfig
    next: shapes.Count


class Record(TypedDict):
    """The stream before it is changed, and the consumers that it had."""

    created: shapes.Time
    config: answers.StreamConfig
    consumers: list[Remembered]


def written(created: str, config: Mapping[str, Any], consumers: Sequence[Remembered]) -> str:
    """Return the record as text, with the origin's creation time. Raises Refused if it is too large."""
    text = json.dumps({"created": created, "config": config, "consumers": list(consumers)})
    if len(text.encode()) > _LARGEST_RECORD:
        raise not_copyable(
            f"stream {config['name']} has too many consumers ({len(consumers)}) to be copied with them: "
            "delete some first."
        )
    return text


def record_of(info: answers.StreamInfo | None) -> Record | None:
    """Return the record of a temporary stream, None for any other."""
    text = (info["config"].get("metadata") or {}).get(recreate.RECORD) if info else None
    try:
        record: Any = untrusted.load_object(text) if text else None
    except ValueError:  # not ours
        return None
    ours: Record | None = None if shapes.problem(record, Record) else record
    return ours if ours and all("durable_name" in each["config"] for each in ours["consumers"]) else None


def mark_of(config: Mapping[str, Any]) -> str:
    """Return the mark of a stream, or an empty text."""
    return str((config.get("metadata") or {}).get(recreate.MARK, ""))


def marked_as(config: Mapping[str, Any], mark: str) -> dict[str, Any]:
    """Return the configuration with a mark."""
    return {**config, "metadata": {**(config.get("metadata") or {}), recreate.MARK: mark}}


# Refusals


def not_copyable(reason: str, **failure: int) -> _errors.Refused:
    """Return the error for a stream that can't be copied, with the reason as the rest of a sentence."""
    return _errors.Refused(f"recreate: {reason}", code="not_copyable", option="recreate", **failure)


def check_copyable(
    what: str,
    config: Mapping[str, Any],
    desired: Mapping[str, Any],
    changes: Iterable[resource.Change],
    server: wire.Server,
) -> None:
    """Raise Refused if messages can't be copied from one configuration to the other without loss."""
    check_name(what, config["name"])
    named = {change.field for change in changes if change.effect == fields.RECREATE}
    reason = obstacle(config, desired, named, server)
    if reason:
        raise not_copyable(f"{what} can't be copied: {reason}. With recreate: true it is deleted and created again.")


def obstacle(config: Mapping[str, Any], desired: Mapping[str, Any], named: set[str], server: wire.Server) -> str:
    """Return why messages can't be copied from one configuration to the other, or an empty text."""
    if server.version < _PROMOTION:
        return f"that needs nats-server 2.12, and {server.runs}"
    if config.get("mirror") or desired.get("mirror"):
        return "the messages of a mirror are those of its origin, and are copied from there"
    if config.get("allow_msg_counter") or desired.get("allow_msg_counter"):
        return "the server copies no counters to where they go on counting"
    if config.get("allow_msg_schedules"):
        return "the server forgets the schedules of copied messages"
    if config.get("sealed"):
        return "the server changes nothing of a sealed stream"
    if "first_seq" in named:
        return "a copy keeps the sequence numbers, and first_seq would change them"
    return ""


def check_name(what: str, stream: str) -> None:
    """Raise Refused if the temporary name, which the trial also uses, is invalid."""
    if len(temporary_name(stream)) > _LONGEST_NAME:
        raise not_copyable(
            f"the name of {what} is too long for {temporary_name('…')}, as which the server is asked whether "
            "it takes the new one: delete it with state: absent, then create it."
        )


def check_downstream(what: str, sourcing: Iterable[str]) -> None:
    """Raise Refused if other streams would copy messages twice."""
    names = ", ".join(sorted(sourcing))
    if names:
        raise not_copyable(
            f"{what} is among the sources of {names}, which could take its messages twice: remove "
            "that source first, and add it again with opt_start_seq afterwards."
        )


def check_queue(what: str, config: Mapping[str, Any], infos: Iterable[answers.ConsumerInfo]) -> None:
    """Raise Refused if a mirror would remove messages from a work queue that no consumer waits for."""
    if config.get("retention") != "workqueue":
        return
    heard = [subject for info in durable(infos) for subject in subjects.filters(info["config"])]
    unheard = [
        subject for subject in config.get("subjects") or [] if not any(subjects.covers(each, subject) for each in heard)
    ]
    if unheard:
        raise not_copyable(
            f"{what} is a work queue in which no consumer waits for {', '.join(unheard)}, and copying "
            "removes messages that no consumer waits for: create such a consumer first."
        )


def check_consumers(
    what: str, desired: Mapping[str, Any], infos: Iterable[answers.ConsumerInfo], server: wire.Server
) -> None:
    """Raise Refused if consumers could not continue at their positions."""
    if desired.get("retention") != "workqueue" or server.version >= RESET:
        return
    moved = [info["name"] for info in durable(infos) if info["ack_floor"]["stream_seq"]]
    if moved:
        raise not_copyable(
            f"{what} has consumers that could not go on where they are before nats-server 2.14: delete "
            f"{', '.join(moved)} first."
        )


# Steps in words


def steps_back(stream: str, again: bool) -> list[str]:
    """Return the steps that end a copy before it changed anything for good."""
    return [f"delete {temporary_name(stream)}", *([f"let {stream} go on as before"] if again else [])]


def steps(stream: str, changed: Iterable[resource.Change], again: Sequence[str], done: int = 0) -> list[str]:
    """Return the steps in order, without the ``done`` first ones."""
    temporary = temporary_name(stream)
    other = ", ".join(f"{change.field} {_errors.in_words(change.after)}" for change in changed)
    sentences = [
        f"copy all messages to {temporary}",
        f"let {temporary} take what is published",
        f"delete {stream}, and create it again{f' with {other}' if other else ''}",
        f"copy all messages back to {stream}",
        f"let {stream} take what is published" + (f", and {', '.join(again)} consume it" if again else ""),
        f"delete {temporary}",
    ]
    return sentences[done:]
