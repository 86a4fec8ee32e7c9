# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Consumers: one function per call of the server. Configurations are dicts as on the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import answers, jetstream, lists, streams

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .._connection import sessions


def info(session: sessions.Session, stream: str, name: str) -> answers.ConsumerInfo | None:
    """Return the answer of CONSUMER.INFO, or None if the consumer or the stream does not exist."""
    return info_many(session, stream, [name])[0]


def info_many(session: sessions.Session, stream: str, names: Iterable[str]) -> list[answers.ConsumerInfo | None]:
    """Return ``info`` of several consumers of a stream, pipelined."""
    return info_each(session, ((stream, name) for name in names))


def info_each(session: sessions.Session, pairs: Iterable[tuple[str, str]]) -> list[answers.ConsumerInfo | None]:
    """Return ``info`` of consumers given as (stream, name), pipelined."""
    return [
        jetstream.or_none(answer)
        for answer in jetstream.call_many(session, (_reading(stream, name) for stream, name in pairs))
    ]


def info_beside_stream(
    session: sessions.Session, stream: str, name: str
) -> tuple[answers.StreamInfo | None, answers.ConsumerInfo | None]:
    """Return the answers of STREAM.INFO and CONSUMER.INFO, requested together."""
    calls: list[jetstream.Call[Any]] = [streams.reading(stream), _reading(stream, name)]
    above, below = jetstream.call_many(session, calls)
    return jetstream.or_none(above), jetstream.or_none(below)


def create(session: sessions.Session, stream: str, config: Mapping[str, Any]) -> answers.ConsumerInfo:
    """Create a durable consumer. Raises ApiError 10148 if it exists with another configuration."""
    return jetstream.call(session, *creating(stream, config))


def update(session: sessions.Session, stream: str, config: Mapping[str, Any]) -> answers.ConsumerInfo:
    """Update a durable consumer. Raises ApiError 10149 if it does not exist."""
    return jetstream.call(session, *updating(stream, config))


def delete(session: sessions.Session, stream: str, name: str) -> None:
    """Delete a consumer with its position. A missing one is not an error."""
    jetstream.or_none(jetstream.call_many(session, [deleting(stream, name)])[0])


def creating(stream: str, config: Mapping[str, Any], *, pedantic: bool = False) -> jetstream.Call[answers.ConsumerInfo]:
    """Return the call that creates a consumer."""
    return _writing("Creating", "create", stream, config, pedantic)


def updating(stream: str, config: Mapping[str, Any], *, pedantic: bool = False) -> jetstream.Call[answers.ConsumerInfo]:
    """Return the call that updates a consumer."""
    return _writing("Updating", "update", stream, config, pedantic)


def deleting(stream: str, name: str) -> jetstream.Call[answers.Done]:
    """Return the call that deletes a consumer."""
    return f"Deleting consumer {name} of {stream}", f"CONSUMER.DELETE.{stream}.{name}", answers.Done, None


def pausing(stream: str, name: str, until: str | None) -> jetstream.Call[answers.Paused]:
    """Return the call that pauses delivery until a time (RFC 3339), or resumes it for None (nats-server 2.11)."""
    what = f"Pausing consumer {name} of {stream}" if until else f"Resuming consumer {name} of {stream}"
    return what, f"CONSUMER.PAUSE.{stream}.{name}", answers.Paused, {"pause_until": until} if until else {}


def resetting(stream: str, name: str, sequence: int | None) -> jetstream.Call[answers.ConsumerInfo]:
    """Return the call that moves the position to a stream sequence, or for None to the ack floor (nats-server 2.14)."""
    body = {"seq": sequence} if sequence else None
    return f"Resetting consumer {name} of {stream}", f"CONSUMER.RESET.{stream}.{name}", answers.ConsumerInfo, body


def unpinning(stream: str, name: str, group: str) -> jetstream.Call[answers.Empty]:
    """Return the call that unpins the client of a priority group, so that another can take over (nats-server 2.11)."""
    what = f"Unpinning group {group} of consumer {name} of {stream}"
    return what, f"CONSUMER.UNPIN.{stream}.{name}", answers.Empty, {"group": group}


def list_all(session: sessions.Session, stream: str) -> list[answers.ConsumerInfo]:
    """Return the ``info`` of every consumer of a stream, by the paged LIST call. Empty if the stream does not exist."""
    return list_many(session, [stream])[stream]


def list_many(session: sessions.Session, streams: Iterable[str]) -> dict[str, list[answers.ConsumerInfo]]:
    """Return ``list_all`` of several streams by their names, pipelined page by page."""
    by_stream = {stream: lists.Pages(_name_of) for stream in streams}
    left = {f"Listing consumers of {stream}": stream for stream in by_stream}
    while left:
        calls = [
            (what, f"CONSUMER.LIST.{stream}", answers.ConsumerList, {"offset": by_stream[stream].offset})
            for what, stream in left.items()
        ]
        for (what, stream), answer in zip(list(left.items()), jetstream.call_many(session, calls)):
            page = jetstream.or_none(answer)
            if page is None or not by_stream[stream].take(what, page, page.get("consumers")):
                del left[what]
    silent = [(stream, name) for stream, pages in by_stream.items() for name in sorted(pages.missing)]
    for (stream, name), info in zip(silent, info_each(session, silent)):
        by_stream[stream].items.pop(name, None)
        by_stream[stream].items.update({name: info} if info else {})
    return {stream: list(pages.items.values()) for stream, pages in by_stream.items()}


def _name_of(info: answers.ConsumerInfo) -> str:
    return str(info["name"])


def _reading(stream: str, name: str) -> jetstream.Call[answers.ConsumerInfo]:
    return f"Reading consumer {name} of {stream}", f"CONSUMER.INFO.{stream}.{name}", answers.ConsumerInfo, None


def _writing(
    verb: str, action: str, stream: str, config: Mapping[str, Any], pedantic: bool
) -> jetstream.Call[answers.ConsumerInfo]:
    name = config["durable_name"]
    body = {"stream_name": stream, "config": config, "action": action, **({"pedantic": True} if pedantic else {})}
    return f"{verb} consumer {name} of {stream}", f"CONSUMER.CREATE.{stream}.{name}", answers.ConsumerInfo, body
