# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read, plan, write and read back the consumers of a document. Plans use the future state of the streams."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ... import _errors
from ..._api import consumers, jetstream, streams
from ..._connection import together
from .. import resource
from ..consumer import losses as consumer_losses
from ..consumer import proof as consumer_proof
from ..consumer.consumer import CONSUMER, Current
from ..consumer.position import holder_of
from ..ownership import owner_of
from . import model
from . import state as document_state

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ..._api import answers
    from ..._connection import sessions


# Stands for all messages of a stream: more than any consumer has pending
_ANY_NUMBER = 1 << 62


def read_consumers(session: sessions.Session, document: model.Document, snapshot: document_state.Snapshot) -> None:
    """Read consumers. Raises PermissionMissing if pruning needs the list of all consumers, and it may not be read."""
    populated = [name for name, info in snapshot.infos.items() if info["state"]["consumer_count"]]
    snapshot.consumers = _by_name(consumers.list_many(session, populated if document.prune else ()))
    items = [item for item in document.of_kind(model.CONSUMERS) if item.stream not in snapshot.consumers]
    snapshot.consumers.update(_read(session, items, snapshot.infos))


def add_pruned_consumers(document: model.Document, snapshot: document_state.Snapshot) -> None:
    """Add the removal of consumers with the owner's mark that are not in the document.

    Consumers of removed streams need none: the server removes them with their streams.
    """
    named = {item.name for item in document.of_kind(model.CONSUMERS)}
    for stream, infos in sorted(snapshot.consumers.items()):
        if stream in document.renamed or (stream in document.streams and document.streams[stream].absent):
            continue
        for name in sorted(infos):
            if owner_of(infos[name]["config"]) == document.owner and f"{stream}/{name}" not in named:
                options = {"stream": stream, "name": name, "state": "absent", "owner": document.owner}
                document.add(
                    model.Item(model.CONSUMERS, None, {**options, "allow_data_loss": document.allow_data_loss})
                )


def plan_consumers(
    session: sessions.Session, document: model.Document, snapshot: document_state.Snapshot
) -> Iterator[model.Problem]:
    """Plan each consumer, and yield the problems. Streams are planned before."""
    by_stream = _by_stream(document.of_kind(model.CONSUMERS))
    above = {stream: _stream_then(document, snapshot, stream, session.server.version) for stream in by_stream}
    waiting = _waiting(session, snapshot, by_stream, above)
    for stream, items in by_stream.items():
        then = above[stream]
        if then is not None:
            yield from _plan_of_stream(session, document, snapshot, then, items, waiting.get(stream))


def _waiting(
    session: sessions.Session,
    snapshot: document_state.Snapshot,
    by_stream: Mapping[str, list[model.Item]],
    above: Mapping[str, Mapping[str, Any] | None],
) -> dict[str, consumer_losses.Waiting | _errors.StreamsError | None]:
    """Return the unprocessed messages of each stream in which a consumer's filter gets narrower, read all at once."""

    def needed(stream: str, item: model.Item) -> bool:
        infos = snapshot.consumers.get(stream, {})
        return CONSUMER.narrowed(Current.listed(item.options["name"], above[stream], infos.values()), item.options)

    # While a stream is copied, another one has its messages, so the losses are unknown
    narrowed = [
        stream
        for stream, items in by_stream.items()
        if _retention(above[stream]) == "interest"
        and stream not in snapshot.holders
        and any(needed(stream, item) for item in items)
    ]
    reads = [partial(consumer_losses.read, stream=stream) for stream in narrowed]
    return dict(zip(narrowed, together.read_together(session, reads)))


def write_consumers(session: sessions.Session, items: list[model.Item]) -> None:
    """Send the first calls of all items at once, then their second ones, and so on."""
    left = [(item, CONSUMER.calls_of(item.plan)) for item in items if item.plan]
    while left:
        for (item, _calls), answer in zip(left, jetstream.call_many(session, [calls[0] for _item, calls in left])):
            gone = (
                model.is_removal(item)
                and isinstance(answer, _errors.ApiError)
                and answer.err_code in jetstream.NOT_THERE
            )
            item.error = answer if isinstance(answer, _errors.StreamsError) and not gone else None
            item.written = item.written or model.is_written(item.error)
            item.proven = item.error is None and model.is_removal(item)
        left = [(item, calls[1:]) for item, calls in left if calls[1:] and item.error is None]


def prove_consumers(session: sessions.Session, items: list[model.Item], snapshot: document_state.Snapshot) -> None:
    """Read the consumers back, and set the errors of those that differ from their plans."""
    planned = [(item.plan, item.stream, item.options["name"]) for item in items if item.plan]
    before = {name: info["state"]["consumer_count"] for name, info in snapshot.infos.items()}
    proofs = consumer_proof.read_back(session, planned, before)
    for item, proof in zip((item for item in items if item.plan), proofs):
        if isinstance(proof, _errors.StreamsError):
            item.error = proof


def _read(
    session: sessions.Session, items: Iterable[model.Item], infos: Mapping[str, answers.StreamInfo]
) -> dict[str, dict[str, Mapping[str, Any]]]:
    """Return the infos of consumers by stream and name, or of all of a stream if that is cheaper or needed.

    Streams without consumers are not asked.
    """
    numbers = {name: info["state"]["consumer_count"] for name, info in infos.items()}
    by_stream = _by_stream(item for item in items if numbers.get(item.stream))
    queues = {name for name, info in infos.items() if _is_queue(info)}
    whole = [
        stream
        for stream, some in by_stream.items()
        if consumer_proof.is_listed(len(some), numbers[stream])
        or stream in queues
        or any(CONSUMER.needs_others(item.options) for item in some)
    ]
    try:
        by_name = _by_name(consumers.list_many(session, whole))
    except _errors.PermissionMissing:
        by_name = {}
    rest = [
        (stream, name)
        for stream in by_stream.keys() - by_name.keys()
        for item in by_stream[stream]
        for name in ([item.options["name"]] + [holder_of(item.options["name"])] * bool(item.options.get("recreate")))
    ]
    for (stream, name), info in zip(rest, consumers.info_each(session, rest)):
        by_name.setdefault(stream, {}).update({name: info} if info else {})
    return by_name


def _by_stream(items: Iterable[model.Item]) -> dict[str, list[model.Item]]:
    by_stream: dict[str, list[model.Item]] = {}
    for item in items:
        by_stream.setdefault(item.stream, []).append(item)
    return by_stream


def _by_name(listed: dict[str, list[answers.ConsumerInfo]]) -> dict[str, dict[str, Mapping[str, Any]]]:
    return {stream: {info["name"]: info for info in infos} for stream, infos in listed.items()}


def _stream_then(
    document: model.Document, snapshot: document_state.Snapshot, name: str, release: tuple[int, ...]
) -> Mapping[str, Any] | None:
    """Return the future stream, empty if it is removed, None if it can't be planned."""
    parent, info = document.streams.get(name), snapshot.infos.get(name)
    if parent is None or not parent.changes:
        return None if parent and parent.plan is None else info or {}
    if parent.plan is None or model.is_removal(parent):
        return {}
    return {**(info or {}), "config": model.definition_of(parent).expected(parent.plan.request, release)}


def _plan_of_stream(
    session: sessions.Session,
    document: model.Document,
    snapshot: document_state.Snapshot,
    above: Mapping[str, Any],
    items: list[model.Item],
    waiting: consumer_losses.Waiting | _errors.StreamsError | None,
) -> Iterator[model.Problem]:
    present = snapshot.consumers.get(items[0].stream, {})
    # The state when an item is written, after the items before it
    removed = {item.options["name"] for item in items if item.absent} if _is_queue(above) else set()
    by_then = {name: info for name, info in present.items() if name not in removed}
    for item in sorted(items, key=lambda item: _is_queue(above) == (item.options["name"] not in present)):
        name = item.options["name"]
        try:
            document.check_owner(item, present.get(name))
            if not above and not item.absent:
                raise _without_stream(document, item)
            gone = not above or model.is_recreated(document.streams.get(item.stream))
            # A new stream has no consumers
            current = Current.listed(name, above or None, present.values() if item.absent or not gone else ())
            if not item.absent:
                others = tuple(info for other, info in by_then.items() if other != name) if not gone else ()
                new = name not in present or item.options.get("recreate")
                limits = document_state.account_of(session, snapshot) if new else None
                current = replace(current, others=others, account=limits)
            if CONSUMER.narrowed(current, item.options):
                if isinstance(waiting, _errors.StreamsError):
                    raise waiting
                current = CONSUMER.completed(current, item.options, waiting, _created_first(items, present))
            if item.stream not in snapshot.holders:  # otherwise another stream has its messages
                current = CONSUMER.matched(session, current, item.options)
            item.plan = _planned(session, item, current, goes_with_stream=gone and item.absent)
        except _errors.StreamsError as error:
            yield model.Problem(item.path, error)
            continue
        if item.changes and item.plan and not item.absent:
            above = _with_one_more(above, name in by_then)
            by_then[name] = {"name": name, "config": item.plan.request["config"]}


def _is_queue(stream: Mapping[str, Any]) -> bool:
    return _retention(stream) == "workqueue"


def _retention(stream: Mapping[str, Any] | None) -> str:
    return str(stream["config"].get("retention", "")) if stream else ""


def _created_first(items: Iterable[model.Item], present: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the new consumers that wait for all messages. They are created before others are changed."""
    return [
        {"name": item.options["name"], "config": item.options, "num_pending": _ANY_NUMBER}
        for item in items
        if not item.absent
        and item.options["name"] not in present
        and item.options.get("deliver_policy") in (None, "all")
    ]


def _with_one_more(above: Mapping[str, Any], there: bool) -> dict[str, Any]:
    state = above.get("state") or {}
    return {**above, "state": {**state, "consumer_count": int(state.get("consumer_count") or 0) + (not there)}}


def _planned(session: sessions.Session, item: model.Item, current: Current, *, goes_with_stream: bool) -> Any:
    options = {**item.options, "allow_data_loss": True} if goes_with_stream else item.options
    plan = CONSUMER.plan(current, options, session.server)
    if plan.action == resource.NONE:
        return replace(plan, before=None, after=None)
    if goes_with_stream:
        # Losses are counted with the stream
        return replace(plan, consequences=dict.fromkeys(plan.consequences, 0))
    return plan


def _without_stream(document: model.Document, item: model.Item) -> _errors.StreamsError:
    if item.stream in document.streams:
        return _errors.Refused(
            f"stream {item.stream} is to be deleted: leave out its consumers, or keep it.", code="no_stream"
        )
    return streams.missing(item.stream)
