# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The work of choria_restore: check a backup before anything is sent, restore it, and compare the outcome."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ... import _errors
from ..._api import accounts, consumers, lists, peers, streams
from ..._options import codecs, fields, names, quantities
from ..._resources import account_limits, placing, resource, shared_fields
from . import on_disk, sets
from .backup import MESSAGES_SINCE, positions, same_state, settings
from .on_disk import FILES
from .transfer import Target, check_copied, copied, forget_between, sent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..._api import answers
    from ..._connection import sessions

# Replicas and consumers of a cluster are there a moment later
_SETTLING, _PAUSE = 60.0, 0.05

RESTORE = fields.Spec(
    (
        fields.Field("path", codecs.Codec({"type": "path"}), argument_extra={"required": True}),
        fields.Field("stream", names.STREAM_NAME),
        fields.Field("bucket", names.BUCKET_NAME),
        fields.Field("streams", codecs.names()),
        fields.Field("subjects", codecs.names(names.SUBJECT)),
        fields.Field(shared_fields.REPLICAS.option, shared_fields.REPLICAS.codec, wire=shared_fields.REPLICAS.wire),
        fields.Field("consumers", codecs.boolean(), argument_extra={"default": True}),
    ),
    {"mutually_exclusive": [("stream", "bucket", "streams"), ("bucket", "subjects"), ("streams", "subjects")]},
)


def restore(session: sessions.Session, options: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Restore backups, except streams that are the same. Return the whole result."""
    given = fields.checked(RESTORE, options.get)
    path = Path(given["path"])
    several = "streams" in given or sets.is_set(path)
    paths = _chosen(path, given) if several else [path]
    targets = [_target({**given, "path": each}) for each in paths]
    infos = streams.info_many(session, [each.name for each in targets])
    limits: Mapping[str, Any] = {} if all(infos) else accounts.info(session)
    for each, info in zip(targets, infos):
        if info is not None:
            _check_same(each, info)
        else:
            _check(session, each, limits)
            limits = account_limits.with_stream(limits, each.config, {})
    done = sets.in_turn(
        lambda pair: _restored(session, *pair, check_mode), zip(targets, infos), lambda one: bool(one["changed"])
    )
    if not several:
        return done[0]
    return {
        "changed": any(one["changed"] for one in done),
        "changes": [change for one in done for change in one["changes"]],
        "diff": [one["diff"] for one in done if one["changed"]],
        "stream": None,
        "backup": None,
        "streams": [one["stream"] for one in done],
        "backups": [one["backup"] for one in done],
    }


def _restored(
    session: sessions.Session, target: Target, info: answers.StreamInfo | None, check_mode: bool
) -> dict[str, Any]:
    if info is not None:
        if target.copied and not check_mode:
            forget_between(session, target)
        return {"changed": False, "changes": [], **_shown(target, info, positions(session, target.name))}
    places: list[dict[str, Any]] = []
    if not check_mode:
        copied(session, target) if target.copied else sent(session, target.backup, target.config)
        info, places = _proven(session, target)
    title = f"stream {target.name}"
    return {
        "changed": True,
        "changes": [{"field": "stream", "before": None, "after": target.name, "effect": resource.CREATE}],
        "diff": {"before_header": title, "after_header": title, "before": {}, "after": _expected(target)},
        **_shown(target, info, places),
    }


def _chosen(path: Path, given: Mapping[str, Any]) -> list[Path]:
    """Return the backups of several streams: those of a set, or the newest of each in a folder. Raises Refused."""
    if sets.is_set(path):
        there = {stream: one.path for stream, one in sets.read(path).items()}
    else:
        there = {}
        for folder, one in [*on_disk.listed(path), *on_disk.of_account(path)]:
            if isinstance(one, _errors.Refused):
                raise one
            there.setdefault(one.stream, folder)
    patterns = given.get("streams") or ["*"]
    for pattern in patterns:
        if not sets.matching([pattern], there):
            raise _errors.Refused(
                f"streams: {path} has no backup of a stream that '{pattern}' matches: check path and streams.",
                code="no_backup",
                option="streams",
            )
    return [there[name] for name in sets.matching(patterns, there)]


def _target(given: Mapping[str, Any]) -> Target:
    """Return what to restore. Raises Refused if the backup is broken, before anything is sent."""
    path = Path(given["path"])
    backup = on_disk.read(path)
    problem = backup.problem()
    if problem:
        raise on_disk.broken(path, problem)
    if "bucket" in given and not backup.stream.startswith(names.BUCKET_PREFIX):
        raise _errors.OptionError(
            "bucket", f"{path} is a backup of stream {backup.stream}, which is not a bucket: give stream."
        )
    name = f"{names.BUCKET_PREFIX}{given['bucket']}" if "bucket" in given else given.get("stream", backup.stream)
    config = {**settings(backup.config), "name": name}
    if "subjects" in given:
        config["subjects"] = given["subjects"]
    if shared_fields.REPLICAS.option in given:
        config[shared_fields.REPLICAS.wire] = given[shared_fields.REPLICAS.option]
    target = Target(backup, config, given["consumers"])
    if target.moves_keys:
        config["subjects"] = [f"$KV.{name[len(names.BUCKET_PREFIX) :]}.>"]
    return target


def _check_same(target: Target, info: answers.StreamInfo) -> None:
    """Raise Refused if another stream has that name, or what a killed restore left of this one."""
    now, then = info["state"], target.backup.state
    if target.copied and (info["config"].get("mirror") or {}).get("name") == target.between:
        raise _errors.Refused(
            f"stream: {target.name} is what a restore left that was not finished: delete {target.name} and "
            f"{target.between}, and run it again, unless that restore still runs.",
            code="exists",
            option="stream",
        )
    if same_state(now, then) or (now["last_seq"] == then["last_seq"] and _expired(info, then)):
        return
    # A mirror does not learn of deleted messages at the end
    shorter = target.copied and now["last_seq"] <= then["last_seq"] and now["messages"] == then["messages"]
    if shorter and (not now["messages"] or now["first_ts"] == then["first_ts"]):
        return
    raise _errors.Refused(
        f"stream: there is a stream {target.name} already, with {now['messages']} messages up to number "
        f"{now['last_seq']}, where the backup has {then['messages']} up to {then['last_seq']}, and it is not "
        "overwritten: delete it first, or restore under another name (stream or bucket).",
        code="exists",
        option="stream",
        messages=now["messages"],
    )


def _expired(info: answers.StreamInfo, then: Mapping[str, Any]) -> bool:
    """Return True if the missing messages can have expired: they are the oldest ones, by the server's clock.

    Messages that consumers took, or that had lifetimes of their own, may as well have been deleted.
    """
    now, age = info["state"], int(info["config"].get("max_age") or 0)
    gone = then.get("first_ts" if now["messages"] else "last_ts")
    if not (age and gone and info.get("ts")) or now["messages"] >= then["messages"] or _gaps(now) > _gaps(then):
        return False
    oldest_kept = quantities.parse_timestamp(info["ts"]) - timedelta(seconds=age / quantities.NANOSECOND)
    return quantities.parse_timestamp(gone) <= oldest_kept


def _gaps(state: Mapping[str, Any]) -> int:
    """Return how many messages are missing between the first and the last one."""
    return int(state["last_seq"]) - int(state["first_seq"]) + 1 - int(state["messages"])


def _check(session: sessions.Session, target: Target, limits: Mapping[str, Any]) -> None:
    """Refuse what the server would refuse halfway."""
    backup, version = target.backup, session.server.version
    if backup.format != FILES and version < MESSAGES_SINCE:
        raise _errors.Refused(
            f"path: {backup.path} was made by nats-server 2.15 or newer, and server {session.server.name} has "
            f"{'.'.join(map(str, version))}, which can't read it: restore it on a newer server.",
            code="format",
            option="path",
        )
    if target.copied:
        check_copied(session, target)
    if not target.consumers and target.config.get("retention") == "interest":
        raise _errors.Refused(
            "consumers: a stream with retention interest loses its messages without its consumers: leave "
            "consumers: false out.",
            code="option",
            option="consumers",
        )
    _check_room(session, target, limits)
    for subject in target.subjects:
        _check_free(session, target, subject)


def _check_room(session: sessions.Session, target: Target, limits: Mapping[str, Any]) -> None:
    """Raise Refused if the account or the servers have no room for the stream."""
    placing.check_cluster(target.config, None, session.server)
    account_limits.check(limits, target.config, {}, {"name": "stream"})
    if placing.needs_check(target.config, {}, session.server):
        servers = peers.Peers(session).until(placing.enough(target.config, None))
        placing.check(servers, target.config, None, session.server, {"num_replicas": shared_fields.REPLICAS.option})


def _check_free(session: sessions.Session, target: Target, subject: str) -> None:
    try:
        owners = [owner for owner in lists.stream_names(session, subject) if owner != target.name]
    except _errors.PermissionMissing:
        return  # the server itself has to refuse
    if owners:
        remedy = "delete that stream" if target.name.startswith(names.BUCKET_PREFIX) else "give others with subjects"
        raise _errors.Refused(
            f"subjects: '{subject}' overlaps with the subjects of stream {owners[0]}, and a message can be in one "
            f"stream only: {remedy}. Messages keep the subjects that they were stored with.",
            code="subjects_overlap",
            option="subjects",
        )


def _proven(session: sessions.Session, target: Target) -> tuple[answers.StreamInfo, list[dict[str, Any]]]:
    """Return the restored stream's info, and the positions of its consumers. Raises StreamsError if it lacks a part."""
    deadline = time.monotonic() + max(_SETTLING, session.settings.timeout)
    while True:
        info = streams.info(session, target.name)
        places = positions(session, target.name) if info else []
        if info and not target.consumers and places:
            for one in places:
                consumers.delete(session, target.name, one["name"])
            continue
        lacking = _lacking(target, info, places) if info else "does not have it"
        if info and not lacking:
            return info, places
        if time.monotonic() > deadline:
            raise _errors.StreamsError(
                f"The server confirmed that stream {target.name} is restored, but {lacking}: check its log, and "
                "delete the stream before you try again.",
                code="not_applied",
            )
        time.sleep(_PAUSE)


def _lacking(target: Target, info: answers.StreamInfo, places: list[dict[str, Any]]) -> str:
    """Return what the stream lacks in words. It may have more, since others may publish meanwhile."""
    now, then = info["state"], target.backup.state
    if now["messages"] < then["messages"] and not target.may_expire:
        return f"it has {now['messages']} messages, and the backup {then['messages']}"
    if now["last_seq"] < then["last_seq"] and not target.copied:
        return f"its last message is {now['last_seq']}, and that of the backup {then['last_seq']}"
    there = {one["name"]: one for one in places}
    for one in (target.backup.manifest.get("consumers") or []) if target.consumers and not target.copied else []:
        if one["durable"] and one["name"] not in there:
            return f"consumer {one['name']} is missing"
        if one["durable"] and there[one["name"]]["ack_floor"] < one["ack_floor"]:
            return f"consumer {one['name']} lost its place"
    return ""


def _shown(target: Target, info: answers.StreamInfo | None, places: list[dict[str, Any]]) -> dict[str, Any]:
    """Return stream and backup for results. Without ``info`` the stream is shown as it will be."""
    backup = target.backup
    shown = _expected(target)
    if info:
        state = info["state"]
        shown.update(messages=state["messages"], first_seq=state["first_seq"], last_seq=state["last_seq"])
        shown["consumers"] = [one["name"] for one in places]
        shown["expired"] = max(0, int(backup.state["messages"]) - state["messages"])
    return {"stream": shown, "backup": backup.described()}


def _expected(target: Target) -> dict[str, Any]:
    described = target.backup.described()
    return {
        "name": target.name,
        "bucket": target.name.removeprefix(names.BUCKET_PREFIX)
        if target.name.startswith(names.BUCKET_PREFIX)
        else None,
        "subjects": target.subjects,
        **{key: described[key] for key in ("messages", "first_seq", "last_seq")},
        "consumers": described["consumers"] if target.consumers else [],
        "expired": 0,
    }
