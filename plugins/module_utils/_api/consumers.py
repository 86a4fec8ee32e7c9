# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Consumers: one function per call of the server. Configurations are dicts as on the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import _errors
from . import jetstream

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .._connection import sessions


def info(session: sessions.Session, stream: str, name: str) -> dict[str, Any] | None:
    """Return the answer of CONSUMER.INFO (``config``, ``delivered``, ``ack_floor``, ``num_pending`` …).

    Returns None if the consumer or the stream does not exist.
    """
    return info_many(session, stream, [name])[0]


def info_many(session: sessions.Session, stream: str, names: Iterable[str]) -> list[dict[str, Any] | None]:
    """Return ``info`` of several consumers of a stream, pipelined."""
    return info_each(session, ((stream, name) for name in names))


def info_each(session: sessions.Session, wanted: Iterable[tuple[str, str]]) -> list[dict[str, Any] | None]:
    """Return ``info`` of consumers given as (stream, name), pipelined."""
    return [
        _or_none(answer) for answer in jetstream.call_many(session, (_reading(stream, name) for stream, name in wanted))
    ]


def info_beside_stream(
    session: sessions.Session, stream: str, name: str
) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """Return the answers of STREAM.INFO and CONSUMER.INFO, requested together."""
    calls = [(f"Reading stream {stream}", f"STREAM.INFO.{stream}", None), _reading(stream, name)]
    above, below = jetstream.call_many(session, calls)
    return _or_none(above), _or_none(below)


def create(session: sessions.Session, stream: str, config: dict[str, Any]) -> dict[str, Any]:
    """Create a durable consumer. Raises ApiError 10148 if it exists with another configuration."""
    return jetstream.call(session, *creating(stream, config))


def update(session: sessions.Session, stream: str, config: dict[str, Any]) -> dict[str, Any]:
    """Update a durable consumer. Raises ApiError 10149 if it does not exist."""
    return jetstream.call(session, *updating(stream, config))


def delete(session: sessions.Session, stream: str, name: str) -> None:
    """Delete a consumer with its position. A missing one is no error."""
    _or_none(jetstream.call_many(session, [deleting(stream, name)])[0])


def creating(stream: str, config: dict[str, Any], *, pedantic: bool = False) -> jetstream.Call:
    """Return the call that creates a consumer."""
    return _writing("Creating", "create", stream, config, pedantic)


def updating(stream: str, config: dict[str, Any], *, pedantic: bool = False) -> jetstream.Call:
    """Return the call that updates a consumer."""
    return _writing("Updating", "update", stream, config, pedantic)


def deleting(stream: str, name: str) -> jetstream.Call:
    """Return the call that deletes a consumer."""
    return f"Deleting consumer {name} of {stream}", f"CONSUMER.DELETE.{stream}.{name}", None


def pausing(stream: str, name: str, until: str | None) -> jetstream.Call:
    """Return the call that pauses delivery until a time (RFC 3339), or resumes it for None (nats-server 2.11)."""
    what = f"Pausing consumer {name} of {stream}" if until else f"Resuming consumer {name} of {stream}"
    return what, f"CONSUMER.PAUSE.{stream}.{name}", {"pause_until": until} if until else {}


def resetting(stream: str, name: str, sequence: int | None) -> jetstream.Call:
    """Return the call that moves the position to a stream sequence, or for None to the ack floor (nats-server 2.14)."""
    body = {"seq": sequence} if sequence else None
    return f"Resetting consumer {name} of {stream}", f"CONSUMER.RESET.{stream}.{name}", body


def unpinning(stream: str, name: str, group: str) -> jetstream.Call:
    """Return the call that unpins the client of a priority group, so that another can take over (nats-server 2.11)."""
    what = f"Unpinning group {group} of consumer {name} of {stream}"
    return what, f"CONSUMER.UNPIN.{stream}.{name}", {"group": group}


def list_all(session: sessions.Session, stream: str) -> list[dict[str, Any]]:
    """Return the ``info`` of every consumer of a stream, by the paged LIST call. Empty if the stream does not exist."""
    what, missing = f"Listing consumers of {stream}", list[str]()
    try:
        found = list(jetstream.pages(session, what, f"CONSUMER.LIST.{stream}", "consumers", missing=missing))
        return [*found, *(info for info in info_many(session, stream, missing) if info)]
    except _errors.ApiError as error:
        if error.err_code == jetstream.STREAM_NOT_FOUND:
            return []
        raise


def list_many(session: sessions.Session, streams: Iterable[str]) -> dict[str, list[dict[str, Any]]]:
    """Return ``list_all`` of several streams by their names, pipelined page by page."""
    found: dict[str, list[dict[str, Any]]] = {stream: [] for stream in streams}
    left, counted = list(found), dict.fromkeys(found, 0)
    silent: list[tuple[str, str]] = []
    while left:
        calls = [
            (f"Listing consumers of {stream}", f"CONSUMER.LIST.{stream}", {"offset": counted[stream]})
            for stream in left
        ]
        more = []
        for stream, answer in zip(left, jetstream.call_many(session, calls)):
            page = _or_none(answer)
            if page is None:
                continue
            infos = jetstream.page_of(f"Listing consumers of {stream}", page, "consumers", counted[stream])
            found[stream] += infos
            missing = page.get("missing") or []
            silent += [(stream, name) for name in missing]
            counted[stream] += len(infos) + len(missing)
            if (infos or missing) and counted[stream] < page["total"]:
                more.append(stream)
        left = more
    for (stream, _name), info in zip(silent, info_each(session, silent)):
        found[stream] += [info] if info else []
    return found


def _reading(stream: str, name: str) -> jetstream.Call:
    return f"Reading consumer {name} of {stream}", f"CONSUMER.INFO.{stream}.{name}", None


def _writing(verb: str, action: str, stream: str, config: dict[str, Any], pedantic: bool) -> jetstream.Call:
    name = config["durable_name"]
    body = {"stream_name": stream, "config": config, "action": action, **({"pedantic": True} if pedantic else {})}
    return f"{verb} consumer {name} of {stream}", f"CONSUMER.CREATE.{stream}.{name}", body


def _or_none(answer: dict[str, Any] | _errors.StreamsError) -> dict[str, Any] | None:
    if isinstance(answer, _errors.ApiError) and answer.err_code in jetstream.NOT_THERE:
        return None
    if isinstance(answer, _errors.StreamsError):
        raise answer
    return answer
