# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The work of choria_backup and choria_backup_info."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ... import _errors
from ..._api import consumers, streams
from ..._api import stream_snapshot as snapshot
from ..._options import codecs, fields, names
from ..._resources import resource
from . import backups, sets, writing
from .backups import Backup

if TYPE_CHECKING:
    from collections.abc import Mapping

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
    {
        "mutually_exclusive": [("stream", "bucket", "streams")],
        "required_one_of": [("stream", "bucket", "streams")],
    },
)
INFO = fields.Spec((*_WHICH, _PATH), {"mutually_exclusive": [("stream", "bucket")]})

# Since nats-server 2.15 a snapshot holds messages and not the server's files
MESSAGES_SINCE = (2, 15, 0)
# What tells that a stream holds the same messages. The time is that at which the server stored the first one.
_SAME = ("messages", "first_seq", "last_seq", "first_ts")
_TRIES, _PAUSE = 4, 1.0
_SAME_EMPTY = ("messages", "last_seq")


def backup(session: sessions.Session, options: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Make backups of streams that changed, and remove the oldest ones. Return the whole result."""
    given = fields.checked(BACKUP, options.get)
    folder, several = Path(given["path"]), "streams" in given
    infos = _chosen(session, given) if several else [_the_one(session, given)]
    for info in infos:
        _check_storage(session, info["config"])
    done = [_one(session, info, folder, given, check_mode) for info in infos]
    told = _result(done)
    if several:
        told.update(backup=None, set=None)
        made = [each.shown for each in done if each.shown]
        lacking = sets.without(folder, [path for each in done for path in each.doomed])
        if any(each.planned for each in done) or not sets.same(folder, made):
            told["changed"] = True
            told["set"] = None if check_mode else str(sets.write(folder, made))
        else:
            told["set"] = str(sets.same(folder, made))
        _remove_sets(lacking, told, check_mode)
    return told


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
    session: sessions.Session, info: Mapping[str, Any], folder: Path, given: Mapping[str, Any], check_mode: bool
) -> _Done:
    stream = info["config"]["name"]
    previous = _newest(folder, stream)
    made: Backup | None = None
    planned = given["force"] or previous is None or not _unchanged(session, info, previous, given["consumers"])
    if planned and not check_mode:
        made = _made(session, stream, folder, given)
    doomed = []
    if "keep" in given:
        doomed = _superfluous(folder, stream, given["keep"] - (planned and made is None), made or previous)
    if not check_mode:
        for path in doomed:
            writing.remove(path)
    return _Done(stream, previous, planned, made, doomed)


def _the_one(session: sessions.Session, given: Mapping[str, Any]) -> dict[str, Any]:
    info = streams.info(session, _stream(given))
    if info is None:
        raise _missing(given)
    return info


def _chosen(session: sessions.Session, given: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the infos of the streams that the patterns match. Raises Refused for a pattern without a match."""
    there = {info["config"]["name"]: info for info in streams.list_all(session)}
    for pattern in given["streams"]:
        if not sets.matching([pattern], there):
            raise _errors.Refused(
                f"streams: '{pattern}' matches no stream: check the name or pattern, or leave it out.",
                code="no_stream",
                option="streams",
            )
    return [there[name] for name in sets.matching(given["streams"], there)]


def _remove_sets(lacking: list[Path], told: dict[str, Any], check_mode: bool) -> None:
    """Remove sets that lost a backup, which can't be restored any more."""
    for path in lacking:
        told["removed"].append(str(path))
        if not check_mode:
            path.unlink(missing_ok=True)


def backups_of(options: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Return the result of choria_backup_info. It opens no connection."""
    given = fields.checked(INFO, options.get)
    folder = Path(given["path"])
    if (folder / backups.CONFIG).exists():
        one = backups.read(folder)
        told = [one.described(one.problem())]
        return {"changed": False, "backups": told, "sets": []}
    stream = _stream(given)
    every = [*backups.found(folder, stream), *backups.of_account(folder, stream)]
    told = [_told(path, one) for path, one in every]
    of_sets = [sets.described(path) for path in sets.found(folder)]
    return {"changed": False, "backups": told, "sets": [one for one in of_sets if stream in ("", *one["streams"])]}


def _told(path: Path, one: Backup | _errors.Refused) -> dict[str, Any]:
    if isinstance(one, Backup):
        return one.described(one.problem())
    nothing = dict.fromkeys(Backup(path, {"name": ""}, {}).described())
    return {**nothing, "path": str(path), "verified": False, "problem": one.message}


def _stream(given: Mapping[str, Any]) -> str:
    return f"{names.BUCKET_PREFIX}{given['bucket']}" if "bucket" in given else given.get("stream", "")


def _missing(given: Mapping[str, Any]) -> _errors.StreamsError:
    if "stream" in given:
        return streams.missing(given["stream"])
    return _errors.not_there("bucket", given["bucket"], "choria_kv_bucket", "no_stream")


def _check_storage(session: sessions.Session, config: Mapping[str, Any]) -> None:
    if config.get("storage") == "memory" and session.server.version < MESSAGES_SINCE:
        raise _errors.Refused(
            f"Stream {config['name']} is stored in memory, and servers before nats-server 2.15 take no snapshots of "
            "such streams: upgrade, or mirror it into a stream with storage file and back that up.",
            code="memory_storage",
        )


def _newest(folder: Path, stream: str) -> Backup | None:
    """Return the newest complete backup."""
    for _path, one in backups.found(folder, stream):
        if isinstance(one, Backup) and not one.problem():
            return one
    return None


def _unchanged(session: sessions.Session, info: Mapping[str, Any], previous: Backup, with_consumers: bool) -> bool:
    """Return True if a backup has the present state of the stream, and of its consumers if they are included."""
    if not same_state(info["state"], previous.state) or settings(info["config"]) != settings(previous.config):
        return False
    known = previous.manifest["consumers"]
    if not with_consumers or known is None:
        return not with_consumers and known is None
    return bool(positions(session, previous.stream) == known)


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
                "ack_floor": int((one.get("ack_floor") or {}).get("stream_seq", 0)),
                "delivered": int((one.get("delivered") or {}).get("stream_seq", 0)),
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
        except (_errors.Unreachable, _errors.NoAnswer):
            time.sleep(_PAUSE)
        except _errors.StreamsError as error:
            if error.failure.get("code") != snapshot.BROKEN_OFF:
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
        # One that moved or came meanwhile has a position in the snapshot that nobody can tell
        known = None if before is None else [one for one in positions(session, stream) if one in before]
        server = session.server
        return {
            "server": {"name": server.name, "version": server.release},
            "consumers": known,
        }

    try:
        return writing.write(folder, head, chunks, facts)
    finally:
        chunks.close()


def _superfluous(folder: Path, stream: str, keep: int, verified: Backup | None) -> list[Path]:
    """Return the backups older than the newest ``keep`` complete ones. All but ``verified`` are read to check that."""
    every = list(backups.found(folder, stream))
    if len(every) <= keep:
        return []
    whole = 0
    for index, (_path, one) in enumerate(every):
        if whole >= keep:
            return [path for path, _one in every[index:]]
        whole += isinstance(one, Backup) and (one == verified or not one.problem())
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
    told: dict[str, Any] = {
        "changed": bool(changes),
        "backup": shown[0] if shown else None,
        "backups": shown,
        "removed": removed,
        "changes": changes,
    }
    if changes:
        title = "backups of " + ", ".join(f"stream {each.stream}" for each in done if each.planned or each.doomed)
        new = [str(each.made.path) if each.made else f"a new one of {each.stream}" for each in done if each.planned]
        told["diff"] = {
            "before_header": title,
            "after_header": title,
            "before": "".join(f"{line}\n" for line in removed),
            "after": "".join(f"{line}\n" for line in new),
        }
    return told
