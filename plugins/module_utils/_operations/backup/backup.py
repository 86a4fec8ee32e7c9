# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The work of choria_backup and choria_backup_info."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ... import _errors
from ..._api import consumers, lists, streams
from ..._api import stream_snapshot as snapshot
from ..._options import codecs, fields, names
from ..._resources import resource
from . import on_disk, sets, writing
from .on_disk import Backup
from .verified import Verified

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..._api import answers
    from ..._connection import sessions

_WHICH = (fields.Field("stream", names.STREAM_NAME), fields.Field("bucket", names.BUCKET_NAME))
_PATH = fields.Field("path", codecs.Codec({"type": "path"}), argument_extra={"required": True})
_PATTERNS = fields.Field("streams", codecs.names())
BACKUP = fields.Spec(
    (
        *_WHICH,
        _PATTERNS,
        _PATH,
        fields.Field("keep", codecs.whole(1)),
        fields.Field("consumers", codecs.boolean(), argument_extra={"default": True}),
        fields.Field("check_messages", codecs.boolean(), argument_extra={"default": False}),
        fields.Field("force", codecs.boolean(), argument_extra={"default": False}),
    ),
    {"mutually_exclusive": [("stream", "bucket", "streams")], "required_one_of": [("stream", "bucket", "streams")]},
)
INFO = fields.Spec((*_WHICH, _PATH), {"mutually_exclusive": [("stream", "bucket")]})

# Since nats-server 2.15 a snapshot holds messages and not the server's files
MESSAGES_SINCE = (2, 15, 0)
# If these are equal, a stream holds the same messages. first_ts is the time at which the first one was stored.
_SAME = ("messages", "first_seq", "last_seq", "first_ts")
_TRIES, _PAUSE = 4, 1.0
_SAME_EMPTY = ("messages", "last_seq")


def backup(session: sessions.Session, options: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Make backups of streams that changed, and remove the oldest ones. Return the whole result."""
    given = fields.checked(BACKUP, options.get)
    folder, several = Path(given["path"]), "streams" in given
    infos = _chosen(session, given) if several else [_single(session, given)]
    for info in infos:
        _check_storage(session, info["config"])
    verified = Verified(folder, write=not check_mode)
    done = sets.in_turn(
        lambda info: _one(session, info, folder, given, verified, check_mode), infos, lambda one: one.planned
    )
    result, doomed = _result(done), [path for each in done for path in each.doomed]
    if several:
        result.update(backup=None, set=None)
        made = [each.shown for each in done if each.shown]
        lacking, same = sets.without(folder, doomed), sets.same(folder, made)
        if any(each.planned for each in done) or not same:
            writing.check(folder)
            result["changed"] = True
            result["set"] = None if check_mode else str(sets.write(folder, made))
        else:
            result["set"] = str(same)
        for path in lacking:  # sets that can't be restored any more
            result["removed"].append(str(path))
            if not check_mode:
                path.unlink(missing_ok=True)
    # Last, so that an interrupted run leaves either the sets before or the new one with all of their backups
    for path in () if check_mode else doomed:
        writing.remove(path)
    return result


class _Done(NamedTuple):
    """The work for one stream. ``made`` is None without a new backup, and in check mode."""

    stream: str
    previous: Backup | None
    planned: bool
    made: Backup | None
    doomed: list[Path]

    @property
    def shown(self) -> Backup | None:
        return self.made if self.planned else self.previous


def _one(
    session: sessions.Session,
    info: answers.StreamInfo,
    folder: Path,
    given: Mapping[str, Any],
    verified: Verified,
    check_mode: bool,
) -> _Done:
    stream = info["config"]["name"]
    previous = _newest(folder, stream, verified)
    made: Backup | None = None
    planned = given["force"] or previous is None or not _unchanged(session, info, previous, given["consumers"])
    if planned:
        writing.check(folder)
    if planned and not check_mode:
        made = _made(session, stream, folder, given)
        verified.add(made)
    doomed = []
    if "keep" in given:
        doomed = _superfluous(folder, stream, given["keep"] - (planned and made is None), verified)
    if doomed:
        writing.check(folder)
    return _Done(stream, previous, planned, made, doomed)


def _single(session: sessions.Session, given: Mapping[str, Any]) -> answers.StreamInfo:
    info = streams.info(session, _stream(given))
    if info is None and "stream" in given:
        raise streams.missing(given["stream"])
    if info is None:
        raise _errors.missing("bucket", given["bucket"], "choria_kv_bucket", "no_stream")
    return info


def _chosen(session: sessions.Session, given: Mapping[str, Any]) -> list[answers.StreamInfo]:
    """Return the infos of the streams that the patterns match. Raises Refused for a pattern without a match."""
    there: dict[str, answers.StreamInfo] = {info["config"]["name"]: info for info in lists.streams(session)}
    for pattern in given["streams"]:
        if not sets.matching([pattern], there):
            raise _errors.Refused(
                f"streams: '{pattern}' matches no stream: check the name or pattern, or leave it out.",
                code="no_stream",
                option="streams",
            )
    return [there[name] for name in sets.matching(given["streams"], there)]


def backups_of(options: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Return the result of choria_backup_info. It opens no connection."""
    given = fields.checked(INFO, options.get)
    folder = Path(given["path"])
    if (folder / on_disk.CONFIG).exists():
        one = on_disk.read(folder)
        return {"changed": False, "backups": [one.described(one.problem())], "sets": []}
    stream = _stream(given)
    every = [*on_disk.listed(folder, stream), *on_disk.of_account(folder, stream)]
    of_sets = [sets.described(path) for path in sets.listed(folder)]
    return {
        "changed": False,
        "backups": [_described(path, one) for path, one in every],
        "sets": [one for one in of_sets if stream in ("", *one["streams"])],
    }


def _described(path: Path, one: Backup | _errors.Refused) -> dict[str, Any]:
    if isinstance(one, Backup):
        return one.described(one.problem())
    nothing = dict.fromkeys(Backup(path, {"name": ""}, {}).described())
    return {**nothing, "path": str(path), "verified": False, "problem": one.message}


def _stream(given: Mapping[str, Any]) -> str:
    return f"{names.BUCKET_PREFIX}{given['bucket']}" if "bucket" in given else given.get("stream", "")


def _check_storage(session: sessions.Session, config: Mapping[str, Any]) -> None:
    if config.get("storage") == "memory" and session.server.version < MESSAGES_SINCE:
        raise _errors.Refused(
            f"Stream {config['name']} is stored in memory, and servers before nats-server 2.15 take no snapshots of "
            "such streams: upgrade, or mirror it into a stream with storage file and back that up.",
            code="memory_storage",
        )


def _newest(folder: Path, stream: str, verified: Verified) -> Backup | None:
    """Return the newest complete backup."""
    for _path, one in on_disk.listed(folder, stream):
        if isinstance(one, Backup) and not verified.problem(one):
            return one
    return None


def _unchanged(session: sessions.Session, info: answers.StreamInfo, previous: Backup, with_consumers: bool) -> bool:
    """Return True if a backup has the present state of the stream, and of its consumers if they are included."""
    if not same_state(info["state"], previous.state) or settings(info["config"]) != settings(previous.config):
        return False
    places = previous.manifest["consumers"]
    if not with_consumers or places is None:
        return not with_consumers and places is None
    return bool(positions(session, previous.stream) == places)


def same_state(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return True if two states of streams have the same messages."""
    return all(one.get(key) == other.get(key) for key in (_SAME if one.get("messages") else _SAME_EMPTY))


def settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration without the metadata of servers."""
    labels = {key: text for key, text in (config.get("metadata") or {}).items() if not key.startswith("_nats.")}
    return {**config, "metadata": labels}


def positions(session: sessions.Session, stream: str) -> list[dict[str, Any]]:
    """Return name, durability and acknowledged sequence of each consumer, sorted by name."""
    return sorted(
        (
            {
                "name": one["name"],
                "durable": bool(one["config"].get("durable_name")),
                "ack_floor": one["ack_floor"]["stream_seq"],
                "delivered": one["delivered"]["stream_seq"],
            }
            for one in consumers.list_all(session, stream)
        ),
        key=lambda one: str(one["name"]),
    )


def _made(session: sessions.Session, stream: str, folder: Path, given: Mapping[str, Any]) -> Backup:
    """Make a backup. Start again if the snapshot is aborted since the leader of the stream changes."""
    for _attempt in range(1, _TRIES):
        try:
            return _make(session, stream, folder, given)
        except _errors.StreamsError as error:
            lost = isinstance(error, (_errors.Unreachable, _errors.NoAnswer))
            if not lost and error.failure.get("code") != snapshot.BROKEN_OFF:
                raise
            time.sleep(_PAUSE)
    return _make(session, stream, folder, given)


def _make(session: sessions.Session, stream: str, folder: Path, given: Mapping[str, Any]) -> Backup:
    writing.make_folder(folder)
    writing.sweep(folder, stream)
    before = positions(session, stream) if given["consumers"] else None
    head, chunks = snapshot.snapshot(
        session, stream, consumers=given["consumers"], check_messages=given["check_messages"]
    )

    def facts() -> dict[str, Any]:
        # The position in the snapshot of one that moved or was created meanwhile is unknown
        places = None if before is None else [one for one in positions(session, stream) if one in before]
        return {"server": {"name": session.server.name, "version": session.server.release}, "consumers": places}

    try:
        return writing.write(folder, head, chunks, facts)
    finally:
        chunks.close()


def _superfluous(folder: Path, stream: str, keep: int, verified: Verified) -> list[Path]:
    """Return the backups older than the newest ``keep`` complete ones."""
    every = list(on_disk.listed(folder, stream))
    if len(every) <= keep:
        return []
    whole = 0
    for index, (_path, one) in enumerate(every):
        if whole >= keep:
            return [path for path, _one in every[index:]]
        whole += isinstance(one, Backup) and not verified.problem(one)
    return []


def _result(done: list[_Done]) -> dict[str, Any]:
    changes = []
    for each in done:
        if each.planned:
            before, after = each.previous and str(each.previous.path), each.made and str(each.made.path)
            changes.append({"field": "backup", "before": before, "after": after, "effect": resource.CREATE})
    removed = [str(path) for each in done for path in each.doomed]
    changes += [{"field": "backup", "before": path, "after": None, "effect": resource.DELETE} for path in removed]
    shown = [each.shown.described() for each in done if each.shown]
    result: dict[str, Any] = {
        "changed": bool(changes),
        "backup": shown[0] if shown else None,
        "backups": shown,
        "removed": removed,
        "changes": changes,
    }
    if changes:
        title = "backups of " + ", ".join(f"stream {each.stream}" for each in done if each.planned or each.doomed)
        new = [str(each.made.path) if each.made else f"a new one of {each.stream}" for each in done if each.planned]
        result["diff"] = {
            "before_header": title,
            "after_header": title,
            "before": "".join(f"{line}\n" for line in removed),
            "after": "".join(f"{line}\n" for line in new),
        }
    return result
