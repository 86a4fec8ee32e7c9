# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The input of a plan for a consumer, and the configuration that follows from it and the options. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import facts, position, table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..._connection import wire
    from . import losses as consumer_losses


@dataclass(frozen=True)
class Current:
    """The state of a consumer: its info and that of its stream, None if missing.

    ``others`` are infos of the stream's other consumers, which only some plans need (``needs_others``). ``holder`` is
    the info of the consumer that keeps the position of one that is being created again, ``target`` the sequence to
    reset to. ``waiting`` is the input of ``consumer_losses``. ``account`` has the limits of the account if a consumer
    is created. ``stored`` are the filters that match stored messages, None if unknown.
    """

    info: Mapping[str, Any] | None = None
    stream: Mapping[str, Any] | None = None
    others: tuple[Mapping[str, Any], ...] = ()
    holder: Mapping[str, Any] | None = None
    target: int | None = None
    waiting: consumer_losses.Waiting | None = None
    account: Mapping[str, Any] | None = None
    stored: frozenset[str] | None = None

    @property
    def before(self) -> Mapping[str, Any] | None:
        """The consumer before the change. If it is being created again, its holder with its filter."""
        return self.holder or self.info

    @property
    def by_interest(self) -> bool:
        """True if the stream keeps only messages that some consumer waits for."""
        return bool(self.stream_config.get("retention") == "interest")

    @property
    def is_queue(self) -> bool:
        """True if the stream gives each message to one consumer alone."""
        return bool(self.stream_config.get("retention") == "workqueue")

    @property
    def count(self) -> int:
        """The number of consumers of the stream."""
        return int(((self.stream or {}).get("state") or {}).get("consumer_count") or 0)

    @property
    def ackable(self) -> int:
        """The allowed number of unacknowledged messages, 0 for any."""
        from ..account_limits import max_ack_pending

        return max_ack_pending(self.account or {}, self.stream_config)

    @property
    def created(self) -> str:
        """When the stream was created. Its sequences do not apply to a later stream of its name."""
        return str((self.stream or {}).get("created", ""))

    @property
    def stream_config(self) -> dict[str, Any]:
        """The configuration of the stream, empty if it is missing."""
        return dict(self.stream["config"]) if self.stream else {}

    @classmethod
    def listed(cls, name: str, stream: Mapping[str, Any] | None, infos: Iterable[Mapping[str, Any]]) -> Current:
        """Return the state from a list of all consumers of the stream."""
        by_name = {info["name"]: info for info in infos}
        mine, holder = by_name.pop(name, None), by_name.get(position.holder_of(name))
        return cls(mine, stream, tuple(by_name.values()), holder)


def unmanaged(desired: Mapping[str, Any], stream: Mapping[str, Any], server: wire.Server) -> dict[str, Any]:
    """Return the values in exact mode of fields that are not given: those of a new consumer."""
    from ..exact import defaults

    return {**defaults(table.ROWS.values(), server), **facts.filled({"ack_policy": "explicit", **desired}, stream)}


def completed(desired: dict[str, Any], present: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields with those that they imply, and without those that they exclude."""
    if not present:
        desired = {"ack_policy": "explicit", **desired}  # as NATS clients do: the server's own default is none
    for one, other, none in (("filter_subject", "filter_subjects", []), ("filter_subjects", "filter_subject", "")):
        if desired.get(one) and present.get(other):
            desired = {other: none, **desired}
    if desired.get("backoff"):
        desired = {"ack_wait": desired["backoff"][0], **desired}
    dropped: list[str] = []
    if desired.get("priority_policy") == "none":
        dropped += ("priority_groups", "priority_timeout")
    if desired.get("ack_policy") == "none" != present.get("ack_policy"):
        dropped += table.ACKED_ONLY
    if desired.get("deliver_policy") not in (None, present.get("deliver_policy")):
        dropped += table.START
    if desired.get("deliver_subject") and not present.get("deliver_subject"):
        dropped += table.PULL_ONLY
    if desired.get("deliver_subject") == "":
        dropped += table.PUSH_ONLY
    zeros = {path: table.ROWS[path].read({}) for path in dropped if present.get(path) and path not in desired}
    return {**desired, **zeros}


def settled(desired: dict[str, Any], present: Mapping[str, Any], current: Current) -> dict[str, Any]:
    """Return the fields with 0 replaced by the server's default."""
    whole = facts.filled({**present, **desired}, current.stream_config, current.ackable)
    return {
        path: value if value or isinstance(value, (bool, list, dict)) else whole.get(path, value)
        for path, value in desired.items()
    }


def sent(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields without empty ones, for which the server uses its defaults."""
    return {path: value for path, value in config.items() if value}
