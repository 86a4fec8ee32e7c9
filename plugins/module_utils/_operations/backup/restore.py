# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The work of choria_restore: check a backup before anything is sent, restore it, and compare the outcome."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ... import _errors
from ..._api import consumers, jetstream, peers, streams
from ..._options import codecs, fields, names, quantities
from ..._resources import account_limits, placing, resource, shared_fields
from . import backups, sets
from .archive import FILES
from .backup import MESSAGES_SINCE, positions, same_state, settings
from .restoring import Wanted, check_copied, copied, sent

if TYPE_CHECKING:
    from collections.abc import Mapping

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
    wanted = [_wanted({**given, "path": each}) for each in paths]
    infos = [streams.info(session, each.name) for each in wanted]
    limits: Mapping[str, Any] = jetstream.account_info(session)
    for each, info in zip(wanted, infos):
        if info is not None:
            _check_same(each, info)
        else:
            _check(session, each, limits)
            limits = account_limits.with_stream(limits, each.config, {})
    done = [_restored(session, each, info, check_mode) for each, info in zip(wanted, infos)]
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
    session: sessions.Session, wanted: Wanted, info: dict[str, Any] | None, check_mode: bool
) -> dict[str, Any]:
    if info is not None:
        return {"changed": False, "changes": [], **_told(session, wanted, info)}
    if not check_mode:
        copied(session, wanted) if wanted.copied else sent(session, wanted.backup, wanted.config)
        info = _proven(session, wanted)
    title = f"stream {wanted.name}"
    return {
        "changed": True,
        "changes": [{"field": "stream", "before": None, "after": wanted.name, "effect": resource.CREATE}],
        "diff": {"before_header": title, "after_header": title, "before": {}, "after": _expected(wanted)},
        **_told(session, wanted, info),
    }


def _chosen(path: Path, given: Mapping[str, Any]) -> list[Path]:
    """Return the backups of several streams: those of a set, or the newest of each in a folder. Raises Refused."""
    if sets.is_set(path):
        there = {stream: one.path for stream, one in sets.read(path).items()}
    else:
        there = {}
        for folder, one in [*backups.found(path), *backups.of_account(path)]:
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


def _wanted(given: Mapping[str, Any]) -> Wanted:
    """Return what to restore. Raises Refused if the backup is broken, before anything is sent."""
    path = Path(given["path"])
    backup = backups.read(path)
    problem = backup.problem()
    if problem:
        raise backups.broken(path, problem)
    if "bucket" in given and not backup.stream.startswith(names.BUCKET_PREFIX):
        raise _errors.OptionError(
            "bucket", f"{path} is a backup of stream {backup.stream}, which is no bucket: give stream."
        )
    name = f"{names.BUCKET_PREFIX}{given['bucket']}" if "bucket" in given else given.get("stream", backup.stream)
    config = {**settings(backup.config), "name": name}
    if "subjects" in given:
        config["subjects"] = given["subjects"]
    if shared_fields.REPLICAS.option in given:
        config[shared_fields.REPLICAS.wire] = given[shared_fields.REPLICAS.option]
    wanted = Wanted(backup, config, given["consumers"])
    if wanted.moves_keys:
        config["subjects"] = [f"$KV.{name[len(names.BUCKET_PREFIX) :]}.>"]
    return wanted


def _check_same(wanted: Wanted, info: Mapping[str, Any]) -> None:
    """Raise Refused if another stream has that name."""
    now, then = info["state"], wanted.backup.state
    if same_state(now, then) or (now["last_seq"] == then["last_seq"] and _expired(info, then)):
        return
    # A mirror does not learn of deleted messages at the end
    shorter = wanted.copied and now["last_seq"] <= then["last_seq"] and now["messages"] == then["messages"]
    if shorter and (not now["messages"] or now["first_ts"] == then["first_ts"]):
        return
    raise _errors.Refused(
        f"stream: there is a stream {wanted.name} already, with {now['messages']} messages up to number "
        f"{now['last_seq']}, where the backup has {then['messages']} up to {then['last_seq']}, and it is not "
        "overwritten: delete it first, or restore under another name (stream or bucket).",
        code="exists",
        option="stream",
        messages=now["messages"],
    )


def _expired(info: Mapping[str, Any], then: Mapping[str, Any]) -> bool:
    """Return True if the missing messages can have expired: they are the oldest ones, by the server's clock.

    Messages that consumers took, or that had lifetimes of their own, may as well have been deleted.
    """
    now, age = info["state"], int(info["config"].get("max_age") or 0)
    gone = then.get("first_ts" if now["messages"] else "last_ts")
    if not (age and gone and info.get("ts")) or now["messages"] >= then["messages"] or _holes(now) > _holes(then):
        return False
    oldest_kept = quantities.parse_timestamp(info["ts"]) - timedelta(seconds=age / quantities.NANOSECOND)
    return quantities.parse_timestamp(gone) <= oldest_kept


def _holes(state: Mapping[str, Any]) -> int:
    """Return how many messages are missing between the first and the last one."""
    return int(state["last_seq"]) - int(state["first_seq"]) + 1 - int(state["messages"])


def _check(session: sessions.Session, wanted: Wanted, limits: Mapping[str, Any]) -> None:
    """Refuse what the server would refuse halfway."""
    backup, version = wanted.backup, session.server.version
    if backup.format != FILES and version < MESSAGES_SINCE:
        raise _errors.Refused(
            f"path: {backup.path} was made by nats-server 2.15 or newer, and server {session.server.name} has "
            f"{'.'.join(map(str, version))}, which can't read it: restore it on a newer server.",
            code="format",
            option="path",
        )
    if wanted.copied:
        check_copied(session, wanted)
    if not wanted.consumers and wanted.config.get("retention") == "interest":
        raise _errors.Refused(
            "consumers: a stream with retention interest loses its messages without its consumers: leave "
            "consumers: false out.",
            code="option",
            option="consumers",
        )
    _check_room(session, wanted, limits)
    for subject in wanted.subjects:
        _check_free(session, wanted, subject)


def _check_room(session: sessions.Session, wanted: Wanted, limits: Mapping[str, Any]) -> None:
    """Raise Refused if the account or the servers have no room for the stream."""
    placing.check_cluster(wanted.config, {}, session.server)
    account_limits.check(limits, wanted.config, {}, {"name": "stream"})
    if placing.asked(wanted.config, {}, session.server):
        found = peers.Peers(session).until(placing.enough(wanted.config, {}))
        placing.check(found, wanted.config, {}, session.server, {"num_replicas": shared_fields.REPLICAS.option})


def _check_free(session: sessions.Session, wanted: Wanted, subject: str) -> None:
    try:
        owners = [owner for owner in streams.names(session, subject) if owner != wanted.name]
    except _errors.PermissionMissing:
        return  # the server itself has to refuse
    if owners:
        remedy = "delete that stream" if wanted.name.startswith(names.BUCKET_PREFIX) else "give others with subjects"
        raise _errors.Refused(
            f"subjects: '{subject}' overlaps with the subjects of stream {owners[0]}, and a message can be in one "
            f"stream only: {remedy}. Messages keep the subjects that they were stored with.",
            code="subjects_overlap",
            option="subjects",
        )


def _proven(session: sessions.Session, wanted: Wanted) -> dict[str, Any]:
    """Return the stream on the server if it has all that the backup has. Raises StreamsError."""
    deadline = time.monotonic() + max(_SETTLING, session.settings.timeout)
    while True:
        info = streams.info(session, wanted.name) or {}
        found = positions(session, wanted.name) if info else []
        if info and not wanted.consumers and found:
            for one in found:
                consumers.delete(session, wanted.name, one["name"])
            continue
        lacking = _lacking(wanted, info, found)
        if not lacking:
            return info
        if time.monotonic() > deadline:
            raise _errors.StreamsError(
                f"The server confirmed that stream {wanted.name} is restored, but {lacking}: look at its log, and "
                "delete the stream before you try again.",
                code="not_applied",
            )
        time.sleep(_PAUSE)


def _lacking(wanted: Wanted, info: Mapping[str, Any], found: list[dict[str, Any]]) -> str:
    """Return what the stream lacks in words. It may have more, since others may publish meanwhile."""
    if not info:
        return "does not have it"
    now, then = info["state"], wanted.backup.state
    if now["messages"] < then["messages"] and not wanted.may_expire:
        return f"it has {now['messages']} messages, and the backup {then['messages']}"
    if now["last_seq"] < then["last_seq"] and not wanted.copied:
        return f"its last message is {now['last_seq']}, and that of the backup {then['last_seq']}"
    there = {one["name"]: one for one in found}
    for one in (wanted.backup.manifest.get("consumers") or []) if wanted.consumers and not wanted.copied else []:
        if one["durable"] and one["name"] not in there:
            return f"consumer {one['name']} is missing"
        if one["durable"] and there[one["name"]]["ack_floor"] < one["ack_floor"]:
            return f"consumer {one['name']} lost its place"
    return ""


def _told(session: sessions.Session, wanted: Wanted, info: Mapping[str, Any] | None) -> dict[str, Any]:
    backup = wanted.backup
    shown = _expected(wanted)
    if info:
        state = info["state"]
        shown.update({key: int(state[key]) for key in ("messages", "first_seq", "last_seq")})
        shown["consumers"] = [one["name"] for one in positions(session, wanted.name)]
        shown["expired"] = max(0, int(backup.state["messages"]) - int(state["messages"]))
    return {"stream": shown, "backup": backup.described()}


def _expected(wanted: Wanted) -> dict[str, Any]:
    described = wanted.backup.described()
    return {
        "name": wanted.name,
        "bucket": wanted.name.removeprefix(names.BUCKET_PREFIX)
        if wanted.name.startswith(names.BUCKET_PREFIX)
        else None,
        "subjects": wanted.subjects,
        **{key: described[key] for key in ("messages", "first_seq", "last_seq")},
        "consumers": described["consumers"] if wanted.consumers else [],
        "expired": 0,
    }
